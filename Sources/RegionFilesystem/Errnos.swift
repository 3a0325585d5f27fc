import Glibc
import RegionCore

/// The one table from what went wrong to what the application sees.
extension RegionError {
  /// The errno that tells it.
  var code: Int32 {
    switch self {
    case .notFound: ENOENT
    case .exists: EEXIST
    case .notDirectory: ENOTDIR
    case .isDirectory: EISDIR
    case .notEmpty: ENOTEMPTY
    case .crossGroup: EXDEV
    case .invalid: EINVAL
    case .nameTooLong: ENAMETOOLONG
    case .tooLarge: EFBIG
    case .noSpace: ENOSPC
    case .readOnly: EROFS
    case .unclaimed: EAGAIN
    case .stale: ESTALE
    case .busy: EBUSY
    case .notPermitted: EPERM
    case .unsupported: EOPNOTSUPP
    case .noAttribute: ENODATA
    case .limitReached: ENOSPC
    case .interrupted: EINTR
    case .io: EIO
    }
  }
}

extension RemoteError {
  /// What an operation on names answers when the store refused or failed.
  var regionError: RegionError {
    switch self {
    case .heldByOther(let holder), .claimLost(let holder): .busy(holder: holder)
    case .store(let error) where error.kind == .outOfSpace: .noSpace
    case .store(let error) where error.kind == .preconditionFailed: .exists
    case .store, .damaged: .io
    }
  }
}

extension GroupError {
  /// What an operation on names answers when a group could not be opened or made.
  var regionError: RegionError {
    switch self {
    case .remote(let error): error.regionError
    case .local(let error): error.isOutOfSpace ? .noSpace : .io
    case .log: .io
    }
  }
}
