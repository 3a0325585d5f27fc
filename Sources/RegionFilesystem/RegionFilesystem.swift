import FuseKit
import Glibc
import Locks
import RegionCore
import Synchronization

/// How the mount shows itself.
public struct FilesystemSettings: Sendable {
  /// Owner of everything, instead of what is stored.
  public var uid: UInt32?
  /// Group of everything, instead of what is stored.
  public var gid: UInt32?
  /// Permission bits taken away from everything.
  public var umask: UInt32?
  /// Owner of the top directory.
  public var mounterUID: UInt32 = 0
  /// Group of the top directory.
  public var mounterGID: UInt32 = 0
  /// The store with its endpoint, by which the cache knows its names again.
  public var store = ""
  /// Where caches of groups lie.
  public var cacheDirectory = ""
  /// This boot of the host.
  public var bootID = Random128.zero

  /// Everything as stored.
  public init() {}
}

/// Groups and regions as directories and files.
///
/// A node id is the number of a group in this mount and the number of the inode in the group; node 1
/// is the directory of all groups. What may have to ask the store runs as a task of the engine and
/// answers later; what is known here is answered on the FUSE thread.
public final class RegionFilesystem: FuseFilesystem {
  let engine: EngineContext
  let settings: FilesystemSettings
  let catalogue: GroupCatalogue
  let groups = GroupTable()
  let parking: Parking
  let known: KnownNames
  /// The thread for which the kernel reads what it is told to have; its READs are no program's.
  let prefillThread = Atomic<Int32>(-1)
  /// Has the kernel hand over the dirty pages of the file with this path, and calls when they are here;
  /// nil where nobody can write.
  let handOver = Lock<(@Sendable ([FileName], @escaping @Sendable () -> Void) -> Void)?>(nil)
  private let onDestroy: @Sendable () -> Void
  private let ended = Lock(false)
  /// The session is over.
  var isOver: Bool { ended.withLock { $0 } }

  /// A filesystem over the engine's store. `onDestroy` is called when the session ended.
  public init(
    engine: EngineContext, settings: FilesystemSettings, onDestroy: @escaping @Sendable () -> Void
  ) {
    self.engine = engine
    self.settings = settings
    self.onDestroy = onDestroy
    catalogue = GroupCatalogue(engine: engine)
    parking = Parking(engine: engine)
    known = KnownNames(
      engine: engine, cacheDirectory: settings.cacheDirectory, store: settings.store)
  }

  /// The session is over. libfuse `destroy`.
  public func destroy() {
    ended.withLock { $0 = true }
    parking.failAll()
    for group in groups.all { group.failParked() }
    onDestroy()
  }

  /// A parked request was interrupted.
  public func interrupted(_ key: UInt64) { parking.interrupt(key) }

  /// Inodes live in their groups, not by the kernel's count.
  public func forget(_ node: NodeID, count: UInt64) {}

  // MARK: Nodes

  /// The directory of all groups.
  static let top: NodeID = 1
  private static let fileBits: UInt64 = 40

  /// A node of a group.
  struct Node {
    var group: Group
    var file: FileID
  }

  /// The node with this id; nil for the top directory and for ids never given.
  func node(_ id: NodeID) -> Node? {
    let ordinal = Int(id >> Self.fileBits)
    guard ordinal > 0, let group = groups.group(ordinal - 1) else { return nil }
    return Node(group: group, file: id & (1 << Self.fileBits - 1))
  }

  func nodeID(_ group: Group, _ file: FileID) -> NodeID {
    UInt64(groups.ordinal(group) + 1) << Self.fileBits | file
  }

  /// The same for each mount of the store, so that programs can compare it: a mix of both numbers.
  func inodeNumber(_ group: Group, _ file: FileID) -> UInt64 {
    var mixed = group.id.high ^ group.id.low &+ file &* 0x9E37_79B9_7F4A_7C15
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return max(2, mixed ^ mixed >> 31)
  }

  // MARK: Attributes

  /// How long the kernel may trust names and attributes, in seconds. Sizes change only through the
  /// kernel while this mount writes; for others' commits a second is what readers may be behind.
  static let timeout = 1.0

  func attributes(_ inode: Inode, of group: Group) -> FileAttributes {
    let type: UInt32 =
      switch inode.kind {
      case .file: S_IFREG
      case .directory: S_IFDIR
      case .symlink: S_IFLNK
      }
    // A little fewer blocks than the size takes: tools then ask SEEK_HOLE where holes are instead
    // of believing that there are none.
    let blocks = inode.size >> 9
    return FileAttributes(
      inode: inodeNumber(group, inode.id),
      mode: type | UInt32(inode.mode) & ~(settings.umask ?? 0),
      linkCount: group.isUnlinked(inode.id) ? 0 : inode.kind == .directory ? 2 : 1,
      uid: settings.uid ?? inode.uid, gid: settings.gid ?? inode.gid, size: inode.size,
      blocks: blocks > 8 ? blocks - 8 : blocks, blockSize: 4096,
      accessed: FileTime(inode.accessed), modified: FileTime(inode.modified),
      changed: FileTime(inode.changed))
  }

  /// The top directory's attributes.
  var topAttributes: FileAttributes {
    let now = FileTime(seconds: 0, nanoseconds: 0)
    return FileAttributes(
      inode: 1, mode: S_IFDIR | 0o755 & ~(settings.umask ?? 0), linkCount: 2,
      uid: settings.uid ?? settings.mounterUID, gid: settings.gid ?? settings.mounterGID, size: 0,
      blocks: 0, blockSize: 4096, accessed: now, modified: now, changed: now)
  }

  func entry(_ inode: Inode, of group: Group) -> Entry {
    Entry(
      node: nodeID(group, inode.id), attributes: attributes(inode, of: group),
      entryTimeout: Self.timeout, attributeTimeout: Self.timeout)
  }

  // MARK: Doing things

  /// Runs `body` when this daemon writes the group: at once if it does, else after a claim. `body`
  /// answers if it succeeds; `fail` answers otherwise.
  func asWriter(
    _ group: Group, _ body: @escaping @Sendable () throws(RegionError) -> Void,
    orElse fail: @escaping @Sendable (Int32) -> Void
  ) {
    if group.isWriter {
      do throws(RegionError) {
        return try body()
      } catch {
        // The claim may just have been given back because nobody used it.
        if error != .unclaimed { return fail(error.code) }
      }
    }
    engine.executor.spawn {
      do throws(RegionError) {
        try await self.claimed(group, body)
      } catch {
        fail(error.code)
      }
    }
  }

  /// Claims the group and runs `body`.
  func claimed<Value>(
    _ group: Group, _ body: @Sendable () throws(RegionError) -> Value
  ) async throws(RegionError) -> Value {
    while true {
      try await group.claim()
      do throws(RegionError) {
        return try body()
      } catch {
        guard error == .unclaimed else { throw error }
      }
    }
  }

  /// A name, or why it is none.
  func name(_ bytes: [UInt8]) throws(RegionError) -> FileName {
    guard bytes.count <= Limits.nameLength else { throw .nameTooLong }
    guard let name = FileName(bytes) else { throw .invalid }
    return name
  }
}

extension FileTime {
  init(_ time: Timestamp) { self.init(seconds: time.seconds, nanoseconds: time.fraction) }
}

extension Timestamp {
  init(_ time: FileTime) {
    let (product, overflow) = time.seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, carry) = product.addingReportingOverflow(time.nanoseconds)
    self.init(nanoseconds: overflow || carry ? (time.seconds < 0 ? .min : .max) : sum)
  }
}
