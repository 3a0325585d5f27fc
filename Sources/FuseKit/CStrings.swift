import Glibc

extension [String] {
  /// Calls `body` with a vector of C strings that ends with nil, as the exec functions take it.
  func withCStrings<Result>(
    _ body: (UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    var copies: [UnsafeMutablePointer<CChar>?] = unsafe map { unsafe strdup($0) }
    // SAFETY: strdup allocated them with malloc.
    defer { unsafe copies.forEach { unsafe free($0) } }
    unsafe copies.append(nil)
    return unsafe copies.withUnsafeMutableBufferPointer { buffer in
      // SAFETY: there is one element at least, so there is an address.
      unsafe body(buffer.baseAddress.unsafelyUnwrapped)
    }
  }
}
