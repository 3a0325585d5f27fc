import RegionControl
import RegionTesting
import RegionView
import Testing

@Suite struct FrameTests {
  static let golden =
    #filePath.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/Golden"

  static func lines(
    _ reports: [StatusReport], columns: Int, rows: Int = 24, glyphs: Glyphs = .blocks,
    selection: Int = 0, notice: String? = nil
  ) -> [Line] {
    var settings = FrameSettings(columns: columns, rows: rows, now: Samples.now, glyphs: glyphs)
    settings.selection = selection
    settings.notice = notice
    return Frame(reports, settings).lines
  }

  /// A frame looks as it was once found good; `REGIONFS_WRITE_GOLDEN=1` writes what it looks like now.
  func check(_ name: String, _ lines: [Line]) throws {
    let text = lines.map { $0.plain + "\n" }.joined()
    let path = "\(Self.golden)/\(name).txt"
    if Environment.all["REGIONFS_WRITE_GOLDEN"] != nil {
      try ChildProcess.check(["sh", "-c", "cat > '\(path)'"], input: text)
    }
    #expect(try ChildProcess.check(["cat", path]).output == text, "\(name)\n\(text)")
  }

  @Test(arguments: [40, 80, 200])
  func busyMount(columns: Int) throws {
    try check("busy-\(columns)", Self.lines([Samples.busy], columns: columns, selection: 1))
  }

  @Test(arguments: [40, 80, 200])
  func busyMountInPlainCharacters(columns: Int) throws {
    let lines = Self.lines([Samples.busy], columns: columns, glyphs: .ascii)
    try check("ascii-\(columns)", lines)
    // But for the names, which are as they are.
    let drawn = lines.map(\.plain).filter { !$0.contains("模型") }.joined()
    #expect(drawn.utf8.allSatisfy { (0x20..<0x7F).contains($0) })
  }

  @Test(arguments: [40, 80, 200])
  func mountsInTrouble(columns: Int) throws {
    let notice = "the daemon does not answer"
    try check(
      "broken-\(columns)",
      Self.lines([Samples.broken, Samples.busy], columns: columns, notice: notice))
  }

  @Test func nothingMounted() {
    let lines = Self.lines([], columns: 80).map(\.plain)
    #expect(lines == ["no mounts", " q quit  ↑↓ choose a region"])
  }

  @Test func noLineIsWiderThanTheScreenAndNoneTooMany() {
    for columns in [1, 2, 3, 7, 10, 20, 39, 40, 41, 60, 80, 100, 133, 200] {
      for rows in [0, 1, 2, 5, 24, 60] {
        for glyphs in [Glyphs.blocks, .ascii] {
          let lines = Self.lines(
            [Samples.broken, Samples.busy], columns: columns, rows: rows, glyphs: glyphs,
            selection: 2)
          #expect(lines.count <= rows)
          #expect(lines.allSatisfy { $0.width <= columns }, "\(columns)x\(rows)")
        }
      }
    }
  }

  @Test func theChosenRegionIsInSightAmongManyAndItsMapIsShown() {
    let regions = (0..<500).map { Samples.region("file-\($0)", cells: 8) }
    for selection in [0, 250, 499, 10_000] {
      let lines = Self.lines(
        [Samples.report(regions)], columns: 80, rows: 30, selection: selection
      ).map(\.plain)
      #expect(lines.contains { $0.hasPrefix("▸ file-\(min(selection, 499)) ") }, "\(selection)")
    }
  }

  @Test func namesOfOthersCannotMoveTheCursor() {
    let lines = Self.lines([Samples.broken], columns: 200).map(\.plain).joined()
    #expect(!lines.contains("\u{1B}") && lines.contains(#"no answer\u{1b}[31m"#))
  }

  @Test func coloursAddNothingButThemselves() {
    let lines = Self.lines([Samples.busy], columns: 80)
    let painted = lines.map(Painter(usesColor: true).paint)
    let stripped = painted.map { $0.replacing(/\u{1B}\[[0-9;]*m/, with: "") }
    #expect(stripped == lines.map(\.plain))
    #expect(painted.joined().contains("\u{1B}[33m▒"))
    #expect(lines.map(Painter(usesColor: false).paint) == lines.map(\.plain))
  }
}

@Suite struct MapViewTests {
  @Test func everyCellHasItsOwnCharacter() {
    for glyphs in [Glyphs.blocks, .ascii] {
      #expect(Set(ChunkCell.allCases.map(glyphs.of)).count == ChunkCell.allCases.count)
      #expect(glyphs.heights.count == 8)
    }
  }

  @Test func aSmallerMapShowsWhatMattersMost() {
    let cells: [ChunkCell] = [
      .present, .present, .absent, .present, .absent, .dirty, .dirty, .pushing,
    ]
    #expect(MapView.scaled(cells, to: 4) == [.present, .part, .dirty, .pushing])
    #expect(MapView.scaled(cells, to: 8) == cells)
    #expect(MapView.scaled(cells, to: 1) == [.pushing])
    #expect(ChunkCell.merged([.present, .pinned]) == .present)
    #expect(ChunkCell.merged([.pinned, .pinned]) == .pinned)
    #expect(ChunkCell.merged([.absent, .pulling]) == .pulling)
  }

  @Test func sparklinesShowTheNewestAndScaleToTheHighest() {
    #expect(Sparkline.text([], columns: 3, .ascii) == "___")
    #expect(Sparkline.text([9999, 0, 4096, 8192], columns: 3, .blocks) == "▁▅█")
    #expect(Sparkline.text([100, 0], columns: 2, .blocks).first != "█")
  }

  @Test func wideCharactersTakeTwoColumns() {
    #expect(DisplayWidth.of("模型.bin") == 8)
    #expect(DisplayWidth.of("e\u{301}") == 1)
    #expect(Line("模型模型").clipped(to: 6, .blocks).plain == "模型…")
  }
}
