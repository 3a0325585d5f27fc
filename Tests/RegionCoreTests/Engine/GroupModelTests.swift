import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// Random lives of a group beside a plain array. `REGIONFS_MODEL_SEEDS` says how many,
/// `REGIONFS_MODEL_FIRST` where to begin; a failure names its seed.
@Suite struct GroupModelTests {
  private static func number(_ name: String, _ standard: UInt64) -> UInt64 {
    Environment.all[name].flatMap { UInt64($0) } ?? standard
  }

  @Test func everyLifeAgreesWithAPlainArray() async throws {
    let first = Self.number("REGIONFS_MODEL_FIRST", 1)
    let count = Self.number("REGIONFS_MODEL_SEEDS", 300)
    let next = Lock(first)
    await withTaskGroup { group in
      for _ in 0..<4 {
        group.addTask {
          while true {
            let seed = next.withLock { next -> UInt64? in
              defer { next += 1 }
              return next < first + count ? next : nil
            }
            guard let seed else { return }
            await Self.run(seed)
          }
        }
      }
    }
  }

  private static func run(_ seed: UInt64) async {
    do {
      let model = try GroupModel(seed: seed)
      do {
        try await model.run(steps: 60)
      } catch {
        Issue.record(
          """
          seed \(seed): \(error)
          \((model.events.suffix(40) + model.lines).joined(separator: "\n"))
          again: REGIONFS_MODEL_FIRST=\(seed) REGIONFS_MODEL_SEEDS=1 swift test --filter GroupModel
          """)
      }
    } catch {
      Issue.record("seed \(seed): \(error)")
    }
  }
}
