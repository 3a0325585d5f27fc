import Glibc

/// A request and its response, from the request's head to the response's last byte.
struct Exchange {
  let method: String
  let target: String
  /// What a rule does to the response, with the rule's number.
  var onResponse: (action: Action, rule: Int)?
  /// The answer that the proxy gives itself.
  var answer: [UInt8]?
  /// The request has arrived in full, so `answer` may go out.
  var requestEnded = false
  /// Close the connection after `answer`.
  var closes = false
}

/// One client with its own connection to the server.
final class Connection {
  let id: UInt64
  let client: Int32
  let server: Int32
  let up: Lane
  let down: Lane
  /// Requests not yet answered in full, oldest first; the last one may still be arriving.
  var exchanges: [Exchange] = []
  /// The rules swallowed a request: nothing will ever come back.
  var blackholed = false
  var sawFirstBytes = false
  private(set) var closed = false

  init(id: UInt64, client: Int32, server: Int32, bandwidth: UInt64?) {
    self.id = id
    self.client = client
    self.server = server
    up = Lane(.up, from: client, to: server, bandwidth: bandwidth)
    down = Lane(.down, from: server, to: client, bandwidth: bandwidth)
  }

  /// Ends both sides at once, with FIN or RST.
  func close(resetting: Bool) {
    guard !closed else { return }
    closed = true
    for socket in [client, server] {
      if resetting { Sockets.reset(socket) } else { Glibc.close(socket) }
    }
  }
}
