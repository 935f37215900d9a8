//! Every kind of pixel, through segments with and without a control page, and what comes with a
//! frame.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use shm_frame::{
    Channels, Element, Error, Extras, F16, Format, FrameHeader, Lease, Loan, Order, Receiver,
    Scalar, SenderOptions, Shape, Size, Via, Waited,
};
use shm_frame_testing::frames::create;
use shm_frame_testing::{PATIENCE, TestName, open, take};

/// Odd, so that neither rows nor frames end where something is aligned.
const SIZE: Size = Size {
    width: 5,
    height: 3,
};

/// All 48 that the `channels` word can say.
fn formats() -> Vec<Format> {
    let mut formats = Vec::new();
    for element in Element::ALL {
        for channels in Channels::ALL {
            for order in [Order::Bgr, Order::Rgb] {
                let format = Format::new(element, channels).ordered(order);
                if !formats.contains(&format) {
                    formats.push(format);
                }
            }
        }
    }
    assert_eq!(formats.len(), 48);
    formats
}

fn pixels(shape: Shape) -> Vec<u8> {
    (0..shape.bytes())
        .map(|i| i.to_le_bytes()[0] ^ 0x5A)
        .collect()
}

#[test]
fn every_format_crosses_a_segment_leased_and_copied() {
    let name = TestName::new("formats");
    let mut sender = create(&name.name(), 4, 5 * 3 * 4 * 8).unwrap();
    let mut receiver = open(&name);
    for format in formats() {
        let shape = Shape::new(SIZE, format).unwrap();
        let pixels = pixels(shape);
        sender.publish(shape, &pixels).unwrap();
        let lease = receiver.lease().unwrap().unwrap();
        assert_eq!((lease.frame().shape, lease.pixels()), (shape, &pixels[..]));
        let mut copy = Vec::new();
        lease.copy_to(&mut copy).unwrap();
        assert_eq!(copy, pixels);
        drop(lease);

        sender.publish(shape, &pixels).unwrap();
        let (frame, copied) = take(&mut receiver);
        assert_eq!(
            (frame.shape, frame.via, copied),
            (shape, Via::Copied, pixels)
        );
    }
}

#[test]
fn every_format_is_received_from_a_sender_that_knows_only_the_header() {
    let name = TestName::new("plain-formats");
    for format in formats() {
        let shape = Shape::new(SIZE, format).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let header = FrameHeader {
            width: 5,
            height: 3,
            channels: format.word(),
            timestamp_ms: now.as_millis().try_into().unwrap(),
            frame_valid: 1,
        };
        let pixels = pixels(shape);
        fs::write(name.file(), [&header.encode(), &pixels[..]].concat()).unwrap();
        let mut receiver = Receiver::open(&name.name()).unwrap();
        let (frame, copied) = take(&mut receiver);
        assert_eq!(
            (frame.shape, frame.via, copied),
            (shape, Via::Plain, pixels)
        );
        assert_eq!(
            (frame.session, frame.begun_ns, frame.published_ns),
            (0, 0, 0)
        );
        assert_eq!((frame.number, frame.captured_ns), (1, None));
        fs::remove_file(name.file()).unwrap();
    }
}

#[test]
fn words_that_say_nothing_are_refused_with_what_they_are() {
    let name = TestName::new("words");
    for word in [0, 5, 0x801, 0x2_0003, 0x1_0001, 0x0100_0003, -1] {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let header = FrameHeader {
            width: 5,
            height: 3,
            channels: word,
            timestamp_ms: now.as_millis().try_into().unwrap(),
            frame_valid: 1,
        };
        fs::write(name.file(), [&header.encode()[..], &[0; 480]].concat()).unwrap();
        match Receiver::open(&name.name()) {
            Err(Error::NotASegment { what, .. }) => {
                assert!(what.contains(&format!("5x3x{word}")), "{what}");
            }
            other => panic!("{other:?}"),
        }
        fs::remove_file(name.file()).unwrap();
    }
}

/// What a loan and a lease say of elements of one type, in frames of another.
fn others<T: Scalar>(element: Element, loan: &mut Loan<'_>) {
    assert_eq!(loan.elements_mut::<T>().is_some(), element == T::ELEMENT);
}

fn other_elements(element: Element, loan: &mut Loan<'_>) {
    others::<u8>(element, loan);
    others::<i8>(element, loan);
    others::<u16>(element, loan);
    others::<i16>(element, loan);
    others::<i32>(element, loan);
    others::<f32>(element, loan);
    others::<f64>(element, loan);
    others::<F16>(element, loan);
}

/// Values of one type through a segment, as elements on both sides.
fn crosses<T: Scalar + PartialEq + std::fmt::Debug>(values: &[T; 4]) {
    let name = TestName::new("elements");
    let format = Format::new(T::ELEMENT, Channels::Two);
    let size = Size {
        width: 1,
        height: 2,
    };
    let shape = Shape::new(size, format).unwrap();
    let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
    let mut receiver = open(&name);
    let mut loan = sender.loan(shape).unwrap();
    loan.elements_mut::<T>().unwrap().copy_from_slice(values);
    other_elements(T::ELEMENT, &mut loan);
    loan.publish().unwrap();
    let lease: Lease<'_> = receiver.lease().unwrap().unwrap();
    assert_eq!(lease.elements::<T>().unwrap(), values);
    assert_eq!(lease.elements::<u8>().is_some(), T::ELEMENT == Element::U8);
    assert_eq!(
        lease.elements::<F16>().is_some(),
        T::ELEMENT == Element::F16
    );
    drop(lease);
    let owned = {
        let mut loan = sender.into_loan(shape, 0).unwrap();
        loan.elements_mut::<T>().unwrap().copy_from_slice(values);
        let (_sender, sent) = loan.publish();
        sent.unwrap();
        receiver.lease_owned().unwrap().unwrap()
    };
    assert_eq!(owned.elements::<T>().unwrap(), values);
    assert_eq!(
        owned.elements::<f64>().is_some(),
        T::ELEMENT == Element::F64
    );
}

#[test]
fn elements_of_every_type_cross_as_what_they_are() {
    crosses::<u8>(&[0, 1, 128, 255]);
    crosses::<i8>(&[0, 1, -128, 127]);
    crosses::<u16>(&[0, 1, 0x1234, 65_535]);
    crosses::<i16>(&[0, 1, -32_768, 32_767]);
    crosses::<i32>(&[0, 1, i32::MIN, 0x0102_0304]);
    crosses::<f32>(&[0.0, 1.5, f32::MIN_POSITIVE, f32::INFINITY]);
    crosses::<f64>(&[0.0, -1.5, f64::MAX, f64::NEG_INFINITY]);
    crosses::<F16>(&[F16(0), F16(0x3C00), F16(0x7C00), F16(0xFFFF)]);
}

#[test]
fn frames_of_every_length_fit_where_room_was_made_for_them() {
    // One byte more each time: where the bytes after the pixels would begin differs from the slot's
    // end by every remainder.
    for width in 1..=17 {
        let name = TestName::new("lengths");
        let size = Size { width, height: 1 };
        let shape = Shape::new(size, Format::GRAY8).unwrap();
        let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
        let mut receiver = open(&name);
        sender.publish(shape, &pixels(shape)).unwrap();
        let lease = receiver.lease().unwrap().unwrap();
        assert_eq!(
            (lease.pixels(), lease.meta()),
            (&pixels(shape)[..], &[][..])
        );
        drop(lease);
        sender.publish(shape, &pixels(shape)).unwrap();
        let (mut copy, mut meta) = (Vec::new(), vec![1]);
        receiver
            .copy_with_meta(&mut copy, &mut meta)
            .unwrap()
            .unwrap();
        assert_eq!((copy, meta), (pixels(shape), vec![]));
    }
}

#[test]
fn what_a_sender_adds_comes_with_its_frame_and_with_no_other() {
    let name = TestName::new("extras");
    let shape = Shape::new(SIZE, Format::BGR8).unwrap();
    let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
    let mut receiver = open(&name);
    let follow = |receiver: &mut Receiver| {
        shm_frame_testing::wait_until("the receiver has followed", || {
            match receiver.wait(Duration::from_millis(10)).unwrap() {
                Waited::Frame => true,
                Waited::Ended(_) => receiver.reopen().is_err(),
                _ => false,
            }
        });
    };
    for len in [0, 1, 7, 8, 9, 100, 5000] {
        let meta = vec![b'{'; len];
        let extras = Extras::new().captured_ns(1000 + len as u64).meta(&meta);
        sender.publish_with(shape, &pixels(shape), extras).unwrap();
        follow(&mut receiver);
        let lease = receiver.lease().unwrap().unwrap();
        assert_eq!(
            (lease.pixels(), lease.meta()),
            (&pixels(shape)[..], &meta[..])
        );
        assert_eq!(lease.frame().captured_ns, Some(1000 + len as u64));
        drop(lease);
        // The next one in any slot has none of it.
        for _ in 0..3 {
            sender.loan(shape).unwrap().publish().unwrap();
            let lease = receiver.lease().unwrap().unwrap();
            assert_eq!((lease.frame().captured_ns, lease.meta()), (None, &[][..]));
        }
    }
    let mut loan = sender.loan(shape).unwrap();
    match loan.set_meta(&vec![0; 1 << 20]) {
        Err(Error::MetaTooLong { got, room }) => assert!(got == 1 << 20 && room >= 5000),
        other => panic!("{other:?}"),
    }
    // It can be published all the same, without.
    loan.publish().unwrap();
    assert!(receiver.lease().unwrap().unwrap().meta().is_empty());
}

#[test]
fn a_frame_tells_whose_it_is_and_when_it_was_made() {
    let name = TestName::new("times");
    let shape = Shape::new(SIZE, Format::BGR8).unwrap();
    let monotonic = || {
        let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        u64::try_from(Duration::from(now).as_nanos()).unwrap()
    };
    let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
    let before = monotonic();
    let mut loan = sender.loan(shape).unwrap();
    loan.pixels().fill(1);
    let between = monotonic();
    loan.publish().unwrap();
    let after = monotonic();
    // One that was there first, and one that comes while the receiver is there.
    let mut receiver = open(&name);
    let (found, _) = take(&mut receiver);
    assert!(found.found);
    assert!(before <= found.begun_ns && found.begun_ns <= between);
    assert!(between <= found.published_ns && found.published_ns <= after);
    sender.publish(shape, &pixels(shape)).unwrap();
    let (live, _) = take(&mut receiver);
    assert!(!live.found && live.begun_ns >= after);
    assert_eq!(live.session, found.session);
    assert_ne!(live.session, 0);
    assert!(live.delay_ns >= 0 && live.published_ns >= live.begun_ns);
    // A larger one, in another segment of the same sender, to a receiver that was there all the
    // time.
    let larger = Shape::new(Size { width: 500, ..SIZE }, Format::BGR8).unwrap();
    sender.publish(larger, &pixels(larger)).unwrap();
    shm_frame_testing::wait_until("the receiver has followed", || {
        receiver.wait(Duration::from_millis(10)).unwrap() == Waited::Frame
            || receiver.reopen().is_err()
    });
    let lease = receiver.lease().unwrap().unwrap();
    assert_eq!(lease.frame().session, found.session);
    assert!(
        !lease.frame().found,
        "it was published while the receiver was there"
    );
    drop(lease);
    // Another sender has another session, and its numbers begin anew.
    drop(sender);
    let mut next = create(&name.name(), 4, shape.bytes()).unwrap();
    next.publish(shape, &pixels(shape)).unwrap();
    shm_frame_testing::wait_until("the receiver has followed", || {
        receiver.wait(Duration::from_millis(10)).unwrap() == Waited::Frame
            || receiver.reopen().is_err()
    });
    let (other, _) = take(&mut receiver);
    assert_ne!(other.session, found.session);
    assert_eq!(other.number, 1);
}

#[test]
fn a_copy_goes_into_a_slice_of_its_length_and_a_wrong_one_takes_nothing() {
    let name = TestName::new("slices");
    let shape = Shape::new(SIZE, Format::BGR8).unwrap();
    let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
    let mut receiver = open(&name);
    sender.publish(shape, &pixels(shape)).unwrap();
    for len in [0, 44, 46] {
        let mut slice = vec![9; len];
        match receiver.copy_to_slice(&mut slice) {
            Err(Error::Length { shape: of, got }) => assert_eq!((of, got), (shape, len)),
            other => panic!("{other:?}"),
        }
        assert_eq!(slice, vec![9; len], "as it was");
        // It was not taken, and can be waited for.
        assert_eq!(receiver.wait(PATIENCE).unwrap(), Waited::Frame);
    }
    let mut slice = vec![9; 45];
    let frame = receiver.copy_to_slice(&mut slice).unwrap().unwrap();
    assert_eq!((frame.number, &slice), (1, &pixels(shape)));
    // Nothing new: what is there stays.
    assert!(receiver.copy_to_slice(&mut slice).unwrap().is_none());
    assert_eq!(slice, pixels(shape));
    sender.publish(shape, &pixels(shape)).unwrap();
    let lease = receiver.lease().unwrap().unwrap();
    let mut slice = [0; 45];
    lease.copy_to_slice(&mut slice).unwrap();
    assert_eq!(slice[..], pixels(shape));
    assert!(matches!(
        lease.copy_to_slice(&mut [0; 44]),
        Err(Error::Length { got: 44, .. })
    ));
    // The same from a sender that knows only the header.
    let plain = TestName::new("plain-slice");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let header = FrameHeader {
        width: 5,
        height: 3,
        channels: 3,
        timestamp_ms: now.as_millis().try_into().unwrap(),
        frame_valid: 1,
    };
    fs::write(
        plain.file(),
        [&header.encode(), &pixels(shape)[..]].concat(),
    )
    .unwrap();
    let mut receiver = Receiver::open(&plain.name()).unwrap();
    assert!(matches!(
        receiver.copy_to_slice(&mut [0; 44]),
        Err(Error::Length { got: 44, .. })
    ));
    assert_eq!(receiver.wait(PATIENCE).unwrap(), Waited::Frame);
    let mut slice = [0; 45];
    assert_eq!(
        receiver.copy_to_slice(&mut slice).unwrap().unwrap().number,
        1
    );
    assert_eq!(slice[..], pixels(shape));
}

#[test]
fn a_copy_that_counts_for_nothing_leaves_no_byte() {
    let name = TestName::new("counts-not");
    let shape = Shape::new(SIZE, Format::BGR8).unwrap();
    let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
    let mut receiver = open(&name);
    sender.publish(shape, &pixels(shape)).unwrap();
    // The segment is no longer one, which shows when the pixels have been copied.
    let file = fs::File::options().write(true).open(name.file()).unwrap();
    let page = file.metadata().unwrap().len() - 4096;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 8], page).unwrap();
    let mut slice = [7; 45];
    assert!(receiver.copy_to_slice(&mut slice).unwrap().is_none());
    assert_eq!(slice, [0; 45]);
    let (mut vector, mut meta) = (vec![7; 45], vec![7; 45]);
    assert!(
        receiver
            .copy_with_meta(&mut vector, &mut meta)
            .unwrap()
            .is_none()
    );
    assert!(vector.is_empty() && meta.is_empty());
}

/// Ends the threads that look at it, however a test ends.
struct End<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn copies_flat_out_leave_whole_frames_or_nothing() {
    let name = TestName::new("torn");
    let size = Size {
        width: 2000,
        height: 2000,
    };
    let shape = Shape::new(size, Format::BGRA8).unwrap();
    // Two slots, rewritten without a pause: a copy takes as long as a frame, and nobody can lease.
    let options = SenderOptions::new().slots(2).capacity(shape.bytes());
    let mut sender = shm_frame::Sender::create(&name.name(), &options).unwrap();
    let mut receiver = open(&name);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let frames = [vec![1; shape.bytes()], vec![2; shape.bytes()]];
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                for frame in &frames {
                    sender.publish(shape, frame).unwrap();
                }
            }
        });
        let _end = End(&done);
        let (mut slice, mut pixels) = (vec![7; shape.bytes()], Vec::new());
        let end = std::time::Instant::now() + PATIENCE;
        while receiver.torn() < 20 {
            assert!(std::time::Instant::now() < end, "no copy is torn");
            let taken = receiver.copy_to_slice(&mut slice).unwrap();
            // All of one frame, or zeros, or what was there before.
            assert!(slice.iter().all(|&byte| byte == slice[0]));
            if taken.is_some() {
                assert!(slice[0] > 0);
            }
            if receiver.copy(&mut pixels).unwrap().is_none() {
                assert!(pixels.is_empty());
            }
        }
    });
}
