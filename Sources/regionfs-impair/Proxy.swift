import CLinux
import Glibc

/// The event loop: one thread, edge-triggered epoll, a timer for the next release.
final class Proxy {
  let target: Endpoint
  let listener: Int32
  var roundTrip: Nanoseconds
  var connectionBandwidth: UInt64?
  var wires: (up: Link, down: Link)
  var rules: [Rule]
  var generator: SeededGenerator
  var counters = Counters()
  /// New connections are reset at once: the server seems unreachable.
  var refuses = false
  let verbose: Bool
  /// Most bytes in flight per lane: enough for 5 Gbit/s on one connection at 50 ms.
  let bufferLimit: Int

  private(set) var connections: [UInt64: Connection] = [:]
  /// Their numbers, rising.
  private var order: [UInt64] = []
  /// The connection whose turn it is: the first that found the shared wire taken in the last round.
  /// Served in a fixed order, the first ones would have all of a narrow wire.
  private var turn: UInt64 = 0
  /// In this round.
  var firstDenied: UInt64?
  private var nextID: UInt64 = 1
  private let poll: Int32
  private let timer: Int32
  private var armedFor: Nanoseconds?
  private var handlers: [UInt64: () -> Void] = [:]
  private var stopped = false

  init(
    listen: Endpoint, target: Endpoint, roundTrip: Nanoseconds, bandwidth: UInt64?,
    connectionBandwidth: UInt64?, rules: [Rule], seed: UInt64, bufferLimit: Int, verbose: Bool
  ) throws(SystemError) {
    self.target = target
    self.roundTrip = roundTrip
    self.connectionBandwidth = connectionBandwidth
    self.rules = rules
    self.bufferLimit = bufferLimit
    self.verbose = verbose
    wires = (Link(bytesPerSecond: bandwidth), Link(bytesPerSecond: bandwidth))
    generator = SeededGenerator(seed: seed)
    listener = try Sockets.listen(on: listen)
    poll = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard poll >= 0 else { throw SystemError("epoll_create1") }
    timer = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK))
    guard timer >= 0 else { throw SystemError("timerfd_create") }
    try watch(listener) { [unowned self] in self.acceptAll() }
    try watch(timer) { [unowned self] in self.timerFired() }
  }

  /// Tokens of descriptors that are not connections have this bit.
  private static let handlerBit: UInt64 = 1 << 63

  /// Calls `handler` whenever the descriptor is readable (level-triggered).
  func watch(_ descriptor: Int32, _ handler: @escaping () -> Void) throws(SystemError) {
    let token = Self.handlerBit | UInt64(descriptor)
    handlers[token] = handler
    try register(descriptor, token, EPOLLIN.rawValue)
  }

  /// Stops calling the handler of this descriptor, which the caller closes.
  func unwatch(_ descriptor: Int32) {
    handlers[Self.handlerBit | UInt64(descriptor)] = nil
    _ = epoll_ctl(poll, EPOLL_CTL_DEL, descriptor, nil)
  }

  private func register(
    _ descriptor: Int32, _ token: UInt64, _ events: UInt32
  ) throws(SystemError) {
    // SAFETY: epoll_ctl copies the event; only `u64` of its union is ever used.
    var event = unsafe epoll_event(events: events, data: epoll_data_t(u64: token))
    guard unsafe epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event) == 0 else {
      throw SystemError("epoll_ctl")
    }
  }

  /// Leaves `run` after the current round.
  func stop() { stopped = true }

  /// Runs until `stop`.
  func run() throws(SystemError) {
    // SAFETY: a zeroed epoll_event is valid.
    var events = unsafe [epoll_event](repeating: epoll_event(), count: 256)
    var busy = false
    while !stopped {
      // SAFETY: the kernel writes at most `events.count` entries.
      let count = unsafe epoll_wait(poll, &events, Int32(unsafe events.count), busy ? 0 : -1)
      guard count >= 0 || errno == EINTR else { throw SystemError("epoll_wait") }
      for index in 0..<max(0, Int(count)) {
        // SAFETY: only `u64` is ever stored in the union.
        unsafe dispatch(events[index].data.u64, events[index].events)
      }
      busy = pumpAll()
    }
    for connection in connections.values { connection.close(resetting: true) }
  }

  private func dispatch(_ token: UInt64, _ events: UInt32) {
    if token & Self.handlerBit != 0 {
      handlers[token]?()
      return
    }
    guard let connection = connections[token >> 1] else { return }
    let (reader, writer) =
      token & 1 == 0 ? (connection.up, connection.down) : (connection.down, connection.up)
    let input = EPOLLIN.rawValue | EPOLLRDHUP.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue
    if events & input != 0 { reader.readable = true }
    if events & EPOLLOUT.rawValue != 0 { writer.writable = true }
    // A reader that reads no more would never notice the reset.
    if events & EPOLLERR.rawValue != 0 { drop(connection, resetting: true) }
  }

  private func acceptAll() {
    while let client = Sockets.accept(from: listener) {
      counters.connections += 1
      if refuses {
        counters.refused += 1
        Sockets.reset(client)
        continue
      }
      do { try open(client) } catch {
        log("\(error)")
        Sockets.reset(client)
      }
    }
  }

  private func open(_ client: Int32) throws(SystemError) {
    let server = try Sockets.connect(to: target)
    let connection = Connection(
      id: nextID, client: client, server: server, bandwidth: connectionBandwidth)
    nextID += 1
    connections[connection.id] = connection
    order.append(connection.id)
    let events = EPOLLIN.rawValue | EPOLLOUT.rawValue | EPOLLRDHUP.rawValue | EPOLLET.rawValue
    try register(client, connection.id << 1, events)
    try register(server, connection.id << 1 | 1, events)
  }

  /// Closes and forgets a connection.
  func drop(_ connection: Connection, resetting: Bool) {
    connection.close(resetting: resetting)
    if connections.removeValue(forKey: connection.id) != nil {
      order.removeAll { $0 == connection.id }
    }
  }

  /// Moves what can be moved everywhere; true if something is left to do at once.
  private func pumpAll() -> Bool {
    var now = monotonicNow()
    var busy = false
    var next = Nanoseconds.max
    firstDenied = nil
    let first = order.firstIndex { $0 >= turn } ?? 0
    for id in order[first...] + order[..<first] {
      guard let connection = connections[id] else { continue }
      let state = pump(connection, now: now)
      busy = busy || state.busy
      next = min(next, state.next)
      if state.busy { now = monotonicNow() }
    }
    if let firstDenied { turn = firstDenied }
    if !busy { arm(next) }
    return busy
  }

  private func arm(_ time: Nanoseconds) {
    let wanted = time == .max ? nil : time
    guard wanted != armedFor else { return }
    armedFor = wanted
    var setting = itimerspec()
    if let wanted {
      setting.it_value.tv_sec = Int(wanted / 1_000_000_000)
      setting.it_value.tv_nsec = Int(wanted % 1_000_000_000)
    }
    // SAFETY: timerfd_settime copies the setting.
    _ = unsafe timerfd_settime(timer, Int32(TFD_TIMER_ABSTIME), &setting, nil)
  }

  private func timerFired() {
    armedFor = nil
    var expirations: UInt64 = 0
    // SAFETY: a timerfd yields 8 bytes.
    _ = unsafe read(timer, &expirations, 8)
  }

  /// A line about what passes, with --verbose, behind the time in microseconds (CLOCK_MONOTONIC).
  func log(_ line: @autoclosure () -> String) {
    guard verbose else { return }
    ControlChannel.writeAll("\(monotonicNow() / 1000) \(line())\n", to: 2)
  }
}
