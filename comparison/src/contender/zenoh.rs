//! zenoh: publish-subscribe, frames in its shared memory, told of through a Unix socket.

use std::thread;
use std::time::{Duration, Instant};

use zenoh::handlers::FifoChannelHandler;
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::shm::{
    GarbageCollect, PosixShmProviderBackend, ShmProvider, ShmProviderBuilder, ZShmMut,
};
use zenoh::{Config, Session, Wait};

use super::{ALL, Contender, Ends, Group};
use crate::Result;
use crate::spec::Spec;

pub const CONTENDERS: [Contender; 1] = [Contender {
    name: "zenoh",
    group: Group::Peer,
    parts: ALL,
    ends: Ends::Functions { sender, receiver },
}];

const PATIENCE: Duration = Duration::from_millis(500);

/// A session with one other, apart from what else uses zenoh on this machine.
fn session(spec: &Spec, channel: &str, role: &str) -> Result<Session> {
    let mut config = Config::default();
    let endpoints = format!(r#"["unixsock-stream/{}/{channel}"]"#, spec.directory);
    for (key, value) in [
        ("mode", r#""peer""#),
        ("scouting/multicast/enabled", "false"),
        ("listen/endpoints", "[]"),
        (&format!("{role}/endpoints"), &endpoints),
    ] {
        config.insert_json5(key, value)?;
    }
    zenoh::open(config).wait()
}

fn key(channel: &str) -> String {
    format!("bench{channel}")
}

fn sender(spec: &Spec, channel: &str) -> Result<Box<dyn super::Sender>> {
    let session = session(spec, channel, "listen")?;
    let len = spec.shape.bytes();
    let memory = ShmProviderBuilder::default_backend(spec.slots * len).wait()?;
    let publisher = session
        .declare_publisher(key(channel))
        .congestion_control(CongestionControl::Block)
        .wait()?;
    Ok(Box::new(Sending {
        publisher,
        memory,
        len,
        _session: session,
    }))
}

struct Sending {
    publisher: Publisher<'static>,
    memory: ShmProvider<PosixShmProviderBackend>,
    len: usize,
    _session: Session,
}

impl Sending {
    /// Memory for a frame, as soon as a receiver gave some back.
    fn loan(&self) -> Result<ZShmMut> {
        let begin = Instant::now();
        loop {
            let loan = self.memory.alloc(self.len);
            match loan.with_policy::<GarbageCollect>().wait() {
                Err(_) if begin.elapsed() < PATIENCE => thread::yield_now(),
                result => return Ok(result?),
            }
        }
    }
}

impl super::Sender for Sending {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.send_in_place(&mut |pixels| pixels.copy_from_slice(frame))
    }

    fn send_in_place(&mut self, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        let mut loan = self.loan()?;
        fill(&mut loan);
        self.publisher.put(loan).wait()
    }
}

fn receiver(spec: &Spec, channel: &str) -> Result<Box<dyn super::Receiver>> {
    let session = session(spec, channel, "connect")?;
    let subscriber = session.declare_subscriber(key(channel)).wait()?;
    Ok(Box::new(Receiving {
        subscriber,
        next: None,
        _session: session,
    }))
}

struct Receiving {
    subscriber: Subscriber<FifoChannelHandler<Sample>>,
    /// What ended the last sleep.
    next: Option<Sample>,
    _session: Session,
}

impl super::Receiver for Receiving {
    fn try_receive(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let sample = match self.next.take() {
            Some(sample) => sample,
            None => match self.subscriber.try_recv()? {
                Some(sample) => sample,
                None => return Ok(false),
            },
        };
        let frame = sample
            .payload()
            .as_shm()
            .ok_or("a frame that was not in shared memory")?;
        see(frame);
        Ok(true)
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        self.next = self.subscriber.recv_timeout(timeout)?;
        Ok(())
    }
}
