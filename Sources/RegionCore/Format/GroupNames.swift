/// How names at the top of the mount become keys, and back.
///
/// `[A-Za-z0-9.-]` stand for themselves, but for a `.` at the start; every other byte is `_XX`
/// (upper-case hexadecimal). The text is cut into pieces of 180 characters, since stores limit a
/// key's segments: `groups/c<piece>/c<piece>/e<piece>`. Only last pieces begin with `e`, so that in
/// a store of directories no name is the directory of a longer one.
public enum GroupNames {
  /// What every such key begins with.
  public static let prefix = "groups/"
  private static let pieceLength = 180

  /// The key of the record that names a group `name`.
  public static func key(for name: FileName) -> ObjectKey {
    let escaped = escape(name.bytes)
    var text = prefix
    var start = 0
    while escaped.count - start > pieceLength {
      text += "c" + String(decoding: escaped[start..<start + pieceLength], as: UTF8.self) + "/"
      start += pieceLength
    }
    text += "e" + String(decoding: escaped[start...], as: UTF8.self)
    return ObjectKey(composed: text)
  }

  /// The name whose key is `key`; nil if there is none (another spelling of a name's key is not
  /// its key).
  public static func name(of key: ObjectKey) -> FileName? {
    guard key.text.utf8.starts(with: prefix.utf8) else { return nil }
    var escaped: [UInt8] = []
    for piece in key.text.utf8.dropFirst(prefix.utf8.count).split(separator: UInt8(ascii: "/")) {
      escaped.append(contentsOf: piece.dropFirst())
    }
    guard let bytes = unescape(escaped), let name = FileName(bytes), self.key(for: name) == key
    else { return nil }
    return name
  }

  private static func isPlain(_ byte: UInt8, first: Bool) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
      true
    case UInt8(ascii: "."): !first
    default: false
    }
  }

  private static func escape(_ bytes: [UInt8]) -> [UInt8] {
    let digits = [UInt8]("0123456789ABCDEF".utf8)
    var escaped: [UInt8] = []
    escaped.reserveCapacity(bytes.count * 3)
    for (index, byte) in bytes.enumerated() {
      if isPlain(byte, first: index == 0) {
        escaped.append(byte)
      } else {
        escaped += [UInt8(ascii: "_"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return escaped
  }

  /// The bytes that `escaped` stands for; nil if an escape is cut off or has other digits.
  private static func unescape(_ escaped: [UInt8]) -> [UInt8]? {
    var bytes: [UInt8] = []
    var index = 0
    while index < escaped.count {
      if escaped[index] == UInt8(ascii: "_") {
        guard index + 2 < escaped.count, let high = digit(escaped[index + 1]),
          let low = digit(escaped[index + 2])
        else { return nil }
        bytes.append(high << 4 | low)
        index += 3
      } else {
        bytes.append(escaped[index])
        index += 1
      }
    }
    return bytes
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
