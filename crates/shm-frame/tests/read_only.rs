//! Receivers that may only read a segment: in place all the same, and nothing is theirs to change.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::unistd::{ForkResult, fork};
use shm_frame::{
    Error, Frame, Name, Notifier, OwnedLease, Receiver, Sender, SenderOptions, Via, Waited,
};
use shm_frame_testing::frames::{self, Checked, command, create, number, signal_file, start};
use shm_frame_testing::{
    PATIENCE, Program, Scratch, TestName, open, open_name, open_read_only, shape, wait_until,
};

const SHAPES: &[[u32; 3]] = &[[101, 320, 3], [202, 320, 1], [50, 100, 4]];
/// Of other users.
const NOBODY: u32 = 65_534;

/// Not a test but where the other processes come in.
#[test]
fn role() {
    let Some((role, name)) = frames::role() else {
        return;
    };
    let until = signal_file(&name.to_string(), "end");
    match role.as_str() {
        "view" => view(open_name(&name), &until),
        "view as nobody" => {
            // What this user may look into, wherever the tests were built: perhaps in root's home.
            let directory = until.parent().unwrap();
            fs::create_dir_all(directory).unwrap();
            std::env::set_current_dir(directory).unwrap();
            if nix::unistd::geteuid().is_root() {
                nix::unistd::setuid(NOBODY.into()).unwrap();
            }
            assert!(File::options().write(true).open(name.path()).is_err());
            view(open_name(&name), Path::new(until.file_name().unwrap()));
        }
        "view of my own" => view(open_read_only(&name), &until),
        "hold" => hold(&name),
        "child" => child(&name),
        _ => panic!("no role {role}"),
    }
}

/// Takes frames until it is told to end, in place where it can, and says by which ways. Ends with
/// the count of leases that were lost, too.
fn view(mut receiver: Receiver, until: &std::path::Path) {
    let sender = receiver.sender_pid().unwrap();
    let checked = Checked {
        sender,
        shapes: SHAPES,
    };
    let (mut frames, mut leased, mut copied, mut lost) = (0, 0, 0, 0);
    let (mut pixels, mut newest) = (Vec::new(), 0);
    println!("attached");
    while !until.exists() {
        if receiver.wait(Duration::from_millis(100)).unwrap() != Waited::Frame {
            continue;
        }
        let frame = if receiver.can_lease() {
            let Some(lease) = receiver.lease().unwrap() else {
                continue;
            };
            let frame = lease.frame();
            pixels.clear();
            pixels.extend_from_slice(lease.pixels());
            let same = lease.pixels() == pixels;
            if !lease.is_intact() {
                lost += 1;
                println!("lost={lost}");
                continue;
            }
            assert!(same, "frame {} changed under its lease", frame.number);
            frame
        } else {
            match receiver.copy(&mut pixels).unwrap() {
                Some(frame) => frame,
                None => continue,
            }
        };
        checked.check(frame.number, frame.shape, &pixels);
        assert!(
            frame.number > newest,
            "frame {} after {newest}",
            frame.number
        );
        newest = frame.number;
        frames += 1;
        match frame.via {
            Via::LeasedReadOnly | Via::Leased => leased += 1,
            _ => copied += 1,
        }
        if frames % 64 == 1 || leased == 1 {
            println!(
                "frames={frames} leased={leased} copied={copied} via {}",
                frame.via
            );
        }
    }
    println!("frames={frames} leased={leased} copied={copied} lost={lost}");
}

/// Leases a frame by lock, and keeps it.
fn hold(name: &Name) {
    let mut receiver = open_read_only(name);
    loop {
        receiver.wait(Duration::from_millis(5)).unwrap();
        if receiver.can_lease()
            && let Some(lease) = receiver.lease().unwrap()
        {
            println!("leased slot of frame {}", lease.frame().number);
            std::thread::sleep(PATIENCE);
        }
    }
}

fn checked() -> Checked {
    Checked {
        sender: std::process::id(),
        shapes: SHAPES,
    }
}

/// A sender that publishes until something holds.
struct Stream {
    sender: Sender,
    checked: Checked,
    frame: u64,
}

impl Stream {
    fn new(name: &TestName, slots: usize) -> Self {
        let checked = checked();
        let options = SenderOptions::new()
            .capacity(checked.capacity())
            .slots(slots)
            .mode(0o644);
        Self {
            sender: Sender::create(&name.name(), &options).unwrap(),
            checked,
            frame: 0,
        }
    }

    fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.frame += 1;
            self.checked.send(&mut self.sender, self.frame);
        }
    }

    /// At a rate, so that those who copy keep up.
    fn send_until(&mut self, program: &mut Program, what: &str) {
        program.wait_until(what, |program| {
            for _ in 0..10 {
                self.send(1);
                std::thread::sleep(Duration::from_micros(300));
            }
            program.stdout().contains(what)
        });
    }

    /// Until this receiver can lease, and has done so.
    fn lease(&mut self, receiver: &mut Receiver) -> OwnedLease {
        let mut lease = None;
        wait_until("there is a lease", || {
            self.send(1);
            lease = receiver.lease_owned().unwrap();
            lease.is_some()
        });
        lease.unwrap()
    }

    fn assert_holds(&self, lease: &OwnedLease) {
        let frame = lease.frame();
        self.checked
            .check(frame.number, frame.shape, lease.pixels());
        assert!(lease.is_intact());
    }
}

fn locks_of(name: &TestName) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let inode = fs::metadata(name.file()).unwrap().ino();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    let locks = locks
        .lines()
        .filter(|line| line.contains(&format!(":{inode} ")));
    locks.map(str::to_owned).collect()
}

#[test]
fn a_viewer_reads_in_place_and_may_write_nothing() {
    let name = TestName::new("viewer");
    let mut stream = Stream::new(&name, 4);
    let mut viewer = open_read_only(&name.name());
    assert!(!viewer.can_lease(), "the sender does not know of it yet");
    stream.send(1);
    assert!(viewer.lease_owned().unwrap().is_none());
    let mut pixels = Vec::new();
    assert_eq!(viewer.copy(&mut pixels).unwrap().unwrap().via, Via::Copied);
    let lease = stream.lease(&mut viewer);
    assert_eq!(lease.frame().via, Via::LeasedReadOnly);
    assert!(viewer.can_lease());
    stream.send(1000);
    stream.assert_holds(&lease);
    assert_eq!(mapped(&name), [0, 2]);
    let mut other = open_read_only(&name.name());
    stream.send(1);
    assert_eq!(
        other.copy(&mut pixels).unwrap().unwrap().number,
        stream.frame
    );
}

#[test]
fn a_still_picture_is_told_again_when_it_can_be_leased() {
    let name = TestName::new("still");
    let mut stream = Stream::new(&name, 3);
    stream.send(1);
    let mut first = open(&name);
    let mut viewer = open_read_only(&name.name());
    let mut leased = |viewer: &mut Receiver| {
        stream.sender.tend().unwrap();
        viewer.wait(Duration::from_millis(10)).unwrap() == Waited::Frame
            && viewer.lease().unwrap().is_some()
    };
    // The only entry is another's.
    assert!(leased(&mut first));
    for _ in 0..50 {
        assert!(!leased(&mut viewer));
    }
    drop(first);
    // Then it is the viewer's, and 0.2 s later the sender knows of it.
    wait_until("it leases the picture", || leased(&mut viewer));
}

#[test]
fn a_still_picture_is_told_again_when_a_lease_of_ones_own_ends() {
    for read_only in [false, true] {
        let name = TestName::new("own");
        let mut stream = Stream::new(&name, 3);
        stream.send(1);
        let mut receiver = if read_only {
            open_read_only(&name.name())
        } else {
            open(&name)
        };
        let mut leased = |stream: &mut Stream| {
            stream.sender.tend().unwrap();
            let news = receiver.wait(Duration::from_millis(10)).unwrap() == Waited::Frame;
            news.then(|| receiver.lease_owned().unwrap()).flatten()
        };
        let mut first = None;
        wait_until("it leases the first", || {
            first = leased(&mut stream);
            first.is_some()
        });
        stream.send(1);
        // The only entry is in use.
        for _ in 0..50 {
            assert!(leased(&mut stream).is_none());
        }
        drop(first);
        wait_until("it leases the second", || leased(&mut stream).is_some());
    }
}

/// How many mappings the receivers of this process have of a segment: for writing, and for reading
/// only. A sender maps its file before that has the name.
fn mapped(name: &TestName) -> [usize; 2] {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let file = format!("/dev/shm{}", name.as_str());
    let of_file = maps.lines().filter(|line| line.ends_with(&file));
    let of_file: Vec<_> = of_file.collect();
    ["rw-s", "r--s"].map(|access| {
        let with_access = of_file.iter().filter(|line| line.contains(access));
        with_access.count()
    })
}

#[test]
fn a_notifier_maps_nothing_for_writing() {
    let name = TestName::new("notifier");
    let _stream = Stream::new(&name, 4);
    let _notifier = Notifier::new(&name.name()).unwrap();
    wait_until("it has attached", || {
        mapped(&name).iter().sum::<usize>() == 2
    });
    assert_eq!(mapped(&name), [0, 2]);
}

/// With frames that check themselves, in processes of their own.
fn reads_in_place(mut viewer: Program, name: &TestName, stream: &mut Stream, via: &str) {
    viewer.wait_for("attached");
    stream.send_until(&mut viewer, &format!("via {via}\n"));
    // Flat out for a while.
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        stream.send(10);
    }
    let _scratch = Scratch::new(name);
    fs::write(signal_file(name.as_str(), "end"), "").unwrap();
    viewer.ends_with(0);
    let report = viewer.stdout();
    assert!(number(&report, "leased") > 0, "{report}");
    assert_eq!(number(&report, "lost"), 0, "{report}");
    println!("{}", report.lines().last().unwrap());
}

#[test]
fn another_user_with_permission_to_read_reads_in_place() {
    let name = TestName::new("nobody");
    let mut stream = Stream::new(&name, 4);
    // Root may do anything, and becomes nobody. Another user is stopped by the mode.
    if !nix::unistd::geteuid().is_root() {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(name.file(), fs::Permissions::from_mode(0o444)).unwrap();
    }
    let viewer = start("view as nobody", &name);
    reads_in_place(viewer, &name, &mut stream, "leased-read-only");
}

#[test]
fn where_dev_shm_is_mounted_read_only_frames_are_read_in_place() {
    let name = TestName::new("mounted");
    let mut stream = Stream::new(&name, 4);
    let role = command("view", &name);
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--map-root-user", "sh", "-c"]);
    unshare.arg(
        "mount -o remount,bind,ro /dev/shm && ! touch /dev/shm/x 2>/dev/null && exec \"$0\" \"$@\"",
    );
    unshare.arg(role.get_program()).args(role.get_args());
    unshare.envs(
        role.get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    reads_in_place(
        Program::start(&mut unshare),
        &name,
        &mut stream,
        "leased-read-only",
    );
}

#[test]
fn killed_viewers_leave_nothing_behind() {
    let name = TestName::new("killed");
    let mut stream = Stream::new(&name, 4);
    for _ in 0..20 {
        let mut holders = [start("hold", &name), start("hold", &name)];
        for holder in &mut holders {
            stream.send_until(holder, "leased");
        }
        stream.send(100);
        for holder in &mut holders {
            holder.kill();
            stream.send(10);
        }
    }
    let locks = locks_of(&name);
    assert_eq!(locks.len(), 1, "the sender's: {locks:?}");
    // Their entries are free at once, for either kind.
    assert!(open(&name).can_lease());
    let mut viewers = [open_read_only(&name.name()), open_read_only(&name.name())];
    let leases = viewers.each_mut().map(|viewer| stream.lease(viewer));
    stream.send(100);
    for lease in &leases {
        stream.assert_holds(lease);
    }
}

#[test]
fn the_lease_of_a_dead_receiver_is_not_taken_with_its_entry() {
    let name = TestName::new("stale");
    let mut stream = Stream::new(&name, 3);
    stream.send(1);
    // As a receiver leaves it that was killed with frame 1 in its lease.
    let file = File::options().write(true).open(name.file()).unwrap();
    let entry = file.metadata().unwrap().len() - 4096 + 1152;
    std::os::unix::fs::FileExt::write_all_at(&file, &1_u32.to_le_bytes(), entry).unwrap();
    let mut viewer = open_read_only(&name.name());
    wait_until("the viewer leases", || {
        stream.send(1);
        let lease = viewer.lease_owned().unwrap();
        let mut word = [0; 4];
        std::os::unix::fs::FileExt::read_exact_at(
            &File::open(name.file()).unwrap(),
            &mut word,
            entry,
        )
        .unwrap();
        assert!(
            lease.is_none() || word == [0; 4],
            "there is no slot for both"
        );
        if let Some(lease) = &lease {
            stream.send(100);
            stream.assert_holds(lease);
        }
        viewer.wait(Duration::from_millis(1)).unwrap();
        lease.is_some()
    });
}

#[test]
fn from_a_sender_that_does_not_mind_locks_a_viewer_copies() {
    let name = TestName::new("older");
    let mut stream = Stream::new(&name, 4);
    // As the first release leaves it.
    let file = File::options().write(true).open(name.file()).unwrap();
    let features = file.metadata().unwrap().len() - 4096 + 28;
    std::os::unix::fs::FileExt::write_all_at(&file, &[0; 4], features).unwrap();
    let mut viewer = open_read_only(&name.name());
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        stream.send(1);
        assert_eq!(viewer.wait(PATIENCE).unwrap(), Waited::Frame);
        let frame = viewer.copy(&mut Vec::new()).unwrap().unwrap();
        assert_eq!(frame.via, Via::Copied);
        assert!(!viewer.can_lease());
    }
}

#[test]
fn entries_have_one_owner_whoever_comes() {
    let name = TestName::new("owners");
    let mut stream = Stream::new(&name, 4);
    let mut viewers = [(); 5].map(|()| open_read_only(&name.name()));
    let mut writers = [open(&name), open(&name)];
    let mut held = 0;
    // For as long as looks for a free entry take.
    let end = Instant::now() + Duration::from_millis(700);
    while Instant::now() < end {
        stream.send(1);
        let mut leases = Vec::new();
        for receiver in viewers.iter_mut().chain(&mut writers) {
            receiver.wait(Duration::from_millis(1)).unwrap();
            leases.extend(receiver.lease_owned().unwrap());
        }
        assert!(leases.len() <= 2, "{} leases", leases.len());
        held = held.max(leases.len());
    }
    assert_eq!(held, 2);
    let counted = || {
        let list = shm_frame::list().unwrap();
        let mut segments = list.segments.into_iter();
        let listed = segments.find(|listed| listed.name == name.name());
        listed.unwrap().control.unwrap().receivers
    };
    assert_eq!(counted(), 2);
    // Those that copy are seen, too, as soon as one had to sleep.
    for receiver in viewers.iter_mut().chain(&mut writers) {
        receiver.copy(&mut Vec::new()).unwrap();
        let waited = receiver.wait(Duration::from_millis(1)).unwrap();
        assert_eq!(waited, Waited::Timeout);
    }
    assert_eq!(counted(), 7);
    assert_eq!(stream.sender.receivers(), 7);
    drop(viewers);
    assert_eq!(stream.sender.receivers(), 2);
}

#[test]
fn leases_by_lock_outlive_their_receiver() {
    let name = TestName::new("outlive");
    let mut stream = Stream::new(&name, 5);
    let mut viewer = open_read_only(&name.name());
    let leases = [(); 3].map(|()| stream.lease(&mut viewer));
    stream.send(1);
    assert!(
        viewer.lease_owned().unwrap().is_none(),
        "all entries are in use"
    );
    drop(viewer);
    // For longer than the sender does not look.
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        stream.send(10);
    }
    for lease in &leases {
        stream.assert_holds(lease);
    }
    let [first, second, third] = leases;
    drop(second);
    let mut other = open(&name);
    assert!(other.can_lease(), "its entry is free");
    stream.send(1);
    assert!(other.lease().unwrap().is_some());
    std::thread::spawn(move || drop(first)).join().unwrap();
    stream.send(100);
    stream.assert_holds(&third);
    drop((third, other));
    let locks = locks_of(&name);
    assert_eq!(locks.len(), 1, "the sender's: {locks:?}");
}

/// In the only thread of its process.
fn child(name: &Name) {
    let name = Name::new(&format!("{name}-of-child")).unwrap();
    let shape = shape(8, 8, 3);
    let mut sender = create(&name, 4, 192).unwrap();
    let mut viewer = open_read_only(&name);
    let mut lease = None;
    wait_until("there is a lease", || {
        sender.publish(shape, &[1; 192]).unwrap();
        lease = viewer.lease_owned().unwrap();
        lease.is_some()
    });
    let mut inherited = Some((viewer, lease.unwrap()));
    #[expect(unsafe_code, reason = "fork")]
    // SAFETY: this process has no other thread that holds a lock which the child might need.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let (mut viewer, lease) = inherited.take().unwrap();
            let mine = lease.is_intact();
            drop(lease);
            // With locks of its own.
            let copied = viewer.wait(Duration::from_millis(1)).is_ok();
            drop(viewer);
            // SAFETY: a system call.
            unsafe { libc::_exit(i32::from(mine || !copied)) };
        }
        ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).unwrap();
            assert_eq!(status, nix::sys::wait::WaitStatus::Exited(child, 0));
        }
    }
    let (_viewer, lease) = inherited.unwrap();
    for i in 2..100 {
        sender.publish(shape, &[i; 192]).unwrap();
    }
    assert!(lease.is_intact() && lease.pixels() == [1; 192]);
    println!("right");
}

#[test]
fn a_child_does_not_give_back_its_parents_locks() {
    let name = TestName::new("forked");
    start("child", &name).ends_with(0).assert_stdout("right");
}

#[test]
fn a_segment_that_moves_takes_its_viewers_along() {
    let name = TestName::new("moves");
    let mut sender = create(&name.name(), 4, 192).unwrap();
    let mut viewer = open_read_only(&name.name());
    for side in [8, 100, 400] {
        let shape = shape(side, side, 3);
        let mut frame: Option<Frame> = None;
        wait_until("it leases again", || {
            sender.publish(shape, &vec![7; shape.bytes()]).unwrap();
            if let Waited::Ended(_) = viewer.wait(Duration::from_millis(5)).unwrap() {
                viewer.reopen().unwrap();
            }
            let taken = match viewer.lease() {
                Ok(Some(lease)) => Some(lease.frame()),
                Ok(None) | Err(Error::Ended { .. }) => None,
                Err(error) => panic!("{error}"),
            };
            frame = taken.filter(|frame| frame.shape == shape);
            frame.is_some()
        });
        assert_eq!(frame.unwrap().via, Via::LeasedReadOnly);
    }
}

/// Sets the lock of a segment's file on bytes, for which permission to read is enough.
fn set_lock(file: &File, kind: i32, from: i64, count: i64) {
    let lock = libc::flock {
        l_type: kind.try_into().unwrap(),
        l_whence: libc::SEEK_SET.try_into().unwrap(),
        l_start: from,
        l_len: count,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
}

#[test]
fn a_reader_that_shares_all_locks_costs_others_their_leases_and_shows_them_no_torn_frame() {
    let name = TestName::new("greedy");
    let _scratch = Scratch::new(&name);
    let mut stream = Stream::new(&name, 4);
    let mut viewers = [start("view of my own", &name), start("view", &name)];
    for viewer in &mut viewers {
        stream.send_until(viewer, "leased=1 ");
    }
    let greedy = File::open(name.file()).unwrap();
    set_lock(&greedy, libc::F_RDLCK, 17, 1);
    set_lock(&greedy, libc::F_RDLCK, 32, 16);
    viewers[0].wait_until("it loses a lease", |viewer| {
        stream.send(100);
        viewer.stdout().contains("lost=1\n")
    });
    // It still gets whole ones, and the other one loses nothing.
    let before = viewers[0].stdout().len();
    viewers[0].wait_until("it has frames", |viewer| {
        stream.send(1);
        std::thread::sleep(Duration::from_micros(300));
        viewer.stdout()[before..].contains("frames=")
    });
    fs::write(signal_file(name.as_str(), "end"), "").unwrap();
    for viewer in &mut viewers {
        viewer.ends_with(0);
    }
    assert_eq!(number(&viewers[1].stdout(), "lost"), 0);
}

#[test]
fn a_reader_with_very_many_locks_does_not_take_the_senders_time() {
    const LOCKS: i64 = 300_000;
    let name = TestName::new("locks");
    let mut stream = Stream::new(&name, 4);
    let slow = File::open(name.file()).unwrap();
    set_lock(&slow, libc::F_RDLCK, 17, 1);
    // One lock, made many by holes: from the end, where the system finds the place at once.
    set_lock(&slow, libc::F_RDLCK, 1000, 2 * LOCKS);
    for i in (0..LOCKS).rev() {
        set_lock(&slow, libc::F_UNLCK, 1000 + 2 * i, 1);
    }
    let (cpu_before, begin) = (cpu(), Instant::now());
    let mut frames = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        stream.send(1);
        std::thread::sleep(Duration::from_millis(1));
        frames += 1;
    }
    let (used, passed) = (cpu().saturating_sub(cpu_before), begin.elapsed());
    println!("{frames} frames, {used:?} of {passed:?}");
    // With a question for each frame it is nearly all of it.
    assert!(used < passed / 2, "{used:?} of {passed:?}");
}

/// What this thread has used of processors.
fn cpu() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}
