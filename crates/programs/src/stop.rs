//! The end of a program, asked for by a signal or by the user.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Signals within this time count as one: a shell and a wrapper may both pass on the same one.
const ONE: Duration = Duration::from_secs(1);

/// The program is to end. Set once, never cleared.
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Whether the program is to end.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Asks for the end of the program, as SIGINT does.
pub fn request() {
    REQUESTED.store(true, Ordering::Relaxed);
}

/// Makes SIGINT, SIGTERM and SIGHUP ask for the end from now on. If the program is stuck, a second
/// signal, a second or more later, ends the process at once.
///
/// # Errors
///
/// The system takes no further handlers.
pub fn on_signals() -> Result<()> {
    // A file that grows beyond what ulimit allows is an error like a full disk, and not a death.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).context("cannot handle signals")?;
    // An ignored SIGHUP is nohup(1) and stays ignored. An ignored SIGINT is only a shell's way to
    // keep Ctrl-C from the background jobs of a script.
    let heeded = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|&signal| signal != SIGHUP || !ignored(signal));
    let mut signals = Signals::new(heeded).context("cannot handle signals")?;
    thread::spawn(move || {
        let mut first = None;
        for signal in signals.forever() {
            request();
            if first.get_or_insert_with(Instant::now).elapsed() > ONE {
                // Ends the process. If it fails, the next signal tries again.
                let _ = emulate_default_handler(signal);
            }
        }
    });
    Ok(())
}

/// Whether a signal was ignored when the process began; see `proc_pid_status(5)`.
fn ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (signal - 1) != 0)
}
