//! Pictures of files, decoded in private memory: a decoder of foreign files never writes into
//! shared memory.
//!
//! PNG is decoded by the crate `png`, which keeps 16 bits and transparency and prints nothing. PAM
//! is decoded here: OpenCV writes beyond the end of a PAM of two channels. So is BMP with masks,
//! for which OpenCV looks in the wrong place. All else OpenCV decodes.

use std::io::Cursor;

use anyhow::{Context, Result, bail, ensure};
use opencv::core::{self, Mat, MatTraitConst, MatTraitConstManual, Vector};
use opencv::{imgcodecs, imgproc};
use shm_frame::{Channels, Element, Format, Order, Shape, Size};

use super::whole;
use crate::picture;

/// The most pixels of a picture: OpenCV's limit.
const MOST_PIXELS: u64 = 1 << 30;

/// How a PNG begins.
pub(super) const PNG: &[u8] = b"\x89PNG";

/// The form in which pictures are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// 1 gray, 3 BGR, 4 BGRA.
    pub channels: u8,
    /// 8 bits, whatever the file has.
    pub eight_bit: bool,
}

/// A picture in the form that was wanted.
#[derive(Debug)]
pub(super) struct Decoded {
    pub pixels: Vec<u8>,
    pub shape: Shape,
    /// What the user should know of it; empty for nothing.
    pub note: String,
}

/// A picture as its file has it.
struct Raw {
    pixels: Vec<u8>,
    shape: Shape,
    /// The value that is white, if the file says so.
    white: Option<f64>,
    note: String,
}

/// Decodes the bytes of a file.
pub(super) fn decode(file: &[u8], wanted: Wanted) -> Result<Decoded> {
    ensure!(!file.is_empty(), "is empty");
    if file.starts_with(b"GIF8") {
        bail!("is a GIF, which is a film: use --video");
    }
    let raw = if file.starts_with(b"P7") {
        pam(file)?
    } else {
        whole::check(file)?;
        if file.starts_with(PNG) {
            png(file)?
        } else if let Some(masked) = masked_bmp(file)? {
            masked
        } else {
            opencv(file, wanted)?
        }
    };
    let Raw {
        pixels,
        shape,
        white,
        mut note,
    } = raw;
    let (pixels, shape) = with_channels(pixels, shape, wanted.channels)?;
    if !wanted.eight_bit || shape.format().element() == Element::U8 {
        return Ok(Decoded {
            pixels,
            shape,
            note,
        });
    }
    let (pixels, shape, scaled) = to_eight_bit(&pixels, shape, white)?;
    if !note.is_empty() {
        note += ", ";
    }
    Ok(Decoded {
        pixels,
        shape,
        note: note + &scaled,
    })
}

/// Fails for sizes that are none, or too large.
fn size(width: u64, height: u64) -> Result<Size> {
    let pixels = width.saturating_mul(height);
    ensure!(
        pixels <= MOST_PIXELS,
        "is {width}x{height}, {pixels} pixels: the limit is {MOST_PIXELS}"
    );
    Ok(Size {
        width: width.try_into()?,
        height: height.try_into()?,
    })
}

fn png(file: &[u8]) -> Result<Raw> {
    let mut decoder = png::Decoder::new(Cursor::new(file));
    // A palette becomes colours, transparent colours become alpha, fewer than 8 bits become 8.
    decoder.set_transformations(png::Transformations::EXPAND);
    decoder.ignore_checksums(false);
    let mut reader = decoder.read_info().context("is no PNG that can be read")?;
    let (width, height) = (reader.info().width, reader.info().height);
    let size = size(width.into(), height.into())?;
    let (colour, depth) = reader.output_color_type();
    let channels = match colour {
        png::ColorType::Grayscale | png::ColorType::Indexed => Channels::One,
        png::ColorType::GrayscaleAlpha => Channels::Two,
        png::ColorType::Rgb => Channels::Three,
        png::ColorType::Rgba => Channels::Four,
    };
    let element = match depth {
        png::BitDepth::Sixteen => Element::U16,
        _ => Element::U8,
    };
    let format = Format::new(element, channels);
    let shape = Shape::new(size, format)?;
    let mut pixels = vec![0; shape.bytes()];
    reader
        .next_frame(&mut pixels)
        .context("is no PNG that can be decoded")?;
    if element == Element::U16 {
        swap_bytes(&mut pixels);
    }
    picture::swap_red_and_blue(&mut pixels, format);
    Ok(Raw {
        pixels,
        shape,
        white: None,
        note: String::new(),
    })
}

/// Big-endian to little-endian, 16 bits.
fn swap_bytes(pixels: &mut [u8]) {
    for pair in pixels.chunks_exact_mut(2) {
        pair.swap(0, 1);
    }
}

/// The portable arbitrary map: lines of a keyword and a value, then the samples (pam(5)).
fn pam(file: &[u8]) -> Result<Raw> {
    let (mut width, mut height, mut depth, mut most) = (0, 0, 0, 0);
    let mut at = 0;
    loop {
        let rest = &file[at..];
        let end = rest.iter().position(|&byte| byte == b'\n');
        let end = end.context("is a PAM without an end of its header")?;
        let line = std::str::from_utf8(&rest[..end])?.trim();
        at += end + 1;
        let mut words = line.split_whitespace();
        let (word, value) = (words.next().unwrap_or_default(), words.next());
        let number = || {
            let number = value.and_then(|value| value.parse::<u64>().ok());
            number.with_context(|| format!("is a PAM with {line:?}, which is no number"))
        };
        match word {
            "WIDTH" => width = number()?,
            "HEIGHT" => height = number()?,
            "DEPTH" => depth = number()?,
            "MAXVAL" => most = number()?,
            "ENDHDR" => break,
            _ => {}
        }
    }
    let channels = usize::try_from(depth).ok().and_then(Channels::new);
    let channels = channels.with_context(|| format!("is a PAM of {depth} channels, not 1 to 4"))?;
    ensure!(
        (1..=65_535).contains(&most),
        "is a PAM whose MAXVAL is {most}, not 1 to 65535"
    );
    let element = if most < 256 {
        Element::U8
    } else {
        Element::U16
    };
    let format = Format::new(element, channels);
    let shape = Shape::new(size(width, height)?, format)?;
    let pixels = file[at..].get(..shape.bytes());
    let mut pixels = pixels
        .with_context(|| {
            let there = file.len() - at;
            format!(
                "breaks off: {there} of {} bytes of pixels are there",
                shape.bytes()
            )
        })?
        .to_vec();
    if element == Element::U16 {
        swap_bytes(&mut pixels);
    }
    picture::swap_red_and_blue(&mut pixels, format);
    #[expect(clippy::cast_precision_loss, reason = "at most 65535")]
    let white = most as f64;
    if element == Element::U8 && most < 255 {
        // Black and white, or fewer grays: as bright as they are meant.
        for level in &mut pixels {
            let scaled = u64::from(*level).min(most) * 255 / most;
            *level = u8::try_from(scaled).unwrap_or(u8::MAX);
        }
    }
    Ok(Raw {
        pixels,
        shape,
        white: Some(white),
        note: String::new(),
    })
}

/// A BMP whose header says by masks where the colours are in the 16 or 32 bits of a pixel, as GIMP
/// and `ImageMagick` write it. `None`: another file.
fn masked_bmp(file: &[u8]) -> Result<Option<Raw>> {
    const MASKS: [u32; 2] = [3, 6];
    let word = |at: usize| {
        let bytes = file.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let header = || {
        let begin = word(10)?;
        // The masks are at the same place, behind the oldest header or in a later one.
        let masks = [word(62)?, word(58)?, word(54)?];
        // Only later headers have one for alpha.
        let alpha = if word(14)? >= 56 { word(66)? } else { 0 };
        Some((
            begin,
            [word(18)?, word(22)?],
            word(28)? & 0xffff,
            word(30)?,
            masks,
            alpha,
        ))
    };
    let Some((begin, [width, height], bits, packing, masks, alpha)) =
        header().filter(|_| file.starts_with(b"BM"))
    else {
        return Ok(None);
    };
    if !MASKS.contains(&packing) || !matches!(bits, 16 | 32) {
        return Ok(None);
    }
    // Rows from top to bottom have a negative height.
    let height = height.cast_signed();
    let size = size(width.into(), height.unsigned_abs().into())?;
    let channels = if alpha == 0 {
        Channels::Three
    } else {
        Channels::Four
    };
    let shape = Shape::new(size, Format::new(Element::U8, channels))?;
    let stride = (width as usize * bits as usize).div_ceil(32) * 4;
    let rows = file.get(begin as usize..).unwrap_or_default();
    let rows = rows.chunks(stride).take(size.height as usize);
    let mut pixels = Vec::with_capacity(shape.bytes());
    let mut add_row = |row: &[u8]| {
        for pixel in row.chunks_exact(bits as usize / 8).take(width as usize) {
            let value = pixel
                .iter()
                .rev()
                .fold(0, |value, byte| value << 8 | u32::from(*byte));
            pixels.extend(masks.map(|mask| masked(value, mask)));
            if alpha != 0 {
                pixels.push(masked(value, alpha));
            }
        }
    };
    if height < 0 {
        rows.for_each(&mut add_row);
    } else {
        rows.rev().for_each(&mut add_row);
    }
    ensure!(
        pixels.len() == shape.bytes(),
        "is a BMP without all of its pixels"
    );
    Ok(Some(Raw {
        pixels,
        shape,
        white: None,
        note: String::new(),
    }))
}

/// The bits of a mask, scaled to 8.
fn masked(value: u32, mask: u32) -> u8 {
    let most = u64::from(mask >> mask.trailing_zeros().min(31));
    let level = u64::from((value & mask) >> mask.trailing_zeros().min(31));
    u8::try_from((level * 255 + most / 2) / most.max(1)).unwrap_or(u8::MAX)
}

/// All that OpenCV reads, with the depth that it has.
fn opencv(file: &[u8], wanted: Wanted) -> Result<Raw> {
    let pages = tiff_pages(file);
    let samples = tiff_samples(file).unwrap_or(1);
    ensure!(
        (1..=4).contains(&samples),
        "is a TIFF of {samples} samples a pixel: OpenCV reads 1 to 4"
    );
    let white = pnm_white(file);
    // Only a picture that is wanted with alpha is decoded as it is: without, it is turned as the
    // camera was held.
    let flags = if wanted.channels == 4 && !file.starts_with(b"\xff\xd8") {
        imgcodecs::IMREAD_UNCHANGED
    } else {
        imgcodecs::IMREAD_ANYDEPTH | imgcodecs::IMREAD_ANYCOLOR
    };
    picture::load_codecs()?;
    let image = imgcodecs::imdecode(&Mat::from_slice(file)?, flags);
    let image = image.map_err(|error| {
        if error.message.contains("CV_IO_MAX_IMAGE") || error.message.contains("validateInput") {
            anyhow::anyhow!("is too large: the limit is {MOST_PIXELS} pixels")
        } else {
            anyhow::anyhow!("cannot be decoded by OpenCV")
        }
    })?;
    ensure!(!image.empty(), "is no picture that OpenCV can read");
    let shape = picture::shape(&image)?;
    let image = if image.is_continuous() {
        image
    } else {
        image.clone()
    };
    let note = match pages {
        0 | 1 => String::new(),
        pages => format!("the first of {pages} pages"),
    };
    Ok(Raw {
        pixels: image.data_bytes()?.to_vec(),
        shape,
        white,
        note,
    })
}

/// The MAXVAL of a PGM or PPM of more than 8 bits (pgm(5)): the third number of its header.
fn pnm_white(file: &[u8]) -> Option<f64> {
    let rest = file
        .strip_prefix(b"P5")
        .or_else(|| file.strip_prefix(b"P6"))?;
    let text = String::from_utf8_lossy(&rest[..rest.len().min(512)]).into_owned();
    let words = text.lines().flat_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace()
    });
    let most: u32 = words.take(3).nth(2)?.parse().ok()?;
    (most > 255).then(|| most.into())
}

/// A number in a TIFF. `None`: it is another file, or breaks off.
fn tiff_number(file: &[u8], at: usize, n: usize) -> Option<usize> {
    let bytes = file.get(at..at.checked_add(n)?)?;
    let fold = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
    match file.get(..4) {
        Some(b"II*\0") => Some(bytes.iter().rev().fold(0, fold)),
        Some(b"MM\0*") => Some(bytes.iter().fold(0, fold)),
        _ => None,
    }
}

/// How many pages a TIFF has, as far as its list of directories goes; 0 for another file.
fn tiff_pages(file: &[u8]) -> usize {
    /// No more are counted: a list may have a loop.
    const MOST: usize = 1000;
    let number = |at, n| tiff_number(file, at, n);
    let mut next = number(4, 4);
    let mut pages = 0;
    while let Some(at) = next.filter(|&at| at != 0 && pages < MOST) {
        pages += 1;
        next = number(at, 2).and_then(|entries| number(at + 2 + 12 * entries, 4));
    }
    pages
}

/// How many samples a pixel of a TIFF's first page has, if the file says so.
fn tiff_samples(file: &[u8]) -> Option<usize> {
    const SAMPLES: usize = 277;
    let number = |at, n| tiff_number(file, at, n);
    let directory = number(4, 4)?;
    let mut entries = (0..number(directory, 2)?).map(|i| directory + 2 + 12 * i);
    let entry = entries.find(|&at| number(at, 2) == Some(SAMPLES))?;
    number(entry + 8, 2)
}

/// The picture with 1, 3 or 4 channels.
fn with_channels(pixels: Vec<u8>, shape: Shape, channels: u8) -> Result<(Vec<u8>, Shape)> {
    let wanted = picture::eight_bit(channels).channels();
    if shape.format().channels() == wanted {
        return Ok((pixels, shape));
    }
    let image = picture::view(&pixels, shape)?;
    let converted = |code: i32| -> Result<Mat> {
        let mut out = Mat::default();
        imgproc::cvt_color_def(&image, &mut out, code).with_context(|| {
            format!("has {shape}, which OpenCV cannot convert to {channels} channels")
        })?;
        Ok(out)
    };
    let plane = |i: i32| -> Result<Mat> {
        let mut plane = Mat::default();
        core::extract_channel(&image, &mut plane, i)?;
        Ok(plane)
    };
    let out = match (shape.format().channels(), wanted) {
        (Channels::One, Channels::Three) => converted(imgproc::COLOR_GRAY2BGR)?,
        (Channels::One, Channels::Four) => converted(imgproc::COLOR_GRAY2BGRA)?,
        (Channels::Two, Channels::One) => plane(0)?,
        (Channels::Two, Channels::Three) => {
            let mut out = Mat::default();
            imgproc::cvt_color_def(&plane(0)?, &mut out, imgproc::COLOR_GRAY2BGR)?;
            out
        }
        (Channels::Two, Channels::Four) => {
            let gray = plane(0)?;
            let mut planes = Vector::<Mat>::new();
            for _ in 0..3 {
                planes.push(gray.clone());
            }
            planes.push(plane(1)?);
            let mut out = Mat::default();
            core::merge(&planes, &mut out)?;
            out
        }
        (Channels::Three, Channels::One) => converted(imgproc::COLOR_BGR2GRAY)?,
        (Channels::Three, Channels::Four) => converted(imgproc::COLOR_BGR2BGRA)?,
        (Channels::Four, Channels::One) => converted(imgproc::COLOR_BGRA2GRAY)?,
        (Channels::Four, Channels::Three) => converted(imgproc::COLOR_BGRA2BGR)?,
        (_, Channels::Two)
        | (Channels::One, Channels::One)
        | (Channels::Three, Channels::Three)
        | (Channels::Four, Channels::Four) => bail!("{shape} cannot become {channels} channels"),
    };
    Ok((out.data_bytes()?.to_vec(), picture::shape(&out)?))
}

/// The picture in 8 bits, and how it was scaled.
fn to_eight_bit(
    pixels: &[u8],
    shape: Shape,
    white: Option<f64>,
) -> Result<(Vec<u8>, Shape, String)> {
    let element = shape.format().element();
    let image = picture::view(pixels, shape)?;
    let integer = match element {
        Element::U8 => Some(f64::from(u8::MAX)),
        Element::I8 => Some(f64::from(i8::MAX)),
        Element::U16 => Some(f64::from(u16::MAX)),
        Element::I16 => Some(f64::from(i16::MAX)),
        Element::I32 => Some(f64::from(i32::MAX)),
        Element::F32 | Element::F64 | Element::F16 => None,
    };
    let (low, high) = if let Some(white) = white.or(integer) {
        (0.0, white)
    } else {
        let flat = image.reshape(1, 0)?;
        let (mut low, mut high) = (0.0, 0.0);
        core::min_max_loc(
            &flat,
            Some(&mut low),
            Some(&mut high),
            None,
            None,
            &core::no_array(),
        )?;
        // As most programs write floats: 0 is black, 1 is white.
        if low >= 0.0 && high <= 1.0 {
            (0.0, 1.0)
        } else {
            (low, high)
        }
    };
    let scale = if high > low {
        255.0 / (high - low)
    } else {
        0.0
    };
    let mut out = Mat::default();
    image.convert_to(&mut out, core::CV_8U, scale, -low * scale)?;
    let format = Format::new(Element::U8, shape.format().channels()).ordered(Order::Bgr);
    Ok((
        out.data_bytes()?.to_vec(),
        Shape::new(shape.size(), format)?,
        format!("{} scaled to 8 bits, {low} to {high}", element.name()),
    ))
}
