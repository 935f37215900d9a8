//! Sends a moving picture 30 times a second, as a webcam would: `webcam NAME [COUNT]`.
//!
//! Any number of processes receive it, each at its own pace: start `detector NAME /boxes` and
//! `recorder NAME DIRECTORY`.

use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use shm_frame::{Format, Name, Sender, SenderOptions, Shape, Size};

const SIZE: Size = Size {
    width: 640,
    height: 480,
};
/// The side of the bright square that moves over the picture.
const SQUARE: usize = 60;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let name = Name::new(&args.next().ok_or("usage: webcam NAME [COUNT]")?)?;
    let count = args.next().map_or(Ok(u32::MAX), |count| count.parse())?;

    let shape = Shape::new(SIZE, Format::BGR8)?;
    let options = SenderOptions::new().capacity(shape.bytes()).slots(6);
    let mut sender = Sender::create(&name, &options)?;
    let begin = Instant::now();
    for i in 0..count {
        let due = begin + Duration::from_secs(1) * i / 30;
        sleep(due.saturating_duration_since(Instant::now()));
        let captured_ns = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
        let mut loan = sender.loan(shape)?;
        draw(loan.pixels(), i as usize);
        loan.set_captured_ns(captured_ns.try_into()?);
        loan.publish()?;
    }
    Ok(())
}

/// A dark picture with a bright square.
fn draw(pixels: &mut [u8], i: usize) {
    let (width, height) = (SIZE.width as usize, SIZE.height as usize);
    let (left, top) = (8 * i % (width - SQUARE), 4 * i % (height - SQUARE));
    for (y, row) in pixels.chunks_exact_mut(3 * width).enumerate() {
        row.fill(u8::try_from(y / 4).unwrap_or(u8::MAX));
        if (top..top + SQUARE).contains(&y) {
            row[3 * left..3 * (left + SQUARE)].fill(255);
        }
    }
}
