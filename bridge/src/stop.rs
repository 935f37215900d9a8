//! The end of the program, asked for by a signal.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

/// Signals within this time count as one: a shell and a wrapper may both pass on the same one.
const ONE: Duration = Duration::from_secs(1);

/// The program is to end. Set once, never cleared.
static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Whether the program is to end.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Makes SIGINT, SIGTERM and SIGHUP ask for the end from now on. If the program is stuck, a second
/// signal, a second or more later, ends it at once.
pub(crate) fn on_signals() -> Result<()> {
    // An ignored SIGHUP is nohup(1) and stays ignored.
    let heeded = [SIGINT, SIGTERM, SIGHUP]
        .into_iter()
        .filter(|&signal| signal != SIGHUP || !ignored(signal));
    let mut signals = Signals::new(heeded).context("cannot handle signals")?;
    thread::spawn(move || {
        let mut first = None;
        for signal in signals.forever() {
            REQUESTED.store(true, Ordering::Relaxed);
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
