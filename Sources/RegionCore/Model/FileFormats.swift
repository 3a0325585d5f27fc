/// Which parts of a file programs read first, told by how it begins and ends. Pure; hints only: what
/// it says of a damaged or hostile file is useless, never harmful.
enum FileFormats {
  /// Bytes of the beginning and of the end that are looked at.
  static let headLength = 64 << 10
  static let tailLength = 64 << 10
  /// Most bytes that a header is believed to take.
  private static let headerLimit: UInt64 = 256 << 20

  /// Byte ranges that are read first, most wanted first, within a file of `size` bytes.
  static func wanted(head: [UInt8], tail: [UInt8], size: UInt64) -> [Range<UInt64>] {
    let ranges =
      sqlite(head) ?? safetensors(head) ?? gguf(head, size) ?? zip(head, tail, size)
      ?? mp4(head, size) ?? []
    return ranges.map { $0.clamped(to: 0..<size) }.filter { !$0.isEmpty }
  }

  /// Page 1 names the root pages of tables and indices.
  private static func sqlite(_ head: [UInt8]) -> [Range<UInt64>]? {
    guard head.starts(with: Array("SQLite format 3\0".utf8)), head.count >= 108 else { return nil }
    let raw = big(head, 16, 2)
    let page = raw == 1 ? 65536 : raw
    guard page >= 512, page & (page - 1) == 0 else { return nil }
    var ranges: [Range<UInt64>] = [0..<page]
    // A schema that fits one page: a leaf of the table b-tree, type 13.
    guard head[100] == 13 else { return ranges }
    for cell in 0..<min(big(head, 103, 2), 500) {
      let pointer = 108 + 2 * Int(cell)
      guard pointer + 2 <= head.count else { break }
      if let root = sqliteRoot(head, at: Int(big(head, pointer, 2))), root > 0 {
        let start = (root - 1).multipliedReportingOverflow(by: page)
        guard !start.overflow, start.partialValue <= .max - page else { continue }
        ranges.append(start.partialValue..<start.partialValue + page)
      }
    }
    return ranges
  }

  /// Column four, `rootpage`, of a row of the schema.
  private static func sqliteRoot(_ bytes: [UInt8], at start: Int) -> UInt64? {
    var at = start
    guard varint(bytes, &at) != nil, varint(bytes, &at) != nil else { return nil }
    let record = at
    guard let headerLength = varint(bytes, &at), headerLength < 100 else { return nil }
    var offset = record + Int(headerLength)
    for column in 0..<4 {
      guard let type = varint(bytes, &at) else { return nil }
      let width = sqliteWidth(type)
      if column == 3 {
        guard (1...6).contains(type), offset + width <= bytes.count else { return nil }
        return big(bytes, offset, width)
      }
      offset += width
      guard offset <= bytes.count else { return nil }
    }
    return nil
  }

  private static func sqliteWidth(_ type: UInt64) -> Int {
    switch type {
    case 0, 8, 9: 0
    case 1...4: Int(type)
    case 5: 6
    case 6, 7: 8
    default: type < 12 ? 0 : Int(clamping: (type - 12) / 2) & 0xFFFF_FFFF
    }
  }

  private static func varint(_ bytes: [UInt8], _ at: inout Int) -> UInt64? {
    var value: UInt64 = 0
    for _ in 0..<9 {
      guard at >= 0, at < bytes.count else { return nil }
      value = value << 7 | UInt64(bytes[at] & 0x7F)
      at += 1
      if bytes[at - 1] < 0x80 { return value }
    }
    return value
  }

  /// Eight bytes of length, then that much JSON.
  private static func safetensors(_ head: [UInt8]) -> [Range<UInt64>]? {
    guard head.count > 9, head[8] == UInt8(ascii: "{") else { return nil }
    let length = little(head, 0, 8)
    guard length >= 2, length < headerLimit else { return nil }
    return [0..<8 + length]
  }

  /// The length of its metadata is known only at their end; tokenizers make them megabytes.
  private static func gguf(_ head: [UInt8], _ size: UInt64) -> [Range<UInt64>]? {
    head.starts(with: Array("GGUF".utf8)) ? [0..<min(size, 8 << 20)] : nil
  }

  /// The end of central directory record says where the central directory is.
  private static func zip(_ head: [UInt8], _ tail: [UInt8], _ size: UInt64) -> [Range<UInt64>]? {
    guard head.starts(with: [0x50, 0x4B, 3, 4]) || head.starts(with: [0x50, 0x4B, 5, 6]) else {
      return nil
    }
    let end = size - min(size, UInt64(tailLength))..<size
    guard tail.count >= 22 else { return [end] }
    for at in stride(from: tail.count - 22, through: 0, by: -1)
    where tail[at] == 0x50 && tail[at + 1] == 0x4B && tail[at + 2] == 5 && tail[at + 3] == 6 {
      let length = little(tail, at + 12, 4)
      let start = little(tail, at + 16, 4)
      return [end, start..<start + length]
    }
    return [end]
  }

  /// Boxes; where the data come before the index, that is behind them.
  private static func mp4(_ head: [UInt8], _ size: UInt64) -> [Range<UInt64>]? {
    guard head.count >= 16, head[4..<8].elementsEqual("ftyp".utf8) else { return nil }
    var at: UInt64 = 0
    for _ in 0..<16 {
      guard at + 16 <= UInt64(head.count) else { break }
      var length = big(head, Int(at), 4)
      if length == 1 { length = big(head, Int(at) + 8, 8) }
      guard length >= 8, length <= size - at else { break }
      let kind = head[Int(at) + 4..<Int(at) + 8]
      if kind.elementsEqual("moov".utf8) { return [at..<at + length] }
      at += length
      if kind.elementsEqual("mdat".utf8) { return [at..<size] }
    }
    return [size - min(size, UInt64(tailLength))..<size]
  }

  private static func big(_ bytes: [UInt8], _ at: Int, _ count: Int) -> UInt64 {
    bytes[at..<at + count].reduce(0) { $0 << 8 | UInt64($1) }
  }

  private static func little(_ bytes: [UInt8], _ at: Int, _ count: Int) -> UInt64 {
    bytes[at..<at + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
