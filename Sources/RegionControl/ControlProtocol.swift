import FoundationEssentials

/// Limits and version of the control socket's language: JSON, one value a line.
public enum ControlProtocol {
  /// Raised when an older peer could misunderstand; additions of optional fields do not raise it.
  public static let version = 1
  /// Longest request, in bytes with its newline. The longest holds one path.
  public static let requestLimit = 64 << 10
  /// Longest reply line, in bytes with its newline.
  public static let replyLimit = 1 << 20
  /// Regions in one reply line: a name may take 4 KiB of path, six times that when escaped, and a
  /// map 8 KiB.
  static let regionsPerLine = 24
  /// Parts of a trace in one reply line: each has a path.
  static let tracePartsPerLine = 24
  /// Parts that a client accepts in one trace.
  static let tracePartLimit = 1 << 16
  /// Regions that a client accepts in one report.
  static let regionLimit = 1 << 20
  /// Clients served at one time.
  public static let clientLimit = 32
  /// How long a client may take to say or accept a line.
  static let lineTimeout = Duration.seconds(10)
}

/// What a client can ask for.
public enum ControlOperation: String, Codable, Sendable {
  /// Who is there? Answered with a `MountStatus`.
  case hello
  /// Everything `regionfs-stat` shows; `path` narrows it to one region or directory.
  case status
  /// Commit everything accepted so far, of `path` or of all groups; progress until done.
  case sync
  /// Pull `start` to `end` of `path`, or all of it; progress until it is here.
  case pull
  /// Show, keep or remove the recorded trace of the group that holds `path`: see `TraceAction`.
  case trace
  /// Take over the claim of the group that holds `path`, whoever has it.
  case takeover
  /// Follow until the daemon has drained.
  case drain
  /// Unmount, drain and end.
  case shutdown
  /// Change the log level to `level`.
  case setLog
}

/// One request line.
public struct ControlRequest: Codable, Equatable, Sendable {
  /// `ControlProtocol.version` of the sender.
  public var version: Int
  /// What is asked for.
  public var operation: ControlOperation
  /// A path under the mount, without a leading slash; for `status`, `sync`, `pull`, `trace` and
  /// `takeover`.
  public var path: String?
  /// A log level; for `setLog`.
  public var level: String?
  /// Most cells of each region's map; nil: no maps. For `status`.
  public var mapCells: Int?
  /// Where a pull begins and ends, in bytes; nil: with the file.
  public var start: UInt64?
  /// See `start`.
  public var end: UInt64?
  /// 0 ... 9, for `pull`; nil: 5.
  public var priority: Int?
  /// What is wanted of a trace.
  public var traceAction: TraceAction?

  /// A request in this version of the language.
  public init(_ operation: ControlOperation, path: String? = nil, level: String? = nil) {
    version = ControlProtocol.version
    self.operation = operation
    self.path = path
    self.level = level
  }
}

/// One reply line. An answer is any number of `regions`, `traceParts` and `progress` lines and then one
/// of the others.
public struct ControlReply: Codable, Equatable, Sendable {
  /// What a reply line is.
  public enum Kind: String, Codable, Sendable {
    /// Answers `hello`: `mount` is set.
    case hello
    /// Some of a report's regions: `regions` is set.
    case regions
    /// Ends a report: `status` is set, its regions came before.
    case status
    /// Some of a trace's parts: `trace` is set.
    case traceParts
    /// Still at work: `progress` is set.
    case progress
    /// Done.
    case done
    /// Failed: `error` is set.
    case error
  }

  /// `ControlProtocol.version` of the sender.
  public var version = ControlProtocol.version
  /// Which of the fields below is set.
  public var kind: Kind
  /// The mount.
  public var mount: MountStatus?
  /// The report without its regions.
  public var status: StatusReport?
  /// Regions of the report.
  public var regions: [RegionStatus]?
  /// Parts of a trace; at its end, without parts, the rest.
  public var trace: TraceStatus?
  /// How far it has got.
  public var progress: SyncProgress?
  /// What was done, where that is worth a word.
  public var message: String?
  /// What went wrong.
  public var error: ControlError?

  /// A reply line with no field set.
  public init(_ kind: Kind) {
    self.kind = kind
  }
}

/// Why a control request failed.
public struct ControlError: Error, Codable, Equatable, Sendable, CustomStringConvertible {
  /// What kind of failure, for programs.
  public enum Code: String, Codable, Sendable {
    /// Nobody listens on the socket.
    case noDaemon
    /// The peer is neither the same user nor root.
    case notPermitted
    /// A line that is not what the language says, or too long.
    case malformed
    /// The other side speaks another version.
    case version
    /// It took too long.
    case timeout
    /// Too many clients at once.
    case busy
    /// The connection ended before the answer did.
    case closed
    /// No such file under the mount.
    case notFound
    /// The request was understood and failed.
    case failed
    /// The directory of sockets is not safe to use.
    case unsafeDirectory
    /// A call of the operating system failed.
    case system
  }

  /// What kind of failure.
  public var code: Code
  /// One line for the user.
  public var message: String

  /// An error.
  public init(_ code: Code, _ message: String) {
    self.code = code
    self.message = message
  }

  /// The message.
  public var description: String { message }
}

/// What every line starts to be understood by.
private struct Envelope: Decodable { var version: Int }

/// JSON as it goes over the socket.
enum ControlCoding {
  /// Encodes `value` as one line with its newline.
  static func line(_ value: some Encodable, limit: Int) throws(ControlError) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // JSON has no NaN; a rate computed from no time must not cost the whole answer.
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    do {
      var bytes = [UInt8](try encoder.encode(value))
      bytes.append(UInt8(ascii: "\n"))
      guard bytes.count <= limit else {
        throw ControlError(.malformed, "a line of \(bytes.count) bytes is too long")
      }
      return bytes
    } catch let error as ControlError {
      throw error
    } catch {
      throw ControlError(.malformed, "cannot encode: \(error)")
    }
  }

  /// Decodes a line, after its version was found to be ours.
  static func value<Value: Decodable>(
    _ type: Value.Type, from line: [UInt8]
  ) throws(ControlError) -> Value {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    let data = Data(line)
    do {
      let envelope = try decoder.decode(Envelope.self, from: data)
      guard envelope.version == ControlProtocol.version else {
        throw ControlError(
          .version,
          "the other side speaks version \(envelope.version) of the control protocol, this one "
            + "\(ControlProtocol.version); use tools and daemon of one release")
      }
      return try decoder.decode(type, from: data)
    } catch let error as ControlError {
      throw error
    } catch {
      throw ControlError(.malformed, "not a line of the control protocol")
    }
  }
}
