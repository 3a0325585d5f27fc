import RegionControl

/// A region's map as lines of characters.
public enum MapView {
  /// The cells in at most `columns` by `rows` characters; several to a character where they are more.
  public static func lines(
    _ cells: [ChunkCell], columns: Int, rows: Int, _ glyphs: Glyphs
  ) -> [Line] {
    let shown = scaled(cells, to: max(1, columns) * max(1, rows))
    return stride(from: 0, to: shown.count, by: max(1, columns)).map { start in
      line(shown[start..<min(start + max(1, columns), shown.count)], glyphs)
    }
  }

  /// At most `count` cells, each for an equal part of all.
  public static func scaled(_ cells: [ChunkCell], to count: Int) -> [ChunkCell] {
    guard cells.count > count, count > 0 else { return cells }
    return (0..<count).map { at in
      ChunkCell.merged(cells[at * cells.count / count..<(at + 1) * cells.count / count])
    }
  }

  private static func line(_ cells: ArraySlice<ChunkCell>, _ glyphs: Glyphs) -> Line {
    var line = Line()
    var rest = cells
    while let cell = rest.first {
      let run = rest.prefix { $0 == cell }
      line.spans.append(
        Span(String(repeating: glyphs.of(cell), count: run.count), .cell(cell)))
      rest = rest.dropFirst(run.count)
    }
    return line
  }

  /// What the characters mean, as pieces of which a line or two are made.
  static func legend(_ glyphs: Glyphs) -> [Line] {
    ChunkCell.allCases.map { cell in
      Line([Span(String(glyphs.of(cell)), .cell(cell)), Span(" " + cell.name, .faint)])
    }
  }
}

/// The last seconds' throughput as a row of little columns.
public enum Sparkline {
  /// The newest `columns` of `values`, as high as the highest of them; under a kilobyte is flat.
  public static func text(_ values: [UInt64], columns: Int, _ glyphs: Glyphs) -> String {
    let shown = values.suffix(columns)
    let top = max(1024, shown.max() ?? 0)
    let last = Double(glyphs.heights.count - 1)
    let drawn = shown.map { value in
      glyphs.heights[Int((Double(value) / Double(top) * last).rounded(.up))]
    }
    let missing = String(repeating: glyphs.heights[0], count: columns - drawn.count)
    return missing + String(drawn)
  }
}
