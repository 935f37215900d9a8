//! The command `shm-recv`, which starts at once, and hands over when it needs more: see `front`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shm_frame_cli::recv::front()
}
