/// The keys of everything but the names of groups (`GroupNames`), relative to the store's prefix.
public enum ObjectKeys {
  /// `g/<uuid>/root`: the only mutable object of a group.
  public static func root(of group: GroupID) -> ObjectKey { ObjectKey(composed: "g/\(group)/root") }

  /// `g/<uuid>/seg/<epoch>-<random>`: an immutable segment.
  public static func segment(_ group: GroupID, _ object: ObjectID) -> ObjectKey {
    ObjectKey(composed: segmentPrefix(of: group) + object.name)
  }

  /// `g/<uuid>/map/<epoch>-<random>`: an immutable checkpoint.
  public static func map(_ group: GroupID, _ object: ObjectID) -> ObjectKey {
    ObjectKey(composed: mapPrefix(of: group) + object.name)
  }

  /// `g/<uuid>/trace`: the recorded order of access, a hint.
  public static func trace(of group: GroupID) -> ObjectKey {
    ObjectKey(composed: "g/\(group)/trace")
  }

  /// `mounts/first`: what mounts with an empty cache asked for first, a hint.
  public static let startHint = ObjectKey(composed: "mounts/first")

  /// `mounts/<id>`: the heartbeat of a live mount.
  public static func mounts(_ id: WriterID) -> ObjectKey { ObjectKey(composed: "mounts/\(id)") }

  /// `g/<uuid>/fenced/<epoch>-<nonce>`: the root from which a claim was taken over.
  public static func fenced(_ group: GroupID, _ epoch: Epoch, _ nonce: Nonce) -> ObjectKey {
    ObjectKey(composed: fencedPrefix(of: group) + "\(epoch)-\(nonce)")
  }

  /// `deleted/<uuid>`: says that a group is gone and its objects may go.
  public static func deleted(_ group: GroupID) -> ObjectKey {
    ObjectKey(composed: "deleted/\(group)")
  }

  /// What the keys of a group's segments begin with.
  public static func segmentPrefix(of group: GroupID) -> String { "g/\(group)/seg/" }
  /// What the keys of a group's checkpoints begin with.
  public static func mapPrefix(of group: GroupID) -> String { "g/\(group)/map/" }
  /// What the keys of a group's roots begin with from which claims were taken over.
  public static func fencedPrefix(of group: GroupID) -> String { "g/\(group)/fenced/" }
  /// What the keys made by `deleted` begin with.
  public static let deletedPrefix = "deleted/"
  /// What the keys made by `mounts` begin with.
  public static let mountsPrefix = "mounts/"

  /// The group that an object belongs to; nil for other objects.
  public static func group(of key: ObjectKey) -> GroupID? {
    let parts = key.text.split(separator: "/", maxSplits: 2)
    guard parts.count == 3, parts[0] == "g", let id = GroupID(String(parts[1])),
      id.description == parts[1]
    else { return nil }
    return id
  }

  /// The object whose segment or checkpoint key begins with `prefix` (`segmentPrefix`, `mapPrefix`,
  /// `fencedPrefix`);
  /// nil for any other key and for other spellings.
  public static func object(of key: ObjectKey, prefix: String) -> ObjectID? {
    guard let name = rest(of: key, after: prefix) else { return nil }
    let parts = name.split(separator: "-", maxSplits: 1)
    guard parts.count == 2, let epoch = UInt64(parts[0]), let random = Random128(parts[1]) else {
      return nil
    }
    let object = ObjectID(epoch: epoch, random: random)
    return object.name == name ? object : nil
  }

  /// The identifier in a key `<prefix><32 hexadecimal digits>` (`deletedPrefix`, `mountsPrefix`).
  public static func identifier(of key: ObjectKey, prefix: String) -> Random128? {
    guard let name = rest(of: key, after: prefix), let id = Random128(name),
      id.description == name
    else { return nil }
    return id
  }

  private static func rest(of key: ObjectKey, after prefix: String) -> String? {
    guard key.text.hasPrefix(prefix) else { return nil }
    return String(key.text.dropFirst(prefix.count))
  }
}
