import ArgumentParser
import CLinux
import Glibc

@main
struct Impair: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "regionfs-impair",
    abstract: "A TCP and HTTP/1.1 proxy that adds distance, narrowness and faults.",
    discussion: """
      Rules look like 'match=PUT .*root,action=reset-response,skip=1,count=2,probability=0.5'. \
      match is a regular expression searched in "METHOD target". Actions: status (status=503, \
      retry-after=1), reset-request, reset-request-body, reset-response, reset-response-body, \
      blackhole, truncate, shorten, flip, flip-request, stall, delay (after=BYTES, at=BYTES, \
      for=DURATION). The first rule that picks a request has it.

      The first line of output is {"listening":"ADDRESS:PORT"}. Commands on the control channel, \
      one a line, each answered by a line of JSON: stats, reset-stats, rtt D, bandwidth R|off, \
      connection-bandwidth R|off, rule RULE, clear-rules, refuse on|off, drop, quit. \
      SIGUSR1 prints the counters to standard error.
      """)

  @Option(help: "Where to listen; port 0 lets the kernel choose.")
  var listen = "127.0.0.1:0"
  @Option(help: "The server.")
  var to: String
  @Option(help: "Round-trip time, half of it in each direction.")
  var rtt = "0ms"
  @Option(help: "Bits a second in each direction, shared by all connections.")
  var bandwidth = "off"
  @Option(help: "Bits a second in each direction of each connection.")
  var connectionBandwidth = "off"
  @Option(parsing: .singleValue, help: "A fault; may be repeated.")
  var rule: [String] = []
  @Option(help: "Seed of every random choice.")
  var seed: UInt64 = 1
  @Option(help: "Most bytes in flight in each direction of a connection.")
  var buffer = "32M"
  @Option(help: "Control channel: - for standard input and output, or the path of a unix socket.")
  var control: String?
  @Flag(
    help:
      "Write a line per request and response to standard error, behind the time in microseconds.")
  var verbose = false

  func run() throws {
    var rules: [Rule] = []
    for text in rule { rules.append(try Rule(text)) }
    let proxy = try Proxy(
      listen: try Endpoint(listen), target: try Endpoint(to), roundTrip: try Units.duration(rtt),
      bandwidth: try Units.rate(bandwidth),
      connectionBandwidth: try Units.rate(connectionBandwidth), rules: rules, seed: seed,
      bufferLimit: try Units.size(buffer), verbose: verbose)
    let signals = try SignalWatch(on: proxy)
    let control = try openControl(proxy)
    let address = "\(try Endpoint(listen).host):\(Sockets.port(of: proxy.listener))"
    ControlChannel.writeAll("{\"listening\":\"\(address)\"}\n", to: 1)
    try proxy.run()
    withExtendedLifetime((signals, control)) {
      ControlChannel.writeAll(proxy.statistics + "\n", to: 1)
    }
  }

  private func openControl(_ proxy: Proxy) throws -> AnyObject? {
    guard let control else { return nil }
    if control == "-" {
      // Whoever holds the other end and goes away must not leave a proxy behind.
      return try ControlChannel(input: 0, output: 1, proxy: proxy) { proxy.stop() }
    }
    return try ControlListener(path: control, proxy: proxy)
  }
}

/// SIGUSR1 prints the counters; SIGINT and SIGTERM end the proxy in order.
final class SignalWatch {
  init(on proxy: Proxy) throws(SystemError) {
    _ = signal(SIGPIPE, SIG_IGN)
    var set = sigset_t()
    // SAFETY: the set is initialised by sigemptyset and lives through the calls.
    unsafe sigemptyset(&set)
    for number in [SIGUSR1, SIGINT, SIGTERM] { unsafe sigaddset(&set, number) }
    unsafe sigprocmask(SIG_BLOCK, &set, nil)
    let descriptor = unsafe signalfd(-1, &set, Int32(SFD_NONBLOCK))
    guard descriptor >= 0 else { throw SystemError("signalfd") }
    try proxy.watch(descriptor) {
      var information = signalfd_siginfo()
      let size = MemoryLayout<signalfd_siginfo>.size
      // SAFETY: a signalfd yields whole signalfd_siginfo structs.
      while unsafe read(descriptor, &information, size) == size {
        if information.ssi_signo == UInt32(SIGUSR1) {
          ControlChannel.writeAll(proxy.statistics + "\n", to: 2)
        } else {
          proxy.stop()
        }
      }
    }
  }
}

/// Control channels over a unix socket, any number at once.
final class ControlListener {
  private var channels: [Int32: ControlChannel] = [:]

  init(path: String, proxy: Proxy) throws {
    let type = Int32(bitPattern: SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue)
    let listener = socket(AF_UNIX, type, 0)
    guard listener >= 0 else { throw SystemError("socket") }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
      throw UsageError(description: "\(path) is too long for a unix socket")
    }
    // SAFETY: the path fits with its terminating zero by the line above.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
    unsafe unlink(path)
    let length = socklen_t(MemoryLayout<sockaddr_un>.size)
    // SAFETY: sockaddr_un is meant to be passed as sockaddr.
    let bound = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(listener, $0, length)
      }
    }
    guard bound == 0, Glibc.listen(listener, 8) == 0 else { throw SystemError("bind \(path)") }
    try proxy.watch(listener) { [unowned self] in
      while let peer = Sockets.accept(from: listener) { self.serve(peer, proxy) }
    }
  }

  private func serve(_ peer: Int32, _ proxy: Proxy) {
    do {
      channels[peer] = try ControlChannel(input: peer, output: peer, proxy: proxy) {
        [unowned self] in
        close(peer)
        channels[peer] = nil
      }
    } catch {
      close(peer)
    }
  }
}
