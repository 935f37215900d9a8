//! Pictures side by side on one canvas, each as large as fits, with a caption on it.

use anyhow::Result;
use opencv::core::{CV_8UC4, Mat, MatTraitConst, Point, Rect, Scalar, Size};
use opencv::imgproc;

use super::look::Look;
use crate::picture::{self, Picture};

/// A picture and the words on it.
pub(crate) struct Tile<'a> {
    /// 8 bits: gray, blue first, or that with alpha, which is not looked at. `None`: there is none
    /// yet.
    pub picture: Option<&'a Picture>,
    /// Lines that are written at the top; none if empty.
    pub caption: &'a str,
}

/// Where a tile's picture is on the canvas.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    /// The part of the picture that is shown, in its pixels.
    part: Rect,
    /// The size of the whole picture.
    picture: Size,
    /// Where it is shown.
    on: Rect,
}

impl Placed {
    /// The point of the picture at a place of the canvas, in parts of the picture's sides.
    pub(super) fn at(&self, place: Point) -> Option<(f64, f64)> {
        let inside = self.on.contains(place);
        inside.then(|| {
            let (x, y) = (
                f64::from(place.x - self.on.x),
                f64::from(place.y - self.on.y),
            );
            let (right, down) = (x / f64::from(self.on.width), y / f64::from(self.on.height));
            let point = |begin, right, length, side| {
                (f64::from(begin) + right * f64::from(length)) / f64::from(side)
            };
            (
                point(self.part.x, right, self.part.width, self.picture.width),
                point(self.part.y, down, self.part.height, self.picture.height),
            )
        })
    }

    /// The pixel at a place of the canvas.
    pub(super) fn pixel(&self, place: Point) -> Option<Point> {
        let (x, y) = self.at(place)?;
        #[expect(clippy::cast_possible_truncation, reason = "within the picture")]
        let pixel = |part: f64, side| ((part * f64::from(side)) as i32).clamp(0, side - 1);
        Some(Point::new(
            pixel(x, self.picture.width),
            pixel(y, self.picture.height),
        ))
    }

    /// A distance on the canvas, in parts of what is shown.
    pub(super) fn parts(&self, distance: Point) -> (f64, f64) {
        (
            f64::from(distance.x) / f64::from(self.on.width.max(1)),
            f64::from(distance.y) / f64::from(self.on.height.max(1)),
        )
    }
}

/// The columns and rows in which so many pictures of one size fill a room best.
fn grid(tiles: usize, picture: Size, room: Size) -> (i32, i32) {
    let tiles = i32::try_from(tiles.max(1)).unwrap_or(i32::MAX);
    let grids = (1..=tiles).map(|columns| (columns, (tiles + columns - 1) / columns));
    let largest = grids.max_by_key(|&(columns, rows)| {
        let cell = Size::new((room.width / columns).max(1), (room.height / rows).max(1));
        let shown = within(picture, cell);
        // Of two that are as good, the one with fewer columns.
        (i64::from(shown.width) * i64::from(shown.height), -columns)
    });
    largest.unwrap_or((1, 1))
}

/// The size of the largest picture.
fn largest(tiles: &[Tile<'_>]) -> Size {
    let sizes = tiles.iter().filter_map(|tile| tile.picture).map(size);
    sizes
        .reduce(|a, b| Size::new(a.width.max(b.width), a.height.max(b.height)))
        .unwrap_or(Size::new(16, 9))
}

fn size(picture: &Picture) -> Size {
    Size::new(picture.shape.width(), picture.shape.height())
}

/// The size of a canvas on which no picture is made smaller.
pub(super) fn natural(tiles: &[Tile<'_>]) -> Size {
    let picture = largest(tiles);
    // The proportions of most screens.
    let (columns, rows) = grid(tiles.len(), picture, Size::new(1600, 900));
    Size::new(
        picture.width.saturating_mul(columns),
        picture.height.saturating_mul(rows),
    )
}

/// Pictures side by side as one, each at most as large as it is, all together at most this large.
/// A single one stays as it is.
pub(crate) fn mosaic(tiles: &[Tile<'_>], most: Size) -> Result<Mat> {
    let natural = natural(tiles);
    let room = if natural.width > most.width || natural.height > most.height {
        within(natural, most)
    } else {
        natural
    };
    Ok(compose(tiles, room, Look::default())?.0)
}

/// A canvas of a size with all tiles on it, four bytes to the pixel, blue first, and where the
/// pictures are.
pub(super) fn compose(tiles: &[Tile<'_>], room: Size, look: Look) -> Result<(Mat, Vec<Placed>)> {
    let mut canvas = Mat::new_size_with_default(room, CV_8UC4, Scalar::new(0.0, 0.0, 0.0, 255.0))?;
    let (columns, rows) = grid(tiles.len(), largest(tiles), room);
    let mut placed = Vec::new();
    for (number, tile) in (0..).zip(tiles) {
        let cell = cell(number % columns, number / columns, columns, rows, room);
        let place = match tile.picture {
            Some(picture) => draw(picture, look, cell, &mut canvas)?,
            None => Placed {
                part: Rect::default(),
                picture: Size::new(1, 1),
                on: Rect::new(cell.x, cell.y, 0, 0),
            },
        };
        let on = if tile.picture.is_some() {
            place.on
        } else {
            cell
        };
        if !tile.caption.is_empty() {
            write(tile.caption, on, &mut canvas)?;
        }
        placed.push(place);
    }
    Ok((canvas, placed))
}

fn cell(column: i32, row: i32, columns: i32, rows: i32, room: Size) -> Rect {
    let edge = |number: i32, of: i32, length: i32| number * length / of;
    let (left, right) = (
        edge(column, columns, room.width),
        edge(column + 1, columns, room.width),
    );
    let (top, bottom) = (
        edge(row, rows, room.height),
        edge(row + 1, rows, room.height),
    );
    Rect::new(left, top, (right - left).max(1), (bottom - top).max(1))
}

/// Draws a part of a picture in the middle of a cell.
fn draw(picture: &Picture, look: Look, cell: Rect, canvas: &mut Mat) -> Result<Placed> {
    let whole = size(picture);
    let part = look.part(whole);
    let shown = within(part.size(), cell.size());
    let on = Rect::new(
        cell.x + (cell.width - shown.width) / 2,
        cell.y + (cell.height - shown.height) / 2,
        shown.width,
        shown.height,
    );
    let image = picture::view(picture.pixels(), picture.shape)?;
    let image = Mat::roi(&image, part)?;
    let interpolation = if shown.width > part.width {
        // Pixels that are looked at closely are to be told apart.
        imgproc::INTER_NEAREST
    } else {
        imgproc::INTER_AREA
    };
    let mut scaled = Mat::default();
    imgproc::resize(&image, &mut scaled, shown, 0.0, 0.0, interpolation)?;
    let mut place = Mat::roi_mut(canvas, on)?;
    match scaled.channels() {
        1 => imgproc::cvt_color_def(&scaled, &mut place, imgproc::COLOR_GRAY2BGRA)?,
        3 => imgproc::cvt_color_def(&scaled, &mut place, imgproc::COLOR_BGR2BGRA)?,
        _ => scaled.copy_to(&mut place)?,
    }
    Ok(Placed {
        part,
        picture: whole,
        on,
    })
}

/// The largest size of a picture's proportions that fits in the room.
pub(super) fn within(picture: Size, room: Size) -> Size {
    let scale = (f64::from(room.width) / f64::from(picture.width))
        .min(f64::from(room.height) / f64::from(picture.height));
    let scaled = |side, room: i32| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "no larger than the room's side"
        )]
        let scaled = (f64::from(side) * scale).round() as i32;
        scaled.clamp(1, room.max(1))
    };
    Size::new(
        scaled(picture.width, room.width),
        scaled(picture.height, room.height),
    )
}

/// Writes lines at the top of a part of the canvas, smaller if they do not fit, on a dark ground.
fn write(text: &str, on: Rect, canvas: &mut Mat) -> Result<()> {
    const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;
    const SCALE: f64 = 0.5;
    const MARGIN: i32 = 6;
    let mut canvas = Mat::roi_mut(canvas, on)?;
    let mut below = 0;
    for line in text.lines() {
        let natural = imgproc::get_text_size(line, FONT, SCALE, 1, &mut 0)?;
        let room = f64::from(on.width - 2 * MARGIN);
        let scale = SCALE * (room / f64::from(natural.width.max(1))).clamp(0.3, 1.0);
        let text = imgproc::get_text_size(line, FONT, scale, 1, &mut 0)?;
        let ground = Rect::new(
            0,
            below,
            (text.width + 2 * MARGIN).min(on.width),
            (text.height + 2 * MARGIN).min(on.height - below),
        );
        if ground.height <= 0 {
            break;
        }
        let opaque = |level| Scalar::new(level, level, level, 255.0);
        imgproc::rectangle(
            &mut canvas,
            ground,
            opaque(0.0),
            imgproc::FILLED,
            imgproc::LINE_8,
            0,
        )?;
        imgproc::put_text(
            &mut canvas,
            line,
            Point::new(MARGIN, below + MARGIN + text.height),
            FONT,
            scale,
            opaque(255.0),
            1,
            imgproc::LINE_AA,
            false,
        )?;
        below += ground.height;
    }
    Ok(())
}
