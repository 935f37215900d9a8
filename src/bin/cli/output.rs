//! Where words go: results to stdout, for people or as JSON, and all else to stderr.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

/// How a command reports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// What happens to every frame: the JSON object, or `text` for people, who may not want to know.
    pub(crate) fn frame(
        self,
        event: &impl Serialize,
        text: impl FnOnce() -> Option<String>,
    ) -> Result<()> {
        if self.quiet {
            Ok(())
        } else if self.json {
            json(event)
        } else {
            text().map_or(Ok(()), |text| line(&text))
        }
    }

    /// What happens now and then.
    pub(crate) fn event(self, event: &impl Serialize, text: &str) -> Result<()> {
        if self.json {
            json(event)?;
        }
        if !self.quiet {
            warn(text);
        }
        Ok(())
    }

    /// What is told in any case, at the end.
    pub(crate) fn summary(self, event: &impl Serialize, text: &str) -> Result<()> {
        if self.json {
            json(event)?;
            warn(text);
            Ok(())
        } else {
            line(text)
        }
    }
}

fn json(event: &impl Serialize) -> Result<()> {
    line(&serde_json::to_string(event)?)
}

fn line(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    // To a file or a pipe, too: somebody may be waiting for the line.
    stdout.flush()?;
    Ok(())
}

/// Says something on stderr.
pub(crate) fn warn(text: &str) {
    // If nobody reads stderr, nobody wants to know.
    let _ = writeln!(io::stderr(), "{text}");
}
