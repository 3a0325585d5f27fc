import FoundationEssentials
import Glibc
import Locks
import RegionControl
import Testing

/// A daemon that is only its control socket.
final class FakeDaemon: ControlHandler {
  struct State {
    var report = StatusReport(mount: MountStatus())
    var syncedPaths: [String?] = []
    var pulls: [[UInt64?]] = []
    var abandoned = false
    var shutdowns = 0
    var level = ""
    /// Progress lines that sync and drain send before they end; nil: they never end by themselves.
    var steps: Int? = 3
  }

  let state = Lock(State())

  init(mountpoint: String = "/mnt", regions: [RegionStatus] = []) {
    state.withLock { state in
      state.report.mount.mountpoint = mountpoint
      state.report.mount.pid = getpid()
      state.report.mount.device = "0:99"
      state.report.regions = regions
    }
  }

  func mountStatus() -> MountStatus { state.withLock { $0.report.mount } }
  func status() -> StatusReport { state.withLock { $0.report } }

  func sync(path: String?, progress: (SyncProgress) -> Bool) throws(ControlError) {
    state.withLock { $0.syncedPaths.append(path) }
    if path == "missing" { throw ControlError(.notFound, "no such file: missing") }
    try work(progress)
  }

  func pull(
    path: String, start: UInt64?, end: UInt64?, priority: Int, progress: (SyncProgress) -> Bool
  ) throws(ControlError) {
    if path == "missing" { throw ControlError(.notFound, "no such file: missing") }
    state.withLock { $0.pulls.append([start, end, UInt64(priority)]) }
    try work(progress)
  }

  func takeOver(path: String) throws(ControlError) -> String {
    if path == "missing" { throw ControlError(.notFound, "no such file: missing") }
    return "taken: \(path)"
  }

  func drain(progress: (SyncProgress) -> Bool) throws(ControlError) { try work(progress) }

  private func work(_ progress: (SyncProgress) -> Bool) throws(ControlError) {
    var left = state.withLock { $0.steps }
    while left != 0 {
      let bytes = UInt64(left ?? 1) * 4096
      guard progress(SyncProgress(remainingBytes: bytes)) else {
        state.withLock { $0.abandoned = true }
        throw ControlError(.closed, "the client has gone")
      }
      if let steps = left { left = steps - 1 } else { usleep(1000) }
    }
  }

  func requestShutdown() throws(ControlError) { state.withLock { $0.shutdowns += 1 } }

  func setLogLevel(_ level: String) throws(ControlError) {
    guard level == "debug" else { throw ControlError(.failed, "unknown log level '\(level)'") }
    state.withLock { $0.level = level }
  }
}

/// A private directory that is removed at the end.
final class SocketDirectory {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appending(path: "rfs-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: false)
    path = url.path(percentEncoded: false)
    try #require(unsafe chmod(path, 0o700) == 0)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// A running fake daemon.
final class Fixture {
  let directory: SocketDirectory
  let daemon: FakeDaemon
  let server: ControlServer

  init(_ daemon: FakeDaemon = FakeDaemon(), mountID: String = "m1") throws {
    directory = try SocketDirectory()
    self.daemon = daemon
    server = try ControlServer(directory: directory.path, mountID: mountID, handler: daemon)
  }

  deinit { server.stop() }

  func client() throws(ControlError) -> ControlClient {
    try ControlClient(socketPath: server.socketPath)
  }

  /// Connects without our client, to say what it never would.
  func rawConnection() throws -> Int32 {
    let number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    try #require(number >= 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let path = Array(server.socketPath.utf8)
    // SAFETY: test paths are short; the rest of the address is zero.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: path) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let result = unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe connect(number, $0, size)
      }
    }
    try #require(result == 0)
    return number
  }

  /// Sends `text`, optionally ends the stream, and returns all that comes back until the end.
  func exchange(_ text: [UInt8], closing: Bool = true) throws -> String {
    let number = try rawConnection()
    defer { close(number) }
    var rest = text[...]
    while !rest.isEmpty {
      let sent = unsafe rest.withUnsafeBytes {
        unsafe send(number, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      // The server may hang up on a line that is too long before it has read all of it.
      guard sent > 0 else { break }
      rest = rest.dropFirst(sent)
    }
    if closing { shutdown(number, Int32(SHUT_WR)) }
    var answer: [UInt8] = []
    while true {
      var part = [UInt8](repeating: 0, count: 4096)
      let count = unsafe recv(number, &part, part.count, 0)
      guard count > 0 else { break }
      answer += part[..<count]
    }
    return String(decoding: answer, as: UTF8.self)
  }
}

@Suite struct ControlTests {
  static func sample(_ name: String) -> RegionStatus {
    var region = RegionStatus(name: name)
    region.groupID = String(repeating: "ab", count: 16)
    region.sizeBytes = 1 << 40
    region.chunkBytes = 262_144
    region.chunksTotal = 4 << 20
    region.oldestUncommittedSeconds = 1.5
    region.pull.secondsLeft = .infinity
    region.faults.lastError = ErrorStatus(message: "store: 503", unixSeconds: 1)
    region.role = .lost
    region.roleReason = "another mount took the claim"
    return region
  }

  @Test func helloAndStatusTravelWhole() throws {
    let fixture = try Fixture(
      FakeDaemon(regions: [Self.sample("a"), Self.sample("dir/b\u{1}\"\n")]))
    var client = try fixture.client()
    #expect(try client.hello() == fixture.daemon.mountStatus())
    #expect(try client.status() == fixture.daemon.status())
    #expect(client.peer == PeerCredentials(pid: getpid(), uid: getuid()))
  }

  @Test func statusOfTenThousandRegionsExceedsNoLine() throws {
    let long = String(repeating: "\u{1}", count: 4000)
    let regions = (0..<10_000).map { Self.sample($0 < 64 ? "\(long)\($0)" : "r\($0)") }
    let fixture = try Fixture(FakeDaemon(regions: regions))
    var client = try fixture.client()
    #expect(try client.status().regions == regions)
  }

  @Test func statusOfAPathIsThatRegionOrItsTree() throws {
    let fixture = try Fixture(
      FakeDaemon(regions: ["a", "a/x", "ab", "b"].map { RegionStatus(name: $0) }))
    var client = try fixture.client()
    #expect(try client.status(path: "a").regions.map(\.name) == ["a", "a/x"])
    #expect(try client.status(path: "ab").regions.map(\.name) == ["ab"])
    #expect(try client.status(path: "nothing").regions.isEmpty)
  }

  @Test func syncStreamsProgressAndEnds() throws {
    let fixture = try Fixture()
    var client = try fixture.client()
    var seen: [UInt64] = []
    try client.sync(path: "a/b") {
      seen.append($0.remainingBytes)
      return true
    }
    #expect(seen == [12288, 8192, 4096])
    #expect(fixture.daemon.state.withLock { $0.syncedPaths } == ["a/b"])
    try client.drain()
    try client.requestShutdown()
    try client.setLogLevel("debug")
    #expect(fixture.daemon.state.withLock { $0.shutdowns } == 1)
  }

  @Test func aPullCarriesItsRangeAndPriority() throws {
    let fixture = try Fixture()
    var client = try fixture.client()
    var seen: [UInt64] = []
    try client.pull(path: "a/b", start: 5, end: 9, priority: 7) {
      seen.append($0.remainingBytes)
      return true
    }
    #expect(seen == [12288, 8192, 4096])
    try client.pull(path: "a/b")
    #expect(fixture.daemon.state.withLock { $0.pulls } == [[5, 9, 7], [nil, nil, 5]])
    #expect(throws: ControlError.self) { try client.pull(path: "missing") }
    #expect(throws: ControlError.self) { try client.pull(path: "") }
    #expect(throws: ControlError.self) { try client.pull(path: "a", start: 9, end: 5) }
  }

  @Test func handlersErrorIsTheClientsAndTheConnectionLives() throws {
    let fixture = try Fixture()
    var client = try fixture.client()
    do throws(ControlError) {
      try client.sync(path: "missing")
      Issue.record("no error")
    } catch {
      #expect(error == ControlError(.notFound, "no such file: missing"))
    }
    do throws(ControlError) {
      try client.setLogLevel("loud")
      Issue.record("no error")
    } catch {
      #expect(error.code == .failed)
    }
    #expect(try client.hello().mountpoint == "/mnt")
  }

  @Test func timeoutEndsAWaitAndTellsTheHandler() throws {
    let fixture = try Fixture()
    fixture.daemon.state.withLock { $0.steps = nil }
    do throws(ControlError) {
      var client = try fixture.client()
      try client.sync(timeout: .milliseconds(100))
      Issue.record("no error")
    } catch {
      #expect(error.code == .timeout)
    }
    for _ in 0..<2000 where !fixture.daemon.state.withLock({ $0.abandoned }) { usleep(1000) }
    #expect(fixture.daemon.state.withLock { $0.abandoned })
  }

  @Test(arguments: [
    "garbage\n", "{}\n", "[]\n", "\n", "{\"version\":1}\n", "{\"version\":\"1\"}\n",
    "{\"version\":1,\"operation\":\"format\"}\n", "{\"version\":1,\"operation\":\"setLog\"}\n",
    "{\"version\":1,\"operation\":\"status\",\"path\":7}\n", "\u{0}\u{0}\n",
  ])
  func garbageIsAnsweredWithAnErrorAndServiceGoesOn(text: String) throws {
    let fixture = try Fixture()
    #expect(try fixture.exchange(Array(text.utf8)).contains("\"code\":\"malformed\""))
    var client = try fixture.client()
    #expect(try client.hello().mountpoint == "/mnt")
  }

  @Test func deeplyNestedAndBinaryInputIsRefused() throws {
    let fixture = try Fixture()
    let nested = [UInt8](repeating: UInt8(ascii: "["), count: 60_000) + [UInt8(ascii: "\n")]
    #expect(try fixture.exchange(nested).contains("malformed"))
    let binary = [UInt8]((0..<1000).map { UInt8(truncatingIfNeeded: $0 &* 167 | 0x80) }) + [10]
    #expect(try fixture.exchange(binary).contains("malformed"))
  }

  @Test func otherVersionIsNamed() throws {
    let fixture = try Fixture()
    let answer = try fixture.exchange(Array("{\"version\":2,\"operation\":\"zap\"}\n".utf8))
    #expect(answer.contains("\"code\":\"version\""))
    #expect(answer.contains("version 2"))
  }

  @Test func hugeLineIsRefusedAtTheLimit() throws {
    let fixture = try Fixture()
    let line = [UInt8](repeating: UInt8(ascii: "a"), count: ControlProtocol.requestLimit)
    #expect(try fixture.exchange(line, closing: false).contains("longer than 65536"))
    #expect(try fixture.exchange(line + line + [10]).contains("longer than 65536"))
    let path = String(repeating: "p", count: ControlProtocol.requestLimit)
    do throws(ControlError) {
      var client = try fixture.client()
      try client.sync(path: path)
      Issue.record("no error")
    } catch {
      #expect(error.code == .malformed)
    }
  }

  @Test func halfALineThenCloseIsRefused() throws {
    let fixture = try Fixture()
    #expect(try fixture.exchange(Array("{\"version\":1,\"oper".utf8)).contains("cut short"))
    #expect(try fixture.exchange([]) == "")
    var client = try fixture.client()
    #expect(try client.hello().mountpoint == "/mnt")
  }

  @Test func severalRequestsInOnePacketAreAnsweredInOrder() throws {
    let fixture = try Fixture()
    let hello = "{\"version\":1,\"operation\":\"hello\"}\n"
    let answer = try fixture.exchange(Array((hello + hello + "x\n").utf8))
    #expect(answer.split(separator: "\n").map { $0.contains("\"hello\"") } == [true, true, false])
  }

  @Test func clientsBeyondTheLimitAreRefusedAndOthersServed() throws {
    let fixture = try Fixture()
    var idle: [Int32] = []
    defer { for number in idle { close(number) } }
    for _ in 0..<ControlProtocol.clientLimit { idle.append(try fixture.rawConnection()) }
    do throws(ControlError) {
      var client = try fixture.client()
      _ = try client.hello()
      Issue.record("no error")
    } catch {
      #expect(error.code == .busy)
    }
    close(idle.removeLast())
    for _ in 0..<2000 {
      var client = try fixture.client()
      if (try? client.hello()) != nil { return }
      usleep(1000)
    }
    Issue.record("no place became free")
  }

  @Test func answerUnderWayIsFinishedByStop() throws {
    let fixture = try Fixture()
    fixture.daemon.state.withLock { $0.steps = 1 }
    var client = try fixture.client()
    try client.drain { _ in
      fixture.server.stop(grace: .zero)
      return true
    }
    #expect(unsafe access(fixture.server.socketPath, F_OK) == -1)
    do throws(ControlError) {
      _ = try fixture.client()
      Issue.record("no error")
    } catch {
      #expect(error.code == .noDaemon)
    }
  }

  @Test func trustIsTheSameUserOrRoot() {
    #expect(PeerCredentials.isTrusted(uid: 1000, by: 1000))
    #expect(PeerCredentials.isTrusted(uid: 0, by: 1000))
    #expect(!PeerCredentials.isTrusted(uid: 1000, by: 0))
    #expect(!PeerCredentials.isTrusted(uid: 1001, by: 1000))
  }
}
