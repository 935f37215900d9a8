//! `shm-recv`: takes the newest frames out of named shared-memory segments.
//!
//! | job | file |
//! |---|---|
//! | the flags | `args` |
//! | which streams are received | `choice` |
//! | the threads: one for each stream, and one that shows | here |
//! | the segments of a name, one after the other | `follow` |
//! | the running loop: takes frames and hands them on | `reception` |
//! | a line for each frame or interval, or a status line | `report`, `interval`, `status` |
//! | a frame for views and sinks, and its memory | `taken` |
//! | the newest frame, between receiving and showing | `stage` |
//! | frames in a window or in the terminal, and keys | `view` |
//! | frames in files, videos, pipes and plots | `sink` |
//! | the stream in a browser | `serve` |
//! | the summary | `tally`, `histogram` |
//! | `--list` and `--clean` | `inventory` |

mod args;
mod choice;
mod follow;
mod histogram;
mod interval;
mod inventory;
mod reception;
mod report;
mod serve;
mod sink;
mod stage;
mod status;
mod taken;
mod tally;
mod view;
mod wall;

use std::collections::BTreeSet;
use std::panic;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Scope, ScopedJoinHandle, Thread};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use clap_complete::CompleteEnv;
use shm_frame::Name;

use crate::av::Container;
use crate::console::{Console, Settings};
use crate::event::RecvLine;
use crate::exit;
use crate::picture;
use crate::recv::args::Args;
use crate::recv::choice::Choice;
use crate::recv::reception::Reception;
use crate::recv::serve::Server;
use crate::recv::sink::{Opener, mcap, record};
use crate::recv::stage::Stages;
use crate::recv::tally::Tally;
use crate::recv::view::Showing;
use crate::remedy;
use crate::stop;

pub(crate) use crate::recv::choice::DEFAULT;
pub use crate::recv::view::KEYS;

/// The command's arguments, for completions and manual pages.
pub fn command() -> clap::Command {
    Args::command()
}

/// Runs the command with the arguments of this process.
pub fn main() -> ExitCode {
    CompleteEnv::with_factory(command).complete();
    let args = arguments();
    let done = inventory(&args).unwrap_or_else(|| receive(&args, settings(&args)));
    exit::exit("shm-recv", remedy::RECV, done)
}

/// The arguments. Usage errors end the process.
fn arguments() -> Args {
    let args = Args::parse();
    let path = args.record.as_deref();
    let is_mkv = path.and_then(record::container) == Some(Container::Mkv);
    let wanted = args.wanted();
    let several = wanted.len() > 1 && Choice::of(&wanted).is_ok_and(|choice| choice.is_several());
    for (wrong, why) in [
        (
            args.lossless && !is_mkv,
            "--lossless is for --record FILE.mkv: other films lose something, and .mcap never does",
        ),
        (
            args.compression.is_some() && !path.is_some_and(mcap::is_mcap),
            "--compression is for --record FILE.mcap",
        ),
        (
            args.raw.is_some() && several,
            "--raw is for a single stream: the frames of several could not be told apart",
        ),
    ] {
        if wrong {
            conflict(why);
        }
    }
    // Clap knows conflicts of flags, but not of a single value of a flag.
    let others = [
        (args.json, "--json"),
        (args.log, "--log"),
        (args.interval.is_some(), "--interval"),
        (args.raw.is_some(), "--raw"),
    ];
    if args.view == args::View::Terminal
        && let Some((_, flag)) = others.into_iter().find(|(given, _)| *given)
    {
        conflict(&format!(
            "--view terminal cannot be used with {flag}: both need the terminal"
        ));
    }
    args
}

fn conflict(why: &str) -> ! {
    let error = Args::command().error(ErrorKind::ArgumentConflict, why);
    error.exit()
}

fn settings(args: &Args) -> Settings {
    Settings {
        json: args.json,
        quiet: args.quiet,
        stdout_taken: args.raw.is_some(),
    }
}

/// What is done instead of receiving, if that was asked for.
fn inventory(args: &Args) -> Option<Result<()>> {
    let console = Console::new(settings(args));
    if args.watch {
        Some(stop::on_signals().and_then(|()| inventory::watch(&console)))
    } else if args.list {
        Some(inventory::list(&console))
    } else if args.clean {
        Some(inventory::clean(&console))
    } else {
        None
    }
}

/// How often to look for streams that match a pattern.
const LOOK: Duration = Duration::from_millis(250);
/// How long a view may take to end: a display that does not answer may take for ever.
const LEAVE: Duration = Duration::from_secs(1);

fn receive(args: &Args, settings: Settings) -> Result<()> {
    picture::load()?;
    stop::on_signals()?;
    let choice = Choice::of(&args.wanted())?;
    let server = args.serve.map(Server::start).transpose()?;
    let opener = Opener::new(args, choice.is_several())?;
    let (place, screen, why) = view::open(args, &choice.to_string())?;
    let console = Console::with_screen(settings, screen);
    if let Some(why) = why {
        console.note(&why);
    }
    let run = Run {
        args,
        several: choice.is_several(),
        console,
        closing: Arc::default(),
        begun: OnceLock::new(),
        running: AtomicUsize::new(0),
    };
    let showing = place.map(|place| {
        let closing = Arc::clone(&run.closing);
        Showing::start(place, &choice, run.console.clone(), closing)
    });
    let outputs = Outputs {
        opener,
        server,
        stages: showing.as_ref().map(Showing::stages),
    };
    let ended = thread::scope(|scope| run.all(&choice, &outputs, scope));
    if let Some(showing) = showing {
        run.close();
        showing.end(LEAVE);
    }
    let completed = outputs.opener.finish(&run.console);
    run.console.close();
    // The summaries come in any case; an error of the run comes first.
    let mut first = Ok(());
    let mut told = Ok(());
    for (name, result, tally) in ended {
        first = first.and(result);
        if let Some(tally) = tally {
            told = told.and(tally.tell(&name, run.several, &run.console));
        }
    }
    first.and(completed).and(told)
}

/// One stream of a run.
pub(crate) struct Stream {
    name: Name,
    /// How many there were before.
    number: usize,
    /// There may be others.
    several: bool,
}

impl Stream {
    /// What tells this stream from others, if there may be any.
    fn label(&self) -> Option<String> {
        self.several.then(|| self.name.to_string())
    }
}

/// A stream that ended: its name, how it ended, and its sums, if it began.
type Ended = (Name, Result<()>, Option<Tally>);

/// A stream that is received.
type Running<'scope> = ScopedJoinHandle<'scope, (Result<()>, Tally)>;

/// Where the frames of all streams of one run go.
struct Outputs {
    opener: Opener,
    /// For the view, if there is one.
    stages: Option<Arc<Stages>>,
    /// For browsers, if there are to be any.
    server: Option<Server>,
}

/// What all streams of one run share.
struct Run<'a> {
    args: &'a Args,
    several: bool,
    console: Console,
    /// The run is to end: the user wants to, or a stream failed.
    closing: Arc<AtomicBool>,
    /// When the first frame came.
    begun: OnceLock<Instant>,
    /// Streams that are received now.
    running: AtomicUsize,
}

impl Run<'_> {
    fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Takes note of a frame.
    fn begin(&self) {
        self.begun.get_or_init(Instant::now);
    }

    /// The time that is left of `--duration`, once a frame came.
    fn left(&self) -> Option<Duration> {
        let begun = self.begun.get()?;
        let duration = self.args.duration?;
        Some(duration.saturating_sub(begun.elapsed()))
    }

    fn is_over(&self) -> bool {
        self.closing.load(Ordering::Relaxed) || self.left().is_some_and(|left| left.is_zero())
    }

    /// Receives all streams, each in a thread of its own, until all ended or the run is to end.
    fn all<'scope>(
        &'scope self,
        choice: &Choice,
        outputs: &Outputs,
        scope: &'scope Scope<'scope, '_>,
    ) -> Vec<Ended> {
        let mut known = BTreeSet::new();
        let mut running: Vec<(Name, Running<'_>)> = Vec::new();
        let mut ended = Vec::new();
        let mut wanted = choice.names.clone();
        let begin = Instant::now();
        let (mut told, mut served) = (false, false);
        loop {
            if choice.may_grow() && !self.is_over() && !stop::requested() {
                match choice.matching() {
                    Ok(matching) => wanted.extend(matching),
                    Err(error) => self.console.note(&format!("{error:#}")),
                }
            }
            for name in wanted.drain(..) {
                if !known.insert(name.clone()) {
                    continue;
                }
                let stream = Stream {
                    number: known.len() - 1,
                    several: self.several,
                    name: name.clone(),
                };
                match self.start(stream, outputs, scope) {
                    Ok(thread) => running.push((name, thread)),
                    Err(error) => {
                        self.close();
                        ended.push((name, Err(error), None));
                    }
                }
            }
            if let Some(server) = outputs.server.as_ref().filter(|_| !served) {
                served = true;
                // Without stdout there is nobody to tell.
                if server.tell(&self.console).is_err() {
                    self.close();
                }
            }
            let none = known.is_empty() && ended.is_empty();
            if none && !std::mem::replace(&mut told, true) {
                self.tell_waiting(choice);
            }
            if none && let Some(late) = self.late(begin, choice) {
                let name = Name::new(DEFAULT).expect("a name");
                return vec![(name, Err(late), None)];
            }
            let waits = none && !self.is_over() && !stop::requested();
            if !waits && self.running.load(Ordering::Relaxed) == 0 {
                break;
            }
            thread::park_timeout(LOOK);
        }
        for (name, thread) in running {
            let joined = thread.join();
            let (result, tally) = joined.unwrap_or_else(|panic| panic::resume_unwind(panic));
            ended.push((name, result, Some(tally)));
        }
        ended
    }

    /// Tells that no stream matches yet.
    fn tell_waiting(&self, choice: &Choice) {
        let event = RecvLine::Waiting {
            name: choice.to_string(),
            why: "no segment matches",
        };
        // Without stdout there is nobody to tell.
        if self.console.event(&event, &choice.waits()).is_err() {
            self.close();
        }
    }

    /// The error of a run for which no stream came in time.
    fn late(&self, begin: Instant, choice: &Choice) -> Option<anyhow::Error> {
        let timeout = self.args.timeout?;
        let late = begin.elapsed() >= timeout;
        late.then(|| {
            let seconds = timeout.as_secs_f64();
            anyhow::anyhow!("no new frame for {seconds} s: no segment matches {choice}")
        })
    }

    fn start<'scope>(
        &'scope self,
        stream: Stream,
        outputs: &Outputs,
        scope: &'scope Scope<'scope, '_>,
    ) -> Result<Running<'scope>> {
        let sinks = outputs.opener.open(&stream.name)?;
        let stages = outputs.stages.as_ref();
        let stage = stages.map(|stages| stages.add(&stream.name));
        let server = outputs.server.as_ref();
        let feed = server.map(|server| server.stream(&stream.name));
        self.running.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(&self.running, thread::current());
        Ok(scope.spawn(move || {
            let _counted = counted;
            let mut reception = Reception::new(self, &stream, sinks, stage, feed);
            let result = reception.run();
            if result.is_err() {
                // What the others have is kept and told, as after a signal.
                self.close();
            }
            (result, reception.tally)
        }))
    }
}

/// One of those that are running, until it is dropped. Then it wakes the thread that waits for
/// them.
struct Counted<'a>(&'a AtomicUsize, Thread);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        self.1.unpark();
    }
}
