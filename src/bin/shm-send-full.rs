//! The command `shm-send` with everything: see `front`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shm_frame_cli::send::main()
}
