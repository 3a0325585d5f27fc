import RegionTesting

/// Changes inputs at random, from a seed: what the test suite uses. Campaigns use libFuzzer, which
/// also sees which changes reach new code.
struct Mutator {
  private var generator: SplitMix64
  private let target: FuzzTarget
  private let seeds: [[UInt8]]

  init(_ target: FuzzTarget, seeds: [[UInt8]], seed: UInt64) {
    self.target = target
    self.seeds = seeds.isEmpty ? [[]] : seeds
    generator = SplitMix64(seed: seed)
  }

  /// The next input: a seed with one to four changes, mostly resealed.
  mutating func next() -> [UInt8] {
    var bytes = pick(seeds)
    for _ in 0..<Int.random(in: 1...4, using: &generator) { change(&bytes) }
    if bytes.count > target.longest { bytes.removeLast(bytes.count - target.longest) }
    if !generator.oneIn(16) { target.reseal(&bytes) }
    return bytes
  }

  private mutating func pick<Element>(_ list: [Element]) -> Element {
    list[Int.random(in: 0..<list.count, using: &generator)]
  }

  private mutating func change(_ bytes: inout [UInt8]) {
    let place = Int.random(in: 0...bytes.count, using: &generator)
    let end = min(bytes.count, place + Int.random(in: 1...16, using: &generator))
    switch Int.random(in: 0..<8, using: &generator) {
    case 0: bytes.insert(contentsOf: generator.bytes(end - place + 1), at: place)
    case 1: bytes.removeSubrange(place..<end)
    case 2:
      bytes.insert(
        contentsOf: bytes[place..<end], at: Int.random(in: 0...bytes.count, using: &generator))
    case 3 where !target.words.isEmpty:
      bytes.insert(contentsOf: [UInt8](pick(target.words)), at: place)
    case 4: overwrite(&bytes, at: place)
    case 5:
      let other = pick(seeds)
      bytes = Array(bytes[..<place] + other.dropFirst(place))
    default:
      guard place < bytes.count else { return }
      if generator.oneIn(2) {
        bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &generator)
      } else {
        bytes[place] = pick([0, 1, 0x7F, 0x80, 0xFF, .random(in: 0...255, using: &generator)])
      }
    }
  }

  /// Puts an extreme number somewhere.
  private mutating func overwrite(_ bytes: inout [UInt8], at place: Int) {
    let width = pick([2, 4, 8])
    guard place + width <= bytes.count else { return }
    let value: UInt64 = pick([0, 1, 2, .max, .max - 1, 1 << 63, 1 << 31, 1 << 32, 1 << 40, 4096])
    for index in 0..<width {
      bytes[place + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))
    }
  }
}
