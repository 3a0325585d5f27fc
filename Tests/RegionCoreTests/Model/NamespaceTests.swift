import RegionTesting
import Testing

@testable import RegionCore

/// Names beside a tree of dictionaries.
@Suite struct NamespaceTests {
  private final class Node {
    let isDirectory: Bool
    var children: [String: Node] = [:]
    weak var parent: Node?
    init(isDirectory: Bool, parent: Node?) {
      self.isDirectory = isDirectory
      self.parent = parent
    }

    func isInside(_ other: Node) -> Bool {
      self === other || parent.map { $0.isInside(other) } ?? false
    }
  }

  private static let now = Timestamp(nanoseconds: 5)

  private static func top() -> Namespace {
    Namespace(inodes: [
      Inode(
        id: 1, parent: 0, name: nil, kind: .directory, mode: 0o755, uid: 1, gid: 1,
        time: Timestamp(nanoseconds: 1))
    ])
  }

  /// All paths, with a slash behind directories.
  private static func paths(_ names: Namespace, _ directory: FileID = 1, _ prefix: String = "")
    -> Set<String>
  {
    var paths: Set<String> = []
    for (name, id) in names.entries(of: directory) {
      let isDirectory = names[id]?.kind == .directory
      paths.insert(prefix + "\(name)" + (isDirectory ? "/" : ""))
      if isDirectory { paths.formUnion(Self.paths(names, id, prefix + "\(name)/")) }
    }
    return paths
  }

  private static func paths(_ node: Node, _ prefix: String = "") -> Set<String> {
    var paths: Set<String> = []
    for (name, child) in node.children {
      paths.insert(prefix + name + (child.isDirectory ? "/" : ""))
      if child.isDirectory { paths.formUnion(Self.paths(child, prefix + name + "/")) }
    }
    return paths
  }

  /// What POSIX says about renaming `from` over `to`.
  private static func refusal(
    _ node: Node?, into parent: Node, over old: Node?, replacing: Bool
  ) -> RegionError? {
    guard let node else { return .notFound }
    if node.isDirectory, parent.isInside(node) { return .invalid }
    guard let old, old !== node else { return nil }
    guard replacing else { return .exists }
    if node.isDirectory {
      return old.isDirectory ? (old.children.isEmpty ? nil : .notEmpty) : .notDirectory
    }
    return old.isDirectory ? .isDirectory : nil
  }

  private struct Trial {
    var names = NamespaceTests.top()
    let root = Node(isDirectory: true, parent: nil)
    var random: SplitMix64
    var directories: [(FileID, Node)] = []

    init(seed: UInt64) {
      random = SplitMix64(seed: seed)
      directories = [(1, root)]
    }

    mutating func pick() -> (id: FileID, node: Node) {
      directories.removeAll { names[$0.0] == nil }
      let index = Int.random(in: 0..<directories.count, using: &random)
      return directories[index]
    }

    mutating func name() -> String { ["a", "b", "c"][Int.random(in: 0..<3, using: &random)] }

    mutating func apply(
      _ expected: RegionError?, _ edit: (Namespace) throws(RegionError) -> [NameChange]
    ) -> Bool {
      do {
        let changes = try edit(names)
        guard expected == nil else { return false }
        // Twice is the same as once.
        for change in changes { names.apply(change) }
        for change in changes { names.apply(change) }
        return true
      } catch {
        return error == expected
      }
    }

    mutating func step() -> Bool {
      let (parent, node) = pick()
      let text = name()
      guard let name = FileName(text) else { return false }
      let child = node.children[text]
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<4:
        let isDirectory = random.oneIn(2)
        let id = names.nextFileID
        let isRight = apply(child == nil ? nil : .exists) { (names) throws(RegionError) in
          try names.make(
            isDirectory ? .directory : .file, name: name, in: parent, mode: 0o700, uid: 1, gid: 1,
            at: NamespaceTests.now
          ).changes
        }
        if child == nil {
          let made = Node(isDirectory: isDirectory, parent: node)
          node.children[text] = made
          if isDirectory { directories.append((id, made)) }
        }
        return isRight
      case 4..<6:
        let asDirectory = random.oneIn(2)
        var expected: RegionError?
        if let child {
          if asDirectory {
            expected =
              child.isDirectory ? (child.children.isEmpty ? nil : .notEmpty) : .notDirectory
          } else if child.isDirectory {
            expected = .isDirectory
          }
        } else {
          expected = .notFound
        }
        if expected == nil { node.children[text] = nil }
        return apply(expected) { (names) throws(RegionError) in
          try names.remove(name, in: parent, directory: asDirectory, at: NamespaceTests.now).changes
        }
      default: return rename(parent, node, text, name, child)
      }
    }

    mutating func rename(
      _ parent: FileID, _ node: Node, _ text: String, _ name: FileName, _ child: Node?
    ) -> Bool {
      let (newParent, newNode) = pick()
      let newText = self.name()
      guard let newName = FileName(newText) else { return false }
      let old = newNode.children[newText]
      if random.oneIn(3) {
        var expected: RegionError?
        if let child, let old {
          if child !== old,
            child.isDirectory && newNode.isInside(child) || old.isDirectory && node.isInside(old)
          {
            expected = .invalid
          }
          if expected == nil, child !== old {
            (node.children[text], newNode.children[newText]) = (old, child)
            (child.parent, old.parent) = (newNode, node)
          }
        } else {
          expected = .notFound
        }
        return apply(expected) { (names) throws(RegionError) in
          try names.exchange(name, in: parent, with: newName, in: newParent, at: NamespaceTests.now)
        }
      }
      let replacing = !random.oneIn(4)
      let expected = NamespaceTests.refusal(child, into: newNode, over: old, replacing: replacing)
      if expected == nil, let child, child !== old {
        node.children[text] = nil
        newNode.children[newText] = child
        child.parent = newNode
      }
      return apply(expected) { (names) throws(RegionError) in
        try names.rename(
          name, in: parent, to: newName, in: newParent, replacing: replacing, at: NamespaceTests.now
        ).changes
      }
    }
  }

  @Test func agreesWithATreeOfDictionaries() {
    for seed in 1...200 {
      var trial = Trial(seed: UInt64(seed))
      for step in 0..<60 {
        guard trial.step(), Self.paths(trial.names) == Self.paths(trial.root) else {
          Issue.record("seed \(seed), step \(step)")
          return
        }
      }
      // The same inodes in any order make the same names.
      let again = Namespace(
        inodes: trial.names.all.shuffled(using: &trial.random), nextFileID: trial.names.nextFileID)
      #expect(Self.paths(again) == Self.paths(trial.root))
      for inode in trial.names.all where inode.id != 1 {
        #expect(trial.names.path(of: inode.id)?.last == inode.name)
      }
    }
  }

  @Test func idsAreNeverReused() throws {
    var names = Self.top()
    let name = try #require(FileName("x"))
    var seen: Set<FileID> = []
    for _ in 0..<5 {
      let made = try names.make(.file, name: name, in: 1, mode: 0, uid: 0, gid: 0, at: Self.now)
      #expect(seen.insert(made.inode.id).inserted)
      for change in made.changes { names.apply(change) }
      for change in try names.remove(name, in: 1, directory: false, at: Self.now).changes {
        names.apply(change)
      }
    }
  }

  @Test func setGroupDirectoriesHandTheirGroupDown() throws {
    var names = Self.top()
    names.update(1) { inode in
      inode.mode = 0o2755
      inode.gid = 77
    }
    let name = try #require(FileName("d"))
    let made = try names.make(
      .directory, name: name, in: 1, mode: 0o700, uid: 1, gid: 5, at: Self.now)
    #expect(made.inode.gid == 77 && made.inode.mode == 0o2700)
  }

  @Test func namesOfOthersAreRefused() throws {
    let names = Self.top()
    let name = try #require(FileName("d"))
    #expect(throws: RegionError.notFound) {
      try names.make(.file, name: name, in: 99, mode: 0, uid: 0, gid: 0, at: Self.now)
    }
    #expect(FileName("") == nil && FileName("a/b") == nil && FileName(".") == nil)
    #expect(FileName("..") == nil && FileName([0]) == nil)
    #expect(FileName(String(repeating: "n", count: 256)) == nil)
    #expect(FileName(String(repeating: "n", count: 255)) != nil)
    #expect(FileName([0xFF, 0x80]) != nil)
  }
}
