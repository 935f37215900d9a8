//! What comes from a terminal's keyboard: keys, and sequences, which are keys like the arrows and
//! the terminal's answers. Both may come in pieces, and late.

use std::time::{Duration, Instant};

/// A lone Esc is a key if nothing follows for so long. A sequence begins with it.
const LONE: Duration = Duration::from_millis(300);
/// A sequence that does not go on for so long is given up.
const STUCK: Duration = Duration::from_secs(2);
/// No sequence that means anything is longer.
const LONGEST: usize = 4096;

const ESC: u8 = 0x1b;
const BEL: u8 = 0x07;
/// CAN and SUB end any sequence.
const CANCEL: [u8; 2] = [0x18, 0x1a];

/// What a user or a terminal sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Key(char),
    /// A whole escape sequence, without its Esc and without the end of a string.
    Sequence(String),
}

impl Event {
    /// Whether it looks like what terminals answer.
    fn is_answer(&self) -> bool {
        match self {
            Self::Key(_) => false,
            Self::Sequence(text) => {
                let control = text.starts_with('[') && text.ends_with(['R', 'c']);
                control || text.starts_with(['P', '_', ']'])
            }
        }
    }
}

/// Tells keys from sequences.
#[derive(Debug, Default)]
pub(super) struct Input {
    /// The sequence so far, from its Esc on.
    sequence: Vec<u8>,
    /// There was an Esc before its own.
    twice: bool,
    /// When the last byte came.
    last: Option<Instant>,
    /// A text is being pasted: it is no keys.
    pasting: bool,
}

impl Input {
    /// Takes bytes that came.
    pub(super) fn feed(&mut self, bytes: &[u8], now: Instant) -> Vec<Event> {
        self.last = Some(now);
        let mut events = Vec::new();
        for &byte in bytes {
            let whole = self.byte(byte);
            // An answer may come right behind the key. Other sequences may have an Esc in front:
            // Alt.
            let behind = whole.as_ref().is_some_and(Event::is_answer);
            if self.sequence.is_empty() && std::mem::take(&mut self.twice) && behind {
                events.push(Event::Key('\x1b'));
            }
            events.extend(whole);
        }
        events
    }

    /// What is certain now, since nothing more came.
    pub(super) fn tick(&mut self, now: Instant) -> Option<Event> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        let lone = self.sequence.len() == 1 || self.twice;
        self.twice = false;
        self.sequence.clear();
        lone.then_some(Event::Key('\x1b'))
    }

    /// When to call [`tick`](Self::tick), if nothing more comes.
    pub(super) fn due(&self) -> Option<Instant> {
        let wait = match self.sequence.len() {
            0 => return None,
            1 => LONE,
            _ => STUCK,
        };
        self.last.map(|last| last + wait)
    }

    fn byte(&mut self, byte: u8) -> Option<Event> {
        if self.sequence.is_empty() {
            if byte == ESC {
                self.sequence.push(ESC);
            }
            let key = byte.is_ascii() && byte != ESC && !self.pasting;
            return key.then_some(Event::Key(byte.into()));
        }
        if CANCEL.contains(&byte) || self.sequence.len() == LONGEST {
            self.sequence.clear();
            return None;
        }
        match (self.is_string(), self.sequence.last(), byte) {
            // The end of a string may be its Esc and a backslash.
            (true, Some(&ESC), b'\\') => {
                self.sequence.pop();
                return self.whole();
            }
            (true, Some(&ESC), _) => {
                self.sequence.clear();
                self.sequence.push(ESC);
            }
            (true, _, BEL) => return self.whole(),
            (true, _, _) => {
                self.sequence.push(byte);
                return None;
            }
            // A new sequence cuts off the one before.
            (false, _, ESC) => {
                self.twice |= self.sequence.len() == 1;
                self.sequence.truncate(1);
                return None;
            }
            (false, _, _) => {}
        }
        self.sequence.push(byte);
        let ends = match self.sequence[1..] {
            [] | [b'P' | b']' | b'_' | b'^' | b'X'] => false,
            // The mouse of X10 sends three bytes more.
            [b'[', b'M', ref more @ ..] => more.len() == 3,
            // The linux console's F1 to F5, and other keys.
            [b'[', b'[', ref more @ ..] | [b'O' | b'N', ref more @ ..] => more.len() == 1,
            [b'[', ref more @ ..] => more.last().is_some_and(|last| (0x40..0x7f).contains(last)),
            [.., last] => last >= 0x30,
        };
        if ends { self.whole() } else { None }
    }

    fn is_string(&self) -> bool {
        matches!(self.sequence.get(1), Some(b'P' | b']' | b'_' | b'^' | b'X'))
    }

    fn whole(&mut self) -> Option<Event> {
        let text = String::from_utf8_lossy(&self.sequence[1..]).into_owned();
        self.sequence.clear();
        match text.as_str() {
            "[200~" => self.pasting = true,
            "[201~" => self.pasting = false,
            _ => return Some(Event::Sequence(text)),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of bytes that come one by one.
    fn events(bytes: &[u8]) -> Vec<Event> {
        let mut input = Input::default();
        let now = Instant::now();
        bytes
            .iter()
            .flat_map(|&byte| input.feed(&[byte], now))
            .collect()
    }

    fn keys(text: &str) -> Vec<Event> {
        text.chars().map(Event::Key).collect()
    }

    fn sequence(text: &str) -> Event {
        Event::Sequence(text.to_owned())
    }

    #[test]
    fn sequences_in_pieces_are_whole_and_none_of_their_bytes_is_a_key() {
        for (bytes, text) in [
            ("\x1b[24;5R", "[24;5R"),
            ("\x1b[?62;4;22c", "[?62;4;22c"),
            ("\x1b[>41;379;0c", "[>41;379;0c"),
            ("\x1bP1$r0;38:2::1:2:3m\x1b\\", "P1$r0;38:2::1:2:3m"),
            ("\x1bP>|WezTerm qsh\x1b\\", "P>|WezTerm qsh"),
            ("\x1b_Gi=31;OK\x1b\\", "_Gi=31;OK"),
            ("\x1b]11;rgb:0/0/0\x07", "]11;rgb:0/0/0"),
            ("\x1b[A", "[A"),
            ("\x1bOP", "OP"),
            ("\x1b[[A", "[[A"),
            ("\x1b[Mqqq", "[Mqqq"),
            ("\x1b[15;2~", "[15;2~"),
            ("\x1bq", "q"),
            ("\x1b(B", "(B"),
            ("\x1b\x1b[A", "[A"),
        ] {
            let mut expected = keys("h");
            expected.push(sequence(text));
            expected.extend(keys("q"));
            assert_eq!(events(format!("h{bytes}q").as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_sequence_that_is_cut_off_does_not_swallow_what_follows() {
        assert_eq!(
            events(b"\x1b[12\x1b[A\x1bP1$r\x1b[Bq\x1b[3\x18q"),
            [vec![sequence("[A"), sequence("[B")], keys("qq"),].concat()
        );
        let mut input = Input::default();
        let now = Instant::now();
        assert_eq!(input.feed(b"\x1b[12", now), []);
        assert_eq!(input.tick(now + LONE), None);
        assert_eq!(input.tick(now + STUCK), None);
        assert_eq!(input.feed(b"q", now + STUCK), keys("q"));
    }

    #[test]
    fn a_lone_esc_is_a_key_after_a_while() {
        let mut input = Input::default();
        let now = Instant::now();
        assert_eq!(input.feed(b"\x1b", now), []);
        assert_eq!(input.due(), Some(now + LONE));
        assert_eq!(input.tick(now + LONE / 2), None);
        assert_eq!(input.tick(now + LONE), Some(Event::Key('\x1b')));
        assert_eq!(input.due(), None);
    }

    #[test]
    fn an_answer_behind_esc_does_not_swallow_the_key() {
        let esc = Event::Key('\x1b');
        assert_eq!(events(b"\x1b\x1b[24;5R"), [esc.clone(), sequence("[24;5R")]);
        assert_eq!(events(b"\x1b\x1bP1$r\x1b\\"), [esc, sequence("P1$r")]);
        assert_eq!(
            events(b"\x1b\x1b[A\x1b[24;5R"),
            ["[A", "[24;5R"].map(sequence)
        );
    }

    #[test]
    fn pasted_text_and_what_is_not_ascii_are_no_keys() {
        let pasted = "\x1b[200~quit\x1b[201~é\u{9b}h";
        assert_eq!(events(pasted.as_bytes()), keys("h"));
    }
}
