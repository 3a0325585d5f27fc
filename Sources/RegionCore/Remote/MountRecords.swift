/// Heartbeats of mounts: `mounts/<writer id>`, one line each. They only word messages; nothing is
/// decided by them.
public struct MountRecords: Sendable {
  private let engine: EngineContext
  private let store: any ObjectStore

  /// The records in the engine's store, which `store` may reach in another way: a heartbeat is not
  /// worth being tried again.
  public init(engine: EngineContext, store: (any ObjectStore)? = nil) {
    self.engine = engine
    self.store = store ?? engine.store
  }

  /// What a record says.
  struct Record: Hashable, Sendable {
    var time: Timestamp
    /// Host and mountpoint.
    var holder: String

    var text: String { "regionfs-mount 1 \(time.nanoseconds) \(holder)\n" }

    init(time: Timestamp, holder: String) {
      self.time = time
      self.holder = holder
    }

    init?(text bytes: [UInt8]) {
      let line = String(decoding: bytes, as: UTF8.self).split(separator: "\n").first ?? ""
      let words = line.split(separator: " ", maxSplits: 3)
      guard words.count == 4, words[0] == "regionfs-mount", words[1] == "1",
        let time = Int64(words[2])
      else { return nil }
      self.init(time: Timestamp(nanoseconds: time), holder: String(words[3]))
    }
  }

  /// The longest record that is read, in bytes.
  private static let limit = 1024

  /// Says that this mount is alive. A failure is worth a debug line only.
  public func beat() async {
    let holder = engine.settings.holder.printable
    let record = Record(time: engine.clock.wall, holder: holder)
    do throws(StoreError) {
      _ = try await store.put(
        ObjectKeys.mounts(engine.writer), IOBuffer(Array(record.text.utf8)), condition: .none,
        priority: .background)
    } catch {
      engine.log(.debug, "no heartbeat: \(error)")
    }
  }

  /// This mount has gone.
  public func remove() async {
    do throws(StoreError) {
      try await store.delete(ObjectKeys.mounts(engine.writer))
    } catch {
      engine.log(.debug, "the heartbeat stays: \(error)")
    }
  }

  /// When the writer was heard of last, in words for a message.
  func words(_ writer: WriterID?) async -> String {
    guard let writer else { return "it claimed the group in this moment" }
    let buffer = IOBuffer(capacity: Self.limit)
    do throws(StoreError) {
      _ = try await store.get(
        ObjectKeys.mounts(writer), range: nil, into: buffer, priority: .demand)
    } catch {
      return error.kind == .notFound
        ? "it has left no sign of life" : "whether it is alive is not known"
    }
    guard let record = Record(text: buffer.array) else { return "its heartbeat is unreadable" }
    // Seconds first: the record may say anything.
    let age = engine.clock.wall.seconds - record.time.seconds
    return age < 0
      ? "last seen by a clock that is ahead of this one"
      : "last seen \(Self.words(seconds: age)) ago at \(record.holder.printable)"
  }

  private static func words(seconds: Int64) -> String {
    switch seconds {
    case ..<120: "\(seconds) s"
    case ..<7200: "\(seconds / 60) min"
    case ..<172_800: "\(seconds / 3600) h"
    default: "\(seconds / 86_400) days"
    }
  }
}
