//! What a command tells its user: results on stdout, as text or as JSON, and messages on stderr.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use serde::Serialize;

use crate::stdio;
use crate::terminal::{Line, Screen};

/// Where a command's words go. Clones are cheap and mean the same console; any thread may use one.
#[derive(Clone)]
pub(crate) struct Console(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// The part of the terminal that stays in place: a picture, a status line.
    screen: Option<Arc<Screen>>,
    /// Messages go above the screen, because both are on the same terminal.
    above: bool,
    /// The status lines, one for each stream.
    lines: Mutex<Vec<Line>>,
}

/// What the flags say about a command's words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// `--json`: events are printed as JSON objects, one a line.
    pub json: bool,
    /// `--quiet`: only the summary is printed.
    pub quiet: bool,
    /// Stdout carries pixels, so results go to stderr.
    pub stdout_taken: bool,
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Console").field(&self.0.settings).finish()
    }
}

impl Console {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with_screen(settings, None)
    }

    /// A console beside a screen, which it owns.
    pub(crate) fn with_screen(settings: Settings, screen: Option<Arc<Screen>>) -> Self {
        let above = screen.is_some() && std::io::stderr().is_terminal();
        Self(Arc::new(Inner {
            settings,
            screen,
            above,
            lines: Mutex::default(),
        }))
    }

    /// Whether results are JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.0.settings.json
    }

    /// Whether results are text, and more than the summary.
    pub(crate) fn is_verbose_text(&self) -> bool {
        !self.0.settings.json && !self.0.settings.quiet
    }

    /// Whether frames are told by a status line that stays in place, rather than a line each.
    pub(crate) fn has_status_line(&self) -> bool {
        self.0.screen.is_some() && !self.0.settings.quiet
    }

    /// Prints a result.
    pub(crate) fn result(&self, text: &str) -> Result<()> {
        if self.0.settings.stdout_taken {
            stdio::warn(text);
            Ok(())
        } else {
            Ok(stdio::line(text)?)
        }
    }

    /// Tells of a single frame, unless `--quiet`: as JSON, or as `text`, if there is one.
    pub(crate) fn frame(
        &self,
        event: &impl Serialize,
        text: impl FnOnce() -> Option<String>,
    ) -> Result<()> {
        if self.0.settings.quiet {
            Ok(())
        } else if self.0.settings.json {
            self.json(event)
        } else {
            text().map_or(Ok(()), |text| self.result(&text))
        }
    }

    /// Tells of a stretch of time: as JSON, or as text unless `--quiet`.
    pub(crate) fn interval(&self, event: &impl Serialize, text: &str) -> Result<()> {
        if self.0.settings.json {
            self.json(event)
        } else if self.0.settings.quiet {
            Ok(())
        } else {
            self.result(text)
        }
    }

    /// Tells what happens now and then: as JSON on stdout, and as a message on stderr.
    pub(crate) fn event(&self, event: &impl Serialize, text: &str) -> Result<()> {
        if self.0.settings.json {
            self.json(event)?;
        }
        self.note(text);
        Ok(())
    }

    /// Tells the summary at the end, `--quiet` or not.
    pub(crate) fn summary(&self, event: &impl Serialize, text: &str) -> Result<()> {
        if self.0.settings.json {
            self.json(event)?;
            self.say(text);
            Ok(())
        } else {
            self.result(text)
        }
    }

    /// Puts a message on stderr, unless `--quiet`.
    pub(crate) fn note(&self, text: &str) {
        if !self.0.settings.quiet {
            self.say(text);
        }
    }

    /// Puts a message on stderr, `--quiet` or not.
    pub(crate) fn say(&self, text: &str) {
        match &self.0.screen {
            Some(screen) if self.0.above => screen.say(text),
            _ => stdio::warn(text),
        }
    }

    /// Changes one of the status lines, if there are any.
    pub(crate) fn status(&self, number: usize, line: Line) {
        if let Some(screen) = &self.0.screen {
            let mut lines = self.0.lines.lock().expect("nobody panics while holding it");
            if lines.len() <= number {
                lines.resize(number + 1, Line(Vec::new()));
            }
            lines[number] = line;
            screen.status(lines.clone());
        }
    }

    /// Gives the terminal back. From now on messages are printed as they come.
    pub(crate) fn close(&self) {
        if let Some(screen) = &self.0.screen {
            screen.close();
        }
    }

    /// Prints a result as JSON.
    pub(crate) fn json(&self, event: &impl Serialize) -> Result<()> {
        self.result(&serde_json::to_string(event)?)
    }
}
