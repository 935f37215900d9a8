//! `ZeroMQ`: push and pull over `ipc://`.

use std::time::Duration;

use zmq::{Context, DONTWAIT, Error, Message, POLLIN, Socket, SocketType};

use super::{COPIED_IN, Contender, Ends, Group};
use crate::Result;
use crate::spec::Spec;

pub const CONTENDERS: [Contender; 1] = [Contender {
    name: "ZeroMQ",
    group: Group::Peer,
    parts: COPIED_IN,
    ends: Ends::Functions { sender, receiver },
}];

/// Frames that may wait on either side: the newest is wanted, and the default of 1000 would be
/// gigabytes.
const HIGH_WATER: i32 = 2;
const PATIENCE_MS: i32 = 500;

fn socket(kind: SocketType) -> Result<Socket> {
    let socket = Context::new().socket(kind)?;
    socket.set_sndhwm(HIGH_WATER)?;
    socket.set_rcvhwm(HIGH_WATER)?;
    socket.set_sndtimeo(PATIENCE_MS)?;
    socket.set_linger(0)?;
    Ok(socket)
}

fn endpoint(spec: &Spec, channel: &str) -> String {
    format!("ipc://{}/{channel}", spec.directory)
}

fn sender(spec: &Spec, channel: &str) -> Result<Box<dyn super::Sender>> {
    let socket = socket(SocketType::PUSH)?;
    socket.bind(&endpoint(spec, channel))?;
    Ok(Box::new(Sending(socket)))
}

struct Sending(Socket);

impl super::Sender for Sending {
    fn send(&mut self, frame: &[u8]) -> Result<()> {
        Ok(self.0.send(frame, 0)?)
    }
}

fn receiver(spec: &Spec, channel: &str) -> Result<Box<dyn super::Receiver>> {
    let socket = socket(SocketType::PULL)?;
    socket.connect(&endpoint(spec, channel))?;
    Ok(Box::new(Receiving {
        socket,
        message: Message::new(),
    }))
}

struct Receiving {
    socket: Socket,
    message: Message,
}

impl super::Receiver for Receiving {
    fn try_receive(&mut self, see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        match self.socket.recv(&mut self.message, DONTWAIT) {
            Ok(()) => {
                see(&self.message);
                Ok(true)
            }
            Err(Error::EAGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn sleep(&mut self, timeout: Duration) -> Result<()> {
        self.socket
            .poll(POLLIN, i64::try_from(timeout.as_millis())?)?;
        Ok(())
    }
}
