import Locks
import RegionCore
import RegionTesting
import Testing

/// The stores that the end-to-end tests run on.
enum StoreKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
  case directory
  case s3

  var testDescription: String { rawValue }
}

/// A fresh store of one kind, with a way to put a proxy before it.
struct TestStore {
  let kind: StoreKind
  let scratch: Scratch
  /// Its address for `regionfs mount`.
  let address: String
  private let server: SeaweedServer?
  /// Distinguishes the stores in one bucket.
  private static let numbers = Numbers()

  init(_ kind: StoreKind) async throws {
    self.kind = kind
    scratch = try Scratch()
    switch kind {
    case .directory:
      server = nil
      address = "file://\(try scratch.directory("store"))"
    case .s3:
      let server = try await SharedServer.instance.get()
      self.server = server
      address = "s3://\(server.buckets[0])/test-\(Self.numbers.next())"
    }
  }

  /// ADDRESS:PORT of the S3 server.
  var serverAddress: String? {
    server.map { String($0.endpoint.dropFirst("http://".count)) }
  }

  /// Credentials and the like.
  var environment: [String: String] { server?.environment ?? [:] }

  /// A mount of this store, not yet mounted. With `through` the daemon talks to a proxy.
  func filesystem(
    _ name: String = "main", options: [String] = [], through proxy: ImpairmentProxy? = nil
  ) throws -> MountedFilesystem {
    var words = options
    var environment = environment
    if kind == .s3 {
      environment["AWS_ENDPOINT_URL_S3"] = nil
      let endpoint = proxy.map { "http://\($0.address)" } ?? server?.endpoint ?? ""
      words += ["endpoint=\(endpoint)", "path_style"]
    }
    return try MountedFilesystem(
      address, in: scratch, name: name, options: words, environment: environment)
  }

  /// Mounts, runs `body`, and removes the mount however it ends.
  func mounted<Result>(
    _ name: String = "main", options: [String] = [], through proxy: ImpairmentProxy? = nil,
    _ body: (MountedFilesystem) throws -> Result
  ) throws -> Result {
    let mounted = try filesystem(name, options: options, through: proxy)
    defer { mounted.cleanUp() }
    do {
      try mounted.mount()
      return try body(mounted)
    } catch {
      throw ProcessFailure("\(error)\nThe daemon's log ends:\n\(mounted.fullLog.suffix(3000))")
    }
  }

  /// Writes with one mount; checks with the same one after a remount, and with another one whose
  /// cache is empty.
  func checkEverywhere(
    options: [String] = [], write: (MountedFilesystem) throws -> Void,
    check: (MountedFilesystem) throws -> Void
  ) throws {
    try mounted(options: options) { mounted in
      try write(mounted)
      try mounted.unmount()
      try mounted.mount()
      try check(mounted)
      try mounted.unmount()
    }
    try mounted("elsewhere", options: options) { other in
      try check(other)
      try other.unmount()
    }
  }
}

/// One S3 server for the whole run.
actor SharedServer {
  static let instance = SharedServer()
  private var server: SeaweedServer?

  func get() async throws -> SeaweedServer {
    if let server { return server }
    let started = try await SeaweedServer.start()
    server = started
    return started
  }
}

/// Counts up.
private final class Numbers: Sendable {
  private let value = Lock(0)
  func next() -> Int {
    value.withLock { number in
      number += 1
      return number
    }
  }
}
