//! What there is to ask for.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Body as _, Bytes, Frame, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderName, HeaderValue, REFERRER_POLICY, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Value, json};
use shm_frame::{Element, Shape};
use tokio::task::spawn_blocking;

use super::feed::{Picture, Stream};
use super::{Shared, gate};
use crate::event;
use crate::recv::sink::save::{self, Kind};
use crate::recv::taken::Taken;
use crate::visible;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(super) type Answer = Response<Body>;

const PAGE: &str = include_str!("page.html");
/// The place in the page of what its script and its style are known by.
const NONCE: &str = "NONCE";

/// What file names have to be encoded in.
const NOT_IN_NAMES: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// How long a client waits for a picture that is newer than the one it has, until it asks again.
const NEWER: Duration = Duration::from_secs(10);
/// How long one waits that takes any picture.
const ANY: Duration = Duration::from_secs(2);

/// Headers of every answer: nothing is kept, and nothing of it is for other pages.
const HEADERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// Answers a request.
pub(super) async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Answer {
    let (request, body) = request.into_parts();
    let mut answer = if !body.is_end_stream() {
        let mut answer = refusal(StatusCode::PAYLOAD_TOO_LARGE, "takes no content");
        let close = HeaderValue::from_static("close");
        answer.headers_mut().insert(CONNECTION, close);
        answer
    } else if !matches!(request.method, Method::GET | Method::HEAD) {
        let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "answers GET and HEAD only");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        answer
    } else {
        match shared.gate.check(&request) {
            Ok(()) => routed(&request.uri, &shared).await,
            Err(answer) => *answer,
        }
    };
    let headers = answer.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
    answer
}

async fn routed(uri: &Uri, shared: &Arc<Shared>) -> Answer {
    match uri.path() {
        "/" => return page(),
        "/streams.json" => return content("application/json", shared.json()),
        "/events" => return events(shared),
        _ => {}
    }
    let path = percent_decode_str(uri.path()).decode_utf8_lossy();
    let Some((name, what)) = path.rsplit_once(['/', '.']) else {
        return not_found(shared, &path);
    };
    let Some(stream) = shared.stream(name) else {
        return not_found(shared, &path);
    };
    match (path.as_bytes()[name.len()], what) {
        (b'.', "jpg") => jpg(&stream, uri).await,
        (b'.', "mjpg") => mjpg(stream),
        (b'/', "pixel") => pixel(&stream, uri).await,
        (b'.', ending) => match Kind::with_ending(ending) {
            Some(kind) => still(&stream, kind, shared).await,
            None => not_found(shared, &path),
        },
        _ => not_found(shared, &path),
    }
}

/// The page, with a policy that lets its own script and style run and no others.
fn page() -> Answer {
    let Ok(nonce) = gate::random() else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "has no random numbers");
    };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let mut answer = content("text/html; charset=utf-8", PAGE.replace(NONCE, &nonce));
    let policy = HeaderValue::try_from(policy).expect("hexadecimal digits and ASCII");
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    answer
}

/// Server-sent events: the delays of the last minute once, then the numbers, period by period.
fn events(shared: &Arc<Shared>) -> Answer {
    let mut history = serde_json::Map::new();
    for stream in shared.streams().iter() {
        history.insert(stream.name.to_string(), json!(stream.history()));
    }
    let first = event_text("history", Value::Object(history).to_string().as_bytes());
    let second = event_text("numbers", &shared.json());
    // The newest only: what a slow client has no time for is left out.
    let numbers = stream::unfold(shared.numbers.subscribe(), async |mut numbers| {
        numbers.changed().await.ok()?;
        let event = event_text("numbers", &numbers.borrow_and_update());
        Some((event, numbers))
    });
    let events = stream::iter([first, second]).chain(numbers);
    streamed("text/event-stream", events)
}

fn event_text(name: &str, json: &[u8]) -> Bytes {
    [b"event: ", name.as_bytes(), b"\ndata: ", json, b"\n\n"]
        .concat()
        .into()
}

/// The newest picture, or one newer than `after`.
async fn jpg(stream: &Stream, uri: &Uri) -> Answer {
    let after = query(uri, "after").and_then(|after| after.parse().ok());
    let time = if after.is_some() { NEWER } else { ANY };
    match stream.picture(after.unwrap_or(0), time).await {
        Some(picture) => match &picture.jpeg {
            Ok(jpeg) => told(content("image/jpeg", jpeg.clone()), &picture),
            Err(why) => refusal(StatusCode::INTERNAL_SERVER_ERROR, why),
        },
        None if after.is_some() => answer_of(StatusCode::NO_CONTENT, empty()),
        None => no_frame(stream),
    }
}

/// An answer with what is known of its picture.
fn told(mut answer: Answer, picture: &Picture) -> Answer {
    for (name, value) in [
        ("x-serial", picture.serial.to_string()),
        ("x-frame", picture.frame.number.to_string()),
        ("x-size", size(picture.frame.shape)),
        ("x-seen", picture.seen.clone()),
    ] {
        let value = HeaderValue::try_from(value).expect("numbers and words in ASCII");
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// Pictures one after the other, each the newest when the client has taken the one before.
fn mjpg(stream: Arc<Stream>) -> Answer {
    // After each picture, not before: a browser shows a picture when it knows that it is whole.
    const BOUNDARY: &str = "--shm-frame\r\n";
    let pictures = stream::unfold((stream, 0), async |(stream, mut after)| {
        while !stream.has_ended() {
            let Some(picture) = stream.picture(after, NEWER).await else {
                continue;
            };
            after = picture.serial;
            let Ok(jpeg) = &picture.jpeg else {
                continue;
            };
            let head = format!(
                "Content-Type: image/jpeg\r\nContent-Length: {}\r\nX-Frame: {}\r\n\r\n",
                jpeg.len(),
                picture.frame.number
            );
            let part = [head.as_bytes(), jpeg, b"\r\n", BOUNDARY.as_bytes()].concat();
            return Some((Bytes::from(part), (stream, after)));
        }
        None
    });
    let first = stream::iter([Bytes::from_static(BOUNDARY.as_bytes())]);
    streamed(
        "multipart/x-mixed-replace; boundary=shm-frame",
        first.chain(pictures),
    )
}

/// The newest frame as a file that has every bit of it.
async fn still(stream: &Stream, kind: Kind, shared: &Shared) -> Answer {
    let Some((_, taken)) = stream.frame().await else {
        return no_frame(stream);
    };
    let (name, shape) = (&stream.name, taken.frame.shape);
    let right = Kind::of(shape.format());
    if kind != right && kind != Kind::Npy {
        let (ending, right) = (kind.ending(), right.ending());
        let why = format!("cannot be {ending}: frames are {shape}, take {name}.{right}");
        return refusal(StatusCode::NOT_FOUND, &why);
    }
    let file = format!(
        "{}-{:06}.{}",
        &name.to_string()[1..],
        taken.frame.number,
        kind.ending()
    );
    // One at a time: it is made for this client alone.
    let Ok(_place) = shared.stills.acquire().await else {
        return no_frame(stream);
    };
    let encoded = spawn_blocking(move || save::encoded(kind, &taken.pixels, shape)).await;
    let bytes = match encoded {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) => {
            return refusal(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}"));
        }
        Err(_) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    };
    let mut answer = content(kind.media_type(), bytes);
    let file = utf8_percent_encode(&file, NOT_IN_NAMES);
    let disposition = HeaderValue::try_from(format!("attachment; filename*=UTF-8''{file}"));
    let disposition = disposition.expect("percent-encoded");
    answer
        .headers_mut()
        .insert(CONTENT_DISPOSITION, disposition);
    answer
}

/// A pixel of the newest frame, as the sender has it.
async fn pixel(stream: &Stream, uri: &Uri) -> Answer {
    let coordinate = |key| query(uri, key).and_then(|value| value.parse::<usize>().ok());
    let (Some(x), Some(y)) = (coordinate("x"), coordinate("y")) else {
        return refusal(StatusCode::BAD_REQUEST, "wants ?x= and &y=, from 0");
    };
    let Some((serial, taken)) = stream.frame().await else {
        return no_frame(stream);
    };
    let Some(values) = values(&taken, x, y) else {
        let why = format!("is {}, and has no pixel {x}, {y}", size(taken.frame.shape));
        return refusal(StatusCode::NOT_FOUND, &why);
    };
    let format = taken.frame.shape.format();
    let pixel = json!({
        "frame": taken.frame.number,
        "serial": serial,
        "x": x,
        "y": y,
        "element": format.element().name(),
        "order": event::order_name(format.order()),
        "values": values,
    });
    content("application/json", pixel.to_string())
}

/// The elements of a pixel; text for those that JSON has no number for. `None`: it is outside.
fn values(taken: &Taken, x: usize, y: usize) -> Option<Vec<Value>> {
    let shape = taken.frame.shape;
    let format = shape.format();
    let row = taken.pixels.chunks_exact(shape.row_bytes()).nth(y)?;
    let pixel = row.chunks_exact(format.pixel_bytes()).nth(x)?;
    let elements = pixel.chunks_exact(format.element().bytes());
    Some(
        elements
            .map(|bytes| number(format.element(), bytes))
            .collect(),
    )
}

fn number(element: Element, bytes: &[u8]) -> Value {
    let value = visible::value(element, bytes);
    match element {
        Element::U8 | Element::I8 | Element::U16 | Element::I16 | Element::I32 => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "integers of 32 bits at most"
            )]
            let whole = value as i64;
            whole.into()
        }
        _ if !value.is_finite() => value.to_string().into(),
        Element::F64 => value.into(),
        Element::F32 | Element::F16 => {
            // In as many digits as tell it from its neighbours: 0.1, not 0.10000000149.
            #[expect(clippy::cast_possible_truncation, reason = "it comes from one")]
            let single = value as f32;
            single.to_string().parse::<f64>().unwrap_or(value).into()
        }
    }
}

fn size(shape: Shape) -> String {
    format!("{}x{}", shape.width(), shape.height())
}

/// What a query has for a key.
pub(super) fn query(uri: &Uri, key: &str) -> Option<String> {
    let mut pairs = uri
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == key)?;
    Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
}

fn no_frame(stream: &Stream) -> Answer {
    let why = format!("there is no frame of {} yet: {}", stream.name, stream.why());
    let mut answer = refusal(StatusCode::SERVICE_UNAVAILABLE, &why);
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

fn not_found(shared: &Shared, path: &str) -> Answer {
    let mut why = format!("there is no {path}; there are / and /streams.json");
    for stream in shared.streams().iter() {
        let name = &stream.name;
        let _ = write!(
            why,
            ", {name}.jpg, {name}.mjpg, {name}.png and {name}/pixel"
        );
    }
    refusal(StatusCode::NOT_FOUND, &why)
}

/// An answer that says why there is no other.
pub(super) fn refusal(status: StatusCode, why: &str) -> Answer {
    let mut answer = content("text/plain; charset=utf-8", format!("{why}\n"));
    *answer.status_mut() = status;
    answer
}

fn content(media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = answer_of(StatusCode::OK, Full::new(body.into()).boxed_unsync());
    let media_type = HeaderValue::from_static(media_type);
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    answer
}

fn streamed(
    media_type: &'static str,
    parts: impl futures_util::Stream<Item = Bytes> + Send + 'static,
) -> Answer {
    let frames = parts.map(|part| Ok(Frame::data(part)));
    let mut answer = answer_of(StatusCode::OK, StreamBody::new(frames).boxed_unsync());
    let media_type = HeaderValue::from_static(media_type);
    answer.headers_mut().insert(CONTENT_TYPE, media_type);
    answer
}

fn answer_of(status: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

pub(super) fn empty() -> Body {
    Empty::new().boxed_unsync()
}
