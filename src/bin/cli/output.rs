//! Where words go: results to stdout, for people or as JSON, and all else to stderr.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

/// How a command reports.
#[derive(Clone, Copy)]
pub(crate) struct Output<'a> {
    json: bool,
    quiet: bool,
    /// Takes results, as [`line`] does.
    result: &'a dyn Fn(&str) -> Result<()>,
    /// Takes all else, as [`warn`] does.
    say: &'a dyn Fn(&str),
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        json: bool,
        quiet: bool,
        result: &'a dyn Fn(&str) -> Result<()>,
        say: &'a dyn Fn(&str),
    ) -> Self {
        Self {
            json,
            quiet,
            result,
            say,
        }
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
            self.json(event)
        } else {
            text().map_or(Ok(()), |text| (self.result)(&text))
        }
    }

    /// What happens now and then.
    pub(crate) fn event(self, event: &impl Serialize, text: &str) -> Result<()> {
        if self.json {
            self.json(event)?;
        }
        if !self.quiet {
            (self.say)(text);
        }
        Ok(())
    }

    /// What is told in any case, at the end.
    pub(crate) fn summary(self, event: &impl Serialize, text: &str) -> Result<()> {
        if self.json {
            self.json(event)?;
            (self.say)(text);
            Ok(())
        } else {
            (self.result)(text)
        }
    }

    fn json(self, event: &impl Serialize) -> Result<()> {
        (self.result)(&serde_json::to_string(event)?)
    }
}

/// Puts a line on stdout.
pub(crate) fn line(text: &str) -> Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Puts bytes on stdout.
pub(crate) fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    // To a file or a pipe, too: somebody may be waiting for the line.
    stdout.flush()?;
    Ok(())
}

/// Says something on stderr.
pub(crate) fn warn(text: &str) {
    // If nobody reads stderr, nobody wants to know.
    let _ = writeln!(io::stderr(), "{text}");
}
