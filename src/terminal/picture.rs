//! A picture as a terminal takes it: as an image, where it knows a protocol for that, else as half
//! blocks in colour, or as letters without.

use std::env;

use anstyle_lossy::rgb_to_xterm;
use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Size as Sides, Vec3b, Vector};
use opencv::{imgcodecs, imgproc};

use super::tty::{Colours, Size, Tty};
use crate::picture::{self as image, Picture};

/// The least room for a picture, in cells.
const LEAST: (usize, usize) = (4, 2);
/// What a cell is taken for if the terminal does not say, in pixels.
const CELL: (usize, usize) = (8, 16);
/// The longest side of an image that a terminal is sent, in pixels: xterm draws no larger one.
const LONGEST: usize = 1000;

/// Variables of programs that are a terminal inside another one. Inside them the other variables
/// may be those of the terminal outside, and no image gets there. tmux 3.5 even says that it draws
/// sixels, and makes kitty's question the pane's title.
const NESTED: [&str; 6] = [
    "TMUX",
    "STY",
    "ZELLIJ",
    "VIM_TERMINAL",
    "NVIM",
    "INSIDE_EMACS",
];
/// What GNU screen and tmux say they are: the codes of S and T.
const GNU_SCREEN: &str = "83";
const TMUX: &str = "84";

/// Draws pictures in one terminal's way.
#[derive(Debug)]
pub(crate) struct Painter {
    way: Way,
    /// What makes the last picture go, where writing over it does not.
    erase: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// <https://sw.kovidgoyal.net/kitty/graphics-protocol/>, with the image's number.
    Kitty(u32),
    /// <https://iterm2.com/documentation-images.html>
    Iterm,
    /// Those of DEC's terminals, six rows to a letter.
    Sixel,
    /// Two pixels to a cell.
    HalfBlocks(Colours),
    /// One pixel to a cell, dark to light.
    Letters,
}

impl Painter {
    /// Asks the terminal what it can.
    pub(crate) fn choose(tty: &Tty) -> Self {
        let way = Way::choose(tty);
        let erase = match way {
            Way::Kitty(id) => format!("\x1b_Ga=d,d=i,i={id},q=2\x1b\\"),
            _ => String::new(),
        };
        Self { way, erase }
    }

    pub(crate) fn erase(&self) -> &str {
        &self.erase
    }

    /// The rows that a picture takes, and what draws it and goes to the line below. `None`: there
    /// is no room for one.
    pub(crate) fn paint(&self, picture: &Picture, size: Size) -> Option<(usize, Vec<u8>)> {
        if size.columns < LEAST.0 || size.rows < LEAST.1 {
            return None;
        }
        let mut bytes = Vec::new();
        // Fails for frames that OpenCV cannot scale, if there are any.
        let height = self.paint_into(&mut bytes, picture, size).ok()?;
        Some((height, bytes))
    }

    fn paint_into(&self, out: &mut Vec<u8>, picture: &Picture, size: Size) -> Result<usize> {
        let cell = size.cell.unwrap_or(CELL);
        let dots = match self.way {
            Way::HalfBlocks(_) => (1, 2),
            Way::Letters => (1, 1),
            Way::Kitty(_) | Way::Iterm | Way::Sixel => cell,
        };
        let limit = if dots == cell { LONGEST } else { usize::MAX };
        let room = (
            (size.columns * dots.0).min(limit),
            (size.rows * dots.1).min(limit),
        );
        let shape = (
            usize::try_from(picture.shape.width())?,
            usize::try_from(picture.shape.height())?,
        );
        // A dot's sides in pixels of the screen are cell / dots.
        let (mut width, mut height) = fit(shape, room, (cell.0 * dots.1, cell.1 * dots.0));
        match self.way {
            // A terminal scales these itself: no more than the frame's own pixels.
            Way::Kitty(_) | Way::Iterm => {
                let cells = (width.div_ceil(cell.0), height.div_ceil(cell.1));
                (width, height) = (width.min(shape.0), height.min(shape.1));
                let scaled = scale(picture, width, height)?;
                if let Way::Kitty(id) = self.way {
                    kitty(out, &encode(&scaled, ".png")?, id, cells);
                } else {
                    iterm(out, &encode(&scaled, ".jpg")?, cells);
                }
                below(out, cells.1);
                Ok(cells.1)
            }
            Way::Sixel => {
                // Whole letters: what a last one draws below would scroll.
                height = (height / 6 * 6).max(6);
                sixel(out, scale(picture, width, height)?.data_typed()?, width);
                let rows = height.div_ceil(cell.1);
                below(out, rows);
                Ok(rows)
            }
            Way::HalfBlocks(colours) => {
                half_blocks(
                    out,
                    scale(picture, width, height)?.data_typed()?,
                    width,
                    colours,
                );
                Ok(height.div_ceil(2))
            }
            Way::Letters => {
                letters(out, scale(picture, width, height)?.data_typed()?, width);
                Ok(height)
            }
        }
    }
}

impl Way {
    fn choose(tty: &Tty) -> Self {
        let variable = |name| env::var(name).unwrap_or_default();
        let colours = tty.colours();
        if !colours.any() {
            return Self::Letters;
        }
        let blocks = Self::HalfBlocks(colours);
        let (term, program) = (variable("TERM"), variable("TERM_PROGRAM"));
        let nested = NESTED.iter().any(|name| !variable(name).is_empty())
            || ["tmux", "screen"].iter().any(|name| term.starts_with(name))
            || program == "tmux";
        // Old kernels print the question.
        if nested || term == "linux" {
            return blocks;
        }
        // Which terminal it is, and what it can: every terminal answers the second question. The
        // first one finds a tmux or GNU screen on the other side of ssh, which hides its variables.
        let answer = tty.ask("\x1b[>c\x1b[c", |answer| attributes(answer, '?').is_some());
        let kind = attributes(&answer, '>').unwrap_or_default();
        if [GNU_SCREEN, TMUX].contains(&kind.split(';').next().unwrap_or_default()) {
            return blocks;
        }
        let program = program + &variable("LC_TERMINAL");
        if ["iTerm", "WezTerm", "mintty"]
            .iter()
            .any(|name| program.contains(name))
        {
            return Self::Iterm;
        }
        let Some(abilities) = attributes(&answer, '?') else {
            return blocks;
        };
        let question = "\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c";
        let answer = tty.ask(question, |answer| attributes(answer, '?').is_some());
        if answer.contains("_Gi=31;OK") {
            return Self::Kitty(std::process::id());
        }
        let sixel = abilities.split(';').any(|ability| ability == "4");
        if sixel && tty.size().cell.is_some() {
            return Self::Sixel;
        }
        blocks
    }
}

/// The attributes in a terminal's answer, `CSI kind attributes c`, when all of it is there.
fn attributes(answer: &str, kind: char) -> Option<&str> {
    let (_, rest) = answer.split_once(&format!("\x1b[{kind}"))?;
    rest.split_once('c').map(|(attributes, _)| attributes)
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
fn scale(picture: &Picture, width: usize, height: usize) -> Result<Mat> {
    let sides = Sides::new(width.try_into()?, height.try_into()?);
    let frame = image::view(picture.pixels(), picture.shape)?;
    let mut scaled = Mat::default();
    imgproc::resize(&frame, &mut scaled, sides, 0.0, 0.0, imgproc::INTER_AREA)?;
    let code = match scaled.channels() {
        1 => imgproc::COLOR_GRAY2BGR,
        4 => imgproc::COLOR_BGRA2BGR,
        _ => return Ok(scaled),
    };
    let mut bgr = Mat::default();
    imgproc::cvt_color_def(&scaled, &mut bgr, code)?;
    Ok(bgr)
}

fn encode(image: &Mat, kind: &str) -> Result<Vec<u8>> {
    // As little as there is to compute: the next picture is due.
    let fast = Vector::from_slice(&[imgcodecs::IMWRITE_PNG_COMPRESSION, 1]);
    let mut encoded = Vector::<u8>::new();
    if !imgcodecs::imencode(kind, image, &mut encoded, &fast)? {
        bail!("OpenCV cannot encode it");
    }
    Ok(encoded.into())
}

fn kitty(out: &mut Vec<u8>, png: &[u8], id: u32, cells: (usize, usize)) {
    // As long as a piece may be.
    const PIECE: usize = 4096;
    let text = STANDARD.encode(png);
    let pieces = text.as_bytes().chunks(PIECE);
    let last = pieces.len() - 1;
    for (i, piece) in pieces.enumerate() {
        let (columns, rows) = cells;
        let more = u8::from(i < last);
        let keys = if i == 0 {
            // Quiet, and in the place of the last image of that number; the cursor stays.
            format!("a=T,f=100,i={id},p=1,c={columns},r={rows},C=1,q=2,")
        } else {
            String::new()
        };
        out.extend_from_slice(format!("\x1b_G{keys}m={more};").as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\x1b\\");
    }
}

fn iterm(out: &mut Vec<u8>, jpeg: &[u8], cells: (usize, usize)) {
    let (columns, rows) = cells;
    let (len, text) = (jpeg.len(), STANDARD.encode(jpeg));
    let command = format!(
        "\x1b7\x1b]1337;File=inline=1;size={len};width={columns};height={rows};preserveAspectRatio=0:{text}\x07\x1b8"
    );
    out.extend_from_slice(command.as_bytes());
}

/// Levels of each of red, green and blue: 216 colours, of the 256 that terminals have for this.
const LEVELS: usize = 6;
/// What is added before rounding down to a level, in 16ths of one: it blends neighbours to the
/// colours between.
const DITHER: [[usize; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];

fn sixel(out: &mut Vec<u8>, pixels: &[Vec3b], width: usize) {
    let height = pixels.len() / width;
    out.extend_from_slice(format!("\x1b7\x1bP0;1q\"1;1;{width};{height}").as_bytes());
    for colour in 0..LEVELS.pow(3) {
        let percent = |level| level % LEVELS * 100 / (LEVELS - 1);
        let (red, green, blue) = (
            percent(colour / LEVELS / LEVELS),
            percent(colour / LEVELS),
            percent(colour),
        );
        out.extend_from_slice(format!("#{colour};2;{red};{green};{blue}").as_bytes());
    }
    let mut masks = vec![vec![0_u8; width]; LEVELS.pow(3)];
    for (band, rows) in pixels.chunks(6 * width).enumerate() {
        let mut used = vec![false; masks.len()];
        for (y, row) in rows.chunks(width).enumerate() {
            for (x, bgr) in row.iter().enumerate() {
                let level = |value: u8| {
                    let dither = DITHER[(band * 6 + y) % 4][x % 4];
                    (usize::from(value) * (LEVELS - 1) * 16 / 255 + dither) / 16
                };
                let colour = (level(bgr[2]) * LEVELS + level(bgr[1])) * LEVELS + level(bgr[0]);
                masks[colour][x] |= 1 << y;
                used[colour] = true;
            }
        }
        for (colour, mask) in masks
            .iter_mut()
            .enumerate()
            .filter(|(colour, _)| used[*colour])
        {
            out.extend_from_slice(format!("#{colour}").as_bytes());
            for run in mask.chunk_by(|a, b| a == b) {
                let letter = 63 + run[0];
                if run.len() > 3 {
                    out.extend_from_slice(format!("!{}", run.len()).as_bytes());
                    out.push(letter);
                } else {
                    out.extend(std::iter::repeat_n(letter, run.len()));
                }
            }
            out.push(b'$');
            mask.fill(0);
        }
        out.push(b'-');
    }
    out.extend_from_slice(b"\x1b\\\x1b8");
}

/// To the beginning of the line that many rows below, which are there.
fn below(out: &mut Vec<u8>, rows: usize) {
    out.push(b'\r');
    out.extend(std::iter::repeat_n(b'\n', rows));
}

fn half_blocks(out: &mut Vec<u8>, pixels: &[Vec3b], width: usize, colours: Colours) {
    let code = |ground: u8, bgr: Vec3b| {
        let [b, g, r] = bgr.0;
        if colours == Colours::True {
            format!("\x1b[{ground}8;2;{r};{g};{b}m")
        } else {
            format!("\x1b[{ground}8;5;{}m", rgb_to_xterm((r, g, b).into()).0)
        }
    };
    let rows: Vec<_> = pixels.chunks(width).collect();
    for pair in rows.chunks(2) {
        let mut last = (None, None);
        for x in 0..width {
            let (upper, lower) = (pair[0][x], pair.get(1).map(|row| row[x]));
            if last.0 != Some(upper) {
                out.extend_from_slice(code(3, upper).as_bytes());
            }
            if let Some(lower) = lower
                && last.1 != Some(lower)
            {
                out.extend_from_slice(code(4, lower).as_bytes());
            }
            out.extend_from_slice("▀".as_bytes());
            last = (Some(upper), lower);
        }
        out.extend_from_slice(b"\x1b[0m\x1b[K\r\n");
    }
}

fn letters(out: &mut Vec<u8>, pixels: &[Vec3b], width: usize) {
    const DARK_TO_LIGHT: &[u8] = b" .:-=+*#%@";
    for row in pixels.chunks(width) {
        out.extend(row.iter().map(|bgr| {
            let [b, g, r] = bgr.0.map(usize::from);
            let light = (r * 299 + g * 587 + b * 114) / 1000;
            DARK_TO_LIGHT[light * DARK_TO_LIGHT.len() / 256]
        }));
        out.extend_from_slice(b"\x1b[K\r\n");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shm_frame::Shape;
    use shm_frame::{Format, Size as Pixels};

    use super::*;

    const SIZE: Size = Size {
        columns: 40,
        rows: 10,
        cell: Some((8, 16)),
    };

    fn paint(way: Way, width: u32, height: u32) -> (usize, String) {
        let shape = Shape::new(Pixels { width, height }, Format::BGR8).unwrap();
        // As many different pixels as there can be: what is encoded is long.
        let mut random = 1_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        };
        let pixels: Vec<u8> = std::iter::repeat_with(&mut next)
            .take(shape.bytes())
            .collect();
        let picture = Picture::new(Arc::new(pixels), shape);
        let erase = String::new();
        let (rows, bytes) = Painter { way, erase }.paint(&picture, SIZE).unwrap();
        (rows, String::from_utf8(bytes).unwrap())
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
                Way::Kitty(1),
                Way::Iterm,
                Way::Sixel,
                Way::HalfBlocks(Colours::True),
                Way::HalfBlocks(Colours::Palette),
                Way::Letters,
            ] {
                let (rows, text) = paint(way, width, height);
                assert!(
                    (1..=SIZE.rows).contains(&rows),
                    "{way:?} {width}x{height}: {rows} rows"
                );
                // The cursor ends below it.
                assert_eq!(text.matches('\n').count(), rows, "{way:?} {width}x{height}");
            }
        }
    }

    #[test]
    fn an_image_for_kitty_comes_in_pieces_that_are_one_png() {
        let (_, text) = paint(Way::Kitty(7), 300, 150);
        let pieces: Vec<_> = text
            .split("\x1b\\")
            .filter_map(|piece| piece.strip_prefix("\x1b_G")?.split_once(';'))
            .collect();
        assert!(pieces.len() > 2);
        let (first, _) = pieces[0];
        assert!(
            first.starts_with("a=T,f=100,i=7,") && first.contains("c=40,r=10"),
            "{first}"
        );
        for (i, (keys, data)) in pieces.iter().enumerate() {
            let more = u8::from(i + 1 < pieces.len());
            assert!(keys.ends_with(&format!("m={more}")), "{keys}");
            assert!(data.len() <= 4096);
        }
        let data: String = pieces.iter().map(|(_, data)| *data).collect();
        assert!(STANDARD.decode(data).unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn an_image_for_iterm_is_a_jpeg_of_the_length_that_is_said() {
        let (_, text) = paint(Way::Iterm, 300, 150);
        let (keys, data) = text.split_once(':').unwrap();
        let jpeg = STANDARD.decode(data.split('\x07').next().unwrap()).unwrap();
        assert!(jpeg.starts_with(b"\xff\xd8"));
        assert!(
            keys.contains(&format!(";size={};width=40;height=10;", jpeg.len())),
            "{keys}"
        );
    }

    #[test]
    fn there_is_no_picture_where_there_is_no_room() {
        let size = Pixels {
            width: 1,
            height: 1,
        };
        let shape = Shape::new(size, Format::BGR8).unwrap();
        let picture = Picture::new(Arc::new(vec![0; 3]), shape);
        let painter = Painter {
            way: Way::Letters,
            erase: String::new(),
        };
        for (columns, rows) in [(0, 0), (3, 10), (10, 1)] {
            assert!(
                painter
                    .paint(
                        &picture,
                        Size {
                            columns,
                            rows,
                            cell: None
                        }
                    )
                    .is_none()
            );
        }
    }
}
