/// Something wrong that an input showed, other than a trap: those need no words.
struct FuzzFinding: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }
}

/// One parser with what a fuzzer needs to know of it.
struct FuzzTarget: Sendable, CustomStringConvertible {
  /// What `scripts/fuzz` calls it; also the name of its corpus.
  var name: String
  /// Longest input that is tried, in bytes.
  var longest = 4096
  /// What an input may make its parser allocate beside what goes with its length, in bytes.
  var allowance = Self.usualAllowance
  /// The golden file (`RegionCoreTests/Golden`) whose samples are valid inputs.
  var golden: String?
  /// Valid inputs, and some that almost are.
  var examples: [[UInt8]] = []
  /// Words of the format, for mutations.
  var words: [String] = []
  /// Corrects checksums of changed bytes, so that what is behind them is reached.
  var reseal: @Sendable (inout [UInt8]) -> Void = { _ in }
  /// Feeds an input; says whether the parser took it. Throws a `FuzzFinding` where what came of it
  /// cannot be right.
  var run: @Sendable ([UInt8]) throws(FuzzFinding) -> Bool

  var description: String { name }

  /// Room for decoders and messages, in bytes.
  static let usualAllowance = 2 << 20

  /// All of them.
  static let all =
    formats + logs + storeAnswers + settings + control

  /// Demands of a parser that it says the same twice, and of an encoder that what it writes for an
  /// accepted value is read as that value again: as the very same bytes where the format is
  /// `canonical`.
  static func check<Value: Equatable, Failure: Error & Equatable>(
    _ bytes: [UInt8], canonical: Bool = false,
    parse: ([UInt8]) throws(Failure) -> Value,
    encode: ((Value) throws -> [UInt8])? = nil
  ) throws(FuzzFinding) -> Bool {
    let first = outcome(bytes, parse)
    let second = outcome(bytes, parse)
    guard first == second else {
      throw FuzzFinding("the same bytes are read in two ways: \(first) and \(second)")
    }
    guard case .success(let value) = first else { return false }
    guard let encode else { return true }
    let again: [UInt8]
    do {
      again = try encode(value)
    } catch {
      throw FuzzFinding("an accepted value is refused by its encoder: \(error)")
    }
    if canonical {
      guard again == bytes else { throw FuzzFinding("an accepted value has a second spelling") }
    } else {
      guard outcome(again, parse) == .success(value) else {
        throw FuzzFinding("an accepted value is read as another one: \(value)")
      }
    }
    return true
  }

  private static func outcome<Value, Failure: Error>(
    _ bytes: [UInt8], _ parse: ([UInt8]) throws(Failure) -> Value
  ) -> Result<Value, Failure> {
    do throws(Failure) { return .success(try parse(bytes)) } catch { return .failure(error) }
  }

  /// As `check`, for parsers that say nil.
  static func check<Value: Equatable>(
    _ bytes: [UInt8], canonical: Bool = false,
    optional parse: ([UInt8]) -> Value?, encode: ((Value) throws -> [UInt8])? = nil
  ) throws(FuzzFinding) -> Bool {
    try check(
      bytes, canonical: canonical,
      parse: { bytes throws(Nothing) in
        guard let value = parse(bytes) else { throw Nothing() }
        return value
      }, encode: encode)
  }

  private struct Nothing: Error, Equatable {}
}

extension [UInt8] {
  /// The bytes as text; what is no UTF-8 is replaced, as all our readers of text do.
  var text: String { String(decoding: self, as: UTF8.self) }

  init(_ text: String) { self = Array(text.utf8) }
}
