import RegionCore

/// What a rename at the top is about to do, kept in the group's cache while it lasts.
///
/// Each name is an object of its own, so that a rename is two steps at the store: the new name comes,
/// the old one goes. A daemon that is killed between them leaves two names for one group; the next
/// mount of its cache finds the note and takes the second step.
struct RenameNote: Equatable {
  /// The serial of the new name's record.
  var serial: UInt64
  var old: FileName
  var new: FileName
  /// The group that the new name stood for before.
  var replaced: GroupID?

  static func path(_ cacheDirectory: String, _ group: GroupID) -> String {
    "\(cacheDirectory)/\(group)/rename"
  }

  init(serial: UInt64, old: FileName, new: FileName, replaced: GroupID?) {
    self.serial = serial
    self.old = old
    self.new = new
    self.replaced = replaced
  }

  /// Nil where the bytes are no note: it was being written, so nothing had been done.
  init?(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    let words = text.split(separator: " ").map(String.init)
    guard text.hasSuffix(" .\n"), words.count == 7, words[0] == "regionfs-rename", words[1] == "1",
      let serial = UInt64(words[2]), let old = Self.name(words[4]), let new = Self.name(words[5])
    else { return nil }
    self.init(serial: serial, old: old, new: new, replaced: GroupID(words[3]))
  }

  var bytes: [UInt8] {
    let replaced = replaced.map { "\($0)" } ?? "-"
    return Array(
      "regionfs-rename 1 \(serial) \(replaced) \(Self.hex(old)) \(Self.hex(new)) .\n".utf8)
  }

  /// Names have any bytes.
  private static func hex(_ name: FileName) -> String {
    name.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }

  private static func name(_ hex: String) -> FileName? {
    let digits = Array(hex.utf8)
    guard digits.count % 2 == 0 else { return nil }
    var bytes: [UInt8] = []
    for at in stride(from: 0, to: digits.count, by: 2) {
      let pair = String(decoding: digits[at...at + 1], as: UTF8.self)
      guard let byte = UInt8(pair, radix: 16) else { return nil }
      bytes.append(byte)
    }
    return FileName(bytes)
  }
}

extension RegionFilesystem {
  func note(_ rename: RenameNote, of group: GroupID) throws(RegionError) {
    do throws(LocalError) {
      let path = RenameNote.path(settings.cacheDirectory, group)
      try LocalDirectory.replaceFile(path, with: rename.bytes)
    } catch {
      engine.log(.error, "cannot note a rename: \(error)")
      throw error.isOutOfSpace ? .noSpace : .io
    }
  }

  func removeRenameNote(of group: GroupID) {
    do throws(LocalError) {
      try LocalDirectory.removeFile(RenameNote.path(settings.cacheDirectory, group))
    } catch {
      // It only says what was done already.
      engine.log(.warning, "\(error)")
    }
  }

  /// Ends the renames at the top that a daemon with this cache was killed in.
  public func finishRenames() async {
    let names = (try? LocalDirectory.names(in: settings.cacheDirectory)) ?? []
    for id in names.compactMap({ GroupID($0) }) {
      let path = RenameNote.path(settings.cacheDirectory, id)
      guard let bytes = try? LocalDirectory.contents(of: path, limit: 4096) else { continue }
      guard let note = RenameNote(bytes) else {
        removeRenameNote(of: id)
        continue
      }
      do throws(RegionError) {
        try await finish(note, id)
        removeRenameNote(of: id)
      } catch {
        engine.log(
          .warning, "\(note.old) was renamed to \(note.new), and both names are there: \(error)")
      }
    }
  }

  private func finish(_ note: RenameNote, _ id: GroupID) async throws(RegionError) {
    guard try await isHalfDone(note, id) else { return }
    // As the writer: nobody else renames the group meanwhile.
    let top = try await find(note.new)
    try await top.group.claim()
    guard try await isHalfDone(note, id) else { return }
    do throws(RemoteError) {
      if let replaced = note.replaced { try await catalogue.markDeleted(replaced) }
      try await catalogue.remove(note.old)
    } catch {
      throw error.regionError
    }
    groups.removeTop(note.old)
    known.remove(note.old)
    engine.log(.info, "ended the renaming of \(note.old) to \(note.new)")
  }

  /// Whether the new name is there, and the old one too.
  private func isHalfDone(_ note: RenameNote, _ id: GroupID) async throws(RegionError) -> Bool {
    do throws(RemoteError) {
      guard let new = try await catalogue.record(note.new)?.record, new.group == id,
        new.serial == note.serial, let old = try await catalogue.record(note.old)?.record
      else { return false }
      return old.group == id && old.serial < note.serial
    } catch {
      throw error.regionError
    }
  }
}
