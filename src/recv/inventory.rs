//! `--list` and `--clean`: the segments in `/dev/shm`.

use std::io::{self, IsTerminal};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::termios::tcgetwinsize;
use shm_frame::{Listed, Listing};

use crate::console::Console;
use crate::event::{self, CleanLine, ListLine};
use crate::remedy;
use crate::stop;
use crate::terminal::printable;
use crate::units::{counted, mb, ms, rounded};

/// How often `--watch` lists.
const PERIOD: Duration = Duration::from_secs(1);

/// Lists the segments every second, until the user ends it. In a terminal in the same place, as
/// much as there is room for.
pub(super) fn watch(console: &Console) -> Result<()> {
    let in_place = io::stdout().is_terminal() && !console.is_json();
    if in_place {
        console.result(CLEAR)?;
    }
    let mut next = Instant::now();
    while !stop::requested() {
        if in_place {
            let size = tcgetwinsize(io::stdout())?;
            let (columns, rows) = (size.ws_col.into(), size.ws_row.into());
            let mut text = HOME.to_owned();
            for line in lines()?.iter().take(usize::saturating_sub(rows, 2)) {
                text.extend(line.chars().take(columns));
                text += NEXT_LINE;
            }
            console.result(&(text + ERASE))?;
        } else {
            list(console)?;
        }
        next += PERIOD;
        while !stop::requested() && Instant::now() < next {
            let left = next.saturating_duration_since(Instant::now());
            thread::sleep(left.min(SLICE));
        }
    }
    Ok(())
}

/// How long to sleep at a time, so that a signal is noticed.
const SLICE: Duration = Duration::from_millis(50);

// ECMA-48: erase all; to the first cell; erase the rest of the line, and to the next; erase below.
const CLEAR: &str = "\x1b[2J";
const HOME: &str = "\x1b[H";
const NEXT_LINE: &str = "\x1b[K\r\n";
const ERASE: &str = "\x1b[J";

/// The lines for people.
fn lines() -> Result<Vec<String>> {
    let Listing {
        segments,
        unreadable,
        ..
    } = shm_frame::list().context("--list: /dev/shm")?;
    let mut lines = if segments.is_empty() {
        vec![NONE.to_owned()]
    } else {
        table(&segments)
    };
    if unreadable > 0 {
        lines.push(no_permission(unreadable));
    }
    Ok(lines)
}

const NONE: &str = "no segments in /dev/shm";

fn no_permission(files: usize) -> String {
    let files = counted(files as u64, "file");
    format!("no permission to read {files} in /dev/shm")
}

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
        console.say(NONE);
    } else {
        table(&segments)
            .iter()
            .try_for_each(|row| console.result(row))?;
    }
    if unreadable > 0 {
        console.say(&no_permission(unreadable));
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
