import RegionCore

/// The answer to ListObjectsV2.
struct ListAnswer: Equatable {
  /// Keys as the store has them, decoded, with the ways in which `+` may be meant.
  var keys: [[String]]
  /// Where to go on.
  var next: String?

  /// Reads the XML. Throws where it is not a listing.
  init(parsing bytes: [UInt8]) throws(XMLError) {
    let root = try XMLNode(parsing: bytes)
    guard root.name == "ListBucketResult" else {
      throw XMLError(description: "XML: \(root.name) instead of ListBucketResult")
    }
    let isEncoded = root["EncodingType"]?.text == "url"
    keys = root.all("Contents").compactMap { $0["Key"]?.text }.map { key in
      isEncoded ? Self.decoded(key) : [key]
    }
    guard root["IsTruncated"]?.text == "true" else { return }
    guard let token = root["NextContinuationToken"]?.text, !token.isEmpty else {
      throw XMLError(description: "XML: a listing goes on without NextContinuationToken")
    }
    next = token
  }

  /// Stores disagree whether `+` in an encoded key is a blank (AWS, MinIO) or itself (SeaweedFS).
  private static func decoded(_ key: String) -> [String] {
    [true, false].compactMap { PercentEncoding.decode(key, plusIsSpace: $0) }
  }

  /// The keys below `base`, relative to it, that are valid names of ours. Neither `+` nor a blank
  /// is, so at most one reading of a key matches.
  func objectKeys(below base: String) -> [ObjectKey] {
    keys.compactMap { readings in
      readings.lazy.compactMap { text -> ObjectKey? in
        guard text.utf8.starts(with: base.utf8) else { return nil }
        return ObjectKey(String(decoding: text.utf8.dropFirst(base.utf8.count), as: UTF8.self))
      }.first
    }
  }
}
