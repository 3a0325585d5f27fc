import RegionOptions
import Testing

@testable import RegionConfig

@Suite struct ConfigTests {
  static let context = OptionContext(environment: [:], uid: 1000, currentDirectory: "/home/u")

  private func file(_ text: String, _ path: String = "/etc/regionfs.toml") -> ConfigFile {
    ConfigFile(path: path, text: text, context: Self.context)
  }

  @Test func aNamedStoreHasItsAddressAndOptionsAfterTheDefaults() throws {
    let config = Configuration(files: [
      file(
        """
        [defaults]
        push_interval = "2s"
        allow_other = false
        [stores.models]
        url = "s3://bucket/models"
        region = "eu-west-1"
        ro = true
        uid = 1000
        """)
    ])
    #expect(config.files[0].problems.isEmpty)
    let resolution = try config.resolve("models")
    #expect(resolution.url == "s3://bucket/models" && resolution.name == "models")
    #expect(resolution.options.first == "push_interval=2s")
    #expect(Set(resolution.options.dropFirst()) == ["region=eu-west-1", "ro", "uid=1000"])
    let other = try config.resolve("file:///srv")
    #expect(other.url == "file:///srv" && other.options == ["push_interval=2s"])
    #expect(other.name == nil)
  }

  @Test func theLaterFileHasTheLastWord() throws {
    let system = file("[stores.a]\nurl = \"s3://old/p\"\n[stores.b]\nurl = \"s3://bbb\"")
    let user = file("[stores.a]\nurl = \"s3://new/p\"", "/home/u/.config/regionfs.toml")
    let config = Configuration(files: [system, user])
    #expect(try config.resolve("a").url == "s3://new/p")
    #expect(try config.resolve("b").url == "s3://bbb")
    #expect(config.names == ["a", "b"])
  }

  /// Text, the line of its problem, and what the message must say.
  @Test(arguments: [
    ("[stores.a]\nurl = \"s3://bucket\"\nregon = \"x\"", 3, "'region'"),
    ("[stores.a]\nurl = \"/srv\"", 2, "file:///srv"),
    ("[stores.a]\nregion = \"x\"", 1, "has no url"),
    ("[stores.a]\nurl = 7", 2, "url is a text"),
    ("stores = 3", 1, "is a table"),
    ("\n[store.a]\nurl = \"s3://bucket\"", 2, "known are [defaults]"),
    ("[defaults]\nsecret_key = \"x\"", 2, "AWS_SECRET_ACCESS_KEY"),
    ("[defaults]\ncache_dir = \"cache\"", 2, "absolute path"),
    ("[defaults]\nchunk_size = [1]", 2, "a text, a number"),
    ("[defaults]\nchunk_size = \"3m\"", 2, "a power of two"),
    ("[stores.\"a:b\"]\nurl = \"s3://bucket\"", 1, "must be A-Z"),
    ("[stores.a]\nurl = \"s3://bucket", 2, "not TOML"),
    ("[stores.a]\nurl = \"s3://bucket\"\n[stores.a.x]\ny = 1", 3, ""),
  ])
  func problemsHaveTheirLineAndARemedy(text: String, line: Int, words: String) throws {
    let problems = file(text).problems
    let first = try #require(problems.first)
    #expect(first.line == line, "\(problems)")
    #expect(first.cause.contains(words) || words.isEmpty, "\(first.cause)")
    #expect(first.description.hasPrefix("/etc/regionfs.toml:\(line): "))
  }

  @Test func aProblemOfOneStoreDoesNoHarmToOthers() throws {
    let config = Configuration(files: [
      file("[stores.a]\nurl = \"s3://bucket\"\nfrob = 1\n[stores.b]\nurl = \"s3://bucket\"")
    ])
    #expect(try config.resolve("b").url == "s3://bucket")
    #expect(throws: ConfigProblem.self) { try config.resolve("a") }
    let unknown = #expect(throws: ConfigProblem.self) { try config.resolve("c") }
    #expect(unknown?.cause.contains("known are a, b") == true)
    let broken = Configuration(files: [file("[defaults]\nfrob = 1")])
    #expect(throws: ConfigProblem.self) { try broken.resolve("s3://bucket") }
  }

  @Test func valuesKeepTheirCommasAndQuotes() throws {
    let value = #"/srv/a,b\ "c""#
    let config = file("[defaults]\ncache_dir = '\(value)'")
    #expect(config.problems.isEmpty, "\(config.problems)")
    let options = try MountOptions(parsing: config.defaults, context: Self.context)
    #expect(options.cacheDirectory == value)
  }

  @Test func emptyAndHostileTextsAreTaken() {
    #expect(file("").problems.isEmpty)
    #expect(file("\u{0}").problems.count == 1)
    for count in [10, 300, 2000, 50_000] {
      #expect(file(String(repeating: "[", count: count)).problems.count == 1)
      #expect(file("a = " + String(repeating: "[", count: count)).problems.count == 1)
      #expect(file(String(repeating: "a.", count: count) + "b = 1").problems.count >= 1)
    }
    for text in ["[stores]\n=", "[\n", "a.=1", "\u{FEFF}", "'", "[a", "a = \"\\u", "[a.\"", "= 1"] {
      _ = file(text)
    }
  }

  @Test func placesToLookFor() {
    let paths = Configuration.searchPaths(environment: ["HOME": "/home/u"])
    #expect(paths == ["/etc/regionfs.toml", "/home/u/.config/regionfs.toml"])
    let other = Configuration.searchPaths(environment: ["HOME": "/h", "XDG_CONFIG_HOME": "/x"])
    #expect(other == ["/etc/regionfs.toml", "/x/regionfs.toml"])
    #expect(Configuration.searchPaths(environment: ["REGIONFS_CONFIG": "/c"]) == ["/c"])
  }
}
