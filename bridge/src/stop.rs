//! The end of the program, asked for by a signal.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static REQUESTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Makes SIGINT, SIGTERM and SIGHUP ask for the end from now on. A second one ends the process at
/// once.
pub(crate) fn on_signals() -> Result<()> {
    let requested = REQUESTED.get_or_init(Arc::default);
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag down.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(requested))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(requested)))
            .context("cannot handle signals")?;
    }
    Ok(())
}

/// Whether the program is to end.
pub(crate) fn requested() -> bool {
    REQUESTED
        .get()
        .is_some_and(|requested| requested.load(Ordering::Relaxed))
}
