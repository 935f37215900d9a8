//! A window that shows frames.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use opencv::core::{self, Mat, MatTraitConst, Point, Rect, Scalar, Size};
use opencv::{highgui, imgproc};
use shm_frame::Shape;
use x11rb::rust_connection::RustConnection;

use crate::picture as image;

/// An open window. It closes when dropped.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is known or not, whatever the others are"
)]
pub(crate) struct Window {
    title: String,
    /// Nothing was shown yet, so the window has no size of its own.
    fresh: bool,
    /// No frame was shown yet, so it has not the size for one.
    empty: bool,
    /// It was visible.
    appeared: bool,
    /// The picture's area is as large as the window. If not, it is at most as large as the last
    /// picture, as in OpenCV 4.10, and a window that grew must be noticed by a look.
    filled: bool,
    /// The picture's area when it was last shown.
    area: Rect,
    /// When to look next, if nothing changes before.
    next_look: Instant,
}

/// What somebody did to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Closed it, or pressed q or Esc.
    End,
    /// Pressed another key.
    Key(char),
}

/// The largest a window is at first, in pixels, and the smallest.
const FIRST_SIZE: (i32, i32) = (1280, 720);
const LEAST_SIZE: (i32, i32) = (160, 120);
/// Smaller pictures are enlarged at first, until one side is as long as this.
const FIRST_SIDE: i32 = 320;

/// The shortest time between two looks whether the window grew, and how many times longer than a
/// look it must be: a look at a large window is slow.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
const LOOK_RATIO: u32 = 50;

impl Window {
    pub(crate) fn open(title: &str) -> Result<Self> {
        // Held until Qt has its own connection: an X server without clients may start anew, and
        // drop who comes meanwhile.
        let _held = match display() {
            Ok(connection) => connection,
            Err(why) => bail!("no window: {why}"),
        };
        // The proportions are kept by what is drawn: Qt would not say how much room it leaves.
        let flags = highgui::WINDOW_NORMAL | highgui::WINDOW_FREERATIO | highgui::WINDOW_GUI_NORMAL;
        highgui::named_window(title, flags).context("no window")?;
        Ok(Self {
            title: title.to_owned(),
            fresh: true,
            empty: true,
            appeared: false,
            filled: false,
            area: Rect::default(),
            next_look: Instant::now(),
        })
    }

    /// Shows a frame as large as fits in the window, with a caption on it, if there is one.
    pub(crate) fn show(&mut self, pixels: &[u8], shape: Shape, caption: &str) -> Result<()> {
        let resize = std::mem::take(&mut self.empty);
        self.show_in(resize, pixels, shape, caption)
    }

    /// Shows something else than a frame: the window takes the size of the first frame later.
    pub(crate) fn show_empty(&mut self, pixels: &[u8], shape: Shape, caption: &str) -> Result<()> {
        self.show_in(self.fresh, pixels, shape, caption)
    }

    /// Shows a picture, at first in a window of a size for it.
    fn show_in(&mut self, resize: bool, pixels: &[u8], shape: Shape, caption: &str) -> Result<()> {
        let frame = Size::new(shape.width(), shape.height());
        let look = resize || self.is_stale()?;
        self.area = self.area()?;
        let mut room = self.area.size();
        if resize {
            room = first_size(frame);
            highgui::resize_window(&self.title, room.width, room.height)?;
            self.area = self.area()?;
        }
        // No picture was shown that could make the area so large.
        if std::mem::take(&mut self.fresh) {
            self.filled = self.area.size() == room;
        }
        // Scaled here, so that a caption is as large on a frame of 8K as on one of a pixel.
        let size = within(frame, room);
        let mut shown = Mat::default();
        let interpolation = if size.width > frame.width {
            // Pixels that are looked at closely are to be told apart.
            imgproc::INTER_NEAREST
        } else {
            imgproc::INTER_AREA
        };
        imgproc::resize(
            &image::view(pixels, shape)?,
            &mut shown,
            size,
            0.0,
            0.0,
            interpolation,
        )?;
        if !caption.is_empty() {
            draw_caption(&mut shown, caption)?;
        }
        let mut framed = in_the_middle(&shown, room)?;
        let begin = Instant::now();
        let look = look && !self.filled;
        if look {
            // Double every pixel in both directions. If the window has room for that, the area
            // grows. If not, Qt leaves out every second pixel, and the picture looks the same.
            let once = std::mem::take(&mut framed);
            let twice = Size::new(2 * room.width, 2 * room.height);
            imgproc::resize(&once, &mut framed, twice, 0.0, 0.0, imgproc::INTER_NEAREST)?;
        }
        highgui::imshow(&self.title, &framed).context("cannot show the frame")?;
        if look {
            self.next_look = Instant::now() + LOOK_PERIOD.max(begin.elapsed() * LOOK_RATIO);
        }
        Ok(())
    }

    /// Whether to show the picture again, since its area changed or a look is due.
    pub(crate) fn is_stale(&self) -> Result<bool> {
        let is_due = !self.filled && Instant::now() >= self.next_look;
        Ok(is_due || self.area()? != self.area)
    }

    /// Where the picture is on the display, in pixels.
    fn area(&self) -> Result<Rect> {
        let area = highgui::get_window_image_rect(&self.title)?;
        let (width, height) = (area.width.max(1), area.height.max(1));
        Ok(Rect::new(area.x, area.y, width, height))
    }

    /// Lets the window work for a moment, and tells what was done to it.
    pub(crate) fn input(&mut self) -> Result<Option<Input>> {
        let key = highgui::wait_key(1)?;
        let visible = highgui::get_window_property(&self.title, highgui::WND_PROP_VISIBLE)? > 0.0;
        // A window is not visible at once; one that was, and is not any more, was closed.
        self.appeared |= visible;
        let key = u32::try_from(key).ok().and_then(char::from_u32);
        Ok(match key {
            _ if self.appeared && !visible => Some(Input::End),
            Some('q' | '\x1b') => Some(Input::End),
            key => key.map(Input::Key),
        })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // It goes with the process anyway.
        let _ = highgui::destroy_window(&self.title);
    }
}

/// The size of a window for frames of that size.
fn first_size(frame: Size) -> Size {
    let (width, height) = FIRST_SIZE;
    let size = if frame.width > width || frame.height > height {
        within(frame, Size::new(width, height))
    } else {
        // By whole factors, so that each pixel is as large as the next.
        let factor = (FIRST_SIDE / frame.width.max(frame.height)).max(1);
        Size::new(frame.width * factor, frame.height * factor)
    };
    Size::new(size.width.max(LEAST_SIZE.0), size.height.max(LEAST_SIZE.1))
}

/// The largest size of a frame's proportions that fits in the room.
fn within(frame: Size, room: Size) -> Size {
    let scale = (f64::from(room.width) / f64::from(frame.width))
        .min(f64::from(room.height) / f64::from(frame.height));
    let scaled = |side, room: i32| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "no larger than the room's side"
        )]
        let scaled = (f64::from(side) * scale).round() as i32;
        scaled.clamp(1, room)
    };
    Size::new(
        scaled(frame.width, room.width),
        scaled(frame.height, room.height),
    )
}

/// The picture in the middle of the room, which is dark where the picture's proportions are others.
fn in_the_middle(picture: &Mat, room: Size) -> Result<Mat> {
    let (beside, above) = (room.width - picture.cols(), room.height - picture.rows());
    let mut framed = Mat::default();
    core::copy_make_border(
        picture,
        &mut framed,
        above / 2,
        above - above / 2,
        beside / 2,
        beside - beside / 2,
        core::BORDER_CONSTANT,
        Scalar::default(),
    )?;
    Ok(framed)
}

/// Writes a line at the top of a picture, smaller if it does not fit, on a dark ground.
fn draw_caption(picture: &mut Mat, caption: &str) -> Result<()> {
    const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;
    const SCALE: f64 = 0.5;
    const MARGIN: i32 = 6;
    if picture.channels() == 1 {
        let gray = picture.clone();
        imgproc::cvt_color_def(&gray, picture, imgproc::COLOR_GRAY2BGR)?;
    }
    let (width, height) = (picture.cols(), picture.rows());
    let natural = imgproc::get_text_size(caption, FONT, SCALE, 1, &mut 0)?;
    let scale = SCALE * (f64::from(width - 2 * MARGIN) / f64::from(natural.width)).clamp(0.3, 1.0);
    let text = imgproc::get_text_size(caption, FONT, scale, 1, &mut 0)?;
    let ground = Rect::new(
        0,
        0,
        (text.width + 2 * MARGIN).min(width),
        (text.height + 2 * MARGIN).min(height),
    );
    let opaque = |level| Scalar::new(level, level, level, 255.0);
    imgproc::rectangle(
        picture,
        ground,
        opaque(0.0),
        imgproc::FILLED,
        imgproc::LINE_8,
        0,
    )?;
    imgproc::put_text(
        picture,
        caption,
        Point::new(MARGIN, MARGIN + text.height),
        FONT,
        scale,
        opaque(255.0),
        1,
        imgproc::LINE_AA,
        false,
    )?;
    Ok(())
}

/// Whether a window could be opened, and if not, why. Asked first, since Qt, which is under
/// highgui, aborts the process when the display does not answer. Gives the connection that was
/// opened to ask, unless Qt was told to use something else.
pub(crate) fn display() -> Result<Option<RustConnection>, String> {
    if std::env::var_os("QT_QPA_PLATFORM").is_some() {
        return Ok(None);
    }
    let Some(display) = std::env::var_os("DISPLAY").filter(|display| !display.is_empty()) else {
        return Err("there is no display (DISPLAY is not set)".to_owned());
    };
    match x11rb::connect(None) {
        Ok((connection, _)) => Ok(Some(connection)),
        Err(error) => Err(format!(
            "display {} does not answer: {error}",
            display.display()
        )),
    }
}
