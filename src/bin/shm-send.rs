//! The command `shm-send`, which starts at once, and hands over when it needs more: see `front`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shm_frame_cli::send::front()
}
