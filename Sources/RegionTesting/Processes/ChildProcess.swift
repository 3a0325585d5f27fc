import Glibc

/// What a finished child process left.
public struct ProcessResult: Sendable, CustomStringConvertible {
  /// The command, for messages.
  public let command: [String]
  /// The exit status, or minus the signal that ended it.
  public let status: Int32
  /// Standard output.
  public let output: String
  /// Standard error.
  public let errors: String

  /// It ended with status 0.
  public var succeeded: Bool { status == 0 }

  /// Command, status and the ends of both outputs.
  public var description: String {
    "\(command.joined(separator: " ")): status \(status)\n\(output.suffix(4000))\n\(errors.suffix(4000))"
  }
}

/// A child process could not be run or did not behave.
public struct ProcessFailure: Error, CustomStringConvertible {
  /// What went wrong, with the ends of the outputs where there are any.
  public let description: String

  /// A reason in one line or more.
  public init(_ description: String) { self.description = description }
}

/// Runs programs to their end.
public enum ChildProcess {
  /// Runs a program found on PATH and waits for it.
  ///
  /// - Parameters:
  ///   - command: the program and its arguments.
  ///   - environment: variables to add or replace.
  ///   - input: what it finds on standard input.
  ///   - timeout: after this its process group is killed and an error thrown.
  /// - Throws: `ProcessFailure` if it cannot be started or does not end in time; a status other
  ///   than 0 is no error here.
  public static func run(
    _ command: [String], environment: [String: String] = [:], input: String? = nil,
    timeout: Duration = Patience.limit
  ) throws(ProcessFailure) -> ProcessResult {
    let process = try BackgroundProcess(command, environment: environment)
    if let input { process.write(input) }
    process.closeInput()
    do {
      return try process.waitForExit(timeout: timeout)
    } catch {
      process.kill()
      throw error
    }
  }

  /// Runs a program and demands that it succeeds.
  ///
  /// - Throws: `ProcessFailure` also where the status is not 0.
  @discardableResult
  public static func check(
    _ command: [String], environment: [String: String] = [:], input: String? = nil,
    timeout: Duration = Patience.limit
  ) throws(ProcessFailure) -> ProcessResult {
    let result = try run(command, environment: environment, input: input, timeout: timeout)
    guard result.succeeded else { throw ProcessFailure("\(result)") }
    return result
  }

  /// Lets time pass. The fixtures block their thread anyway, so this does too.
  public static func pause(_ time: Duration) {
    let (seconds, attoseconds) = time.components
    usleep(UInt32(clamping: seconds * 1_000_000 + attoseconds / 1_000_000_000_000))
  }
}
