// A process that tests of the directory store start, several at once, and kill.
//
//   regionfs-store-child puts DIRECTORY PREFIX     puts new objects for ever, a line for each
//   regionfs-store-child increment DIRECTORY KEY N adds 1 to a counter N times by compare-and-swap

import DirectoryStore
import Glibc
import RegionCore

/// The bytes of object `number`: long, so that kills hit the middle of writes, and all alike, so
/// that mixtures show.
func content(_ number: Int) -> [UInt8] {
  [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 20_000 + number % 1000)
}

func key(_ text: String) throws -> ObjectKey {
  guard let key = ObjectKey(text) else { throw Usage() }
  return key
}

struct Usage: Error {}

func puts(_ store: DirectoryStore, prefix: String) async throws {
  var root: ETag?
  var number = 0
  while true {
    _ = try await store.put(
      key("\(prefix)/\(number % 7)/\(number)"), IOBuffer(content(number)), condition: .absent,
      priority: .background)
    root = try await store.put(
      key("\(prefix)/root"), IOBuffer(content(number)),
      condition: root.map(PutCondition.matches) ?? .absent, priority: .demand)
    // Only an acknowledged write is told of.
    print(number)
    fflush(nil)
    number += 1
  }
}

func increment(_ store: DirectoryStore, _ counter: ObjectKey, times: Int) async throws {
  var done = 0
  while done < times {
    let buffer = IOBuffer(capacity: 64)
    let info = try await store.get(counter, range: nil, into: buffer, priority: .demand)
    guard let value = Int(String(decoding: buffer.array, as: UTF8.self)) else { throw Usage() }
    do throws(StoreError) {
      _ = try await store.put(
        counter, IOBuffer([UInt8]("\(value + 1)".utf8)), condition: .matches(info.etag),
        priority: .demand)
      done += 1
    } catch {
      if error.kind != .preconditionFailed { throw error }
    }
  }
  print("done")
}

@main struct StoreChild {
  static func main() async throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 4 else { throw Usage() }
    let store = try DirectoryStore(directory: arguments[2])
    switch arguments[1] {
    case "puts": try await puts(store, prefix: arguments[3])
    case "increment":
      guard arguments.count == 5, let times = Int(arguments[4]) else { throw Usage() }
      try await increment(store, key(arguments[3]), times: times)
    default: throw Usage()
    }
  }
}
