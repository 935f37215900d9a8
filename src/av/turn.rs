//! How a frame is to be turned to be seen upright, as a film's display matrix says.

/// A rotation by a multiple of 90 degrees, mirrored or not. First rows become columns, then columns
/// and rows are reversed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Rows become columns.
    pub transposed: bool,
    /// Left becomes right.
    pub mirrored: bool,
    /// Top becomes bottom.
    pub upside_down: bool,
}

impl Turn {
    /// As it is.
    pub(crate) const NONE: Self = Self {
        transposed: false,
        mirrored: false,
        upside_down: false,
    };

    /// What a display matrix says, `[a, b, u, c, d, v, x, y, w]`: a point (x, y) is seen at (ax +
    /// cy, bx + dy). Angles between the multiples of 90 degrees become the nearest one.
    pub(super) fn of([a, b, _, c, d, ..]: [i32; 9]) -> Self {
        let size = |n: i32| n.unsigned_abs();
        if size(a).max(size(d)) >= size(b).max(size(c)) {
            Self {
                transposed: false,
                mirrored: a < 0,
                upside_down: d < 0,
            }
        } else {
            Self {
                transposed: true,
                mirrored: c < 0,
                upside_down: b < 0,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: i32 = 1 << 16;

    fn turn(a: i32, b: i32, c: i32, d: i32) -> [bool; 3] {
        let turn = Turn::of([a, b, 0, c, d, 0, 0, 0, 1 << 30]);
        [turn.transposed, turn.mirrored, turn.upside_down]
    }

    #[test]
    fn the_eight_ways_to_turn_are_told() {
        assert_eq!(turn(ONE, 0, 0, ONE), [false, false, false]);
        assert_eq!(turn(-ONE, 0, 0, ONE), [false, true, false]);
        assert_eq!(turn(ONE, 0, 0, -ONE), [false, false, true]);
        assert_eq!(turn(-ONE, 0, 0, -ONE), [false, true, true]);
        // Clockwise: what was at the right is seen at the bottom, and what was at the bottom, at
        // the left.
        assert_eq!(turn(0, ONE, -ONE, 0), [true, true, false]);
        assert_eq!(turn(0, -ONE, ONE, 0), [true, false, true]);
        assert_eq!(turn(0, ONE, ONE, 0), [true, false, false]);
        assert_eq!(turn(0, -ONE, -ONE, 0), [true, true, true]);
    }

    #[test]
    fn a_matrix_of_zeros_is_no_turn() {
        assert_eq!(turn(0, 0, 0, 0), [false, false, false]);
    }
}
