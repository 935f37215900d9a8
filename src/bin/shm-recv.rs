//! The command `shm-recv`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shm_frame_cli::recv::main()
}
