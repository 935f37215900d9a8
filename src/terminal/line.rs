//! A line of values that fits in any width.

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
}

impl Item {
    pub(crate) fn new(full: String, short: String) -> Self {
        Self {
            full,
            short,
            alarming: false,
        }
    }
}

impl Line {
    /// The line in at most so many columns. If it does not fit, all values become short; if they
    /// still do not fit, the last ones are left out.
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
            assert_eq!(line.fit(columns, false), text);
        }
        assert!(line.fit(80, true).ends_with("\x1b[31mtorn 7\x1b[39m"));
    }
}
