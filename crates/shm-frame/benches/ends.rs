//! What two ends and more cost each other, without peers:
//! `cargo bench -p shm-frame --bench ends -- [first] [viewers] [in-place] [many]`. Ends are threads
//! here; with frames from process to process, and beside other programs, `scripts/bench` measures.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use shm_frame::{
    Format, Name, Receiver, ReceiverOptions, Sender, SenderOptions, Shape, Size, Via, Waited,
};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

type Part = fn() -> Result<()>;

const SIZES: [(u32, u32); 3] = [(640, 404), (1920, 1080), (3840, 2160)];

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let parts: [(&str, Part); 4] = [
        ("first", first),
        ("viewers", viewers),
        ("in-place", in_place),
        ("many", many),
    ];
    let named = |name: &str| words.iter().any(|word| word == name);
    let any = parts.iter().any(|(name, _)| named(name));
    for (name, part) in parts {
        if !any || named(name) {
            part()?;
        }
    }
    Ok(())
}

fn shape((width, height): (u32, u32)) -> Result<Shape> {
    Ok(Shape::new(Size { width, height }, Format::BGR8)?)
}

fn sender(of: u32, shape: Shape, slots: usize) -> Result<Sender> {
    let name = Name::new(&format!("/shm-frame-ends-{}-{of}", std::process::id()))?;
    let options = SenderOptions::new().capacity(shape.bytes()).slots(slots);
    Ok(Sender::create(&name, &options)?)
}

fn us(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn at(times: &mut [Duration], part: f64) -> Duration {
    times.sort_unstable();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a short list"
    )]
    let place = ((times.len() - 1) as f64 * part) as usize;
    times[place]
}

/// How much longer the first frames take than the others: medians of several runs.
fn first() -> Result<()> {
    const RUNS: usize = 15;
    const FRAMES: usize = 60;
    println!(
        "first frames: us to publish the 1st, 2nd and 3rd; the median of the others; to create"
    );
    for size in SIZES {
        let shape = shape(size)?;
        let pixels = vec![128; shape.bytes()];
        let mut created = Vec::new();
        let mut times = vec![Vec::new(); FRAMES];
        for run in 0..RUNS {
            let begin = Instant::now();
            let mut sender = sender(u32::try_from(run)?, shape, 4)?;
            created.push(begin.elapsed());
            for frame in &mut times {
                let begin = Instant::now();
                sender.publish(shape, &pixels)?;
                frame.push(begin.elapsed());
                thread::sleep(Duration::from_millis(2));
            }
        }
        let mut medians: Vec<_> = times.iter_mut().map(|times| at(times, 0.5)).collect();
        let [first, second, third] = [0, 1, 2].map(|i| us(medians[i]));
        let others = us(at(&mut medians[3..], 0.5));
        let created = us(at(&mut created, 0.5));
        println!("  {shape}: {first:.0} {second:.0} {third:.0}; {others:.0}; {created:.0}");
    }
    Ok(())
}

/// From the begin of a frame until a receiver that asks all the time has it, by the way that it
/// comes; interleaved.
fn viewers() -> Result<()> {
    println!("viewers: us from the begin of a frame until a busy receiver has it; 100 frames/s");
    for size in SIZES {
        let shape = shape(size)?;
        let mut sender = sender(0, shape, 4)?;
        let pixels = vec![128; shape.bytes()];
        let name = sender.name().clone();
        let open =
            |read_only| Receiver::open_with(&name, &ReceiverOptions::new().read_only(read_only));
        let mut ways = [
            (open(false)?, true),
            (open(true)?, true),
            (open(true)?, false),
        ];
        let stop = Arc::new(AtomicBool::new(false));
        // Which of them receives.
        let turn = Arc::new(AtomicU64::new(0));
        let sending = {
            let (stop, turn) = (Arc::clone(&stop), Arc::clone(&turn));
            thread::spawn(move || -> Result<()> {
                // Each comes after each other one as often: who copies leaves the caches full.
                for way in [0, 1, 2, 1, 0, 2].into_iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    turn.store(way, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(10));
                    sender.publish(shape, &pixels)?;
                }
                Ok(())
            })
        };
        let mut delays = vec![Vec::new(); 3];
        let mut copied = Vec::new();
        let end = Instant::now() + Duration::from_secs(6);
        while Instant::now() < end {
            let way = usize::try_from(turn.load(Ordering::Relaxed))?;
            let (receiver, leases) = &mut ways[way];
            let frame = if *leases {
                receiver.lease()?.map(|lease| lease.frame())
            } else {
                receiver.copy(&mut copied)?
            };
            let of_its_kind = |via| match via {
                Via::Leased => 0,
                Via::LeasedReadOnly => 1,
                _ => 2,
            };
            if let Some(frame) = frame.filter(|frame| !frame.found && frame.skipped <= 2)
                && of_its_kind(frame.via) == way
            {
                delays[way].push(Duration::from_nanos(frame.delay_ns.unsigned_abs()));
            }
        }
        stop.store(true, Ordering::Relaxed);
        sending.join().expect("it does not panic")?;
        for (delays, how) in delays
            .iter_mut()
            .zip(["leased", "leased by lock", "copied"])
        {
            if !delays.is_empty() {
                let count = delays.len();
                println!("  {shape} {how}: {:.0} (of {count})", us(at(delays, 0.5)));
            }
        }
    }
    Ok(())
}

/// A frame there and one back, of which a few bytes are written and read: half of the time.
fn in_place() -> Result<()> {
    const FRAMES: usize = 200_000;
    println!("in place: ns from the begin of a frame until a busy receiver has read a byte of it");
    let shape = shape(SIZES[1])?;
    for (read_only, how) in [(false, "leased"), (true, "leased by lock")] {
        let (mut there, mut back) = (sender(0, shape, 4)?, sender(1, shape, 4)?);
        let options = ReceiverOptions::new().read_only(read_only);
        let mut at_there = Receiver::open_with(there.name(), &options)?;
        let mut at_back = Receiver::open_with(back.name(), &options)?;
        let publish = move |sender: &mut Sender, value| -> Result<()> {
            let mut loan = sender.loan(shape)?;
            loan.pixels()[0] = value;
            loan.publish()?;
            Ok(())
        };
        let read = |receiver: &mut Receiver| -> Result<u8> {
            loop {
                if let Some(lease) = receiver.lease()? {
                    return Ok(lease.pixels()[0]);
                }
                std::hint::spin_loop();
            }
        };
        while !(at_there.can_lease() && at_back.can_lease()) {
            thread::sleep(Duration::from_millis(10));
            at_there.wait(Duration::ZERO)?;
            at_back.wait(Duration::ZERO)?;
        }
        let answering = thread::spawn(move || -> Result<()> {
            for _ in 0..FRAMES {
                let value = read(&mut at_there)?;
                publish(&mut back, value)?;
            }
            Ok(())
        });
        let mut times = Vec::new();
        for frame in 0..FRAMES {
            let value = frame.to_le_bytes()[0];
            let begin = Instant::now();
            publish(&mut there, value)?;
            assert_eq!(read(&mut at_back)?, value);
            times.push(begin.elapsed() / 2);
        }
        answering.join().expect("it does not panic")?;
        let [p10, p50] = [0.1, 0.5].map(|part| us(at(&mut times, part)) * 1000.0);
        println!("  {how}: {p50:.0} (10 %: {p10:.0})");
    }
    Ok(())
}

/// A receiver asleep that reads what it gets, slowly if it is told to, until the sender ends.
fn receive(mut receiver: Receiver, hold: Duration) -> Result<Vec<Duration>> {
    let mut delays = Vec::new();
    while let Waited::Frame = receiver.wait(Duration::from_secs(10))? {
        let mut pixels = Vec::new();
        let leased = receiver.lease()?.map(|lease| {
            thread::sleep(hold);
            lease.frame()
        });
        let frame = match leased {
            None => receiver.copy(&mut pixels)?,
            leased => leased,
        };
        if let Some(frame) = frame.filter(|frame| !frame.found) {
            delays.push(Duration::from_nanos(frame.delay_ns.unsigned_abs()));
        }
    }
    Ok(delays)
}

/// Publishes at 60 frames/s, and says how long each took.
fn publish(mut sender: Sender, shape: Shape) -> Result<Vec<Duration>> {
    let pixels = vec![128; shape.bytes()];
    let mut times = Vec::new();
    for _ in 0..180 {
        thread::sleep(Duration::from_micros(16_667));
        let begin = Instant::now();
        sender.publish(shape, &pixels)?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// Many receivers of one stream, a slow one among fast ones, and many streams.
fn many() -> Result<()> {
    println!("many: us at the median and at 99 %; 640x404x3, 60 frames/s, receivers asleep");
    let shape = shape(SIZES[0])?;
    let row = |what: &str, streams: u32, receivers: usize, slow: usize| -> Result<()> {
        let mut receiving = Vec::new();
        let mut sending = Vec::new();
        for stream in 0..streams {
            let sender = sender(stream, shape, 16)?;
            for receiver in 0..receivers {
                let hold = if receiver < slow { 100 } else { 0 };
                let receiver = Receiver::open(sender.name())?;
                let hold = Duration::from_millis(hold);
                let thread = thread::spawn(move || receive(receiver, hold));
                receiving.push((hold.is_zero(), thread));
            }
            sending.push(thread::spawn(move || publish(sender, shape)));
        }
        let mut published = Vec::new();
        for sending in sending {
            published.extend(sending.join().expect("it does not panic")?);
        }
        let mut delays = Vec::new();
        for (fast, thread) in receiving {
            let of_one = thread.join().expect("it does not panic")?;
            if fast {
                delays.extend(of_one);
            }
        }
        let [p, p99] = [0.5, 0.99].map(|part| us(at(&mut published, part)));
        let [d, d99] = [0.5, 0.99].map(|part| us(at(&mut delays, part)));
        println!("  {what}: publish {p:.0} {p99:.0}; arrival at the fast ones {d:.0} {d99:.0}");
        Ok(())
    };
    for count in [1, 8, 16] {
        println!("  a futex call that wakes {count}: {:.1}", wake(count)?);
    }
    row("1 receiver", 1, 1, 0)?;
    row("8 receivers", 1, 8, 0)?;
    row("16 receivers", 1, 16, 0)?;
    row(
        "16 receivers, one of them holds each frame for 0.1 s",
        1,
        16,
        1,
    )?;
    row("16 streams, a receiver each", 16, 1, 0)?;
    Ok(())
}

/// What the system takes to wake so many threads by one call, in us: the floor of a publication.
fn wake(count: u32) -> Result<f64> {
    use rustix::thread::futex::{Flags, wait, wake};

    let word = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let sleepers = (0..count).map(|_| {
        let word = Arc::clone(&word);
        thread::spawn(move || {
            while word.load(Ordering::Relaxed) != u32::MAX {
                let now = word.load(Ordering::Relaxed);
                let _ = wait(&word, Flags::empty(), now, None);
            }
        })
    });
    let sleepers: Vec<_> = sleepers.collect();
    let mut times = Vec::new();
    for round in (1..200).chain([u32::MAX]) {
        thread::sleep(Duration::from_millis(10));
        word.store(round, Ordering::Relaxed);
        let begin = Instant::now();
        wake(&word, Flags::empty(), count)?;
        times.push(begin.elapsed());
    }
    for sleeper in sleepers {
        // One that was about to sleep when it was told to end.
        while !sleeper.is_finished() {
            wake(&word, Flags::empty(), count)?;
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(us(at(&mut times, 0.5)))
}
