//! Pictures as people's programs write them: exact in depth and transparency, or refused with a
//! reason. Most cases come from reports about other programs; their repository and number are
//! named.
mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{SEND, command, heeds_signals};
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
fn an_avif_in_a_folder_is_sent_or_passed_over_with_a_word() {
    // quickviewer#159: it ended the run.
    let name = TestName::new("pictures-avif");
    let scratch = Scratch::new(&name);
    let (avif, picture) = (scratch.path().join("a.avif"), scratch.path().join("b.png"));
    fs::write(&picture, gray(7)).unwrap();
    let mut image = Mat::default();
    if imgcodecs::have_image_writer(".avif").unwrap() {
        image = imgcodecs::imread(picture.to_str().unwrap(), -1).unwrap();
        imgcodecs::imwrite_def(avif.to_str().unwrap(), &image).unwrap();
    } else {
        fs::write(&avif, b"\0\0\0\x10ftypavif\0\0\0\0").unwrap();
    }
    let mut sender = command(SEND, &name, "--json --fps 50 --images");
    let mut sender = Program::start(sender.arg(scratch.path()));
    sender.ends_with(0);
    let sent = sender.stdout().matches(r#""event":"sent""#).count();
    if image.empty() {
        assert_eq!(sent, 1);
        sender.assert_stderr("passed over: this OpenCV cannot read AVIF");
    } else {
        assert_eq!(sent, 2);
    }
}

#[test]
fn a_tiff_of_floats_with_alpha_is_opaque() {
    // cellpose#312: OpenCV's assertion.
    let name = TestName::new("pictures-floats");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("floats.tiff");
    let pixel = Scalar::new(0.25, 0.5, 2.0, 0.0);
    let image = Mat::new_rows_cols_with_default(1, 1, opencv::core::CV_32FC3, pixel).unwrap();
    // Without this, OpenCV keeps the logarithms of floats.
    let exact = Vector::from_slice(&[imgcodecs::IMWRITE_TIFF_COMPRESSION, 1]);
    imgcodecs::imwrite(file.to_str().unwrap(), &image, &exact).unwrap();
    let (frame, pixels, _) = sent(&name, &file, "--channels 4");
    assert_eq!(frame.shape.to_string(), "1x1x4:f32");
    let expected = [0.25_f32, 0.5, 2.0, 1.0].map(f32::to_le_bytes).concat();
    assert_eq!(pixels, expected);
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

fn fifo(scratch: &Scratch) -> std::path::PathBuf {
    let path = scratch.path().join("fifo");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

fn gray(level: u8) -> Vec<u8> {
    png(
        png::ColorType::Grayscale,
        png::BitDepth::Eight,
        (1, 1),
        &[level],
    )
}

#[test]
fn a_picture_from_a_pipe_is_read_once_and_the_segment_is_looked_after_meanwhile() {
    let name = TestName::new("pictures-fifo");
    let scratch = Scratch::new(&name);
    let path = fifo(&scratch);
    for flag in ["--image", "--images"] {
        let mut sender = command(SEND, &name, &format!("--channels 1 --fps 1 {flag}"));
        let mut sender = Program::start(sender.arg(&path));
        fs::write(&path, gray(7)).unwrap();
        let (_, pixels) = take(&mut open(&name));
        assert_eq!(pixels, [7], "{flag}");
        if flag == "--images" {
            sender.ends_with(0);
        } else {
            sender.signal("INT");
            sender.ends_with(0);
        }
    }
    // The second time around it waits for another writer.
    let mut sender = command(SEND, &name, "--json --channels 1 --loop --images");
    let mut sender = Program::start(sender.arg(&path));
    fs::write(&path, gray(8)).unwrap();
    sender.wait_for(r#""event":"sent""#);
    fs::remove_file(name.file()).unwrap();
    shm_frame_testing::wait_until("the name is there again", || name.file().exists());
    fs::write(&path, gray(9)).unwrap();
    let (_, pixels) = take(&mut open(&name));
    assert_eq!(pixels, [9]);
    sender.signal("TERM");
    sender.ends_with(0);
}

#[test]
fn a_signal_ends_the_wait_for_a_picture_from_a_pipe() {
    let name = TestName::new("pictures-blocked");
    let scratch = Scratch::new(&name);
    let path = fifo(&scratch);
    for flag in ["--image", "--images"] {
        for writes in [false, true] {
            let mut sender = Program::start(command(SEND, &name, flag).arg(&path));
            // Half a picture.
            let writer = writes.then(|| {
                let mut writer = fs::File::options().write(true).open(&path).unwrap();
                std::io::Write::write_all(&mut writer, &gray(1)[..20]).unwrap();
                writer
            });
            heeds_signals(&mut sender);
            sender.signal("TERM");
            sender.ends_with(0);
            drop(writer);
        }
    }
}

// --- kinds that people have besides

/// A BMP of this height and these rows, `head` being what follows the planes: bits and compression.
fn bmp(
    width: i32,
    height: i32,
    bits: u16,
    compression: u32,
    masks: &[u32],
    rows: &[u8],
) -> Vec<u8> {
    // With masks, the header is that of version 4.
    let header: u32 = if masks.is_empty() { 40 } else { 108 };
    let begin = 14 + header;
    let mut file = b"BM".to_vec();
    let mut words = vec![begin + u32::try_from(rows.len()).unwrap(), 0, begin, header];
    words.extend([width, height].map(i32::cast_unsigned));
    words.push(1 | u32::from(bits) << 16);
    words.extend([
        compression,
        u32::try_from(rows.len()).unwrap(),
        2835,
        2835,
        0,
        0,
    ]);
    words.extend(masks);
    file.extend(words.into_iter().flat_map(u32::to_le_bytes));
    file.resize(begin as usize, 0);
    file.extend(rows);
    file
}

#[test]
fn a_bmp_may_have_its_first_row_first_16_bits_a_pixel_and_alpha() {
    let name = TestName::new("pictures-bmp");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("picture.bmp");
    // leptonica#323: a negative height was no size.
    fs::write(&file, bmp(1, -2, 24, 0, &[], &[1, 2, 3, 0, 4, 5, 6, 0])).unwrap();
    let (frame, pixels, _) = sent(&name, &file, "");
    assert_eq!(frame.shape.to_string(), "1x2x3");
    assert_eq!(pixels, [1, 2, 3, 4, 5, 6]);
    // CImg#238: five and six bits of colours, of which the largest are full brightness.
    let masks = [0xf800, 0x07e0, 0x001f, 0];
    let rows = [0xf800_u16, 0x07e0, 0x001f, 0xffff]
        .map(u16::to_le_bytes)
        .concat();
    fs::write(&file, bmp(4, 1, 16, 3, &masks, &rows)).unwrap();
    let (_, pixels, _) = sent(&name, &file, "");
    assert_eq!(pixels, [0, 0, 255, 0, 255, 0, 255, 0, 0, 255, 255, 255]);
    // opencv#27555: the alpha of 32 bits.
    let masks = [0x00ff_0000, 0x0000_ff00, 0x0000_00ff, 0xff00_0000];
    fs::write(&file, bmp(2, 1, 32, 3, &masks, &[1, 2, 3, 40, 5, 6, 7, 80])).unwrap();
    let (_, pixels, _) = sent(&name, &file, "--channels 4");
    assert_eq!(pixels, [1, 2, 3, 40, 5, 6, 7, 80]);
}

#[test]
fn an_interlaced_png_has_its_pixels_in_their_places() {
    // opentoonz#7100, BigGustave#16: the passes of Adam7 were taken for rows.
    let name = TestName::new("pictures-adam7");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("interlaced.png");
    // 2x2: the first pass has one pixel, the sixth the one beside it, the seventh the second row.
    let passes = [0, 10, 0, 20, 0, 30, 40];
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in passes {
        a = (a + u32::from(byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    let stored = [
        &[0x78, 1, 1, 7, 0, 0xf8, 0xff][..],
        &passes,
        &(b << 16 | a).to_be_bytes(),
    ]
    .concat();
    let chunk = |kind: &[u8], body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        let checked = [kind, body].concat();
        [&length[..], &checked, &flate_crc(&checked).to_be_bytes()].concat()
    };
    let header = chunk(b"IHDR", &[0, 0, 0, 2, 0, 0, 0, 2, 8, 0, 0, 0, 1]);
    let parts = [header, chunk(b"IDAT", &stored), chunk(b"IEND", &[])].concat();
    fs::write(&file, [b"\x89PNG\r\n\x1a\n", &parts[..]].concat()).unwrap();
    let (_, pixels, _) = sent(&name, &file, "--channels 1");
    assert_eq!(pixels, [10, 20, 30, 40]);
}

/// A TIFF of the 16-bit values of these tags, and of longer values that follow, as bytes. A tag of
/// more than two values, or of the pixels, points there.
fn tiff(big: bool, tags: &[(u16, &[u16])], pixels: (u16, &[u8])) -> Vec<u8> {
    let short = |value: u16| {
        if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let long = |value: u32| {
        if big {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        }
    };
    let count = u32::try_from(tags.len() + 2).unwrap();
    let mut after = 8 + 2 + 12 * count + 4;
    let mut entries: Vec<(u16, Vec<u8>)> = Vec::new();
    let mut rest = Vec::new();
    for &(tag, values) in tags {
        let bytes: Vec<u8> = values.iter().flat_map(|&value| short(value)).collect();
        let number = u32::try_from(values.len()).unwrap();
        let mut entry = [&short(tag)[..], &short(3), &long(number)].concat();
        if bytes.len() <= 4 {
            entry.extend(&bytes);
            entry.resize(12, 0);
        } else {
            entry.extend(long(after));
            after += u32::try_from(bytes.len()).unwrap();
            rest.extend(bytes);
        }
        entries.push((tag, entry));
    }
    let (offsets, pixels) = pixels;
    let length = u32::try_from(pixels.len()).unwrap();
    // Strips begin at 273 and have their lengths in 279; tiles, in 324 and 325.
    let lengths = if offsets == 273 { 279 } else { 325 };
    for (tag, value) in [(offsets, after), (lengths, length)] {
        let entry = [&short(tag)[..], &short(4), &long(1), &long(value)].concat();
        entries.push((tag, entry));
    }
    entries.sort();
    let begin: &[u8] = if big { b"MM\0*" } else { b"II*\0" };
    let mut file = [
        begin,
        &long(8),
        &short(u16::try_from(entries.len()).unwrap()),
    ]
    .concat();
    for (_, entry) in &entries {
        file.extend(entry);
    }
    file.extend(long(0));
    file.extend(rest);
    file.extend(pixels);
    file
}

/// The tags of a TIFF: width, height, bits of a sample, what the samples are, and how many.
macro_rules! tags {
    ($width:expr, $height:expr, $bits:expr, $kind:expr, $samples:expr) => {
        [
            (256, &[$width][..]),
            (257, &[$height]),
            (258, $bits),
            (259, &[1]),
            (262, &[$kind]),
            (277, &[$samples]),
        ]
    };
}

#[test]
fn a_tiff_may_have_its_high_bytes_first_a_palette_or_tiles() {
    let name = TestName::new("pictures-tiff");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("picture.tiff");
    // brendan-duncan/image#43: the bytes of 16 bits were swapped.
    let values = [500_u16, 1000, 2500];
    for big in [false, true] {
        let bytes = values.map(|value| {
            if big {
                value.to_be_bytes()
            } else {
                value.to_le_bytes()
            }
        });
        let gray = tags!(3, 1, &[16], 1, 1);
        fs::write(&file, tiff(big, &gray, (273, &bytes.concat()))).unwrap();
        let (frame, pixels, _) = sent(&name, &file, "--channels 1");
        assert_eq!(frame.shape.format(), Format::GRAY16);
        assert_eq!(pixels, words(&values), "big-endian: {big}");
    }
    // darktable#19089, ImageSharp#3182: a palette was taken for grays.
    let mut palette = [0_u16; 768];
    for (index, [red, green, blue]) in [[10, 20, 30], [40, 50, 60]].into_iter().enumerate() {
        (palette[index], palette[256 + index], palette[512 + index]) =
            (red * 257, green * 257, blue * 257);
    }
    let mut indexed = tags!(2, 1, &[8], 3, 1).to_vec();
    indexed.push((320, &palette));
    fs::write(&file, tiff(false, &indexed, (273, &[1, 0]))).unwrap();
    let (_, pixels, _) = sent(&name, &file, "");
    assert_eq!(pixels, [60, 50, 40, 30, 20, 10]);
    // TiffImages.jl#164: a tile, of which a part is beyond the picture.
    let mut tiled = tags!(3, 2, &[8], 1, 1).to_vec();
    tiled.extend([(322, &[64][..]), (323, &[64])]);
    let mut tile = [0; 64 * 64];
    for (row, levels) in [[1, 2, 3], [4, 5, 6]].iter().enumerate() {
        tile[64 * row..][..3].copy_from_slice(levels);
    }
    fs::write(&file, tiff(false, &tiled, (324, &tile))).unwrap();
    let (_, pixels, _) = sent(&name, &file, "--channels 1");
    assert_eq!(pixels, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_tiff_of_five_samples_a_pixel_is_refused_without_an_assertion() {
    // opencv#26771: five inks, and OpenCV's assertion.
    let name = TestName::new("pictures-inks");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("inks.tiff");
    let mut tags = tags!(1, 1, &[8, 8, 8, 8, 8], 5, 5).to_vec();
    tags.push((338, &[0]));
    fs::write(&file, tiff(false, &tags, (273, &[0; 5]))).unwrap();
    let said = refused(&name, &file, "");
    assert!(
        said.contains("5 samples a pixel") && !said.contains("OpenCV("),
        "{said}"
    );
}

#[test]
fn a_photo_is_upright_if_its_camera_says_how_it_was_held() {
    // opencv#8854, dlib#1706.
    let name = TestName::new("pictures-exif");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("photo.jpg");
    // White at the left, black at the right.
    let mut photo =
        Mat::new_rows_cols_with_default(16, 32, opencv::core::CV_8UC1, Scalar::all(0.0)).unwrap();
    let left = opencv::core::Rect::new(0, 0, 16, 16);
    opencv::imgproc::rectangle(&mut photo, left, Scalar::all(255.0), -1, 8, 0).unwrap();
    let mut jpeg = Vector::<u8>::new();
    imgcodecs::imencode_def(".jpg", &photo, &mut jpeg).unwrap();
    let jpeg = jpeg.as_slice();
    for (orientation, size, white) in [
        (1, "32x16x1", (0, 0)),
        (3, "32x16x1", (31, 0)),
        (6, "16x32x1", (0, 0)),
        (8, "16x32x1", (0, 31)),
    ] {
        let exif = [
            &b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..],
            &[orientation, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        fs::write(&file, [&jpeg[..2], &exif, &jpeg[2..]].concat()).unwrap();
        let (frame, pixels, _) = sent(&name, &file, "--channels 1");
        assert_eq!(frame.shape.to_string(), size, "orientation {orientation}");
        let (x, y) = white;
        let width = usize::try_from(frame.shape.width()).unwrap();
        assert!(pixels[y * width + x] > 200, "orientation {orientation}");
        let black = pixels.len() - 1 - (y * width + x);
        assert!(pixels[black] < 50, "orientation {orientation}");
    }
}

/// A JPEG of 8x8 pixels that all have these four samples, as Photoshop writes them.
fn cmyk(samples: [u8; 4]) -> Vec<u8> {
    let mut bits = String::new();
    for sample in samples {
        // The one coefficient of a block of one level, and the end of the block.
        let level = 8 * (i32::from(sample) - 128);
        let length = (32 - level.unsigned_abs().leading_zeros()) as usize;
        let offset = if level < 0 { (1 << length) - 1 } else { 0 };
        write!(bits, "{length:04b}").unwrap();
        if length > 0 {
            write!(bits, "{:0length$b}", level + offset).unwrap();
        }
        bits += "0";
    }
    while !bits.len().is_multiple_of(8) {
        bits.push('1');
    }
    let mut file = b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0\xff\xdb\0\x43\0".to_vec();
    file.extend([1; 64]);
    file.extend(b"\xff\xc0\0\x14\x08\0\x08\0\x08\x04");
    (1..=4).for_each(|component| file.extend([component, 0x11, 0]));
    // Twelve codes of four bits, and one of a single bit.
    file.extend(b"\xff\xc4\0\x1f\0\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0");
    file.extend(0..12);
    file.extend(b"\xff\xc4\0\x14\x10\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    file.extend(b"\xff\xda\0\x0e\x04\x01\0\x02\0\x03\0\x04\0\0\x3f\0");
    for byte in bits.as_bytes().chunks(8) {
        let byte = u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap();
        file.push(byte);
        if byte == 0xff {
            file.push(0);
        }
    }
    file.extend(b"\xff\xd9");
    file
}

#[test]
fn the_inks_of_a_photoshop_jpeg_are_not_inverted() {
    // TwelveMonkeys#147, pypdf#3943: Photoshop writes 255 for no ink.
    let name = TestName::new("pictures-cmyk");
    let scratch = Scratch::new(&name);
    let file = scratch.path().join("inks.jpg");
    for (samples, colour) in [
        ([255, 0, 0, 255], [0, 0, 255]),
        ([255, 255, 255, 255], [255, 255, 255]),
        ([255, 255, 255, 0], [0, 0, 0]),
        ([0, 255, 0, 255], [0, 255, 0]),
    ] {
        fs::write(&file, cmyk(samples)).unwrap();
        let (frame, pixels, _) = sent(&name, &file, "");
        assert_eq!(frame.shape.to_string(), "8x8x3");
        let near = |(got, wanted): (&u8, u8)| got.abs_diff(wanted) <= 2;
        assert!(
            pixels[..3].iter().zip(colour).all(near),
            "{samples:?}: {:?}",
            &pixels[..3]
        );
    }
}
