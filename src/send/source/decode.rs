//! Pictures of files, decoded in private memory: a decoder of foreign files never writes into
//! shared memory.
//!
//! PNG is decoded by the crate `png`, which keeps 16 bits and transparency and prints nothing. PAM
//! is decoded here: OpenCV writes beyond the end of a PAM of two channels. All else OpenCV decodes.

use std::io::Cursor;

use anyhow::{Context, Result, bail, ensure};
use opencv::core::{self, Mat, MatTraitConst, MatTraitConstManual, Vector};
use opencv::{imgcodecs, imgproc};
use shm_frame::{Channels, Element, Format, Order, Shape, Size};

use super::whole;
use crate::picture;

/// The most pixels of a picture: OpenCV's limit.
const MOST_PIXELS: u64 = 1 << 30;

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
        if file.starts_with(b"\x89PNG") {
            png(file)?
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

/// All that OpenCV reads, with the depth that it has.
fn opencv(file: &[u8], wanted: Wanted) -> Result<Raw> {
    let pages = tiff_pages(file);
    let white = pnm_white(file);
    // Only a picture that is wanted with alpha is decoded as it is: without, it is turned as the
    // camera was held.
    let flags = if wanted.channels == 4 && !file.starts_with(b"\xff\xd8") {
        imgcodecs::IMREAD_UNCHANGED
    } else {
        imgcodecs::IMREAD_ANYDEPTH | imgcodecs::IMREAD_ANYCOLOR
    };
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

/// How many pages a TIFF has, as far as its list of directories goes; 0 for another file.
fn tiff_pages(file: &[u8]) -> usize {
    /// No more are counted: a list may have a loop.
    const MOST: usize = 1000;
    let little = match file.get(..4) {
        Some(b"II*\0") => true,
        Some(b"MM\0*") => false,
        _ => return 0,
    };
    let bytes = |at: usize, n: usize| {
        let bytes = file.get(at..at.checked_add(n)?)?;
        let fold = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
        Some(if little {
            bytes.iter().rev().fold(0, fold)
        } else {
            bytes.iter().fold(0, fold)
        })
    };
    let mut next = bytes(4, 4);
    let mut pages = 0;
    while let Some(at) = next.filter(|&at| at != 0 && pages < MOST) {
        pages += 1;
        next = bytes(at, 2).and_then(|entries| bytes(at + 2 + 12 * entries, 4));
    }
    pages
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
