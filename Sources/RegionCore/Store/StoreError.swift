/// Why a store operation failed. Says which object, what happened and (through `kind`) what to do.
public struct StoreError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What happened, as far as callers act on it.
  public enum Kind: String, Sendable, CaseIterable {
    /// The object does not exist (404 NoSuchKey, ENOENT).
    case notFound
    /// The bucket or directory that should hold everything does not exist.
    case noSuchContainer
    /// A condition (If-Match, If-None-Match) did not hold (412). May be our own lost answer.
    case preconditionFailed
    /// Another conditional request was under way (409). Undecided: read back.
    case conflict
    /// Credentials are wrong, missing or not allowed to do this (401, 403).
    case accessDenied
    /// The store thinks that our clock is wrong (403 RequestTimeTooSkewed).
    case clockSkew
    /// The store asked us to slow down (429, 503 SlowDown).
    case throttled
    /// The store failed or could not be reached; the operation may or may not have happened.
    case unavailable
    /// An answer with a wrong length or checksum: as good as no answer.
    case damagedAnswer
    /// The body is larger than the buffer that the caller offered.
    case tooLarge
    /// The store does not do what was asked (conditional writes, for one).
    case unsupported
    /// The request itself was refused as malformed (400, 405, 416 ...).
    case badRequest
    /// No space left or quota exceeded at the store (ENOSPC, 507).
    case outOfSpace
    /// A local I/O error of a store on this machine.
    case io
    /// The task was cancelled.
    case cancelled
  }

  /// What happened.
  public var kind: Kind
  /// The operation, as users know it: GET, PUT, DELETE, LIST.
  public var operation: String
  /// The object or prefix, with the store's address, e.g. `s3://bucket/prefix/g/…/root`.
  public var object: String
  /// The cause in words, e.g. the status and S3 error code, or strerror.
  public var detail: String
  /// How long the store asked us to wait (Retry-After), if it said so.
  public var retryAfter: Duration?

  /// An error of `operation` on `object`.
  public init(
    _ kind: Kind, operation: String, object: String, detail: String, retryAfter: Duration? = nil
  ) {
    self.kind = kind
    self.operation = operation
    self.object = object
    self.detail = detail
    self.retryAfter = retryAfter
  }

  /// Whether the same request may succeed later without anyone doing anything.
  public var isRetryable: Bool {
    switch kind {
    case .throttled, .unavailable, .damagedAnswer: true
    default: false
    }
  }

  /// One line: operation, object, cause.
  public var description: String { "\(operation) \(object): \(detail)" }
}
