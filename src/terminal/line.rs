//! A line of values that fits in any width.

use std::time::Duration;

/// A status line: values, the most important first.
#[derive(Clone, Debug)]
pub(crate) struct Line(pub Vec<Item>);

/// A value, in full and as short as it can be understood.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub full: String,
    pub short: String,
    /// Shown in red.
    pub alarming: bool,
    /// Stands for the age of the picture on the glass, where one is drawn.
    pub is_age: bool,
}

impl Item {
    pub(crate) fn new(full: String, short: String) -> Self {
        Self {
            full,
            short,
            alarming: false,
            is_age: false,
        }
    }

    /// The place of the age of the picture on the glass. Without a picture it is empty.
    pub(crate) fn age_on_glass() -> Self {
        Self {
            is_age: true,
            ..Self::new(String::new(), String::new())
        }
    }

    fn filled(&self, age: Option<Duration>) -> Option<Self> {
        if !self.is_age {
            return Some(self.clone());
        }
        let seconds = age?.as_secs_f64();
        Some(Self {
            alarming: seconds >= OLD,
            ..Self::new(
                format!("on glass {seconds:.2} s"),
                format!("glass {seconds:.2} s"),
            )
        })
    }
}

/// A picture that was so many seconds old when it was seen is shown in red.
const OLD: f64 = 1.5;

impl Line {
    /// It says why there are no values.
    pub(super) fn is_warning(&self) -> bool {
        self.0.first().is_some_and(|item| item.alarming)
    }

    /// The line in at most so many columns. If it does not fit, all values become short; if they
    /// still do not fit, the last ones are left out. `age`: that of the picture on the glass.
    pub(crate) fn fit(&self, columns: usize, age: Option<Duration>, colour: bool) -> String {
        let items: Vec<_> = self.0.iter().filter_map(|item| item.filled(age)).collect();
        let full: usize = items.iter().map(|item| width(&item.full) + 2).sum();
        let whole = full <= columns + 2;
        let gap = if whole { "  " } else { " " };
        let mut line = String::new();
        let mut used = 0;
        for item in &items {
            let text = if whole { &item.full } else { &item.short };
            let gap = if used == 0 { "" } else { gap };
            used += gap.len() + width(text);
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

/// As many lines as there is room for, at least one. The last one says how many more there are.
pub(super) fn fit_all(
    lines: &[Line],
    room: usize,
    columns: usize,
    age: Option<Duration>,
    colour: bool,
) -> Vec<String> {
    let room = room.max(1);
    let more = lines.len().saturating_sub(room);
    let mut fitted: Vec<_> = lines
        .iter()
        .take(room)
        .map(|line| line.fit(columns, age, colour))
        .collect();
    if let (true, Some(last)) = (more > 0, fitted.last_mut()) {
        let more = format!("+{more} more");
        let left = columns.saturating_sub(more.len() + 1);
        *last = lines[room - 1].fit(left, age, colour) + " " + &more;
    }
    fitted
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_never_exceeds_the_terminal_and_no_number_is_cut() {
        let item = |full: &str, short: &str| Item::new(full.to_owned(), short.to_owned());
        let line = Line(vec![
            item("frame 123", "123"),
            item("30.0 frames/s", "30.0/s"),
            Item {
                alarming: true,
                ..item("torn 7", "torn 7")
            },
        ]);
        for (columns, text) in [
            (80, "frame 123  30.0 frames/s  torn 7"),
            (32, "frame 123  30.0 frames/s  torn 7"),
            (31, "123 30.0/s torn 7"),
            (17, "123 30.0/s torn 7"),
            (16, "123 30.0/s"),
            (5, "123"),
            (0, ""),
        ] {
            assert_eq!(line.fit(columns, None, false), text);
        }
        assert!(line.fit(80, None, true).ends_with("\x1b[31mtorn 7\x1b[39m"));
    }

    #[test]
    fn the_age_on_the_glass_stands_in_its_place_if_it_is_known() {
        let item = |text: &str| Item::new(text.to_owned(), text.to_owned());
        let line = Line(vec![
            item("delay 0.1 ms"),
            Item::age_on_glass(),
            item("torn 0"),
        ]);
        assert_eq!(line.fit(80, None, true), "delay 0.1 ms  torn 0");
        let age = |ms| Some(Duration::from_millis(ms));
        assert_eq!(
            line.fit(80, age(310), true),
            "delay 0.1 ms  on glass 0.31 s  torn 0"
        );
        assert_eq!(line.fit(26, age(310), true), "delay 0.1 ms glass 0.31 s");
        assert!(
            line.fit(80, age(2000), true)
                .contains("\x1b[31mon glass 2.00 s\x1b[39m")
        );
    }

    #[test]
    fn lines_without_room_are_counted() {
        let line = |text: &str| Line(vec![Item::new(text.to_owned(), text.to_owned())]);
        let lines = ["left", "right", "above"].map(line);
        let fit = |room, columns| fit_all(&lines, room, columns, None, false);
        assert_eq!(fit(9, 80), ["left", "right", "above"]);
        assert_eq!(fit(2, 80), ["left", "right +1 more"]);
        assert_eq!(fit(0, 80), ["left +2 more"]);
    }
}
