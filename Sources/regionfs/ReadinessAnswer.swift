/// What a starter has read of what `DaemonReadiness` writes: any number of lines that say how far it is,
/// then one that ends the wait.
struct ReadinessAnswer {
  /// The end of the wait.
  enum Last: Equatable {
    case ready
    /// Why there is no mount.
    case failed(String)
    /// The daemon ended without a word.
    case nothing
  }

  /// How far it is.
  private(set) var progress: String?
  /// Nil as long as there may be more.
  private(set) var last: Last?
  private var rest: [UInt8] = []

  /// The longest line; what is behind it is lost.
  private static let mostBytes = 65_536

  /// Takes what was read; nothing means the end.
  mutating func take(_ bytes: ArraySlice<UInt8>) {
    if bytes.isEmpty {
      if last == nil { last = .nothing }
      return
    }
    for byte in bytes where last == nil {
      if byte == UInt8(ascii: "\n") {
        end(String(decoding: rest, as: UTF8.self))
        rest = []
      } else if rest.count < Self.mostBytes {
        rest.append(byte)
      }
    }
  }

  private mutating func end(_ line: String) {
    if line == "ready" {
      last = .ready
    } else if line.hasPrefix("failed ") {
      last = .failed(String(line.dropFirst(7)))
    } else if line.hasPrefix("progress ") {
      progress = String(line.dropFirst(9))
    } else {
      last = .nothing
    }
  }
}
