//! iceoryx2: publish-subscribe with its loans and default settings, and beside it an event service
//! where a receiver sleeps.

use std::time::Duration;

use iceoryx2::config::Config;
use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;

use super::{ALL, Contender, Ends, Group};
use crate::Result;
use crate::spec::{Spec, Wait};

pub const CONTENDERS: [Contender; 1] = [Contender {
    name: "iceoryx2",
    group: Group::Peer,
    parts: ALL,
    ends: Ends::Functions { sender, receiver },
}];

/// A node of this run's own, apart from what else uses iceoryx2 on this machine.
fn node(spec: &Spec) -> Result<Node<ipc::Service>> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    config
        .global
        .set_root_path(&Path::new(spec.directory.as_bytes())?);
    config.global.prefix = FileName::new(format!("{}_", spec.run).as_bytes())?;
    Ok(NodeBuilder::new().config(&config).create()?)
}

fn sender(spec: &Spec, channel: &str) -> Result<Box<dyn super::Sender>> {
    let node = node(spec)?;
    let len = spec.shape.bytes();
    let frames = node
        .service_builder(&channel.try_into()?)
        .publish_subscribe::<[u8]>();
    let publisher = frames
        .open_or_create()?
        .publisher_builder()
        .initial_max_slice_len(len)
        .create()?;
    let notifier = match spec.wait {
        Wait::Busy => None,
        Wait::Asleep => {
            let event = node
                .service_builder(&channel.try_into()?)
                .event()
                .open_or_create()?;
            Some(event.notifier_builder().create()?)
        }
    };
    Ok(Box::new(Sending {
        _node: node,
        publisher,
        notifier,
        len,
    }))
}

struct Sending {
    publisher: Publisher<ipc::Service, [u8], ()>,
    notifier: Option<Notifier<ipc::Service>>,
    len: usize,
    _node: Node<ipc::Service>,
}

impl Sending {
    fn notify(&self) -> Result<()> {
        if let Some(notifier) = &self.notifier {
            notifier.notify()?;
        }
        Ok(())
    }
}

impl super::Sender for Sending {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        self.publisher
            .loan_slice_uninit(frame.len())?
            .write_from_slice(frame)
            .send()?;
        self.notify()
    }

    fn send_in_place(&mut self, fill: &mut dyn FnMut(&mut [u8])) -> Result<()> {
        let sample = self.publisher.loan_slice_uninit(self.len)?;
        // SAFETY: any byte is a u8, and shared memory comes with some.
        let mut sample = unsafe { sample.assume_init() };
        fill(sample.payload_mut());
        sample.send()?;
        self.notify()
    }
}

fn receiver(spec: &Spec, channel: &str) -> Result<Box<dyn super::Receiver>> {
    let node = node(spec)?;
    let frames = node
        .service_builder(&channel.try_into()?)
        .publish_subscribe::<[u8]>();
    let subscriber = frames.open()?.subscriber_builder().create()?;
    let listener = match spec.wait {
        Wait::Busy => None,
        Wait::Asleep => {
            let event = node.service_builder(&channel.try_into()?).event().open()?;
            Some(event.listener_builder().create()?)
        }
    };
    Ok(Box::new(Receiving {
        _node: node,
        subscriber,
        listener,
    }))
}

struct Receiving {
    subscriber: Subscriber<ipc::Service, [u8], ()>,
    listener: Option<Listener<ipc::Service>>,
    _node: Node<ipc::Service>,
}

impl super::Receiver for Receiving {
    fn try_receive(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(sample) = self.subscriber.receive()? else {
            return Ok(false);
        };
        see(sample.payload());
        Ok(true)
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        if let Some(listener) = &self.listener {
            listener.timed_wait(|_| (), timeout)?;
        }
        Ok(())
    }
}
