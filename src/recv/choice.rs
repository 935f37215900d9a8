//! Which streams are received: those of some names, those that match a pattern, or the one there
//! is.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use glob::Pattern;
use shm_frame::{Listed, Name};

use crate::terminal::printable;

/// The name that `shm-send` gives a segment when it is told none, with its slash.
pub(crate) const DEFAULT: &str = "/frame";

/// A segment without a control page that did not change for so long is not taken for a stream.
const STILL: Duration = Duration::from_secs(5);
/// How many names are told at most when one is not there.
const TOLD: usize = 8;

/// What the user asks for.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    Name(Name),
    /// Names, with their slash, as a shell matches files.
    Pattern(Pattern),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A name may have any of these signs, and few have one of the first two.
        let is_pattern =
            text.contains(['*', '[']) && Name::new(text).is_ok_and(|name| !name.path().exists());
        if is_pattern {
            let pattern = Pattern::new(&format!("/{}", text.trim_start_matches('/')));
            pattern
                .map(Self::Pattern)
                .map_err(|error| error.to_string())
        } else {
            Name::new(text)
                .map(Self::Name)
                .map_err(|error| error.to_string())
        }
    }
}

/// The streams to receive.
#[derive(Debug)]
pub(super) struct Choice {
    pub names: Vec<Name>,
    /// Streams that match one of these are received, too, whenever they come.
    patterns: Vec<Pattern>,
}

impl Choice {
    /// What the user asks for. Without a word, the one stream that there is.
    ///
    /// # Errors
    ///
    /// If nothing was asked for and there are several streams.
    pub(super) fn of(wanted: &[&Wanted]) -> Result<Self> {
        let mut choice = Self {
            names: Vec::new(),
            patterns: Vec::new(),
        };
        for wanted in wanted {
            match wanted {
                Wanted::Name(name) if choice.names.contains(name) => {}
                Wanted::Name(name) => choice.names.push(name.clone()),
                Wanted::Pattern(pattern) => choice.patterns.push(pattern.clone()),
            }
        }
        if wanted.is_empty() {
            choice.names.push(only()?);
        }
        Ok(choice)
    }

    /// Whether there may be more than one stream, which are then told apart by their names.
    pub(super) fn is_several(&self) -> bool {
        self.names.len() > 1 || self.may_grow()
    }

    /// Whether streams may come that are not known yet.
    pub(super) fn may_grow(&self) -> bool {
        !self.patterns.is_empty()
    }

    /// What is said as long as there is no stream.
    pub(super) fn waits(&self) -> String {
        format!("no segment matches {self}: waiting for a sender")
    }

    /// The streams that match a pattern now.
    pub(super) fn matching(&self) -> Result<BTreeSet<Name>> {
        let mut names = BTreeSet::new();
        if self.may_grow() {
            let listed = streams()?.into_iter().map(|listed| listed.name);
            names.extend(listed.filter(|name| {
                let name = name.to_string();
                self.patterns.iter().any(|pattern| pattern.matches(&name))
            }));
        }
        Ok(names)
    }
}

impl std::fmt::Display for Choice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.names.iter().map(ToString::to_string);
        let patterns = self.patterns.iter().map(ToString::to_string);
        let all: Vec<_> = names.chain(patterns).collect();
        f.write_str(&all.join(" "))
    }
}

/// The one stream that there is, or the default.
fn only() -> Result<Name> {
    let default = || Name::new(DEFAULT).context("the default");
    let mut streams = streams()?;
    if streams.len() > 1 {
        // An old program's segment stays when it is gone, and nothing in it says so.
        streams
            .retain(|listed| listed.control.is_some() || listed.age.is_some_and(|age| age < STILL));
    }
    match streams.as_slice() {
        [] => default(),
        [only] => Ok(only.name.clone()),
        several => {
            let rows: Vec<_> = several.iter().map(described).collect();
            bail!(
                "there are {} streams: name one, or all with '*'\n{}",
                several.len(),
                rows.join("\n")
            )
        }
    }
}

fn described(listed: &Listed) -> String {
    let name = printable(&listed.name.to_string());
    match listed.shape {
        Some(shape) => format!("  {name}  {shape}"),
        None => format!("  {name}"),
    }
}

/// The segments that have a sender, as far as that can be known.
fn streams() -> Result<Vec<Listed>> {
    let listing = shm_frame::list().context("/dev/shm")?;
    let streams = listing.segments.into_iter().filter(|listed| {
        let control = listed.control.as_ref();
        control.is_none_or(|control| control.alive)
    });
    Ok(streams.collect())
}

/// The names of other streams, for somebody who waits for one that is not there. `None`: there are
/// no others.
pub(super) fn others(than: &Name) -> Option<String> {
    let streams = streams().ok()?;
    let others = streams.iter().filter(|listed| listed.name != *than);
    let mut names: Vec<_> = others
        .map(|listed| printable(&listed.name.to_string()))
        .collect();
    let more = names.len().saturating_sub(TOLD);
    names.truncate(TOLD);
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    (!names.is_empty()).then(|| names.join(", "))
}
