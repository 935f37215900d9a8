//! Pictures from files.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opencv::boxed_ref::{BoxedRef, BoxedRefMut};
use opencv::core::{CV_8UC4, Mat, MatTraitConst, MatTraitConstManual, MatTraitManual};
use opencv::{imgcodecs, imgproc};
use shm_frame::{Format, Shape, Size};

use super::{Next, Source, whole};
use crate::picture;
use crate::send::outlet::{Outlet, Written};

/// One picture, sent as it is again and again.
pub(crate) struct Still {
    shape: Shape,
    image: Mat,
    period: Option<Duration>,
}

impl Still {
    pub(crate) fn open(path: &Path, channels: u8, period: Option<Duration>) -> Result<Self> {
        let image = read(path, channels)?;
        Ok(Self {
            shape: picture::shape(&image)?,
            image,
            period,
        })
    }
}

impl Source for Still {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn next(&mut self) -> Result<Next> {
        Ok(Next::Frame(self.period))
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        outlet
            .publish(self.shape, self.image.data_bytes()?)
            .map(Some)
    }
}

/// Many pictures, one after the other.
pub(crate) struct Pictures {
    paths: Vec<PathBuf>,
    /// How many of them were gone through.
    passed: usize,
    /// Of the last one: the next one likely has the same.
    shape: Shape,
    channels: u8,
    period: Option<Duration>,
    repeat: bool,
}

impl Pictures {
    pub(crate) fn open(
        patterns: &[PathBuf],
        channels: u8,
        period: Option<Duration>,
        repeat: bool,
    ) -> Result<Self> {
        let mut paths = Vec::new();
        for pattern in patterns {
            paths.extend(find(pattern).with_context(|| flag(pattern))?);
        }
        paths.sort_by(|a, b| natural(a.as_os_str().as_bytes(), b.as_os_str().as_bytes()));
        let first = &paths[0];
        let image = read(first, channels).with_context(|| flag(first))?;
        Ok(Self {
            shape: picture::shape(&image)?,
            paths,
            passed: 0,
            channels,
            period,
            repeat,
        })
    }
}

impl Source for Pictures {
    fn shape(&self) -> Shape {
        self.shape
    }

    fn frames(&self) -> Option<u64> {
        (!self.repeat).then_some(self.paths.len() as u64)
    }

    fn can_skip(&self) -> bool {
        // After the last one no other is due.
        self.repeat || self.passed < self.paths.len()
    }

    fn next(&mut self) -> Result<Next> {
        if self.passed == self.paths.len() {
            if !self.repeat {
                return Ok(Next::End(None));
            }
            self.passed = 0;
        }
        self.passed += 1;
        Ok(Next::Frame(self.period))
    }

    fn send(&mut self, outlet: &mut Outlet) -> Result<Option<Written>> {
        let path = &self.paths[self.passed - 1];
        let file = fs::read(path).with_context(|| flag(path))?;
        let written = outlet.decode(self.shape, |image| {
            decode(&file, self.channels, image).with_context(|| flag(path))?;
            Ok(true)
        })?;
        if let Some(written) = &written {
            self.shape = written.shape;
        }
        Ok(written)
    }
}

/// What errors begin with.
fn flag(path: &Path) -> String {
    format!("--images {}", path.display())
}

/// What OpenCV reads, by the file's extension: what is in a folder need not all be pictures.
const EXTENSIONS: [&str; 22] = [
    "avif", "bmp", "dib", "exr", "hdr", "jp2", "jpe", "jpeg", "jpg", "pbm", "pfm", "pgm", "pic",
    "png", "pnm", "ppm", "pxm", "ras", "sr", "tif", "tiff", "webp",
];

/// The files that one word of `--images` means; there is at least one.
fn find(pattern: &Path) -> Result<Vec<PathBuf>> {
    if pattern.is_dir() {
        let mut paths = Vec::new();
        for entry in fs::read_dir(pattern)? {
            let path = entry?.path();
            let extension = path.extension().and_then(OsStr::to_str);
            let extension = extension.unwrap_or_default().to_ascii_lowercase();
            if EXTENSIONS.contains(&extension.as_str()) && path.is_file() {
                paths.push(path);
            }
        }
        if paths.is_empty() {
            bail!("no picture in this folder, by extension (png, jpg, ...)");
        }
        return Ok(paths);
    }
    // A file's name may look like a pattern.
    if pattern.exists() {
        return Ok(vec![pattern.to_owned()]);
    }
    let text = pattern.to_str().context("no such file")?;
    if !text.contains(['*', '?', '[']) {
        bail!("no such file or folder");
    }
    let mut paths = Vec::new();
    for path in glob::glob(text)? {
        let path = path?;
        if path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        bail!("no file matches this pattern");
    }
    Ok(paths)
}

/// The order in which people count: runs of digits by their value, all else byte by byte.
fn natural(mut a: &[u8], mut b: &[u8]) -> Ordering {
    /// Cuts the digits off that a name begins with, and gives them without leading zeros.
    fn digits<'a>(name: &mut &'a [u8]) -> &'a [u8] {
        let end = name.iter().position(|byte| !byte.is_ascii_digit());
        let (digits, rest) = name.split_at(end.unwrap_or(name.len()));
        *name = rest;
        let zeros = digits.iter().take_while(|&&byte| byte == b'0').count();
        &digits[zeros..]
    }
    let whole = (a, b);
    loop {
        match (a, b) {
            ([x, ..], [y, ..]) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (x, y) = (digits(&mut a), digits(&mut b));
                let order = x.len().cmp(&y.len()).then(x.cmp(y));
                if order.is_ne() {
                    return order;
                }
            }
            ([x, rest_a @ ..], [y, rest_b @ ..]) => {
                if x != y {
                    return x.cmp(y);
                }
                (a, b) = (rest_a, rest_b);
            }
            // Alike but for leading zeros, perhaps.
            _ => return a.len().cmp(&b.len()).then(whole.0.cmp(whole.1)),
        }
    }
}

/// Reads a picture as 8 bits with that many channels.
fn read(path: &Path, channels: u8) -> Result<Mat> {
    let file = fs::read(path)?;
    // Not empty: there must be room for a mark.
    let mut pixel = [0];
    let mut image = picture::view_mut(
        &mut pixel,
        Shape::new(
            Size {
                width: 1,
                height: 1,
            },
            Format::GRAY8,
        )?,
    )?;
    decode(&file, channels, &mut image)?;
    Ok(image.clone_pointee())
}

/// Decodes a picture as 8 bits with that many channels, where `image` is if it fits there.
fn decode(file: &[u8], channels: u8, image: &mut BoxedRefMut<'_, Mat>) -> Result<()> {
    if file.is_empty() {
        bail!("is empty");
    }
    whole::check(file)?;
    let file = Mat::from_slice(file)?;
    let flags = match channels {
        1 => imgcodecs::IMREAD_GRAYSCALE,
        3 => imgcodecs::IMREAD_COLOR,
        _ => imgcodecs::IMREAD_UNCHANGED,
    };
    if !decode_as(&file, flags, image)? {
        bail!("is no picture that OpenCV can read");
    }
    // The alpha is the picture's own if it has 8 bits of it, else all of it is opaque.
    if channels == 4 && image.typ() != CV_8UC4 {
        let color = imgcodecs::imdecode(&file, imgcodecs::IMREAD_COLOR)?;
        imgproc::cvt_color_def(&color, image, imgproc::COLOR_BGR2BGRA)?;
    }
    Ok(())
}

/// What stands in an image before a picture is decoded into it: of some that fail OpenCV leaves it there, and does not say so.
const MARK: &[u8] = b"nothing was decoded";

/// Decodes a picture. `false`: it is none.
fn decode_as(
    file: &BoxedRef<'_, Mat>,
    flags: i32,
    image: &mut BoxedRefMut<'_, Mat>,
) -> Result<bool> {
    let bytes = image.data_bytes_mut()?;
    let marked = bytes.len().min(MARK.len());
    bytes[..marked].copy_from_slice(&MARK[..marked]);
    imgcodecs::imdecode_to(file, flags, image)?;
    if image.empty() {
        return Ok(false);
    }
    // A picture may begin like that too.
    let unchanged = image.data_bytes()?.starts_with(&MARK[..marked]);
    Ok(!unchanged || !imgcodecs::imdecode(file, flags)?.empty())
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC1, CV_8UC3, Scalar, Vector};

    use super::*;

    #[test]
    fn names_are_in_the_order_in_which_people_count() {
        let ordered = [
            "01",
            "1",
            "2",
            "10",
            "a",
            "a/9",
            "a/b1",
            "img1.png",
            "img02.png",
            "img2.png",
            "img10.png",
            "img10a.png",
            "img18446744073709551616.png",
            "img18446744073709551617.png",
            "imgs",
        ];
        for (i, a) in ordered.iter().enumerate() {
            for (j, b) in ordered.iter().enumerate() {
                assert_eq!(natural(a.as_bytes(), b.as_bytes()), i.cmp(&j), "{a} {b}");
            }
        }
    }

    #[test]
    fn a_picture_of_the_expected_shape_is_decoded_where_it_is_wanted() {
        for (channels, typ) in [(1, CV_8UC1), (3, CV_8UC3), (4, CV_8UC4)] {
            let picture = Mat::new_rows_cols_with_default(4, 8, typ, Scalar::all(9.0)).unwrap();
            let mut file = Vector::new();
            imgcodecs::imencode_def(".png", &picture, &mut file).unwrap();
            let mut pixels = vec![0; 4 * 8 * usize::from(channels)];
            let address = pixels.as_ptr();
            let shape = Shape::new(
                Size {
                    width: 8,
                    height: 4,
                },
                picture::eight_bit(channels),
            )
            .unwrap();
            let mut image = picture::view_mut(&mut pixels, shape).unwrap();
            decode(file.as_slice(), channels, &mut image).unwrap();
            assert_eq!(image.data(), address, "{channels} channels");
            drop(image);
            assert!(pixels.iter().all(|&byte| byte == 9), "{channels} channels");
        }
    }

    #[test]
    fn what_is_no_picture_is_told_from_a_picture_that_looks_untouched() {
        let mut picture = Mat::new_rows_cols_with_default(4, 8, CV_8UC3, Scalar::all(9.0)).unwrap();
        picture.data_bytes_mut().unwrap()[..MARK.len()].copy_from_slice(MARK);
        let mut file = Vector::new();
        imgcodecs::imencode_def(".png", &picture, &mut file).unwrap();
        for (file, works) in [
            (file.as_slice(), true),
            (&file.as_slice()[..file.len() / 2], false),
            (b"no picture", false),
            // The beginning of a TIFF.
            (b"II*\0\x08\0\0\0", false),
        ] {
            let mut pixels = [0; 4 * 8 * 3];
            let shape = Shape::new(
                Size {
                    width: 8,
                    height: 4,
                },
                Format::BGR8,
            )
            .unwrap();
            let mut image = picture::view_mut(&mut pixels, shape).unwrap();
            assert_eq!(decode(file, 3, &mut image).is_ok(), works, "{file:?}");
            if works {
                drop(image);
                assert_eq!(pixels, picture.data_bytes().unwrap());
            }
        }
    }
}
