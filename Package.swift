// swift-tools-version: 6.2
import PackageDescription

/// `scripts/fuzz` builds for libFuzzer, whose runtime's path it gives; nobody else pays for that.
let fuzzer = Context.environment["REGIONFS_FUZZER"]
let coverage: [SwiftSetting] =
  fuzzer == nil ? [] : [.unsafeFlags(["-sanitize=fuzzer", "-enable-testing"])]

/// `scripts/sanitize` sets this: `Lock` is then one that the thread sanitizer understands.
let sanitizing: [SwiftSetting] =
  Context.environment["REGIONFS_SANITIZER"] == "thread" ? [.define("THREAD_SANITIZER")] : []

/// Settings of every Swift target: strict memory safety always, warnings as
/// errors where CI says so (a developer's half-done edit should still build).
let settings: [SwiftSetting] =
  [.strictMemorySafety()]
  + (Context.environment["CI"] == nil ? [] : [.treatAllWarnings(as: .error)]) + coverage
  + sanitizing

let system: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let arguments: Target.Dependency = .product(
  name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")

let package = Package(
  name: "regionfs",
  products: [
    .executable(name: "regionfs", targets: ["regionfs"]),
    .executable(name: "regionfs-stat", targets: ["regionfs-stat"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.1"),
  ],
  targets: [
    // System libraries: a module map and a shim each.
    .systemLibrary(name: "CFuse", pkgConfig: "fuse3", providers: [.apt(["libfuse3-dev"])]),
    .systemLibrary(
      name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
    .systemLibrary(name: "CCrypto", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CExpat", pkgConfig: "expat", providers: [.apt(["libexpat1-dev"])]),
    .systemLibrary(name: "CLinux"),
    .systemLibrary(name: "CChecksum", pkgConfig: "libisal", providers: [.apt(["libisal-dev"])]),

    // The one lock.
    .target(name: "Locks", swiftSettings: settings),

    // The model, the formats, the cache and the sync engine.
    .target(
      name: "RegionCore", dependencies: ["CChecksum", "CLinux", "Locks", system],
      swiftSettings: settings),
    .target(name: "FuseKit", dependencies: ["CFuse", "Locks"], swiftSettings: settings),
    .target(name: "CurlKit", dependencies: ["CCurl", "Locks"], swiftSettings: settings),

    // One backend each.
    .target(
      name: "S3Store", dependencies: ["RegionCore", "CurlKit", "CCrypto", "CExpat"],
      swiftSettings: settings),
    .target(
      name: "DirectoryStore", dependencies: ["Locks", "RegionCore"], swiftSettings: settings),

    .target(
      name: "RegionFilesystem", dependencies: ["CLinux", "FuseKit", "Locks", "RegionCore"],
      swiftSettings: settings),
    .target(name: "RegionControl", dependencies: ["Locks"], swiftSettings: settings),
    .target(name: "RegionView", dependencies: ["RegionControl"], swiftSettings: settings),
    .target(name: "RegionOptions", swiftSettings: settings),
    // toml++, which is C++, behind a few C functions.
    .target(name: "CToml"),
    .target(
      name: "RegionConfig", dependencies: ["CToml", "RegionOptions"], swiftSettings: settings),

    // Commands.
    .executableTarget(
      name: "regionfs",
      dependencies: [
        "CLinux", "Locks", "RegionCore", "FuseKit", "S3Store", "DirectoryStore", "RegionFilesystem",
        "RegionControl", "RegionOptions", "RegionConfig", arguments, logging, system,
      ], swiftSettings: settings),
    .executableTarget(
      name: "regionfs-stat", dependencies: ["Locks", "RegionControl", "RegionView", arguments],
      swiftSettings: settings),

    // Makes the manual pages from the programs' help and the table of options: `scripts/manual`.
    .executableTarget(
      name: "regionfs-manual", dependencies: ["RegionOptions"], swiftSettings: settings),

    // Test support: fault store, manual clock, fixtures; the impairment proxy.
    .target(
      name: "RegionTesting", dependencies: ["FuseKit", "Locks", "RegionCore", "S3Store"],
      swiftSettings: settings),
    .executableTarget(
      name: "regionfs-impair", dependencies: ["CLinux", arguments], swiftSettings: settings),
    .executableTarget(
      name: "regionfs-synthesize",
      dependencies: ["RegionCore", "DirectoryStore", "S3Store", arguments],
      swiftSettings: settings),
    .executableTarget(
      name: "regionfs-store-child", dependencies: ["DirectoryStore", "RegionCore"],
      swiftSettings: settings),

    .testTarget(
      name: "RegionCoreTests", dependencies: ["Locks", "RegionCore", "RegionTesting"],
      exclude: ["Golden"], swiftSettings: settings),
    // FuseKit with nothing behind it, which counts its allocations.
    .target(name: "CAllocationCount", path: "Tests/CAllocationCount"),
    .executableTarget(
      name: "fusekit-passthrough", dependencies: ["FuseKit", "CAllocationCount"],
      path: "Tests/FuseKitPassthrough", swiftSettings: settings),
    .testTarget(
      name: "FuseKitTests", dependencies: ["FuseKit", "Locks", "fusekit-passthrough"],
      swiftSettings: settings),
    .testTarget(
      name: "S3StoreTests", dependencies: ["S3Store", "CurlKit", "Locks", "RegionTesting"],
      exclude: ["golden"], swiftSettings: settings),
    .testTarget(
      name: "StoreContractTests",
      dependencies: [
        "RegionCore", "DirectoryStore", "S3Store", "RegionTesting", "regionfs-store-child",
      ],
      swiftSettings: settings),
    // Reads what is present and counts the locks and allocations that it takes.
    .executableTarget(
      name: "hit-path-probe",
      dependencies: ["Locks", "RegionCore", "RegionFilesystem", "FuseKit", "CAllocationCount"],
      path: "Tests/HitPathProbe", swiftSettings: settings),
    .testTarget(
      name: "RegionFilesystemTests",
      dependencies: ["RegionFilesystem", "RegionTesting", "hit-path-probe"],
      swiftSettings: settings),
    .testTarget(
      name: "RegionControlTests",
      dependencies: ["Locks", "RegionControl", "RegionOptions", "RegionConfig"],
      exclude: ["alerts_test.yml"], swiftSettings: settings),
    .testTarget(
      name: "RegionViewTests", dependencies: ["RegionControl", "RegionTesting", "RegionView"],
      exclude: ["Golden", "count_colors.py"], swiftSettings: settings),
    .testTarget(
      name: "CommandTests",
      dependencies: [
        "Locks", "RegionTesting", "RegionControl", "RegionOptions", "regionfs", "regionfs-stat",
        "regionfs-manual",
      ],
      exclude: ["complete.py"], swiftSettings: settings),
    .testTarget(
      name: "EndToEndTests",
      dependencies: ["DirectoryStore", "Locks", "RegionControl", "RegionCore", "RegionTesting"],
      exclude: ["Programs"], swiftSettings: settings),
  ],
  swiftLanguageModes: [.v6],
  cxxLanguageStandard: .cxx17
)

/// The parsers' fuzz targets: a short campaign in the test suite, or libFuzzer around them.
let fuzzed: [Target.Dependency] = [
  "CurlKit", "DirectoryStore", "FuseKit", "Locks", "RegionControl", "RegionCore",
  "RegionOptions", "RegionTesting", "S3Store",
]
if let fuzzer {
  package.targets += [
    .target(name: "CFuzzDriver", path: "Tests/CFuzzDriver"),
    .executableTarget(
      name: "regionfs-fuzz", dependencies: fuzzed + ["CFuzzDriver"], path: "Tests/FuzzTests",
      exclude: ["Suite", "Corpus"], swiftSettings: settings,
      linkerSettings: [.unsafeFlags([fuzzer, "-lstdc++", "-lm"])]),
  ]
} else {
  package.targets += [
    .testTarget(
      name: "FuzzTests", dependencies: fuzzed, exclude: ["Driver", "Corpus"],
      swiftSettings: settings)
  ]
}
