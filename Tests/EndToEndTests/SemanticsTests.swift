import RegionTesting
import Testing

/// docs/SEMANTICS.md and the tests belong together: each promise there names its tests here.
@Suite struct SemanticsTests {
  /// A promise, word for word, and the tests that prove it: `file/function`, where the file is in
  /// some folder of Tests. None: the document must say so.
  private struct Promise {
    var sentence: String
    var tests: [String]

    init(_ sentence: String, _ tests: String...) {
      self.sentence = sentence
      self.tests = tests
    }
  }

  private static let promises: [Promise] = [
    Promise(
      "A test quotes every promise on this page.",
      "SemanticsTests.swift/everyPromiseIsQuotedAndProved"),
    Promise(
      "A change whose system call was answered survives SIGKILL of the daemon.",
      "CrashTests.swift/nothingAcceptedIsLostBySIGKILL",
      "CrashTests.swift/noAcceptedNameIsLostBySIGKILL",
      "CampaignTests.swift/nothingAcknowledgedIsLostUnderAMixedLoad"),
    Promise(
      "A change survives a power loss of the host once msync or fsync has returned 0.",
      "PowerLossTests.swift/everySyncedChangeSurvivesAPowerLossAtEveryWrite",
      "SimulationTests.swift/everyScheduleAgreesWithAPlainArray"),
    Promise(
      "With sync=remote, msync and fsync return 0 only once the change is committed in the store.",
      "LifecycleTests.swift/syncRemoteWaitsForTheCommit"),
    Promise(
      "regionfs sync returns 0 only once everything accepted before it is committed.",
      "LifecycleTests.swift/syncCommandWaitsForTheCommit"),
    Promise(
      "The store always holds a prefix of a group's history: everything accepted before a cut and nothing accepted after it.",
      "DatabaseTests.swift/aDatabaseIsConsistentAtEveryCommit",
      "CampaignTests.swift/aDatabaseIsAPrefixOfItsTransactionsAtEveryCommit",
      "CommitHistoryTests.swift/everyCommitIsAPrefixOfTheHistory",
      "GroupModelTests.swift/everyLifeAgreesWithAPlainArray"),
    Promise(
      "A reader never gets bytes that nobody wrote: a wrong, short or missing answer of the store is an error, never zeros.",
      "StoreFaultTests.swift/aLastingFaultIsAnErrorAndNeverAWrongByte",
      "DamagedStoreTests.swift/damage", "DecoratorTests.swift/damageOnTheWayNeverReachesTheReader"),
    Promise(
      "Two writers never both commit to one group.",
      "OwnershipTests.swift/aSecondWriterIsRefusedUntilTheFirstIsGone",
      "PromiseTests.swift/aWriterThatWasTakenOverStopsAndKeepsItsChanges",
      "RaceTests.swift/aWriterHeldUpAtAnyRequestNeverCommitsAfterItsSuccessor",
      "StoreRaceTests.swift/exactlyOneSwaps"),
    Promise(
      "Where another mount holds the claim, opening for writing fails with EBUSY and a line in the log that names the holder.",
      "RecoverCommandTests.swift/theSecondWriterIsToldWhoHoldsTheClaim"),
    Promise(
      "A claim ends when it is given back or taken over, with -o takeover or regionfs takeover, never because time has passed.",
      "OwnershipTests.swift/theWriterOfADeadHostKeepsItsClaim",
      "RecoverCommandTests.swift/whatALoserHadNotCommittedIsSavedOrDiscarded"),
    Promise(
      "A writer whose claim was taken over gets ESTALE for every further change, can still read, and keeps its uncommitted changes in its cache.",
      "PromiseTests.swift/aWriterThatWasTakenOverStopsAndKeepsItsChanges"),
    Promise(
      "What a writer had not committed when it lost its claim stays in its cache until regionfs recover saves it as a new group or discards it.",
      "RecoverCommandTests.swift/whatALoserHadNotCommittedIsSavedOrDiscarded",
      "TakeoverTests.swift/whatTheLoserHadNotCommittedIsSavedAsAGroup"),
    Promise(
      "A mapping that is dirtied and never msynced is committed all the same, within push_interval plus the upload.",
      "MappingTests.swift/anUnsyncedMappingIsCommittedWithinThePushInterval"),
    Promise(
      "regionfs umount, and umount(8) where the mount has its entry in /run/mount/utab, wait until everything is committed.",
      "LifecycleTests.swift/theCommandReturnsWhenTheMountAnswers",
      "DaemonTests.swift/mountReturnsWhenItAnswersAndUmountWhenTheDaemonHasEnded"),
    Promise(
      "Where nobody waits for the unmount, the daemon commits the rest by itself, and the next mount of that cache waits for it or replays the log.",
      "LifecycleTests.swift/aMountRightAfterAnUnmountThatNobodyWaitedFor",
      "LifecycleTests.swift/sigtermDrainsAndEnds",
      "LifecycleTests.swift/unmountWithTheStoreAwayKeepsEverythingInTheCache"),
    Promise(
      "After a failed sync of its log a group answers EIO to every change and every sync until it is mounted again.",
      "PromiseTests.swift/aFailedSyncStopsTheGroupUntilItIsMountedAgain"),
    Promise(
      "No accepted change is dropped because a disk is full: write(2) answers ENOSPC, and stores into mappings wait until there is room.",
      "BadInputTests.swift/cacheOnAFullDisk", "PromiseTests.swift/mappedStoresWaitForRoomOnTheDisk"),
    Promise(
      "A mount that only reads a group sees its newest commit when it opens a file of it, at most a second late.",
      "PromiseTests.swift/aReaderSeesNewCommitsWhenItOpens"),
    Promise(
      "Files that stay open, and live mappings of them, see new commits within follow_interval plus the time it takes to ask the store.",
      "FollowerTests.swift/aLiveMappingSeesNewCommitsAndNoTornChunk",
      "FollowerTests.swift/aLiveMappingSeesTheFileGrowAndShrink"),
    Promise(
      "What the daemon answers of a chunk is wholly of one commit.",
      "FollowerTests.swift/aLiveMappingSeesNewCommitsAndNoTornChunk"),
    Promise(
      "With pull=full, what the store has when it is mounted can be read afterwards without it.",
      "FullPullTests.swift/whenTheMountReturnsTheStoreIsNotNeeded",
      "FullPullTests.swift/anOutageIsWaitedOut"),
    Promise(
      "With writeback_cache, what write(2) wrote is accepted when the kernel hands it over: at fsync, at the last close, and in any case within half a push_interval.",
      "WritebackCacheTests.swift/whatWasSyncedSurvivesSIGKILLAndAllIsCommittedInTime",
      "WritebackCacheTests.swift/databasesAreWholeEverywhere"),
    Promise(
      "With writeback_cache, a mount claims a group when it is asked for a file of it, also for reading only, and keeps the claim until it is unmounted.",
      "WritebackCacheTests.swift/aFileThatIsOnlyReadIsClaimedUntilTheUnmount",
      "WritebackCacheTests.swift/aGroupThatWasTakenOverIsNotFollowed"),
    Promise("Hard links are refused with EPERM.", "posix_checks.py/hard_links_are_refused"),
    Promise(
      "A rename from one top-level entry into another answers EXDEV, so that mv copies.",
      "posix_checks.py/rename_between_groups_is_exdev"),
    Promise(
      "Extended attributes are kept in the user namespace; others are refused with EOPNOTSUPP.",
      "posix_checks.py/extended_attributes", "PromiseTests.swift/onlyUserAttributesAreKept"),
    Promise(
      "flock and fcntl locks exclude processes on one host.",
      "posix_checks.py/flock_excludes", "posix_checks.py/posix_locks_exclude_other_processes"),
    Promise(
      "SEEK_DATA and SEEK_HOLE see what was stored into a mapping a moment ago.",
      "MappingTests.swift/aCopyHasWhatWasStoredIntoAHoleAMomentAgo"),
    Promise(
      "Reading never changes the access time; utimens sets it.",
      "posix_checks.py/times", "PromiseTests.swift/readingLeavesTheAccessTime"),
    Promise(
      "While the store is away, what is in the cache can be read, written and synced.",
      "MappingTests.swift/aWriterGoesOnWhileTheStoreIsAway"),
    Promise(
      "Writers that are faster than the store are slowed as log_limit comes near; at the limit, while the store is away, write(2) answers ENOSPC and stores into mappings wait.",
      "OutageTests.swift/atTheLogsLimitWriteIsToldAndMappingsWait",
      "SmallPartTests.swift/writersAreSlowedToTheLimit"),
    Promise(
      "A mount can begin while the store is away: it shows what the cache has, and goes on where its log ended.",
      "OutageTests.swift/aMountBeginsWhileTheStoreIsAway",
      "OutageTests.swift/aMountOfflineFindsThatItsLogWasCommitted",
      "OutageTests.swift/aReadersCacheIsShownWhileTheStoreIsAway"),
    Promise(
      "A read that the store does not answer fails after fault_timeout, with EIO or SIGBUS, and works again when the store does.",
      "StoreFaultTests.swift/aLastingFaultIsAnErrorAndNeverAWrongByte"),
    Promise(
      "A process that waits for a page can be killed.",
      "StoreFaultTests.swift/aReaderThatWaitsCanBeKilled",
      "InterruptTests.swift/aProcessInAFaultCanBeKilled"),
    Promise(
      "Cached chunks take no more of the disk than cache_size, but for what is uncommitted or pinned and for pulls under way.",
      "CacheLimitTests.swift/aRegionTenTimesTheLimitLosesNothing",
      "EvictionTests.swift/theBudgetKeepsTheDataFilesWithinTheLimit"),
    Promise(
      "What made room for others is pulled again when it is read, with the same bytes.",
      "CacheLimitTests.swift/aRegionTenTimesTheLimitLosesNothing",
      "GroupModelTests.swift/everyLifeAgreesWithAPlainArray"),
    Promise(
      "Pinned bytes stay until they are unpinned, through unmounts and crashes.",
      "CacheLimitTests.swift/pinnedBytesStayThroughScansAndRemounts",
      "EvictionTests.swift/pinnedChunksStayAndAreRemembered"),
  ]

  private static let tests = Programs.root + "/Tests"

  private func text(_ path: String) throws -> String {
    String(decoding: try Files.read(path), as: Unicode.UTF8.self)
  }

  @Test func everyPromiseIsQuotedAndProved() throws {
    let lines = try text(Programs.root + "/docs/SEMANTICS.md")
      .split(separator: "\n", omittingEmptySubsequences: false)
    let quoted = lines.filter { $0.hasPrefix("> ") }.map { String($0.dropFirst(2)) }
    #expect(quoted == Self.promises.map(\.sentence), "document and list, in this order")
    let files = try Files.list(below: Self.tests)
    for promise in Self.promises where quoted.contains(promise.sentence) {
      for test in promise.tests {
        #expect(try exists(test, in: files), "\(test), which is to prove: \(promise.sentence)")
      }
      guard promise.tests.isEmpty else { continue }
      let after = lines.drop { $0 != "> \(promise.sentence)" }.dropFirst()
      let next = after.first { !$0.isEmpty } ?? ""
      #expect(next.hasPrefix("*(Not proved by a test"), "the document owns up: \(promise.sentence)")
    }
  }

  /// Whether a file of that name declares the function, as a test where it is Swift.
  private func exists(_ test: String, in files: [String]) throws -> Bool {
    let parts = test.split(separator: "/").map(String.init)
    try #require(parts.count == 2)
    let (file, function) = (parts[0], parts[1])
    for path in files where path.hasSuffix("/\(file)") {
      let source = try text(path.hasPrefix("/") ? path : "\(Self.tests)/\(path)")
      if file.hasSuffix(".py"), source.contains("\ndef \(function)(") { return true }
      let parts = source.split(separator: "func \(function)(", omittingEmptySubsequences: false)
      // Between the function before and this one.
      let before = parts[0].split(separator: "func ").last ?? ""
      if parts.count > 1, before.contains("@Test") { return true }
    }
    return false
  }
}
