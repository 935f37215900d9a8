//! A picture as an image, where a terminal knows a protocol for that.

use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opencv::core::{Mat, MatTraitConst, MatTraitConstManual, Vec3b, Vector};
use opencv::imgcodecs;

use super::colour;
use super::picture::resize;
use crate::picture::load_codecs;

/// Images are this many times smaller on each side than they could be, if the link is slow.
const COARSE: [usize; 8] = [1, 2, 3, 4, 6, 8, 12, 16];

/// The protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// With the image's number.
    Kitty(u32),
    Iterm,
    Sixel,
}

/// Draws images, and knows what is on the glass.
#[derive(Debug)]
pub(super) struct Imager {
    protocol: Protocol,
    /// The pixels on the glass, and how coarse they are.
    glass: Option<(Vec<u8>, usize)>,
    coarse: usize,
}

impl Imager {
    pub(super) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            glass: None,
            coarse: 0,
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(super) fn forget(&mut self) {
        self.glass = None;
    }

    /// What makes the last image go, where writing over it does not.
    pub(super) fn erase(&self) -> String {
        match self.protocol {
            Protocol::Kitty(id) => format!("\x1b_Ga=d,d=i,i={id},q=2\x1b\\"),
            Protocol::Iterm | Protocol::Sixel => String::new(),
        }
    }

    /// The bytes that draw an image over the last one, and go to the line below.
    pub(super) fn paint(
        &mut self,
        image: &Mat,
        cells: (usize, usize),
        budget: usize,
    ) -> Result<Vec<u8>> {
        let pixels = image.data_bytes()?;
        let same = self.glass.as_ref().filter(|(old, _)| old == pixels);
        let on_glass = same.map(|&(_, coarse)| coarse);
        let mut bytes = Vec::new();
        let finer = self.coarse.saturating_sub(1);
        for (coarse, &times) in COARSE.iter().enumerate().skip(finer) {
            // The same image again, only if it becomes finer.
            if on_glass.is_some_and(|on_glass| on_glass <= coarse) {
                bytes.clear();
                break;
            }
            bytes = self.encode(image, cells, times)?;
            // Finer only if there is room to spare, so that it is not coarse the next time.
            let room = if coarse < self.coarse {
                budget / 4 * 3
            } else {
                budget
            };
            if bytes.len() <= room || coarse + 1 == COARSE.len() {
                self.coarse = coarse;
                self.glass = Some((pixels.to_vec(), coarse));
                break;
            }
        }
        bytes.push(b'\r');
        bytes.extend(std::iter::repeat_n(b'\n', cells.1));
        Ok(bytes)
    }

    fn encode(&self, image: &Mat, cells: (usize, usize), coarse: usize) -> Result<Vec<u8>> {
        let size = image.size()?;
        let smaller = |pixels: i32| (pixels / i32::try_from(coarse).unwrap_or(1)).max(1);
        let small = if coarse == 1 {
            image.try_clone()?
        } else {
            resize(image, smaller(size.width), smaller(size.height))?
        };
        let mut out = Vec::new();
        match self.protocol {
            // A terminal scales these itself.
            Protocol::Kitty(id) => kitty(&mut out, &file(&small, ".png")?, id, cells),
            Protocol::Iterm => iterm(&mut out, &file(&small, ".jpg")?, cells),
            Protocol::Sixel => {
                let sides = (usize::try_from(size.width)?, usize::try_from(size.height)?);
                sixel(&mut out, &small, sides, coarse)?;
            }
        }
        Ok(out)
    }
}

fn file(image: &Mat, kind: &str) -> Result<Vec<u8>> {
    load_codecs()?;
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

/// `sides`: of the image on the glass. Each pixel of `small` is `coarse` pixels wide and high
/// there.
fn sixel(out: &mut Vec<u8>, small: &Mat, sides: (usize, usize), coarse: usize) -> Result<()> {
    let (width, height) = sides;
    out.extend_from_slice(format!("\x1b7\x1bP0;1q\"1;1;{width};{height}").as_bytes());
    let columns = usize::try_from(small.size()?.width)?;
    let pixels: &[Vec3b] = small.data_typed()?;
    let rows = pixels.len() / columns;
    let mut masks = vec![vec![0_u8; width]; LEVELS.pow(3)];
    let mut told = vec![false; masks.len()];
    for band in 0..height.div_ceil(6) {
        let mut used = vec![false; masks.len()];
        for y in 0..6.min(height - 6 * band) {
            let row = ((6 * band + y) / coarse).min(rows - 1);
            for x in (0..width).rev() {
                let column = (x / coarse).min(columns - 1);
                let level = |value: u8| {
                    let dither = colour::order((column, row));
                    (usize::from(value) * (LEVELS - 1) * 16 / 255 + dither) / 16
                };
                let [b, g, r] = pixels[row * columns + column].0.map(level);
                let colour = (r * LEVELS + g) * LEVELS + b;
                masks[colour][x] |= 1 << y;
                used[colour] = true;
            }
        }
        for colour in (0..masks.len()).filter(|&colour| used[colour]) {
            out.extend_from_slice(format!("#{colour}").as_bytes());
            if !std::mem::replace(&mut told[colour], true) {
                let percent = |level| level % LEVELS * 100 / (LEVELS - 1);
                let (red, green, blue) = (
                    percent(colour / LEVELS / LEVELS),
                    percent(colour / LEVELS),
                    percent(colour),
                );
                out.extend_from_slice(format!(";2;{red};{green};{blue}#{colour}").as_bytes());
            }
            for run in masks[colour].chunk_by(|a, b| a == b) {
                let letter = 63 + run[0];
                if run.len() > 3 {
                    out.extend_from_slice(format!("!{}", run.len()).as_bytes());
                    out.push(letter);
                } else {
                    out.extend(std::iter::repeat_n(letter, run.len()));
                }
            }
            out.push(b'$');
            masks[colour].fill(0);
        }
        out.push(b'-');
    }
    out.extend_from_slice(b"\x1b\\\x1b8");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As many different pixels as there can be: what is encoded is long.
    fn noise(width: i32, height: i32) -> Mat {
        let mut random = 1_u32;
        let mut next = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random.to_be_bytes()[0]
        };
        let count = usize::try_from(width * height).unwrap();
        let pixels: Vec<_> = std::iter::repeat_with(|| Vec3b::from([next(), next(), next()]))
            .take(count)
            .collect();
        let image = Mat::new_rows_cols_with_data(height, width, &pixels).unwrap();
        image.try_clone().unwrap()
    }

    fn paint(protocol: Protocol) -> String {
        let image = noise(300, 150);
        let bytes = Imager::new(protocol).paint(&image, (40, 10), usize::MAX);
        String::from_utf8(bytes.unwrap()).unwrap()
    }

    #[test]
    fn an_image_for_kitty_comes_in_pieces_that_are_one_png() {
        let text = paint(Protocol::Kitty(7));
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
        let text = paint(Protocol::Iterm);
        let (keys, data) = text.split_once(':').unwrap();
        let jpeg = STANDARD.decode(data.split('\x07').next().unwrap()).unwrap();
        assert!(jpeg.starts_with(b"\xff\xd8"));
        assert!(
            keys.contains(&format!(";size={};width=40;height=10;", jpeg.len())),
            "{keys}"
        );
    }

    #[test]
    fn an_image_keeps_to_its_budget_and_is_not_sent_twice() {
        let image = noise(600, 300);
        for protocol in [Protocol::Kitty(7), Protocol::Iterm, Protocol::Sixel] {
            let mut imager = Imager::new(protocol);
            let mut paint = |budget| imager.paint(&image, (40, 10), budget).unwrap().len();
            let all = paint(usize::MAX);
            assert!(all > 50_000);
            assert_eq!(paint(usize::MAX), 11, "{protocol:?}");
            imager.forget();
            let mut paint = |budget| imager.paint(&image, (40, 10), budget).unwrap().len();
            let some = paint(all / 3);
            assert!(
                (1000..=all / 3 + 11).contains(&some),
                "{protocol:?}: {some} of {all}"
            );
            // It becomes finer when the link allows.
            while paint(usize::MAX) > 11 {}
            assert_eq!(imager.coarse, 0, "{protocol:?}");
            assert_eq!(image.rows(), 300);
        }
    }
}
