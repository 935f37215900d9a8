//! Reads a film: decodes its frames, and tells their times.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{mem, ptr, slice, thread};

use anyhow::{Context, Result, bail};
use ffmpeg_sys_the_third::{
    AV_DISPOSITION_ATTACHED_PIC, AV_NOPTS_VALUE, AV_TIME_BASE, AVCodec, AVCodecContext, AVCodecID,
    AVDictionary, AVDiscard, AVDurationEstimationMethod, AVFMT_FLAG_CUSTOM_IO, AVFMT_NO_BYTE_SEEK,
    AVFMT_TS_DISCONT, AVFormatContext, AVFrame, AVInputFormat, AVMediaType, AVPacket, AVRational,
    AVSEEK_FLAG_BYTE, AVStream, FF_THREAD_SLICE, av_dict_get, av_find_best_stream,
    av_guess_frame_rate, av_packet_unref, av_parse_time, av_read_frame, avcodec_alloc_context3,
    avcodec_find_decoder, avcodec_find_decoder_by_name, avcodec_flush_buffers, avcodec_get_name,
    avcodec_open2, avcodec_parameters_to_context, avcodec_receive_frame, avcodec_send_packet,
    avformat_alloc_context, avformat_find_stream_info, avformat_open_input, avformat_seek_file,
};
use nix::libc::c_int;

use super::io::{Cancel, Io};
use super::owned::{Options, Owned, frame, packet};
use super::picture::{Decoded, Wanted};
use super::{Error, check, load, nanoseconds, positive, ticks};
use crate::input;

/// A film, and the frame of it that was decoded last.
pub(crate) struct Reader {
    source: Source,
    wanted: Wanted,
    decoder: Owned<AVCodecContext>,
    // Before `io`, which it uses.
    demuxer: Owned<AVFormatContext>,
    io: Option<Io>,
    // After the demuxer, which asks it.
    cancel: Cancel,
    stream: usize,
    packet: Owned<AVPacket>,
    frame: Owned<AVFrame>,
    /// The decoder was told that there are no more packets.
    draining: bool,
    /// The error that ended the reading, if it did not end with the film.
    broken: Option<io::Error>,
    /// The first frame's time stamp, in ns.
    first: i64,
}

/// Where a film is.
#[derive(Clone, Debug)]
enum Source {
    Stdin,
    Path(PathBuf),
    /// An address with a protocol.
    Url(CString),
}

impl Source {
    /// A path that exists is a path, even if it looks like an address.
    fn of(name: &OsStr) -> Result<Self> {
        let path = Path::new(name);
        if name == "-" {
            return Ok(Self::Stdin);
        }
        let is_url = || name.to_string_lossy().contains("://");
        if path.symlink_metadata().is_err() && is_url() {
            return Ok(Self::Url(CString::new(name.as_bytes())?));
        }
        Ok(Self::Path(path.to_owned()))
    }

    /// Returns the name for FFmpeg, and the open file unless FFmpeg opens it. Pipes and the like
    /// are opened here, since they must be opened only once.
    fn open(&self) -> Result<(CString, Option<File>)> {
        let path = match self {
            Self::Url(url) => return Ok((url.clone(), None)),
            Self::Stdin => {
                let stdin = io::stdin();
                if stdin.is_terminal() {
                    bail!("stdin is a terminal: pipe a film into it, or redirect it from a file");
                }
                let stdin = File::from(stdin.as_fd().try_clone_to_owned()?);
                return Ok((CString::default(), Some(stdin)));
            }
            Self::Path(path) => path,
        };
        // Without this, FFmpeg would take the text before a colon for a protocol.
        let mut name = b"file:".to_vec();
        name.extend_from_slice(path.as_os_str().as_bytes());
        let name = CString::new(name)?;
        let file = match input::open(path) {
            // A pattern like shot-%03d.png, which FFmpeg resolves.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && path.as_os_str().as_bytes().contains(&b'%') =>
            {
                return Ok((name, None));
            }
            file => file?,
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            bail!("is a directory: --images sends pictures from one");
        }
        if file.is_terminal() {
            bail!("is a terminal");
        }
        Ok((name, (!metadata.is_file()).then_some(file)))
    }

    fn can_be_opened_again(&self) -> bool {
        match self {
            Self::Stdin => false,
            Self::Url(_) => true,
            Self::Path(path) => path.metadata().map_or(true, |metadata| metadata.is_file()),
        }
    }
}

impl Reader {
    /// Opens a film, and decodes its first frame.
    pub(crate) fn open(name: &OsStr, wanted: Wanted) -> Result<Self> {
        Self::open_source(Source::of(name)?, wanted, Cancel::default())
    }

    fn open_source(source: Source, wanted: Wanted, cancel: Cancel) -> Result<Self> {
        load()?;
        let (name, file) = source.open()?;
        let io = file.map(|file| Io::reader(file, cancel.clone()));
        let mut io = io.transpose()?;
        let demuxer = demuxer(&name, &source, io.as_mut(), &cancel).map_err(|error| {
            let cause = io.as_mut().and_then(Io::take_error);
            match (cause, error) {
                (Some(cause), _) => cause.into(),
                (None, Error::INVALID | Error::END) => {
                    anyhow::anyhow!("is no video that FFmpeg can read")
                }
                (None, error) => error.into(),
            }
        })?;
        let stream = best(&demuxer)?;
        let decoder = decoder(&demuxer, stream, &source, wanted.channels)?;
        let mut reader = Self {
            source,
            wanted,
            decoder,
            demuxer,
            io,
            cancel,
            stream,
            packet: packet()?,
            frame: frame()?,
            draining: false,
            broken: None,
            first: 0,
        };
        reader.ignore_other_streams();
        if !reader.decode()? {
            if let Some(why) = reader.broken() {
                return Err(why).context("has no frame that FFmpeg can decode");
            }
            bail!("has no frame that FFmpeg can decode");
        }
        reader.first = reader.time().unwrap_or(0);
        Ok(reader)
    }

    /// Takes the frame that was decoded last, and with it its time and duration.
    pub(crate) fn take(&mut self) -> Result<Decoded> {
        Ok(Decoded {
            matrix: self.display_matrix(),
            frame: mem::replace(&mut self.frame, frame()?),
        })
    }

    /// Ends a call that waits, in another thread, and all later ones.
    pub(crate) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Decodes the next frame. `false`: there is none, or the end was asked for.
    pub(crate) fn decode(&mut self) -> Result<bool> {
        loop {
            // SAFETY: both are valid; the frame's buffers are released first.
            let received = check(unsafe {
                avcodec_receive_frame(self.decoder.as_mut_ptr(), self.frame.as_mut_ptr())
            });
            match received {
                Ok(_) => return Ok(true),
                Err(Error::AGAIN) => {}
                Err(Error::END) => return Ok(false),
                // This frame is damaged. The next one may be whole.
                Err(_) => continue,
            }
            if !self.feed() {
                return Ok(false);
            }
        }
    }

    /// Gives the decoder another packet, or tells it that there are no more. `false`: the end was
    /// asked for.
    fn feed(&mut self) -> bool {
        if self.draining {
            // Defensive: a decoder that is drained reports the end.
            return false;
        }
        while !self.cancel.is_requested() {
            // SAFETY: both are valid.
            let read = check(unsafe {
                av_read_frame(self.demuxer.as_mut_ptr(), self.packet.as_mut_ptr())
            });
            match read {
                // AVI has an empty packet for each tick without a new picture.
                Ok(_)
                    if usize::try_from(self.packet.stream_index) != Ok(self.stream)
                        || self.packet.size == 0 =>
                {
                    self.unref();
                }
                Ok(_) => {
                    // SAFETY: both are valid. Damage is not the end: the next packet may be whole.
                    let _ = unsafe {
                        avcodec_send_packet(self.decoder.as_mut_ptr(), self.packet.as_ptr())
                    };
                    self.unref();
                    return true;
                }
                Err(Error::INTERRUPTED) => return false,
                Err(Error::AGAIN) => thread::sleep(Duration::from_millis(5)),
                Err(error) => {
                    if error != Error::END {
                        let cause = self.io.as_mut().and_then(Io::take_error);
                        self.broken = Some(cause.unwrap_or_else(|| io::Error::other(error)));
                    }
                    self.draining = true;
                    // SAFETY: the decoder is valid; null is the end.
                    unsafe { avcodec_send_packet(self.decoder.as_mut_ptr(), ptr::null()) };
                    return true;
                }
            }
        }
        false
    }

    fn unref(&mut self) {
        // SAFETY: the packet is valid.
        unsafe { av_packet_unref(self.packet.as_mut_ptr()) };
    }

    /// The frame's time stamp, in ns. `None`: the film has none.
    pub(crate) fn time(&self) -> Option<i64> {
        let ticks = self.frame.best_effort_timestamp;
        (ticks != AV_NOPTS_VALUE).then(|| nanoseconds(ticks, self.av_stream().time_base))
    }

    /// The frame's duration, if the film has it.
    pub(crate) fn duration(&self) -> Option<Duration> {
        #[cfg(ffmpeg_6_0)]
        let ticks = self.frame.duration;
        #[cfg(not(ffmpeg_6_0))]
        let ticks = self.frame.pkt_duration;
        let ns = nanoseconds(ticks, self.av_stream().time_base);
        (ns > 0).then(|| Duration::from_nanos(ns.unsigned_abs()))
    }

    /// The film's average rate, in frames per second.
    pub(crate) fn fps(&self) -> Option<f64> {
        let stream = self.av_stream();
        if is_cover(stream) {
            return None;
        }
        // SAFETY: both are valid, and not changed.
        let guessed = unsafe {
            av_guess_frame_rate(
                self.demuxer.as_ptr().cast_mut(),
                ptr::from_ref(stream).cast_mut(),
                ptr::null_mut(),
            )
        };
        let (average, guessed) = (positive(stream.avg_frame_rate), positive(guessed));
        if self.format_is(c"avi") {
            // Its average counts ticks, of which many may have no picture.
            guessed.or(average)
        } else {
            average.or(guessed)
        }
    }

    /// About how many frames the film has.
    pub(crate) fn frames(&self) -> Option<u64> {
        let stream = self.av_stream();
        if is_cover(stream) {
            return Some(1);
        }
        let told = u64::try_from(stream.nb_frames).ok().filter(|&n| n > 0);
        let timed = self.length().zip(self.fps());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "for people"
        )]
        let timed = timed.map(|(length, fps)| (length.as_secs_f64() * fps).round() as u64);
        // The count includes frames that an edit list leaves out.
        match (told, timed) {
            (Some(told), Some(timed)) => Some(told.min(timed.max(1))),
            (told, timed) => told.or(timed).filter(|&n| n > 0),
        }
    }

    /// How long the film's pictures last, according to the file. `None`: FFmpeg can only estimate
    /// it.
    pub(crate) fn length(&self) -> Option<Duration> {
        if self.demuxer.duration_estimation_method != AVDurationEstimationMethod::STREAM
            || is_cover(self.av_stream())
        {
            return None;
        }
        let known = |ticks: i64, base| {
            let ns = nanoseconds(ticks, base);
            (ticks != AV_NOPTS_VALUE && ns > 0).then(|| Duration::from_nanos(ns.unsigned_abs()))
        };
        let stream = self.av_stream();
        let of_all = || {
            // With several streams, this is the length of the longest one.
            let alone = streams(&self.demuxer)
                .iter()
                .filter(|stream| is_played(stream) && !is_cover(stream))
                .count()
                == 1;
            let us = AVRational {
                num: 1,
                den: AV_TIME_BASE,
            };
            alone.then(|| known(self.demuxer.duration, us)).flatten()
        };
        // For an AVI that was cut off, FFmpeg corrects the length, but not the count.
        let counted = || {
            let count = u32::try_from(stream.nb_frames).ok().filter(|&n| n > 0)?;
            let fps = positive(stream.avg_frame_rate).filter(|_| self.format_is(c"avi"))?;
            Duration::try_from_secs_f64(f64::from(count) / fps).ok()
        };
        counted()
            .or_else(|| known(stream.duration, stream.time_base))
            .or_else(|| text(stream.metadata, c"DURATION").and_then(|text| clock_time(&text)))
            .or_else(of_all)
    }

    /// When the recording of the film began, if the file says so: ns of Unix time.
    pub(crate) fn recorded_ns(&self) -> Option<u64> {
        let time = text(self.demuxer.metadata, c"creation_time")
            .or_else(|| text(self.av_stream().metadata, c"creation_time"))?;
        let time = CString::new(time).ok()?;
        let mut us = 0;
        // SAFETY: a text with its 0, and a number to be written.
        let parsed = unsafe { av_parse_time(&raw mut us, time.as_ptr(), 0) };
        let us = u64::try_from(us).ok().filter(|&us| parsed >= 0 && us > 0)?;
        us.checked_mul(1000)
    }

    /// The first frame's time stamp, which need not be 0.
    pub(crate) fn first(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.first).unwrap_or(0))
    }

    /// Whether the format allows time stamps to jump, as where two broadcasts were put together.
    pub(crate) fn may_jump(&self) -> bool {
        self.format_has(AVFMT_TS_DISCONT)
    }

    fn format_has(&self, flag: c_int) -> bool {
        self.format().is_some_and(|format| format.flags & flag != 0)
    }

    fn format_is(&self, name: &CStr) -> bool {
        // SAFETY: a format's name is a static text.
        let is = |format: &AVInputFormat| unsafe { CStr::from_ptr(format.name) } == name;
        self.format().is_some_and(is)
    }

    fn format(&self) -> Option<&AVInputFormat> {
        // SAFETY: an input's format is valid as long as the input, or null.
        unsafe { self.demuxer.iformat.as_ref() }
    }

    /// Whether the source is live: frames come when they are made, not when they are read.
    pub(crate) fn is_live(&self) -> bool {
        is_live(&self.source)
    }

    /// Whether the film can be started over.
    pub(crate) fn can_start_over(&self) -> bool {
        self.source.can_be_opened_again() && !self.is_live()
    }

    /// Takes the error that ended the reading, if it did not end with the film.
    pub(crate) fn broken(&mut self) -> Option<io::Error> {
        self.broken.take()
    }

    /// Goes to the first frame at this time or later, and decodes it. `false`: there is none, or
    /// the end was asked for.
    pub(crate) fn go_to(&mut self, start: Duration) -> Result<bool> {
        let start = i64::try_from(start.as_nanos()).unwrap_or(i64::MAX);
        let target = self.first.saturating_add(start);
        if self.source.can_be_opened_again() && !self.seek(target)? {
            // Seeking failed: open the film again, and decode from its beginning.
            *self = Self::open_source(self.source.clone(), self.wanted, self.cancel.clone())?;
        }
        loop {
            // 1 us less, since times are rounded.
            if self.time().is_none_or(|time| time >= target - 1_000) {
                return Ok(true);
            }
            if !self.decode()? {
                return Ok(false);
            }
        }
    }

    /// Goes to a frame at this time or before it, and decodes it. `false`: that did not work.
    fn seek(&mut self, target: i64) -> Result<bool> {
        let stream = self.av_stream();
        // FFmpeg returns a cover only once.
        if is_cover(stream) {
            return Ok(false);
        }
        let ticks = ticks(target, stream.time_base);
        // If time stamps jump, two frames may have the first one's. So seek to the first byte.
        let (index, to, flags) = if target > self.first {
            (c_int::try_from(self.stream)?, ticks, 0)
        } else if self.may_jump() && !self.format_has(AVFMT_NO_BYTE_SEEK) {
            (-1, 0, AVSEEK_FLAG_BYTE)
        } else {
            (c_int::try_from(self.stream)?, i64::MIN + 1, 0)
        };
        let latest = ticks.max(to);
        // SAFETY: the demuxer is valid.
        let sought = check(unsafe {
            avformat_seek_file(
                self.demuxer.as_mut_ptr(),
                index,
                i64::MIN,
                to,
                latest,
                flags,
            )
        });
        if sought.is_err() {
            return Ok(false);
        }
        // SAFETY: the decoder is open.
        unsafe { avcodec_flush_buffers(self.decoder.as_mut_ptr()) };
        self.draining = false;
        self.broken = None;
        Ok(self.decode()? && self.time().is_some_and(|time| time <= target))
    }

    /// Makes FFmpeg skip all other streams, so that sound has no influence.
    fn ignore_other_streams(&mut self) {
        for (index, &stream) in stream_pointers(&self.demuxer).iter().enumerate() {
            if index != self.stream {
                // SAFETY: a stream is valid as long as its demuxer, and nobody else has it.
                unsafe { &mut *stream }.discard = AVDiscard::ALL;
            }
        }
    }

    fn av_stream(&self) -> &AVStream {
        streams(&self.demuxer)[self.stream]
    }

    /// The stream's display matrix; see `turn`.
    #[cfg(not(ffmpeg_6_1))]
    fn display_matrix(&self) -> Option<[i32; 9]> {
        use ffmpeg_sys_the_third::{AVPacketSideDataType, av_stream_get_side_data};
        let stream = self.av_stream();
        let mut size = 0;
        // SAFETY: the stream is valid.
        let data = unsafe {
            av_stream_get_side_data(stream, AVPacketSideDataType::DISPLAYMATRIX, &raw mut size)
        };
        if data.is_null() || size < size_of::<[i32; 9]>() {
            return None;
        }
        // SAFETY: it has that many bytes, and was allocated, which aligns it.
        Some(unsafe { data.cast::<[i32; 9]>().read_unaligned() })
    }

    /// From FFmpeg 6.1 on, each frame has the matrix itself.
    #[cfg(ffmpeg_6_1)]
    #[expect(clippy::unused_self, reason = "older versions need it")]
    fn display_matrix(&self) -> Option<[i32; 9]> {
        None
    }
}

fn is_live(source: &Source) -> bool {
    const LIVE: [&[u8]; 6] = [b"rtsp", b"rtsps", b"rtp", b"srt", b"udp", b"rtmp"];
    match source {
        Source::Url(url) => LIVE.iter().any(|protocol| {
            let rest = url.as_bytes().strip_prefix(*protocol);
            rest.is_some_and(|rest| rest.starts_with(b"://"))
        }),
        Source::Stdin | Source::Path(_) => false,
    }
}

/// Opens the file, and finds what is in it.
fn demuxer(
    name: &CStr,
    source: &Source,
    io: Option<&mut Io>,
    cancel: &Cancel,
) -> Result<Owned<AVFormatContext>, Error> {
    // SAFETY: takes nothing.
    let context = unsafe { avformat_alloc_context() };
    // SAFETY: it was just made.
    let mut context = unsafe { Owned::new(context) }?;
    context.interrupt_callback = cancel.callback();
    if let Some(io) = io {
        context.pb = io.as_mut_ptr();
        context.flags |= AVFMT_FLAG_CUSTOM_IO;
    }
    let mut options = match source {
        // A playlist in a file may name other files, but must not reach the network.
        Source::Stdin | Source::Path(_) => {
            Options::new(&[(c"protocol_whitelist", c"file,crypto,data")])?
        }
        Source::Url(_) => Options::new(&[])?,
    };
    let mut pointer = context.as_mut_ptr();
    mem::forget(context);
    // SAFETY: all are valid. When it fails it frees the context, which nobody owns now.
    check(unsafe {
        avformat_open_input(
            &raw mut pointer,
            name.as_ptr(),
            ptr::null(),
            options.as_mut_ptr(),
        )
    })?;
    // SAFETY: it was opened, and is still the one that was made.
    let mut context = unsafe { Owned::new(pointer) }?;
    // SAFETY: the context is valid.
    check(unsafe { avformat_find_stream_info(context.as_mut_ptr(), ptr::null_mut()) })?;
    Ok(context)
}

fn stream_pointers(demuxer: &AVFormatContext) -> &[*mut AVStream] {
    let count = demuxer.nb_streams as usize;
    if count == 0 {
        return &[];
    }
    // SAFETY: FFmpeg's array of that length, which stays until packets are read.
    unsafe { slice::from_raw_parts(demuxer.streams, count) }
}

fn streams(demuxer: &AVFormatContext) -> Vec<&AVStream> {
    let pointers = stream_pointers(demuxer).iter();
    // SAFETY: streams are valid as long as their demuxer.
    pointers.map(|&stream| unsafe { &*stream }).collect()
}

fn kind(stream: &AVStream) -> AVMediaType {
    // SAFETY: a stream's parameters are valid as long as the stream.
    unsafe { &*stream.codecpar }.codec_type
}

/// Whether a stream is pictures, sound or subtitles: these have a length.
fn is_played(stream: &AVStream) -> bool {
    let played = [
        AVMediaType::VIDEO,
        AVMediaType::AUDIO,
        AVMediaType::SUBTITLE,
    ];
    played.contains(&kind(stream))
}

/// Whether a stream is one attached picture, as the cover of a song.
fn is_cover(stream: &AVStream) -> bool {
    stream.disposition & AV_DISPOSITION_ATTACHED_PIC != 0
}

/// The stream that ffmpeg would take, but a cover only if there is nothing else.
fn best(demuxer: &Owned<AVFormatContext>) -> Result<usize> {
    // SAFETY: the demuxer is valid, and not changed.
    let found = check(unsafe {
        av_find_best_stream(
            demuxer.as_ptr().cast_mut(),
            AVMediaType::VIDEO,
            -1,
            -1,
            ptr::null_mut(),
            0,
        )
    });
    let streams = streams(demuxer);
    let Ok(found) = found.map(|index| usize::try_from(index).unwrap_or_default()) else {
        if streams
            .iter()
            .any(|stream| kind(stream) == AVMediaType::AUDIO)
        {
            bail!("has sound, and no pictures");
        }
        bail!("is no video that FFmpeg can read: it has no pictures");
    };
    if is_cover(streams[found]) {
        let other = streams
            .iter()
            .position(|stream| kind(stream) == AVMediaType::VIDEO && !is_cover(stream));
        return Ok(other.unwrap_or(found));
    }
    Ok(found)
}

fn decoder(
    demuxer: &Owned<AVFormatContext>,
    stream: usize,
    source: &Source,
    channels: u8,
) -> Result<Owned<AVCodecContext>> {
    let stream = streams(demuxer)[stream];
    // SAFETY: a stream's parameters are valid as long as the stream.
    let parameters = unsafe { &*stream.codecpar };
    let id = parameters.codec_id;
    let codec = find_decoder(id, channels == 4 && has_alpha_aside(stream));
    if codec.is_null() {
        // SAFETY: takes any number.
        let name = unsafe { avcodec_get_name(id) };
        // SAFETY: a static text.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        bail!("is {name} video, which this FFmpeg cannot decode");
    }
    // SAFETY: a static object.
    let context = unsafe { avcodec_alloc_context3(codec) };
    // SAFETY: it was just made.
    let mut context = unsafe { Owned::new(context) }?;
    // SAFETY: both are valid.
    check(unsafe { avcodec_parameters_to_context(context.as_mut_ptr(), parameters) })?;
    context.pkt_timebase = stream.time_base;
    // 0: as many as there are processors.
    context.thread_count = 0;
    if is_live(source) {
        // Threads that share frames delay each frame by as many frames.
        context.thread_type = FF_THREAD_SLICE;
    }
    // SAFETY: both are valid.
    check(unsafe { avcodec_open2(context.as_mut_ptr(), codec, ptr::null_mut()) })
        .context("its decoder cannot be opened")?;
    Ok(context)
}

fn find_decoder(id: AVCodecID, alpha_aside: bool) -> *const AVCodec {
    // FFmpeg's own decoders ignore the alpha of these formats, which is in extra data.
    let with_alpha = match id {
        AVCodecID::VP8 if alpha_aside => Some(c"libvpx"),
        AVCodecID::VP9 if alpha_aside => Some(c"libvpx-vp9"),
        _ => None,
    };
    if let Some(name) = with_alpha {
        // SAFETY: a text with its 0.
        let codec = unsafe { avcodec_find_decoder_by_name(name.as_ptr()) };
        if !codec.is_null() {
            return codec;
        }
    }
    // SAFETY: takes any number.
    unsafe { avcodec_find_decoder(id) }
}

fn has_alpha_aside(stream: &AVStream) -> bool {
    text(stream.metadata, c"alpha_mode").is_some_and(|mode| mode == "1")
}

/// The value of a key in a dictionary.
fn text(dictionary: *const AVDictionary, key: &CStr) -> Option<String> {
    // SAFETY: null or valid, as both callers' streams are.
    let entry = unsafe { av_dict_get(dictionary, key.as_ptr(), ptr::null(), 0) };
    // SAFETY: null or an entry of the dictionary.
    let entry = unsafe { entry.as_ref() }?;
    // SAFETY: an entry's value is a text with its 0.
    let value = unsafe { CStr::from_ptr(entry.value) };
    Some(value.to_string_lossy().into_owned())
}

/// A time like `00:01:40.500000000`.
fn clock_time(text: &str) -> Option<Duration> {
    let mut seconds = 0.0;
    for part in text.trim().split(':') {
        let part: f64 = part.parse().ok()?;
        seconds = seconds * 60.0 + part;
    }
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| !time.is_zero())
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_unless_it_asks_for_a_protocol() {
        let source = |name: &str| Source::of(OsStr::new(name)).unwrap();
        assert!(matches!(source("-"), Source::Stdin));
        assert!(matches!(source("http:x"), Source::Path(_)));
        assert!(matches!(source("rtsp://camera/1"), Source::Url(_)));
        assert!(is_live(&source("rtsp://camera/1")));
        assert!(!is_live(&source("http://host/film.mp4")));
    }

    #[test]
    fn clock_times_are_read() {
        let read = |text| clock_time(text).map(|time| time.as_secs_f64());
        assert_eq!(read("00:01:40.500000000"), Some(100.5));
        assert_eq!(read("2:00:00"), Some(7200.0));
        assert_eq!(read("00:00:00.000"), None);
        assert_eq!(read("soon"), None);
    }
}
