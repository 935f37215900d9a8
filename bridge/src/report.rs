//! What the program tells: results on stdout, as text or as JSON; messages and the status on
//! stderr.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use shm_frame::Error;

use crate::args::Output;

/// How often the status line of a terminal changes.
const OFTEN: Duration = Duration::from_millis(200);
/// How often the status is told elsewhere.
const SELDOM: Duration = Duration::from_secs(5);

/// Where the words go.
pub(crate) struct Console {
    json: bool,
    quiet: bool,
    /// The status line, on a terminal.
    line: Option<ProgressBar>,
    due: Instant,
    told: Instant,
}

impl Console {
    pub(crate) fn new(output: &Output) -> Self {
        let line = (!output.quiet && io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{wide_msg}").expect("a template");
            ProgressBar::no_length().with_style(style)
        });
        Self {
            json: output.json,
            quiet: output.quiet,
            line,
            due: Instant::now() + OFTEN,
            told: Instant::now(),
        }
    }

    /// Tells what happens now and then: as JSON on stdout, and as a message on stderr.
    pub(crate) fn event(&self, event: &impl Serialize, text: &str) -> Result<()> {
        self.json(event)?;
        if !self.quiet {
            self.say(text);
        }
        Ok(())
    }

    /// Tells of a single frame.
    pub(crate) fn frame(&self, event: &impl Serialize) -> Result<()> {
        if self.quiet { Ok(()) } else { self.json(event) }
    }

    /// To be called often: changes the status line, or tells the status now and then.
    pub(crate) fn tick<E: Serialize>(
        &mut self,
        status: impl FnOnce() -> (E, String),
    ) -> Result<()> {
        let now = Instant::now();
        let line = self.line.as_ref().filter(|_| now >= self.due);
        let seldom = now >= self.told + SELDOM;
        if line.is_none() && !seldom {
            return Ok(());
        }
        let (event, text) = status();
        if seldom {
            self.told = now;
            self.json(&event)?;
            if self.line.is_none() && !self.quiet {
                self.say(&text);
            }
        }
        if let Some(line) = line {
            line.set_message(text);
            line.tick();
        }
        self.due = now + OFTEN;
        Ok(())
    }

    /// Tells the summary at the end, `--quiet` or not.
    pub(crate) fn summary(&self, event: &impl Serialize, text: &str) -> Result<()> {
        if let Some(line) = &self.line {
            line.finish_and_clear();
        }
        self.json(event)?;
        if self.json {
            self.say(text);
            Ok(())
        } else {
            Ok(writeln!(io::stdout(), "{text}")?)
        }
    }

    fn json(&self, event: &impl Serialize) -> Result<()> {
        if self.json {
            let mut line = serde_json::to_string(event)?;
            line.push('\n');
            io::stdout().write_all(line.as_bytes())?;
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        let say = || {
            // Nothing can be said if stderr takes nothing.
            let _ = writeln!(io::stderr(), "{text}");
        };
        match &self.line {
            Some(line) => line.suspend(say),
            None => say(),
        }
    }
}

/// An error, its causes, and what to do about it, in the flags of this program.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    let remedy = error
        .chain()
        .find_map(|cause| remedy(cause.downcast_ref::<Error>()?))
        .unwrap_or_default();
    format!("{error:#}{remedy}")
}

/// What follows an error of the library.
pub(crate) fn remedy(error: &Error) -> Option<String> {
    let remedy = match error {
        Error::Live { .. } | Error::PlainLive { .. } => {
            "stop it, use another --name, or take over with --replace"
        }
        Error::NotASegment { .. } | Error::NotAFile { .. } | Error::TakenOver { .. } => {
            "use another --name"
        }
        Error::Denied { .. } => {
            "run as that user, start its sender with --mode 0644, or use another --name"
        }
        Error::Version { .. } => "use the same version at both ends",
        Error::NoRoom { needed, .. } => {
            // Twice, since the next segment is made before the last one goes.
            let mib = needed
                .saturating_mul(2)
                .div_ceil(16 << 20)
                .saturating_mul(16);
            return Some(format!(
                ": free some, or start the container with --shm-size={mib}m"
            ));
        }
        Error::ReadOnly { .. } => "mount it read-write, as mount -o remount,rw /dev/shm does",
        Error::Busy { .. } => "try again",
        // The text says what is allowed, or a system call's error says what happened.
        _ => return None,
    };
    Some(format!(": {remedy}"))
}
