import RegionTesting
import Testing

@testable import RegionCore

/// Bulk transfers begin small and few, are soon many and large, and give way to reads.
@Suite struct BulkTransfersTests {
  private static let rate = 125e6

  /// Transfers of a mount whose link of a gigabit was full for a second.
  private func busy(_ clock: ManualClock) async -> BulkTransfers {
    let bulk = BulkTransfers(clock: clock, health: StoreHealth(), mostBytes: .max)
    var bytes = 0.0
    var before = await bulk.permit()
    while bytes < Self.rate {
      let permit = await bulk.permit()
      clock.advance(by: .seconds(Double(before.bytes) / Self.rate))
      bytes += Double(before.bytes)
      bulk.giveBack(before, bytes: before.bytes)
      before = permit
    }
    bulk.giveBack(before, bytes: 0)
    return bulk
  }

  /// A read is there that waited ten times as long as one before it.
  private func beginSlowRead(_ bulk: BulkTransfers) {
    bulk.demandBegan()
    bulk.noteDemand(.milliseconds(30))
    bulk.noteDemand(.milliseconds(300))
  }

  /// Takes all that may begin now.
  private func fill(_ bulk: BulkTransfers) async -> [BulkTransfers.Permit] {
    var permits: [BulkTransfers.Permit] = []
    while bulk.reading.underWay + bulk.reading.size <= bulk.reading.limit {
      permits.append(await bulk.permit())
    }
    return permits
  }

  @Test func whileNobodyWaitsTheLinkIsFullForAMoment() async {
    let clock = ManualClock()
    let bulk = BulkTransfers(clock: clock, health: StoreHealth(), mostBytes: .max)
    #expect(await fill(bulk).map(\.bytes) == [UInt64](repeating: 1 << 20, count: 4))
    let later = await busy(clock)
    let seconds = await fill(later).map { Double($0.bytes) / Self.rate }.reduce(0, +)
    #expect((0.25...0.35).contains(seconds))
  }

  /// Scattered chunks are small transfers: there are more of them at a time.
  @Test func whatATransferDoesNotNeedOthersGet() async {
    let bulk = BulkTransfers(clock: ManualClock(), health: StoreHealth(), mostBytes: .max)
    var permits: [BulkTransfers.Permit] = []
    for _ in 0..<TransferWindow.transferLimit {
      permits.append(bulk.narrow(await bulk.permit(), to: 64 << 10))
    }
    #expect(bulk.reading.underWay == 1 << 20)
    for permit in permits { bulk.giveBack(permit, bytes: permit.bytes) }
    #expect(bulk.reading.underWay == 0)
  }

  /// A read that waited for more than a second once no longer counted, and the link was filled again
  /// before it.
  @Test func aReadThatWaitsLongIsStillWaitedFor() async {
    let clock = ManualClock()
    let bulk = await busy(clock)
    let calm = bulk.reading.limit
    let permit = await bulk.permit()
    beginSlowRead(bulk)
    bulk.giveBack(permit, bytes: permit.bytes)
    clock.advance(by: .seconds(5))
    #expect(bulk.reading.limit < calm / 3)
    bulk.demandEnded()
    #expect(bulk.reading.limit >= calm, "one read alone is no sign of others")
  }

  @Test func readsMakeThemGiveWayForASecond() async {
    let clock = ManualClock()
    let bulk = await busy(clock)
    let calm = bulk.reading.limit
    let permit = await bulk.permit()
    for milliseconds in [30, 300] {
      bulk.demandBegan()
      bulk.noteDemand(.milliseconds(milliseconds))
      bulk.demandEnded()
    }
    bulk.giveBack(permit, bytes: permit.bytes)
    #expect(bulk.reading.limit < calm / 3)
    clock.advance(by: .seconds(1))
    #expect(bulk.reading.limit >= calm)
  }

  /// What is left of a small region goes before the reads that wait for it.
  @Test func anUrgentTransferDoesNotGiveWay() async throws {
    let bulk = await busy(ManualClock())
    let permit = await bulk.permit()
    beginSlowRead(bulk)
    var permits = await fill(bulk)
    let pressed = bulk.reading.underWay
    let urgent = Task { await bulk.permit(isUrgent: true) }
    try await eventually("it begins beside them") { bulk.reading.underWay > pressed }
    permits.append(await urgent.value)
    for permit in permits + [permit] { bulk.giveBack(permit, bytes: permit.bytes) }
    bulk.demandEnded()
  }

  /// What may not begin waits, and begins when the read has its bytes.
  @Test func theEndOfAReadLetsOthersBegin() async throws {
    let clock = ManualClock()
    let bulk = await busy(clock)
    let permit = await bulk.permit()
    beginSlowRead(bulk)
    var permits = await fill(bulk)
    let waiting = Task { await bulk.permit() }
    try await eventually("the transfer waits") { bulk.waitingCount > 0 }
    bulk.demandEnded()
    permits.append(await waiting.value)
    for permit in permits + [permit] { bulk.giveBack(permit, bytes: permit.bytes) }
    #expect(bulk.reading.underWay == 0)
  }
}
