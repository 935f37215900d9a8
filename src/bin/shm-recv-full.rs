//! The command `shm-recv` with everything: see `front`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shm_frame_cli::recv::main()
}
