import CLinux
import Glibc
import Locks
import RegionCore

/// Brings what was pulled in the background into the kernel's cache of the region, so that a later
/// fault finds it there; then the kernel's pages of the cache file go, for nobody needs the bytes twice.
///
/// A thread of its own opens the file through a private copy of the mount (`open_tree(2)`), which is
/// gone after each batch: an open file would make umount(8) say EBUSY. Without the permission for that
/// nothing is prefilled. It asks for pages with `readahead(2)`, which waits for no answer; the READs are
/// the kernel's own, ordered with truncation and with the forgetting of old pages as all others.
final class Prefill: Sendable {
  /// Bytes that were pulled.
  private struct Job {
    var number: UInt64
    var group: GroupID
    var file: FileID
    var bytes: Range<UInt64>
  }

  private struct State {
    var nextNumber: UInt64 = 0
    /// The cache file of each job that is not over. Only the thread with the process's descriptors may
    /// let go of one: in the other one's table its number means another file, or none.
    var files: [UInt64: LocalFile] = [:]
    /// What was asked for, and since when: its cache file's pages go when the kernel has read them.
    var filled: [(job: Job, since: MonotonicTime)] = []
    /// Bytes asked for of each file.
    var asked: [Name: UInt64] = [:]
  }

  private struct Name: Hashable {
    var group: GroupID
    var file: FileID
  }

  /// Jobs that wait; beyond it the newest is dropped, for prefilling is never owed.
  private static let queueLimit = 4096
  /// The longest range of one readahead(2), which brings no more than the mount's window.
  private static let window: UInt64 = 256 << 10
  /// How long after the request a cache file's pages go: the READs are answered by then.
  private static let settling = Duration.milliseconds(500)

  private let filesystem: RegionFilesystem
  private let mount: OwnMount
  private let jobs = JobQueue<Job>(limit: queueLimit)
  private let state = Lock(State())
  private let memory = MemoryWatch()

  init(filesystem: RegionFilesystem, mount: OwnMount) {
    self.filesystem = filesystem
    self.mount = mount
  }

  /// Starts the threads; from now on background pulls tell what they brought.
  func start() {
    OwnMount.startThread(of: filesystem) { [self] in
      filesystem.prefillThread.store(linux_gettid(), ordering: .relaxed)
      while let jobs = jobs.all() {
        run(jobs)
        let now = filesystem.engine.clock.now
        state.withLock { $0.filled += jobs.map { ($0, now) } }
      }
    }
    startThread { [self] in
      while !isStopped {
        usleep(100_000)
        dropFilled()
      }
      let left = state.withLock { state in
        defer { (state.files, state.filled) = ([:], []) }
        return state.files
      }
      withExtendedLifetime(left) {}
    }
    filesystem.engine.prefill.withLock {
      $0 = { [weak self] region, bytes in self?.add(region, bytes) }
    }
  }

  /// Ends it soon: after the batch that is under way.
  func stop() {
    filesystem.engine.prefill.withLock { $0 = nil }
    jobs.stop()
  }

  private var isStopped: Bool { jobs.isStopped }

  private func add(_ region: Region, _ bytes: Range<UInt64>) {
    let file = region.cacheFile
    let number = state.withLock { state in
      state.nextNumber += 1
      state.files[state.nextNumber] = file
      return state.nextNumber
    }
    let job = Job(number: number, group: region.group, file: region.file, bytes: bytes)
    if !jobs.add(job) { state.withLock { $0.files[number] = nil } }
  }

  // MARK: Filling

  private func run(_ jobs: [Job]) {
    guard memory.isPlenty else { return }
    let tree = mount.clone()
    guard tree >= 0 else {
      let reason = errnoText(errno)
      filesystem.logElsewhere(.info, "nothing is prefilled: open_tree: \(reason)")
      return stop()
    }
    defer { close(tree) }
    var open: (group: GroupID, file: FileID, descriptor: Int32)?
    defer { if let open { close(open.descriptor) } }
    for job in jobs {
      if isStopped { return }
      if open?.group != job.group || open?.file != job.file {
        if let open { close(open.descriptor) }
        open = openFile(job, in: tree).map { (job.group, job.file, $0) }
      }
      guard let open, mayAsk(job) else { continue }
      guard fill(open.descriptor, job) else { return }
    }
  }

  /// Whether the file's pages may take still more of the memory: a quarter of it, for a pull of more
  /// would push out what others have cached, and in the end itself.
  private func mayAsk(_ job: Job) -> Bool {
    let most = MemoryWatch.total / 4
    return state.withLock { state in
      let name = Name(group: job.group, file: job.file)
      let asked = (state.asked[name] ?? 0) + UInt64(job.bytes.count)
      guard asked <= most else { return false }
      state.asked[name] = asked
      return true
    }
  }

  /// Asks for the job's pages. False when memory has become short.
  private func fill(_ descriptor: Int32, _ job: Job) -> Bool {
    var start = job.bytes.lowerBound
    while start < job.bytes.upperBound {
      guard memory.isPlenty, !isStopped else { return false }
      let length = min(Self.window, job.bytes.upperBound - start)
      // Beyond the file's end, as after a truncation, there is nothing to do, and that is no error.
      _ = linux_readahead(descriptor, off_t(start), UInt(length))
      filesystem.engine.prefilledBytes.add(length, ordering: .relaxed)
      start += length
    }
    return true
  }

  /// The job's file; nil where it has no name any more, or the mount is gone.
  private func openFile(_ job: Job, in tree: Int32) -> Int32? {
    guard let group = filesystem.groups.all.first(where: { $0.id == job.group }),
      let top = filesystem.groups.name(of: group), let path = group.path(of: job.file)
    else { return nil }
    return mount.openFile([top] + path, in: tree)
  }

  // MARK: Not twice

  private func dropFilled() {
    let now = filesystem.engine.clock.now
    let due = state.withLock { state -> [(LocalFile?, Range<UInt64>)] in
      let count = state.filled.prefix { now.since($0.since) >= Self.settling }.count
      defer { state.filled.removeFirst(count) }
      return state.filled.prefix(count).map {
        (state.files.removeValue(forKey: $0.job.number), $0.job.bytes)
      }
    }
    for (file, bytes) in due { file?.dropCached(bytes) }
  }
}

/// Whether there is memory to spare, from procfs; looked up four times a second at most. For one thread.
final class MemoryWatch: Sendable {
  private struct State {
    var checkedAt = MonotonicTime(nanoseconds: 0)
    var isPlenty = true
  }
  private let state = Lock(State())
  private let clock = SystemClock()

  /// Hundredths of the last ten seconds that some task waited for memory, at which it is short.
  private static let pressureLimit = 5.0

  /// The host's memory in bytes.
  static let total: UInt64 = {
    let pages = sysconf(Int32(_SC_PHYS_PAGES))
    return pages > 0 ? UInt64(pages) * UInt64(Geometry.pageSize) : 0
  }()

  /// At least an eighth of the memory is available, and nothing waits for memory.
  var isPlenty: Bool {
    let now = clock.now
    return state.withLock { state in
      guard now.since(state.checkedAt) >= .milliseconds(250) else { return state.isPlenty }
      state.checkedAt = now
      state.isPlenty = Self.isPlenty(
        meminfo: Self.text("/proc/meminfo"), pressure: Self.text("/proc/pressure/memory"))
      return state.isPlenty
    }
  }

  /// The same, of the files' texts. What is not known does not count against it.
  static func isPlenty(meminfo: String, pressure: String) -> Bool {
    func kibibytes(_ name: String) -> UInt64? {
      let line = meminfo.split(separator: "\n").first { $0.hasPrefix(name + ":") }
      return line?.split(separator: " ").dropFirst().first.flatMap { UInt64($0) }
    }
    if let total = kibibytes("MemTotal"), let available = kibibytes("MemAvailable"),
      available < total / 8
    {
      return false
    }
    let some = pressure.split(separator: "\n").first { $0.hasPrefix("some ") }
    let average = some?.split(separator: " ").first { $0.hasPrefix("avg10=") }?.dropFirst(6)
    return average.flatMap { Double($0) }.map { $0 < pressureLimit } ?? true
  }

  private static func text(_ path: String) -> String {
    guard let file = try? LocalFile(path: path, flags: O_RDONLY) else { return "" }
    let buffer = IOBuffer(capacity: 8192)
    buffer.count = (try? unsafe file.read(into: buffer.memory, at: 0)) ?? 0
    return String(decoding: buffer.array, as: UTF8.self)
  }
}
