//! zenoh's settings: its own defaults, ours, the user's file and the flags, in this order.

use std::fs;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Map, Value, json};
use zenoh::config::EndPoint;
use zenoh::{Config, Session, Wait};

use crate::args::Network;
use crate::stop;

/// How often to look whether the program is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How long a machine may be silent until the other end takes it for dead.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// The longest time that a message waits for its link.
const MOST: Duration = Duration::from_secs(1);
/// The shortest: wireless links pause for a while now and then, and TCP takes 0.2 s and more to
/// send a lost packet again.
const LEAST: Duration = Duration::from_millis(500);

/// The system's buffer for what is sent, in bytes. By itself it grows to megabytes on a slow link,
/// and the frames in it grow old. This much is enough for 1 Gbit/s over 4 ms.
const SEND_BUFFER: u32 = 256 << 10;

/// How long a frame waits for its link before it is given up: two frames' time, or what the frame
/// takes at 100 Mbit/s if that is longer. What is given up was sent in part, in vain; but while one
/// receiver's link is waited for, the others' get nothing.
pub(crate) fn wait_for(bytes: usize, period: Option<Duration>) -> Duration {
    let at_100_mbit = Duration::from_nanos((bytes as u64).saturating_mul(80));
    let two_frames = period.map_or(MOST, |period| period.saturating_mul(2));
    at_100_mbit.max(two_frames).clamp(LEAST, MOST)
}

/// Opens a session. `wait`: how long a message may wait for its link.
pub(crate) fn open(network: &Network, wait: Duration) -> Result<Session> {
    let settings = settings(network, wait)?;
    let config = Config::from_json5(&settings.to_string())
        .map_err(|error| anyhow!("--config: {}", text_of(&error)))?;
    // As a client, zenoh waits for its router here, and hears no signal.
    let (opened, session) = mpsc::channel();
    thread::spawn(move || opened.send(zenoh::open(config).wait()));
    loop {
        match session.recv_timeout(LOOK) {
            Ok(session) => {
                return session.map_err(|error| {
                    let endpoints = texts(&network.listen);
                    let at = if endpoints.is_empty() {
                        "the network"
                    } else {
                        &endpoints
                    };
                    anyhow!("cannot open {at}: {}", text_of(&error))
                });
            }
            Err(RecvTimeoutError::Disconnected) => bail!("zenoh ended while it was opened"),
            Err(_) if stop::requested() => bail!("there was no link {}", where_to(network)),
            Err(_) => {}
        }
    }
}

/// How the other end is reached, for people.
pub(crate) fn where_to(network: &Network) -> String {
    match (&network.listen[..], &network.connect[..]) {
        ([], []) if network.config.is_some() => "by --config".to_owned(),
        ([], []) => "by multicast".to_owned(),
        (listen, []) => format!("at {}", texts(listen)),
        (_, connect) => format!("to {}", texts(connect)),
    }
}

fn texts(endpoints: &[EndPoint]) -> String {
    let texts: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn settings(network: &Network, wait: Duration) -> Result<Value> {
    let mut file = match &network.config {
        Some(path) => {
            let shown = path.display();
            let text = fs::read_to_string(path).with_context(|| format!("--config {shown}"))?;
            json5::from_str(&text).with_context(|| format!("--config {shown}"))?
        }
        None => Value::Object(Map::new()),
    };
    for (name, endpoints) in [("listen", &network.listen), ("connect", &network.connect)] {
        if !endpoints.is_empty() {
            let endpoints: Vec<_> = endpoints.iter().map(ToString::to_string).collect();
            merge(&mut file, json!({ name: { "endpoints": endpoints } }));
        }
    }
    let mut settings = ours(wait);
    if [&file["listen"], &file["connect"]]
        .iter()
        .any(|part| !part["endpoints"].is_null())
    {
        // Who names endpoints means these and no others: zenoh would also listen at a port of its
        // choice, without TLS, and make itself known to the local network.
        merge(
            &mut settings,
            json!({
                "listen": { "endpoints": [] },
                "scouting": { "multicast": { "enabled": false }, "gossip": { "enabled": false } },
            }),
        );
    }
    merge(&mut settings, file);
    Ok(settings)
}

fn ours(wait: Duration) -> Value {
    // The first half for the first part of a message, and the second for what follows.
    let half_us = u64::try_from(wait.as_micros() / 2).unwrap_or(u64::MAX);
    json!({
        "mode": "peer",
        "connect": {
            "timeout_ms": -1,
            "exit_on_failure": false,
            "retry": { "period_init_ms": 200, "period_max_ms": 1000, "period_increase_factor": 2 },
        },
        "transport": { "link": {
            "tx": {
                "lease": LEASE.as_secs() * 1000,
                "queue": { "congestion_control": { "drop": {
                    "wait_before_drop": half_us,
                    "max_wait_before_drop_fragments": half_us,
                } } },
            },
            "tcp": { "so_sndbuf": SEND_BUFFER },
            "tls": { "so_sndbuf": SEND_BUFFER },
        } },
    })
}

/// Puts all that `above` says on top of `base`.
fn merge(base: &mut Value, above: Value) {
    match (base, above) {
        (Value::Object(base), Value::Object(above)) => {
            for (name, value) in above {
                merge(base.entry(name).or_insert(Value::Null), value);
            }
        }
        (base, above) => *base = above,
    }
}

/// An error of zenoh without the places in its sources.
pub(crate) fn text_of(error: &zenoh::Error) -> String {
    let text = error.to_string();
    let mut parts = text.split(" at /");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        if let Some((_, after)) = part.split_once(".rs:") {
            // What follows the line's number.
            kept.push_str(after.trim_start_matches(|c: char| c.is_ascii_digit()));
        } else {
            kept.push_str(" at /");
            kept.push_str(part);
        }
    }
    kept.trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_may_wait_for_two_of_its_kind_and_for_100_mbit_but_not_for_ever() {
        let at = |fps| Some(Duration::from_secs(1) / fps);
        for (bytes, period, ms) in [
            (64 * 48, at(60), 500),
            (64 * 48, at(3), 666),
            (64 * 48, None, 1000),
            (1920 * 1080 * 3, at(30), 500),
            (1920 * 1080 * 4, at(30), 663),
            (3840 * 2160 * 3, at(30), 1000),
            (usize::MAX, at(30), 1000),
        ] {
            assert_eq!(
                wait_for(bytes, period).as_millis(),
                ms,
                "{bytes} {period:?}"
            );
        }
    }

    #[test]
    fn errors_are_told_without_the_places_in_zenohs_sources() {
        let error = "no listener [Address in use (os error 98) at /a/b.rs:12.] at /c/d.rs:3.";
        let error: zenoh::Error = error.into();
        assert_eq!(
            text_of(&error),
            "no listener [Address in use (os error 98).]"
        );
        let error: zenoh::Error = "cannot read the file at /etc/x".into();
        assert_eq!(text_of(&error), "cannot read the file at /etc/x");
    }

    fn network(listen: &[&str], config: Option<&str>) -> (Network, Option<std::path::PathBuf>) {
        let path = config.map(|text| {
            let name = format!(
                "shm-bridge-{}-{:p}.json5",
                std::process::id(),
                text.as_ptr()
            );
            let path = std::env::temp_dir().join(name);
            fs::write(&path, text).unwrap();
            path
        });
        let network = Network {
            listen: listen.iter().map(|text| text.parse().unwrap()).collect(),
            connect: vec![],
            config: path.clone(),
        };
        (network, path)
    }

    #[test]
    fn the_file_is_above_our_settings_and_below_the_flags() {
        let text = "{ transport: { link: { tx: { lease: 5000 } } }, listen: { endpoints: ['tls/[::]:1'] } }";
        let (network, path) = network(&["tcp/[::]:2"], Some(text));
        let settings = settings(&network, MOST).unwrap();
        fs::remove_file(path.unwrap()).unwrap();
        let link = &settings["transport"]["link"]["tx"];
        assert_eq!(link["lease"], 5000);
        assert_eq!(
            link["queue"]["congestion_control"]["drop"]["wait_before_drop"],
            500_000
        );
        assert_eq!(settings["listen"]["endpoints"], json!(["tcp/[::]:2"]));
        assert!(Config::from_json5(&settings.to_string()).is_ok());
    }

    #[test]
    fn who_names_endpoints_is_neither_found_by_others_nor_reached_at_other_ports() {
        let (bare, _) = network(&[], None);
        assert!(settings(&bare, MOST).unwrap()["scouting"].is_null());
        let (named, path) = network(&[], Some("{ connect: { endpoints: ['tls/robot:1'] } }"));
        let settings = settings(&named, MOST).unwrap();
        fs::remove_file(path.unwrap()).unwrap();
        assert_eq!(settings["listen"]["endpoints"], json!([]));
        assert_eq!(settings["scouting"]["multicast"]["enabled"], false);
        assert_eq!(settings["scouting"]["gossip"]["enabled"], false);
    }
}
