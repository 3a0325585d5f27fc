import RegionOptions

@testable import FuseKit
@testable import RegionControl
@testable import RegionCore
@testable import S3Store

/// What users, environments and the kernel write: options, addresses, profiles, mountinfo.
extension FuzzTarget {
  static let settings: [FuzzTarget] = [
    options, storeAddress, endpoint, quantities, profileFile, mountInfo,
  ]

  private static let context = OptionContext(environment: [:], uid: 0, currentDirectory: "/w")

  private static let options = FuzzTarget(
    name: "mount-options", longest: 256,
    examples: [
      "endpoint=https://h:9000,region=r,path_style,push_interval=500ms,chunk_size=1m,ro",
      "cache_dir=\"/a,b\",pull=lazy,sync=remote,uid=1,gid=2,umask=022,allow_other,noatime",
      "log_file=x\\,y,log_level=debug,takeover,unsafe_no_cas,fault_timeout=1m,log_limit=64m",
      "secret_key=x,defaults,_netdev,x-systemd.automount,profile=p,ca=/c",
    ].map { [UInt8]($0) },
    words: OptionTable.all.map(\.name) + [
      "=", ",", "\\,", "\"", "18446744073709551616", "0x1", "é",
    ]
  ) { bytes throws(FuzzFinding) in
    try check(
      bytes,
      parse: { bytes throws(OptionError) in
        try MountOptions(parsing: [bytes.text], context: context)
      })
  }

  private static let storeAddress = FuzzTarget(
    name: "store-address", longest: 1024,
    examples: [
      "s3://bucket/a/b", "s3://bucket", "file:///a/b%20c", "file:/a", "file://localhost/a",
      "memory:", "/a", "s3://k:s@b",
    ].map { [UInt8]($0) }, words: ["s3://", "file:", "%25", "%00", "..", "//", "@", "memory:"]
  ) { bytes throws(FuzzFinding) in
    try check(
      bytes,
      parse: { bytes throws(OptionError) in try StoreAddress(parsing: bytes.text) },
      encode: { [UInt8]($0.description) })
  }

  private static let endpoint = FuzzTarget(
    name: "s3-endpoint", longest: 512,
    examples: ["https://h", "http://127.0.0.1:9000/p/", "HTTPS://[::1]:443", "https://h:443/"]
      .map { [UInt8]($0) }, words: ["http://", "https://", ":80", "[::1]", "/", "@", "?", "#"]
  ) { bytes throws(FuzzFinding) in
    try check(
      bytes, optional: { S3Endpoint($0.text) },
      encode: {
        _ = $0.isAddress
        return [UInt8]($0.description)
      })
  }

  private static let quantities = FuzzTarget(
    name: "quantity", longest: 64,
    examples: ["64k", "8MiB", "9223372036854775807", "500ms", "1h"].map { [UInt8]($0) },
    words: ["tib", "ms", "h", "18446744073709551615", "k"]
  ) { bytes throws(FuzzFinding) in
    let isSize = try check(
      bytes, optional: { Quantities.bytes($0.text) },
      encode: { [UInt8](Quantities.shortText(bytes: $0)) })
    guard let time = Quantities.duration(bytes.text) else { return isSize }
    guard time >= .zero else { throw FuzzFinding("a negative time") }
    return true
  }

  private static let profileFile = FuzzTarget(
    name: "profile-file", longest: 512,
    examples: [
      "[default]\naws_access_key_id = A\naws_secret_access_key=B # c\n[profile \"x y\"]\n s3 =\n",
      "[profile p]\ns3 =\n  max = 1\n; comment\nregion=r\n",
    ].map { [UInt8]($0) },
    words: ["[", "]", "=", "\n", "\r\n", "profile ", "default", " #", "\"", "\u{301}", "\u{2028}"]
  ) { bytes throws(FuzzFinding) in
    for kind in [ProfileFile.Kind.config, .credentials] {
      _ = try check(bytes, optional: { ProfileFile($0.text, kind: kind) })
    }
    return !ProfileFile(bytes.text, kind: .config).profiles.isEmpty
  }

  /// Two readers of `/proc/self/mountinfo`, in the tools and in FuseKit: they must agree.
  private static let mountInfo = FuzzTarget(
    name: "mountinfo", longest: 512,
    examples: [
      "36 35 0:52 / /mnt/a\\040b rw,nosuid shared:1 - fuse.regionfs s3://b rw,user_id=0\n",
      "1 1 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:3 / /m rw master:1 - tmpfs a\\134 size=1\n",
    ].map { [UInt8]($0) },
    words: [" - ", "\\040", "\\777", "0:1", "\n", "fuse.regionfs", "user_id="]
  ) { bytes throws(FuzzFinding) in
    let list = MountList(mountinfo: bytes.text)
    let table = MountTable(parsing: bytes)
    for entry in list.entries {
      _ = entry.ownerUID
      _ = list.mount(holding: entry.mountpoint + "/x")
    }
    for entry in table.entries {
      // Only bytes that are text can be compared: the tools' reader reads text.
      guard String(validating: bytes, as: UTF8.self) != nil, entry.source.isEmpty == false else {
        continue
      }
      guard table.entry(at: entry.mountpoint) != nil else {
        throw FuzzFinding("\(entry.mountpoint) is in the table and is not found")
      }
    }
    return !list.entries.isEmpty
  }
}
