//! Whether a picture's file is whole, by what the file itself says. Decoders fill in what is
//! missing from some files that were cut off, and do not say so; which files, differs by their
//! version.

use anyhow::{Result, bail};

/// Tells how long a file is at least if it is whole. `None`: it breaks off before that can be told.
type Length = fn(&[u8]) -> Option<u64>;

/// What files have at which place, their format's name, and what tells their length. EXR, HDR
/// and bare JPEG 2000 are not here: OpenCV 4.6 and 4.10 refuse those that were cut off.
const FORMATS: [(usize, &[u8], &str, Length); 12] = [
    (0, b"\xff\xd8", "JPEG", jpeg),
    (0, b"\x89PNG\r\n\x1a\n", "PNG", png),
    (0, b"BM", "BMP", bmp),
    (0, b"P", "PNM", pnm),
    (0, b"II*\0", "TIFF", tiff),
    (0, b"MM\0*", "TIFF", tiff),
    (0, b"II+\0", "TIFF", tiff),
    (0, b"MM\0+", "TIFF", tiff),
    (8, b"WEBP", "WebP", webp),
    (0, b"\x59\xa6\x6a\x95", "Sun raster", sun_raster),
    (4, b"jP  \r\n\x87\n", "JPEG 2000", boxes),
    (4, b"ftyp", "AVIF", boxes),
];

/// Fails for a file of a picture that was cut off.
pub(crate) fn check(file: &[u8]) -> Result<()> {
    let there = file.len() as u64;
    for (at, begin, name, length) in FORMATS {
        if rest(file, at as u64).is_some_and(|rest| rest.starts_with(begin)) {
            match length(file) {
                Some(whole) if whole <= there => {}
                Some(whole) => {
                    bail!("breaks off: {there} of this {name}'s {whole} bytes are there")
                }
                None => bail!("breaks off: it is a {name} without an end, after {there} bytes"),
            }
        }
    }
    Ok(())
}

/// A file from a byte on. `None`: it breaks off before.
fn rest(file: &[u8], at: u64) -> Option<&[u8]> {
    file.get(usize::try_from(at).ok()?..)
}

/// The order of the bytes in a number: the most significant one first, or last.
#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

/// A number in a file. `None`: the file breaks off before its end.
fn number(file: &[u8], at: u64, bytes: usize, order: Order) -> Option<u64> {
    let bytes = rest(file, at)?.get(..bytes)?;
    let append = |number, byte: &u8| number << 8 | u64::from(*byte);
    let number = match order {
        Order::Big => bytes.iter().fold(0, append),
        Order::Little => bytes.iter().rev().fold(0, append),
    };
    // No file is as long as that, and sums of a few numbers do not overflow.
    (number < 1 << 56).then_some(number)
}

/// Segments, each with its length, and pixels, up to the end of the image. In a segment there may
/// be a smaller picture with an end of its own.
fn jpeg(file: &[u8]) -> Option<u64> {
    let mut at = 2;
    loop {
        // Before a marker there may be any number of bytes 0xff. Among pixels 0 follows each of
        // them.
        let rest = rest(file, at)?;
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff);
        let marker = rest.windows(2).position(is_marker)?;
        at += marker as u64 + 2;
        match rest[marker + 1] {
            0xd9 => return Some(at),
            // These have no length.
            0x01 | 0xd0..=0xd8 => {}
            _ => at += number(file, at, 2, Order::Big)?,
        }
    }
}

/// Chunks, each with its length, kind and checksum, up to the last one.
fn png(file: &[u8]) -> Option<u64> {
    let mut at = 8;
    loop {
        let length = number(file, at, 4, Order::Big)?;
        let is_last = rest(file, at + 4)?.starts_with(b"IEND");
        at += 4 + 4 + length + 4;
        if is_last {
            return Some(at);
        }
    }
}

fn bmp(file: &[u8]) -> Option<u64> {
    let number = |at, bytes| number(file, at, bytes, Order::Little);
    let (begin, header) = (number(10, 4)?, number(14, 4)?);
    // That of OS/2 is a shorter one.
    let (width, height, bits, packing) = if header == 12 {
        (number(18, 2)?, number(20, 2)?, number(24, 2)?, 0)
    } else {
        (
            number(18, 4)?,
            number(22, 4)?,
            number(28, 2)?,
            number(30, 4)?,
        )
    };
    if matches!(packing, 1 | 2) {
        return Some(begin + number(34, 4)?);
    }
    // Rows from top to bottom have a negative height.
    let height = height.min((1_u64 << 32).abs_diff(height));
    let row = width * bits;
    // After the last row what makes it a multiple of four bytes may be left out.
    let others = (row.div_ceil(32) * 4).saturating_mul(height.saturating_sub(1));
    Some((begin + row.div_ceil(8)).saturating_add(others))
}

/// PBM, PGM and PPM in letters or bytes, PAM and PFM.
fn pnm(file: &[u8]) -> Option<u64> {
    let mut words = Words { file, at: 2 };
    let kind = *file.get(1)?;
    let (mut samples, mut maximum) = (1_u64, 1);
    match kind {
        b'7' => loop {
            match words.word()? {
                b"WIDTH" | b"HEIGHT" | b"DEPTH" => {
                    samples = samples.saturating_mul(words.number()?);
                }
                b"MAXVAL" => maximum = words.number()?,
                b"ENDHDR" => break,
                _ => {}
            }
        },
        b'4' => {
            let (width, height) = (words.number()?, words.number()?);
            samples = width.div_ceil(8) * height;
        }
        b'1'..=b'6' | b'F' | b'f' => {
            samples = words.number()? * words.number()?;
            match kind {
                b'1' => {}
                // The scale, with a point.
                b'F' | b'f' => _ = words.word()?,
                _ => maximum = words.number()?,
            }
            if matches!(kind, b'3' | b'6' | b'F') {
                samples = samples.saturating_mul(3);
            }
        }
        _ => return Some(0),
    }
    // One space is before the samples.
    let begin = words.at as u64 + 1;
    let samples_there = match kind {
        // Digits of one bit each need no space between them.
        b'1' => rest(file, begin)?
            .iter()
            .filter(|byte| byte.is_ascii_digit())
            .count(),
        b'2' | b'3' => rest(file, begin)?
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .count(),
        b'F' | b'f' => return Some(begin.saturating_add(samples.saturating_mul(4))),
        _ => {
            let bytes = if maximum > 255 { 2 } else { 1 };
            return Some(begin.saturating_add(samples.saturating_mul(bytes)));
        }
    };
    (samples_there as u64 >= samples).then_some(begin)
}

/// The words of a header. Comments are none.
struct Words<'a> {
    file: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    /// `None`: the file breaks off before or in it.
    fn word(&mut self) -> Option<&'a [u8]> {
        loop {
            let rest = self.file.get(self.at..)?;
            let end = match rest.first()? {
                b'#' => rest.iter().position(|&byte| byte == b'\n')?,
                byte if byte.is_ascii_whitespace() => 1,
                _ => {
                    let end = rest.iter().position(u8::is_ascii_whitespace)?;
                    self.at += end;
                    return Some(&rest[..end]);
                }
            };
            self.at += end;
        }
    }

    /// 0 for a word that is no number.
    fn number(&mut self) -> Option<u64> {
        let word = str::from_utf8(self.word()?).unwrap_or_default();
        Some(word.parse::<u32>().unwrap_or_default().into())
    }
}

/// The first picture's directory, and all that it points to.
fn tiff(file: &[u8]) -> Option<u64> {
    let order = match file.first()? {
        b'M' => Order::Big,
        _ => Order::Little,
    };
    let number = |at, bytes: u64| number(file, at, usize::try_from(bytes).ok()?, order);
    // Places and counts are wider in a BigTIFF.
    let (header, count_bytes, word) = if number(2, 2)? == 43 {
        (8, 8, 8)
    } else {
        (4, 2, 4)
    };
    let directory = number(header, word)?;
    let first = directory + count_bytes;
    let entry = 4 + 2 * word;
    let entries = number(directory, count_bytes)?;
    let (mut places, mut lengths) = (None, None);
    // The place of the next directory follows the entries.
    let mut whole = first + entries * entry + word;
    for i in 0..entries {
        let at = first + i * entry;
        let (tag, kind, count) = (number(at, 2)?, number(at + 2, 2)?, number(at + 4, word)?);
        let bytes = match kind {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            _ => 1,
        };
        let mut values = at + 4 + word;
        if count * bytes > word {
            values = number(values, word)?;
            whole = whole.max(values + count * bytes);
        }
        match tag {
            // Of strips or tiles.
            273 | 324 => places = Some((values, bytes, count)),
            279 | 325 => lengths = Some((values, bytes)),
            _ => {}
        }
    }
    if let (Some((places, place_bytes, count)), Some((lengths, length_bytes))) = (places, lengths) {
        for i in 0..count {
            let place = number(places + i * place_bytes, place_bytes)?;
            let length = number(lengths + i * length_bytes, length_bytes)?;
            whole = whole.max(place + length);
        }
    }
    Some(whole)
}

fn webp(file: &[u8]) -> Option<u64> {
    Some(8 + number(file, 4, 4, Order::Little)?)
}

fn sun_raster(file: &[u8]) -> Option<u64> {
    let number = |at| number(file, at, 4, Order::Big);
    let (width, height, bits) = (number(4)?, number(8)?, number(12)?);
    let (length, kind, colours) = (number(16)?, number(20)?, number(28)?);
    let pixels = match kind {
        // Packed.
        2 => length,
        _ => ((width * bits).div_ceil(16) * 2).saturating_mul(height),
    };
    Some((32 + colours).saturating_add(pixels))
}

/// Boxes, each with its length, as in JPEG 2000 and AVIF.
fn boxes(file: &[u8]) -> Option<u64> {
    let there = file.len() as u64;
    let mut at = 0;
    while at < there {
        let has_pixels = rest(file, at + 4)?.starts_with(b"jp2c");
        at += match number(file, at, 4, Order::Big)? {
            // It ends with the file. JPEG 2000 has an end of its own.
            0 if has_pixels && !file.ends_with(b"\xff\xd9") => return None,
            0 => return Some(there),
            1 => number(file, at + 8, 8, Order::Big)?.max(16),
            length => length.max(8),
        };
        if has_pixels {
            return Some(at);
        }
    }
    // AVIF may have its pixels in any of them.
    rest(file, 4)?.starts_with(b"ftyp").then_some(at)
}

#[cfg(test)]
mod tests {
    use opencv::core::{CV_8UC1, CV_8UC3, CV_32FC3, Mat, Scalar, Vector};
    use opencv::imgcodecs;

    use super::*;

    /// Its beginnings of that many bytes and more are not whole. What follows its end is left
    /// alone.
    fn assert_is_whole_at_its_end(what: &str, file: &[u8], from: usize) {
        for length in from..file.len() {
            let checked = check(&file[..length]);
            assert!(checked.is_err(), "{length} of {} bytes, {what}", file.len());
        }
        check(file).expect(what);
        check(&[file, b"what a telephone adds"].concat()).expect(what);
    }

    /// A picture's file as OpenCV makes it.
    fn encoded(extension: &str, typ: i32) -> Vec<u8> {
        let picture = Mat::new_rows_cols_with_default(40, 36, typ, Scalar::all(0.4)).unwrap();
        let mut file = Vector::new();
        assert!(imgcodecs::imencode_def(extension, &picture, &mut file).unwrap());
        file.into()
    }

    #[test]
    fn a_file_is_whole_at_its_end_and_not_before() {
        for (extension, typ) in [
            (".jpg", CV_8UC3),
            (".png", CV_8UC3),
            (".bmp", CV_8UC1),
            (".bmp", CV_8UC3),
            (".pbm", CV_8UC1),
            (".pgm", CV_8UC1),
            (".ppm", CV_8UC3),
            (".pam", CV_8UC3),
            (".pfm", CV_32FC3),
            (".tiff", CV_8UC3),
            (".webp", CV_8UC3),
            (".ras", CV_8UC3),
            (".jp2", CV_8UC3),
        ] {
            // Less than this does not show the format.
            assert_is_whole_at_its_end(extension, &encoded(extension, typ), 12);
        }
        check(b"").unwrap();
        check(b"no picture").unwrap();
        check(b"Pencils are no PNM").unwrap();
    }

    #[test]
    fn a_jpeg_may_have_fill_bytes_and_a_smaller_one_in_it() {
        let whole = encoded(".jpg", CV_8UC3);
        let (begin, rest) = whole.split_at(2);
        let filled = [begin, b"\xff\xff\xff", rest].concat();
        assert_is_whole_at_its_end("fill bytes at the beginning", &filled, 2);
        let (rest, end) = whole.split_at(whole.len() - 2);
        let filled = [rest, b"\xff\xff", end].concat();
        assert_is_whole_at_its_end("fill bytes at the end", &filled, 2);
        // As cameras make it.
        let length = u16::try_from(2 + whole.len()).unwrap().to_be_bytes();
        let segment = [b"\xff\xd8\xff\xe1", &length[..], &whole, &whole[2..]].concat();
        assert_is_whole_at_its_end("a smaller one", &segment, 2);
    }

    #[test]
    fn a_pnm_of_letters_is_whole_with_its_last_sample() {
        for file in [
            "P1 # 3x2\n3 2\n101 0 1 0",
            "P2\n3 2 15\n1 2 3\n4 5 6",
            "P3 1 2 255 1 2 3 4 5 6",
        ] {
            let last = file.len() - 1;
            assert_is_whole_at_its_end(file, file.as_bytes(), 2);
            check(&file.as_bytes()[..last]).unwrap_err();
        }
    }

    #[test]
    fn samples_of_two_bytes_and_rows_of_bits_are_counted_so() {
        for (header, bytes) in [
            ("P4 9 3\n", 6),
            ("P5 3 2 255\n", 6),
            ("P5 3 2 256\n", 12),
            ("P6\n# by hand\n3 2\n4095\n", 36),
            (
                "P7\nWIDTH 3\nHEIGHT 2\nDEPTH 4\nMAXVAL 65535\nTUPLTYPE RGB_ALPHA\nENDHDR\n",
                48,
            ),
            ("Pf 3 2 -1.0\n", 24),
            ("PF 3 2 1\n", 72),
        ] {
            let file = [header.as_bytes(), &vec![b' '; bytes]].concat();
            assert_is_whole_at_its_end(header, &file, 2);
        }
    }

    /// Numbers of so many bytes each, the least significant one first.
    fn little(numbers: &[(u64, usize)]) -> Vec<u8> {
        let bytes = numbers
            .iter()
            .map(|(n, bytes)| n.to_le_bytes()[..*bytes].to_vec());
        bytes.collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_bmp_may_be_of_os2_from_top_to_bottom_without_its_last_padding_or_packed() {
        let file = |header: &[(u64, usize)], bytes: usize| {
            let all = [&[(0, 4), (0, 4), (60, 4)], header].concat();
            let mut file = [b"BM".to_vec(), little(&all)].concat();
            file.resize(60 + bytes, 9);
            file
        };
        // Three pixels of three bytes are a row of twelve.
        let os2 = file(&[(12, 4), (3, 2), (2, 2), (1, 2), (24, 2)], 21);
        assert_is_whole_at_its_end("OS/2", &os2, 16);
        let sides = [(40, 4), (3, 4), ((1 << 32) - 2, 4), (1, 2)];
        let down = file(&[&sides[..], &[(24, 2), (0, 4)]].concat(), 21);
        assert_is_whole_at_its_end("from top to bottom", &down, 16);
        let packed = file(&[&sides[..], &[(8, 2), (1, 4), (14, 4)]].concat(), 14);
        assert_is_whole_at_its_end("packed", &packed, 16);
    }

    #[test]
    fn a_tiff_is_whole_with_its_strips_wherever_they_are() {
        // Two strips of five and seven bytes; the directory is before them.
        let classic = [
            little(&[(0x002a_4949, 4), (8, 4), (2, 2)]),
            little(&[(273, 2), (4, 2), (2, 4), (38, 4)]),
            little(&[(279, 2), (3, 2), (2, 4), (5, 2), (7, 2)]),
            little(&[(0, 4), (46, 4), (51, 4)]),
            vec![9; 12],
        ];
        assert_is_whole_at_its_end("TIFF", &classic.concat(), 4);
        let big = [
            little(&[(0x002b_4949, 4), (8, 2), (0, 2), (16, 8), (2, 8)]),
            little(&[(324, 2), (16, 2), (1, 8), (72, 8)]),
            little(&[(325, 2), (4, 2), (1, 8), (12, 8)]),
            little(&[(0, 8)]),
            vec![9; 12],
        ];
        assert_is_whole_at_its_end("BigTIFF", &big.concat(), 4);
    }

    #[test]
    fn a_box_may_have_a_long_length_or_go_to_the_end_of_the_file() {
        let first = b"\0\0\0\x0cjP  \r\n\x87\n";
        let long = [&first[..], b"\0\0\0\x01jp2c\0\0\0\0\0\0\0\x14pixl"].concat();
        assert_is_whole_at_its_end("a long length", &long, 13);
        let avif = b"\0\0\0\x0cftypavif\0\0\0\x0cmdatdata".as_slice();
        for length in 13..avif.len() {
            check(&avif[..length]).unwrap_err();
        }
        check(avif).unwrap();
        let open = [&first[..], b"\0\0\0\0jp2cpixels"].concat();
        check(&open).unwrap_err();
        check(&[&open, &b"\xff\xd9"[..]].concat()).unwrap();
    }

    #[test]
    fn a_header_that_lies_is_no_panic() {
        let mut random = 1_u64;
        let mut next = |below: usize| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            usize::try_from(random >> 33).unwrap() % below
        };
        for extension in [
            ".jpg", ".png", ".bmp", ".pam", ".tiff", ".webp", ".ras", ".jp2",
        ] {
            let file = encoded(extension, CV_8UC3);
            for _ in 0..5000 {
                let mut file = file.clone();
                for _ in 0..=next(8) {
                    let at = next(file.len().min(200));
                    file[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)];
                    let at = file.len() - 1 - next(file.len().min(200));
                    file[at] = [0, 1, 0x7f, 0x80, 0xff][next(5)];
                }
                let _ = check(&file);
            }
        }
    }
}
