//! Measures the way from one machine to another: for `bridge/measure`.
//!
//! `meter send NAME WxH FPS` sends pictures with the time drawn into them, as black and white
//! blocks, so that it also survives a film. `meter receive NAME WxH SECONDS` waits for one, lets a
//! second pass, and prints how old they were, in ns, one a line. Both machines share a clock.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use shm_frame::{Followed, Follower, Format, Name, Sender, SenderOptions, Shape, Size};

/// The side of a block, in pixels.
const BLOCK: usize = 16;
/// Blocks in a row; two rows have 64 bits.
const ROW: usize = 32;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["send", name, size, fps] => send(&Name::new(name)?, shape(size)?, fps.parse()?),
        ["receive", name, size, seconds] => {
            receive(&Name::new(name)?, shape(size)?, seconds.parse()?)
        }
        _ => Err("usage: meter send NAME WxH FPS, or meter receive NAME WxH SECONDS".into()),
    }
}

fn shape(size: &str) -> Result<Shape, Box<dyn Error>> {
    let (width, height) = size.split_once('x').ok_or("a size is WxH")?;
    let size = Size {
        width: width.parse()?,
        height: height.parse()?,
    };
    Ok(Shape::new(size, Format::BGR8)?)
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec * 1_000_000_000 + now.tv_nsec).unsigned_abs()
}

/// Where the middle of a bit's block is.
fn middle(shape: Shape, bit: usize) -> usize {
    let (row, column) = (bit / ROW * BLOCK + BLOCK / 2, bit % ROW * BLOCK + BLOCK / 2);
    row * shape.row_bytes() + column * 3
}

fn draw(shape: Shape, pixels: &mut [u8], time: u64) {
    for bit in 0..64 {
        let white = time >> bit & 1 == 1;
        for row in 0..BLOCK {
            let begin = (bit / ROW * BLOCK + row) * shape.row_bytes() + bit % ROW * BLOCK * 3;
            pixels[begin..begin + BLOCK * 3].fill(if white { 255 } else { 0 });
        }
    }
}

fn read(shape: Shape, pixels: &[u8]) -> u64 {
    let bit = |bit| u64::from(pixels[middle(shape, bit)] > 127) << bit;
    (0..64).map(bit).sum()
}

fn send(name: &Name, shape: Shape, fps: f64) -> Result<(), Box<dyn Error>> {
    let mut sender = Sender::create(name, &SenderOptions::new().capacity(shape.bytes()))?;
    // A picture that compresses as a calm scene does.
    let rows = 0..shape.bytes() / shape.row_bytes();
    let picture: Vec<u8> = rows
        .flat_map(|y| (0..shape.row_bytes()).map(move |x| ((x / 3 + y) / 4 % 200).to_le_bytes()[0]))
        .collect();
    let begun = Instant::now();
    for number in 1_u32.. {
        let mut loan = sender.loan(shape)?;
        let time = now();
        loan.pixels().copy_from_slice(&picture);
        draw(shape, loan.pixels(), time);
        loan.publish()?;
        let due = begun + Duration::from_secs_f64(f64::from(number) / fps);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

fn receive(name: &Name, shape: Shape, seconds: f64) -> Result<(), Box<dyn Error>> {
    let mut follower = Follower::new(name);
    let mut begun = None;
    let mut ages = Vec::new();
    loop {
        let Followed::Frame(receiver) = follower.wait(Duration::from_secs(1))? else {
            continue;
        };
        let Some(lease) = receiver.lease()? else {
            continue;
        };
        if lease.frame().shape != shape {
            return Err(format!("frames are {}", lease.frame().shape).into());
        }
        let time = read(shape, lease.pixels());
        let now = now();
        let running = begun
            .get_or_insert_with(Instant::now)
            .elapsed()
            .as_secs_f64();
        if running > 1.0 {
            // A film shows nothing of use until its first whole picture.
            ages.extend(now.checked_sub(time).filter(|age| *age < 10_000_000_000));
        }
        if running > 1.0 + seconds {
            break;
        }
    }
    for age in ages {
        println!("{age}");
    }
    Ok(())
}
