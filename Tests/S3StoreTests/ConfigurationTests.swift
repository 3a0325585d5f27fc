import Foundation
import Testing

@testable import S3Store

/// A directory of a test, removed with the object.
final class TestFiles {
  let path: String

  init(_ files: [String: String] = [:]) throws {
    path = FileManager.default.temporaryDirectory.path + "/regionfs-s3-\(UUID().uuidString)"
    try FileManager.default.createDirectory(
      atPath: path + "/.aws", withIntermediateDirectories: true)
    for (name, text) in files { try write(name, text) }
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ name: String, _ text: String) throws {
    try text.write(toFile: "\(path)/\(name)", atomically: true, encoding: .utf8)
  }
}

@Suite struct ConfigurationTests {
  static func configuration(
    _ url: String, _ options: S3Options = S3Options(), _ environment: [String: String] = [:]
  ) throws(S3ConfigurationError) -> S3Configuration {
    try S3Configuration(url: url, options: options, environment: environment)
  }

  @Test func urls() throws {
    let plain = try Self.configuration("s3://bucket")
    #expect(plain.bucket == "bucket" && plain.prefix == "" && plain.address == "s3://bucket")
    let deep = try Self.configuration("s3://bucket.with.dots/a b/ü+c/")
    #expect(deep.prefix == "a b/ü+c" && deep.address == "s3://bucket.with.dots/a b/ü+c")
    #expect(deep.keyPrefix == "a b/ü+c/")
    for bad in [
      "bucket", "s3:/bucket", "s3://", "s3:///x", "s3://ab", "s3://bad bucket", "s3://b@d/x",
      "s3://-bucket", "s3://bucket/a//b", "s3://bucket/../x", "s3://bucket/a/./b",
      "s3://bucket/a\nb", "s3://bucket/" + String(repeating: "x", count: 101),
      "s3://" + String(repeating: "b", count: 64),
    ] {
      #expect(throws: S3ConfigurationError.self, "\(bad)") { try Self.configuration(bad) }
    }
  }

  @Test func addressing() throws {
    let aws = try Self.configuration("s3://bucket", S3Options(region: "eu-west-1"))
    #expect(aws.origin == "https://bucket.s3.eu-west-1.amazonaws.com")
    #expect(aws.encodedPath("a b") == "/a%20b" && aws.encodedPath("") == "/")
    let dots = try Self.configuration("s3://buc.ket", S3Options(region: "eu-west-1"))
    #expect(dots.origin == "https://s3.eu-west-1.amazonaws.com")
    #expect(dots.encodedPath("k") == "/buc.ket/k" && dots.encodedPath("") == "/buc.ket")
    let china = try Self.configuration("s3://bucket", S3Options(region: "cn-north-1"))
    #expect(china.host == "bucket.s3.cn-north-1.amazonaws.com.cn")
    let custom = try Self.configuration(
      "s3://bucket", S3Options(endpoint: "https://Minio.local:443/s3/"))
    #expect(custom.origin == "https://minio.local")
    #expect(custom.encodedPath("k") == "/s3/bucket/k")
    let virtual = try Self.configuration(
      "s3://bucket", S3Options(endpoint: "http://store.local:9000", pathStyle: false))
    #expect(virtual.origin == "http://bucket.store.local:9000")
    #expect(virtual.encodedPath("k") == "/k")
    let six = try Self.configuration("s3://bucket", S3Options(endpoint: "http://[::1]:9000"))
    #expect(six.origin == "http://[::1]:9000" && six.pathStyle)
    #expect(throws: S3ConfigurationError.self) {
      try Self.configuration(
        "s3://bucket", S3Options(endpoint: "http://127.0.0.1:1", pathStyle: false))
    }
    for bad in [
      "localhost:9000", "ftp://x", "http://", "http://h:0", "http://h:x", "http://u@h",
      "http://h?q", "http://h h", "http://[::1", "http://*[::p:443", "http://a:b:1", "http://[]",
    ] {
      #expect(throws: S3ConfigurationError.self, "\(bad)") {
        try Self.configuration("s3://bucket", S3Options(endpoint: bad))
      }
    }
    #expect(throws: S3ConfigurationError.self) {
      try Self.configuration("s3://bucket", S3Options(region: "eu west"))
    }
  }

  @Test func settingsComeFromOptionThenEnvironmentThenProfile() throws {
    let files = try TestFiles([
      ".aws/config": """
      [default]
      region = from-default
      [profile work]
      region = from-profile
      endpoint_url = http://profile.local
      ca_bundle = /profile.pem
      """
    ])
    var environment = ["HOME": files.path]
    #expect(
      try Self.configuration("s3://bucket", S3Options(), environment).region == "from-default")
    environment["AWS_PROFILE"] = "work"
    let profile = try Self.configuration("s3://bucket", S3Options(), environment)
    #expect(profile.region == "from-profile" && profile.caFile == "/profile.pem")
    #expect(profile.endpoint.description == "http://profile.local" && profile.pathStyle)
    environment["AWS_DEFAULT_REGION"] = "from-default-region"
    environment["AWS_ENDPOINT_URL"] = "http://all.local"
    environment["AWS_CA_BUNDLE"] = "/environment.pem"
    let second = try Self.configuration("s3://bucket", S3Options(), environment)
    #expect(second.region == "from-default-region" && second.caFile == "/environment.pem")
    #expect(second.endpoint.host == "all.local")
    environment["AWS_REGION"] = "from-region"
    environment["AWS_ENDPOINT_URL_S3"] = "http://s3.local"
    let third = try Self.configuration("s3://bucket", S3Options(), environment)
    #expect(third.region == "from-region" && third.endpoint.host == "s3.local")
    let options = S3Options(
      endpoint: "http://option.local", region: "from-option", profile: "work", caFile: "/option.pem"
    )
    let last = try Self.configuration("s3://bucket", options, environment)
    #expect(last.region == "from-option" && last.endpoint.host == "option.local")
    #expect(last.caFile == "/option.pem")
    #expect(throws: S3ConfigurationError.self) {
      try Self.configuration("s3://bucket", S3Options(profile: "absent"), environment)
    }
    #expect(try Self.configuration("s3://bucket").region == "us-east-1")
  }

  @Test func profileFiles() {
    let text = """
      # comment
      ignored = before any section
      [default]
      aws_access_key_id = A ; comment
      aws_secret_access_key=S/#;+=
      [profile one]
      Region = r1   # comment
      s3 =
        addressing_style = path
        max = 3
      after = x
      [sso-session y]
      region = no
      [profile "two words"]
      region = r2
      nonsense
      = nameless
      [profile one]
      more = 1
      """
    let config = ProfileFile(text, kind: .config).profiles
    #expect(
      config["default"]
        == ["aws_access_key_id": "A", "aws_secret_access_key": "S/#;+="])
    #expect(
      config["one"]
        == [
          "region": "r1", "s3": "", "s3.addressing_style": "path", "s3.max": "3", "after": "x",
          "more": "1",
        ])
    #expect(config["two words"] == ["region": "r2"] && config.count == 3)
    let credentials = ProfileFile("[one]\r\na = 1\r\n[default]\r\nb = 2\r\n", kind: .credentials)
    #expect(credentials.profiles == ["one": ["a": "1"], "default": ["b": "2"]])
  }

  @Test func aCombiningMarkHidesNoBracketAndNoBlank() {
    let mark = "\u{301}"
    let text = "[profile a]\(mark)\nb = 1 #\(mark) comment\nc =\(mark)d\n"
    #expect(ProfileFile(text, kind: .config).profiles == ["a": ["b": "1", "c": "\(mark)d"]])
  }
}
