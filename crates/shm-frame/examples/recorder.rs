//! Writes the frames of a segment to files, and a line of JSON for each: `recorder NAME DIRECTORY
//! [COUNT]`.
//!
//! Gray frames become PGM, colour PPM, and all other formats the bytes as they are. What is known
//! of them is in `DIRECTORY/frames.jsonl`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use shm_frame::{Followed, Follower, Format, Frame, Name};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const USAGE: &str = "usage: recorder NAME DIRECTORY [COUNT]";
    let mut args = std::env::args().skip(1);
    let name = Name::new(&args.next().ok_or(USAGE)?)?;
    let directory = args.next().ok_or(USAGE)?;
    let directory = Path::new(&directory);
    let mut left = args.next().map_or(Ok(u64::MAX), |count| count.parse())?;

    fs::create_dir_all(directory)?;
    let mut lines = File::create(directory.join("frames.jsonl"))?;
    let mut follower = Follower::new(&name);
    let (mut pixels, mut meta) = (Vec::new(), Vec::new());
    while left > 0 {
        match follower.wait(Duration::from_secs(1))? {
            // Writing may take long, so it works on a copy: a lease should be short.
            Followed::Frame(receiver) => {
                if let Some(frame) = receiver.copy_with_meta(&mut pixels, &mut meta)? {
                    let file = write(directory, &frame, &pixels)?;
                    writeln!(lines, "{}", line(&frame, &file, &meta))?;
                    left -= 1;
                }
            }
            Followed::Missing(why) => eprintln!("waiting: {why}"),
            Followed::Ended(end) => eprintln!("{name} ended: {end}"),
            _ => {}
        }
    }
    Ok(())
}

/// Writes the pixels, and says to which file.
fn write(directory: &Path, frame: &Frame, pixels: &[u8]) -> std::io::Result<String> {
    let (width, height) = (frame.shape.width(), frame.shape.height());
    let (extension, header) = match frame.shape.format() {
        Format::GRAY8 => ("pgm", format!("P5 {width} {height} 255\n")),
        Format::BGR8 | Format::RGB8 => ("ppm", format!("P6 {width} {height} 255\n")),
        _ => ("raw", String::new()),
    };
    let name = format!("{:06}.{extension}", frame.number);
    let mut file = BufWriter::new(File::create(directory.join(&name))?);
    file.write_all(header.as_bytes())?;
    if frame.shape.format() == Format::BGR8 {
        for &[blue, green, red] in pixels.as_chunks::<3>().0 {
            file.write_all(&[red, green, blue])?;
        }
    } else {
        file.write_all(pixels)?;
    }
    file.flush()?;
    Ok(name)
}

fn line(frame: &Frame, file: &str, meta: &[u8]) -> String {
    // It is JSON by convention only.
    let meta = match str::from_utf8(meta) {
        Ok(meta) if meta.starts_with('{') => meta,
        _ => "null",
    };
    format!(
        r#"{{"number":{},"file":"{file}","width":{},"height":{},"format":{},"captured_ns":{},"delay_ns":{},"skipped":{},"meta":{meta}}}"#,
        frame.number,
        frame.shape.width(),
        frame.shape.height(),
        frame.shape.format().word(),
        frame.captured_ns.unwrap_or(0),
        frame.delay_ns,
        frame.skipped,
    )
}
