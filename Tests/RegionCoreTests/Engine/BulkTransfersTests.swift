import RegionTesting
import Testing

@testable import RegionCore

/// Bulk transfers are large and many until a read waits for the store.
@Suite struct BulkTransfersTests {
  @Test func whileNobodyWaitsTransfersAreManyAndLarge() async {
    let bulk = BulkTransfers(clock: ManualClock(), health: StoreHealth(), mostBytes: .max)
    for _ in 0..<TransferWindow.transferLimit {
      let permit = await bulk.permit()
      #expect(permit.isFree && permit.bytes == TransferWindow.transferBytes.upperBound)
    }
    #expect(bulk.reading.transfers == 0)
  }

  @Test func readsMakeThemGiveWayForASecond() async throws {
    let clock = ManualClock()
    let bulk = BulkTransfers(clock: clock, health: StoreHealth(), mostBytes: .max)
    bulk.noteDemand()
    let first = await bulk.permit()
    #expect(first.isFree, "one read alone says nothing")
    bulk.noteDemand()
    let waiting = Task { await bulk.permit() }
    try await eventually("the transfer waits") { bulk.waitingCount > 0 }
    // What was under way ends first.
    bulk.giveBack(first, bytes: first.bytes)
    let small = await waiting.value
    #expect(!small.isFree && small.bytes == TransferWindow.transferBytes.lowerBound)
    bulk.giveBack(small, bytes: small.bytes)
    clock.advance(by: .seconds(1))
    #expect(await bulk.permit().isFree)
  }
}
