//! What a user can do about an error of the library, in the flags of the command that reports it.
//!
//! The library states facts. The same fact has different remedies: the owner of a segment can let
//! others receive from it, but another sender has to choose another name.

use anyhow::Chain;
use shm_frame::Error;

/// The remedies that one command knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remedies(fn(&Error) -> Option<String>);

/// For `shm-send`.
pub(crate) const SEND: Remedies = Remedies(send);
/// For `shm-recv`.
pub(crate) const RECV: Remedies = Remedies(receive);
/// For `shm-recv --clean`.
pub(crate) const CLEAN: Remedies = Remedies(clean);

impl Remedies {
    /// The error, its causes, and what to do about it.
    pub(crate) fn explain(self, error: &anyhow::Error) -> String {
        let remedy = error
            .chain()
            .find_map(|cause| self.remedy(cause.downcast_ref::<Error>()?));
        format!("{error:#}") + &remedy.unwrap_or_default()
    }

    /// The same for an error as the library returns it.
    pub(crate) fn explain_error(self, error: &Error) -> String {
        let texts: Vec<_> = Chain::new(error).map(ToString::to_string).collect();
        texts.join(": ") + &self.remedy(error).unwrap_or_default()
    }

    /// What follows the error's text, if there is a remedy.
    fn remedy(self, error: &Error) -> Option<String> {
        let remedy = (self.0)(error)?;
        // These say what the file is, after a colon of their own.
        let mark = match error {
            Error::NotASegment { .. } | Error::NotAFile { .. } => ';',
            _ => ':',
        };
        Some(format!("{mark} {remedy}"))
    }
}

#[expect(
    clippy::match_same_arms,
    reason = "the last arm is only for kinds that are new: they show up as a missing remedy"
)]
fn send(error: &Error) -> Option<String> {
    let remedy = match error {
        Error::Live { .. } | Error::PlainLive { .. } => {
            "stop it, use another --name, or take over with --replace"
        }
        Error::NotASegment { .. } => "remove it, use another --name, or replace it with --replace",
        Error::NotAFile { .. } => "remove it, or use another --name",
        Error::Denied { .. } | Error::TakenOver { .. } => "use another --name",
        Error::Version { .. } => {
            "use the same version at both ends, use another --name, or replace it with --replace"
        }
        Error::NoRoom { needed, .. } => return Some(more_room(*needed)),
        Error::ReadOnly { .. } => REMOUNT,
        Error::Busy { .. } => AGAIN,
        Error::Layout { .. } => "send smaller frames, or use fewer --slots",
        Error::NoMemory { .. } => SMALLER,
        Error::TooManyMappings { .. } => RESTART,
        // The text says what is allowed, or a system call's error says what happened.
        Error::Name { .. }
        | Error::Shape { .. }
        | Error::TooLarge { .. }
        | Error::Length { .. }
        | Error::NotFound { .. }
        | Error::System { .. } => return None,
        // A kind of error that this command does not know yet.
        _ => return None,
    };
    Some(remedy.to_owned())
}

#[expect(clippy::match_same_arms, reason = "as for senders")]
fn receive(error: &Error) -> Option<String> {
    let remedy = match error {
        Error::NotFound { .. } => "start its sender",
        Error::Denied { .. } => "run as that user, or start its sender with --mode 0644",
        Error::Version { .. } => "use the same version at both ends",
        Error::NotASegment { .. } | Error::NotAFile { .. } => {
            "use another --name, or remove it and start its sender"
        }
        Error::ReadOnly { .. } => REMOUNT,
        Error::Busy { .. } => AGAIN,
        Error::NoMemory { .. } => SMALLER,
        Error::TooManyMappings { .. } => RESTART,
        // Faults of the sender, whose next frame may be better, and errors of senders.
        Error::Name { .. }
        | Error::Shape { .. }
        | Error::TooLarge { .. }
        | Error::Length { .. }
        | Error::Layout { .. }
        | Error::NoRoom { .. }
        | Error::Live { .. }
        | Error::PlainLive { .. }
        | Error::TakenOver { .. }
        | Error::System { .. } => return None,
        // A kind of error that this command does not know yet.
        _ => return None,
    };
    Some(remedy.to_owned())
}

fn clean(error: &Error) -> Option<String> {
    match error {
        Error::Denied { .. } => Some("run as that user".to_owned()),
        _ => receive(error),
    }
}

const AGAIN: &str = "try again";
const REMOUNT: &str = "mount it read-write, as mount -o remount,rw /dev/shm does";
const RESTART: &str = "start the command again";
const SMALLER: &str = "free some, or send smaller frames";

/// Room for the segment twice, since the next one is made before the last one goes.
fn more_room(needed: u64) -> String {
    let mib = needed.saturating_mul(2).div_ceil(1 << 20);
    let mib = mib.checked_next_multiple_of(16).unwrap_or(mib);
    format!("free some, or start the container with --shm-size={mib}m")
}

#[cfg(test)]
mod tests {
    use shm_frame::Name;

    use super::*;

    fn name() -> Name {
        Name::new("/cam").unwrap()
    }

    #[test]
    fn another_users_receiver_is_told_something_else_than_his_sender() {
        let denied = Error::Denied {
            name: name(),
            owner: "ada (1000)".to_owned(),
            mode: 0o600,
        };
        let fact = "segment /cam belongs to ada (1000) and has mode 0600: ";
        for (remedies, remedy) in [
            (SEND, "use another --name"),
            (
                RECV,
                "run as that user, or start its sender with --mode 0644",
            ),
            (CLEAN, "run as that user"),
        ] {
            assert_eq!(remedies.explain_error(&denied), format!("{fact}{remedy}"));
        }
    }

    #[test]
    fn a_remedy_follows_all_causes_and_an_error_without_one_stays_as_it_is() {
        let live = Error::Live {
            name: name(),
            pid: Some(7),
        };
        let text = SEND.explain(&anyhow::Error::from(live).context("--show"));
        assert_eq!(
            text,
            "--show: segment /cam has a live sender, pid 7: stop it, use another --name, or take \
             over with --replace"
        );
        let failed = Error::System {
            call: "mmap",
            name: name(),
            source: std::io::ErrorKind::OutOfMemory.into(),
        };
        let text = RECV.explain_error(&failed);
        assert_eq!(text, "mmap for segment /cam: out of memory");
        assert_eq!(SEND.explain(&anyhow::anyhow!("as it is")), "as it is");
    }

    #[test]
    fn the_room_to_ask_for_is_twice_what_is_needed_in_steps_of_16_mib() {
        for (needed, size) in [
            (1, "=16m"),
            (8 << 20, "=16m"),
            ((8 << 20) + 1, "=32m"),
            (u64::MAX, "m"),
        ] {
            assert!(more_room(needed).ends_with(size), "{needed}");
        }
    }

    #[test]
    fn what_is_no_segment_is_described_before_the_remedy() {
        let error = Error::NotASegment {
            name: name(),
            what: "it is empty".to_owned(),
        };
        assert_eq!(
            SEND.explain_error(&error),
            "/cam is no segment: it is empty; remove it, use another --name, or replace it with \
             --replace"
        );
    }
}
