//! Receives in an event loop of tokio: `cargo run --example tokio -- /cam 10` prints ten frames.
//!
//! A [`Notifier`] has a descriptor that becomes readable when there is news, and tokio waits for
//! that. The frames are taken by a [`Follower`], in any order of starts and restarts of the two
//! sides.

#![expect(
    unsafe_code,
    reason = "AsyncFd asks for a promise about the descriptor"
)]

use std::time::Duration;

use shm_frame::{Followed, Follower, Name, Notifier};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = Name::new(&arguments.next().ok_or("usage: tokio NAME [FRAMES]")?)?;
    let mut left: u32 = arguments.next().map_or(Ok(u32::MAX), |text| text.parse())?;

    let mut follower = Follower::new(&name);
    let notifier = Notifier::new(&name)?;
    // SAFETY: a notifier keeps its descriptor open, and has the same one until it is dropped.
    let notifier = unsafe { AsyncFd::register_with_interest(notifier, Interest::READABLE)? };
    let mut pixels = Vec::new();
    while left > 0 {
        let mut ready = notifier.readable().await?;
        // First: what comes from here on makes it readable again.
        ready.get_inner().clear();
        ready.clear_ready();
        // Then all there is, without waiting.
        while left > 0 {
            match follower.wait(Duration::ZERO)? {
                Followed::Frame(receiver) => {
                    if let Some(frame) = receiver.copy(&mut pixels)? {
                        println!("frame {} of {}", frame.number, frame.shape);
                        left = left.saturating_sub(1);
                    }
                }
                Followed::Missing(why) => println!("waiting: {why}"),
                Followed::Ended(end) => println!("ended: {end}"),
                Followed::Attached(_) => {}
                Followed::Timeout | Followed::Cancelled => break,
            }
        }
    }
    Ok(())
}
