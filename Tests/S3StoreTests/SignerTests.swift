import CurlKit
import Foundation
import RegionCore
import Testing

@testable import S3Store

/// Signatures of another implementation, see golden/generate.py.
private struct Golden: Decodable {
  struct Case: Decodable, CustomTestStringConvertible {
    var name: String
    var method: String
    var host: String
    var path: String
    var query: [[String]]
    var headers: [[String]]
    var payload: String
    var token: String?
    var region: String
    var seconds: Int64
    var date: String
    var authorization: String
    /// Of a presigned GET without the headers; nil where the other signer cannot do that.
    var signature: String?
    var testDescription: String { name }
  }
  var signer: String
  var cases: [Case]

  static func load() throws -> Golden {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("golden/signatures.json")
    return try JSONDecoder().decode(Golden.self, from: Data(contentsOf: file))
  }
}

@Suite struct SignerTests {
  @Test func signaturesEqualThoseOfAnotherImplementation() throws {
    let golden = try Golden.load()
    #expect(golden.cases.count >= 19)
    for entry in golden.cases {
      let signer = Signer(
        credentials: Credentials(
          accessKey: "AKIDEXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
          sessionToken: entry.token, source: "test"), region: entry.region)
      var request = Signer.Request(
        method: entry.method, host: entry.host,
        encodedPath: PercentEncoding.encode(entry.path, keepingSlash: true),
        query: entry.query.map { ($0[0], $0[1]) },
        headers: entry.headers.map { HTTPHeader($0[0], $0[1]) }, payloadHash: entry.payload)
      let time = Timestamp(nanoseconds: entry.seconds * 1_000_000_000)
      let headers = signer.sign(request, at: time)
      let sent = Dictionary(grouping: headers) { $0.name.lowercased() }.mapValues { $0[0].value }
      #expect(sent["authorization"] == entry.authorization, "\(entry.name)")
      #expect(sent["x-amz-date"] == entry.date, "\(entry.name)")
      #expect(sent["x-amz-content-sha256"] == entry.payload, "\(entry.name)")
      #expect(sent["x-amz-security-token"] == entry.token, "\(entry.name)")
      request.method = "GET"
      request.headers = []
      guard let signature = entry.signature else { continue }
      let query = signer.presignedQuery(request, at: time, seconds: 3600)
      #expect(query.hasSuffix("&X-Amz-Signature=\(signature)"), "presigned: \(entry.name)")
    }
  }

  @Test func hashesOfTheStandards() {
    // FIPS 180-4 and RFC 4231, test case 2.
    #expect(
      Hashing.hex(Hashing.sha256(Array("abc".utf8)))
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(Hashing.hex(Hashing.sha256([])) == Signer.emptyHash)
    #expect(
      Hashing.hex(Hashing.hmac(key: Array("Jefe".utf8), "what do ya want for nothing?"))
        == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
  }

  @Test func base64OfTheStandard() {
    // RFC 4648, section 10.
    let texts = ["", "f", "fo", "foo", "foob", "fooba", "foobar"]
    let encoded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"]
    #expect(texts.map { Base64.encode(Array($0.utf8)) } == encoded)
    #expect(Base64.encode(UInt32(0xE306_9283)) == "4waSgw==")
  }

  @Test func percentEncodingGoesBothWays() {
    let text = String(decoding: Array(UInt8(0x20)...0x7E), as: UTF8.self) + "äöü日本😀"
    #expect(PercentEncoding.decode(PercentEncoding.encode(text)) == text)
    #expect(PercentEncoding.encode("a b/c+~", keepingSlash: true) == "a%20b/c%2B~")
    #expect(PercentEncoding.decode("a+b%2B", plusIsSpace: true) == "a b+")
    #expect(PercentEncoding.decode("%") == nil && PercentEncoding.decode("%4") == nil)
    #expect(PercentEncoding.decode("%GG") == nil && PercentEncoding.decode("%FF") == nil)
  }

  @Test func datesEqualThoseOfFoundation() throws {
    let formatter = DateFormatter()
    formatter.timeZone = TimeZone(identifier: "UTC")
    formatter.locale = Locale(identifier: "en_US_POSIX")
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<2000 {
      let seconds = Int64.random(in: 0..<8_000_000_000, using: &generator)
      let time = Timestamp(nanoseconds: seconds * 1_000_000_000)
      let date = Date(timeIntervalSince1970: Double(seconds))
      formatter.dateFormat = "yyyyMMdd'T'HHmmss'Z'"
      #expect(CalendarTime(time).basic == formatter.string(from: date))
      formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss 'GMT'"
      #expect(CalendarTime.parse(httpDate: formatter.string(from: date)) == time)
      formatter.dateFormat = "yyyy-MM-dd'T'HH:mm:ss'Z'"
      #expect(CalendarTime.parse(rfc3339: formatter.string(from: date)) == time)
    }
    // A far year once overflowed the nanoseconds: a service could crash the program.
    #expect(CalendarTime.parse(rfc3339: "9999-12-31T23:59:59Z") == Timestamp(nanoseconds: .max))
    #expect(CalendarTime.parse(rfc3339: "2024-02-29T23:59:58.250Z")?.seconds == 1_709_251_198)
    for bad in [
      "", "yesterday", "2024-02-29T23:59:58+02:00", "2024-13-01T00:00:00Z", "2024-02-29Z",
    ] {
      #expect(CalendarTime.parse(rfc3339: bad) == nil, "\(bad)")
      #expect(CalendarTime.parse(httpDate: bad) == nil, "\(bad)")
    }
  }
}
