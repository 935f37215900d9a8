//! `--serve`: the stream in a browser, with its numbers, and as pictures for other programs.
//!
//! | job | file |
//! |---|---|
//! | where to listen | `address` |
//! | connections, and their limits | `http` |
//! | who is served | `gate` |
//! | what there is to ask for | `routes`, `page.html` |
//! | a stream: its newest frame, its pictures, its numbers | `feed` |
//!
//! All of it runs in one thread of a low priority, and pictures are made in a few others. The
//! receiving thread only hands over a frame, while somebody looks.

pub(in crate::recv) mod address;
mod feed;
mod gate;
mod http;
mod routes;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, anyhow};
use hyper::body::Bytes;
use serde::Serialize;
use shm_frame::Name;
use tokio::runtime::{self, Handle};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};

pub(super) use feed::Feed;

use crate::console::Console;
use crate::event::RecvLine;
use crate::picture;
use feed::{Stream, StreamLine};
use gate::Gate;

/// How much lower the priority is than that of receiving; see `nice(2)`.
const NICE: i32 = 10;
/// Threads that encode, at most. One does for a stream.
const ENCODERS: usize = 4;
/// How often browsers get the numbers.
const PERIOD: Duration = Duration::from_millis(250);
/// What is going on at the end may take so long.
const END: Duration = Duration::from_millis(200);

/// Serves streams, until it is dropped.
pub(super) struct Server {
    shared: Arc<Shared>,
    runtime: Handle,
    address: SocketAddr,
    /// Whether the user has to be told where, `--quiet` or not.
    is_news: bool,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What the clients' tasks share.
struct Shared {
    gate: Gate,
    /// In the order of their names.
    streams: Mutex<Vec<Arc<Stream>>>,
    /// The numbers of all streams, as JSON, period by period.
    numbers: watch::Sender<Bytes>,
    /// One for each client that there may be.
    places: Arc<Semaphore>,
    /// For frames as files: they are encoded for one client, so not many at a time.
    stills: Semaphore,
}

impl Server {
    /// Listens, and serves from now on.
    pub(super) fn start(address: SocketAddr) -> Result<Self> {
        // For the first picture of a page.
        picture::load_codecs()?;
        let listener = TcpListener::bind(address).map_err(|error| refused(address, &error))?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        let gate = Gate::new(bound)?;
        let is_news = address.port() == 0 || gate.token().is_some();
        let shared = Arc::new(Shared {
            gate,
            streams: Mutex::default(),
            numbers: watch::Sender::default(),
            places: Arc::new(Semaphore::new(http::CLIENTS)),
            stills: Semaphore::new(1),
        });
        let runtime = runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(ENCODERS)
            .on_thread_start(yield_to_others)
            .build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let serving = Arc::clone(&shared);
        let thread = thread::Builder::new().name("serve".to_owned());
        let thread = thread.spawn(move || {
            yield_to_others();
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    return;
                };
                tokio::spawn(http::serve(listener, Arc::clone(&serving)));
                tokio::spawn(tell_numbers(serving));
                let _ = ended.await;
            });
            runtime.shutdown_timeout(END);
        })?;
        Ok(Self {
            shared,
            runtime: handle,
            address: bound,
            is_news,
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// Tells where, with the token.
    pub(super) fn tell(&self, console: &Console) -> Result<()> {
        let address = address::url(self.address);
        let token = self.shared.gate.token();
        let url = match token {
            Some(token) => format!("{address}?token={token}"),
            None => address,
        };
        if console.is_json() {
            console.json(&RecvLine::Serving {
                url: &url,
                address: self.address.to_string(),
                token,
            })?;
        }
        let text = format!("serving on {url}");
        if self.is_news {
            console.say(&text);
        } else {
            console.note(&text);
        }
        Ok(())
    }

    /// One more stream, as long as its feed is kept.
    pub(super) fn stream(&self, name: &Name) -> Feed {
        let shared = Arc::clone(&self.shared);
        let ended = name.clone();
        let (feed, stream) = Feed::new(name.clone(), &self.runtime, move || {
            shared.streams().retain(|stream| stream.name != ended);
        });
        let mut streams = self.shared.streams();
        streams.push(stream);
        streams.sort_by_key(|stream| stream.name.to_string());
        drop(streams);
        feed
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic was told, and nothing depends on the thread's result.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn streams(&self) -> MutexGuard<'_, Vec<Arc<Stream>>> {
        self.streams.lock().expect("nobody panics while holding it")
    }

    fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        let streams = self.streams();
        let mut named = streams
            .iter()
            .filter(|stream| stream.name.to_string() == name);
        named.next().cloned()
    }

    /// The streams' numbers, as JSON.
    fn json(&self) -> Bytes {
        let streams: Vec<StreamLine> = self.streams().iter().map(|stream| stream.line()).collect();
        let document = Document {
            clients: http::CLIENTS - self.places.available_permits(),
            streams,
        };
        let json = serde_json::to_string(&document).expect("every field can be JSON");
        Bytes::from(json)
    }
}

/// `/streams.json`. Documented in `docs/json.md`.
#[derive(Debug, Serialize)]
struct Document {
    /// Connections.
    clients: usize,
    streams: Vec<StreamLine>,
}

/// Brings the numbers up to date, again and again.
async fn tell_numbers(shared: Arc<Shared>) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        for stream in shared.streams().iter() {
            stream.tick();
        }
        if shared.numbers.receiver_count() > 0 {
            shared.numbers.send_replace(shared.json());
        }
    }
}

/// Lowers the priority of this thread. Without it, serving goes on.
fn yield_to_others() {
    // For Linux a thread is a process here.
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// Why an address cannot be listened on, and what to do about it.
fn refused(address: SocketAddr, error: &io::Error) -> anyhow::Error {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => ": take another port, or 0 for a free one",
        io::ErrorKind::PermissionDenied => ": take a port from 1024 on",
        io::ErrorKind::AddrNotAvailable => ": take an address of this machine",
        _ => "",
    };
    anyhow!("--serve cannot listen on {address}: {error}{remedy}")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use serde_json::Value;

    use super::*;

    fn get(server: &Server, path: &str) -> String {
        let mut socket = TcpStream::connect(server.address).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn names(server: &Server) -> Vec<String> {
        let answer = get(server, "/streams.json");
        let (_, json) = answer.split_once("\r\n\r\n").unwrap();
        let document: Value = serde_json::from_str(json).unwrap();
        let streams = document["streams"].as_array().unwrap().iter();
        streams
            .map(|stream| stream["name"].as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn streams_come_and_go_while_it_serves() {
        let server = Server::start("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_eq!(names(&server), Vec::<String>::new());
        let right = server.stream(&Name::new("/right").unwrap());
        let left = server.stream(&Name::new("/left").unwrap());
        assert_eq!(names(&server), ["/left", "/right"]);
        left.wait_for("no sender of the left one", false);
        let answer = get(&server, "/left.jpg");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert!(answer.ends_with("no sender of the left one\n"), "{answer}");
        drop(left);
        assert!(get(&server, "/left.jpg").starts_with("HTTP/1.1 404 "));
        assert_eq!(names(&server), ["/right"]);
        // Who waits for pictures of a stream that goes is told its end.
        let pictures = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| get(&server, "/right.mjpg"));
            while !server.shared.stream("/right").unwrap().line().watched {
                std::thread::yield_now();
            }
            drop(right);
            waiting.join().unwrap()
        });
        assert!(pictures.starts_with("HTTP/1.1 200 "), "{pictures}");
    }
}
