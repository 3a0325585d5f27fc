import CCurl

/// A libcurl easy handle with the options that never change, kept for many transfers. Belongs to
/// the loop thread.
@safe
final class EasyHandle {
  let raw: UnsafeMutableRawPointer
  private let errorText: UnsafeMutablePointer<CChar>
  private var headerList: UnsafeMutablePointer<curl_slist>?
  private let timeouts: HTTPTimeouts

  /// Names the handle in tables.
  var key: UInt { unsafe UInt(bitPattern: raw) }

  /// `curl_easy_init`; nil without memory.
  init?(_ configuration: HTTPConfiguration) {
    guard let raw = unsafe curl_easy_init() else { return nil }
    unsafe self.raw = raw
    unsafe errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
    unsafe errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    timeouts = configuration.timeouts
    setConstantOptions(configuration)
  }

  deinit {
    unsafe curl_easy_cleanup(raw)
    unsafe curl_slist_free_all(headerList)
    unsafe errorText.deallocate()
  }

  // An option that this libcurl refuses would show in every test of what it does, so setters
  // return nothing.
  private func set(_ option: CURLoption, _ value: Int) {
    unsafe _ = curlkit_set_long(raw, option, value)
  }

  private func set(_ option: CURLoption, _ value: String?) {
    // libcurl copies strings.
    unsafe _ = curlkit_set_string(raw, option, value)
  }

  private func setConstantOptions(_ configuration: HTTPConfiguration) {
    set(CURLOPT_NOSIGNAL, 1)
    // One multiplexed HTTP/2 connection carries bulk slower than many HTTP/1.1 ones: one
    // congestion window, one TLS stream, frames copied once more. S3 speaks 1.1 only anyway.
    set(CURLOPT_HTTP_VERSION, Int(CURL_HTTP_VERSION_1_1))
    set(CURLOPT_TCP_NODELAY, 1)
    set(CURLOPT_TCP_KEEPALIVE, 1)
    set(CURLOPT_PATH_AS_IS, 1)
    set(CURLOPT_FOLLOWLOCATION, 0)
    set(CURLOPT_BUFFERSIZE, configuration.receiveBufferSize)
    set(CURLOPT_UPLOAD_BUFFERSIZE, configuration.sendBufferSize)
    set(CURLOPT_PROTOCOLS_STR, "http,https")
    set(CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2)
    set(CURLOPT_SSL_VERIFYPEER, 1)
    set(CURLOPT_SSL_VERIFYHOST, 2)
    if let file = configuration.caFile { set(CURLOPT_CAINFO, file) }
    set(CURLOPT_USERAGENT, configuration.userAgent)
    // SAFETY: the callbacks are functions; the error text lives as long as the handle.
    unsafe _ = curlkit_set_pointer(raw, CURLOPT_ERRORBUFFER, errorText)
    unsafe _ = curlkit_set_io(raw, CURLOPT_HEADERFUNCTION, headerCallback)
    unsafe _ = curlkit_set_io(raw, CURLOPT_WRITEFUNCTION, bodyCallback)
    unsafe _ = curlkit_set_io(raw, CURLOPT_READFUNCTION, sendCallback)
    unsafe _ = curlkit_set_seek(raw, seekCallback)
    unsafe _ = curlkit_set_socket_hook(raw, socketCallback)
  }

  /// Sets everything that depends on the request. The transfer must outlive the handle's time in
  /// the multi handle.
  func prepare(_ transfer: Transfer) {
    let request = transfer.request
    unsafe errorText.pointee = 0
    set(CURLOPT_URL, request.url)
    setMethod(request)
    setHeaders(request.headers)
    set(CURLOPT_FRESH_CONNECT, request.freshConnection ? 1 : 0)
    set(CURLOPT_PROXY, request.bypassProxy ? "" : nil)
    let connect = (request.timeouts ?? timeouts).connect
    set(CURLOPT_CONNECTTIMEOUT_MS, max(1, Int(connect.nanosecondCount / 1_000_000)))
    // SAFETY: the loop holds the transfer until the handle is out of the multi handle.
    let context = unsafe Unmanaged.passUnretained(transfer).toOpaque()
    unsafe _ = curlkit_set_pointer(raw, CURLOPT_HEADERDATA, context)
    unsafe _ = curlkit_set_pointer(raw, CURLOPT_WRITEDATA, context)
    unsafe _ = curlkit_set_pointer(raw, CURLOPT_READDATA, context)
    unsafe _ = curlkit_set_pointer(raw, CURLOPT_SEEKDATA, context)
  }

  private func setMethod(_ request: HTTPRequest) {
    // CURLOPT_HTTPGET undoes a former transfer's CURLOPT_UPLOAD.
    set(CURLOPT_HTTPGET, 1)
    switch request.method {
    case .get, .delete: break
    case .put, .post:
      set(CURLOPT_UPLOAD, 1)
      unsafe _ = curlkit_set_offset(
        raw, CURLOPT_INFILESIZE_LARGE, curl_off_t(request.body?.count ?? 0))
    }
    set(CURLOPT_CUSTOMREQUEST, request.method.rawValue)
  }

  private func setHeaders(_ headers: [HTTPHeader]) {
    unsafe curl_slist_free_all(headerList)
    unsafe headerList = curl_slist_append(nil, "Expect:")
    for header in headers {
      // A name ending in ";" is libcurl's way to send a header without a value.
      let line = header.value.isEmpty ? "\(header.name);" : "\(header.name): \(header.value)"
      unsafe headerList = curl_slist_append(headerList, line)
    }
    unsafe _ = curlkit_set_list(raw, CURLOPT_HTTPHEADER, headerList)
  }

  /// Forgets the transfer, so that nothing of it is reachable from a pooled handle.
  func clear() {
    unsafe _ = curlkit_set_list(raw, CURLOPT_HTTPHEADER, nil)
    unsafe curl_slist_free_all(headerList)
    unsafe headerList = nil
    for option in [
      CURLOPT_HEADERDATA, CURLOPT_WRITEDATA, CURLOPT_READDATA, CURLOPT_SEEKDATA,
    ] {
      unsafe _ = curlkit_set_pointer(raw, option, nil)
    }
  }

  /// What libcurl says about the last failure, or nil.
  var failureText: String? {
    let text = unsafe String(cString: errorText)
    return text.isEmpty ? nil : text
  }

  /// `curl_easy_getinfo` for a count; 0 where unknown.
  func number(_ info: CURLINFO) -> Int {
    var value = 0
    unsafe _ = curlkit_get_long(raw, info, &value)
    return value
  }

  /// `curl_easy_getinfo` for a time, given in microseconds.
  func time(_ info: CURLINFO) -> Duration {
    var value: curl_off_t = 0
    unsafe _ = curlkit_get_offset(raw, info, &value)
    return .microseconds(Int64(value))
  }
}

extension Duration {
  /// Nanoseconds, clamped to 0 ... UInt64.max.
  var nanosecondCount: UInt64 {
    let parts = components
    guard parts.seconds >= 0, parts.attoseconds >= 0 else { return 0 }
    let (whole, overflow) = UInt64(parts.seconds).multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? .max : whole &+ UInt64(parts.attoseconds / 1_000_000_000)
  }
}
