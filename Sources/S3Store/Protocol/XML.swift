import CExpat

/// Why an XML text is refused.
struct XMLError: Error, Equatable, CustomStringConvertible {
  var description: String
}

/// An element of an XML answer, without attributes and comments, which S3 does not use.
struct XMLNode: Equatable, Sendable {
  /// The name without namespace prefix.
  var name: String
  /// All text directly inside.
  var text = ""
  /// Elements directly inside, in order.
  var children: [XMLNode] = []

  /// The first child of that name.
  subscript(name: String) -> XMLNode? { children.first { $0.name == name } }

  /// The children of that name.
  func all(_ name: String) -> [XMLNode] { children.filter { $0.name == name } }
}

extension XMLNode {
  /// Deepest nesting that is read; S3's answers have four levels.
  static let depthLimit = 16
  /// Elements that are read; a listing has under ten for each of 1,000 keys.
  static let elementLimit = 50_000

  /// Parses a whole document with expat. A document type is refused: S3 sends none, and entities
  /// can blow up a small text.
  init(parsing bytes: [UInt8]) throws(XMLError) {
    guard let parser = unsafe XML_ParserCreate("UTF-8") else {
      throw XMLError(description: "XML_ParserCreate: no memory")
    }
    defer { unsafe XML_ParserFree(parser) }
    let builder = Builder()
    // SAFETY: `builder` and `bytes` outlive the parse below; the callbacks run inside it only.
    unsafe XML_SetUserData(parser, Unmanaged.passUnretained(builder).toOpaque())
    unsafe XML_SetElementHandler(parser, startElement, endElement)
    unsafe XML_SetCharacterDataHandler(parser, characters)
    unsafe XML_SetStartDoctypeDeclHandler(parser, startDoctype)
    let status = unsafe bytes.withUnsafeBytes { raw in
      unsafe XML_Parse(
        parser, raw.baseAddress?.assumingMemoryBound(to: CChar.self), Int32(raw.count), 1)
    }
    let root = withExtendedLifetime(builder) { builder.refusal == nil ? builder.root : nil }
    if let refusal = builder.refusal { throw XMLError(description: "XML: \(refusal)") }
    guard status == XML_STATUS_OK, let root else {
      let words = unsafe XML_ErrorString(XML_GetErrorCode(parser)).map {
        unsafe String(cString: $0)
      }
      throw XMLError(
        description:
          "XML: \(words ?? "malformed") at line \(unsafe XML_GetCurrentLineNumber(parser))")
    }
    self = root
  }
}

/// Collects elements while expat parses.
private final class Builder {
  var root: XMLNode?
  var refusal: String?
  private var open: [XMLNode] = []
  private var count = 0

  func start(_ name: String) {
    count += 1
    guard open.count < XMLNode.depthLimit, count <= XMLNode.elementLimit else {
      refusal = "more than \(XMLNode.depthLimit) levels or \(XMLNode.elementLimit) elements"
      return
    }
    open.append(XMLNode(name: name.split(separator: ":").last.map(String.init) ?? name))
  }

  func end() {
    guard refusal == nil, let node = open.popLast() else { return }
    if open.isEmpty { root = node } else { open[open.count - 1].children.append(node) }
  }

  func add(_ text: UnsafeBufferPointer<UInt8>) {
    guard refusal == nil, !open.isEmpty else { return }
    unsafe open[open.count - 1].text += String(decoding: text, as: UTF8.self)
  }
}

private func builder(_ context: UnsafeMutableRawPointer?) -> Builder? {
  guard let context = unsafe context else { return nil }
  // SAFETY: set in `XMLNode.init(parsing:)`, which holds the builder during the parse.
  return unsafe Unmanaged<Builder>.fromOpaque(context).takeUnretainedValue()
}

private func startElement(
  _ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<XML_Char>?,
  _ attributes: UnsafeMutablePointer<UnsafePointer<XML_Char>?>?
) {
  guard let name = unsafe name else { return }
  unsafe builder(context)?.start(String(cString: name))
}

private func endElement(_ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<XML_Char>?) {
  unsafe builder(context)?.end()
}

private func characters(
  _ context: UnsafeMutableRawPointer?, _ text: UnsafePointer<XML_Char>?, _ count: Int32
) {
  guard let text = unsafe text else { return }
  // SAFETY: expat passes `count` bytes of UTF-8, valid during this call.
  let bytes = unsafe UnsafeRawBufferPointer(start: text, count: Int(count))
  unsafe builder(context)?.add(bytes.assumingMemoryBound(to: UInt8.self))
}

private func startDoctype(
  _ context: UnsafeMutableRawPointer?, _ name: UnsafePointer<XML_Char>?,
  _ system: UnsafePointer<XML_Char>?, _ identifier: UnsafePointer<XML_Char>?, _ subset: Int32
) {
  // expat's own bound on amplification covers what follows; the text is refused in any case.
  unsafe builder(context)?.refusal = "a document type is not allowed"
}
