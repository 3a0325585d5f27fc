import Testing

@testable import RegionControl

@Suite struct ServerRefusalTests {
  /// A bug that was: a client that came while the daemon ended heard "too many clients", and
  /// `regionfs umount` said that changes were left where all were committed.
  @Test func aServerThatStopsIsNoBusyOne() {
    #expect(ControlServer.refusal(isStopping: true, clients: 0)?.code == .noDaemon)
    let limit = ControlProtocol.clientLimit
    #expect(ControlServer.refusal(isStopping: true, clients: limit)?.code == .noDaemon)
    #expect(ControlServer.refusal(isStopping: false, clients: limit)?.code == .busy)
    #expect(ControlServer.refusal(isStopping: false, clients: limit - 1) == nil)
  }
}
