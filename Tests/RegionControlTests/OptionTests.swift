import RegionOptions
import Testing

@Suite struct OptionTests {
  let context = OptionContext(
    environment: ["HOME": "/home/u"], uid: 1000, currentDirectory: "/home/u/work")

  func parse(_ options: String...) throws(OptionError) -> MountOptions {
    try MountOptions(parsing: options, context: context)
  }

  func failure(_ options: String...) -> OptionError? {
    do throws(OptionError) {
      _ = try MountOptions(parsing: options, context: context)
      return nil
    } catch {
      return error
    }
  }

  @Test func defaultsAreTheDocumentedOnes() throws {
    let options = try parse()
    #expect(options.cacheDirectory == "/home/u/.cache/regionfs")
    #expect(options.chunkBytes == 262_144)
    #expect(options.pushInterval == .seconds(5))
    #expect(options.logLimitBytes == 1 << 30)
    #expect(options.faultTimeout == .seconds(30))
    #expect(options.downloadLimitBytes == nil && options.uploadLimitBytes == nil)
    #expect(options.pull == .auto)
    #expect(options.sync == .local)
    #expect(!options.readOnly)
  }

  @Test func cacheDirectoryFollowsUserAndEnvironment() {
    func directory(_ environment: [String: String], _ uid: UInt32) -> String {
      OptionContext(environment: environment, uid: uid, currentDirectory: "/").defaultCacheDirectory
    }
    #expect(directory(["XDG_CACHE_HOME": "/x", "HOME": "/h"], 1) == "/x/regionfs")
    #expect(directory(["XDG_CACHE_HOME": "relative", "HOME": "/h"], 1) == "/h/.cache/regionfs")
    #expect(directory(["XDG_CACHE_HOME": "/x"], 0) == "/var/cache/regionfs")
    #expect(directory([:], 7) == "/tmp/regionfs-cache-7")
  }

  @Test func everyOptionOfTheSpecificationIsRead() throws {
    let options = try parse(
      "cache_dir=cache,endpoint=http://127.0.0.1:9000,region=eu-1,profile=p,path_style,ca=../ca.pem",
      "push_interval=500ms,pull=background,sync=remote,chunk_size=1MiB,log_limit=64m",
      "download_limit=10m,upload_limit=512k",
      "fault_timeout=1m,ro,allow_other,uid=5,gid=6,umask=027,unsafe_no_cas,log=/l,log_level=debug")
    #expect(options.cacheDirectory == "/home/u/work/cache")
    #expect(options.endpoint == "http://127.0.0.1:9000")
    #expect(options.region == "eu-1")
    #expect(options.profile == "p")
    #expect(options.pathStyle)
    #expect(options.certificateAuthorities == "/home/u/ca.pem")
    #expect(options.pushInterval == .milliseconds(500))
    #expect(options.pull == .background)
    #expect(options.sync == .remote)
    #expect(options.chunkBytes == 1 << 20)
    #expect(options.logLimitBytes == 64 << 20)
    #expect(options.faultTimeout == .seconds(60))
    #expect(options.downloadLimitBytes == 10 << 20 && options.uploadLimitBytes == 512 << 10)
    #expect(options.readOnly && options.allowOther && options.unsafeNoCAS)
    #expect(options.uid == 5 && options.gid == 6 && options.umask == 0o27)
    #expect(options.logFile == "/l" && options.logLevel == .debug)
  }

  @Test func laterOptionsWin() throws {
    #expect(try parse("ro,rw").readOnly == false)
    #expect(try parse("pull=lazy", "pull=full").pull == .full)
    #expect(try parse("nosuid,noatime,suid").kernelFlags == ["noatime", "suid"])
  }

  @Test func fstabWordsAreAccepted() throws {
    let options = try parse(
      "defaults,noauto,user,user=me,_netdev,nofail,x-systemd.automount,X-mount.mkdir,comment=a b,,")
    #expect(options == (try parse()))
  }

  @Test func commasInValuesAreEscapedOrQuoted() throws {
    #expect(try parse(#"cache_dir=/a\,b,ro"#).cacheDirectory == "/a,b")
    #expect(try parse(#"cache_dir="/a,b",ro"#).cacheDirectory == "/a,b")
    #expect(try parse(#"cache_dir=/a\\b"#).cacheDirectory == #"/a\b"#)
    #expect(try parse("cache_dir=/a=b").cacheDirectory == "/a=b")
    #expect(failure("ro\\") == .malformed(reason: "ends in a backslash"))
    #expect(failure("cache_dir=\"/a") == .malformed(reason: "a double quote is not closed"))
  }

  /// A comma followed by a combining mark is one Character and still a comma.
  @Test func combiningMarkDoesNotHideComma() throws {
    #expect(failure("ro,\u{301}") == .unknown(name: "\u{301}", nearest: nil))
  }

  @Test(arguments: [
    ("push_intervall=3", "push_interval"), ("chunksize=64k", "chunk_size"), ("RO", "ro"),
    ("pathstyle", "path_style"), ("cachedir=/x", "cache_dir"), ("nosiud", "nosuid"),
    ("endpiont=x", "endpoint"), ("alow_others", "allow_other"),
  ])
  func unknownOptionNamesTheNearest(option: String, nearest: String) {
    let name = String(option.prefix { $0 != "=" })
    #expect(failure(option) == .unknown(name: name, nearest: nearest))
  }

  /// What is like none of them is not likened to any.
  @Test(arguments: ["quux", "compression=zstd", "z", "vers=4"])
  func anOptionLikeNoOtherNamesNone(option: String) throws {
    let name = String(option.prefix { $0 != "=" })
    #expect(failure(option) == .unknown(name: name, nearest: nil))
    #expect("\(try #require(failure(option)))".contains("--help"))
  }

  @Test(arguments: [
    "chunk_size=63k", "chunk_size=16m", "chunk_size=96k", "chunk_size=", "log_limit=1m",
    "push_interval=99ms", "push_interval=2h", "push_interval=-1", "push_interval=5 s",
    "fault_timeout=0", "pull=eager", "sync=both", "sync", "umask=1777", "umask=8", "umask=-7",
    "uid=-1", "uid=4294967295", "uid=root", "uid=+5", "endpoint=ftp://x", "endpoint=http://",
    "log_level=loud", "ro=1", "noatime=1", "log_limit=99999999999999999999", "chunk_size=k",
  ])
  func wrongValueNamesOptionValueAndRange(option: String) throws {
    let error = try #require(failure(option))
    let parts = option.split(separator: "=", maxSplits: 1)
    #expect(error.description.contains("'\(parts[0])'"))
    #expect(!error.description.contains("\n"))
    if case .badValue(_, let value, let expected) = error {
      #expect(value == parts[1])
      #expect(!expected.isEmpty)
    }
  }

  @Test(arguments: [
    "access_key=AKIA99", "secret_key=AKIA99", "SECRET=AKIA99", "session_token=AKIA99",
    "aws_secret_access_key=AKIA99", "password=AKIA99", "endpoint=http://AKIA99@host",
    "endpoint=https://u:AKIA99@host", "frobnicate=AKIA99",
  ])
  func secretsAreRefusedAndNeverRepeated(option: String) throws {
    let error = try #require(failure(option))
    #expect(!error.description.contains("AKIA99"))
  }

  @Test func secretErrorNamesTheRemedy() {
    #expect(failure("secret_key=x")?.description.contains("profile=") == true)
  }

  @Test func remountIsRefusedRatherThanIgnored() {
    #expect(failure("remount,ro")?.description.contains("unmount") == true)
  }

  @Test func hugeOptionStringsAreBounded() {
    #expect(failure(String(repeating: "a", count: 70_000)) != nil)
    #expect(failure(String(repeating: "a", count: 60_000)) != nil)
  }

  @Test(
    arguments: [
      ("64k", 65_536), ("256KiB", 262_144), ("1M", 1 << 20), ("1mb", 1 << 20), ("7", 7), ("0", 0),
      ("2t", 2 << 40), ("12B", 12),
    ] as [(String, UInt64)])
  func sizesAreReadAndWritten(text: String, bytes: UInt64) {
    #expect(Quantities.bytes(text) == bytes)
    #expect(Quantities.bytes(Quantities.shortText(bytes: bytes)) == bytes)
  }

  @Test(arguments: ["", "k", "1.5m", "-1", "+1", "1 k", "1kk", "0x10", "９", "9000000000g"])
  func badSizesAreRefused(text: String) {
    #expect(Quantities.bytes(text) == nil)
  }

  @Test func durationsAreRead() {
    #expect(Quantities.duration("5") == .seconds(5))
    #expect(Quantities.duration("5s") == .seconds(5))
    #expect(Quantities.duration("500ms") == .milliseconds(500))
    #expect(Quantities.duration("1m") == .seconds(60))
    #expect(Quantities.duration("1h") == .seconds(3600))
    for text in ["", "s", "1d", "-1", "1.5s", "9223372036854775807h"] {
      #expect(Quantities.duration(text) == nil)
    }
  }

  @Test func mountConfigurationMakesPathsAbsolute() throws {
    let mount = try MountConfiguration(
      store: "file:///s", mountpoint: "./a/../m/", options: ["ro"], context: context)
    #expect(mount.mountpoint == "/home/u/work/m")
    #expect(mount.store == .directory(path: "/s"))
    #expect(mount.options.readOnly)
  }
}

@Suite struct StoreAddressTests {
  @Test(arguments: [
    ("s3://bucket", StoreAddress.s3(bucket: "bucket", prefix: "")),
    ("s3://bucket/", .s3(bucket: "bucket", prefix: "")),
    ("s3://bucket/a/b.c/", .s3(bucket: "bucket", prefix: "a/b.c")),
    ("file:///srv/store", .directory(path: "/srv/store")),
    ("file:/srv//store/.", .directory(path: "/srv/store")),
    ("file://localhost/srv", .directory(path: "/srv")),
    ("file:///with%20space%2Ccomma", .directory(path: "/with space,comma")),
    ("file:///ü", .directory(path: "/ü")),
    ("memory:", .memory),
  ])
  func goodAddressesAreReadAndWritten(text: String, address: StoreAddress) throws {
    let parsed = try StoreAddress(parsing: text)
    #expect(parsed == address)
    #expect(try StoreAddress(parsing: parsed.description) == address)
    // The description becomes a mount option and a word in mountinfo.
    #expect(!parsed.description.contains { $0 == "," || $0 == " " || $0 == "\\" })
  }

  @Test(arguments: [
    ("/srv/store", "file:///srv/store"), ("file://srv/store", "file:///srv/store"),
    ("s3://ab", "3 to 63"), ("s3://", "3 to 63"), ("s3://bucket//x", "empty"),
    ("s3://bucket/a/../b", "'..'"), ("s3://bucket/a b", "may only hold"),
    ("s3://bucket/\u{e9}", "may only hold"), ("file:///a%zz", "%25"), ("file:///a%00", "%25"),
    ("file:///a\0b", "%25"),
    ("bucket", "s3://bucket/prefix"), ("", "s3://bucket/prefix"), ("http://x/y", "file:///"),
    ("memory:x", "memory:"), ("S3://bucket", "expected s3://"),
  ])
  func badAddressesNameTheRemedy(text: String, remedy: String) {
    let error = #expect(throws: OptionError.self) { try StoreAddress(parsing: text) }
    #expect(error?.description.contains(remedy) == true)
  }

  @Test(arguments: ["s3://KEY99:SECRET99@bucket/x", "https://KEY99:SECRET99@host/x"])
  func addressesWithSecretsAreNotRepeated(text: String) {
    let error = #expect(throws: OptionError.self) { try StoreAddress(parsing: text) }
    #expect(error?.description.contains("99") == false)
  }
}
