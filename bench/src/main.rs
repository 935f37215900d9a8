//! Measures how long a frame takes from one process to another: through shm-frame, through what people would pick instead, and
//! through nothing but shared memory and a flag.

mod contender;
mod frame;
mod measure;
mod report;
mod result;
mod role;
mod scenario;
mod spec;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use regex::Regex;

use measure::Bench;
use result::{Repeat, Table};
use role::Role;
use scenario::{Scenario, scenarios};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Measures how long a frame takes from one process to another, and compares.
#[derive(Debug, Parser)]
struct Args {
    /// About a minute: two short repeats of each
    #[arg(long)]
    quick: bool,
    /// Only the rows whose "SCENARIO, ROW" matches, as --list shows them
    #[arg(long, value_name = "REGEX")]
    only: Option<Regex>,
    /// Repeats of each, interleaved [default: 5, or 2 with --quick]
    #[arg(long, value_name = "N")]
    repeats: Option<u32>,
    /// Show what there is to measure
    #[arg(long)]
    list: bool,
    /// Where to write all numbers
    #[arg(long, value_name = "FILE", default_value = "target/bench/results.json")]
    json: PathBuf,
    /// Draw charts for the README into this directory
    #[arg(long, value_name = "DIR")]
    charts: Option<PathBuf>,
    /// Where the peers' programs are that are not this one
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    peers: PathBuf,
    /// One of the processes of a measurement
    #[arg(long, hide = true, requires = "spec")]
    role: Option<Role>,
    #[arg(hide = true)]
    spec: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match (args.role, &args.spec) {
        (Some(role), Some(spec)) => {
            serde_json::from_str(spec).map_err(Into::into).and_then(|spec| role::run(role, &spec))
        }
        _ => run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let mut scenarios = scenarios();
    for scenario in &mut scenarios {
        let id = &scenario.id;
        scenario.cases.retain(|case| {
            let name = format!("{id}, {}", case.label);
            args.only.as_ref().is_none_or(|only| only.is_match(&name))
        });
    }
    scenarios.retain(|scenario| !scenario.cases.is_empty());
    if args.list {
        for scenario in &scenarios {
            for case in &scenario.cases {
                println!("{}, {}", scenario.id, case.label);
            }
        }
        return Ok(());
    }
    let mut bench = Bench::new(args.peers.clone())?;
    let mut tables = vec![];
    for scenario in &scenarios {
        let table = measure(&mut bench, scenario, args)?;
        report::print(&table);
        tables.push(table);
    }
    Ok(())
}

/// All repeats of a scenario: each contender in turn, and again.
fn measure(bench: &mut Bench, scenario: &Scenario, args: &Args) -> Result<Table> {
    const MS: u64 = 1_000_000;
    let frames = |count: u64| count * 1_000_000_000 / u64::from(scenario.hz);
    let (warm, counted) = match (scenario.hz, args.quick) {
        (0, false) => (50 * MS, 250 * MS),
        (0, true) => (20 * MS, 60 * MS),
        (_, false) => (frames(8), frames(30)),
        (_, true) => (frames(4), frames(8)),
    };
    let mut table = Table::new(scenario);
    for _ in 0..args.repeats.unwrap_or(if args.quick { 2 } else { 5 }) {
        for (case, row) in scenario.cases.iter().zip(&mut table.rows) {
            match bench.measure(case.contender, &case.spec, warm, counted) {
                Ok(measured) => row.repeats.push(Repeat::new(case, &measured)),
                Err(error) => row.failures.push(error.to_string()),
            }
        }
    }
    Ok(table)
}
