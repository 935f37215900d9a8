//! The way to a terminal and back. After each drawing the terminal is asked where its cursor is,
//! which all terminals know. The answer says that it got this far: until then nothing more is sent,
//! so that a slow link never falls behind. The times of the answers tell how much it takes.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// A terminal that never answered is taken to have drawn after so long. One that did is asked
/// again, since an answer may get lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest time until it is asked again.
const LONGEST_PATIENCE: Duration = Duration::from_secs(32);
/// How long a drawing is to be on its way.
const TARGET: Duration = Duration::from_millis(300);
/// The bytes of a drawing on a link that is not known yet.
const FIRST: usize = 32 << 10;
/// A drawing of fewer bytes says nothing of a link that is slow.
const LEAST: usize = 2 << 10;
/// More questions are not remembered.
const REMEMBERED: usize = 16;

/// Questions, answers, and what they tell.
#[derive(Debug)]
pub(super) struct Link {
    /// Those that were not answered yet. Terminals answer in turn.
    asked: VecDeque<Question>,
    /// How many there were.
    count: usize,
    /// Nobody hears the answers: nothing is asked.
    deaf: bool,
    answers: bool,
    /// How long the quickest answer took.
    latency: Duration,
    budget: usize,
    patience: Duration,
    /// When the newest picture that was sent began.
    newest: Option<Instant>,
    /// The age that a picture had when it was on the glass.
    age: Option<Duration>,
    /// The row of the cursor at the last answer.
    row: Option<usize>,
    /// Since when there is nothing that was not answered.
    free: Instant,
}

#[derive(Debug)]
struct Question {
    /// Where the cursor is: by that the answer is recognized.
    columns: RangeInclusive<usize>,
    at: Instant,
    /// The bytes sent before it, since the last one.
    bytes: usize,
    /// When the picture before it began.
    begun: Option<Instant>,
}

impl Link {
    pub(super) fn new(deaf: bool) -> Self {
        Self {
            asked: VecDeque::new(),
            count: 0,
            deaf,
            answers: false,
            latency: Duration::MAX,
            budget: FIRST,
            patience: PATIENCE,
            newest: None,
            age: None,
            row: None,
            free: Instant::now(),
        }
    }

    /// The question after a drawing of so many bytes. `begun`: when the picture in it began.
    pub(super) fn ask(
        &mut self,
        bytes: usize,
        begun: Option<Instant>,
        columns: usize,
        now: Instant,
    ) -> String {
        // Columns that differ from those of the last questions, of the probe, and from the numbers
        // that some keys send, which look like an answer.
        let column = if columns < 25 { 1 } else { 20 + self.count % 5 };
        self.count += 1;
        // A picture that is drawn again has been on the glass before.
        let begun = begun.filter(|_| self.newest != begun);
        self.newest = begun.or(self.newest);
        self.remember(column..=column, bytes, begun, now);
        if self.deaf {
            return String::new();
        }
        format!("\x1b[{column}G\x1b[6n\r")
    }

    /// The question after a sign of two bytes in UTF-8 at the beginning of a line. In column 2, the
    /// terminal knows UTF-8; in column 3 it does not.
    pub(super) fn probe(&mut self, now: Instant) -> &'static str {
        self.remember(2..=3, 0, None, now);
        if self.deaf {
            return "";
        }
        // A space that does not break lines is not seen.
        "\r\u{a0}\x1b[6n\r\x1b[K"
    }

    fn remember(
        &mut self,
        columns: RangeInclusive<usize>,
        bytes: usize,
        begun: Option<Instant>,
        at: Instant,
    ) {
        if self.asked.len() == REMEMBERED {
            self.asked.pop_front();
        }
        self.asked.push_back(Question {
            columns,
            at,
            bytes,
            begun,
        });
    }

    /// The question again, if it is due: an answer may have got lost.
    pub(super) fn ask_again(&mut self, columns: usize, now: Instant) -> Option<String> {
        let last = self.asked.back().filter(|_| self.answers)?;
        if now.saturating_duration_since(last.at) < self.patience {
            return None;
        }
        self.patience = (2 * self.patience).min(LONGEST_PATIENCE);
        Some(self.ask(0, None, columns, now))
    }

    /// Takes a sequence if it answers a question: `[row;columnR`. Returns the column.
    pub(super) fn answer(&mut self, sequence: &str, now: Instant) -> Option<usize> {
        let (row, column) = sequence
            .strip_prefix('[')?
            .strip_suffix('R')?
            .split_once(';')?;
        let (row, column) = (row.parse().ok()?, column.parse().ok()?);
        let position = self
            .asked
            .iter()
            .position(|question| question.columns.contains(&column))?;
        // The answers to those before got lost.
        let answered: Vec<_> = self.asked.drain(..=position).collect();
        self.answers = true;
        self.row = Some(row);
        self.free = now;
        self.patience = PATIENCE;
        for question in &answered {
            if let Some(begun) = question.begun {
                self.age = Some(now.saturating_duration_since(begun));
            }
        }
        if let [question] = answered.as_slice() {
            self.measure(question.bytes, now.saturating_duration_since(question.at));
        }
        Some(column)
    }

    /// Learns how much the link takes.
    fn measure(&mut self, bytes: usize, took: Duration) {
        self.latency = self.latency.min(took);
        let transfer = took
            .saturating_sub(self.latency)
            .max(Duration::from_millis(1));
        let fits = u128::try_from(bytes).unwrap_or(0) * TARGET.as_micros() / transfer.as_micros();
        let fits = usize::try_from(fits).unwrap_or(usize::MAX);
        if transfer <= TARGET {
            // Few bytes may fit in a buffer on the way: no more is concluded than they show.
            self.budget = self.budget.max(fits.min(4 * bytes));
        } else if bytes > LEAST {
            self.budget = fits.max(bytes / 2).max(LEAST);
        }
    }

    /// When something may be sent: everything before was answered, or is taken to be. `None`: not
    /// before an answer.
    pub(super) fn free_at(&self) -> Option<Instant> {
        match self.asked.back() {
            None => Some(self.free),
            Some(last) => (!self.answers).then(|| last.at + PATIENCE),
        }
    }

    /// An answer is to come.
    pub(super) fn is_due(&self) -> bool {
        self.answers && !self.asked.is_empty()
    }

    /// All questions were answered.
    pub(super) fn is_clear(&self) -> bool {
        self.asked.is_empty()
    }

    /// How many bytes the next drawing may have.
    pub(super) fn budget(&self) -> usize {
        if self.answers {
            self.budget
        } else {
            usize::MAX
        }
    }

    /// How old the last picture was when it was on the glass, and at least how old the next one
    /// will be. `None`: the terminal does not say.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let next = self.asked.iter().find_map(|question| question.begun);
        let next = next.map(|begun| now.saturating_duration_since(begun));
        self.age.map(|age| age.max(next.unwrap_or_default()))
    }

    /// The row of the screen that the cursor was in at the last answer, from 1.
    pub(super) fn row(&self) -> Option<usize> {
        self.row
    }

    /// Forgets the questions: their answers were thrown away.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    impl Link {
        fn is_free(&self, now: Instant) -> bool {
            self.free_at().is_some_and(|at| now >= at)
        }
    }

    /// The answer to a question.
    fn reply(question: &str) -> String {
        let column = question.strip_prefix("\x1b[").unwrap().split('G').next();
        format!("[24;{}R", column.unwrap())
    }

    #[test]
    fn nothing_is_sent_before_the_answer() {
        let mut link = Link::new(false);
        let mut now = Instant::now();
        assert!(link.is_free(now));
        for _ in 0..20 {
            let question = link.ask(1000, Some(now), 80, now);
            assert!(!link.is_free(now + 1000 * PATIENCE) || !link.answers);
            now += 30 * MS;
            assert!(link.answer(&reply(&question), now).is_some());
            assert!(link.is_free(now));
        }
        assert_eq!(link.age(now), Some(30 * MS));
        // While nothing comes, the age grows.
        let question = link.ask(1000, Some(now), 80, now);
        assert_eq!(link.age(now + 700 * MS), Some(700 * MS));
        // The same picture again is not measured.
        link.answer(&reply(&question), now + 40 * MS);
        let question = link.ask(1000, Some(now), 80, now + 90 * MS);
        link.answer(&reply(&question), now + 95 * MS);
        assert_eq!(link.age(now + 900 * MS), Some(40 * MS));
    }

    #[test]
    fn a_terminal_that_never_answers_gets_one_drawing_a_second_and_one_that_did_is_asked_again() {
        let now = Instant::now();
        let mut link = Link::new(false);
        let first = link.ask(0, Some(now), 80, now);
        assert!(!link.is_free(now + PATIENCE / 2) && link.is_free(now + PATIENCE));
        assert_eq!(link.ask_again(80, now + 2 * PATIENCE), None);
        assert_eq!(link.age(now + 2 * PATIENCE), None);
        // The answer was only late: from now on it is waited for.
        assert!(link.answer(&reply(&first), now + 3 * PATIENCE).is_some());
        let lost = link.ask(0, Some(now + PATIENCE), 80, now);
        assert!(!link.is_free(now + 100 * PATIENCE));
        let again = link.ask_again(80, now + PATIENCE).unwrap();
        assert_ne!(again, lost);
        // Less and less often.
        assert_eq!(link.ask_again(80, now + 2 * PATIENCE), None);
        assert!(link.answer(&reply(&again), now + 2 * PATIENCE).is_some());
        assert!(link.is_clear());
        assert_eq!(link.age(now + 5 * PATIENCE), Some(PATIENCE));
        // An answer that nobody asked for is none.
        assert_eq!(link.answer(&reply(&again), now), None);
        assert_eq!(link.answer("[A", now), None);
        assert_eq!(link.answer("[?62;c", now), None);
    }

    /// The bytes of each drawing that uses all that it may, on a link of that rate and latency.
    fn drawings(rate: usize, latency: Duration, wanted: usize) -> Vec<usize> {
        let mut now = Instant::now();
        let mut link = Link::new(false);
        let question = link.ask(0, None, 80, now);
        now += latency;
        link.answer(&reply(&question), now);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let draw = |_| {
            let bytes = wanted.min(link.budget());
            let question = link.ask(bytes, None, 80, now);
            now += latency + Duration::from_secs_f64(bytes as f64 / rate as f64);
            link.answer(&reply(&question), now);
            bytes
        };
        (0..20).map(draw).collect()
    }

    #[test]
    fn a_drawing_has_as_many_bytes_as_the_link_takes_in_a_while_whatever_its_latency() {
        for latency in [MS, 400 * MS] {
            for rate in [10_000, 100_000, 1_000_000] {
                let bytes = *drawings(rate, latency, 1 << 20).last().unwrap();
                let target = rate * 3 / 10;
                assert!(
                    (target * 9 / 10..=target).contains(&bytes),
                    "{rate}: {bytes}"
                );
            }
            assert_eq!(
                *drawings(1 << 30, latency, 1 << 20).last().unwrap(),
                1 << 20
            );
        }
        // A quick answer to few bytes does not show that many would be as quick.
        let mut link = Link::new(false);
        let now = Instant::now();
        for _ in 0..20 {
            let question = link.ask(500, None, 80, now);
            link.answer(&reply(&question), now + MS);
        }
        assert_eq!(link.budget(), FIRST);
    }
}
