//! The newest frame and the state of the stream, between the thread that receives and the one that
//! shows. Showing takes the newest frame, and never makes receiving wait.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use shm_frame::Name;

use crate::recv::taken::Taken;
use crate::recv::tally::Tally;
use crate::units::ms;

/// After this long without a frame a view says so.
const STALE: Duration = Duration::from_secs(1);

/// The stages of all streams, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Stages(Mutex<Vec<Arc<Stage>>>);

impl Stages {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Stage>>> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// Another stream's stage.
    pub(super) fn add(&self, name: &Name) -> Arc<Stage> {
        let stage = Arc::new(Stage::new(name.clone()));
        self.lock().push(Arc::clone(&stage));
        stage
    }

    /// Those that are new, besides the first `known`.
    pub(super) fn after(&self, known: usize) -> Vec<Arc<Stage>> {
        self.lock()[known..].to_vec()
    }
}

/// Shared by the thread that receives a stream and the one that shows it.
#[derive(Debug)]
pub(super) struct Stage {
    pub name: Name,
    scene: Mutex<Scene>,
}

#[derive(Debug)]
struct Scene {
    /// The newest frame, until it is taken.
    newest: Option<Arc<Taken>>,
    numbers: String,
    /// When the last frame came.
    last_frame: Option<Instant>,
    /// Why no frame comes.
    waits_for: String,
    undrawn: u64,
}

/// What a view is to show.
#[derive(Debug)]
pub(super) struct Cue {
    /// A frame that was not shown yet.
    pub taken: Option<Arc<Taken>>,
    /// The numbers of the last frame.
    pub numbers: String,
    /// Why nothing new is there to be seen, and since when.
    pub stale: Option<String>,
}

impl Stage {
    fn new(name: Name) -> Self {
        let scene = Scene {
            newest: None,
            numbers: String::new(),
            last_frame: None,
            waits_for: name.to_string(),
            undrawn: 0,
        };
        Self {
            name,
            scene: Mutex::new(scene),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Scene> {
        self.scene.lock().expect("nobody panics while holding it")
    }

    /// Puts a frame in place of the one before, which is then never drawn if it was not yet.
    pub(super) fn put(&self, taken: Arc<Taken>, tally: &Tally) {
        let frame = taken.frame;
        let delay = if frame.found { "age" } else { "delay" };
        let numbers = format!(
            "{}  {:.1} frames/s  {delay} {:.3} ms  skipped {}",
            frame.shape,
            tally.pace.fps(),
            ms(frame.delay_ns),
            tally.skipped
        );
        let mut scene = self.lock();
        scene.numbers = numbers;
        scene.last_frame = Some(Instant::now());
        let undrawn = scene.newest.replace(taken).is_some();
        scene.undrawn += u64::from(undrawn);
    }

    /// Says why no frame comes.
    pub(super) fn wait_for(&self, why: &str) {
        let mut scene = self.lock();
        if scene.waits_for != why {
            why.clone_into(&mut scene.waits_for);
        }
    }

    /// Frames that were never drawn.
    pub(super) fn undrawn(&self) -> u64 {
        self.lock().undrawn
    }

    /// What is to be shown now.
    pub(super) fn cue(&self) -> Cue {
        let mut scene = self.lock();
        let stale = match scene.last_frame {
            None => Some(waiting(&scene.waits_for)),
            Some(last) => stale(last.elapsed(), &scene.waits_for),
        };
        Cue {
            taken: scene.newest.take(),
            numbers: scene.numbers.clone(),
            stale,
        }
    }
}

fn waiting(why: &str) -> String {
    format!("waiting: {why}")
}

/// That no frame came for so long, if it is worth a word.
pub(super) fn stale(since: Duration, why: &str) -> Option<String> {
    (since >= STALE).then(|| format!("no frame for {} s: {why}", since.as_secs()))
}
