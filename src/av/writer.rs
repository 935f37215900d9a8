//! Writes a recording that can be played up to its last second, even after a kill -9.
//!
//! Frames are encoded without delay and written one later than they come, since only the next one
//! tells how long a frame is to be seen. Twice a second what was written is made whole: a fragment
//! of an MP4, a cluster of a Matroska file. A second after the last one that can be decoded alone,
//! the next frame is made one.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::time::{Duration, Instant};
use std::{io, ptr, slice};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ffmpeg_sys_the_third::{
    AV_CODEC_FLAG_GLOBAL_HEADER, AV_CODEC_FLAG_QSCALE, AVCodec, AVCodecContext, AVColorRange,
    AVColorSpace, AVFMT_FLAG_CUSTOM_IO, AVFMT_GLOBALHEADER, AVFormatContext, AVFrame, AVPacket,
    AVPictureType, AVPixelFormat, AVRational, AVStream, FF_QP2LAMBDA, FF_THREAD_SLICE,
    av_frame_get_buffer, av_frame_make_writable, av_opt_find, av_opt_set, av_packet_make_writable,
    av_packet_move_ref, av_packet_ref, av_packet_rescale_ts, av_write_frame, av_write_trailer,
    avcodec_alloc_context3, avcodec_find_encoder_by_name, avcodec_open2,
    avcodec_parameters_from_context, avcodec_receive_packet, avcodec_send_frame,
    avformat_alloc_output_context2, avformat_new_stream, avformat_write_header,
};
use shm_frame::{Channels, Element, Format, Order, Shape};

use super::io::Io;
use super::owned::{Options, Owned, frame, packet};
use super::scale::{Conversion, HD, Scaler};
use super::{Error, check, load};
use crate::picture;

/// How often the file is made whole, that is, playable up to its end.
const WHOLE: Duration = Duration::from_millis(500);
/// The longest time between two key frames.
const KEY: Duration = Duration::from_secs(1);
/// The duration of the only frame of a recording.
const ALONE: Duration = Duration::from_millis(33);

/// The kind of a recording's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    Mp4,
    Mkv,
    Avi,
}

impl Container {
    fn name(self) -> &'static CStr {
        match self {
            Self::Mp4 => c"mp4",
            Self::Mkv => c"matroska",
            Self::Avi => c"avi",
        }
    }

    /// The resolution of time stamps.
    fn ticks_per_second(self) -> i32 {
        match self {
            Self::Mp4 => 60_000,
            // The format has no finer one.
            Self::Mkv => 1_000,
            // The file has an index entry for each tick.
            Self::Avi => 500,
        }
    }

    /// The most ticks between two frames that FFmpeg's writer of the format accepts.
    fn longest_step(self) -> Option<i64> {
        (self == Self::Avi).then_some(50_000)
    }
}

/// An encoder and its settings.
#[derive(Clone, Copy, Debug)]
struct Codec {
    /// FFmpeg's name of the encoder.
    encoder: &'static CStr,
    /// The name for people.
    name: &'static str,
    options: &'static [(&'static CStr, &'static CStr)],
    /// The encoder takes YUV, and loses something.
    pixels: Option<AVPixelFormat>,
    /// A fixed quantizer, from 1, the best, to 31, if `options` have no quality.
    quality: Option<i32>,
}

/// YUV 4:2:0, which every player knows.
const YUV: AVPixelFormat = AVPixelFormat::YUV420P;
/// YUV 4:2:0 in full range.
const FULL_YUV: AVPixelFormat = AVPixelFormat::YUVJ420P;

const X264: Codec = Codec {
    encoder: c"libx264",
    name: "H.264 (libx264)",
    options: &[
        // What is too slow drops frames: at 1080p this takes a third of the time of the next preset
        // but one.
        (c"preset", c"ultrafast"),
        // No delay: each frame is encoded at once.
        (c"tune", c"zerolatency"),
        (c"crf", c"20"),
        (c"forced-idr", c"1"),
    ],
    pixels: None,
    quality: None,
};
const OPENH264: Codec = Codec {
    encoder: c"libopenh264",
    name: "H.264 (libopenh264)",
    options: &[(c"rc_mode", c"quality")],
    pixels: None,
    quality: None,
};
const MPEG4: Codec = Codec {
    encoder: c"mpeg4",
    name: "MPEG-4 (this FFmpeg has no encoder of H.264, so browsers will not play it)",
    options: &[],
    pixels: None,
    quality: Some(3),
};
const MJPEG: Codec = Codec {
    encoder: c"mjpeg",
    name: "Motion JPEG",
    options: &[],
    pixels: None,
    quality: Some(3),
};
const FFV1: Codec = Codec {
    encoder: c"ffv1",
    name: "FFV1, lossless",
    options: &[(c"level", c"3"), (c"slicecrc", c"1")],
    pixels: Some(AVPixelFormat::NONE),
    quality: None,
};

/// FFmpeg's name of a frame's format. `None`: films have no such pixels.
fn pixels_of(format: Format) -> Option<AVPixelFormat> {
    let bgr = format.order() == Order::Bgr;
    Some(match (format.element(), format.channels()) {
        (Element::U8, Channels::One) => AVPixelFormat::GRAY8,
        (Element::U8, Channels::Three) if bgr => AVPixelFormat::BGR24,
        (Element::U8, Channels::Three) => AVPixelFormat::RGB24,
        (Element::U8, Channels::Four) if bgr => AVPixelFormat::BGRA,
        (Element::U8, Channels::Four) => AVPixelFormat::RGBA,
        (Element::U16, Channels::One) => AVPixelFormat::GRAY16LE,
        (Element::U16, Channels::Three) if bgr => AVPixelFormat::BGR48LE,
        (Element::U16, Channels::Three) => AVPixelFormat::RGB48LE,
        // With red and blue swapped: see `swaps`.
        (Element::U16, Channels::Four) => AVPixelFormat::RGBA64LE,
        (Element::U8 | Element::U16, Channels::Two)
        | (
            Element::I8 | Element::I16 | Element::I32 | Element::F16 | Element::F32 | Element::F64,
            _,
        ) => return None,
    })
}

/// Whether red and blue are swapped here, since libswscale does not do it exactly (FFmpeg 5.1).
fn swaps(format: Format) -> bool {
    format.element() == Element::U16
        && format.channels() == Channels::Four
        && format.order() == Order::Bgr
}

/// The format that FFV1 encodes such frames in without loss.
fn lossless(format: Format) -> AVPixelFormat {
    match (format.element(), format.channels()) {
        (Element::U16, Channels::One) => AVPixelFormat::GRAY16LE,
        (Element::U16, Channels::Four) => AVPixelFormat::RGBA64LE,
        (Element::U16, _) => AVPixelFormat::RGB48LE,
        (_, Channels::One) => AVPixelFormat::GRAY8,
        (_, Channels::Four) => AVPixelFormat::BGRA,
        _ => AVPixelFormat::BGR0,
    }
}

/// A recording that is being written.
pub(crate) struct Writer {
    container: Container,
    encoder: Owned<AVCodecContext>,
    codec: Codec,
    shape: Shape,
    // Before `io`, which it uses.
    muxer: Owned<AVFormatContext>,
    io: Io,
    /// The pixels as they come. In FFmpeg's memory, since libswscale may read beyond rows.
    source: Owned<AVFrame>,
    scaler: Option<Scaler>,
    /// The converted pixels, if they have to be converted.
    converted: Owned<AVFrame>,
    packet: Owned<AVPacket>,
    /// The last packet. It is written when the next frame tells its duration.
    held: Option<Owned<AVPacket>>,
    /// When the held frame came.
    held_at: Instant,
    /// Ticks from the frame before the held one to it.
    step: i64,
    /// The last frame's time, in ticks.
    last: Option<i64>,
    /// The last key frame's time, in ticks.
    key: i64,
    /// The file is whole up to this length, since this moment.
    whole: u64,
    whole_since: Instant,
}

impl Writer {
    /// Begins a recording of frames of one shape in an empty file.
    pub(crate) fn create(
        file: File,
        container: Container,
        shape: Shape,
        lossless: bool,
    ) -> Result<Self> {
        load()?;
        let from = pixels_of(shape.format()).with_context(|| {
            format!("frames are {shape}, and a film has no such pixels: .mcap takes all")
        })?;
        let mut io = Io::writer(file)?;
        let mut muxer = muxer(container, &mut io)?;
        let (encoder, codec) = encoder(container, &muxer, shape, lossless)?;
        begin(&mut muxer, container, &encoder).map_err(|error| cause(&mut io, error))?;
        let mut source = frame()?;
        (source.width, source.height) = (encoder.width, encoder.height);
        source.format = from.0;
        allocate(&mut source)?;
        let scaler = if from == encoder.pix_fmt {
            None
        } else {
            Some(Scaler::new(Conversion {
                width: encoder.width,
                height: encoder.height,
                from,
                to: encoder.pix_fmt,
                space: encoder.colorspace,
                range: encoder.color_range,
                to_yuv: codec.pixels.is_none(),
            })?)
        };
        let mut writer = Self {
            container,
            encoder,
            codec,
            shape,
            muxer,
            io,
            source,
            scaler,
            converted: frame()?,
            packet: packet()?,
            held: None,
            held_at: Instant::now(),
            step: 0,
            last: None,
            key: 0,
            whole: 0,
            whole_since: Instant::now(),
        };
        // The beginning is playable from now on.
        writer.make_whole()?;
        Ok(writer)
    }

    /// The codec, and what the recording loses, for people.
    pub(crate) fn describe(&self) -> String {
        let mut text = self.codec.name.to_owned();
        let format = self.shape.format();
        if self.codec.pixels.is_none() {
            if format.element() == Element::U16 {
                text.push_str(", with 8 of the 16 bits");
            }
            if format.channels() == Channels::Four {
                text.push_str(", without alpha");
            }
        }
        if (self.encoder.width, self.encoder.height) != (self.shape.width(), self.shape.height()) {
            text.push_str(", without the odd column or row");
        }
        text
    }

    /// Writes a frame with this time. Times must grow: a smaller one is raised.
    pub(crate) fn write(&mut self, pixels: &[u8], at: Duration) -> Result<()> {
        let per_second = i128::from(self.container.ticks_per_second());
        let ns = i128::try_from(at.as_nanos()).unwrap_or(i128::MAX >> 32);
        let tick = i64::try_from((ns * per_second + 500_000_000) / 1_000_000_000)?;
        let tick = self.last.map_or(tick, |last| tick.max(last + 1));
        let is_key = self.last.is_none() || tick - self.key >= self.ticks(KEY);
        if is_key {
            self.key = tick;
        }
        self.last = Some(tick);
        self.fill(pixels)?;
        let encoded = match &self.scaler {
            None => &mut self.source,
            Some(scaler) => {
                if !self.converted.buf[0].is_null() {
                    // SAFETY: the frame is valid, and has buffers.
                    check(unsafe { av_frame_make_writable(self.converted.as_mut_ptr()) })?;
                }
                scaler.run(&self.source, &mut self.converted)?;
                &mut self.converted
            }
        };
        encoded.pts = tick;
        encoded.colorspace = self.encoder.colorspace;
        encoded.color_range = self.encoder.color_range;
        encoded.quality = self.encoder.global_quality;
        encoded.pict_type = if is_key {
            AVPictureType::I
        } else {
            AVPictureType::NONE
        };
        let encoded = encoded.as_ptr();
        // SAFETY: both are valid.
        check(unsafe { avcodec_send_frame(self.encoder.as_mut_ptr(), encoded) })
            .context("a frame cannot be encoded")?;
        self.drain()?;
        if self.whole_since.elapsed() >= WHOLE {
            self.make_whole()?;
        }
        Ok(())
    }

    /// Writes the packet that is held. To be called if no frame comes for a while.
    pub(crate) fn rest(&mut self) -> Result<()> {
        if self.held.is_some() {
            // The next frame was certainly not begun in the first half of this time.
            let passed = self.held_at.elapsed() / 2;
            self.write_held(self.ticks(passed).max(1))?;
            self.make_whole()?;
            self.begin_elsewhere()?;
        }
        Ok(())
    }

    /// Completes the recording.
    pub(crate) fn finish(mut self) -> Result<()> {
        // SAFETY: the encoder is open; null is the end.
        let _ = unsafe { avcodec_send_frame(self.encoder.as_mut_ptr(), ptr::null()) };
        self.drain()?;
        let last = if self.step > 0 {
            self.step
        } else {
            self.ticks(ALONE)
        };
        self.write_held(last)?;
        // SAFETY: the header was written.
        let written = check(unsafe { av_write_trailer(self.muxer.as_mut_ptr()) });
        self.io.flush();
        let failed = self.io.take_error().map(anyhow::Error::from);
        match failed.or(written.err().map(Into::into)) {
            Some(error) => Err(self.cut(error)),
            None => Ok(()),
        }
    }

    /// Tells an MP4 that its next fragment need not begin where the last one ends.
    fn begin_elsewhere(&mut self) -> Result<()> {
        if self.container == Container::Mp4 {
            // SAFETY: a muxer's own options begin with their class; the texts have their 0.
            check(unsafe {
                av_opt_set(
                    self.muxer.priv_data,
                    c"movflags".as_ptr(),
                    c"+frag_discont".as_ptr(),
                    0,
                )
            })?;
        }
        Ok(())
    }

    fn ticks(&self, time: Duration) -> i64 {
        let ticks = time.as_nanos() * u128::from(self.container.ticks_per_second().unsigned_abs());
        i64::try_from(ticks / 1_000_000_000).unwrap_or(i64::MAX)
    }

    /// Copies the pixels into the source frame, without an odd column or row if the encoder needs
    /// that.
    fn fill(&mut self, pixels: &[u8]) -> Result<()> {
        ensure!(
            pixels.len() == self.shape.bytes(),
            "{} bytes are no frame of {}",
            pixels.len(),
            self.shape
        );
        // SAFETY: the frame is valid, and has buffers.
        check(unsafe { av_frame_make_writable(self.source.as_mut_ptr()) })?;
        let stride = usize::try_from(self.source.linesize[0])?;
        let height = usize::try_from(self.source.height)?;
        let taken = usize::try_from(self.source.width)? * self.shape.format().pixel_bytes();
        // SAFETY: FFmpeg made the frame for that many rows of that length, and it is ours alone.
        let to = unsafe { slice::from_raw_parts_mut(self.source.data[0], stride * height) };
        let rows = pixels.chunks_exact(self.shape.row_bytes());
        for (to, from) in to.chunks_exact_mut(stride).zip(rows) {
            let to = &mut to[..taken];
            to.copy_from_slice(&from[..taken]);
            if swaps(self.shape.format()) {
                picture::swap_red_and_blue(to, self.shape.format());
            }
        }
        Ok(())
    }

    /// Takes all packets that the encoder has.
    fn drain(&mut self) -> Result<()> {
        loop {
            // SAFETY: both are valid.
            let got = check(unsafe {
                avcodec_receive_packet(self.encoder.as_mut_ptr(), self.packet.as_mut_ptr())
            });
            match got {
                Ok(_) => self.hold()?,
                Err(Error::AGAIN | Error::END) => return Ok(()),
                Err(error) => return Err(error).context("a frame cannot be encoded"),
            }
        }
    }

    /// Writes the packet that is held, whose duration is known now, and holds the new one.
    fn hold(&mut self) -> Result<()> {
        if let Some(held) = &self.held {
            self.step = (self.packet.dts - held.dts).max(1);
            self.write_held(self.step)?;
        }
        let mut held = packet()?;
        // SAFETY: both are valid.
        unsafe { av_packet_move_ref(held.as_mut_ptr(), self.packet.as_mut_ptr()) };
        self.held = Some(held);
        self.held_at = Instant::now();
        Ok(())
    }

    fn write_held(&mut self, ticks: i64) -> Result<()> {
        let Some(mut held) = self.held.take() else {
            return Ok(());
        };
        // Repeat the picture where the step would be too long.
        let longest = self.container.longest_step().unwrap_or(i64::MAX);
        let mut left = ticks;
        while left > longest {
            let mut again = packet()?;
            // SAFETY: both are valid.
            check(unsafe { av_packet_ref(again.as_mut_ptr(), held.as_ptr()) })?;
            // SAFETY: the packet is valid.
            check(unsafe { av_packet_make_writable(again.as_mut_ptr()) })?;
            held.pts += longest;
            held.dts += longest;
            left -= longest;
            self.mux(again, longest)?;
        }
        self.mux(held, left)
    }

    fn mux(&mut self, mut packet: Owned<AVPacket>, ticks: i64) -> Result<()> {
        packet.duration = ticks;
        packet.stream_index = 0;
        let base = stream(&self.muxer).time_base;
        // SAFETY: the packet is valid.
        unsafe { av_packet_rescale_ts(packet.as_mut_ptr(), self.encoder.time_base, base) };
        // SAFETY: the header was written, and the packet is of its stream.
        let written =
            check(unsafe { av_write_frame(self.muxer.as_mut_ptr(), packet.as_mut_ptr()) });
        self.checked(written)
    }

    /// Makes the file whole up to its present end.
    fn make_whole(&mut self) -> Result<()> {
        // SAFETY: the header was written; null asks for this.
        let flushed = check(unsafe { av_write_frame(self.muxer.as_mut_ptr(), ptr::null_mut()) });
        self.io.flush();
        self.checked(flushed)?;
        self.whole = self.io.file().metadata()?.len();
        self.whole_since = Instant::now();
        Ok(())
    }

    fn checked(&mut self, result: Result<i32, Error>) -> Result<()> {
        match (self.io.take_error(), result) {
            (None, Ok(_)) => Ok(()),
            (None, Err(error)) => Err(self.cut(error.into())),
            (Some(error), _) => Err(self.cut(error.into())),
        }
    }

    /// After an error: cuts the file to the length at which it was whole.
    fn cut(&mut self, error: anyhow::Error) -> anyhow::Error {
        let whole = self.whole;
        let file = self.io.file();
        let cut = file
            .set_len(whole)
            .and_then(|()| file.seek(SeekFrom::Start(whole)));
        match cut {
            Ok(_) => anyhow!("{error}: what was recorded until then can be played"),
            Err(_) => error,
        }
    }
}

/// The file's own error, if there is one, since FFmpeg reports only its number.
fn cause(io: &mut Io, error: Error) -> anyhow::Error {
    let cause = io.take_error();
    cause.map_or_else(|| error.into(), <anyhow::Error as From<io::Error>>::from)
}

fn muxer(container: Container, io: &mut Io) -> Result<Owned<AVFormatContext>, Error> {
    let mut muxer = ptr::null_mut();
    // SAFETY: a place for the context, and texts with their 0.
    check(unsafe {
        avformat_alloc_output_context2(
            &raw mut muxer,
            ptr::null(),
            container.name().as_ptr(),
            ptr::null(),
        )
    })?;
    // SAFETY: it was just made.
    let mut muxer = unsafe { Owned::new(muxer) }?;
    muxer.pb = io.as_mut_ptr();
    muxer.flags |= AVFMT_FLAG_CUSTOM_IO;
    Ok(muxer)
}

fn stream(muxer: &AVFormatContext) -> &AVStream {
    // SAFETY: a recording has one stream.
    let stream = unsafe { *muxer.streams };
    // SAFETY: it is valid as long as the muxer.
    unsafe { &*stream }
}

/// The first encoder that this FFmpeg has and that takes such frames.
fn encoder(
    container: Container,
    muxer: &AVFormatContext,
    shape: Shape,
    lossless: bool,
) -> Result<(Owned<AVCodecContext>, Codec)> {
    let codecs: &[Codec] = match container {
        _ if lossless => &[FFV1],
        Container::Mp4 | Container::Mkv => &[X264, OPENH264, MPEG4],
        Container::Avi => &[MJPEG],
    };
    let mut failed = None;
    for codec in codecs {
        // SAFETY: a text with its 0.
        let found = unsafe { avcodec_find_encoder_by_name(codec.encoder.as_ptr()) };
        if found.is_null() {
            continue;
        }
        match open(found, *codec, container, muxer, shape) {
            Ok(encoder) => return Ok((encoder, *codec)),
            Err(error) => {
                failed.get_or_insert((codec.name, error));
            }
        }
    }
    let other = if lossless {
        ".mcap takes all"
    } else {
        ".mkv with --lossless and .mcap take more"
    };
    match failed {
        Some((name, error)) => Err(error)
            .with_context(|| format!("frames are {shape}, which {name} cannot encode: {other}")),
        None => bail!("this FFmpeg has no encoder for it: {other}"),
    }
}

fn open(
    found: *const AVCodec,
    codec: Codec,
    container: Container,
    muxer: &AVFormatContext,
    shape: Shape,
) -> Result<Owned<AVCodecContext>> {
    // SAFETY: a static object.
    let encoder = unsafe { avcodec_alloc_context3(found) };
    // SAFETY: it was just made.
    let mut encoder = unsafe { Owned::new(encoder) }?;
    let (width, height) = (shape.width(), shape.height());
    if codec.pixels.is_some() {
        (encoder.width, encoder.height) = (width, height);
        encoder.pix_fmt = lossless(shape.format());
        // Each frame is a key frame.
        encoder.gop_size = 1;
    } else {
        // YUV 4:2:0 needs even sides.
        (encoder.width, encoder.height) = (width & !1, height & !1);
        ensure!(
            encoder.width > 0 && encoder.height > 0,
            "its sides are even"
        );
        let jpeg = codec.encoder == MJPEG.encoder;
        encoder.pix_fmt = if jpeg { FULL_YUV } else { YUV };
        encoder.color_range = if jpeg {
            AVColorRange::JPEG
        } else {
            AVColorRange::MPEG
        };
        let is_hd = width >= HD.0 || height >= HD.1;
        encoder.colorspace = if is_hd && !jpeg {
            AVColorSpace::BT709
        } else {
            AVColorSpace::SMPTE170M
        };
        // See `KEY`.
        encoder.gop_size = i32::from(i16::MAX);
        encoder.max_b_frames = 0;
    }
    encoder.time_base = AVRational {
        num: 1,
        den: container.ticks_per_second(),
    };
    // A typical rate, for the level that H.264 states. Without it, each tick would count as a
    // frame.
    encoder.framerate = AVRational { num: 30, den: 1 };
    if let Some(quality) = codec.quality {
        encoder.flags |= AV_CODEC_FLAG_QSCALE.cast_signed();
        encoder.global_quality = quality * FF_QP2LAMBDA;
    }
    // 0: as many as there are processors. Threads for frames, which Motion JPEG has alone, would
    // keep a frame each.
    encoder.thread_count = i32::from(codec.encoder == MJPEG.encoder);
    encoder.thread_type = FF_THREAD_SLICE;
    // SAFETY: a muxer's format is static.
    if unsafe { &*muxer.oformat }.flags & AVFMT_GLOBALHEADER != 0 {
        encoder.flags |= AV_CODEC_FLAG_GLOBAL_HEADER.cast_signed();
    }
    let mut options = Options::new(codec.options)?;
    // SAFETY: all are valid.
    check(unsafe { avcodec_open2(encoder.as_mut_ptr(), found, options.as_mut_ptr()) })?;
    Ok(encoder)
}

/// Writes the file's header.
fn begin(
    muxer: &mut Owned<AVFormatContext>,
    container: Container,
    encoder: &Owned<AVCodecContext>,
) -> Result<(), Error> {
    // SAFETY: the muxer is valid.
    let stream = unsafe { avformat_new_stream(muxer.as_mut_ptr(), ptr::null()) };
    // SAFETY: null or the new stream, which nobody else has.
    let stream = unsafe { stream.as_mut() }.ok_or(Error::NO_MEMORY)?;
    stream.time_base = encoder.time_base;
    // SAFETY: a stream's parameters and the encoder are valid.
    check(unsafe { avcodec_parameters_from_context(stream.codecpar, encoder.as_ptr()) })?;
    let mut options = match container {
        Container::Mp4 => {
            // SAFETY: a muxer's own options begin with their class; the texts have their 0.
            let hybrid = unsafe {
                av_opt_find(
                    muxer.priv_data,
                    c"hybrid_fragmented".as_ptr(),
                    c"movflags".as_ptr(),
                    0,
                    0,
                )
            };
            // Fragments. FFmpeg 7.1 adds an ordinary index at the end.
            let flags = if hybrid.is_null() {
                c"frag_custom+empty_moov+default_base_moof"
            } else {
                c"frag_custom+empty_moov+default_base_moof+hybrid_fragmented"
            };
            Options::new(&[(c"movflags", flags)])?
        }
        Container::Mkv => Options::new(&[(c"cluster_time_limit", c"1000")])?,
        Container::Avi => Options::new(&[])?,
    };
    // SAFETY: all are valid.
    check(unsafe { avformat_write_header(muxer.as_mut_ptr(), options.as_mut_ptr()) })?;
    Ok(())
}

fn allocate(frame: &mut Owned<AVFrame>) -> Result<(), Error> {
    // SAFETY: the frame is valid, and has size and format.
    check(unsafe { av_frame_get_buffer(frame.as_mut_ptr(), 0) })?;
    Ok(())
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("container", &self.container)
            .field("codec", &self.codec)
            .field("shape", &self.shape)
            .finish_non_exhaustive()
    }
}
