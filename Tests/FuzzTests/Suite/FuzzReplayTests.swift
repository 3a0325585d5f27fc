import RegionTesting
import Testing

/// A short campaign: what earlier ones kept, and mutations of it. `scripts/fuzz` runs the long ones.
@Suite struct FuzzReplayTests {
  /// Mutations of each target; `REGIONFS_FUZZ_ROUNDS` asks for more.
  static let rounds = Environment.all["REGIONFS_FUZZ_ROUNDS"].flatMap(Int.init) ?? 10_000

  @Test(arguments: FuzzTarget.all)
  func takesWhatItShould(_ target: FuzzTarget) throws {
    let accepted = try target.examples.filter { try target.run($0) }
    let corpus = try Seeds.all(for: target)
    #expect(!corpus.isEmpty)
    var taken = accepted.count
    for input in corpus where try target.run(input) { taken += 1 }
    #expect(taken > 0, "no seed is a valid input: the mutations reach nothing")
  }

  @Test(arguments: FuzzTarget.all)
  func survivesMutations(_ target: FuzzTarget) throws {
    var mutator = Mutator(target, seeds: try Seeds.all(for: target), seed: 1)
    for round in 0..<Self.rounds {
      let input = mutator.next()
      do throws(FuzzFinding) {
        _ = try target.run(input)
      } catch {
        Issue.record("round \(round): \(error)\n\(input)")
        return
      }
    }
  }

  @Test func targetsHaveNamesOfTheirOwn() {
    let names = FuzzTarget.all.map(\.name)
    #expect(Set(names).count == names.count)
  }
}
