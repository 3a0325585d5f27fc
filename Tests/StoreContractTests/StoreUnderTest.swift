import DirectoryStore
import RegionCore
import RegionTesting
import Testing

/// A kind of store that the contract is tested on.
struct StoreUnderTest: Sendable, CustomTestStringConvertible {
  var testDescription: String
  /// Whether it lists in byte order of whole keys. SeaweedFS lists directory by directory.
  var isOrdered = true
  /// Rounds of a race: SeaweedFS takes seconds to decide one.
  var raceRounds = 50
  /// Makes an empty store, which is used only while the object beside it lives.
  let make: @Sendable () async throws -> (store: any ObjectStore, keeper: any Sendable)

  /// Every store, bare and behind the layers that it has in use.
  static let all: [StoreUnderTest] = bare + bare.map(\.decorated)

  static let bare: [StoreUnderTest] = [
    StoreUnderTest(testDescription: "memory") { (MemoryStore(), 0) },
    StoreUnderTest(testDescription: "directory") {
      let scratch = try Scratch()
      return (try DirectoryStore(directory: scratch.file("store")), scratch)
    },
    StoreUnderTest(testDescription: "S3 (SeaweedFS)", isOrdered: false, raceRounds: 5) {
      let server = try await seaweed.value
      return (try server.store(prefix: "contract-\(Random128.random())"), server)
    },
  ]

  /// One server for all tests: it takes seconds to start. Each test has a prefix of its own.
  private static let seaweed = Task { try await SeaweedServer.start() }

  /// The store behind `Metered(Retrying(Verifying(…)))`.
  private var decorated: StoreUnderTest {
    StoreUnderTest(
      testDescription: "\(testDescription), decorated", isOrdered: isOrdered, raceRounds: raceRounds
    ) {
      let (store, keeper) = try await make()
      return (MeteredStore(RetryingStore(VerifyingStore(store), policy: .quick)), keeper)
    }
  }
}

extension RetryPolicy {
  /// Several attempts without the waits, which tests of their own have.
  static let quick = RetryPolicy(
    attempts: 4, base: .milliseconds(1), longestWait: .milliseconds(2), timeLimit: .seconds(5))
}

extension ObjectStore {
  /// Puts these bytes.
  @discardableResult
  func put(_ key: ObjectKey, _ bytes: [UInt8], _ condition: PutCondition = .none)
    async throws(StoreError) -> ETag
  {
    try await put(key, IOBuffer(bytes), condition: condition, priority: .demand)
  }

  /// Gets bytes, offering a buffer that is much larger.
  func get(_ key: ObjectKey, _ range: Range<UInt64>? = nil) async throws(StoreError)
    -> (bytes: [UInt8], info: ObjectInfo)
  {
    let buffer = IOBuffer(capacity: 16 << 20)
    let info = try await get(key, range: range, into: buffer, priority: .demand)
    return (buffer.array, info)
  }

  /// All keys with a prefix, in the order in which they came, by pages of `limit`.
  func all(_ prefix: String, limit: Int = 1000) async throws(StoreError) -> [String] {
    var keys: [String] = []
    var token: String?
    repeat {
      let page = try await list(prefix: prefix, from: token, limit: limit)
      keys += page.keys.map(\.text)
      token = page.next
    } while token != nil
    return keys
  }
}

func key(_ text: String) throws -> ObjectKey { try #require(ObjectKey(text)) }

/// The kind of the error that `operation` throws; nil if it throws none.
func failure(_ operation: () async throws -> Void) async throws -> StoreError.Kind? {
  do {
    try await operation()
    return nil
  } catch let error as StoreError {
    return error.kind
  }
}

extension [String] {
  /// Sorted by bytes, as keys are.
  var inByteOrder: [String] { sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) } }
}
