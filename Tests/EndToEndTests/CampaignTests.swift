import RegionTesting
import Testing

extension EndToEnd {
  /// The first rounds of the campaigns in `scripts/torture.d`, which docs/RELIABILITY.md runs for
  /// long. Each has a seed of its own, so that they do not repeat the documented ones.
  @Suite(.serialized) struct CampaignTests {
    /// Runs a campaign on the binaries under test; returns what it printed.
    @discardableResult
    private func torture(_ campaign: String, _ arguments: [String]) throws -> ProcessResult {
      var environment = Environment.all
      let binaries = Products.path("regionfs").split(separator: "/").dropLast()
      environment["REGIONFS_BIN"] = "/" + binaries.joined(separator: "/")
      // Where weed is.
      let tools = Programs.python.split(separator: "/").dropLast().joined(separator: "/")
      environment["PATH"] = "/\(tools):\(environment["PATH"] ?? "")"
      let program = "\(Programs.root)/scripts/torture.d/\(campaign).py"
      return try ChildProcess.check(
        [Programs.python, program] + arguments, environment: environment, timeout: .seconds(300))
    }

    @Test(arguments: StoreKind.allCases)
    func nothingAcknowledgedIsLostUnderAMixedLoad(_ kind: StoreKind) throws {
      try torture(
        "crash",
        ["--store", kind.rawValue, "--rounds", "8", "--life", "8", "--elsewhere", "4"]
          + ["--seed", "9"])
    }

    /// The comparison itself: it must see what a daemon that logs too little would lose.
    @Test func aLogCutInHalfIsNoticed() throws {
      try torture("crash", ["--rounds", "5", "--sabotage"])
    }

    @Test(arguments: ["sqlite-delete-off", "sqlite-wal-normal", "rocksdb-nosync"])
    func aDatabaseIsAPrefixOfItsTransactionsAtEveryCommit(_ database: String) throws {
      try torture(
        "loss",
        ["--database", database, "--rounds", "1", "--longest", "0.8", "--every-commit"]
          + ["--seed", "9"])
    }

    @Test func aDatabaseWhoseHostIsLostGoesOnElsewhere() throws {
      try torture(
        "loss",
        ["--store", "s3", "--database", "sqlite-persist-full,rocksdb-sync", "--rounds", "2"]
          + ["--longest", "0.8", "--seed", "9"])
    }

    @Test(arguments: StoreKind.allCases)
    func twoDaemonsStoppedAtRandomNeverBothCommit(_ kind: StoreKind) throws {
      try torture("race", ["--store", kind.rawValue, "--rounds", "3", "--seed", "900000"])
    }
  }
}
