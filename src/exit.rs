//! What both commands do alike: ending, printing, measuring, windows.

use std::io;
use std::process::ExitCode;

/// Decides the exit code: 0 done, 1 failed. (2, usage, is clap's.)
pub(crate) fn exit(command: &str, result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    let closed_pipe = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(closed_pipe) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    crate::console::warn(&format!("{command}: {error:#}"));
    ExitCode::FAILURE
}
