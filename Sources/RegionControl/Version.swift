/// The release that tools and daemon belong to.
public enum RegionfsVersion {
  /// Semantic version.
  public static let text = "0.1.0"
}
