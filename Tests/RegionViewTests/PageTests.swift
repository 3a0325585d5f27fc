import RegionControl
import RegionTesting
import RegionView
import Testing

@Suite struct PageTests {
  static let page = StatusPage([Samples.busy, Samples.broken], now: Samples.now).text

  @Test func isSelfContained() {
    for word in ["http://", "https://", "src=", "<script", "@import", "url("] {
      #expect(!Self.page.contains(word), "\(word)")
    }
    #expect(Self.page.contains("prefers-color-scheme:dark"))
  }

  @Test func namesCannotBecomeMarkup() {
    let name = "<script>alert(\"1\")</script>&\u{1B}"
    let page = StatusPage([Samples.report([Samples.region(name)], at: name)], now: 0).text
    #expect(!page.contains("<script"))
    #expect(page.contains(#"&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;\u{1b}"#))
  }

  @Test func refreshesWhereItIsWrittenAgain() {
    #expect(!Self.page.contains("http-equiv"))
    let page = StatusPage([], now: 0, refreshSeconds: 2.5).text
    #expect(page.contains("<meta http-equiv=\"refresh\" content=\"3\">"))
    #expect(page.contains("no mounts"))
  }

  /// Opens the page in a browser and looks at the pixels: each kind of cell is there in its colour, as
  /// much as the map says, and nothing is wider than the window.
  @Test(arguments: ["light", "dark"])
  func aBrowserShowsEveryCellInItsColour(scheme: String) throws {
    let scratch = try Scratch()
    let page = StatusPage([Samples.report([Samples.region("a", cells: 4096)])], now: Samples.now)
    let file = scratch.file("page.html")
    let picture = scratch.file("page.png")
    try ChildProcess.check(["sh", "-c", "cat > '\(file)'"], input: page.text)
    let preference = scheme == "dark" ? ["--blink-settings=preferredColorScheme=0"] : []
    // No sandbox: tests run as root, and the page is our own.
    try ChildProcess.check(
      [
        "chromium-headless-shell", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
        "--user-data-dir=\(scratch.file("profile"))", "--window-size=1000,1200",
      ] + preference + ["--screenshot=\(picture)", "file://\(file)"])
    let colors = PageStyle.colors.map { scheme == "dark" ? $0.dark : $0.light }
    let counts = try ChildProcess.check(
      ["python3", "\(FrameTests.golden)/../count_colors.py", picture] + colors
    ).output.split(separator: "\n").map { try #require(Int($0)) }
    #expect(counts.count == colors.count)
    let cells = try #require(Samples.map(4096).cells)
    let perCell = Double(try #require(counts.first)) / Double(cells.count { $0 == .absent })
    for (count, color) in zip(counts, PageStyle.colors) {
      // Edges are blended, so not every pixel counts; the legend adds a few.
      let expected = Double(cells.count { $0 == color.cell }) * perCell
      #expect(Double(count) > expected * 0.5 && Double(count) < expected * 2 + 400, "\(color.cell)")
    }
  }
}
