//! `--list` and `--clean`, in a /dev/shm of their own: the machine's own one stays untouched.
mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use common::{Json as _, RECV, Shm, needs};
use serde_json::Value;
use shm_frame::FrameHeader;
use shm_frame_testing::Program;

/// A header and pixels, as senders without a control page make it.
fn plain(width: i32, height: i32, extra: usize) -> Vec<u8> {
    let header = FrameHeader {
        width,
        height,
        channels: 3,
        timestamp_ms: 1_700_000_000_000,
        frame_valid: 1,
    };
    let mut bytes = header.encode().to_vec();
    bytes.resize(24 + usize::try_from(width * height * 3).unwrap() + extra, 7);
    bytes
}

#[test]
fn a_live_sender_is_listed_with_its_numbers_and_receivers() {
    if !needs("unshare nsenter") {
        return;
    }
    let shm = Shm::new();
    let sender = shm.sender("--name /cam --fps 50 --size 64x48 --channels 4");
    let mut receiver = Program::start(&mut shm.command(RECV, "--name /cam --json --view none"));
    // The first frame alone makes no rate.
    receiver.wait_for_events("frame", 3);

    let listed = shm.listed("/cam").unwrap();
    for (field, expected) in [
        ("kind", Value::from("native")),
        ("width", 64.into()),
        ("height", 48.into()),
        ("channels", 4.into()),
        ("slots", 4.into()),
        ("alive", true.into()),
        ("pid", sender.pid().into()),
        ("command", "shm-send".into()),
        ("receivers", 1.into()),
        ("bytes", fs::metadata(shm.path("cam")).unwrap().len().into()),
    ] {
        assert_eq!(listed[field], expected, "{field}: {listed}");
    }
    let fps = listed["fps"].as_f64().unwrap();
    assert!(fps > 5.0 && fps < 1000.0, "{listed}");
    assert!(listed["age_ms"].as_f64().unwrap() >= 0.0, "{listed}");

    let table = shm.run("--list");
    let lines: Vec<_> = table.stdout().lines().map(str::to_owned).collect();
    let [heading, row] = &lines[..] else {
        table.fail("not two lines");
    };
    for word in [
        "NAME",
        "SIZE",
        "FORMAT",
        "SLOTS",
        "FRAMES/S",
        "AGE",
        "SENDER",
        "RECEIVERS",
        "MB",
    ] {
        assert!(heading.contains(word), "{heading}");
    }
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words[..4], ["/cam", "64x48", "4", "4"], "{row}");
    assert!(row.contains(&format!("{} shm-send", sender.pid())), "{row}");
}

#[test]
fn the_rate_of_slow_and_of_fast_senders_is_listed() {
    if !needs("unshare nsenter") {
        return;
    }
    let shm = Shm::new();
    for (fps, least, most) in [("4", 0.5, 40.0), ("0", 60.0, 1e7)] {
        let mut sender = shm.sender(&format!("--name /rate --size 64x48 --fps {fps}"));
        let mut listed = Value::Null;
        sender.wait_until("there is a rate", |_| {
            listed = shm.listed("/rate").unwrap();
            listed["fps"].is_number()
        });
        let told = listed["fps"].as_f64().unwrap();
        assert!((least..=most).contains(&told), "{fps}: {listed}");
        sender.interrupt();
        assert!(shm.listed("/rate").is_none(), "it ended with its sender");
    }
}

#[test]
fn live_dead_and_plain_segments_are_told_apart_and_only_dead_ones_removed() {
    if !needs("unshare nsenter") {
        return;
    }
    let shm = Shm::new();
    let mut living = shm.sender("--name /live --size 64x48");
    let mut stopped = shm.sender("--name /stopped --size 64x48");
    stopped.stop();
    let mut dead = shm.sender("--name /dead --size 64x48");
    dead.kill();
    fs::write(shm.path("plain"), plain(64, 48, 0)).unwrap();
    fs::write(
        shm.path("plain-pages"),
        plain(64, 48, 12_288 - 24 - 64 * 48 * 3),
    )
    .unwrap();

    assert_eq!(shm.listed("/dead").unwrap()["alive"], false);
    assert_eq!(shm.listed("/stopped").unwrap()["alive"], true);
    let list = shm.run("--list");
    let line = |name: &str| {
        let stdout = list.stdout();
        let line = stdout.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| list.fail(name)).to_owned()
    };
    assert!(line("/dead ").contains("dead"), "{}", list.stdout());
    for name in ["/plain ", "/plain-pages "] {
        let line = line(name);
        let words: Vec<_> = line.split_whitespace().collect();
        assert_eq!(words[1..5], ["64x48", "3", "-", "-"], "{line}");
        assert!(line.contains(" d ") && line.contains("plain "), "{line}");
    }

    let clean = shm.run("--clean");
    assert_eq!(clean.stdout(), "removed /dead, 0.1 MB\n");
    assert_eq!(shm.names(), ["live", "plain", "plain-pages", "stopped"]);
    assert!(living.running() && stopped.running());
    let again = shm.run("--clean --json");
    assert_eq!(again.stdout(), "");
    stopped.signal("CONT");
    for sender in [&mut living, &mut stopped] {
        sender.interrupt();
    }
    assert_eq!(shm.names(), ["plain", "plain-pages"]);
}

#[test]
fn files_that_are_no_segments_are_neither_listed_nor_touched() {
    if !needs("unshare nsenter") {
        return;
    }
    let shm = Shm::new();
    let dead = |name: &str| {
        let mut dead = shm.sender(&format!("--name {name} --size 64x48"));
        dead.kill();
        shm.path(name)
    };
    // Segments with one impossible number each, and one that was cut.
    let broken = dead("broken");
    let segment = fs::read(&broken).unwrap();
    let page = segment.len() - 4096;
    for (i, offset) in [8, 16, 24, 32, 40].into_iter().enumerate() {
        let mut bytes = segment.clone();
        bytes[page + offset..page + offset + 8].fill(0xff);
        if offset == 16 {
            bytes[page + offset..page + offset + 8].fill(0);
        }
        fs::write(shm.path(&format!("broken-{i}")), bytes).unwrap();
    }
    fs::write(shm.path("cut"), &segment[4096..]).unwrap();
    fs::remove_file(&broken).unwrap();
    // A segment with nonsense in the words that --list reads.
    let mut bytes = segment.clone();
    bytes[page + 64..].fill(0xfe);
    bytes[..24].fill(0xff);
    fs::write(shm.path("any"), &bytes).unwrap();

    fs::write(shm.path("empty"), "").unwrap();
    fs::write(shm.path("sem.lock"), [1; 32]).unwrap();
    fs::write(shm.path("psm_1234"), vec![3; 9000]).unwrap();
    fs::write(shm.path("zeros"), vec![0; 8192]).unwrap();
    fs::write(shm.path("plain-but-longer"), plain(64, 48, 1)).unwrap();
    fs::write(shm.path("plain-cut"), &plain(64, 48, 0)[..5000]).unwrap();
    let huge = File::create(shm.path("huge")).unwrap();
    huge.set_len(1 << 50).unwrap();
    huge.write_all_at(&[255; 24], 0).unwrap();
    fs::create_dir(shm.path("directory")).unwrap();
    symlink("/dev/zero", shm.path("link")).unwrap();
    symlink("any", shm.path("link-to-a-segment")).unwrap();
    let fifo = Command::new("mkfifo").arg(shm.path("fifo")).status();
    assert!(fifo.unwrap().success());
    fs::write(shm.path("name\x1b[31m\nof two lines"), plain(8, 8, 0)).unwrap();

    let before: Vec<_> = shm.names();
    let list = shm.run("--list");
    let stdout = list.stdout();
    assert_eq!(
        stdout.lines().count(),
        3,
        "a heading, /any and /name...: {stdout}"
    );
    assert!(!stdout.contains('\x1b'), "{stdout:?}");
    assert!(stdout.contains("/any "), "{stdout}");
    let listed = shm.run("--list --json").json();
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert_eq!(shm.names(), before);

    let any = fs::metadata(shm.path("any")).unwrap();
    let clean = shm.run("--clean");
    assert_eq!(clean.stdout().lines().count(), 1, "{}", clean.stdout());
    let mut left = before.clone();
    left.retain(|name| name != "any");
    assert_eq!(shm.names(), left, "{} was the only dead one", any.ino());
}

#[test]
fn a_temporary_name_is_removed_if_its_sender_is_dead() {
    if !needs("unshare nsenter") {
        return;
    }
    let shm = Shm::new();
    // As left by senders that were killed between link and rename. The file to be replaced is still
    // there, or not.
    let mut live = shm.sender("--name /live --size 64x48");
    let inode = fs::metadata(shm.path("live")).unwrap().ino();
    let mut dead = shm.sender("--name /dead --size 64x48");
    dead.kill();
    for name in [
        format!(".shm-frame-{inode}"),
        ".shm-frame-888888".to_owned(),
    ] {
        fs::copy(shm.path("dead"), shm.path(&name)).unwrap();
    }
    // A live sender's. It is stopped, so that it does not notice that its name is gone.
    let mut replacing = shm.sender("--name /replacing --size 64x48");
    replacing.stop();
    fs::rename(shm.path("replacing"), shm.path(".shm-frame-999999")).unwrap();
    assert_eq!(
        shm.run("--list --json").json().len(),
        2,
        "temporary names are not listed"
    );

    let clean = shm.run("--clean");
    assert_eq!(clean.stdout().lines().count(), 3, "{}", clean.stdout());
    assert_eq!(shm.names(), [".shm-frame-999999", "live"]);
    replacing.signal("CONT");
    for sender in [&mut live, &mut replacing] {
        sender.signal("INT");
        sender.end();
    }
}

#[test]
fn an_empty_directory_is_told_on_stderr() {
    if !needs("unshare nsenter") {
        return;
    }
    let shm = Shm::new();
    for (args, says) in [
        ("--list", "no segments in /dev/shm"),
        (
            "--clean",
            "no segments of dead senders in /dev/shm, as far as you may read them",
        ),
    ] {
        let program = shm.run(args);
        program.assert_stderr(says);
        assert_eq!(program.stdout(), "");
    }
}

#[test]
fn unreadable_files_are_counted_and_a_segment_that_may_not_be_removed_is_an_error() {
    if !needs("unshare nsenter setpriv") {
        return;
    }
    let shm = Shm::new();
    let mut dead = shm.sender("--name /dead --size 64x48 --mode 0644");
    dead.kill();
    fs::write(shm.path("secret"), "anything").unwrap();
    // Root without its capabilities is refused like another user.
    let other = |args: &str| {
        let mut command = shm.command(
            "setpriv",
            "--bounding-set=-all --inh-caps=-all --no-new-privs",
        );
        command.arg(RECV).args(args.split_whitespace());
        command
    };
    fs::set_permissions(shm.path("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(shm.path("dead"), fs::Permissions::from_mode(0o444)).unwrap();
    let mut list = Program::start(&mut other("--list"));
    list.ends_with(0);
    list.assert_stdout("/dead ");
    list.assert_stderr("no permission to read 1 file in /dev/shm");
    let mut clean = Program::start(&mut other("--clean"));
    clean.ends_with(1);
    clean.assert_stderr("/dead stays: segment /dead belongs to ");
    clean.assert_stderr("has mode 0444: run as that user");
    clean.assert_stderr("--clean: 1 of 1 could not be removed");
    assert!(shm.path("dead").exists());
}
