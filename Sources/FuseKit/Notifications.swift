import CFuse
import Glibc

extension FuseSession {
  /// Drops the kernel's attributes of a node and its clean pages in a range; `length` 0 is "to the
  /// end", `offset` below 0 the attributes only. libfuse `fuse_lowlevel_notify_inval_inode`.
  ///
  /// **Waits, unkillably**, for the unanswered READs in the range and writes its dirty pages back
  /// first, waiting for these WRITEs. So it is called from a thread that no READ or WRITE depends
  /// on, holding no lock that the filesystem takes, never from a callback; in ranges of at most
  /// 4 MiB; after the new data is in place (then no stale fill can stay); where no page can be
  /// dirty; once the parked READs of the range are answered or failed; and not while the session is
  /// ending.
  ///
  /// A node that the kernel does not know has nothing to drop: no error; so it is after the end of
  /// the session.
  public func invalidate(
    node: NodeID, offset: Int64 = 0, length: Int64 = 0
  ) throws(FuseError) {
    unsafe try notify("fuse_lowlevel_notify_inval_inode") { session in
      unsafe fuse_lowlevel_notify_inval_inode(session, node, off_t(offset), off_t(length))
    }
  }

  /// Makes the kernel forget a name (also that it does not exist) and look it up again.
  /// libfuse `fuse_lowlevel_notify_inval_entry`.
  ///
  /// Waits for the directory's lock, which a process holds while its request that changes `parent`
  /// (or looks up in it) is unanswered. So: never from a callback, holding no lock that the
  /// filesystem takes, and not while replies on `parent` are parked.
  ///
  /// A name that the kernel does not know is no error. Throws EINVAL for a name that cannot be one.
  public func invalidateEntry(parent: NodeID, name: [UInt8]) throws(FuseError) {
    do throws(InvalidName) {
      try InvalidName.check(name)
    } catch {
      throw FuseError(operation: "fuse_lowlevel_notify_inval_entry", errno: EINVAL)
    }
    unsafe try notify("fuse_lowlevel_notify_inval_entry") { session in
      unsafe withCString(of: name) {
        unsafe fuse_lowlevel_notify_inval_entry(session, parent, $0, name.count)
      }
    }
  }

  private func notify(
    _ function: String, _ call: (OpaquePointer) -> Int32
  ) throws(FuseError) {
    guard let session = unsafe core.session else { return }
    let result = unsafe call(session)
    // ENOENT: the kernel has no such node or name, or no such mount any more.
    if result != 0 && result != -ENOENT {
      throw FuseError(operation: function, errno: -result)
    }
  }
}
