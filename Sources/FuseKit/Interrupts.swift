import CFuse
import Glibc

/// The traffic with libfuse about FUSE_INTERRUPT.
///
/// libfuse calls the registered function from two places, both with the request's own mutex held:
/// 1. a loop thread that received the INTERRUPT. It holds one more reference on the request, so the
///    request may be answered meanwhile, by this thread or by any other: answering takes the
///    session's mutex only, and the memory goes when the loop thread lets go.
/// 2. `fuse_req_interrupt_func` itself, if the INTERRUPT came before the registration. Here no
///    further reference is held: an answer from inside would free the mutex that libfuse is about
///    to unlock. So in this case nothing is called; the caller of `arm` is told by its result.
enum Interrupts {
  /// The request that this thread is registering, to tell place 2 from place 1.
  private static let arming: pthread_key_t = makeThreadKey()

  static func arm(_ handle: fuse_req_t, key: UInt64) -> Bool {
    unsafe pthread_setspecific(arming, UnsafeRawPointer(handle))
    defer { pthread_setspecific(arming, nil) }
    // The key travels as the pointer's bits; it is never dereferenced. Key 0 is nil and comes back
    // as 0.
    let data = unsafe UnsafeMutableRawPointer(bitPattern: UInt(key))
    unsafe fuse_req_interrupt_func(
      handle, { request, data in unsafe Interrupts.received(request, data) }, data)
    return unsafe pthread_getspecific(arming) == nil
  }

  private static func received(_ handle: fuse_req_t?, _ data: UnsafeMutableRawPointer?) {
    guard let handle = unsafe handle else { return }
    if unsafe pthread_getspecific(arming) == UnsafeMutableRawPointer(handle) {
      pthread_setspecific(arming, nil)
      return
    }
    // SAFETY: on a loop thread, which holds the session; libfuse holds the request.
    let filesystem = unsafe SessionCore.unmanaged(of: handle)._withUnsafeGuaranteedRef {
      $0.filesystem
    }
    filesystem.interrupted(UInt64(UInt(bitPattern: data)))
  }
}

/// A key for a value per thread, by `pthread_key_create`. Without one the process cannot go on
/// (there are 1,024, made once per process).
func makeThreadKey() -> pthread_key_t {
  var key = pthread_key_t()
  let result = unsafe pthread_key_create(&key, nil)
  precondition(result == 0, "pthread_key_create: \(describe(errno: result))")
  return key
}
