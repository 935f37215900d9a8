//! What other processes can cost: files that claim more than they are, locks that anybody may take,
//! memory that nobody gives back.
#![expect(unsafe_code, reason = "leases on files, which nix does not know")]

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::{FallocateFlags, FcntlArg, fallocate, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use shm_frame::{End, Error, FrameHeader, Name, Receiver, Sender, SenderOptions, Waited};
use shm_frame_testing::frames::{self, command, create, start};
use shm_frame_testing::{PATIENCE, Program, TestName, open, open_name, shape, take, wait_until};

const PAGE: u64 = 4096;
/// The same, as lengths are told in memory.
const PAGE_LEN: usize = 4096;

/// Not a test but where the other processes come in.
#[test]
fn role() {
    let Some((role, name)) = frames::role() else {
        return;
    };
    match role.as_str() {
        "send" => send(&name),
        "attach" => attach(&name),
        "come and go" => come_and_go(&name),
        "list" => list_as_nobody(&name),
        "lease a file" => lease_a_file(&name),
        "crowded" => crowded(&name),
        "no larger file" => no_larger_file(&name),
        _ => panic!("no role {role}"),
    }
}

// --- files that claim more than they are

fn header(width: i32, height: i32, channels: i32) -> FrameHeader {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    FrameHeader {
        width,
        height,
        channels,
        timestamp_ms: now.as_millis().try_into().unwrap(),
        frame_valid: 1,
    }
}

fn memory(file: &File) -> u64 {
    file.metadata().unwrap().blocks() * 512
}

fn lists(name: &TestName) -> bool {
    let listing = shm_frame::list().unwrap();
    listing
        .segments
        .iter()
        .any(|listed| listed.name == name.name())
}

#[test]
fn a_sparse_file_with_a_control_page_is_no_segment_and_is_not_filled() {
    let real = TestName::new("sparse-real");
    let name = TestName::new("sparse-native");
    let shape = shape(4000, 4000, 4);
    let mut sender = create(&real.name(), 4, shape.bytes()).unwrap();
    sender.publish(shape, &vec![1; shape.bytes()]).unwrap();
    // All that it says, without the pixels.
    let from = File::open(real.file()).unwrap();
    let len = from.metadata().unwrap().len();
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(name.file())
        .unwrap();
    file.set_len(len).unwrap();
    let mut page = vec![0; PAGE_LEN];
    for at in [0, len - PAGE] {
        from.read_exact_at(&mut page, at).unwrap();
        file.write_all_at(&page, at).unwrap();
    }
    match Receiver::open(&name.name()) {
        Err(Error::NotASegment { what, .. }) => assert!(what.contains("8192 of"), "{what}"),
        other => panic!("{other:?}"),
    }
    assert!(!lists(&name));
    assert!(
        shm_frame::clean()
            .unwrap()
            .iter()
            .all(|cleaned| cleaned.name != name.name())
    );
    match create(&name.name(), 4, 0) {
        Err(Error::NotASegment { .. }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(memory(&file), 2 * PAGE, "nothing was added");
}

#[test]
fn a_hole_among_the_pixels_is_not_filled_though_there_is_memory_elsewhere() {
    let name = TestName::new("sparse-plain");
    let mut file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(name.file())
        .unwrap();
    let pixels = 1000 * 1000;
    let mut first = header(1000, 1000, 1).encode().to_vec();
    first.resize(PAGE_LEN, 1);
    file.write_all(&first).unwrap();
    // A hole, and then more memory than the frame has.
    file.write_all_at(&vec![1; 2 * pixels], 4 * pixels as u64)
        .unwrap();
    let before = memory(&file);
    let mut receiver = Receiver::open(&name.name()).unwrap();
    assert_eq!(receiver.wait(PATIENCE).unwrap(), Waited::Frame);
    match receiver.copy(&mut Vec::new()) {
        Err(Error::TooLarge { room, .. }) => assert_eq!(room, PAGE_LEN - 24),
        other => panic!("{other:?}"),
    }
    assert_eq!(memory(&file), before);
    // Once the pixels are there, it is a frame as any other.
    file.write_all_at(&vec![7; pixels], 24).unwrap();
    file.write_all_at(&header(1000, 1000, 1).encode(), 0)
        .unwrap();
    let (frame, copied) = take(&mut receiver);
    assert_eq!(frame.shape, shape(1000, 1000, 1));
    assert_eq!(copied, vec![7; pixels]);
}

#[test]
fn a_segment_with_a_hole_is_made_anew_and_receivers_follow() {
    let name = TestName::new("punched");
    let shape = shape(100, 100, 4);
    let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
    let mut receiver = open(&name);
    let inode = || fs::metadata(name.file()).map(|file| file.ino()).ok();
    let before = inode();
    let file = File::options().write(true).open(name.file()).unwrap();
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    fallocate(&file, mode, 0, 2 * 4096).unwrap();
    wait_until("the receiver is told", || {
        receiver.wait(Duration::from_millis(10)).unwrap() == Waited::Ended(End::Broken)
    });
    wait_until("there is another segment", || {
        sender.tend().unwrap();
        inode() != before
    });
    sender.publish(shape, &vec![3; shape.bytes()]).unwrap();
    wait_until("the receiver is there", || {
        receiver.reopen().unwrap() && receiver.ended().is_none()
    });
    assert_eq!(take(&mut receiver).1, vec![3; shape.bytes()]);
}

// --- one file among many

/// Makes and removes a file that nobody else may read.
fn come_and_go(name: &Name) {
    println!("begins");
    loop {
        let file = File::create(name.path()).unwrap();
        let none = fs::Permissions::from_mode(0o0);
        file.set_permissions(none).unwrap();
        fs::remove_file(name.path()).unwrap();
    }
}

fn list_as_nobody(name: &Name) {
    // Whoever may do anything may read the file, too.
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setuid(65_534.into()).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(2);
    let (mut lists, mut unreadable) = (0, 0);
    while Instant::now() < end || unreadable == 0 {
        unreadable += shm_frame::list().unwrap().unreadable;
        let cleaned = shm_frame::clean().unwrap();
        assert!(cleaned.is_empty(), "{cleaned:?}");
        for _ in 0..100 {
            match Receiver::open(name) {
                Err(Error::NotFound { .. } | Error::Denied { .. } | Error::NotASegment { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        lists += 1;
    }
    println!("lists={lists} unreadable={unreadable}");
}

#[test]
fn another_users_file_that_comes_and_goes_does_not_spoil_a_list() {
    let name = TestName::new("vanishes");
    let mut owner = start("come and go", &name);
    owner.wait_for("begins");
    let mut lister = start("list", &name);
    lister.ends_with(0);
    assert!(owner.running());
    println!("{}", lister.stdout());
}

/// Has a lease on the file, as servers of files do, and gives it back to nobody.
fn lease_a_file(name: &Name) {
    let file = File::options()
        .read(true)
        .write(true)
        .open(name.path())
        .unwrap();
    // SAFETY: nothing is called.
    unsafe { signal(Signal::SIGIO, SigHandler::SigIgn) }.unwrap();
    // SAFETY: a system call with numbers.
    let leased = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
    assert_eq!(leased, 0, "{}", std::io::Error::last_os_error());
    println!("has it");
    std::thread::sleep(PATIENCE);
}

#[test]
fn a_file_with_a_lease_on_it_is_unreadable_and_spoils_nothing() {
    let (name, other) = (TestName::new("leased-file"), TestName::new("not-leased"));
    fs::write(name.file(), vec![0; 8192]).unwrap();
    let _sender = create(&other.name(), 4, 0).unwrap();
    let mut holder = start("lease a file", &name);
    holder.wait_for("has it");
    let listing = shm_frame::list().unwrap();
    assert!(listing.unreadable > 0);
    assert!(lists(&other));
    shm_frame::clean().unwrap();
    match Receiver::open(&name.name()) {
        Err(Error::Busy { .. }) => {}
        other => panic!("{other:?}"),
    }
}

// --- leases of those who left

#[test]
fn a_receiver_that_came_too_late_for_a_lease_gets_one_when_there_is_one() {
    let name = TestName::new("late");
    let shape = shape(8, 8, 3);
    let mut sender = create(&name.name(), 4, shape.bytes()).unwrap();
    let early = [open(&name), open(&name)];
    let mut waiting = open(&name);
    let mut polling = open(&name);
    assert!(early.iter().all(Receiver::can_lease));
    assert!(!waiting.can_lease() && !polling.can_lease());
    drop(early);
    let mut pixels = Vec::new();
    wait_until("both have one", || {
        sender.publish(shape, &[1; 192]).unwrap();
        // One that waits, and one that only ever copies.
        if !waiting.can_lease() {
            waiting.wait(Duration::from_millis(1)).unwrap();
        }
        polling.copy(&mut pixels).unwrap();
        waiting.can_lease() && polling.can_lease()
    });
    sender.publish(shape, &[2; 192]).unwrap();
    assert_eq!(waiting.lease().unwrap().unwrap().pixels(), [2; 192]);
    assert_eq!(polling.lease().unwrap().unwrap().pixels(), [2; 192]);
}

#[test]
fn a_receiver_that_polls_a_still_picture_gets_a_lease_entry_too() {
    let name = TestName::new("late-still");
    let _sender = create(&name.name(), 3, 192).unwrap();
    let early = open(&name);
    let mut polling = open(&name);
    assert!(!polling.can_lease());
    drop(early);
    wait_until("it has one", || {
        assert!(polling.lease().unwrap().is_none());
        polling.can_lease()
    });
}

#[test]
fn to_reopen_what_has_not_ended_changes_nothing() {
    let name = TestName::new("reopen");
    let shape = shape(8, 8, 3);
    // A single lease entry.
    let mut sender = create(&name.name(), 3, shape.bytes()).unwrap();
    let mut receiver = open(&name);
    sender.publish(shape, &[1; 192]).unwrap();
    for _ in 0..3 {
        assert!(receiver.reopen().unwrap());
        assert!(receiver.can_lease());
    }
    assert_eq!(receiver.lease().unwrap().unwrap().frame().number, 1);
    assert!(receiver.reopen().unwrap());
    assert!(receiver.lease().unwrap().is_none(), "it was taken");
}

// --- growth

#[test]
fn frames_that_grow_one_by_one_take_few_segments() {
    let name = TestName::new("grows");
    let options = SenderOptions::new().capacity(0);
    let mut sender = Sender::create(&name.name(), &options).unwrap();
    let mut receiver = open(&name);
    let mut inodes = vec![];
    for side in 10..110 {
        let shape = shape(side, side, 3);
        sender.publish(shape, &vec![1; shape.bytes()]).unwrap();
        inodes.push(fs::metadata(name.file()).unwrap().ino());
    }
    inodes.dedup();
    // 300 to 35,643 bytes of pixels, by half more each time.
    assert!(inodes.len() <= 14, "{} segments", inodes.len());
    wait_until("the receiver has followed", || {
        let _ = receiver.reopen();
        matches!(receiver.copy(&mut Vec::new()), Ok(Some(frame)) if frame.number == 100)
    });
}

#[test]
fn a_sender_without_a_capacity_has_room_for_the_usual_picture() {
    let name = TestName::new("usual");
    let mut sender = Sender::create(&name.name(), &SenderOptions::new()).unwrap();
    let before = fs::metadata(name.file()).unwrap().ino();
    let shape = shape(640, 480, 3);
    sender.publish(shape, &vec![1; shape.bytes()]).unwrap();
    assert_eq!(fs::metadata(name.file()).unwrap().ino(), before);
}

// --- ends

/// What `copy` alone finds out about a segment, which nothing else is asked of.
fn copies_until_ended(receiver: &mut Receiver) -> End {
    let mut pixels = Vec::new();
    let mut ended = None;
    wait_until("copy says that it ended", || {
        match receiver.copy(&mut pixels) {
            Ok(_) => {}
            Err(Error::Ended { end, .. }) => ended = Some(end),
            Err(error) => panic!("{error}"),
        }
        ended.is_some()
    });
    ended.unwrap()
}

#[test]
fn copy_alone_learns_of_every_end_after_the_last_frame() {
    let shape = shape(8, 8, 3);
    for (end, expected) in [
        ("close", End::Closed),
        ("replace", End::Replaced),
        ("truncate", End::Broken),
    ] {
        let name = TestName::new("copy-alone");
        let mut sender = create(&name.name(), 4, 192).unwrap();
        let mut receiver = open(&name);
        sender.publish(shape, &[1; 192]).unwrap();
        assert!(receiver.copy(&mut Vec::new()).unwrap().is_some());
        sender.publish(shape, &[2; 192]).unwrap();
        let _next = match end {
            "close" => {
                drop(sender);
                None
            }
            "replace" => {
                let options = SenderOptions::new().replace(true);
                let next = Sender::create(&name.name(), &options).unwrap();
                // The first one is told, and not before it looks.
                drop(sender);
                Some(next)
            }
            _ => {
                let file = File::options().write(true).open(name.file()).unwrap();
                file.set_len(0).unwrap();
                Some(sender)
            }
        };
        let mut pixels = Vec::new();
        if expected != End::Broken {
            let frame = receiver.copy(&mut pixels).unwrap().expect("the last one");
            assert_eq!((frame.number, &pixels[..]), (2, &[2; 192][..]));
        }
        let ended = copies_until_ended(&mut receiver);
        // A sender that was replaced and goes says that it closed.
        assert!(
            ended == expected || (end == "replace" && ended == End::Closed),
            "{end}: {ended}"
        );
        // It stays so, and the next one is found by reopen.
        assert!(matches!(
            receiver.copy(&mut pixels),
            Err(Error::Ended { .. })
        ));
        assert!(matches!(receiver.lease(), Err(Error::Ended { .. })));
        assert!(pixels.is_empty());
    }
}

#[test]
fn copy_alone_learns_that_a_sender_died() {
    let name = TestName::new("copy-dead");
    let mut sender = start("send", &name);
    sender.wait_for("sending");
    let mut receiver = open(&name);
    take(&mut receiver);
    sender.kill();
    assert_eq!(copies_until_ended(&mut receiver), End::Dead);
}

/// Sends until it is killed.
fn send(name: &Name) {
    let shape = shape(1000, 1000, 4);
    let mut sender = create(name, 2, shape.bytes()).unwrap();
    println!("sending");
    for i in 0.. {
        sender.publish(shape, &vec![i; shape.bytes()]).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Attaches, and says so. Whatever becomes of the segment, it ends by itself.
fn attach(name: &Name) {
    let mut receiver = open_name(name);
    take(&mut receiver);
    println!("attached");
    let mut pixels = Vec::new();
    loop {
        match receiver.wait(PATIENCE).unwrap() {
            Waited::Frame => drop(receiver.copy(&mut pixels)),
            Waited::Ended(end) => return println!("ended: {end}"),
            other => panic!("{other:?}"),
        }
    }
}

// --- memory that a receiver keeps which is stopped

/// The same test binary in a mount namespace of its own, with a `/dev/shm` of 20 MB.
fn in_a_small_shm(role: &str, name: &TestName) -> Program {
    let role = command(role, name);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--map-root-user", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=20m,mode=1777 tmpfs /dev/shm && exec \"$0\" \"$@\"");
    command.arg(role.get_program()).args(role.get_args());
    command.envs(
        role.get_envs()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    Program::start(&mut command)
}

fn crowded(name: &Name) {
    // The dead one's 8 MB and these 16 MB do not fit together.
    let options = SenderOptions::new().slots(4).capacity(4_000_000);
    let dead_with_a_stopped_receiver = |name: &TestName| {
        let mut sender = start("send", name);
        sender.wait_for("sending");
        let mut receiver = start("attach", name);
        receiver.wait_for("attached");
        receiver.stop();
        sender.kill();
        receiver
    };
    // Under the same name: its memory makes room, though a receiver that is stopped has it mapped.
    let same = TestName::new("same");
    let mut stopped = dead_with_a_stopped_receiver(&same);
    let mut sender = Sender::create(&same.name(), &options).unwrap();
    stopped.signal("CONT");
    stopped.ends_with(0);
    stopped.assert_stdout("ended: ");
    let shape = shape(1000, 1000, 4);
    sender.publish(shape, &vec![1; shape.bytes()]).unwrap();
    drop(sender);

    // Under another name, after the dead one's was cleaned away: nobody can see what has the memory
    // but by this error.
    let cleaned = TestName::new("cleaned");
    let mut stopped = dead_with_a_stopped_receiver(&cleaned);
    // One that is at work and has a name is no reason to tell.
    let at_work = TestName::new("at-work");
    let _at_work = create(&at_work.name(), 1, 0).unwrap();
    let done = shm_frame::clean().unwrap();
    assert!(
        done.iter()
            .any(|done| done.name == cleaned.name() && done.result.is_ok())
    );
    assert!(!cleaned.file().exists());
    match Sender::create(name, &options) {
        Err(error @ Error::NoRoom { .. }) => {
            let said = error.to_string();
            assert!(said.contains(&format!("pid {}", stopped.pid())), "{said}");
            let Error::NoRoom { holders, .. } = error else {
                unreachable!("it was that")
            };
            let holder = holders.iter().find(|holder| holder.pid == stopped.pid());
            assert!(holder.unwrap().bytes >= 8_000_000, "{holders:?}");
            let own = holders
                .iter()
                .find(|holder| holder.pid == std::process::id());
            assert!(own.is_none(), "{holders:?}");
        }
        other => panic!("{other:?}"),
    }
    stopped.signal("CONT");
    stopped.ends_with(0);
    // Then there is room.
    drop(Sender::create(name, &options).unwrap());
    println!("crowded was right");
}

#[test]
fn memory_that_a_stopped_receiver_keeps_makes_room_or_is_told() {
    let name = TestName::new("crowded");
    let mut process = in_a_small_shm("crowded", &name);
    process.ends_with(0);
    process.assert_stdout("crowded was right");
}

// --- those who may only read

/// Shares a read lock on a byte of the segment, for which permission to read is enough, until
/// dropped.
fn share(name: &Name, bytes: impl Iterator<Item = i64>) -> File {
    let file = File::open(name.path()).unwrap();
    for byte in bytes {
        let lock = libc::flock {
            l_type: libc::F_RDLCK.try_into().unwrap(),
            l_whence: libc::SEEK_SET.try_into().unwrap(),
            l_start: byte,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)).unwrap();
    }
    file
}

/// How often this thread has gone to sleep.
fn sleeps() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn a_reader_that_locks_the_name_makes_a_sender_wait_once_in_a_while_at_most() {
    let shape = shape(8, 8, 3);
    for removed in [true, false] {
        let name = TestName::new("name-locked");
        let mut sender = create(&name.name(), 4, 4 << 20).unwrap();
        let _shared = share(&name.name(), [1].into_iter());
        if removed {
            fs::remove_file(name.file()).unwrap();
        } else {
            let file = File::options().write(true).open(name.file()).unwrap();
            file.set_len(0).unwrap();
        }
        let begin = sleeps();
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            let _ = sender.publish(shape, &[1; 192]);
        }
        // A ms each, and some for memory that other tests map; one that waited every time would
        // have slept nine tenths of the time.
        let sleeps = sleeps() - begin;
        assert!(sleeps < 1000, "{sleeps} sleeps of a ms in 2 s");
    }
}

/// A sender whose segment is broken and cannot be made anew, in a process in which any attempt to
/// reserve memory fails.
fn no_larger_file(name: &Name) {
    let shape = shape(8, 8, 3);
    let mut sender = create(name, 4, 192).unwrap();
    let file = File::options().write(true).open(name.path()).unwrap();
    let _shared = share(name, [1].into_iter());
    file.set_len(0).unwrap();
    // SAFETY: nothing is called.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.unwrap();
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, 0, hard).unwrap();
    for _ in 0..100 {
        match sender.publish(shape, &[1; 192]) {
            Err(Error::Lost { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    println!("it did not try");
}

#[test]
fn no_memory_is_reserved_for_a_segment_that_cannot_have_its_name_yet() {
    let name = TestName::new("no-larger-file");
    start("no larger file", &name)
        .ends_with(0)
        .assert_stdout("it did not try");
}

#[test]
fn directories_where_the_next_segment_would_pass_do_not_keep_it_from_growing() {
    let name = TestName::new("passes");
    let mut sender = create(&name.name(), 4, 192).unwrap();
    let inode = fs::metadata(name.file()).unwrap().ino();
    // All names that can be known before.
    let in_the_way: Vec<_> = ["", "-0", "-1", "-2", "-3", "-a", "-b"]
        .iter()
        .map(|end| PathBuf::from(format!("/dev/shm/.shm-frame-{inode}{end}")))
        .collect();
    for path in &in_the_way {
        fs::create_dir(path).unwrap();
    }
    let shape = shape(100, 100, 3);
    let sent = sender.publish(shape, &vec![1; shape.bytes()]);
    let after = fs::metadata(name.file()).unwrap().ino();
    for path in &in_the_way {
        fs::remove_dir(path).unwrap();
    }
    sent.unwrap();
    assert_ne!(after, inode, "it has grown");
    drop(sender);
    let ours = format!(".shm-frame-{inode}");
    let mut left = fs::read_dir("/dev/shm").unwrap().flatten();
    let left = left.find(|file| file.file_name().to_string_lossy().starts_with(&ours));
    assert!(left.is_none(), "{left:?}");
}

#[test]
fn a_segment_that_lies_about_its_end_is_left_alone_for_a_while() {
    for state in [1, 2, 77] {
        let name = TestName::new("liar");
        // It stands still, so it does not find out.
        let mut sender = create(&name.name(), 4, 192).unwrap();
        let shape = shape(8, 8, 3);
        sender.publish(shape, &[1; 192]).unwrap();
        let mut receiver = open(&name);
        take(&mut receiver);
        let file = File::options().write(true).open(name.file()).unwrap();
        let page = file.metadata().unwrap().len() - PAGE;
        file.write_all_at(&u32::to_le_bytes(state), page + 76)
            .unwrap();
        let end = Instant::now() + Duration::from_millis(500);
        let (mut ends, mut opened) = (0, 0);
        while Instant::now() < end {
            ends += u32::from(matches!(
                receiver.wait(Duration::from_millis(1)).unwrap(),
                Waited::Ended(_)
            ));
            if receiver.ended().is_some() && receiver.reopen().unwrap() {
                opened += 1;
            }
        }
        assert!(ends > 0, "it was believed");
        assert!(opened < 3, "opened {opened} times");
        // The sender finds out when it goes on, and the receiver goes on with it.
        wait_until("frames come again", || {
            sender.publish(shape, &[2; 192]).unwrap();
            let _ = receiver.reopen();
            matches!(receiver.copy(&mut Vec::new()), Ok(Some(_)))
        });
    }
}
