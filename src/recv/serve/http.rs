//! Connections: how many there may be, how large and slow their requests.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::Shared;
use super::routes;

/// Connections at a time. A browser has two or three.
pub(super) const CLIENTS: usize = 64;
/// Connections beyond these that are told so at a time; the rest are closed without a word.
const REFUSED: usize = 16;
/// The most bytes of a request: its line and headers. Also of answers that wait in this process.
const REQUEST_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;
/// For the whole of a request, and for a connection between two.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// For a client that does not read, and for one that is gone without a word.
const READ_TIME: Duration = Duration::from_secs(30);
/// Bytes that may wait in the kernel and were not sent yet: a slow client gets newer pictures then,
/// and not one that has waited for long.
const UNSENT_BYTES: u32 = 64 << 10;
/// After this long a failing `accept`, of a process without descriptors, is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Serves for ever.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let refused = Arc::new(Semaphore::new(REFUSED));
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            sleep(AGAIN).await;
            continue;
        };
        if let Ok(place) = Arc::clone(&shared.places).try_acquire_owned() {
            tokio::spawn(connection(socket, Arc::clone(&shared), place));
        } else if let Ok(place) = Arc::clone(&refused).try_acquire_owned() {
            tokio::spawn(refuse(socket, place));
        }
    }
}

/// Serves one client, until it goes or sends what is no request.
async fn connection(socket: TcpStream, shared: Arc<Shared>, _place: OwnedSemaphorePermit) {
    if limit(&socket).is_err() {
        return;
    }
    let answer = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(routes::answer(request, shared).await) }
    });
    // An error is the client's, and it was answered if it can be.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .max_buf_size(REQUEST_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(socket), answer)
        .await;
}

fn limit(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_user_timeout(Some(READ_TIME))?;
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)
}

/// Tells a client that there are too many, without reading more than its request.
async fn refuse(mut socket: TcpStream, _place: OwnedSemaphorePermit) {
    let why = format!("there are {CLIENTS} connections, and no more are served: try again later\n");
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nRetry-After: 5\r\nConnection: close\r\n\r\n{why}",
        why.len()
    );
    let told = async {
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await?;
        // A socket that is closed with something unread takes back what it said.
        let mut unread = [0; 1024];
        while socket.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(REQUEST_TIME, told).await;
}
