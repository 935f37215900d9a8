//! `shmf_sender`.

use std::ffi::{c_char, c_void};
use std::{mem, ptr, slice};

use shm_frame::{Error, Extras, OwnedLoan, Sender, SenderOptions, Sent, Shape};

use crate::options::{self, Growing};
use crate::status::{Role, Status, failed, invalid};
use crate::{CShape, exclusive, read_name};

/// `shmf_sender_options`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct CSenderOptions {
    size: usize,
    capacity: usize,
    slots: u32,
    mode: u32,
    replace: u32,
    reserved: u32,
}

// SAFETY: numbers without padding between them, and the size comes first.
unsafe impl Growing for CSenderOptions {
    const NAME: &str = "shmf_sender_options";
}

impl CSenderOptions {
    fn to_options(self) -> Result<SenderOptions, Status> {
        if self.reserved != 0 {
            return Err(invalid("reserved in shmf_sender_options is not 0"));
        }
        let mut options = SenderOptions::new().replace(self.replace != 0);
        if self.capacity != 0 {
            options = options.capacity(self.capacity);
        }
        if self.slots != 0 {
            options = options.slots(self.slots as usize);
        }
        if self.mode != 0 {
            options = options.mode(self.mode);
        }
        Ok(options)
    }
}

/// `shmf_extras`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct CExtras {
    size: usize,
    captured_ns: u64,
    meta: *const c_void,
    meta_len: usize,
}

// SAFETY: numbers and a pointer without padding between them, and the size comes first.
unsafe impl Growing for CExtras {
    const NAME: &str = "shmf_extras";
}

// As `capi/tests/layout.c` has it of the header.
const _: () = {
    assert!(size_of::<CSenderOptions>() == 32);
    assert!(mem::offset_of!(CSenderOptions, replace) == 24);
    assert!(size_of::<CExtras>() == 32);
    assert!(mem::offset_of!(CExtras, meta_len) == 24);
};

/// The same, read.
#[derive(Clone, Copy)]
struct Told<'a> {
    captured_ns: u64,
    meta: &'a [u8],
}

/// Reads extras.
///
/// # Safety
///
/// `extras` is null, or points at extras whose `meta` points at `meta_len` bytes, for as long as
/// `'a`.
unsafe fn read_extras<'a>(extras: *const CExtras) -> Result<Told<'a>, Status> {
    // SAFETY: null or extras, as the caller promises.
    let Some(extras) = (unsafe { options::read(extras) })? else {
        return Ok(Told {
            captured_ns: 0,
            meta: &[],
        });
    };
    let meta = match extras.meta_len {
        0 => &[],
        len if extras.meta.is_null() => {
            return Err(invalid(format!("meta is NULL, and meta_len is {len}")));
        }
        len if len > isize::MAX.unsigned_abs() => {
            return Err(invalid(format!("meta_len is {len}, which no memory has")));
        }
        // SAFETY: it is not null, and that many bytes are there, as the caller promises.
        len => unsafe { slice::from_raw_parts(extras.meta.cast::<u8>(), len) },
    };
    Ok(Told {
        captured_ns: extras.captured_ns,
        meta,
    })
}

/// `shmf_sender`: a sender, and the loan that it may have given away.
#[derive(Debug)]
pub(crate) struct CSender(State);

#[derive(Debug)]
enum State {
    Idle(Sender),
    Lent(OwnedLoan),
    /// While one of the above becomes the other.
    Between,
}

impl CSender {
    fn idle(&mut self) -> Result<&mut Sender, Status> {
        match &mut self.0 {
            State::Idle(sender) => Ok(sender),
            State::Lent(_) | State::Between => Err(invalid(
                "this sender has an open loan: publish it or discard it first",
            )),
        }
    }

    fn lend(&mut self, shape: Shape, meta_room: usize) -> Result<&mut OwnedLoan, Status> {
        self.idle()?;
        let State::Idle(sender) = mem::replace(&mut self.0, State::Between) else {
            return Err(invalid("this sender has an open loan"));
        };
        match sender.into_loan(shape, meta_room) {
            Ok(loan) => self.0 = State::Lent(loan),
            Err((sender, error)) => {
                self.0 = State::Idle(sender);
                return Err(failed(Role::Sender, &error));
            }
        }
        self.loan()
    }

    fn loan(&mut self) -> Result<&mut OwnedLoan, Status> {
        match &mut self.0 {
            State::Lent(loan) => Ok(loan),
            State::Idle(_) | State::Between => Err(invalid(
                "this sender has no open loan: call shmf_sender_loan() first",
            )),
        }
    }

    fn publish_loan(&mut self, extras: Told<'_>) -> Result<Sent, Status> {
        let loan = self.loan()?;
        loan.set_captured_ns(extras.captured_ns);
        let fits = loan.set_meta(extras.meta);
        fits.map_err(|error| failed(Role::Sender, &error))?;
        let State::Lent(loan) = mem::replace(&mut self.0, State::Between) else {
            return Err(invalid("this sender has no open loan"));
        };
        let (sender, sent) = loan.publish();
        self.0 = State::Idle(sender);
        sent.map_err(|error| failed(Role::Sender, &error))
    }

    fn discard(&mut self) {
        if let State::Lent(_) = &self.0
            && let State::Lent(loan) = mem::replace(&mut self.0, State::Between)
        {
            self.0 = State::Idle(loan.discard());
        }
    }
}

/// Rows of pixels in a C program's memory.
#[derive(Clone, Copy)]
struct Rows {
    pixels: *const u8,
    stride: usize,
}

impl Rows {
    /// Checks that the rows do not overlap and end within the address space.
    fn new(pixels: *const c_void, stride: usize, shape: Shape) -> Result<Self, Status> {
        if pixels.is_null() {
            return Err(invalid("pixels is NULL"));
        }
        let row = shape.row_bytes();
        let stride = if stride == 0 { row } else { stride };
        if stride < row {
            return Err(invalid(format!(
                "a row of a {shape} frame has {row} bytes, and stride is {stride}: it is in bytes, 0 for no padding"
            )));
        }
        let last = shape.size().height as usize - 1;
        let bytes = last
            .checked_mul(stride)
            .and_then(|bytes| bytes.checked_add(row));
        if bytes.is_none_or(|bytes| isize::try_from(bytes).is_err()) {
            return Err(invalid(format!(
                "no memory holds a {shape} frame with a stride of {stride}"
            )));
        }
        Ok(Self {
            pixels: pixels.cast(),
            stride,
        })
    }

    /// Publishes them.
    ///
    /// # Safety
    ///
    /// The rows are there, and nobody writes them meanwhile.
    unsafe fn publish(
        self,
        sender: &mut Sender,
        shape: Shape,
        extras: Told<'_>,
    ) -> Result<Sent, Error> {
        let Self { pixels, stride } = self;
        let Told { captured_ns, meta } = extras;
        let row = shape.row_bytes();
        if stride == row {
            // SAFETY: the rows follow each other, and are there as the caller promises.
            let pixels = unsafe { slice::from_raw_parts(pixels, shape.bytes()) };
            let extras = Extras::new().captured_ns(captured_ns).meta(meta);
            return sender.publish_with(shape, pixels, extras);
        }
        let mut publish = || {
            let mut loan = sender.loan_with_room(shape, meta.len())?;
            for (y, target) in loan.pixels().chunks_exact_mut(row).enumerate() {
                // SAFETY: `new` has checked that no row's offset overflows, and the row is there.
                let source = unsafe { pixels.add(y * stride) };
                // SAFETY: as many bytes are there, as the caller promises.
                target.copy_from_slice(unsafe { slice::from_raw_parts(source, row) });
            }
            loan.set_captured_ns(captured_ns);
            loan.set_meta(meta)?;
            loan.publish()
        };
        // Once more when the segment breaks meanwhile, as `publish_with` does.
        match publish() {
            Err(Error::Lost { .. }) => publish(),
            result => result,
        }
    }
}

/// Tells a frame's number, and the status.
///
/// # Safety
///
/// `number` is null or may be written.
unsafe fn told(sent: Result<Sent, Status>, number: *mut u64) -> Status {
    match sent {
        Ok(sent) => {
            if !number.is_null() {
                // SAFETY: it is not null, so it may be written, as the caller promises.
                unsafe { number.write(sent.number) };
            }
            Status::Ok
        }
        Err(status) => status,
    }
}

/// Makes a sender.
///
/// # Safety
///
/// `name` is null or a C string, `options` null or options, and `sender` null or to be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_sender_create(
    name: *const c_char,
    options: *const CSenderOptions,
    sender: *mut *mut CSender,
) -> Status {
    let create = || {
        // SAFETY: null or to be written, by this call alone.
        let sender = unsafe { exclusive(sender, "sender") }?;
        *sender = ptr::null_mut();
        // SAFETY: null or a C string.
        let name = unsafe { read_name(Role::Sender, name) }?;
        // SAFETY: null or options.
        let options = match unsafe { options::read(options) }? {
            Some(options) => options.to_options()?,
            None => SenderOptions::new(),
        };
        let created = Sender::create(&name, &options);
        let created = created.map_err(|error| failed(Role::Sender, &error))?;
        *sender = Box::into_raw(Box::new(CSender(State::Idle(created))));
        Ok(Status::Ok)
    };
    create().unwrap_or_else(|status: Status| status)
}

/// Copies and publishes.
///
/// # Safety
///
/// `sender` is null or a sender that no other thread uses; `pixels` is null or points at rows as
/// `shape` and `stride` say; `extras` and `number` are null, or extras and a number to be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_sender_publish(
    sender: *mut CSender,
    shape: CShape,
    pixels: *const c_void,
    stride: usize,
    extras: *const CExtras,
    number: *mut u64,
) -> Status {
    let publish = || {
        // SAFETY: null or a sender that no other thread uses.
        let sender = unsafe { exclusive(sender, "sender") }?.idle()?;
        let shape = shape.judge()?;
        let rows = Rows::new(pixels, stride, shape)?;
        // SAFETY: null or extras, which stay until this call returns.
        let extras = unsafe { read_extras(extras) }?;
        // SAFETY: the rows are there, and stay as they are until this call returns.
        let sent = unsafe { rows.publish(sender, shape, extras) };
        sent.map_err(|error| failed(Role::Sender, &error))
    };
    // SAFETY: null or to be written.
    unsafe { told(publish(), number) }
}

/// Lends a slot.
///
/// # Safety
///
/// `sender` is null or a sender that no other thread uses, and `pixels` null or to be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_sender_loan(
    sender: *mut CSender,
    shape: CShape,
    meta_room: usize,
    pixels: *mut *mut c_void,
) -> Status {
    let lend = || {
        // SAFETY: null or to be written, by this call alone.
        let pixels = unsafe { exclusive(pixels, "pixels") }?;
        *pixels = ptr::null_mut();
        // SAFETY: null or a sender that no other thread uses.
        let sender = unsafe { exclusive(sender, "sender") }?;
        let loan = sender.lend(shape.judge()?, meta_room)?;
        *pixels = loan.pixels().as_mut_ptr().cast();
        Ok(Status::Ok)
    };
    lend().unwrap_or_else(|status: Status| status)
}

/// Publishes the loan.
///
/// # Safety
///
/// `sender` is null or a sender that no other thread uses; `extras` and `number` are null, or
/// extras and a number to be written. Nobody writes the loan's pixels from now on.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_sender_publish_loan(
    sender: *mut CSender,
    extras: *const CExtras,
    number: *mut u64,
) -> Status {
    let publish = || {
        // SAFETY: null or a sender that no other thread uses.
        let sender = unsafe { exclusive(sender, "sender") }?;
        // SAFETY: null or extras, which stay until this call returns.
        sender.publish_loan(unsafe { read_extras(extras) }?)
    };
    // SAFETY: null or to be written.
    unsafe { told(publish(), number) }
}

/// Gives the loan up.
///
/// # Safety
///
/// `sender` is null or a sender that no other thread uses. Nobody writes the loan's pixels from now
/// on.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_sender_discard_loan(sender: *mut CSender) {
    // SAFETY: null or a sender that no other thread uses.
    if let Some(sender) = unsafe { sender.as_mut() } {
        sender.discard();
    }
}

/// Looks after the segment.
///
/// # Safety
///
/// `sender` is null or a sender that no other thread uses.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_sender_tend(sender: *mut CSender) -> Status {
    let tend = || {
        // SAFETY: null or a sender that no other thread uses.
        let sender = unsafe { exclusive(sender, "sender") }?.idle()?;
        let tended = sender.tend();
        tended.map_err(|error| failed(Role::Sender, &error))
    };
    tend().map_or_else(|status| status, |()| Status::Ok)
}

/// Ends the sender.
///
/// # Safety
///
/// `sender` is null or a sender that no other thread uses, now or later.
#[unsafe(no_mangle)]
unsafe extern "C" fn shmf_sender_destroy(sender: *mut CSender) {
    if !sender.is_null() {
        // SAFETY: `shmf_sender_create` made it by `Box::into_raw`, and nobody uses it after this.
        drop(unsafe { Box::from_raw(sender) });
    }
}
