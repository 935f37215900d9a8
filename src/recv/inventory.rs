//! `--list` and `--clean`: what is in /dev/shm.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;
use shm_frame::{Listed, Listing};

use crate::console as output;
use crate::terminal::printable;
use crate::units::{ms, rounded};

/// A line of `--list --json`.
#[derive(Serialize)]
struct Segment {
    name: String,
    kind: &'static str,
    width: Option<i32>,
    height: Option<i32>,
    channels: Option<i32>,
    slots: Option<usize>,
    fps: Option<f64>,
    age_ms: Option<f64>,
    alive: Option<bool>,
    pid: Option<u32>,
    command: Option<String>,
    receivers: Option<usize>,
    bytes: u64,
}

impl Segment {
    fn new(listed: &Listed) -> Self {
        let control = listed.control.as_ref();
        Self {
            name: listed.name.to_string(),
            kind: if control.is_some() { "native" } else { "plain" },
            width: listed.shape.map(|shape| shape.width()),
            height: listed.shape.map(|shape| shape.height()),
            channels: listed.shape.map(|shape| shape.channels()),
            slots: control.map(|control| control.slots),
            fps: control.and_then(|control| control.fps).map(rounded),
            age_ms: listed
                .age
                .map(|age| ms(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))),
            alive: control.map(|control| control.alive),
            pid: control.map(|control| control.pid),
            command: control.and_then(|control| control.command.clone()),
            receivers: control.map(|control| control.receivers),
            bytes: listed.bytes,
        }
    }
}

/// A line of `--clean --json`.
#[derive(Serialize)]
struct Cleaned {
    name: String,
    bytes: u64,
    removed: bool,
    error: Option<String>,
}

/// Lists the segments.
pub(crate) fn list(json: bool) -> Result<()> {
    let Listing {
        segments,
        unreadable,
        ..
    } = shm_frame::list().context("--list: /dev/shm")?;
    if json {
        for listed in &segments {
            output::line(&serde_json::to_string(&Segment::new(listed))?)?;
        }
        return Ok(());
    }
    if segments.is_empty() {
        output::warn("no segments in /dev/shm");
    } else {
        table(&segments)?;
    }
    if unreadable > 0 {
        let files = if unreadable == 1 { "file" } else { "files" };
        output::warn(&format!(
            "{unreadable} {files} in /dev/shm may be read by others only"
        ));
    }
    Ok(())
}

/// What a column holds is as wide as its widest cell.
fn table(segments: &[Listed]) -> Result<()> {
    const HEADING: [&str; 9] = [
        "NAME",
        "SIZE",
        "CH",
        "SLOTS",
        "FRAMES/S",
        "AGE",
        "SENDER",
        "RECEIVERS",
        "MB",
    ];
    // Names and words to the left, numbers to the right.
    const LEFT: [bool; 9] = [true, true, false, false, false, false, true, false, false];
    let mut rows = vec![HEADING.map(str::to_owned)];
    rows.extend(segments.iter().map(row));
    let mut widths = [0; 9];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let cells = row
            .iter()
            .zip(widths)
            .zip(LEFT)
            .map(|((cell, width), left)| {
                if left {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        output::line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn row(listed: &Listed) -> [String; 9] {
    let none = || "-".to_owned();
    let control = listed.control.as_ref();
    let sender = match control {
        None => "plain".to_owned(),
        Some(control) if !control.alive => format!("dead (was pid {})", control.pid),
        Some(control) => match &control.command {
            Some(command) => format!("{} {}", control.pid, printable(command)),
            None => format!("{} (elsewhere)", control.pid),
        },
    };
    #[expect(clippy::cast_precision_loss, reason = "for people, with one decimal")]
    let mb = listed.bytes as f64 / 1e6;
    [
        printable(&listed.name.to_string()),
        listed.shape.map_or_else(none, |shape| {
            format!("{}x{}", shape.width(), shape.height())
        }),
        listed
            .shape
            .map_or_else(none, |shape| shape.channels().to_string()),
        control.map_or_else(none, |control| control.slots.to_string()),
        control
            .and_then(|control| control.fps)
            .map_or_else(none, |fps| format!("{fps:.1}")),
        listed.age.map_or_else(none, age),
        sender,
        control.map_or_else(none, |control| control.receivers.to_string()),
        format!("{mb:.1}"),
    ]
}

/// A time as people say it.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    match seconds {
        0 => format!("{} ms", age.as_millis()),
        1..60 => format!("{:.1} s", age.as_secs_f64()),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Removes what dead senders left.
pub(crate) fn clean(json: bool) -> Result<()> {
    let cleaned = shm_frame::clean().context("--clean: /dev/shm")?;
    let mut failed = 0;
    for cleaned in &cleaned {
        let name = cleaned.name.to_string();
        let error = cleaned.result.as_ref().err().map(ToString::to_string);
        failed += usize::from(error.is_some());
        if json {
            let cleaned = Cleaned {
                name,
                bytes: cleaned.bytes,
                removed: error.is_none(),
                error,
            };
            output::line(&serde_json::to_string(&cleaned)?)?;
            continue;
        }
        let name = printable(&name);
        #[expect(clippy::cast_precision_loss, reason = "for people, with one decimal")]
        let mb = cleaned.bytes as f64 / 1e6;
        match error {
            None => output::line(&format!("removed {name}, {mb:.1} MB"))?,
            Some(error) => output::warn(&format!("{name} stays: {error}")),
        }
    }
    if cleaned.is_empty() && !json {
        output::warn("no segments of dead senders in /dev/shm, of those that you may read");
    }
    if failed > 0 {
        bail!(
            "--clean: {failed} of {} could not be removed",
            cleaned.len()
        );
    }
    Ok(())
}
