import ArgumentParser
import FuseKit
import Glibc
import Locks
import Logging
import RegionControl
import RegionCore
import RegionFilesystem
import RegionOptions

/// Runs one mount until it is unmounted and drained, or failed.
///
/// Called once, with SIGTERM, SIGINT and SIGHUP blocked (see `SignalWaiter`), SIGPIPE ignored, the
/// working directory `/` (in the background) and logging set up.
///
/// - Parameter readiness: answered exactly once: `ready()` when the mount answers, or `failed(_:)`
///   with one line that names the object and the remedy.
func runDaemon(
  _ configuration: MountConfiguration, readiness: consuming DaemonReadiness
) -> ExitCode {
  let daemon: Daemon
  do throws(StackError) {
    daemon = try Daemon(configuration)
    let search = daemon.beginSearch()
    readiness.prepare()
    try daemon.mount(search)
  } catch {
    readiness.failed(error.description)
    return ExitCode(ExitStatus.failure)
  }
  daemon.handleSignals()
  daemon.pullEverything(telling: readiness)
  if daemon.isUnmounted {
    readiness.failed("\(configuration.mountpoint) was unmounted before everything was here")
  } else {
    readiness.ready()
  }
  return daemon.runUntilDrained()
}

/// The composition of one mount: cache directory, store stack, engine, filesystem, session, control.
final class Daemon: Sendable {
  let configuration: MountConfiguration
  let cache: CacheDirectory
  let stack: StoreStack
  let engine: EngineContext
  let filesystem: RegionFilesystem
  let heartbeat: Heartbeat
  let progress = DaemonProgress()
  private let service = ServiceManager()
  let mountID = "\(Random128.random())"
  private let mounted = Lock<Mounted?>(nil)

  /// What exists once the mount is made.
  struct Mounted: Sendable {
    var session: FuseSession
    var kernelCache: KernelCache
    var control: ControlServer
    var metrics: MetricsListener?
    var watchdog: DaemonWatchdog
  }

  init(_ configuration: MountConfiguration) throws(StackError) {
    self.configuration = configuration
    let logger = Logger(label: "regionfs")
    let progress = self.progress
    try Self.cleanUp(configuration.mountpoint, logger)
    do throws(CacheDirectory.Failure) {
      cache = try CacheDirectory(path: Self.cachePath(configuration)) { holder in
        logger.notice("waiting for the cache directory: \(holder)")
      }
      try Self.note(cache, configuration, isDraining: false)
    } catch {
      throw StackError(error.description)
    }
    stack = try StoreStack(configuration) { progress.noteStoreError($0) }
    engine = EngineContext(
      executor: EngineExecutor(threads: 4), clock: SystemClock(), store: stack.store,
      settings: Self.settings(configuration), writer: cache.writer, health: stack.health
    ) { level, message in logger.log(level: Logger.Level(level), "\(message)") }
    var settings = FilesystemSettings()
    settings.uid = configuration.options.uid
    settings.gid = configuration.options.gid
    settings.umask = configuration.options.umask
    settings.mounterUID = getuid()
    settings.mounterGID = getgid()
    settings.store =
      "\(configuration.store)" + (configuration.options.endpoint.map { " at \($0)" } ?? "")
    settings.cacheDirectory = cache.path
    settings.bootID = cache.bootID
    filesystem = RegionFilesystem(engine: engine, settings: settings) {}
    heartbeat = Heartbeat(engine: engine, filesystem: filesystem, store: stack.probe)
  }

  // MARK: Starting

  /// Waits for what the search comes to, replays logs, mounts, and serves. When this returns the mount
  /// answers.
  func mount(_ search: StoreSearch) throws(StackError) {
    scanCache()
    let isOnline = try reachStore(search)
    wait { await self.filesystem.recoverLogs(self.cache) }
    if isOnline { wait { await self.finishRenames() } }
    do throws(FuseError) {
      let session = try FuseSession(
        filesystem: filesystem, source: configuration.source,
        mountpoint: configuration.mountpoint, options: sessionOptions)
      let tuning = MountTuning().apply(to: session.mount)
      progress.noteTuning(tuning)
      for outcome in tuning where outcome.failure != nil { engine.log(.info, "\(outcome)") }
      let interval = engine.settings.pushInterval / 2
      let kernelCache = KernelCache(
        filesystem: filesystem, mountpoint: session.mountpoint, device: session.mount.device,
        interval: interval)
      // Before the first request, which may begin a pull: what it brings would be told to nobody.
      if configuration.options.prefill { kernelCache.startPrefill() }
      try session.run()
      let watchdog = DaemonWatchdog(
        filesystem: filesystem, engine: engine, session: session, meter: stack.meter)
      let (control, metrics) = try startControl(session, watchdog)
      mounted.withLock {
        $0 = Mounted(
          session: session, kernelCache: kernelCache, control: control, metrics: metrics,
          watchdog: watchdog)
      }
      if !configuration.options.readOnly { kernelCache.start() }
      kernelCache.startFollowing(session)
      engine.log(.info, "\(configuration.store) is mounted at \(session.mountpoint)")
    } catch {
      throw StackError("cannot mount at \(configuration.mountpoint): \(error)")
    }
    engine.executor.spawn {
      if !isOnline { await self.goOnline() }
      await self.purgeNowAndThen()
    }
    engine.executor.spawn { await self.watchTraffic() }
    engine.executor.spawn { await self.saveTracesNowAndThen() }
    heartbeat.start()
  }

  /// Until the end of the drain, whose progress shows the speed.
  private func watchTraffic() async {
    let start = ContinuousClock.now
    while progress.state != .drained {
      progress.noteTraffic(stack.meter.snapshot(), at: start.duration(to: .now))
      noteReachability()
      if progress.state == .draining { tellServiceManager() }
      await engine.clock.sleep(for: .seconds(1))
    }
  }

  /// One line when the store stops to answer, and one when it answers again.
  private func noteReachability() {
    let isDown = stack.health.isDown
    guard progress.noteReachability(isDown) else { return }
    let reason = progress.lastStoreError.map { ": \($0.message)" } ?? ""
    let message = isDown ? "the store does not answer\(reason)" : "the store answers again"
    engine.log(isDown ? .warning : .info, message)
  }

  /// The service manager's patience is for a drain that gets on; while the store is away it is not,
  /// and what is left stays in the cache.
  private func tellServiceManager() {
    guard !stack.health.isDown else { return }
    let state = state(
      remaining: filesystem.uncommittedBytes, traffic: progress.throughput.sent)
    service.still(state.text, extension: .seconds(30))
  }

  /// How far something is that moves with this traffic, in bytes of the last seconds.
  func state(remaining: UInt64, traffic: [UInt64]) -> SyncProgress {
    let isReachable = !stack.health.isDown
    return SyncProgress(
      remainingBytes: remaining, rateBytesPerSecond: ThroughputStatus.mean(traffic),
      storeReachable: isReachable, problem: isReachable ? nil : progress.lastStoreError?.message)
  }

  private func startControl(
    _ session: FuseSession, _ watchdog: DaemonWatchdog
  ) throws(FuseError) -> (ControlServer, MetricsListener?) {
    do throws(ControlError) {
      try watchdog.start()
      let directory = try ControlDirectory.prepare(environment: ProcessEnvironment.variables)
      let handler = DaemonControl(
        daemon: self, watchdog: watchdog, mountpoint: session.mountpoint,
        device: "\(session.mount.device)")
      // First what may fail for the user's sake: the port.
      var metrics: MetricsListener?
      if let address = configuration.options.metricsAddress {
        metrics = try MetricsListener(address) { PrometheusText.render([handler.status()]) }
      }
      let control = try ControlServer(directory: directory, mountID: mountID, handler: handler)
      return (control, metrics)
    } catch {
      try session.unmount(.detach)
      throw FuseError(operation: "control socket", errno: EIO, detail: "\(error)")
    }
  }

  /// Counts what earlier mounts left in the cache against its limit.
  private func scanCache() {
    do throws(LocalError) {
      try engine.cacheBudget.scan(cache.path)
    } catch {
      engine.log(.warning, "cannot look through the cache: \(error)")
    }
  }

  private func purgeNowAndThen() async {
    while progress.state == .running {
      await filesystem.purgeExpired()
      await engine.clock.sleep(for: .seconds(600))
    }
  }

  private func saveTracesNowAndThen() async {
    while progress.state == .running {
      await engine.clock.sleep(for: .seconds(2))
      await filesystem.saveTraces(atEnd: false)
    }
  }

  // MARK: Ending

  /// Serves until somebody unmounts, then drains.
  func runUntilDrained() -> ExitCode {
    guard let mounted = mounted.withLock({ $0 }) else { return ExitCode(ExitStatus.failure) }
    mounted.session.waitUntilUnmounted()
    mounted.kernelCache.stop()
    mounted.watchdog.stop()
    service.stopping("unmounted; \(HumanText.bytes(filesystem.uncommittedBytes)) to commit")
    progress.setState(.draining)
    do throws(CacheDirectory.Failure) {
      try Self.note(cache, configuration, isDraining: true)
    } catch {
      engine.log(.warning, "\(error)")
    }
    engine.log(.info, "unmounted, \(filesystem.uncommittedBytes) bytes to commit")
    let left = wait { await self.filesystem.drain() }
    wait { await self.saveHints() }
    heartbeat.stop()
    engine.cacheBudget.stop()
    filesystem.closeCaches()
    for group in left {
      engine.log(.error, "changes of group \(group) remain in \(cache.path) and were not committed")
    }
    progress.setState(.drained)
    mounted.control.stop()
    mounted.metrics?.stop()
    engine.log(.info, left.isEmpty ? "everything is committed" : "ended with changes left")
    return left.isEmpty ? .success : ExitCode(ExitStatus.partial)
  }

  /// Leaves in the store what the next mounts may know of this one's reads.
  private func saveHints() async {
    async let traces: Void = filesystem.saveTraces(atEnd: true)
    if stack.early != nil { await filesystem.saveStartHint() }
    await traces
  }

  /// The first signal unmounts, the second gives up waiting for the store: changes stay in the cache.
  func handleSignals() {
    guard let mounted = mounted.withLock({ $0 }) else { return }
    do throws(ControlError) {
      try SignalWaiter.start { [self] signal in
        if signal == SIGHUP, reopenLog() { return }
        if progress.state == .running {
          service.stopping("unmounting")
          unmount(mounted)
        } else {
          engine.log(.warning, "stopped while draining: changes stay in \(cache.path)")
          endProcess(75)  // EX_TEMPFAIL
        }
      }
    } catch {
      engine.log(.error, "signals are not handled: \(error)")
    }
  }

  /// SIGHUP asks a daemon for a fresh log file; to one at a terminal it means that this has gone.
  private func reopenLog() -> Bool {
    do throws(ControlError) {
      return try LogSetup.reopen() || !configuration.foreground
    } catch {
      engine.log(.error, "\(error)")
      return true
    }
  }

  /// Takes the mount away; the drain follows when the last file is closed.
  func unmount() throws(ControlError) {
    guard let mounted = mounted.withLock({ $0 }) else { return }
    mounted.kernelCache.stop()
    do throws(FuseError) {
      try mounted.session.unmount(.detach)
    } catch {
      throw ControlError(.failed, "\(error)")
    }
  }

  private func unmount(_ mounted: Mounted) {
    do throws(ControlError) {
      try unmount()
    } catch {
      engine.log(.error, "cannot unmount: \(error)")
    }
  }

  /// Whether somebody has taken the mount away.
  var isUnmounted: Bool { mounted.withLock { $0?.session.isOver ?? false } }

  /// Runs an async body from this thread, which is none of the engine's.
  func wait<Value: Sendable>(_ body: @escaping @Sendable () async -> Value) -> Value {
    let result = BlockingResult<Value>()
    engine.executor.spawn { result.set(await body()) }
    return result.wait()
  }
}
