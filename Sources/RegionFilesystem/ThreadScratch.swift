import Glibc
import RegionCore

/// A buffer of the calling thread's own, for READs.
enum ThreadScratch {
  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    let status = unsafe pthread_key_create(&key) { pointer in
      guard let pointer = unsafe pointer else { return }
      unsafe Unmanaged<IOBuffer>.fromOpaque(pointer).release()
    }
    precondition(status == 0, "pthread_key_create: out of keys")
    return key
  }()

  /// At least `size` bytes that nobody else uses until this thread asks again.
  static func buffer(_ size: Int) -> IOBuffer {
    if let pointer = unsafe pthread_getspecific(key) {
      // SAFETY: only this function stores there, always a retained IOBuffer.
      let kept = unsafe Unmanaged<IOBuffer>.fromOpaque(pointer)
      let buffer = unsafe kept.takeUnretainedValue()
      if buffer.capacity >= size { return buffer }
      unsafe kept.release()
    }
    let fresh = IOBuffer(capacity: max(size, 256 << 10))
    unsafe pthread_setspecific(key, Unmanaged.passRetained(fresh).toOpaque())
    return fresh
  }
}
