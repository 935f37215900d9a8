//! Measures how long a frame takes from one process to another: through shm-frame, through what
//! people would pick instead, and through nothing but shared memory and a flag.

mod chart;
mod commands;
mod contender;
mod frame;
mod measure;
mod report;
mod result;
mod role;
mod scenario;
mod spec;
mod targets;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use regex::Regex;
use serde::Serialize;

use commands::Commands;
use measure::Bench;
use result::{Repeat, Table};
use role::Role;
use scenario::{Scenario, scenarios};
use targets::Verdict;

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
    /// Where to write all numbers [default: target/bench/ and the processor's name, so that each
    /// machine keeps its own]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw charts for the README into this directory
    #[arg(long, value_name = "DIR")]
    charts: Option<PathBuf>,
    /// Where the peers' programs are that are not this one
    #[arg(long, value_name = "DIR", default_value = "comparison/target/peers")]
    peers: PathBuf,
    /// Where shm-send and shm-recv are
    #[arg(long, value_name = "DIR", default_value = "target/release")]
    commands: PathBuf,
    /// One of the processes of a measurement
    #[arg(long, hide = true, requires = "spec")]
    role: Option<Role>,
    #[arg(hide = true)]
    spec: Option<String>,
}

impl Args {
    fn repeats(&self) -> u32 {
        self.repeats.unwrap_or(if self.quick { 2 } else { 5 })
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match (args.role, &args.spec) {
        (Some(role), Some(spec)) => serde_json::from_str(spec)
            .map_err(Into::into)
            .and_then(|spec| role::run(role, &spec)),
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
    let machine = Machine::this()?;
    println!("{machine}");
    let load = load()?;
    if load > 0.5 {
        eprintln!("the machine has other things to do (load {load}): so will the measurements");
    }
    let mut bench = Bench::new(args.peers.clone())?;
    let mut tables = vec![];
    for scenario in &scenarios {
        let table = measure(&mut bench, scenario, args);
        report::print(&table);
        tables.push(table);
    }
    let commands = match args.only {
        Some(_) => None,
        None => Some(commands::measure(&args.commands, args.repeats())?),
    };
    let targets = targets::judge(&tables, commands.as_ref());
    if let Some(commands) = &commands {
        report::print_commands(commands);
        targets::print(&targets);
    }
    let results = Results {
        machine,
        load,
        tables,
        commands,
        targets,
    };
    let json = args.json.clone();
    let json = json.unwrap_or_else(|| results.machine.file());
    if let Some(directory) = json.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(&json, serde_json::to_string_pretty(&results)?)?;
    println!("\nall numbers: {}", json.display());
    if let Some(directory) = &args.charts {
        chart::draw(&results.tables, directory)?;
    }
    Ok(())
}

/// What is written as JSON.
#[derive(Serialize)]
struct Results {
    machine: Machine,
    /// Processes that ran or wanted to, over the minute before.
    load: f64,
    tables: Vec<Table>,
    commands: Option<Commands>,
    targets: Vec<Verdict>,
}

/// What the numbers are of: they compare with others of the same kind of machine alone.
#[derive(Serialize)]
struct Machine {
    processor: String,
    processors: usize,
    /// Of the first processor, as `L2 512K`.
    caches: Vec<String>,
    kernel: String,
}

impl Machine {
    fn this() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let word = |key: &str| {
            let line = cpuinfo.lines().find_map(|line| line.strip_prefix(key));
            line.map(|line| line.trim_start_matches([' ', '\t', ':']).to_owned())
        };
        let mut caches = vec![];
        for index in 0..8 {
            let of_cache = |what: &str| {
                let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{what}");
                fs::read_to_string(path).map(|text| text.trim().to_owned())
            };
            let (Ok(level), Ok(kind), Ok(size)) =
                (of_cache("level"), of_cache("type"), of_cache("size"))
            else {
                continue;
            };
            if kind != "Instruction" {
                caches.push(format!("L{level} {size}"));
            }
        }
        if caches.is_empty() {
            // Virtual machines may hide them.
            caches.extend(word("cache size"));
        }
        Ok(Self {
            processor: word("model name").unwrap_or_else(|| "unknown processor".to_owned()),
            processors: std::thread::available_parallelism()?.get(),
            caches,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
        })
    }

    /// Where its numbers go.
    fn file(&self) -> PathBuf {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let name: String = self.processor.chars().map(plain).collect();
        let words: Vec<_> = name.split('-').filter(|word| !word.is_empty()).collect();
        PathBuf::from(format!("target/bench/{}.json", words.join("-")))
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            processor,
            processors,
            caches,
            kernel,
        } = self;
        let caches = caches.join(", ");
        write!(
            f,
            "{processor}, {processors} processors, caches {caches}, Linux {kernel}"
        )
    }
}

/// Processes that run or want to, over the last minute.
fn load() -> Result<f64> {
    let averages = fs::read_to_string("/proc/loadavg")?;
    Ok(averages.split(' ').next().unwrap_or_default().parse()?)
}

/// All repeats of a scenario: each contender in turn, and again.
fn measure(bench: &mut Bench, scenario: &Scenario, args: &Args) -> Table {
    const MS: u64 = 1_000_000;
    const NS_A_BYTE: u64 = 6;
    let frames = |count: u64| count * 1_000_000_000 / u64::from(scenario.hz);
    let (warm, counted) = match (scenario.hz, args.quick) {
        (0, false) => (50 * MS, 250 * MS),
        (0, true) => (50 * MS, 100 * MS),
        (_, false) => (frames(8), frames(30)),
        (_, true) => (frames(3), frames(6)),
    };
    let mut table = Table::new(scenario);
    for round in 0..args.repeats() * scenario.often {
        for (case, row) in scenario.cases.iter().zip(&mut table.rows) {
            // Pages are touched, and by zenoh locked, for the first time.
            let warm = warm + NS_A_BYTE * case.spec.shape.bytes() as u64;
            match bench.measure(case.contender, &case.spec, warm, counted) {
                Ok(measured) => row.repeats.push(Repeat::new(round, case, &measured)),
                Err(error) => row.failures.push(error.to_string()),
            }
        }
    }
    table
}
