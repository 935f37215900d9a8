//! Frames that check themselves, and the processes that send and take them: this program again,
//! told by its environment which role to play.

use std::process::Command;
use std::time::Duration;

use shm_frame::{End, Error, Frame, Name, Receiver, Sender, SenderOptions, Shape, Waited};

use crate::{Program, TestName, shape, wait_until};

const ROLE: &str = "SHM_FRAME_TEST_ROLE";
const NAME: &str = "SHM_FRAME_TEST_NAME";

/// Starts this program in another role. Its test `role` is where that comes in.
pub fn start(role: &str, name: &TestName) -> Program {
    Program::start(&mut command(role, name))
}

pub fn command(role: &str, name: &TestName) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "role", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(NAME, name.as_str());
    command
}

/// The role that this process was started in, and the name of its segment.
pub fn role() -> Option<(String, Name)> {
    let role = std::env::var(ROLE).ok()?;
    Some((role, Name::new(&std::env::var(NAME).unwrap()).unwrap()))
}

/// More than is added to any frame, with the gap before it.
const MOST_META: usize = 160;

/// Frames of different sizes, each telling in every word whose it is, its number and where the word
/// stands.
pub struct Checked {
    pub sender: u32,
    pub shapes: &'static [[u32; 3]],
}

impl Checked {
    pub fn shape(&self, frame: u64) -> Shape {
        let index = usize::try_from(frame).unwrap() % self.shapes.len();
        let [height, width, channels] = self.shapes[index];
        shape(width, height, usize::try_from(channels).unwrap())
    }

    /// Room for every frame with what is added to it.
    pub fn capacity(&self) -> usize {
        let shapes = 0..self.shapes.len() as u64;
        shapes.map(|i| self.shape(i).bytes()).max().unwrap() + MOST_META
    }

    /// What is added to a frame: nothing to every fifth, else JSON of different lengths.
    pub fn meta(&self, frame: u64) -> Vec<u8> {
        if frame.is_multiple_of(5) {
            return Vec::new();
        }
        let fill = "x".repeat(usize::try_from(frame % 64).unwrap());
        let Self { sender, .. } = self;
        format!(r#"{{"frame":{frame},"sender":{sender},"fill":"{fill}"}}"#).into_bytes()
    }

    /// When a frame was taken: unknown for every seventh, else a number of its own.
    pub fn captured_ns(&self, frame: u64) -> Option<u64> {
        (!frame.is_multiple_of(7)).then(|| self.word(frame, usize::MAX) | 1)
    }

    fn word(&self, frame: u64, at: usize) -> u64 {
        let frame = frame.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        frame ^ u64::from(self.sender) << 32 ^ at as u64
    }

    pub fn fill(&self, frame: u64, pixels: &mut [u8]) {
        let (words, rest) = pixels.as_chunks_mut();
        for (at, word) in words.iter_mut().enumerate() {
            *word = self.word(frame, at).to_le_bytes();
        }
        let last = self.word(frame, words.len()).to_le_bytes();
        rest.copy_from_slice(&last[..rest.len()]);
    }

    /// Fails if a frame is not what its sender filled in.
    pub fn check(&self, frame: u64, shape: Shape, pixels: &[u8]) {
        let Self { sender, .. } = self;
        assert_eq!(
            shape,
            self.shape(frame),
            "frame {frame} of {sender} has another's size"
        );
        let (words, rest) = pixels.as_chunks();
        for (at, word) in words.iter().enumerate() {
            assert!(
                u64::from_le_bytes(*word) == self.word(frame, at),
                "frame {frame} of {sender} is torn at word {at} of {}: {word:02x?}",
                words.len()
            );
        }
        let last = self.word(frame, words.len()).to_le_bytes();
        assert_eq!(
            rest,
            &last[..rest.len()],
            "frame {frame} is torn at its end"
        );
    }

    /// Fails if what came with a frame is not what its sender added.
    pub fn check_extras(&self, frame: &Frame, meta: &[u8]) {
        let Self { sender, .. } = self;
        let number = frame.number;
        assert_eq!(
            frame.captured_ns,
            self.captured_ns(number),
            "time of frame {number} of {sender}"
        );
        assert!(
            meta == self.meta(number),
            "frame {number} of {sender} came with {:?}",
            String::from_utf8_lossy(meta)
        );
        assert!(
            frame.begun_ns <= frame.published_ns,
            "times of frame {number} of {sender}: {frame:?}"
        );
    }

    pub fn send(&self, sender: &mut Sender, frame: u64) {
        let meta = self.meta(frame);
        loop {
            let shape = self.shape(frame);
            let mut loan = sender.loan_with_room(shape, meta.len()).unwrap();
            self.fill(frame, loan.pixels());
            loan.set_meta(&meta).unwrap();
            loan.set_captured_ns(self.captured_ns(frame).unwrap_or(0));
            match loan.publish() {
                Ok(sent) => return assert_eq!(sent.number, frame),
                // A test took the memory away meanwhile.
                Err(Error::Lost { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sends frames flat out until the process is killed.
    pub fn send_for_ever(&self, sender: &mut Sender) {
        for frame in 1.. {
            self.send(sender, frame);
        }
    }
}

pub fn create(name: &Name, slots: usize, capacity: usize) -> Result<Sender, Error> {
    let options = SenderOptions::new().capacity(capacity).slots(slots);
    Sender::create(name, &options)
}

/// How a role takes frames.
#[derive(Clone, Copy)]
pub enum Take {
    Lease,
    Copy,
}

impl Take {
    /// Takes the latest frame and checks it.
    pub fn take(
        self,
        receiver: &mut Receiver,
        shapes: &'static [[u32; 3]],
        pixels: &mut Vec<u8>,
    ) -> Option<Frame> {
        let sender = receiver.sender_pid().unwrap();
        let checked = Checked { sender, shapes };
        match self {
            // Without an entry it copies, as shm-recv does.
            Self::Lease if receiver.can_lease() => {
                let lease = receiver.lease().unwrap()?;
                let frame = lease.frame();
                pixels.clear();
                pixels.extend_from_slice(lease.pixels());
                // Again and in place, so that what is written meanwhile shows.
                let same = lease.pixels() == pixels;
                let meta = lease.meta().to_vec();
                // Truncated memory is read as zeros, and the lease says so.
                if !lease.is_intact() {
                    return None;
                }
                assert!(same, "frame {} changed under its lease", frame.number);
                checked.check(frame.number, frame.shape, pixels);
                checked.check_extras(&frame, &meta);
                Some(frame)
            }
            Self::Lease | Self::Copy => {
                let mut meta = Vec::new();
                let frame = receiver.copy_with_meta(pixels, &mut meta).unwrap()?;
                checked.check(frame.number, frame.shape, pixels);
                checked.check_extras(&frame, &meta);
                Some(frame)
            }
        }
    }
}

/// Follows a name from segment to segment until it is told to end, and says what it sees.
///
/// A frame that is torn, or comes twice, or after a newer one, is the end.
pub fn follow(
    mut receiver: Receiver,
    take: Take,
    shapes: &'static [[u32; 3]],
    end: impl Fn() -> bool,
) {
    let (mut frames, mut last, mut sender, mut gone) = (0_u64, 0, None, Vec::new());
    let mut pixels = Vec::new();
    while !end() {
        match receiver.wait(Duration::from_millis(100)).unwrap() {
            Waited::Frame => {
                let pid = receiver.sender_pid();
                if sender != pid {
                    assert!(!gone.contains(&pid), "{pid:?} is back from the dead");
                    gone.extend(sender.map(|_| sender));
                    sender = pid;
                    last = 0;
                    println!("attached {}", pid.unwrap());
                }
                if let Some(frame) = take.take(&mut receiver, shapes, &mut pixels) {
                    assert!(frame.number > last, "frame {} after {last}", frame.number);
                    last = frame.number;
                    frames += 1;
                    if frames % 64 == 0 {
                        println!("frames={frames}");
                    }
                }
            }
            Waited::Timeout | Waited::Cancelled => {}
            Waited::Ended(how) => {
                // A sender that nothing was taken from is not worth a word.
                if how == End::Dead && sender == receiver.sender_pid() && !gone.contains(&sender) {
                    println!("died {} after frame {last}", sender.unwrap());
                    gone.push(sender);
                }
                while !end() && !matches!(receiver.reopen(), Ok(true)) {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
    println!("frames={frames}");
}

/// A number that a role printed, as `key=number`: the last one.
pub fn number(text: &str, key: &str) -> u64 {
    let value = text
        .split_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    let value = value.unwrap_or_else(|| panic!("no {key} in {text:?}"));
    value.parse().unwrap()
}

/// A file by which the processes of one test tell each other to go on, in the scratch directory
/// that the test holds.
pub fn signal_file(name: &str, what: &str) -> std::path::PathBuf {
    super::scratch(name).join(what)
}

/// Whether a file is there, waiting for it.
pub fn wait_for_file(path: &std::path::Path) {
    wait_until(&format!("{} is there", path.display()), || path.exists());
}

/// Numbers that look random, the same in every run (splitmix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) % n
    }
}
