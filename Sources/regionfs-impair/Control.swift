import Glibc

/// Commands at run time, one a line, each answered by one line of JSON.
///
/// stats | reset-stats | rtt DURATION | bandwidth RATE | connection-bandwidth RATE | rule RULE |
/// clear-rules | refuse on|off | drop | quit
final class ControlChannel {
  private let input: Int32
  private let output: Int32
  private unowned let proxy: Proxy
  private let atEnd: () -> Void
  private var pending: [UInt8] = []

  init(
    input: Int32, output: Int32, proxy: Proxy, atEnd: @escaping () -> Void
  ) throws(SystemError) {
    self.input = input
    self.output = output
    self.proxy = proxy
    self.atEnd = atEnd
    try proxy.watch(input) { [unowned self] in self.readSome() }
  }

  private func readSome() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    // SAFETY: read writes at most `buffer.count` bytes.
    let count = unsafe read(input, &buffer, buffer.count)
    guard count > 0 else {
      proxy.unwatch(input)
      atEnd()
      return
    }
    pending += buffer[..<count]
    while let newline = pending.firstIndex(of: 0x0A) {
      let line = String(decoding: pending[..<newline], as: Unicode.UTF8.self)
      pending.removeSubrange(...newline)
      Self.writeAll(answer(to: line) + "\n", to: output)
    }
  }

  private func answer(to line: String) -> String {
    let words = line.split(separator: " ", maxSplits: 1)
    guard let command = words.first else { return "{\"ok\":true}" }
    let argument = words.count > 1 ? String(words[1]) : ""
    do {
      return try perform(String(command), argument) ?? "{\"ok\":true}"
    } catch {
      return "{\"error\":\(JSON.quoted("\(error)"))}"
    }
  }

  /// Carries out a command; returns its answer if there is more to say than yes.
  private func perform(_ command: String, _ argument: String) throws(UsageError) -> String? {
    switch command {
    case "stats": return proxy.statistics
    case "reset-stats": proxy.counters = Counters()
    case "rtt": proxy.roundTrip = try Units.duration(argument)
    case "bandwidth":
      let rate = try Units.rate(argument)
      proxy.wires.up.bytesPerSecond = rate
      proxy.wires.down.bytesPerSecond = rate
    case "connection-bandwidth":
      proxy.connectionBandwidth = try Units.rate(argument)
      for connection in proxy.connections.values {
        connection.up.wire.bytesPerSecond = proxy.connectionBandwidth
        connection.down.wire.bytesPerSecond = proxy.connectionBandwidth
      }
    case "rule": proxy.rules.append(try Rule(argument))
    case "clear-rules": proxy.forgetRules()
    case "refuse": proxy.refuses = argument != "off"
    case "drop": proxy.dropAll()
    case "quit": proxy.stop()
    default: throw UsageError(description: "command \(command) is not known")
    }
    return nil
  }

  /// write(2) until all is written or nobody reads.
  static func writeAll(_ text: String, to descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      // SAFETY: the pointer is valid for `bytes.count` bytes during the call.
      let count = unsafe bytes.withUnsafeBytes {
        unsafe write(descriptor, $0.baseAddress, $0.count)
      }
      if count > 0 {
        bytes = bytes.dropFirst(count)
      } else if errno != EINTR {
        return
      }
    }
  }
}

extension Proxy {
  /// Counters, rules and open connections as one line of JSON.
  var statistics: String { counters.json(rules: rules, open: connections.count) }

  /// Removes all rules; what they hold back is let go by dropping those connections.
  func forgetRules() {
    for connection in connections.values {
      let held = connection.blackholed || connection.up.stalled || connection.down.stalled
      if held { drop(connection, resetting: true) }
      connection.up.edit = nil
      connection.down.edit = nil
      for index in connection.exchanges.indices { connection.exchanges[index].onResponse = nil }
    }
    rules = []
  }

  /// Resets every open connection.
  func dropAll() {
    for connection in connections.values { drop(connection, resetting: true) }
  }
}
