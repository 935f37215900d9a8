//! How long the parts take, in one process with warm caches: `cargo bench --no-default-features`.
//! What a frame takes from one process to another is measured by `scripts/bench`.

use divan::{Bencher, black_box};
use shm_frame::{Format, FrameHeader, Name, Receiver, Sender, SenderOptions, Shape, Size};

const SHAPES: [(u32, u32); 3] = [(404, 640), (1080, 1920), (2160, 3840)];

fn main() {
    divan::main();
}

/// Both ends of a segment, and pixels for it.
fn ends((height, width): (u32, u32)) -> (Sender, Receiver, Shape, Vec<u8>) {
    let shape = Shape::new(Size { width, height }, Format::BGR8).expect("a picture's shape");
    let name = format!("/shm-frame-parts-{}", std::process::id());
    let name = Name::new(&name).expect("a segment's name");
    let options = SenderOptions::new().capacity(shape.bytes());
    let sender = Sender::create(&name, &options).expect("room in /dev/shm");
    let receiver = Receiver::open(&name).expect("a segment");
    (sender, receiver, shape, vec![128; shape.bytes()])
}

/// Copies a frame into a slot.
#[divan::bench(args = SHAPES)]
fn publish(bencher: Bencher<'_, '_>, shape: (u32, u32)) {
    let (mut sender, _receiver, shape, pixels) = ends(shape);
    bencher.bench_local(|| sender.publish(shape, black_box(&pixels)));
}

/// Nothing but the protocol, the clocks and the futex.
#[divan::bench]
fn publish_in_place(bencher: Bencher<'_, '_>) {
    let (mut sender, _receiver, shape, _) = ends(SHAPES[0]);
    bencher.bench_local(|| sender.loan(shape).map(shm_frame::Loan::publish));
}

/// What it takes longer than `publish_in_place` is the lease.
#[divan::bench]
fn publish_in_place_and_lease(bencher: Bencher<'_, '_>) {
    let (mut sender, mut receiver, shape, _) = ends(SHAPES[0]);
    bencher.bench_local(|| {
        sender
            .loan(shape)
            .expect("a slot")
            .publish()
            .expect("memory");
        let lease = receiver.lease().expect("a frame").expect("a new one");
        black_box(lease.pixels()[0])
    });
}

/// Looks for a new frame in vain.
#[divan::bench]
fn lease_nothing(bencher: Bencher<'_, '_>) {
    let (_sender, mut receiver, ..) = ends(SHAPES[0]);
    bencher.bench_local(|| receiver.lease().map(|lease| lease.is_none()));
}

/// What it takes longer than `publish_in_place` is the copy out of the slot.
#[divan::bench(args = SHAPES)]
fn publish_in_place_and_copy(bencher: Bencher<'_, '_>, shape: (u32, u32)) {
    let (mut sender, mut receiver, shape, mut pixels) = ends(shape);
    bencher.bench_local(|| {
        sender
            .loan(shape)
            .expect("a slot")
            .publish()
            .expect("memory");
        receiver.copy(&mut pixels).expect("a frame")
    });
}

/// Opens and maps a segment, and owns a lease entry.
#[divan::bench]
fn attach(bencher: Bencher<'_, '_>) {
    let (sender, ..) = ends(SHAPES[0]);
    bencher.bench_local(|| Receiver::open(sender.name()));
}

#[divan::bench]
fn header_encode() -> [u8; FrameHeader::LEN] {
    black_box(FrameHeader::default()).encode()
}

#[divan::bench]
fn header_decode_and_judge() -> bool {
    let header = FrameHeader::decode(black_box(&[1; FrameHeader::LEN]));
    header.shape(usize::MAX).is_ok()
}
