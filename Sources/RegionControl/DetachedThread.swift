import Glibc

/// A detached thread (`pthread_create`) with a small stack: the daemon may have thousands of
/// mappings to keep small.
package enum DetachedThread {
  /// Runs `body` on a new thread.
  ///
  /// - Throws: `ControlError` with code `system`.
  package static func start(_ body: @escaping @Sendable () -> Void) throws(ControlError) {
    final class Body {
      let run: @Sendable () -> Void
      init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }
    var attributes = pthread_attr_t()
    // SAFETY: initialized here, used below, destroyed at the end.
    unsafe pthread_attr_init(&attributes)
    defer { unsafe pthread_attr_destroy(&attributes) }
    unsafe pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    unsafe pthread_attr_setstacksize(&attributes, 1 << 20)
    var thread = pthread_t()
    // SAFETY: the retained body is released by the thread, or here when there is none.
    let retained = unsafe Unmanaged.passRetained(Body(body))
    let result = unsafe pthread_create(
      &thread, &attributes,
      { argument in
        guard let argument = unsafe argument else { return nil }
        unsafe Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
        return nil
      }, retained.toOpaque())
    guard result == 0 else {
      unsafe retained.release()
      throw .system("pthread_create", "control", errno: result)
    }
  }
}
