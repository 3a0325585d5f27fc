import ArgumentParser
import Glibc
import Locks
import RegionControl
import RegionCore
import RegionOptions

/// A store that a command works on without mounting it.
struct StoreSession: Sendable {
  let configuration: MountConfiguration
  let stack: StoreStack
  let engine: EngineContext
  let catalogue: GroupCatalogue

  /// Opens the backend; makes no request yet.
  ///
  /// - Parameters:
  ///   - purpose: how other hosts call this process while it holds a group.
  ///   - writer: its identity; another session with the same one may go on with its groups.
  init(
    _ configuration: MountConfiguration, readOnly: Bool, purpose: String,
    writer: WriterID = .random()
  ) throws(ExitCode) {
    self.configuration = configuration
    guard configuration.store != .memory else {
      throw fail(
        "memory: lives and dies with the daemon that mounts it; name a store that stays "
          + "(s3://bucket/prefix, file:///directory)", code: ExitStatus.usage)
    }
    let notes = StoreNotes()
    do throws(StackError) {
      stack = try StoreStack(configuration) { notes.note($0) }
    } catch {
      throw fail(error.description, code: ExitStatus.failure)
    }
    var settings = Daemon.settings(configuration)
    settings.isReadOnly = readOnly
    settings.holder = "\(Daemon.hostName): \(purpose) (pid \(getpid()))"
    engine = EngineContext(
      executor: EngineExecutor(threads: 4), clock: SystemClock(), store: stack.store,
      settings: settings, writer: writer
    ) { _, _ in
      // What matters comes back as an error; what is tried again is told by `StoreNotes`.
    }
    catalogue = GroupCatalogue(engine: engine)
  }

  /// Runs a body on the engine's threads and waits for it; if it takes long, stderr shows what comes
  /// and goes, unless the body has a better way to say how far it is.
  ///
  /// - Throws: `ExitCode` after one line on stderr.
  func run<Value: Sendable>(
    showsTraffic: Bool = true,
    _ body: @escaping @Sendable (StoreSession) async -> Result<Value, CommandError>
  ) throws(ExitCode) -> Value {
    let result = BlockingResult<Result<Value, CommandError>>()
    engine.executor.spawn { result.set(await body(self)) }
    var display = ProgressDisplay(isShy: true)
    let outcome = result.wait { if showsTraffic { display.update(traffic) } }
    display.finish()
    switch outcome {
    case .success(let value): return value
    case .failure(let error): throw fail(HumanText.printable(error.text), code: error.code)
    }
  }

  /// What went over the wire so far, in words.
  private var traffic: String {
    let counts = stack.meter.snapshot()
    var text = "regionfs: \(counts.requests) requests to \(configuration.store)"
    if counts.get.bytes > 0 { text += ", \(HumanText.bytes(counts.get.bytes)) received" }
    if counts.put.bytes > 0 { text += ", \(HumanText.bytes(counts.put.bytes)) sent" }
    return stack.health.isDown ? text + "; it does not answer" : text
  }

  /// Refuses a store that ignores conditional writes, as a writable mount does.
  func checkConditionalWrites() async throws(CommandError) {
    guard !stack.isTrusted, !configuration.options.unsafeNoCAS else { return }
    do throws(ConditionalWriteProbe.Failure) {
      try await ConditionalWriteProbe.check(stack.probe, clock: engine.clock)
    } catch {
      throw CommandError(StackError(error, of: stack.probe).description)
    }
  }

  /// The record of a name.
  ///
  /// - Throws: `CommandError` where there is none.
  func record(_ name: FileName) async throws(CommandError) -> (record: GroupRecord, etag: ETag) {
    do throws(RemoteError) {
      if let found = try await catalogue.record(name) { return found }
    } catch {
      throw CommandError(error)
    }
    throw CommandError(
      "\(configuration.store)/\(name): no such group; regionfs list \(configuration.store) shows "
        + "what is there")
  }

  /// The group that a name stands for.
  func group(_ name: FileName) async throws(CommandError) -> (
    record: GroupRecord, group: StoredGroup
  ) {
    let record = try await record(name).record
    do throws(RemoteError) {
      return (
        record, try await StoredGroup.open(record.group, kind: record.kind, engine: engine)
      )
    } catch {
      throw CommandError(error)
    }
  }
}

/// Why a command failed: a line for the user and an exit code.
struct CommandError: Error, Sendable {
  var text: String
  var code: Int32

  init(_ text: String, code: Int32 = ExitStatus.failure) {
    self.text = text
    self.code = code
  }

  init(_ error: RemoteError) {
    switch error {
    case .store(let cause): self.init(StoreAdvice.line(for: cause))
    case .damaged:
      self.init("\(error). Run regionfs fsck to see what else is damaged")
    case .heldByOther(let holder):
      self.init("the group is written by \(holder); unmount it there, or wait until it is idle")
    case .claimLost: self.init(error.description)
    }
  }

  init(_ error: ImportError) {
    switch error {
    case .remote(let error): self.init(error)
    case .local(let error) where error.code == ESTALE:
      self.init("\(error.path): it became shorter while it was copied; copy it again")
    case .local(let error): self.init(error)
    case .format: self.init(error.description)
    }
  }

  init(_ error: LocalError) { self.init(error.description, code: ExitStatus.system) }
}

/// Runs a body that throws as one that returns.
func outcome<Value>(
  _ body: () async throws(CommandError) -> Value
) async -> Result<Value, CommandError> {
  do throws(CommandError) { return .success(try await body()) } catch { return .failure(error) }
}

/// Tells on stderr that a store does not answer, now and then, while it is asked again.
private final class StoreNotes: Sendable {
  private let last = Lock<MonotonicTime?>(nil)

  func note(_ error: StoreError) {
    guard error.isRetryable else { return }
    let now = SystemClock().now
    let isDue = last.withLock { last in
      if let last, now.since(last) < .seconds(5) { return false }
      last = now
      return true
    }
    if isDue {
      ProgressDisplay.write("regionfs: \(HumanText.printable("\(error)")); trying again\n")
    }
  }
}
