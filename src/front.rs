//! The two programs of each command.
//!
//! What decodes and encodes pictures and films stands on some two hundred shared libraries, and
//! loading them takes a tenth of a second. `shm-send` and `shm-recv` do without them what can be
//! done without: help, completions, lists, and sending from a pipe. For the rest they hand over to
//! `shm-send-full` and `shm-recv-full` beside them, in the same process. All are made of this
//! library: a linker leaves out the libraries that nothing in a program asks for.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Error};

/// Becomes the full program of a command. Returns only if there is none.
pub(crate) fn hand_over(command: &str) -> Error {
    let full = match env::current_exe().context("/proc/self/exe") {
        Ok(this) => this.with_file_name(format!("{command}-full")),
        Err(error) => return error,
    };
    let failed = Command::new(&full)
        .arg0(command)
        .args(env::args_os().skip(1))
        .exec();
    Error::new(failed).context(format!("{}: it belongs beside {command}", full.display()))
}

/// Takes the command's name, for ps, pgrep and the list of segments.
pub(crate) fn take_name(command: &str) {
    let name = std::ffi::CString::new(command).unwrap_or_default();
    // If it fails, the process has the program's name.
    let _ = rustix::thread::set_name(&name);
}
