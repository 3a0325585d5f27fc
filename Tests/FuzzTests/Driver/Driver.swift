import CFuzzDriver
import Foundation
import RegionTesting

/// `regionfs-fuzz TARGET [options of libFuzzer] CORPUS`, `regionfs-fuzz --list`, or
/// `regionfs-fuzz --seeds TARGET DIRECTORY`. Built and run by `scripts/fuzz` only.
@main enum Driver {
  /// What an input may make a parser allocate in all: a constant for decoders and messages, and a
  /// multiple of its length (an XML element of four bytes is a node of about a hundred, in arrays
  /// that grow by doubling; every input is read twice and written once).
  static func budget(for length: Int) -> Int { unsafe target.allowance + 4096 * length }

  /// To merge, libFuzzer runs this program again with its own arguments, without the target's name.
  private static let inheritedTarget = "REGIONFS_FUZZ_TARGET"

  nonisolated(unsafe) static var target = FuzzTarget.all[0]

  static func main() throws {
    let arguments = CommandLine.arguments
    if let name = ProcessInfo.processInfo.environment[inheritedTarget] {
      unsafe target = try find(name)
      exit(fuzz(arguments))
    }
    switch arguments.dropFirst().first {
    case "--list": for target in FuzzTarget.all { print(target.name, target.longest) }
    case "--seeds" where arguments.count == 4:
      try writeSeeds(of: try find(arguments[2]), to: arguments[3])
    case let name? where !name.hasPrefix("-"):
      unsafe target = try find(name)
      unsafe setenv(inheritedTarget, name, 1)
      exit(fuzz([arguments[0]] + arguments.dropFirst(2)))
    default: throw FuzzFinding("usage: regionfs-fuzz TARGET [options of libFuzzer] CORPUS")
    }
  }

  private static func find(_ name: String) throws -> FuzzTarget {
    guard let target = FuzzTarget.all.first(where: { $0.name == name }) else {
      throw FuzzFinding("no target \(name)")
    }
    return target
  }

  private static func writeSeeds(of target: FuzzTarget, to directory: String) throws {
    for (index, bytes) in try Seeds.all(for: target).enumerated() {
      try Data(bytes).write(to: URL(fileURLWithPath: "\(directory)/seed-\(index)"))
    }
    // libFuzzer's dictionaries are lines of "text" with escapes.
    let words = target.words.map { word in
      "\"" + word.utf8.map { "\\x" + ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        + "\"\n"
    }
    // An empty one is an error to libFuzzer.
    guard !words.isEmpty else { return }
    try Data(words.joined().utf8).write(to: URL(fileURLWithPath: directory + ".dictionary"))
  }

  private static func fuzz(_ arguments: [String]) -> CInt {
    // SAFETY: the copies live as long as the process.
    var count = CInt(arguments.count)
    let vector = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>.allocate(
      capacity: arguments.count + 1)
    for (index, argument) in arguments.enumerated() { unsafe vector[index] = strdup(argument) }
    unsafe vector[arguments.count] = nil
    var start: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = unsafe vector
    return unsafe LLVMFuzzerRunDriver(&count, &start) { data, size in
      unsafe Driver.test([UInt8](UnsafeBufferPointer(start: data, count: size)))
      return 0
    }
  }

  private static func test(_ bytes: [UInt8]) {
    allocation_budget_begin(budget(for: bytes.count))
    do throws(FuzzFinding) {
      _ = unsafe try target.run(bytes)
    } catch {
      fatalError("\(error)")
    }
    _ = allocation_budget_end()
  }
}

/// libFuzzer's hook: its own mutation, and then mostly the checksums that belong to it.
@_cdecl("LLVMFuzzerCustomMutator")
public func customMutator(
  _ data: UnsafeMutablePointer<UInt8>, _ size: Int, _ limit: Int, _ seed: UInt32
) -> Int {
  // SAFETY: libFuzzer gives `limit` bytes at `data`, `size` of them in use.
  let count = unsafe LLVMFuzzerMutate(data, size, limit)
  guard seed % 16 != 0 else { return count }
  var bytes = unsafe [UInt8](UnsafeBufferPointer(start: data, count: count))
  unsafe Driver.target.reseal(&bytes)
  let kept = min(bytes.count, limit)
  for index in 0..<kept { unsafe data[index] = bytes[index] }
  return kept
}
