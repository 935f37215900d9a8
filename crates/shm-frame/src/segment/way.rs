//! Which way to copy: through the cache or past it.
//!
//! A store into the cache first fetches what it is about to overwrite, which takes no time if that
//! is there already, and a lot if it is not. Which of the two ways is faster depends on the
//! processor, the size and the pace: with frames of 640x404x3, flat out, one kind of machine made
//! 1.6 times as many frames through the cache as past it, another one 1.2 times as many past it. So
//! both are tried, and timed.

/// How bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Into the cache.
    Cached = 0,
    /// Past it, into memory.
    Past = 1,
}

impl Way {
    fn other(self) -> Self {
        match self {
            Self::Cached => Self::Past,
            Self::Past => Self::Cached,
        }
    }
}

/// So many bytes are cold at any rate, as long as nothing is known: two frames and two slots push
/// each other out of most processors' caches.
const COLD_FROM: usize = 4 << 20;
/// Fewer bytes are not timed: the clock would take too much of their time.
const TIMED_FROM: usize = 64 << 10;
/// Sizes are told apart by their power of two, up to 1 GB.
const SIZES: usize = 15;

/// Copies of a try that are not counted: they find the cache as the other way left it, and each of
/// the slots that are in use.
const SETTLING: u32 = 8;
/// Copies that are, an odd number. Their median counts, so two that were interrupted do not.
const COUNTED: usize = 5;
#[expect(clippy::cast_possible_truncation, reason = "a handful")]
const TRY: u32 = SETTLING + COUNTED as u32;
/// Copies before the first try, and from one try of the slower way to the next: so many after a
/// change, since the times of a start are not those of what follows, then twice as many each time,
/// up to the most.
const PAUSE: u32 = 64;
/// The same where it is cold, which is so with frames that come at a pace: those of a try come
/// later than the others, and somebody looks at each. At 60 a second it is four seconds.
const COLD_PAUSE: u32 = 256;
const LONGEST_PAUSE: u32 = 2048;

/// Chooses the way for each copy, by how long those before took.
#[derive(Debug)]
pub(crate) struct Ways {
    kinds: [[Kind; 2]; SIZES],
}

/// One copy, to be made that way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) way: Way,
    /// Where its time goes. `None`: it is not to be timed.
    kind: Option<(usize, usize)>,
    len: usize,
}

impl Choice {
    /// Whether to tell [`Ways::took`] how long it took.
    pub(crate) fn is_timed(self) -> bool {
        self.kind.is_some()
    }
}

impl Default for Ways {
    fn default() -> Self {
        let kind = |size, cold, pause| Kind::new(rule(TIMED_FROM << size, cold), pause);
        Self {
            kinds: std::array::from_fn(|size| {
                [kind(size, false, PAUSE), kind(size, true, COLD_PAUSE)]
            }),
        }
    }
}

/// What is right on most machines.
fn rule(len: usize, cold: bool) -> Way {
    if cold || len >= COLD_FROM {
        Way::Past
    } else {
        Way::Cached
    }
}

impl Ways {
    /// For a copy of so many bytes to where it is `cold`: in no cache, or in that of another core,
    /// as far as is known.
    pub(crate) fn choose(&mut self, len: usize, cold: bool) -> Choice {
        if len < TIMED_FROM {
            let way = rule(len, cold);
            let kind = None;
            return Choice { way, kind, len };
        }
        let size = ((len / TIMED_FROM).ilog2() as usize).min(SIZES - 1);
        let (way, is_timed) = self.kinds[size][usize::from(cold)].next();
        let kind = is_timed.then_some((size, usize::from(cold)));
        Choice { way, kind, len }
    }

    /// For a copy of so many bytes that is read next. What the cache has room for is to be there,
    /// and the time of the copy does not show what the reading takes.
    pub(crate) fn choose_to_read(&mut self, len: usize) -> Choice {
        if len < COLD_FROM {
            let way = Way::Cached;
            let kind = None;
            return Choice { way, kind, len };
        }
        self.choose(len, false)
    }

    /// Takes note of the time that a copy took.
    pub(crate) fn took(&mut self, choice: Choice, ns: u64) {
        if let Some((size, cold)) = choice.kind {
            // Sizes of a kind differ by a factor of two.
            let ns_per_mib = (ns << 20) / choice.len as u64;
            self.kinds[size][cold].took(choice.way, ns_per_mib);
        }
    }
}

/// Copies of about one size, to where it is cold or not.
#[derive(Debug)]
struct Kind {
    best: Way,
    /// The way that is being tried, and with which copy; or the copies since the last try.
    trying: bool,
    copies: u32,
    /// Copies until the next try, and after a change.
    pause: u32,
    shortest_pause: u32,
    /// The last times of each way.
    times: [[u64; COUNTED]; 2],
}

impl Kind {
    const fn new(best: Way, shortest_pause: u32) -> Self {
        Self {
            best,
            trying: false,
            copies: 0,
            pause: shortest_pause,
            shortest_pause,
            times: [[0; COUNTED]; 2],
        }
    }

    /// The way of the next copy, and whether its time is wanted: of the last ones before a try, and
    /// of the last ones of it. To look at the clock takes its time, too, above all after a sleep.
    fn next(&mut self) -> (Way, bool) {
        if !self.trying && self.copies >= self.pause {
            self.trying = true;
            self.copies = 0;
        }
        self.copies += 1;
        if self.trying {
            (self.best.other(), self.copies > SETTLING)
        } else {
            (self.best, self.copies + TRY > self.pause + SETTLING)
        }
    }

    fn took(&mut self, way: Way, time: u64) {
        let times = &mut self.times[way as usize];
        times.rotate_left(1);
        times[COUNTED - 1] = time;
        if self.trying && self.copies >= TRY {
            self.trying = false;
            self.copies = 0;
            let (best, other) = (self.time(self.best), self.time(self.best.other()));
            // By enough not to go back and forth.
            if other < best - best / 16 {
                self.best = self.best.other();
                self.pause = self.shortest_pause;
            } else {
                self.pause = (2 * self.pause).clamp(self.shortest_pause, LONGEST_PAUSE);
            }
        }
    }

    /// What a way takes: the median.
    fn time(&self, way: Way) -> u64 {
        let mut times = self.times[way as usize];
        times.sort_unstable();
        times[COUNTED / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: usize = 640 * 404 * 3;

    /// Makes so many copies that take as long as `ns` says. How many went each way.
    fn copies(
        ways: &mut Ways,
        count: u32,
        cold: bool,
        mut ns: impl FnMut(u32, Way) -> u64,
    ) -> [u32; 2] {
        let mut went = [0; 2];
        for i in 0..count {
            let choice = ways.choose(FRAME, cold);
            went[choice.way as usize] += 1;
            ways.took(choice, ns(i, choice.way));
        }
        went
    }

    #[test]
    fn each_machine_gets_the_way_that_is_faster_there() {
        for (cached, past) in [(24_000, 38_000), (38_000, 31_000)] {
            for cold in [false, true] {
                let mut ways = Ways::default();
                let time = |_, way| [cached, past][way as usize];
                copies(&mut ways, 300, cold, time);
                let went = copies(&mut ways, 10_000, cold, time);
                let slower = went[usize::from(cached < past)];
                assert!((1..=200).contains(&slower), "{went:?}");
            }
        }
    }

    #[test]
    fn the_first_frames_are_copied_by_the_usual_rule() {
        let mut ways = Ways::default();
        for (len, cold, way) in [
            (0, false, Way::Cached),
            (FRAME, false, Way::Cached),
            (FRAME, true, Way::Past),
            (3840 * 2160 * 3, false, Way::Past),
            (usize::MAX >> 1, true, Way::Past),
        ] {
            for _ in 0..TRY {
                assert_eq!(ways.choose(len, cold).way, way, "{len}");
            }
        }
    }

    #[test]
    fn a_copy_is_timed_only_where_its_time_is_wanted() {
        for len in [0, 1, TIMED_FROM - 1] {
            let mut ways = Ways::default();
            assert!((0..100).all(|_| !ways.choose(len, true).is_timed()));
        }
        for cold in [false, true] {
            let mut ways = Ways::default();
            let mut timed = 0;
            for _ in 0..100_000 {
                let choice = ways.choose(FRAME, cold);
                timed += u32::from(choice.is_timed());
                ways.took(choice, 30_000);
            }
            assert!((100..1000).contains(&timed), "{timed}");
        }
    }

    #[test]
    fn what_is_read_next_goes_into_the_cache_if_it_has_room() {
        let mut ways = Ways::default();
        copies(&mut ways, 80, false, |_, way| [38, 24][way as usize] * 1000);
        assert_eq!(ways.choose(FRAME, false).way, Way::Past);
        let mut tried = |len| (0..100).any(|_| ways.choose_to_read(len).way == Way::Past);
        assert!(!tried(FRAME));
        assert!(tried(3840 * 2160 * 3));
    }

    #[test]
    fn copies_that_were_interrupted_and_those_in_an_unsettled_cache_decide_nothing() {
        let mut ways = Ways::default();
        let went = copies(&mut ways, 20_000, false, |i, way| match way {
            // One in ten is interrupted for long.
            Way::Cached if i % 10 == 0 => 4_000_000,
            Way::Cached => 24_000,
            Way::Past => 38_000,
        });
        assert!(went[1] < 300, "{went:?}");
        // The first ones after a change of way are slow.
        let (mut last, mut since) = (Way::Cached, 0);
        let mut ways = Ways::default();
        let mut time = |_, way| {
            since = if way == last { since + 1 } else { 0 };
            last = way;
            match way {
                _ if since < SETTLING => 90_000,
                Way::Cached => 38_000,
                Way::Past => 31_000,
            }
        };
        copies(&mut ways, 80, false, &mut time);
        assert_eq!(ways.choose(FRAME, false).way, Way::Past);
    }

    #[test]
    fn what_changes_is_noticed_and_ways_that_are_level_are_left_alone() {
        let mut ways = Ways::default();
        copies(&mut ways, 80, false, |_, way| [24, 38][way as usize] * 1000);
        copies(&mut ways, 3000, false, |_, way| {
            [38, 24][way as usize] * 1000
        });
        assert_eq!(ways.choose(FRAME, false).way, Way::Past);
        let mut ways = Ways::default();
        let went = copies(&mut ways, 20_000, false, |i, way| {
            u64::from(30_000 + (i * 7919) % 900 + way as u32)
        });
        assert!(went[1] < 300, "{went:?}");
    }

    #[test]
    fn sizes_and_paces_are_told_apart() {
        let mut ways = Ways::default();
        copies(&mut ways, 80, false, |_, way| [38, 24][way as usize] * 1000);
        assert_eq!(ways.choose(FRAME, false).way, Way::Past);
        assert_eq!(ways.choose(FRAME * 3, false).way, Way::Cached);
        copies(&mut ways, 300, true, |_, way| [24, 38][way as usize] * 1000);
        assert_eq!(ways.choose(FRAME, true).way, Way::Cached);
        assert_eq!(ways.choose(FRAME, false).way, Way::Past);
    }
}
