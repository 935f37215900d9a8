//! The tables, as people read them.

use std::fmt::Write;

use crate::commands::Commands;
use crate::contender::Group;
use crate::result::{Repeat, Row, Spread, Table, middle};
use crate::scenario::Metric;

pub fn print(table: &Table) {
    let unit = match table.metric {
        Metric::Rate => "frames/s",
        Metric::ReceiverCpu => "% of a core",
        Metric::Arrival | Metric::Publishing => "us",
    };
    println!("\n{} ({}), {unit}", table.title, table.id);
    println!(
        "  {:<36} {:>9} {:>19} {:>9} {:>9} {:>9} {:>10} {:>8} {:>8}",
        "",
        "median",
        "least .. most",
        "p99",
        "consumed",
        "CPU/frame",
        "receiver %",
        "to ours",
        "to floor"
    );
    let ours = table.ours().and_then(|row| row.value(table.metric));
    let floor = table
        .best(Group::Floor)
        .and_then(|row| row.value(table.metric));
    for row in &table.rows {
        println!(
            "  {:<36} {}",
            row.label,
            numbers(row, table.metric, ours, floor)
        );
    }
}

fn numbers(row: &Row, metric: Metric, ours: Option<Spread>, floor: Option<Spread>) -> String {
    let Some(value) = row.value(metric) else {
        let why = row
            .failures
            .first()
            .map_or("nothing arrived", String::as_str);
        return format!("{:>9}  {why}", "-");
    };
    let median = |number: fn(&Repeat) -> Option<f64>| {
        row.spread(number)
            .map_or_else(String::new, |spread| short(spread.median))
    };
    let ratio = |other: Option<Spread>| {
        other.map_or_else(String::new, |other| {
            format!("{:.2}", value.median / other.median)
        })
    };
    let p99 = if metric == Metric::Arrival {
        median(|r| r.arrival_p99)
    } else {
        String::new()
    };
    let mut line = format!(
        "{:>9} {:>19} {:>9} {:>9} {:>9} {:>10} {:>8} {:>8}",
        short(value.median),
        format!("{} .. {}", short(value.least), short(value.most)),
        p99,
        median(|r| r.consumed),
        median(|r| r.cpu),
        median(|r| r.cpu.and(r.receiver_cpu)),
        ratio(ours),
        ratio(floor),
    );
    let torn: u64 = row.repeats.iter().map(|repeat| repeat.torn).sum();
    let disorder: u64 = row.repeats.iter().map(|repeat| repeat.disorder).sum();
    for (count, what) in [(torn, "torn"), (disorder, "out of order")] {
        if count > 0 {
            let _ = write!(line, "  {count} {what}");
        }
    }
    if let Some(failure) = row.failures.first() {
        let _ = write!(line, "  {} failed: {failure}", row.failures.len());
    }
    line.trim_end().into()
}

pub fn print_commands(commands: &Commands) {
    println!("\nThe commands, and the library at large");
    for (what, numbers) in [
        (
            "shm-send, from exec to its first frame, ms",
            &commands.first_sent,
        ),
        ("shm-recv --list, ms", &commands.lists),
        (
            "the same where a receiver sleeps, ms",
            &commands.lists_sleepers,
        ),
        (
            "shm-recv, from exec to its first frame, ms",
            &commands.first_received_from_exec,
        ),
        ("attaching, us", &commands.attach),
        ("listing, for each segment, us", &commands.list),
    ] {
        let mut numbers = numbers.clone();
        numbers.sort_by(f64::total_cmp);
        if let (Some(least), Some(most)) = (numbers.first(), numbers.last()) {
            println!(
                "  {what:<50} {:>9} {:>19}",
                short(middle(&numbers)),
                format!("{} .. {}", short(*least), short(*most))
            );
        }
    }
}

/// Three digits or so.
pub fn short(number: f64) -> String {
    match number {
        n if n < 1.0 => format!("{n:.3}"),
        n if n < 10.0 => format!("{n:.2}"),
        n if n < 100.0 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}
