import RegionCore
import RegionTesting
import Testing

/// What holds for every format: exact round trips, and an error for everything else.
@Suite struct FormatRobustnessTests {
  @Test(arguments: FormatUnderTest.all)
  func encodesWhatItDecoded(_ format: FormatUnderTest) throws {
    for seed in 0..<100 as Range<UInt64> {
      let bytes = try format.sample(seed)
      #expect(try format.recode(bytes) == bytes, "seed \(seed)")
    }
  }

  @Test(arguments: FormatUnderTest.all)
  func refusesEveryTruncation(_ format: FormatUnderTest) throws {
    for seed in 0..<3 as Range<UInt64> {
      let bytes = try format.sample(seed)
      for length in 0..<bytes.count {
        #expect(throws: FormatError(.truncated, what: format.what), "seed \(seed) length \(length)")
        {
          try format.recode([UInt8](bytes[..<length]))
        }
      }
    }
  }

  @Test(arguments: FormatUnderTest.all)
  func refusesBytesBehindTheEnd(_ format: FormatUnderTest) throws {
    #expect(throws: FormatError.self) { try format.recode(try format.sample(1) + [0]) }
  }

  @Test(arguments: FormatUnderTest.all)
  func refusesEveryFlippedBit(_ format: FormatUnderTest) throws {
    for seed in 0..<2 as Range<UInt64> {
      let bytes = try format.sample(seed)
      // Every bit of the first and last bytes, then a few of each further byte: payloads are long.
      for position in bytes.indices where position < 1024 || position % 61 == 0 {
        for bit in 0..<8 where position < 256 || bit == position % 8 {
          var damaged = bytes
          damaged[position] ^= 1 << bit
          #expect(throws: FormatError.self, "seed \(seed) byte \(position) bit \(bit)") {
            try format.recode(damaged)
          }
        }
      }
    }
  }

  /// Hostile bytes with a correct checksum: an error or a value, never a trap; and what is accepted
  /// has exactly one spelling.
  @Test(arguments: FormatUnderTest.all)
  func acceptsOnlyCanonicalBytes(_ format: FormatUnderTest) throws {
    var generator = SplitMix64(seed: 99)
    var accepted = 0
    for round in 0..<3000 as Range<UInt64> {
      var bytes = try format.sample(round % 10)
      for _ in 0..<Int.random(in: 1...3, using: &generator) {
        // Mostly near the start: names and pages at the end may hold anything.
        let end = generator.oneIn(2) ? bytes.count : min(bytes.count, 120)
        let position = Int.random(in: 20..<end, using: &generator)
        let extremes: [UInt8] = [0, 1, 0x7F, 0x80, 0xFF, .random(in: 0...255, using: &generator)]
        bytes[position] = extremes[Int.random(in: 0..<extremes.count, using: &generator)]
      }
      format.reseal(&bytes)
      do {
        let again = try format.recode(bytes)
        #expect(again == bytes, "round \(round)")
        accepted += 1
      } catch is FormatError {
        continue
      }
    }
    #expect(accepted > 0, "no mutation reached a value: the test proves nothing")
  }

  @Test(arguments: FormatUnderTest.all)
  func refusesRandomBytes(_ format: FormatUnderTest) throws {
    var generator = SplitMix64(seed: 5)
    for length in 0..<300 {
      #expect(throws: FormatError.self) { try format.recode(generator.bytes(length)) }
    }
  }

  @Test(arguments: FormatUnderTest.framed)
  func namesANewerVersionBeforeItsChecksum(_ format: FormatUnderTest) throws {
    var bytes = try format.sample(1)
    bytes[8] = 2
    #expect(throws: FormatError(.newerVersion(2), what: format.what)) { try format.recode(bytes) }
    bytes[9] = 1
    #expect(throws: FormatError(.newerVersion(258), what: format.what)) { try format.recode(bytes) }
    bytes[8] = 0
    bytes[9] = 0
    format.reseal(&bytes)
    #expect(throws: FormatError(.invalid("version 0"), what: format.what)) {
      try format.recode(bytes)
    }
  }

  @Test(arguments: FormatUnderTest.framed)
  func tellsOneKindFromAnother(_ format: FormatUnderTest) throws {
    for other in FormatUnderTest.framed where other.name != format.name {
      #expect(throws: FormatError(.notOurs, what: format.what)) {
        try format.recode(try other.sample(1))
      }
    }
  }

  @Test(arguments: FormatUnderTest.framed)
  func refusesReservedBitsOfTheFrame(_ format: FormatUnderTest) throws {
    var bytes = try format.sample(1)
    bytes[10] = 1
    format.reseal(&bytes)
    #expect(throws: FormatError(.invalid("reserved field is not zero"), what: format.what)) {
      try format.recode(bytes)
    }
  }

  /// A checksum at the end of the checked bytes would make the CRC of every intact whole the same.
  @Test(arguments: FormatUnderTest.framed)
  func crcOfTheWholeTellsContentsApart(_ format: FormatUnderTest) throws {
    let samples = try Set((0..<20 as Range<UInt64>).map(format.sample))
    let checksums = Set(samples.map { CRC32C.checksum($0) })
    #expect(samples.count > 1)
    #expect(checksums.count == samples.count)
  }
}

@Suite struct ChecksumTests {
  @Test func crc32cOfTheCheckString() {
    #expect(CRC32C.checksum([UInt8]("123456789".utf8)) == 0xE306_9283)
  }

  @Test func crc32cContinues() {
    let bytes = [UInt8]("123456789".utf8)
    for cut in 0...bytes.count {
      #expect(
        CRC32C.checksum(bytes[cut...], continuing: CRC32C.checksum(bytes[..<cut])) == 0xE306_9283)
    }
  }
}
