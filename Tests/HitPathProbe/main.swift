// Reads what is present in the cache, and counts what that takes.
//
//   hit-path-probe DIRECTORY
//
// makes caches and a mountpoint in DIRECTORY, mounts there, unmounts, and prints three lines of
// `NAME reads N allocations A locks L`: reads by `Region.readPresent`, READs of the mounted file, and
// a control that must count something, so that a counter that stands still is found out. Locks are
// "unknown" in release builds, which do not count them.

import Glibc
import RegionCore

/// One line to a descriptor; stdio's own globals are not for concurrent code.
@Sendable func say(_ line: String, to descriptor: Int32 = STDOUT_FILENO) {
  let bytes = Array("\(line)\n".utf8)
  // SAFETY: the pointer is used during the call only.
  unsafe bytes.withUnsafeBytes { _ = unsafe write(descriptor, $0.baseAddress, $0.count) }
}

guard CommandLine.arguments.count == 2 else {
  say("usage: hit-path-probe DIRECTORY", to: STDERR_FILENO)
  exit(2)
}
do {
  let probe = try await Probe(directory: CommandLine.arguments[1])
  try await probe.readCachedRegion()
  try await probe.readMountedFile()
} catch {
  say("hit-path-probe: \(error)", to: STDERR_FILENO)
  exit(1)
}
