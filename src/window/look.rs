//! Which part of the pictures is shown: the same of each, so that pictures can be compared.

use opencv::core::{Rect, Size};

/// A part of a picture, in parts of its sides, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Look {
    /// How many times larger than the whole.
    factor: f64,
    /// The middle of what is shown.
    middle: (f64, f64),
}

impl Default for Look {
    fn default() -> Self {
        Self {
            factor: 1.0,
            middle: (0.5, 0.5),
        }
    }
}

/// A step of the wheel: twice as large in two steps.
const STEP: f64 = std::f64::consts::SQRT_2;
/// The most that a picture is enlarged, as a part of its longer side, in pixels.
const LEAST_PIXELS: f64 = 4.0;
const MOST: f64 = 4096.0;

impl Look {
    pub(super) fn is_zoomed(self) -> bool {
        self.factor > 1.0
    }

    /// Zooms in or out, so that this point of the picture stays where it is.
    pub(super) fn zoom(&mut self, nearer: bool, under: Option<(f64, f64)>) {
        let factor = if nearer {
            self.factor * STEP
        } else {
            self.factor / STEP
        };
        // Steps in and out come back to the whole.
        let factor = if factor < 1.01 { 1.0 } else { factor.min(MOST) };
        let under = under.unwrap_or(self.middle);
        let kept = self.factor / factor;
        let place = |middle: f64, under: f64| under + (middle - under) * kept;
        self.middle = (place(self.middle.0, under.0), place(self.middle.1, under.1));
        self.factor = factor;
        self.stay_inside();
    }

    /// Moves by parts of what is shown.
    pub(super) fn shift(&mut self, right: f64, down: f64) {
        self.middle.0 += right / self.factor;
        self.middle.1 += down / self.factor;
        self.stay_inside();
    }

    fn stay_inside(&mut self) {
        let half = 0.5 / self.factor;
        self.middle.0 = self.middle.0.clamp(half, 1.0 - half);
        self.middle.1 = self.middle.1.clamp(half, 1.0 - half);
    }

    /// The part of a picture of this size, in whole pixels.
    pub(super) fn part(self, picture: Size) -> Rect {
        let (left, width) = span(picture.width, self.factor, self.middle.0);
        let (top, height) = span(picture.height, self.factor, self.middle.1);
        Rect::new(left, top, width, height)
    }
}

/// The part of a side: where it begins, and how long it is.
#[expect(clippy::cast_possible_truncation, reason = "within the side")]
fn span(side: i32, factor: f64, middle: f64) -> (i32, i32) {
    let whole = f64::from(side);
    let length = (whole / factor).max(LEAST_PIXELS.min(whole)).round();
    let begin = (middle * whole - length / 2.0).round();
    let begin = begin.clamp(0.0, whole - length);
    (begin as i32, length as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_the_cursor_stays_there_and_the_way_back_leads_to_the_whole() {
        let size = Size::new(640, 400);
        let mut look = Look::default();
        assert_eq!(look.part(size), Rect::new(0, 0, 640, 400));
        for _ in 0..4 {
            look.zoom(true, Some((0.25, 0.5)));
        }
        // A quarter of each side; the point is at a quarter and at a half of it.
        assert_eq!(look.part(size), Rect::new(120, 150, 160, 100));
        look.shift(-10.0, 10.0);
        assert_eq!(look.part(size), Rect::new(0, 300, 160, 100));
        for _ in 0..4 {
            look.zoom(false, None);
        }
        assert!(!look.is_zoomed());
        assert_eq!(look.part(size), Rect::new(0, 0, 640, 400));
    }

    #[test]
    fn the_nearest_look_is_at_a_few_pixels() {
        let mut look = Look::default();
        for _ in 0..100 {
            look.zoom(true, None);
        }
        let part = look.part(Size::new(640, 2));
        assert_eq!((part.width, part.height), (4, 2));
    }
}
