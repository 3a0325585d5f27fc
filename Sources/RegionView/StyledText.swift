import RegionControl

/// What a piece of text means; a painter knows its colour.
public enum Ink: Hashable, Sendable {
  /// As it comes.
  case plain
  /// Less important.
  case faint
  /// More important.
  case strong
  /// Something is wrong.
  case alarm
  /// A cell of a map.
  case cell(ChunkCell)
  /// Bytes that come.
  case incoming
  /// Bytes that go.
  case outgoing
}

/// Text of one ink.
public struct Span: Hashable, Sendable {
  /// The text, without control characters.
  public var text: String
  /// What it means.
  public var ink: Ink

  /// Text of an ink.
  public init(_ text: String, _ ink: Ink = .plain) {
    self.text = text
    self.ink = ink
  }
}

/// One line on the screen.
public struct Line: Hashable, Sendable {
  /// Its pieces, from left to right.
  public var spans: [Span]

  /// A line of pieces.
  public init(_ spans: [Span] = []) { self.spans = spans }

  /// A line of one piece.
  public init(_ text: String, _ ink: Ink = .plain) { spans = [Span(text, ink)] }

  /// Columns it takes on a terminal.
  public var width: Int { spans.reduce(0) { $0 + DisplayWidth.of($1.text) } }

  /// Its text without colours.
  public var plain: String { spans.map(\.text).joined() }

  /// The line in at most so many columns; what is cut off leaves a mark.
  public func clipped(to columns: Int, _ glyphs: Glyphs) -> Line {
    guard width > columns else { return self }
    var room = max(0, columns - DisplayWidth.of(glyphs.ellipsis))
    var kept: [Span] = []
    for span in spans {
      let part = DisplayWidth.prefix(of: span.text, columns: room)
      kept.append(Span(part, span.ink))
      room -= DisplayWidth.of(part)
      if part != span.text { break }
    }
    return Line(kept + [Span(DisplayWidth.prefix(of: glyphs.ellipsis, columns: columns), .faint)])
  }

  static func + (line: Line, other: Line) -> Line { Line(line.spans + other.spans) }
}

/// Turns lines into what a terminal is sent.
public struct Painter: Sendable {
  /// Colours may be used.
  public var usesColor: Bool

  /// A painter.
  public init(usesColor: Bool) { self.usesColor = usesColor }

  /// A line with its colours (ECMA-48 SGR), or as it is.
  public func paint(_ line: Line) -> String {
    guard usesColor else { return line.plain }
    return line.spans.map { span in
      guard let code = Self.code(span.ink), !span.text.isEmpty else { return span.text }
      return "\u{1B}[\(code)m\(span.text)\u{1B}[0m"
    }.joined()
  }

  /// The eight colours that every terminal has, which its user's palette knows how to show.
  private static func code(_ ink: Ink) -> String? {
    switch ink {
    case .plain: nil
    case .faint, .cell(.absent): "2"
    case .strong: "1"
    case .alarm: "1;31"
    case .incoming, .cell(.pulling): "36"
    case .outgoing, .cell(.pushing): "35"
    case .cell(.part), .cell(.present): "32"
    case .cell(.pinned): "34"
    case .cell(.dirty): "33"
    }
  }
}

/// The characters that a view is drawn with.
public struct Glyphs: Sendable {
  /// The character of each cell of a map: distinct without colours, too.
  public let cells: [ChunkCell: Character]
  /// Heights of a sparkline, lowest first.
  public let heights: [Character]
  /// Stands for what was cut off.
  public let ellipsis: String
  /// Stands for nothing.
  public let none: String
  /// Before the chosen region.
  public let chosen: String
  /// The keys that choose.
  public let arrows: String

  /// Block elements.
  public static let blocks = Glyphs(
    cells: [
      .absent: "·", .part: "░", .present: "█", .pinned: "■", .pulling: "▼", .dirty: "▒",
      .pushing: "▲",
    ], heights: Array("▁▂▃▄▅▆▇█"), ellipsis: "…", none: HumanText.none, chosen: "▸", arrows: "↑↓")

  /// Nothing but ASCII.
  public static let ascii = Glyphs(
    cells: Dictionary(uniqueKeysWithValues: ChunkCell.allCases.map { ($0, $0.rawValue) }),
    heights: Array("_.:-=+*#"), ellipsis: "~", none: "-", chosen: ">", arrows: "arrows")

  /// The character of a cell.
  public func of(_ cell: ChunkCell) -> Character { cells[cell] ?? cell.rawValue }

  /// A number's text with what this set has for characters that it has not.
  func text(_ text: String) -> String { text == HumanText.none ? none : text }
}

/// How many columns of a terminal text takes.
public enum DisplayWidth {
  /// The columns of a text.
  public static func of(_ text: String) -> Int { text.reduce(0) { $0 + columns($1) } }

  /// As much of the text as fits.
  public static func prefix(of text: String, columns room: Int) -> String {
    var used = 0
    let kept = text.prefix { character in
      used += columns(character)
      return used <= room
    }
    return String(kept)
  }

  /// A character is as wide as its first scalar: what follows is drawn over it.
  private static func columns(_ character: Character) -> Int {
    guard let scalar = character.unicodeScalars.first else { return 0 }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .enclosingMark: return 0
    default: break
    }
    // The wide and fullwidth blocks of Unicode's EastAsianWidth, and pictographs.
    switch scalar.value {
    case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xA960...0xA97C, 0xAC00...0xD7A3,
      0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F,
      0x1F680...0x1F6FF, 0x1F900...0x1F9FF, 0x20000...0x3FFFD:
      return 2
    default: return 1
    }
  }
}
