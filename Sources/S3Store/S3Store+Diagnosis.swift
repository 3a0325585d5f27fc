import CurlKit
import RegionCore

/// What a person wants to know of a store that does not work.
extension S3Store {
  /// The access key that requests are signed with and where it comes from; never the secret.
  public func credentialsDescription() async throws(StoreError) -> String {
    try await credentials(Call("credentials", "", in: self)).description
  }

  /// The server's clock, as its answers say (the `Date` header, in whole seconds); nil if they do
  /// not.
  public func serverTime() async throws(StoreError) -> Timestamp? {
    let call = Call("LIST", "", in: self)
    var request = CallRequest(.get)
    request.isOnBucket = true
    request.query = [
      ("list-type", "2"), ("max-keys", "1"), ("prefix", configuration.keyPrefix),
    ]
    request.destination = .array(limit: Self.listLimit)
    let response = try await perform(call, request)
    return response.headers["date"].flatMap { CalendarTime.parse(httpDate: $0) }
  }
}
