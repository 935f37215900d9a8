//! The end of a command: its exit code, and the message of its error.

use std::io;
use std::process::ExitCode;

use crate::remedy::Remedies;
use crate::stdio;

/// Ends a command: code 0 if it is done, 1 with a message if it failed. Usage errors have ended it
/// before, with code 2, by clap.
pub(crate) fn exit(command: &str, remedies: Remedies, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if error.chain().any(is_closed_pipe) {
        // The reader of our output has seen enough: a success, as of `yes | head`.
        return ExitCode::SUCCESS;
    }
    stdio::warn(&format!("{command}: {}", remedies.explain(&error)));
    ExitCode::FAILURE
}

fn is_closed_pipe(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
