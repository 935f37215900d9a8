//! What arrives from zenoh, on its way to the thread that uses it: the newest frame, not a queue.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use zenoh::sample::{Sample, SampleKind};

use crate::clock::{Clock, Offset, Reading};
use crate::wire::{Answer, Attachment};

/// A frame as it came.
pub(crate) struct Arrived {
    /// `Err`: what is wrong with its attachment, for people.
    pub attachment: Result<Attachment, String>,
    pub sample: Sample,
}

impl Arrived {
    /// Whether it is a frame of that session for certain. Plain segments have none.
    pub(crate) fn is_of(&self, session: Option<u64>) -> bool {
        let own = self.attachment.as_ref().map(|own| own.session);
        own.is_ok_and(|own| own != 0 && Some(own) == session)
    }
}

/// What was counted since this end subscribed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Frames that the other end handed to zenoh.
    pub asked: u64,
    pub arrived: u64,
    pub lost: u64,
    /// Frames that a newer one overtook before they were used.
    pub overtaken: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.asked += other.asked;
        self.arrived += other.arrived;
        self.lost += other.lost;
        self.overtaken += other.overtaken;
    }
}

#[derive(Default)]
struct State {
    /// The other end has a sender.
    alive: bool,
    /// How many senders of the other end are gone.
    gone: u64,
    newest: Option<Arrived>,
    serials: Serials,
    overtaken: u64,
    clock: Clock,
}

/// Which of the other end's frames are known.
#[derive(Clone, Copy, Debug, Default)]
struct Serials {
    /// The last one before those that count.
    before: Option<u64>,
    /// The last one that arrived, or that must have arrived by now.
    last: u64,
    /// How many the other end had handed to zenoh when it was asked last. It may be on its way.
    pending: u64,
    arrived: u64,
    /// Those of the other end's runs before this one.
    past: u64,
}

impl Serials {
    /// Counts a frame that arrived.
    fn arrive(&mut self, serial: u64) {
        if serial <= self.last {
            // The other end was started anew.
            *self = Self {
                arrived: self.arrived,
                past: self.asked(),
                ..Self::default()
            };
        }
        // Counted, and not on its way yet, when the other end was asked.
        let before = self.before.unwrap_or(u64::MAX).min(serial - 1);
        self.before = Some(before);
        self.last = self.last.max(serial);
        self.pending = self.pending.max(serial);
        self.arrived += 1;
    }

    /// Takes note that the other end has handed so many to zenoh. Those of which it told a question
    /// ago are no longer on their way.
    fn told(&mut self, asked: u64) {
        if asked < self.last {
            return;
        }
        self.before.get_or_insert(asked);
        self.last = self.last.max(self.pending);
        self.pending = asked;
    }

    /// The same when all of them have arrived, or never will.
    fn ended(&mut self, asked: u64) {
        self.told(asked);
        self.last = self.last.max(asked);
    }

    fn asked(&self) -> u64 {
        let before = self.before.unwrap_or(self.last);
        self.past + self.last.saturating_sub(before)
    }
}

/// Shared with zenoh's threads.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

impl Inbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a change of the other end's liveliness.
    pub(crate) fn token(&self, kind: SampleKind) {
        let mut state = self.state();
        state.alive = kind == SampleKind::Put;
        state.gone += u64::from(!state.alive);
        drop(state);
        self.changed.notify_all();
    }

    /// Takes a frame.
    pub(crate) fn frame(&self, sample: Sample) {
        let attachment = match sample.attachment() {
            Some(attachment) => Attachment::decode(&attachment.to_bytes()),
            None => Err("it has no attachment".to_owned()),
        };
        let mut state = self.state();
        if let Ok(attachment) = &attachment {
            state.serials.arrive(attachment.serial.max(1));
        }
        let newest = state.newest.replace(Arrived { attachment, sample });
        state.overtaken += u64::from(newest.is_some());
        drop(state);
        self.changed.notify_all();
    }

    /// Takes the answer to a question that was asked at a time. An answer that brought nothing
    /// along tells the time.
    pub(crate) fn answer(&self, asked: Reading, answered: Reading, answer: &Answer) {
        let mut state = self.state();
        state.clock.add(asked, answer.reading, answered);
        state.serials.told(answer.asked);
    }

    /// Takes the answer that comes after all frames.
    pub(crate) fn last_answer(&self, answer: &Answer) {
        self.state().serials.ended(answer.asked);
    }

    /// Forgets the other machine's clocks.
    pub(crate) fn begin(&self) {
        self.state().clock = Clock::default();
    }

    /// Begins to count anew, and forgets a frame that is there.
    pub(crate) fn count_anew(&self) -> Counts {
        let counts = self.counts();
        let mut state = self.state();
        state.newest = None;
        state.serials = Serials::default();
        state.overtaken = 0;
        counts
    }

    /// What was counted since then.
    pub(crate) fn counts(&self) -> Counts {
        let state = self.state();
        let (asked, arrived) = (state.serials.asked(), state.serials.arrived);
        Counts {
            asked,
            arrived,
            lost: asked.saturating_sub(arrived),
            overtaken: state.overtaken,
        }
    }

    pub(crate) fn offset(&self) -> Option<Offset> {
        self.state().clock.offset(Reading::now())
    }

    /// Waits until the other end has a sender, for so long at most. `Some`: how many were gone
    /// before it.
    pub(crate) fn wait_alive(&self, time: Duration) -> Option<u64> {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), time, |state| !state.alive)
            .unwrap_or_else(PoisonError::into_inner);
        state.alive.then_some(state.gone)
    }

    /// Whether the other end has a sender.
    pub(crate) fn is_alive_now(&self) -> bool {
        self.state().alive
    }

    /// Whether the sender before which so many were gone is there.
    pub(crate) fn is_alive(&self, gone: u64) -> bool {
        let state = self.state();
        state.alive && state.gone == gone
    }

    /// The newest frame of that sender, once there is one; `None`: not in time, or it is gone.
    pub(crate) fn next(&self, gone: u64, time: Duration) -> Option<Arrived> {
        let deadline = Instant::now() + time;
        let mut state = self.state();
        while state.newest.is_none() && state.alive && state.gone == gone {
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.newest.take()
    }

    /// The newest frame, of whatever sender, once there is one; `None`: not in time.
    pub(crate) fn rest(&self, time: Duration) -> Option<Arrived> {
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.state(), time, |state| state.newest.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        state.newest.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(serials: &Serials) -> u64 {
        serials.asked() - serials.arrived
    }

    #[test]
    fn gaps_are_lost_and_what_came_before_the_first_is_not() {
        let mut serials = Serials::default();
        for serial in [7, 8, 11] {
            serials.arrive(serial);
        }
        assert_eq!((serials.asked(), lost(&serials)), (5, 2));
    }

    #[test]
    fn frames_of_which_none_arrives_are_lost_a_question_later() {
        let mut serials = Serials::default();
        serials.told(0);
        serials.told(20);
        assert_eq!(serials.asked(), 0, "they may be on their way");
        serials.told(25);
        assert_eq!((serials.asked(), lost(&serials)), (20, 20));
        serials.arrive(26);
        assert_eq!((serials.asked(), lost(&serials)), (26, 25));
    }

    #[test]
    fn at_the_end_a_frame_that_has_not_arrived_is_lost_at_once() {
        let mut serials = Serials::default();
        serials.told(0);
        serials.arrive(1);
        serials.ended(2);
        assert_eq!((serials.asked(), lost(&serials)), (2, 1));
        serials.ended(1);
        assert_eq!((serials.asked(), lost(&serials)), (2, 1));
    }

    #[test]
    fn an_end_that_was_started_anew_counts_anew() {
        let mut serials = Serials::default();
        serials.arrive(100);
        serials.arrive(1);
        serials.arrive(3);
        assert_eq!(
            (serials.arrived, serials.asked(), lost(&serials)),
            (3, 4, 1)
        );
    }
}
