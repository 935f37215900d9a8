//! Finds what is bright in the frames of one segment, and answers with the frames and the boxes in
//! another: `detector FROM TO [COUNT]`.
//!
//! The boxes are JSON in the frame's meta: `{"boxes":[{"x":8,"y":4,"width":60,"height":60}]}`.

use std::time::Duration;

use shm_frame::{Extras, Followed, Follower, Lease, Name, Sender, SenderOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const USAGE: &str = "usage: detector FROM TO [COUNT]";
    let mut args = std::env::args().skip(1);
    let from = Name::new(&args.next().ok_or(USAGE)?)?;
    let to = Name::new(&args.next().ok_or(USAGE)?)?;
    let mut left = args.next().map_or(Ok(u64::MAX), |count| count.parse())?;

    let mut sender = Sender::create(&to, &SenderOptions::new())?;
    let mut follower = Follower::new(&from);
    while left > 0 {
        match follower.wait(Duration::from_millis(100))? {
            // Read in place: nobody writes there until the lease ends.
            Followed::Frame(receiver) => {
                if let Some(lease) = receiver.lease()? {
                    let meta = boxes(&lease);
                    let mut extras = Extras::new().meta(meta.as_bytes());
                    if let Some(captured_ns) = lease.frame().captured_ns {
                        extras = extras.captured_ns(captured_ns);
                    }
                    sender.publish_with(lease.frame().shape, lease.pixels(), extras)?;
                    left -= 1;
                }
            }
            Followed::Missing(why) => eprintln!("waiting: {why}"),
            Followed::Ended(end) => eprintln!("{from} ended: {end}"),
            _ => sender.tend()?,
        }
    }
    Ok(())
}

/// The box around all bright pixels, as JSON.
fn boxes(lease: &Lease<'_>) -> String {
    let shape = lease.frame().shape;
    let pixel = shape.format().pixel_bytes();
    let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
    for (y, row) in lease.pixels().chunks_exact(shape.row_bytes()).enumerate() {
        for (x, pixel) in row.chunks_exact(pixel).enumerate() {
            if pixel[0] > 200 {
                (left, right) = (left.min(x), right.max(x));
                (top, bottom) = (top.min(y), y);
            }
        }
    }
    if left > right {
        return r#"{"boxes":[]}"#.to_owned();
    }
    let (width, height) = (right - left + 1, bottom - top + 1);
    format!(r#"{{"boxes":[{{"x":{left},"y":{top},"width":{width},"height":{height}}}]}}"#)
}
