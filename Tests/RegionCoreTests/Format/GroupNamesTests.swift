import RegionCore
import RegionTesting
import Testing

@Suite struct GroupNamesTests {
  @Test(arguments: [
    ("data", "groups/edata"), ("a.b-C9", "groups/ea.b-C9"), (".hidden", "groups/e_2Ehidden"),
    ("a_b", "groups/ea_5Fb"), ("a b", "groups/ea_20b"), ("ü", "groups/e_C3_BC"),
    ("...", "groups/e_2E.."), ("~", "groups/e_7E"),
  ])
  func escapes(_ name: String, _ key: String) throws {
    let name = try #require(FileName(name))
    #expect(GroupNames.key(for: name).text == key)
    #expect(GroupNames.name(of: try #require(ObjectKey(key))) == name)
  }

  @Test(arguments: [179, 180, 181])
  func splitsAtTheLimitOfAPiece(_ length: Int) throws {
    let text = String(repeating: "x", count: length)
    let key = GroupNames.key(for: try #require(FileName(text))).text
    let expected =
      length <= 180
      ? "groups/e\(text)" : "groups/c\(String(repeating: "x", count: 180))/e\(text.dropFirst(180))"
    #expect(key == expected)
  }

  /// Every name has a valid key of its own that leads back, and no key is a directory of another.
  @Test func isInjectiveOverRandomNames() throws {
    var values = RandomValues(seed: 11)
    var names: Set<FileName> = []
    for round in 0..<2000 {
      names.insert(values.name(longest: round % 2 == 0 ? 255 : 3))
      names.insert(try #require(FileName([UInt8](repeating: 0xFF, count: values.count(1...255)))))
    }
    let keys = Dictionary(uniqueKeysWithValues: names.map { (GroupNames.key(for: $0).text, $0) })
    #expect(keys.count == names.count)
    for (text, name) in keys {
      let key = try #require(ObjectKey(text), "not a valid key: \(text)")
      #expect(GroupNames.name(of: key) == name)
      for (index, character) in text.enumerated() where character == "/" {
        #expect(keys[String(text.prefix(index))] == nil)
      }
    }
  }

  @Test(arguments: [
    "groups/x", "groups/dabc", "groups/e", "groups/e_2f", "groups/e_41", "groups/e.a", "groups/e_0",
    "groups/e_00", "groups/e_2F", "groups/cab/ecd", "groups/eab/ecd", "groups/e_2E", "groups/ea_",
    "groups/e_2E_2E", "other/edata", "groups/e_G0", "groups/cabc",
  ])
  func refusesWhatIsNoNamesKey(_ text: String) {
    guard let key = ObjectKey(text) else { return }
    #expect(GroupNames.name(of: key) == nil)
  }

  /// `UInt64("-0")` is 0: signs once passed for digits.
  @Test(arguments: ["-", "+", "g", " ", "٣"])
  func identifiersAreDigitsOnly(_ intruder: String) {
    let zeros = String(repeating: "0", count: 32)
    #expect(Random128(zeros) == .zero)
    #expect(Random128(intruder + zeros.dropLast()) == nil)
    #expect(Random128(zeros.prefix(16) + intruder + zeros.dropLast(17)) == nil)
  }

  @Test func objectKeys() throws {
    let group = Random128(high: 0xAB, low: 0xCD)
    let object = ObjectID(epoch: 12, random: Random128(high: 1, low: 2))
    let uuid = "00000000000000ab00000000000000cd"
    #expect(ObjectKeys.root(of: group).text == "g/\(uuid)/root")
    #expect(ObjectKeys.trace(of: group).text == "g/\(uuid)/trace")
    let segment = ObjectKeys.segment(group, object)
    #expect(segment.text == "g/\(uuid)/seg/12-00000000000000010000000000000002")
    #expect(
      ObjectKeys.object(of: segment, prefix: ObjectKeys.segmentPrefix(of: group)) == object)
    let map = ObjectKeys.map(group, object)
    #expect(map.text == "g/\(uuid)/map/12-00000000000000010000000000000002")
    #expect(ObjectKeys.object(of: map, prefix: ObjectKeys.mapPrefix(of: group)) == object)
    #expect(ObjectKeys.object(of: map, prefix: ObjectKeys.segmentPrefix(of: group)) == nil)
    #expect(ObjectKeys.mounts(group).text == "mounts/\(uuid)")
    let deleted = ObjectKeys.deleted(group)
    #expect(deleted.text == "deleted/\(uuid)")
    #expect(ObjectKeys.identifier(of: deleted, prefix: ObjectKeys.deletedPrefix) == group)
    let shouted = try #require(ObjectKey("deleted/\(uuid.uppercased())"))
    #expect(ObjectKeys.identifier(of: shouted, prefix: ObjectKeys.deletedPrefix) == nil)
    let padded = try #require(
      ObjectKey("g/\(uuid)/seg/012-00000000000000010000000000000002"))
    #expect(ObjectKeys.object(of: padded, prefix: ObjectKeys.segmentPrefix(of: group)) == nil)
  }
}
