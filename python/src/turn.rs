//! One thread at a time uses a source of frames. Others wait for their turn, and any may close it.

use std::cell::LazyCell;
use std::sync::{Condvar, Mutex};
use std::time::Instant;

use pyo3::prelude::*;
use shm_frame::Canceller;

use crate::source::{SLICE, Source};
use crate::{forks, lock};

/// A source of frames, and whose turn it is.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    holder: Holder,
    /// Ends a wait of the source.
    canceller: Canceller,
    /// Threads that wait for a change.
    waiting: usize,
}

#[derive(Debug)]
enum Holder {
    /// Nobody.
    Free(Box<Source>),
    /// A thread of the process at that count of forks.
    Thread {
        forks: u32,
        /// The source is to be closed instead of given back.
        closing: bool,
    },
    /// There is no source any more.
    Closed,
}

/// The source, until dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    source: Option<Box<Source>>,
}

/// What came of asking for a turn.
#[derive(Debug)]
pub(crate) enum Asked<'a> {
    Turn(Turn<'a>),
    /// Another thread had it all the time.
    Timeout,
    Closed,
}

impl Turns {
    pub(crate) fn new(source: Source) -> Self {
        let state = State {
            canceller: source.canceller(),
            holder: Holder::Free(Box::new(source)),
            waiting: 0,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Takes the source when no other thread has it.
    ///
    /// After a fork the thread that had it may not exist any more: then `anew` makes another
    /// source.
    pub(crate) fn take(
        &self,
        py: Python<'_>,
        deadline: &LazyCell<Option<Instant>, impl FnOnce() -> Option<Instant>>,
        anew: impl Fn() -> PyResult<Source>,
    ) -> PyResult<Asked<'_>> {
        loop {
            let now = forks::count();
            let mut state = lock(&self.state);
            let ours = Holder::Thread {
                forks: now,
                closing: false,
            };
            match std::mem::replace(&mut state.holder, ours) {
                Holder::Free(source) => {
                    return Ok(Asked::Turn(Turn {
                        turns: self,
                        source: Some(source),
                    }));
                }
                Holder::Thread { forks, .. } if forks != now => {
                    drop(state);
                    return self.make(anew).map(Asked::Turn);
                }
                other @ (Holder::Closed | Holder::Thread { closing: true, .. }) => {
                    state.holder = other;
                    return Ok(Asked::Closed);
                }
                other @ Holder::Thread { .. } => state.holder = other,
            }
            drop(state);
            let deadline = **deadline;
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Asked::Timeout);
            }
            py.detach(|| self.wait(deadline));
            py.check_signals()?;
        }
    }

    /// Makes another source for the thread whose turn it is.
    fn make(&self, anew: impl Fn() -> PyResult<Source>) -> PyResult<Turn<'_>> {
        let made = anew();
        let mut state = lock(&self.state);
        match made {
            Ok(source) => {
                state.canceller = source.canceller();
                Ok(Turn {
                    turns: self,
                    source: Some(Box::new(source)),
                })
            }
            Err(error) => {
                state.holder = Holder::Closed;
                drop(state);
                self.changed.notify_all();
                Err(error)
            }
        }
    }

    /// Waits while another thread has the source, for a slice of time at most.
    fn wait(&self, deadline: Option<Instant>) {
        let left = deadline.map_or(SLICE, |deadline| {
            deadline
                .saturating_duration_since(Instant::now())
                .min(SLICE)
        });
        let mut state = lock(&self.state);
        if matches!(state.holder, Holder::Thread { .. }) {
            state.waiting += 1;
            let waited = self.changed.wait_timeout(state, left);
            let (mut state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
            state.waiting -= 1;
        }
    }

    fn give(&self, source: Box<Source>) {
        let mut state = lock(&self.state);
        let closing = matches!(
            state.holder,
            Holder::Thread { closing: true, .. } | Holder::Closed
        );
        let (holder, closed) = if closing {
            (Holder::Closed, Some(source))
        } else {
            (Holder::Free(source), None)
        };
        state.holder = holder;
        let waiting = state.waiting > 0;
        drop(state);
        if waiting {
            self.changed.notify_all();
        }
        drop(closed);
    }

    /// Closes the source. A wait that another thread is in ends at once, and this returns when it
    /// has.
    pub(crate) fn close(&self, py: Python<'_>) {
        let mut state = lock(&self.state);
        if let Holder::Thread { forks, closing } = &mut state.holder
            && *forks == forks::count()
        {
            *closing = true;
            state.canceller.cancel();
            drop(state);
            py.detach(|| {
                while matches!(lock(&self.state).holder, Holder::Thread { .. }) {
                    self.wait(None);
                }
            });
        } else {
            let last = std::mem::replace(&mut state.holder, Holder::Closed);
            drop(state);
            py.detach(|| drop(last));
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(
            lock(&self.state).holder,
            Holder::Closed | Holder::Thread { closing: true, .. }
        )
    }
}

impl Turn<'_> {
    pub(crate) fn source(&mut self) -> &mut Source {
        self.source.as_mut().expect("given back only when dropped")
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            self.turns.give(source);
        }
    }
}
