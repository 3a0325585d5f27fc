/// Brings chunks from the store into data files: map, range requests, checksums, bytes in place.
/// One for each group.
final class Puller: Sendable {
  private let objects: GroupObjects
  private let map: RemoteMap
  private let engine: EngineContext
  /// What users call a file.
  private let describe: @Sendable (FileID) -> String
  /// Called once when an object is missing that the map names: the root may have moved on.
  private let onMissingObject: @Sendable () async -> Void

  init(
    objects: GroupObjects, map: RemoteMap, describe: @escaping @Sendable (FileID) -> String,
    onMissingObject: @escaping @Sendable () async -> Void
  ) {
    self.objects = objects
    self.map = map
    engine = objects.engine
    self.describe = describe
    self.onMissingObject = onMissingObject
  }

  /// Begins to pull chunks that the region counts as being pulled.
  func start(_ region: Region, _ chunks: [ChunkIndex], priority: TransferPriority) {
    guard !chunks.isEmpty else { return }
    // Who waits should not wait for neighbours; read-ahead is cheaper in large pieces.
    let most = engine.settings.bulkLimit >> region.geometry.chunkShift
    let limit =
      priority == .demand
      ? 1 : max(1, min(ReadAhead.transferLength(region.geometry), Int(clamping: most)))
    for batch in Self.batches(of: chunks.sorted(), limit: limit) {
      if priority == .demand { engine.bulk.demandBegan() }
      engine.executor.spawn {
        _ = await self.pull(region, batch, priority: priority)
        if priority == .demand { self.engine.bulk.demandEnded() }
      }
    }
  }

  /// Starts one worker that pulls in the background until nothing is left.
  func startBackgroundWorker(_ region: Region) {
    engine.executor.spawn {
      var failed = false
      while !failed, region.wantsBackground {
        var permit = await self.engine.bulk.permit(isUrgent: region.isSoonHere)
        guard let batch = region.nextBackgroundBatch(bytes: permit.bytes) else {
          self.engine.bulk.giveBack(permit, bytes: 0)
          break
        }
        let wanted = UInt64(batch.count) << region.geometry.chunkShift
        permit = self.engine.bulk.narrow(permit, to: wanted)
        let bytes = await self.pull(region, batch, priority: .background)
        self.engine.bulk.giveBack(permit, bytes: bytes ?? 0)
        if let bytes { region.noteBackground(batch, bytes: bytes) } else { failed = true }
      }
      region.backgroundWorkerEnded(failed: failed)
    }
  }

  /// Neighbours together, none across a multiple of `limit`: what was written in order lies in
  /// segments of such a multiple, so that a batch is one range of one object.
  static func batches(of chunks: [ChunkIndex], limit: Int) -> [[ChunkIndex]] {
    var batches: [[ChunkIndex]] = []
    for chunk in chunks {
      if let last = batches.last?.last, last + 1 == chunk, chunk % UInt64(limit) != 0 {
        batches[batches.count - 1].append(chunk)
      } else {
        batches.append([chunk])
      }
    }
    return batches
  }

  /// Pulls the chunks and ends each one's pull. Returns the bytes fetched; nil after an error.
  private func pull(
    _ region: Region, _ chunks: [ChunkIndex], priority: TransferPriority
  ) async -> UInt64? {
    do throws(RemoteError) {
      return try await attempt(region, chunks, priority)
    } catch {
      var error = error
      if error.isNotFound {
        await onMissingObject()
        do throws(RemoteError) {
          return try await attempt(region, chunks, priority)
        } catch let second {
          error = second
        }
      }
      let message = "cannot read \(describe(region.file)): \(error)"
      engine.log(.error, message)
      for chunk in chunks {
        region.endPull(
          chunk, priority.lane, error: .io, message: message, isPassing: error.isRetryable)
      }
      return nil
    }
  }

  private func attempt(
    _ region: Region, _ chunks: [ChunkIndex], _ priority: TransferPriority
  ) async throws(RemoteError) -> UInt64 {
    var located: [(chunk: ChunkIndex, extents: [Extent])] = []
    for chunk in chunks {
      located.append((chunk, try await map.extents(region.file, chunk, priority: priority)))
    }
    let plan = FetchPlan(located)
    if priority == .demand, let chunk = chunks.first {
      let place = StartHint.Place(group: objects.group, file: region.file, chunk: chunk)
      engine.start.note(plan, place)
    }
    // Once, with all that it takes: who waits for a part while holding another could wait for ever.
    let memory = plan.fetches.reduce(0) { $0 + BufferPool.roundedUp($1.range.count) }
    await engine.transferMemory.enter(memory, priority)
    defer { engine.transferMemory.leave(memory) }
    let start = engine.clock.now
    let buffers = try await fetch(plan, priority)
    note(engine.clock.now.since(start), of: plan, priority)
    precondition(buffers.count == plan.fetches.count, "one buffer for each fetch")
    engine.cacheBudget.keepUp()
    let pooled = buffers.map { PooledBuffer($0, pool: engine.buffers) }
    let isReadSoon =
      priority == .readAhead || priority == .background && region.isToldSoon(chunks)
    ChunkFill(region: region, plan: plan, buffers: pooled, lane: priority.lane)
      .run(chunks, keep: isReadSoon)
    // Where all is wanted the kernel gets all: of a demanded chunk it has read a few pages only, and
    // what was read ahead may be for a stream that ends.
    if priority == .background || region.isSwept { region.tellPrefill(chunks) }
    let bytes = plan.fetches.reduce(0) { $0 + UInt64($1.range.count) }
    region.bytesPulled.add(bytes, ordering: .relaxed)
    return bytes
  }

  private func note(_ duration: Duration, of plan: FetchPlan, _ priority: TransferPriority) {
    guard !plan.fetches.isEmpty else { return }
    if priority == .demand { engine.bulk.noteDemand(duration) }
    engine.pace.withLock { pace in
      switch priority {
      case .demand: pace.noteDemand(duration)
      case .readAhead, .background: pace.noteBulk(duration)
      }
    }
  }

  /// The bytes of all fetches, verified; several at a time.
  private func fetch(
    _ plan: FetchPlan, _ priority: TransferPriority
  ) async throws(RemoteError) -> [IOBuffer] {
    if plan.fetches.count == 1 { return [try await result(plan.fetches[0], priority).get()] }
    let results = await mapConcurrently(plan.fetches, width: plan.fetches.count) {
      await self.result($0, priority)
    }
    var buffers: [IOBuffer] = []
    for result in results { buffers.append(try result.get()) }
    return buffers
  }

  private func result(
    _ fetch: FetchPlan.Fetch, _ priority: TransferPriority
  ) async -> Result<IOBuffer, RemoteError> {
    do throws(RemoteError) {
      return .success(try await objects.units(fetch, priority: priority))
    } catch {
      return .failure(error)
    }
  }
}

extension TransferPriority {
  /// The way on which a chunk is pulled with this priority.
  var lane: PullLane { self == .demand ? .demand : .bulk }
}
