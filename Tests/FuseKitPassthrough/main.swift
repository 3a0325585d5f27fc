// The twin of scripts/bench.d/passthrough.c on FuseKit: what the Swift layer costs.
//
//   fusekit-passthrough FILE MOUNTPOINT
//
// prints `ready` when the mount answers. At the end, after the unmounting, it prints how many READs
// came and how many blocks of memory were allocated between the first and the last of them.

import FuseKit
import Glibc

/// One line to a descriptor; stdio's own globals are not for concurrent code.
@Sendable func say(_ line: String, to descriptor: Int32) {
  let bytes = Array("\(line)\n".utf8)
  unsafe bytes.withUnsafeBytes { _ = unsafe write(descriptor, $0.baseAddress, $0.count) }
}

func fail(_ message: String) -> Never {
  say("fusekit-passthrough: \(message)", to: STDERR_FILENO)
  exit(1)
}

guard CommandLine.arguments.count == 3 else { fail("usage: fusekit-passthrough FILE MOUNTPOINT") }
let descriptor = unsafe open(CommandLine.arguments[1], O_RDWR | O_CLOEXEC)
if descriptor < 0 { fail("open \(CommandLine.arguments[1]): errno \(errno)") }

do throws(FuseError) {
  var options = SessionOptions()
  options.log = { say($0, to: STDERR_FILENO) }
  let filesystem = PassthroughFilesystem(descriptor: descriptor)
  let session = try FuseSession(
    filesystem: filesystem, source: "passthrough", mountpoint: CommandLine.arguments[2],
    options: options)
  for outcome in MountTuning().apply(to: session.mount) where outcome.failure != nil {
    say("\(outcome)", to: STDERR_FILENO)
  }
  try session.run()
  say("ready", to: STDOUT_FILENO)
  session.waitUntilUnmounted()
  say("reads \(filesystem.reads) allocations \(filesystem.allocations)", to: STDOUT_FILENO)
} catch {
  fail("\(error)")
}
