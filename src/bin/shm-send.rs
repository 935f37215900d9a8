//! The command `shm-send`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shm_frame_cli::send::main()
}
