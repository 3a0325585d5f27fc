/// What went through the proxy since the start or the last `reset-stats`.
struct Counters {
  var connections = 0
  var refused = 0
  var bytesUp = 0
  var bytesDown = 0
  var requests: [String: Int] = [:]
  var responses: [String: Int] = [:]
  var requestBodyBytes: [String: Int] = [:]
  var responseBodyBytes: [String: Int] = [:]

  /// The counters and the rules' as one line of JSON.
  func json(rules: [Rule], open: Int) -> String {
    let plan = rules.map { rule in
      "{\"rule\":\(JSON.quoted(rule.text)),\"matched\":\(rule.matched),\"taken\":\(rule.taken),"
        + "\"fired\":\(rule.fired)}"
    }
    return "{\"connections\":\(connections),\"open\":\(open),\"refused\":\(refused),"
      + "\"bytes_up\":\(bytesUp),\"bytes_down\":\(bytesDown),"
      + "\"requests\":\(JSON.object(requests)),\"responses\":\(JSON.object(responses)),"
      + "\"request_body_bytes\":\(JSON.object(requestBodyBytes)),"
      + "\"response_body_bytes\":\(JSON.object(responseBodyBytes)),"
      + "\"rules\":[\(plan.joined(separator: ","))]}"
  }
}

/// The little JSON that is written here.
enum JSON {
  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": result += "\\\(scalar)"
      case _ where scalar.value < 0x20:
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  static func object(_ numbers: [String: Int]) -> String {
    let members = numbers.sorted { $0.key < $1.key }.map { "\(quoted($0.key)):\($0.value)" }
    return "{\(members.joined(separator: ","))}"
  }
}
