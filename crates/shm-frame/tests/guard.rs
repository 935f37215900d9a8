//! SIGBUS: memory that is taken away under a mapping, in processes that make it hard to survive.
//! Each is a process of its own, since limits and signal handlers are a process's.
#![expect(unsafe_code, reason = "signal handlers and system calls by hand")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, Signal, raise, signal};
use shm_frame::{Error, Lease, Name, Receiver, Sender};
use shm_frame_testing::frames::{self, create, start};
use shm_frame_testing::{TestName, open_name, shape};

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
        "read under a limit" => read_under_a_limit(&name),
        "write under a limit" => write_under_a_limit(&name),
        "ignore" => ignore(&name),
        "alignment" => alignment(&name),
        "elsewhere" => elsewhere(&name),
        "lost" => lost(&name),
        _ => panic!("no role {role}"),
    }
    println!("survived");
}

fn survives(role: &str) {
    let name = TestName::new(&role.replace(' ', "-"));
    let mut process = start(role, &name);
    process.ends_with(0);
    process.assert_stdout("survived");
}

/// A sender with a frame of 16 MB, and a receiver of it.
fn ends(name: &Name) -> (Sender, Receiver) {
    let shape = shape(2000, 2000, 4);
    let mut sender = create(name, 4, shape.bytes()).unwrap();
    let mut loan = sender.loan(shape).unwrap();
    loan.pixels().fill(7);
    loan.publish().unwrap();
    (sender, open_name(name))
}

fn truncate(name: &Name, len: u64) {
    let file = File::options().write(true).open(name.path()).unwrap();
    file.set_len(len).unwrap();
}

/// Reads all of it, which touches memory that is gone.
fn assert_lost(lease: &Lease<'_>) {
    assert!(lease.pixels()[PAGE_LEN..].iter().all(|&byte| byte == 0));
    assert!(!lease.is_intact());
}

/// Allows less data than there is: what the program needs next it has. (A limit of 0 is taken for
/// none.)
fn limit_data() {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA).unwrap();
    setrlimit(Resource::RLIMIT_DATA, PAGE, hard).unwrap();
}

fn read_under_a_limit(name: &Name) {
    let (_sender, mut receiver) = ends(name);
    let lease = receiver.lease().unwrap().unwrap();
    limit_data();
    truncate(name, PAGE);
    assert_lost(&lease);
}

fn write_under_a_limit(name: &Name) {
    let (mut sender, _receiver) = ends(name);
    limit_data();
    let mut loan = sender.loan(shape(2000, 2000, 4)).unwrap();
    truncate(name, PAGE);
    loan.pixels().fill(9);
    assert!(matches!(loan.publish(), Err(Error::Lost { .. })));
}

#[test]
fn lost_memory_is_replaced_under_a_limit_on_data() {
    survives("read under a limit");
    survives("write under a limit");
}

fn ignore(name: &Name) {
    // SAFETY: nothing is called.
    unsafe { signal(Signal::SIGBUS, SigHandler::SigIgn) }.unwrap();
    let (_sender, mut receiver) = ends(name);
    let lease = receiver.lease().unwrap().unwrap();
    // Nothing happens, as without the library, and the guard stays.
    raise(Signal::SIGBUS).unwrap();
    raise(Signal::SIGBUS).unwrap();
    assert!(lease.is_intact());
    truncate(name, PAGE);
    assert_lost(&lease);
}

#[test]
fn where_sigbus_was_ignored_one_sent_by_hand_does_not_remove_the_guard() {
    survives("ignore");
}

/// What the program's own handler was called with.
static CALLS: AtomicU32 = AtomicU32::new(0);
static ADDRESS: AtomicUsize = AtomicUsize::new(0);

/// The program's own handler, which was there first. It repairs pages that are its own, as another
/// library might.
extern "C" fn own_handler(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo.
    let info = unsafe { &*info };
    // SAFETY: SIGBUS has an address.
    let address = unsafe { info.si_addr() } as usize;
    CALLS.fetch_add(1, Ordering::Relaxed);
    ADDRESS.store(address, Ordering::Relaxed);
    if info.si_code == libc::BUS_ADRERR {
        let page = address & !(PAGE_LEN - 1);
        // SAFETY: the page is of a mapping of this test's.
        unsafe {
            libc::mmap(
                page as *mut libc::c_void,
                PAGE_LEN,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        };
    }
}

fn handle() {
    // SAFETY: all zeros is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = own_handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for.
    let done = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// A siginfo as the kernel lays it out: signal, error, code, padding, address.
#[repr(C)]
struct Info {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    address: usize,
    rest: [u64; 13],
}

fn alignment(name: &Name) {
    handle();
    let (_sender, mut receiver) = ends(name);
    let lease = receiver.lease().unwrap().unwrap();
    let address = lease.pixels()[10_000..].as_ptr() as usize;
    let info = Info {
        signal: libc::SIGBUS,
        errno: 0,
        code: libc::BUS_ADRALN,
        padding: 0,
        address,
        rest: [0; 13],
    };
    // SAFETY: a system call.
    let process = unsafe { libc::getpid() };
    // SAFETY: a system call.
    let thread = unsafe { libc::gettid() };
    // A process may send itself what else the kernel alone sends (rt_sigqueueinfo(2)).
    // SAFETY: the siginfo has the size and layout that the kernel reads.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            process,
            thread,
            libc::SIGBUS,
            &raw const info,
        )
    };
    assert_eq!(sent, 0);
    assert_eq!(CALLS.load(Ordering::Relaxed), 1, "it went to the program");
    assert_eq!(ADDRESS.load(Ordering::Relaxed), address);
    // Zero pages would not help against it, and would hide the frame.
    assert!(lease.is_intact());
    assert!(lease.pixels().iter().all(|&byte| byte == 7));
    // The guard is still there.
    truncate(name, PAGE);
    assert_lost(&lease);
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
}

#[test]
fn a_fault_of_alignment_goes_to_the_program_and_changes_no_page() {
    survives("alignment");
}

fn elsewhere(name: &Name) {
    handle();
    let (_sender, mut receiver) = ends(name);
    let lease = receiver.lease().unwrap().unwrap();
    // A mapping that the library does not know, of a file that has become shorter.
    let path = format!("{}-own", name.path().display());
    let file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    fs::remove_file(&path).unwrap();
    file.set_len(PAGE).unwrap();
    // SAFETY: a new mapping of a page.
    let own = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PAGE_LEN,
            libc::PROT_READ,
            libc::MAP_SHARED,
            std::os::fd::AsRawFd::as_raw_fd(&file),
            0,
        )
    };
    assert_ne!(own, libc::MAP_FAILED);
    file.set_len(0).unwrap();
    // SAFETY: the page is mapped; that there is nothing behind it is what is asked about.
    let byte = unsafe { own.cast::<u8>().read_volatile() };
    assert_eq!((byte, CALLS.load(Ordering::Relaxed)), (0, 1));
    assert_eq!(ADDRESS.load(Ordering::Relaxed), own as usize);
    assert!(lease.is_intact());
    truncate(name, PAGE);
    assert_lost(&lease);
    assert_eq!(CALLS.load(Ordering::Relaxed), 1);
}

#[test]
fn faults_of_other_mappings_go_to_the_handler_that_was_there_before() {
    survives("elsewhere");
}

fn lost(name: &Name) {
    let (mut sender, mut receiver) = ends(name);
    let len = fs::metadata(name.path()).unwrap().len();
    let file = File::options()
        .read(true)
        .write(true)
        .open(name.path())
        .unwrap();
    let mut page = [0; PAGE_LEN];
    file.read_exact_at(&mut page, len - PAGE).unwrap();
    let shape = shape(2000, 2000, 4);
    let mut loan = sender.loan(shape).unwrap();
    // While the frame is written, its memory is away. Afterwards the file is as it was, but for the
    // pixels: so it is when somebody punches a hole and there is no memory left to fill it.
    file.set_len(PAGE).unwrap();
    loan.pixels().fill(9);
    file.set_len(len).unwrap();
    file.write_all_at(&page, len - PAGE).unwrap();
    match loan.publish() {
        Err(Error::Lost { name: lost }) => assert_eq!(lost, *name),
        other => panic!("{other:?}"),
    }
    // The sender goes on by itself, and so does publish.
    sender.publish(shape, &vec![5; shape.bytes()]).unwrap();
    let mut pixels = Vec::new();
    shm_frame_testing::wait_until("the frame is there", || {
        let _ = receiver.reopen();
        matches!(receiver.copy(&mut pixels), Ok(Some(_)))
    });
    assert!(pixels.iter().all(|&byte| byte == 5), "it is whole");
}

#[test]
fn a_frame_whose_memory_went_while_it_was_written_is_lost_and_not_published() {
    survives("lost");
}
