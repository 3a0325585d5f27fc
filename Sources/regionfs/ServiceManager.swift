import Glibc
import RegionControl

/// Tells the service manager how the daemon is (sd_notify(3)): datagrams to the socket that
/// `NOTIFY_SOCKET` names. Nothing happens where there is none.
struct ServiceManager: Sendable {
  private let socketName: String?

  init(environment: [String: String] = ProcessEnvironment.variables) {
    // `/path`, or `@name` in the abstract namespace; what else there may be (vsock) is not for us.
    socketName = environment["NOTIFY_SOCKET"].flatMap { name in
      name.count > 1 && (name.hasPrefix("/") || name.hasPrefix("@")) ? name : nil
    }
  }

  /// The mount answers.
  func ready(_ status: String) { send(["READY=1", "MAINPID=\(getpid())", Self.status(status)]) }

  /// It is being taken away; what is not committed yet will be.
  func stopping(_ status: String) { send(["STOPPING=1", Self.status(status)]) }

  /// Still at what it does: it may take `extension` longer than now.
  func still(_ status: String, extension time: Duration) {
    let micros = time.components.seconds * 1_000_000
    send([Self.status(status), "EXTEND_TIMEOUT_USEC=\(micros)"])
  }

  private static func status(_ text: String) -> String { "STATUS=" + HumanText.printable(text) }

  /// One datagram (`sendto`); a manager that has gone is not missed.
  private func send(_ lines: [String]) {
    guard let socketName else { return }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var path = Array(socketName.utf8)
    guard path.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
    // An abstract name begins with NUL and ends where its length says; a path ends with NUL.
    if path[0] == UInt8(ascii: "@") { path[0] = 0 } else { path.append(0) }
    // SAFETY: the path is shorter than the field, a local.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path) }
    let length = socklen_t(MemoryLayout<sa_family_t>.size + path.count)
    let number = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { return }
    defer { close(number) }
    let message = Array(lines.joined(separator: "\n").utf8)
    // SAFETY: both are read during the call only.
    _ = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        unsafe sendto(number, message, message.count, Int32(MSG_NOSIGNAL), pointer, length)
      }
    }
  }
}
