import Glibc

@testable import RegionControl

/// The control socket, both ways.
extension FuzzTarget {
  static let control: [FuzzTarget] = [request, reply, session]

  private static let requests = [
    #"{"version":1,"operation":"hello"}"#, #"{"version":1,"operation":"status","path":"a/b"}"#,
    #"{"version":1,"operation":"sync"}"#, #"{"version":1,"operation":"setLog","level":"debug"}"#,
    #"{"version":2,"operation":"drain"}"#, #"{"version":1,"operation":"shutdown"}"#,
  ]
  private static let words = [
    "\"version\":1", "\"operation\":", "\"path\":", "\"status\"", "null", "1e999", "-1",
    "18446744073709551616", "\"\\uD800\"", "\"\\u0000\"", "[[[[", "{\"a\":", "\"nan\"", "\n",
    "true",
    "\"regions\":[]", "\"error\":{\"code\":\"busy\",\"message\":\"\"}",
  ]

  private static let request = FuzzTarget(
    name: "control-request", longest: 2048, examples: requests.map { [UInt8]($0) }, words: words
  ) { bytes throws(FuzzFinding) in
    try check(
      bytes,
      parse: { bytes throws(ControlError) in
        try ControlCoding.value(ControlRequest.self, from: bytes)
      }, encode: { try ControlCoding.line($0, limit: ControlProtocol.requestLimit).dropLast() })
  }

  private static let reply = FuzzTarget(
    name: "control-reply", examples: replies, words: words
  ) { bytes throws(FuzzFinding) in
    let isAccepted = try check(
      bytes, parse: { bytes throws(ControlError) in Comparable(try decoded(bytes)) },
      encode: { try ControlCoding.line($0.reply, limit: 1 << 20).dropLast() })
    // What the tools write for people.
    if isAccepted, let reply = try? decoded(bytes) {
      _ = reply.progress?.text
      for region in reply.regions ?? [] {
        _ =
          HumanText.bytes(region.sizeBytes) + HumanText.printable(region.name)
          + HumanText.seconds(region.oldestUncommittedSeconds)
          + HumanText.rate(bytesPerSecond: region.pull.rateBytesPerSecond)
      }
    }
    return isAccepted
  }

  private static func decoded(_ bytes: [UInt8]) throws(ControlError) -> ControlReply {
    try ControlCoding.value(ControlReply.self, from: bytes)
  }

  /// Compares as what it is written as: a number that is none is not equal to itself.
  private struct Comparable: Equatable {
    var reply: ControlReply

    init(_ reply: ControlReply) { self.reply = reply }

    static func == (one: Self, other: Self) -> Bool {
      let lines = [one, other].map { try? ControlCoding.line($0.reply, limit: 1 << 20) }
      return lines[0] == lines[1]
    }
  }

  private static let replies: [[UInt8]] = {
    var hello = ControlReply(.hello)
    hello.mount = MountStatus()
    var regions = ControlReply(.regions)
    var region = RegionStatus(name: "a")
    region.oldestUncommittedSeconds = 1.5
    region.lastCommitNumber = .max
    regions.regions = [region]
    var status = ControlReply(.status)
    status.status = StatusReport(mount: MountStatus())
    var progress = ControlReply(.progress)
    progress.progress = SyncProgress(remainingBytes: 5, rateBytesPerSecond: 1, problem: "p")
    var error = ControlReply(.error)
    error.error = ControlError(.failed, "no")
    return [hello, regions, status, progress, error, ControlReply(.done)].compactMap {
      (try? ControlCoding.line($0, limit: 1 << 20))?.dropLast()
    }
  }()

  /// A whole conversation with the daemon's side, over a socket. Whatever is said, each line of the
  /// answer is one that the client understands.
  private static let session = FuzzTarget(
    name: "control-session", longest: 512,
    examples: [[UInt8](requests.joined(separator: "\n") + "\n"), [UInt8](requests[0])],
    words: words
  ) { bytes throws(FuzzFinding) in
    var ends: [Int32] = [0, 0]
    // A process that another test starts in this moment must not keep the daemon's end open.
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    // SAFETY: socketpair fills two numbers.
    guard unsafe socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      throw FuzzFinding("socketpair: errno \(errno)")
    }
    // Nobody reads before all is said: the answers to the longest input have to fit.
    var room: Int32 = 1 << 20
    // SAFETY: setsockopt reads the one number, whose size it is told. The kernel takes what it allows.
    unsafe setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, socklen_t(MemoryLayout<Int32>.size))
    var client = LineChannel(Descriptor(ends[0]))
    let server = LineChannel(Descriptor(ends[1]))
    do throws(ControlError) {
      try client.write(bytes, until: nil)
      shutdown(ends[0], Int32(SHUT_WR))
      try serve(server)
      var count = 0
      var understood: Set<[UInt8]> = []
      while let line = try client.readLine(
        limit: ControlProtocol.replyLimit, until: .now + .seconds(60))
      {
        // Most answers are the same ones again.
        if understood.insert(line).inserted { _ = try decoded(line) }
        count += 1
      }
      return count > 0
    } catch {
      throw FuzzFinding("\(error)")
    }
  }

  private static func serve(_ channel: consuming LineChannel) throws(ControlError) {
    var session = ControlSession(channel: channel, handler: QuickHandler(), ownUID: geteuid())
    session.run()
    _ = session.finish()
  }
}

/// A daemon that is always done.
private struct QuickHandler: ControlHandler {
  func mountStatus() -> MountStatus { MountStatus() }
  func status() -> StatusReport {
    StatusReport(mount: MountStatus(), regions: [RegionStatus(name: "a/b")])
  }
  func sync(path: String?, progress: (SyncProgress) -> Bool) throws(ControlError) {
    guard path == nil || path == "a" else { throw ControlError(.notFound, path ?? "") }
    _ = progress(SyncProgress(remainingBytes: 1, rateBytesPerSecond: .nan))
  }
  func pull(
    path: String, start: UInt64?, end: UInt64?, priority: Int, progress: (SyncProgress) -> Bool
  ) throws(ControlError) {
    guard path == "a" else { throw ControlError(.notFound, path) }
    _ = progress(SyncProgress(remainingBytes: (end ?? .max) - (start ?? 0)))
  }
  func takeOver(path: String) throws(ControlError) -> String { "taken" }
  func drain(progress: (SyncProgress) -> Bool) throws(ControlError) {}
  func requestShutdown() throws(ControlError) {}
  func setLogLevel(_ level: String) throws(ControlError) {
    throw ControlError(.failed, level)
  }
}
