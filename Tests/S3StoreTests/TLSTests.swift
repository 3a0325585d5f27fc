import Foundation
import RegionCore
import RegionTesting
import Testing

@testable import S3Store

/// Against a real server over TLS, with a certificate authority made for the test.
@Suite struct TLSTests {
  /// An authority and, signed by it, a certificate for `name`.
  static func makeCertificate(in directory: String, for name: String) throws {
    try openssl(
      "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
      "2", "-subj", "/CN=test authority", "-keyout", "\(directory)/ca.key", "-out",
      "\(directory)/ca.pem")
    try openssl(
      "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
      "/CN=server", "-keyout", "\(directory)/server.key", "-out", "\(directory)/server.csr")
    try "subjectAltName=\(name)".write(
      toFile: "\(directory)/names", atomically: true, encoding: .utf8)
    try openssl(
      "x509", "-req", "-in", "\(directory)/server.csr", "-CA", "\(directory)/ca.pem", "-CAkey",
      "\(directory)/ca.key", "-CAcreateserial", "-days", "2", "-extfile", "\(directory)/names",
      "-out", "\(directory)/server.pem")
  }

  static func openssl(_ arguments: String...) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
    process.arguments = arguments
    process.standardError = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw FixtureError("openssl \(arguments) failed") }
  }

  @Test func onlyTheNamedAuthorityIsTrusted() async throws {
    let files = try TestFiles()
    try Self.makeCertificate(in: files.path, for: "IP:127.0.0.1")
    let other = try TestFiles()
    try Self.makeCertificate(in: other.path, for: "IP:127.0.0.1")
    let server = try await SeaweedServer.start(
      buckets: ["tls-bucket"], tls: ("\(files.path)/server.pem", "\(files.path)/server.key"))
    defer { server.stop() }
    func store(caFile: String?) throws -> S3Store {
      try S3Store(
        S3Configuration(
          url: "s3://tls-bucket/p",
          options: S3Options(endpoint: server.tlsEndpoint, caFile: caFile),
          environment: server.environment))
    }
    let good = try store(caFile: "\(files.path)/ca.pem")
    let key = try #require(ObjectKey("k"))
    let bytes = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 >> 3) }
    let etag = try await good.put(key, IOBuffer(bytes), condition: .absent, priority: .demand)
    let buffer = IOBuffer(capacity: bytes.count)
    let info = try await good.get(key, range: nil, into: buffer, priority: .demand)
    #expect(info.etag == etag && buffer.array == bytes)
    for file in [nil, "\(other.path)/ca.pem", "\(files.path)/absent.pem"] {
      let error = try await SeaweedTests.error {
        _ = try await store(caFile: file).list(prefix: "", from: nil, limit: 1)
      }
      #expect(error.kind == .accessDenied && error.detail.contains("-o ca="), "\(error)")
    }
  }

  /// The right authority is not enough: the certificate must be of this host.
  @Test func aCertificateOfAnotherHostIsRefused() async throws {
    let files = try TestFiles()
    try Self.makeCertificate(in: files.path, for: "DNS:elsewhere.example")
    let server = try await SeaweedServer.start(
      buckets: ["tls-bucket"], tls: ("\(files.path)/server.pem", "\(files.path)/server.key"))
    defer { server.stop() }
    let store = try S3Store(
      S3Configuration(
        url: "s3://tls-bucket",
        options: S3Options(endpoint: server.tlsEndpoint, caFile: "\(files.path)/ca.pem"),
        environment: server.environment))
    let error = try await SeaweedTests.error {
      _ = try await store.list(prefix: "", from: nil, limit: 1)
    }
    #expect(error.kind == .accessDenied, "\(error)")
  }
}
