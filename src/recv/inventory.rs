//! `--list` and `--clean`: the segments in `/dev/shm`.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use shm_frame::{Listed, Listing};

use crate::console::Console;
use crate::event::{self, CleanLine, ListLine};
use crate::remedy;
use crate::terminal::printable;
use crate::units::{counted, mb, ms, rounded};

/// Lists the segments.
pub(super) fn list(console: &Console) -> Result<()> {
    let Listing {
        segments,
        unreadable,
        ..
    } = shm_frame::list().context("--list: /dev/shm")?;
    if console.is_json() {
        return segments
            .iter()
            .try_for_each(|listed| console.json(&line(listed)));
    }
    if segments.is_empty() {
        console.say("no segments in /dev/shm");
    } else {
        table(&segments)
            .iter()
            .try_for_each(|row| console.result(row))?;
    }
    if unreadable > 0 {
        let files = counted(unreadable as u64, "file");
        console.say(&format!("no permission to read {files} in /dev/shm"));
    }
    Ok(())
}

/// A line of `--list --json`.
fn line(listed: &Listed) -> ListLine {
    let control = listed.control.as_ref();
    ListLine {
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
        element: listed.shape.map(|shape| shape.format().element().name()),
        order: listed
            .shape
            .map(|shape| event::order_name(shape.format().order())),
    }
}

/// The columns of the table, and whether they are aligned to the left: words are, numbers are not.
const COLUMNS: [(&str, bool); 9] = [
    ("NAME", true),
    ("SIZE", true),
    ("FORMAT", true),
    ("SLOTS", false),
    ("FRAMES/S", false),
    ("AGE", false),
    ("SENDER", true),
    ("RECEIVERS", false),
    ("MB", false),
];

/// The table as lines, the heading first. Each column is as wide as its widest cell.
fn table(segments: &[Listed]) -> Vec<String> {
    let mut rows = vec![COLUMNS.map(|(heading, _)| heading.to_owned())];
    rows.extend(segments.iter().map(row));
    let mut widths = [0; COLUMNS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let aligned = |row: [String; COLUMNS.len()]| {
        let cells = row
            .iter()
            .zip(widths)
            .zip(COLUMNS)
            .map(|((cell, width), (_, left))| {
                if left {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            });
        let line = cells.collect::<Vec<_>>().join("  ");
        line.trim_end().to_owned()
    };
    rows.into_iter().map(aligned).collect()
}

fn row(listed: &Listed) -> [String; COLUMNS.len()] {
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
    let shape = listed.shape;
    [
        printable(&listed.name.to_string()),
        shape.map_or_else(none, |shape| {
            format!("{}x{}", shape.width(), shape.height())
        }),
        shape.map_or_else(none, |shape| shape.format().to_string()),
        control.map_or_else(none, |control| control.slots.to_string()),
        control
            .and_then(|control| control.fps)
            .map_or_else(none, |fps| format!("{fps:.1}")),
        listed.age.map_or_else(none, age),
        sender,
        control.map_or_else(none, |control| control.receivers.to_string()),
        format!("{:.1}", mb(listed.bytes)),
    ]
}

/// A time in the unit that people would use for it.
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

/// Removes the segments of dead senders.
pub(super) fn clean(console: &Console) -> Result<()> {
    let cleaned = shm_frame::clean().context("--clean: /dev/shm")?;
    let mut failed = 0;
    for cleaned in &cleaned {
        let error = cleaned.result.as_ref().err();
        let error = error.map(|error| remedy::CLEAN.explain_error(error));
        failed += usize::from(error.is_some());
        let name = cleaned.name.to_string();
        if console.is_json() {
            console.json(&CleanLine {
                name,
                bytes: cleaned.bytes,
                removed: error.is_none(),
                error,
            })?;
            continue;
        }
        let name = printable(&name);
        match error {
            None => console.result(&format!("removed {name}, {:.1} MB", mb(cleaned.bytes)))?,
            Some(error) => console.say(&format!("{name} stays: {error}")),
        }
    }
    if cleaned.is_empty() && !console.is_json() {
        console.say("no segments of dead senders in /dev/shm, as far as you may read them");
    }
    if failed > 0 {
        bail!(
            "--clean: {failed} of {} could not be removed",
            cleaned.len()
        );
    }
    Ok(())
}
