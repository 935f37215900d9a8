//! Pictures as people's programs write them: exact in depth and transparency, or refused with a
//! reason. Most cases come from reports about other programs; their repository and number are
//! named.
mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::{SEND, command};
use opencv::core::{Mat, MatTraitConst, Scalar, Vector};
use opencv::imgcodecs;
use shm_frame::{Element, Format, Frame};
use shm_frame_testing::{Program, Scratch, TestName, open, take};

/// What a receiver gets of `shm-send --image FILE`.
fn sent(name: &TestName, file: &Path, args: &str) -> (Frame, Vec<u8>, Program) {
    let mut sender = command(SEND, name, &format!("--fps 50 {args} --image"));
    let mut sender = Program::start(sender.arg(file));
    sender.wait_for("sending");
    let (frame, pixels) = take(&mut open(name));
    sender.signal("INT");
    sender.ends_with(0);
    (frame, pixels, sender)
}

fn refused(name: &TestName, file: &Path, args: &str) -> String {
    let mut sender = command(SEND, name, &format!("{args} --image"));
    let mut sender = Program::start(sender.arg(file));
    sender.ends_with(1);
    assert!(!name.file().exists(), "there is half a segment");
    sender.stderr()
}

fn words(values: &[u16]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A PNG of these pixels.
fn png(colour: png::ColorType, depth: png::BitDepth, size: (u32, u32), pixels: &[u8]) -> Vec<u8> {
    png_with(colour, depth, size, pixels, |_| {})
}

fn png_with(
    colour: png::ColorType,
    depth: png::BitDepth,
    (width, height): (u32, u32),
    pixels: &[u8],
    more: impl FnOnce(&mut png::Encoder<'_, &mut Vec<u8>>),
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    more(&mut encoder);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(pixels).unwrap();
    writer.finish().unwrap();
    file
}

#[test]
fn sixteen_bits_stay_sixteen_bits_unless_eight_are_asked_for() {
    // facexlib#31, imageio#1049: a depth picture became black.
    let name = TestName::new("pictures-depth");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("depth.png");
    let values = [500_u16, 1000, 2500, 5000];
    let big_endian: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect();
    let (gray, depth) = (png::ColorType::Grayscale, png::BitDepth::Sixteen);
    fs::write(&file, png(gray, depth, (4, 1), &big_endian)).unwrap();

    let (frame, pixels, _) = sent(&name, &file, "--channels 1");
    assert_eq!(frame.shape.format(), Format::GRAY16);
    assert_eq!(pixels, words(&values));
    let (frame, pixels, _) = sent(&name, &file, "");
    assert_eq!(frame.shape.to_string(), "4x1x3:u16");
    assert_eq!(pixels, words(&values.map(|value| [value; 3]).concat()));
    let (frame, pixels, sender) = sent(&name, &file, "--channels 1 --depth 8");
    assert_eq!(frame.shape.format(), Format::GRAY8);
    assert_eq!(pixels, [2, 4, 10, 19]);
    sender.assert_stderr("u16 scaled to 8 bits, 0 to 65535");
}

#[test]
fn the_white_of_a_pgm_with_12_bits_is_its_maxval() {
    let name = TestName::new("pictures-pgm");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("twelve.pgm");
    let mut bytes = b"P5\n# a comment\n2 1\n4095\n".to_vec();
    bytes.extend([0x0f, 0xff, 0x07, 0xff]);
    fs::write(&file, bytes).unwrap();
    let (frame, pixels, _) = sent(&name, &file, "--channels 1");
    assert_eq!(frame.shape.format(), Format::GRAY16);
    assert_eq!(pixels, words(&[4095, 2047]));
    let (_, pixels, sender) = sent(&name, &file, "--channels 1 --depth 8");
    assert_eq!(pixels, [255, 127]);
    sender.assert_stderr("0 to 4095");
}

#[test]
fn floats_stay_floats_with_the_channels_that_are_asked_for() {
    // opencv#8637: a PFM ignored --channels, and 0 to 1 became black.
    let name = TestName::new("pictures-pfm");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("f.pfm");
    let values = [0.0_f32, 0.5, 1.0, 0.25];
    let mut bytes = b"Pf\n4 1\n-1.0\n".to_vec();
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    fs::write(&file, bytes).unwrap();
    let (frame, pixels, _) = sent(&name, &file, "--channels 3");
    assert_eq!(frame.shape.to_string(), "4x1x3:f32");
    let expected = values.map(|value| [value; 3]).concat();
    let expected: Vec<u8> = expected
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    assert_eq!(pixels, expected);
    let (_, pixels, _) = sent(&name, &file, "--channels 1 --depth 8");
    assert_eq!(pixels, [0, 128, 255, 64]);
}

#[test]
fn alpha_of_8_and_16_bits_arrives_and_transparent_colours_are_transparent() {
    // Pillow#154: the transparent gray of a PNG was opaque.
    let name = TestName::new("pictures-alpha");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("alpha.png");
    let write = |bytes: Vec<u8>| fs::write(&file, bytes).unwrap();
    let (eight, sixteen) = (png::BitDepth::Eight, png::BitDepth::Sixteen);

    let rgba = [1_u16, 2, 3, 40_000].map(u16::to_be_bytes).concat();
    write(png(png::ColorType::Rgba, sixteen, (1, 1), &rgba));
    let (frame, pixels, _) = sent(&name, &file, "--channels 4");
    assert_eq!(frame.shape.to_string(), "1x1x4:u16");
    assert_eq!(pixels, words(&[3, 2, 1, 40_000]));

    write(png_with(
        png::ColorType::Grayscale,
        eight,
        (2, 1),
        &[7, 8],
        |encoder| encoder.set_trns(vec![0, 7]),
    ));
    let (_, pixels, _) = sent(&name, &file, "--channels 4");
    assert_eq!(pixels, [7, 7, 7, 0, 8, 8, 8, 255]);

    write(png(png::ColorType::GrayscaleAlpha, eight, (1, 1), &[9, 99]));
    let (_, pixels, _) = sent(&name, &file, "--channels 4");
    assert_eq!(pixels, [9, 9, 9, 99]);
    let (_, pixels, _) = sent(&name, &file, "--channels 1");
    assert_eq!(pixels, [9]);

    write(png_with(
        png::ColorType::Indexed,
        eight,
        (2, 1),
        &[0, 1],
        |encoder| {
            encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
            encoder.set_trns(vec![0, 128]);
        },
    ));
    let (_, pixels, _) = sent(&name, &file, "--channels 4");
    assert_eq!(pixels, [30, 20, 10, 0, 60, 50, 40, 128]);
}

#[test]
fn a_pam_of_gray_and_alpha_is_decoded_within_its_bounds() {
    // opencv#9370, opencv#10351: twice as many bytes were written as there was room for.
    let name = TestName::new("pictures-pam");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("la.pam");
    let header = "P7\nWIDTH 2\nHEIGHT 1\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n";
    fs::write(&file, [header.as_bytes(), &[5, 250, 6, 100]].concat()).unwrap();
    for (channels, expected) in [
        (1, &[5, 6][..]),
        (3, &[5, 5, 5, 6, 6, 6]),
        (4, &[5, 5, 5, 250, 6, 6, 6, 100]),
    ] {
        let (_, pixels, _) = sent(&name, &file, &format!("--channels {channels}"));
        assert_eq!(pixels, expected, "{channels} channels");
    }
    // The same among others: nothing is decoded into shared memory.
    let mut sender = command(SEND, &name, "--fps 20 --images");
    let mut sender = Program::start(sender.args([&file, &file]));
    sender.ends_with(0);
    for (change, text) in [
        (header.replace("DEPTH 2", "DEPTH 9"), "9 channels"),
        (header.replace("MAXVAL 255", "MAXVAL 0"), "MAXVAL is 0"),
        (header.replace("WIDTH 2", "WIDTH 3"), "breaks off"),
        (header.replace("ENDHDR\n", ""), "header"),
    ] {
        fs::write(&file, [change.as_bytes(), &[5, 250, 6, 100]].concat()).unwrap();
        let said = refused(&name, &file, "");
        assert!(said.contains(text), "{said}");
    }
}

#[test]
fn pictures_that_are_too_large_are_refused_with_the_limit() {
    // opencv#15829: an assertion.
    let name = TestName::new("pictures-large");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("large.png");
    let mut bytes = png(
        png::ColorType::Grayscale,
        png::BitDepth::Eight,
        (4, 1),
        &[0; 4],
    );
    bytes[16..24].copy_from_slice(&[0, 0, 0x9c, 0x40, 0, 0, 0x9c, 0x40]);
    let mut crc = flate_crc(&bytes[12..29]).to_be_bytes().to_vec();
    bytes.splice(29..33, crc.drain(..));
    fs::write(&file, bytes).unwrap();
    let said = refused(&name, &file, "");
    assert!(
        said.contains("40000x40000") && said.contains("the limit is 1073741824"),
        "{said}"
    );
}

/// The checksum of a PNG's chunk (ISO 3309).
fn flate_crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let mask = if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
            crc = crc >> 1 ^ mask;
        }
    }
    !crc
}

#[test]
fn a_gif_points_to_the_flag_for_films_and_a_tiff_says_that_it_has_more_pages() {
    // opencv#22569, jimp#816.
    let name = TestName::new("pictures-other");
    let scratch = Scratch::new(&name);
    let gif = scratch.path().join("anim.gif");
    fs::write(&gif, b"GIF89a\x01\0\x01\0\0\0\0;").unwrap();
    let said = refused(&name, &gif, "");
    assert!(
        said.contains("is a GIF") && said.contains("--video"),
        "{said}"
    );

    let tiff = scratch.path().join("pages.tiff");
    let mut pages = Vector::<Mat>::new();
    for level in 1..=3 {
        let page = Mat::new_rows_cols_with_default(
            4,
            4,
            opencv::core::CV_8UC1,
            Scalar::all(f64::from(level)),
        );
        pages.push(page.unwrap());
    }
    imgcodecs::imwritemulti(tiff.to_str().unwrap(), &pages, &Vector::new()).unwrap();
    let (_, pixels, sender) = sent(&name, &tiff, "--channels 1");
    assert_eq!(pixels, [1; 16]);
    sender.assert_stderr("the first of 3 pages");
}

#[test]
fn quiet_is_quiet_whatever_is_in_a_picture() {
    // labelme#318: libpng's words about a broken colour profile were on stderr.
    let name = TestName::new("pictures-quiet");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("profile.png");
    let plain = png(
        png::ColorType::Grayscale,
        png::BitDepth::Eight,
        (2, 2),
        &[1, 2, 3, 4],
    );
    let body = b"iCCPbad\0\0nonsense";
    let mut chunk = u32::try_from(body.len() - 4)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    chunk.extend(body);
    chunk.extend(flate_crc(body).to_be_bytes());
    fs::write(&file, [&plain[..33], &chunk, &plain[33..]].concat()).unwrap();
    let mut sender = command(SEND, &name, "--quiet --count 1 --image");
    let mut sender = Program::start(sender.arg(&file));
    sender.ends_with(0);
    assert_eq!(sender.stderr(), "");
}

#[test]
fn files_are_sent_as_given_folders_in_order_and_hidden_files_not_at_all() {
    // kleinanzeigen-bot#63, ProjectKestrel#58, quickviewer#159, node-glob#277.
    let name = TestName::new("pictures-order");
    let scratch = Scratch::new(&name);
    let folder = scratch.path().join("dir[1]");
    fs::create_dir(&folder).unwrap();
    let write = |file: &str, level: u8| {
        let picture = png(
            png::ColorType::Grayscale,
            png::BitDepth::Eight,
            (1, 1),
            &[level],
        );
        fs::write(folder.join(file), picture).unwrap();
    };
    for (file, level) in [("c.png", 3), ("a.png", 1), ("b10.png", 10), ("b9.jfif", 9)] {
        write(file, level);
    }
    fs::write(folder.join("._a.png"), b"not a picture").unwrap();
    fs::write(folder.join("notes.txt"), b"not a picture").unwrap();
    let levels = |words: &[&str]| {
        let words = words
            .iter()
            .map(|word| folder.join(word).to_str().unwrap().to_owned());
        let script = r#"n=$1 && shift && exec "$0" --name "$n" --fps 5 --channels 1 --images "$@""#;
        let mut sender = Command::new("sh");
        sender.args(["-c", script, SEND, name.as_str()]).args(words);
        let mut sender = Program::start(&mut sender);
        let mut receiver = open(&name);
        let mut levels = Vec::new();
        let mut pixels = Vec::new();
        while let Ok(shm_frame::Waited::Frame) = receiver.wait(shm_frame_testing::PATIENCE) {
            if receiver
                .copy(&mut pixels)
                .is_ok_and(|frame| frame.is_some())
            {
                levels.push(pixels[0]);
            }
        }
        sender.ends_with(0);
        levels
    };
    assert_eq!(levels(&["c.png", "a.png"]), [3, 1]);
    assert_eq!(levels(&[""]), [1, 9, 10, 3]);
    assert_eq!(levels(&["*.png"]), [1, 10, 3]);
}

#[test]
fn every_depth_of_a_png_is_decoded() {
    // Fewer than 8 bits are 8, as bright as they are meant.
    let name = TestName::new("pictures-bits");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("bits.png");
    for (depth, byte, expected) in [
        (png::BitDepth::One, 0b1000_0000, [255, 0]),
        (png::BitDepth::Two, 0b1101_0000, [255, 85]),
        (png::BitDepth::Four, 0xf3, [255, 51]),
    ] {
        fs::write(
            &file,
            png(png::ColorType::Grayscale, depth, (2, 1), &[byte]),
        )
        .unwrap();
        let (frame, pixels, _) = sent(&name, &file, "--channels 1");
        assert_eq!(frame.shape.format().element(), Element::U8);
        assert_eq!(pixels, expected, "{depth:?}");
    }
    assert!(
        imgcodecs::imread(file.to_str().unwrap(), -1)
            .unwrap()
            .cols()
            == 2
    );
}
