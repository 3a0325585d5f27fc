import Glibc
import Locks
import Synchronization

/// Limits and settings of an `HTTPClient`.
public struct HTTPConfiguration: Sendable {
  /// Connections in all and to one host; also how many transfers run when all are `demand`.
  public var connectionLimit = 64
  /// Transfers that run at once before `readAhead` ones have to wait.
  public var activeLimit = 32
  /// Of these, transfers of class `background`.
  public var backgroundLimit = 16
  /// How long to wait without progress.
  public var timeouts = HTTPTimeouts()
  /// PEM file of trusted certificate authorities; nil trusts the system's.
  public var caFile: String?
  /// The `User-Agent` header.
  public var userAgent = "regionfs"
  /// libcurl's receive buffer of a transfer, in bytes. Measured: see docs/DEPENDENCIES.md.
  public var receiveBufferSize = 256 << 10
  /// libcurl's send buffer of a transfer, in bytes.
  public var sendBufferSize = 256 << 10

  /// The defaults.
  public init() {}
}

/// Counters of an `HTTPClient`.
public struct HTTPStatistics: Hashable, Sendable {
  /// Transfers that ended, well or not.
  public var transfers: Int
  /// Connections that were opened.
  public var connections: Int
}

/// Runs HTTP requests, all on one thread of its own that owns libcurl's multi handle.
///
/// Connections are kept and reused. Requests wait by priority when too many are under way.
public final class HTTPClient: Sendable {
  private let mailbox: Mailbox
  private let thread: LoopThread
  private let nextID = Atomic<UInt64>(0)

  /// Starts the thread. Throws `.other` if libcurl or the thread cannot be started.
  public init(_ configuration: HTTPConfiguration = HTTPConfiguration()) throws(HTTPError) {
    let loop = try TransferLoop(configuration)
    mailbox = loop.mailbox
    thread = try LoopThread(loop)
  }

  deinit { shutdown() }

  /// Fails everything under way with `.cancelled`, closes all connections and ends the thread.
  /// Waits for that. Later requests fail with `.cancelled`.
  public func shutdown() {
    mailbox.close()
    thread.join()
  }

  /// Counters since the start.
  public var statistics: HTTPStatistics { mailbox.statistics }

  /// Runs one request to its end. An answer of any status is a response, not an error.
  ///
  /// Honours cancellation. The request's memory is no longer in use when this returns or throws.
  public func perform(_ request: HTTPRequest) async throws(HTTPError) -> HTTPResponse {
    let id = nextID.wrappingAdd(1, ordering: .relaxed).newValue
    let transfer = Transfer(id: id, request: request)
    let outcome = await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        transfer.continuation = continuation
        if !mailbox.post(.start(transfer)) {
          transfer.resume(.failure(HTTPError(.cancelled, "the client is shut down")))
        }
      }
    } onCancel: {
      transfer.cancelled.store(true, ordering: .relaxed)
      _ = mailbox.post(.cancel(transfer))
    }
    return try outcome.get()
  }
}

/// The thread of a `TransferLoop`. Joined exactly once.
@safe
final class LoopThread: Sendable {
  private let handle: Lock<pthread_t?>

  /// `pthread_create`, with all signals blocked: they are for the program's own threads.
  init(_ loop: TransferLoop) throws(HTTPError) {
    var all = sigset_t()
    var before = sigset_t()
    var thread: pthread_t = 0
    // SAFETY: the sets are locals that outlive the calls.
    unsafe _ = sigfillset(&all)
    unsafe _ = pthread_sigmask(SIG_BLOCK, &all, &before)
    defer { unsafe _ = pthread_sigmask(SIG_SETMASK, &before, nil) }
    // SAFETY: the thread takes over this reference.
    let context = unsafe Unmanaged.passRetained(loop).toOpaque()
    let code = unsafe pthread_create(
      &thread, nil,
      { context in
        guard let context = unsafe context else { return nil }
        unsafe Unmanaged<TransferLoop>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, context)
    guard code == 0 else {
      unsafe Unmanaged<TransferLoop>.fromOpaque(context).release()
      throw HTTPError(.other, "pthread_create: error \(code)")
    }
    handle = Lock(thread)
  }

  /// Waits for the thread's end; on that thread itself (it dropped the last reference) lets it go.
  func join() {
    guard let thread = handle.withLock({ $0.take() }) else { return }
    if pthread_equal(thread, pthread_self()) != 0 {
      pthread_detach(thread)
    } else {
      pthread_join(thread, nil)
    }
  }
}
