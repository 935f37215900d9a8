//! Converts frames from one pixel format to another, by libswscale.

use std::ptr::NonNull;

use ffmpeg_sys_the_third::{
    AV_PIX_FMT_FLAG_PAL, AV_PIX_FMT_FLAG_RGB, AVColorRange, AVColorSpace, AVFrame,
    AVPixFmtDescriptor, AVPixelFormat, SWS_BICUBIC, SwsContext, av_opt_set_int,
    av_pix_fmt_desc_get, sws_alloc_context, sws_freeContext, sws_getCoefficients,
    sws_getColorspaceDetails, sws_init_context, sws_scale_frame, sws_setColorspaceDetails,
};
use std::ffi::CStr;
use std::ptr;

use super::owned::Owned;
use super::{Error, check};

/// Films from this width or height on are HD. If a film states no colour matrix, it is that of HD,
/// BT.709, for HD films, and that of BT.601 for others.
pub(super) const HD: (i32, i32) = (1280, 577);
/// Smaller pictures are converted by one thread, since waking others takes longer.
const SMALL: i64 = 640 * 480;

/// A conversion, with all that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Conversion {
    pub width: i32,
    pub height: i32,
    pub from: AVPixelFormat,
    pub to: AVPixelFormat,
    /// The colour matrix of the YUV side.
    pub space: AVColorSpace,
    /// The range of values of the YUV side.
    pub range: AVColorRange,
    /// The result is YUV. If not, the source is, if anything.
    pub to_yuv: bool,
}

impl Conversion {
    /// The conversion of a decoded frame.
    pub(super) fn of(frame: &AVFrame, to: AVPixelFormat) -> Self {
        let is_hd = frame.width >= HD.0 || frame.height >= HD.1;
        let unstated = [AVColorSpace::UNSPECIFIED, AVColorSpace::RESERVED];
        Self {
            width: frame.width,
            height: frame.height,
            from: AVPixelFormat(frame.format),
            to,
            space: if unstated.contains(&frame.colorspace) && is_hd {
                AVColorSpace::BT709
            } else {
                frame.colorspace
            },
            range: frame.color_range,
            to_yuv: false,
        }
    }
}

/// FFmpeg's description of a format.
pub(super) fn describe(format: AVPixelFormat) -> Option<&'static AVPixFmtDescriptor> {
    // SAFETY: takes any number.
    let description = unsafe { av_pix_fmt_desc_get(format) };
    // SAFETY: null or a static object.
    unsafe { description.as_ref() }
}

/// Whether a format has a colour matrix and a range.
fn is_yuv(format: AVPixelFormat) -> bool {
    let not = u64::from((AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_PAL).unsigned_abs());
    describe(format).is_some_and(|description| description.flags & not == 0)
}

/// Converts frames of one kind.
#[derive(Debug)]
pub(super) struct Scaler {
    context: NonNull<SwsContext>,
    conversion: Conversion,
}

// SAFETY: the context is not bound to the thread that made it, and has one owner.
unsafe impl Send for Scaler {}

impl Scaler {
    pub(super) fn new(conversion: Conversion) -> Result<Self, Error> {
        // SAFETY: takes nothing.
        let context = unsafe { sws_alloc_context() };
        let scaler = Self {
            context: NonNull::new(context).ok_or(Error::NO_MEMORY)?,
            conversion,
        };
        let Conversion {
            width,
            height,
            from,
            to,
            ..
        } = conversion;
        // 0: as many as there are processors.
        let threads = i64::from(i64::from(width) * i64::from(height) < SMALL);
        for (option, value) in [
            (c"srcw", width.into()),
            (c"srch", height.into()),
            (c"src_format", from.0.into()),
            (c"dstw", width.into()),
            (c"dsth", height.into()),
            (c"dst_format", to.0.into()),
            // The default of ffmpeg.
            (c"sws_flags", SWS_BICUBIC.into()),
            (c"threads", threads),
        ] {
            scaler.set(option, value)?;
        }
        // SAFETY: the context is valid, and its options are set.
        check(unsafe { sws_init_context(context, ptr::null_mut(), ptr::null_mut()) })?;
        scaler.set_colours();
        Ok(scaler)
    }

    fn set(&self, option: &CStr, value: i64) -> Result<(), Error> {
        // SAFETY: the context is valid, and begins with its class, as the call wants.
        check(unsafe { av_opt_set_int(self.context.as_ptr().cast(), option.as_ptr(), value, 0) })?;
        Ok(())
    }

    /// Sets matrix and range, if they are stated, as ffmpeg's scale filter does.
    fn set_colours(&self) {
        let Conversion {
            from,
            to,
            space,
            range,
            to_yuv,
            ..
        } = self.conversion;
        if !is_yuv(if to_yuv { to } else { from }) {
            return;
        }
        let context = self.context.as_ptr();
        let (mut inverse, mut table) = (ptr::null_mut(), ptr::null_mut());
        let (mut from_full, mut to_full) = (0, 0);
        let (mut brightness, mut contrast, mut saturation) = (0, 0, 0);
        // SAFETY: the context is valid, and all else are places for values.
        let got = unsafe {
            sws_getColorspaceDetails(
                context,
                &raw mut inverse,
                &raw mut from_full,
                &raw mut table,
                &raw mut to_full,
                &raw mut brightness,
                &raw mut contrast,
                &raw mut saturation,
            )
        };
        if got < 0 {
            return;
        }
        // SAFETY: takes any number, and returns a static table.
        let stated = unsafe { sws_getCoefficients(i32::try_from(space.0).unwrap_or_default()) };
        if to_yuv {
            // Pixels of frames use the full range.
            from_full = 1;
        }
        match range {
            AVColorRange::JPEG if to_yuv => to_full = 1,
            AVColorRange::JPEG => from_full = 1,
            AVColorRange::MPEG if to_yuv => to_full = 0,
            AVColorRange::MPEG => from_full = 0,
            _ => {}
        }
        // SAFETY: the context is valid, and the tables are static. Fails where there is nothing to
        // set.
        unsafe {
            sws_setColorspaceDetails(
                context, stated, from_full, stated, to_full, brightness, contrast, saturation,
            )
        };
    }

    /// Whether this scaler was made for a conversion.
    pub(super) fn does(&self, conversion: &Conversion) -> bool {
        self.conversion == *conversion
    }

    /// Converts a frame into another one, whose memory is allocated if needed. libswscale may write
    /// a few bytes beyond the end of rows, so that memory is always FFmpeg's own.
    pub(super) fn run(&self, from: &Owned<AVFrame>, to: &mut Owned<AVFrame>) -> Result<(), Error> {
        // SAFETY: all are valid, and `from` is of the kind that the context was made for: see
        // `does`.
        check(unsafe { sws_scale_frame(self.context.as_ptr(), to.as_mut_ptr(), from.as_ptr()) })?;
        Ok(())
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        // SAFETY: the context is ours.
        unsafe { sws_freeContext(self.context.as_ptr()) };
    }
}
