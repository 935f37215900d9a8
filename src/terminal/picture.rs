//! A picture as a terminal takes it.

use anyhow::Result;
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Size as Sides, Vec3b};
use opencv::imgproc;

use super::ability::Way;
use super::image::{Imager, Protocol};
use super::mosaic::{Dots, Mosaic};
use super::tty::Size;
use crate::picture::{self as image, Picture};

/// The least room for a picture, in cells.
const LEAST: (usize, usize) = (4, 2);
/// What a cell is taken for if the terminal does not say, in pixels.
const CELL: (usize, usize) = (8, 16);
/// The longest side of an image that a terminal is sent, in pixels: xterm draws no larger one.
const LONGEST: usize = 1000;

/// Draws pictures in one terminal's way.
#[derive(Debug)]
pub(super) struct Painter {
    pub way: Way,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Imager(Imager),
    Mosaic(Mosaic),
}

/// Where a picture is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// In pixels of an image, or in dots.
    width: usize,
    height: usize,
    /// In cells.
    columns: usize,
    pub rows: usize,
}

impl Painter {
    pub(super) fn new(way: Way) -> Self {
        let image = |protocol| Kind::Imager(Imager::new(protocol));
        let kind = match way {
            Way::Kitty => image(Protocol::Kitty(std::process::id())),
            Way::Iterm => image(Protocol::Iterm),
            Way::Sixel => image(Protocol::Sixel),
            Way::Mosaic(symbols, colours) => Kind::Mosaic(Mosaic::new(symbols, colours)),
        };
        Self { way, kind }
    }

    /// Nothing of the last picture is on the glass any more, when this was written.
    pub(super) fn erase(&mut self) -> String {
        match &mut self.kind {
            Kind::Imager(imager) => {
                imager.forget();
                imager.erase()
            }
            Kind::Mosaic(mosaic) => {
                mosaic.forget();
                String::new()
            }
        }
    }

    /// The same picture drawn again may become finer.
    pub(super) fn is_unfinished(&self) -> bool {
        match &self.kind {
            Kind::Imager(_) => false,
            Kind::Mosaic(mosaic) => mosaic.is_unfinished(),
        }
    }

    /// Where to draw a picture. `None`: there is no room for it.
    pub(super) fn place(&self, picture: &Picture, size: Size) -> Option<Place> {
        if size.columns < LEAST.0 || size.rows < LEAST.1 {
            return None;
        }
        let cell = size.cell.unwrap_or(CELL);
        let (dots, limit) = match &self.kind {
            Kind::Imager(_) => (cell, LONGEST),
            Kind::Mosaic(mosaic) => (mosaic.symbols().dots(), usize::MAX),
        };
        let room = (
            (size.columns * dots.0).min(limit),
            (size.rows * dots.1).min(limit),
        );
        let shape = (
            usize::try_from(picture.shape.width()).ok()?,
            usize::try_from(picture.shape.height()).ok()?,
        );
        // A dot's sides in pixels of the screen are cell / dots.
        let (mut width, mut height) = fit(shape, room, (cell.0 * dots.1, cell.1 * dots.0));
        let cells = |width: usize, height: usize| (width.div_ceil(dots.0), height.div_ceil(dots.1));
        let (mut columns, mut rows) = cells(width, height);
        match &self.kind {
            // Whole letters: what a last one draws below would scroll.
            Kind::Imager(imager) if imager.protocol() == Protocol::Sixel => {
                height = (height / 6 * 6).max(6);
                (columns, rows) = cells(width, height);
            }
            // The others are scaled there: no more than the frame's own pixels.
            Kind::Imager(_) => (width, height) = (width.min(shape.0), height.min(shape.1)),
            // A last cell that is there in part would be drawn whole.
            Kind::Mosaic(_) => (width, height) = (columns * dots.0, rows * dots.1),
        }
        Some(Place {
            width,
            height,
            columns,
            rows,
        })
    }

    /// What draws a picture in its place, and goes to the line below.
    pub(super) fn paint(
        &mut self,
        picture: &Picture,
        place: Place,
        budget: usize,
    ) -> Result<Vec<u8>> {
        let scaled = scale(picture, place)?;
        match &mut self.kind {
            Kind::Imager(imager) => imager.paint(&scaled, (place.columns, place.rows), budget),
            Kind::Mosaic(mosaic) => {
                let pixels: &[Vec3b] = scaled.data_typed()?;
                let rgb = |bgr: &Vec3b| [bgr[2], bgr[1], bgr[0]];
                let dots = Dots {
                    width: place.width,
                    colours: pixels.iter().map(rgb).collect(),
                };
                Ok(mosaic.paint(&dots, budget))
            }
        }
    }
}

/// The largest size of a picture's proportions that fits in the room, in dots of those proportions.
fn fit(shape: (usize, usize), room: (usize, usize), dot: (usize, usize)) -> (usize, usize) {
    #[expect(clippy::cast_precision_loss, reason = "sides of pictures")]
    let [shape, sides, dot] = [shape, room, dot].map(|(x, y)| (x as f64, y as f64));
    let proportions = (shape.0 / dot.0, shape.1 / dot.1);
    let scale = (sides.0 / proportions.0).min(sides.1 / proportions.1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "no larger than the room"
    )]
    let side = |side: f64| (side * scale).round() as usize;
    (
        side(proportions.0).clamp(1, room.0),
        side(proportions.1).clamp(1, room.1),
    )
}

/// The picture in that size, as BGR.
fn scale(picture: &Picture, place: Place) -> Result<Mat> {
    let frame = image::view(picture.pixels(), picture.shape)?;
    let scaled = resize(&frame, place.width.try_into()?, place.height.try_into()?)?;
    let code = match scaled.channels() {
        1 => imgproc::COLOR_GRAY2BGR,
        4 => imgproc::COLOR_BGRA2BGR,
        _ => return Ok(scaled),
    };
    let mut bgr = Mat::default();
    imgproc::cvt_color_def(&scaled, &mut bgr, code)?;
    Ok(bgr)
}

/// An image in that size.
pub(super) fn resize(
    image: &impl opencv::core::ToInputArray,
    width: i32,
    height: i32,
) -> Result<Mat> {
    let mut scaled = Mat::default();
    let sides = Sides::new(width, height);
    imgproc::resize(image, &mut scaled, sides, 0.0, 0.0, imgproc::INTER_AREA)?;
    Ok(scaled)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shm_frame::{Format, Shape, Size as Pixels};

    use super::*;
    use crate::terminal::colour::Colours;
    use crate::terminal::mosaic::Symbols;

    const SIZE: Size = Size {
        columns: 40,
        rows: 10,
        cell: Some((8, 16)),
    };

    fn picture(width: u32, height: u32) -> Picture {
        let shape = Shape::new(Pixels { width, height }, Format::BGR8).unwrap();
        // Whatever is in it.
        let pixels = (0..=u8::MAX)
            .cycle()
            .take(shape.bytes())
            .collect::<Vec<_>>();
        Picture::new(Arc::new(pixels), shape)
    }

    #[test]
    fn a_picture_fits_whatever_its_proportions() {
        for (width, height) in [
            (1, 1),
            (7, 5),
            (3000, 2),
            (2, 3000),
            (640, 404),
            (4000, 4000),
        ] {
            for way in [
                Way::Kitty,
                Way::Iterm,
                Way::Sixel,
                Way::Mosaic(Symbols::Halves, Colours::True),
                Way::Mosaic(Symbols::Quadrants, Colours::Palette),
                Way::Mosaic(Symbols::Sextants, Colours::Sixteen),
                Way::Mosaic(Symbols::Spaces, Colours::Palette),
                Way::Mosaic(Symbols::Letters, Colours::None),
            ] {
                let picture = picture(width, height);
                let mut painter = Painter::new(way);
                let place = painter.place(&picture, SIZE).unwrap();
                let text = painter.paint(&picture, place, usize::MAX).unwrap();
                let text = String::from_utf8(text).unwrap();
                let what = format!("{way:?} {width}x{height}: {place:?}");
                assert!((1..=SIZE.rows).contains(&place.rows), "{what}");
                assert!((1..=SIZE.columns).contains(&place.columns), "{what}");
                // The cursor ends below it.
                let lines = text.matches('\n').count();
                let lower = |part: &str| part.split_once('B')?.0.parse::<usize>().ok();
                let lowered: usize = text.split("\x1b[").filter_map(lower).sum();
                assert_eq!(lines + lowered, place.rows, "{what}");
            }
        }
    }

    #[test]
    fn there_is_no_picture_where_there_is_no_room() {
        let painter = Painter::new(Way::Mosaic(Symbols::Letters, Colours::None));
        for (columns, rows) in [(0, 0), (3, 10), (10, 1)] {
            let size = Size {
                columns,
                rows,
                cell: None,
            };
            assert!(painter.place(&picture(1, 1), size).is_none());
        }
    }
}
