//! The status line.

use shm_frame::Frame;

use crate::recv::tally::Tally;
use crate::units::ms;

/// What the status line tells, the most important first.
#[derive(Clone, Debug)]
pub(crate) struct Status(Vec<Item>);

/// A value with its label and unit: whole, and as short as can be understood.
#[derive(Clone, Debug)]
struct Item {
    full: String,
    short: String,
    /// Worth a look.
    alarming: bool,
}

impl Status {
    pub(crate) fn new(frame: Frame, tally: &Tally) -> Self {
        let item = |full: String, short: String| Item {
            full,
            short,
            alarming: false,
        };
        let (number, shape) = (frame.number, frame.shape.to_string());
        let (fps, delay) = (tally.pace.fps(), ms(frame.delay_ns));
        let mut items = vec![
            item(format!("frame {number}"), number.to_string()),
            item(shape.clone(), shape),
            item(format!("{fps:.1} frames/s"), format!("{fps:.1}/s")),
            item(format!("delay {delay:.3} ms"), format!("{delay:.3} ms")),
        ];
        if let Some(delays) = tally.delays.quantiles() {
            for (name, ms) in [("p50", delays.p50), ("p99", delays.p99)] {
                let both = format!("{name} {ms:.3}");
                items.push(item(both.clone(), both));
            }
        }
        let Tally { skipped, torn, .. } = tally;
        items.push(item(
            format!("skipped {skipped}"),
            format!("skip {skipped}"),
        ));
        items.push(Item {
            alarming: *torn > 0,
            ..item(format!("torn {torn}"), format!("torn {torn}"))
        });
        Self(items)
    }

    /// As one line of no more than so many columns: first the labels get shorter, then the last items go.
    pub(crate) fn fit(&self, columns: usize, colour: bool) -> String {
        let full: usize = self.0.iter().map(|item| item.full.len() + 2).sum();
        let whole = full <= columns + 2;
        let gap = if whole { "  " } else { " " };
        let mut line = String::new();
        let mut used = 0;
        for item in &self.0 {
            let text = if whole { &item.full } else { &item.short };
            let gap = if used == 0 { "" } else { gap };
            used += gap.len() + text.len();
            if used > columns {
                break;
            }
            line += gap;
            if colour && item.alarming {
                line.extend(["\x1b[31m", text, "\x1b[39m"]);
            } else {
                line += text;
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_never_longer_than_the_terminal_is_wide_and_cuts_no_number() {
        let item = |full: &str, short: &str, alarming| Item {
            full: full.to_owned(),
            short: short.to_owned(),
            alarming,
        };
        let status = Status(vec![
            item("frame 123", "123", false),
            item("30.0 frames/s", "30.0/s", false),
            item("torn 7", "torn 7", true),
        ]);
        for (columns, line) in [
            (80, "frame 123  30.0 frames/s  torn 7"),
            (32, "frame 123  30.0 frames/s  torn 7"),
            (31, "123 30.0/s torn 7"),
            (17, "123 30.0/s torn 7"),
            (16, "123 30.0/s"),
            (5, "123"),
            (0, ""),
        ] {
            assert_eq!(status.fit(columns, false), line);
        }
        assert!(status.fit(80, true).ends_with("\x1b[31mtorn 7\x1b[39m"));
    }
}
