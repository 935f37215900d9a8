//! A window that shows frames.

use anyhow::{Context, Result, bail};
use opencv::highgui;
use shm_frame::Shape;
use x11rb::rust_connection::RustConnection;

use super::image;

/// An open window. It closes when dropped.
#[derive(Debug)]
pub(crate) struct Window {
    title: String,
    /// Nothing was shown yet, so the window has no size of its own.
    fresh: bool,
    /// It was visible.
    appeared: bool,
}

/// The largest a window is at first, in pixels.
const FIRST_SIZE: (i32, i32) = (1280, 720);

impl Window {
    pub(crate) fn open(title: &str) -> Result<Self> {
        // Held until Qt has its own connection: an X server without clients may start anew, and drop who comes meanwhile.
        let _held = match display() {
            Ok(connection) => connection,
            Err(why) => bail!("no window: {why}"),
        };
        let flags = highgui::WINDOW_NORMAL | highgui::WINDOW_KEEPRATIO | highgui::WINDOW_GUI_NORMAL;
        highgui::named_window(title, flags).context("no window")?;
        Ok(Self {
            title: title.to_owned(),
            fresh: true,
            appeared: false,
        })
    }

    pub(crate) fn show(&mut self, pixels: &[u8], shape: Shape) -> Result<()> {
        if std::mem::take(&mut self.fresh) {
            let (width, height) = (shape.width(), shape.height());
            let shrink = (f64::from(FIRST_SIZE.0) / f64::from(width))
                .min(f64::from(FIRST_SIZE.1) / f64::from(height))
                .min(1.0);
            let scaled = |side| {
                #[expect(clippy::cast_possible_truncation, reason = "no larger than the side")]
                let scaled = (f64::from(side) * shrink).round() as i32;
                scaled.max(1)
            };
            highgui::resize_window(&self.title, scaled(width), scaled(height))?;
        }
        highgui::imshow(&self.title, &image::view(pixels, shape)?).context("cannot show the frame")
    }

    /// Lets the window work for a moment. `false`: somebody closed it, or pressed q or Esc.
    pub(crate) fn is_open(&mut self) -> Result<bool> {
        const ESC: i32 = 27;
        let key = highgui::wait_key(1)?;
        let visible = highgui::get_window_property(&self.title, highgui::WND_PROP_VISIBLE)? > 0.0;
        // A window is not visible at once; one that was, and is not any more, was closed.
        self.appeared |= visible;
        Ok(key != i32::from(b'q') && key != ESC && (visible || !self.appeared))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // It goes with the process anyway.
        let _ = highgui::destroy_window(&self.title);
    }
}

/// Whether a window could be opened, and if not, why. Asked first, since Qt, which is under highgui, aborts the process when
/// the display does not answer. Gives the connection that was opened to ask, unless Qt was told to use something else.
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
