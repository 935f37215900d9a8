//! A window that shows pictures, on an X11 display.
//!
//! It speaks with the display by `x11rb`, and not through OpenCV's windows. These are made by
//! another toolkit in each build, differ in what they say of their size, lose all but the last of
//! several keys, keep the wheel for themselves, and end the process when the display does.
//!
//! | job | file |
//! |---|---|
//! | the display: the window, its events, pictures on their way | here |
//! | keys as characters | `keyboard` |
//! | pictures and captions, side by side, in the window's size | `canvas` |
//! | which part of the pictures is shown | `look` |

mod canvas;
mod keyboard;
mod look;

use std::borrow::Cow;
use std::env;
use std::process;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use opencv::core::{MatTraitConstManual, Point, Size};
use x11rb::connection::Connection;
use x11rb::image::{BitsPerPixel, ColorComponent, Image, ImageOrder, PixelLayout, ScanlinePad};
use x11rb::properties::WmSizeHints;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    self, AtomEnum, ButtonIndex, ClientMessageData, ClientMessageEvent, ConfigureWindowAux,
    ConnectionExt, CreateGCAux, CreateWindowAux, EventMask, InputFocus, PropMode, Screen,
    WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

use self::canvas::Placed;
pub(crate) use self::canvas::{Tile, mosaic};
use self::keyboard::Keyboard;
use self::look::Look;

// Names that clients and window managers agreed on, in ICCCM and EWMH (freedesktop.org); and one of
// our own, changed after each picture: the display tells of it when the picture is drawn.
x11rb::atom_manager! {
    Atoms: AtomsCookie {
        WM_PROTOCOLS,
        WM_DELETE_WINDOW,
        UTF8_STRING,
        _NET_SUPPORTING_WM_CHECK,
        _NET_WM_NAME,
        _NET_WM_PID,
        _NET_WM_PING,
        _NET_WM_STATE,
        _NET_WM_STATE_FULLSCREEN,
        _SHM_FRAME_DRAWN,
    }
}

/// The value of `_NET_WM_STATE` that turns a state on if it is off, and off if it is on.
const TOGGLE: u32 = 2;

/// What somebody did to a window, beyond what it obeys by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Closed it.
    End,
    /// Pressed a key.
    Key(char),
}

/// The keys that every window obeys by itself.
pub(crate) const KEYS: &str = "f full screen, + - 0 or the wheel zoom, arrows or the mouse move";

/// The largest a window is at first, in pixels, and the smallest.
const FIRST_SIZE: (i32, i32) = (1280, 720);
const LEAST_SIZE: (i32, i32) = (160, 120);
/// Smaller pictures are enlarged at first, until one side is as long as this.
const FIRST_SIDE: i32 = 320;
/// The size of a window that has nothing to show yet.
const EMPTY: (i32, i32) = (640, 360);
/// How long a display may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// An open window. It closes when dropped.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is known or not, whatever the others are"
)]
pub(crate) struct Window {
    connection: RustConnection,
    atoms: Atoms,
    root: xproto::Window,
    /// The size of the display.
    display: Size,
    depth: u8,
    layout: PixelLayout,
    id: xproto::Window,
    context: xproto::Gcontext,
    keyboard: Keyboard,
    /// A window manager gives the focus, and makes windows as large as the display.
    is_managed: bool,
    size: Size,
    /// Where the window was before it became as large as the display by itself.
    before: Option<(Point, Size)>,
    /// What is shown, kept by the display.
    pixmap: Option<(xproto::Pixmap, Size)>,
    /// The display has not said yet that it drew the last picture.
    drawing: bool,
    /// Something changed that the last picture does not show.
    stale: bool,
    /// No frame was shown yet, so the window has not the size for one.
    empty: bool,
    look: Look,
    placed: Vec<Placed>,
    cursor: Option<Point>,
    /// The mouse holds the picture.
    held: bool,
}

impl Window {
    /// Opens a window with this title.
    pub(crate) fn open(title: &str) -> Result<Self> {
        match display() {
            Ok(display) => Self::on(display, title).context("no window"),
            Err(why) => bail!("no window: {why}"),
        }
    }

    /// Opens a window on a display.
    pub(crate) fn on(display: Display, title: &str) -> Result<Self> {
        let Display { connection, screen } = display;
        let atoms = Atoms::new(&connection)?.reply()?;
        let screen = &connection.setup().roots[screen];
        let layout = layout(screen)?;
        let (root, depth) = (screen.root, screen.root_depth);
        let on_display = Size::new(
            screen.width_in_pixels.into(),
            screen.height_in_pixels.into(),
        );
        let size = Size::new(EMPTY.0, EMPTY.1);
        let (id, context) = (connection.generate_id()?, connection.generate_id()?);
        let values = CreateWindowAux::new()
            .background_pixel(screen.black_pixel)
            .event_mask(
                EventMask::EXPOSURE
                    | EventMask::STRUCTURE_NOTIFY
                    | EventMask::PROPERTY_CHANGE
                    | EventMask::KEY_PRESS
                    | EventMask::BUTTON_PRESS
                    | EventMask::BUTTON_RELEASE
                    | EventMask::POINTER_MOTION
                    | EventMask::LEAVE_WINDOW,
            );
        connection.create_window(
            depth,
            id,
            root,
            0,
            0,
            side(size.width),
            side(size.height),
            0,
            WindowClass::INPUT_OUTPUT,
            screen.root_visual,
            &values,
        )?;
        connection.create_gc(context, id, &CreateGCAux::new().graphics_exposures(0))?;
        name(&connection, &atoms, id, title)?;
        let mut hints = WmSizeHints::new();
        hints.min_size = Some(LEAST_SIZE);
        hints.set_normal_hints(&connection, id)?;
        let check = atoms._NET_SUPPORTING_WM_CHECK;
        let check = connection.get_property(false, root, check, AtomEnum::WINDOW, 0, 1)?;
        let is_managed = check.reply()?.value_len > 0;
        let keyboard = Keyboard::read(&connection)?;
        connection.map_window(id)?;
        connection.flush()?;
        Ok(Self {
            connection,
            atoms,
            root,
            display: on_display,
            depth,
            layout,
            id,
            context,
            keyboard,
            is_managed,
            size,
            before: None,
            pixmap: None,
            drawing: false,
            stale: false,
            empty: true,
            look: Look::default(),
            placed: Vec::new(),
            cursor: None,
            held: false,
        })
    }

    /// Whether the display has drawn the last picture. Another one is only in its way before.
    pub(crate) fn is_ready(&self) -> bool {
        !self.drawing
    }

    /// Whether what is shown is to be shown again, since the window changed.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// The tile and the pixel under the cursor, while the picture is zoomed.
    pub(crate) fn pointed(&self) -> Option<(usize, Point)> {
        let cursor = self.cursor.filter(|_| self.look.is_zoomed())?;
        let placed = self.placed.iter().enumerate();
        let mut pixels = placed.filter_map(|(tile, placed)| Some((tile, placed.pixel(cursor)?)));
        pixels.next()
    }

    /// Shows pictures side by side, each as large as fits. The first ones of all give the window
    /// its size.
    pub(crate) fn show(&mut self, tiles: &[Tile<'_>]) -> Result<()> {
        let is_picture = tiles.iter().any(|tile| tile.picture.is_some());
        if is_picture && std::mem::take(&mut self.empty) {
            self.resize(first_size(canvas::natural(tiles)))?;
        }
        let (canvas, placed) = canvas::compose(tiles, self.size, self.look)?;
        self.placed = placed;
        self.put(canvas.data_bytes()?)?;
        self.stale = false;
        Ok(())
    }

    fn resize(&mut self, size: Size) -> Result<()> {
        let values = ConfigureWindowAux::new()
            .width(u32::from(side(size.width)))
            .height(u32::from(side(size.height)));
        self.connection.configure_window(self.id, &values)?;
        // If the window manager wants another size, it says so, and all is drawn again.
        self.size = size;
        Ok(())
    }

    /// Sends a picture of the window's size, blue first, four bytes to the pixel.
    fn put(&mut self, pixels: &[u8]) -> Result<()> {
        let connection = &self.connection;
        let (width, height) = (side(self.size.width), side(self.size.height));
        let pixmap = match self.pixmap {
            Some((pixmap, size)) if size == self.size => pixmap,
            other => {
                if let Some((old, _)) = other {
                    connection.free_pixmap(old)?;
                }
                let pixmap = connection.generate_id()?;
                connection.create_pixmap(self.depth, pixmap, self.id, width, height)?;
                self.pixmap = Some((pixmap, self.size));
                pixmap
            }
        };
        let ours = standard();
        let depth = if self.layout == ours { self.depth } else { 24 };
        let image = Image::new(
            width,
            height,
            ScanlinePad::Pad32,
            depth,
            BitsPerPixel::B32,
            ImageOrder::LsbFirst,
            Cow::Borrowed(pixels),
        )?;
        let image = if self.layout == ours {
            Cow::Borrowed(&image)
        } else {
            image.reencode(ours, self.layout, connection.setup())?
        };
        for sent in image.put(connection, pixmap, self.context, 0, 0)? {
            sent.ignore_error();
        }
        self.uncover(pixmap)?;
        // Answered by an event, when the display has come so far.
        let drawn = self.atoms._SHM_FRAME_DRAWN;
        connection.change_property8(PropMode::REPLACE, self.id, drawn, AtomEnum::STRING, b"")?;
        connection.flush()?;
        self.drawing = true;
        Ok(())
    }

    /// Copies what the display keeps into the window.
    fn uncover(&self, pixmap: xproto::Pixmap) -> Result<()> {
        let (width, height) = (side(self.size.width), side(self.size.height));
        self.connection
            .copy_area(pixmap, self.id, self.context, 0, 0, 0, 0, width, height)?;
        Ok(())
    }

    /// What was done to the window since the last call. An error: the display is gone.
    pub(crate) fn input(&mut self) -> Result<Vec<Input>> {
        let mut inputs = Vec::new();
        while let Some(event) = self.connection.poll_for_event().context(GONE)? {
            inputs.extend(self.obey(&event)?);
        }
        self.connection.flush().context(GONE)?;
        Ok(inputs)
    }

    fn obey(&mut self, event: &Event) -> Result<Option<Input>> {
        match event {
            Event::Expose(_) => {
                if let Some((pixmap, _)) = self.pixmap {
                    self.uncover(pixmap)?;
                }
            }
            Event::ConfigureNotify(event) if event.window == self.id => {
                let size = Size::new(event.width.max(1).into(), event.height.max(1).into());
                self.stale |= size != self.size;
                self.size = size;
            }
            Event::MapNotify(_) => self.take_focus()?,
            Event::PropertyNotify(event) if event.atom == self.atoms._SHM_FRAME_DRAWN => {
                self.drawing = false;
            }
            Event::MappingNotify(_) => self.keyboard = Keyboard::read(&self.connection)?,
            Event::KeyPress(event) => {
                if let Some(key) = self.keyboard.char(event.detail, event.state) {
                    return self.press(key);
                }
            }
            Event::ButtonPress(event) => {
                let at = Point::new(event.event_x.into(), event.event_y.into());
                self.cursor = Some(at);
                // The wheel is two buttons.
                match ButtonIndex::from(event.detail) {
                    ButtonIndex::M1 => {
                        self.take_focus()?;
                        self.held = true;
                    }
                    ButtonIndex::M4 => self.zoom(true),
                    ButtonIndex::M5 => self.zoom(false),
                    _ => {}
                }
            }
            Event::ButtonRelease(event) if event.detail == u8::from(ButtonIndex::M1) => {
                self.held = false;
            }
            Event::MotionNotify(event) => {
                let at = Point::new(event.event_x.into(), event.event_y.into());
                let from = self.cursor.replace(at);
                if let (Some(from), true) = (from, self.held) {
                    self.drag(from, at);
                }
                self.stale |= self.look.is_zoomed();
            }
            Event::LeaveNotify(_) => {
                self.cursor = None;
                self.stale |= self.look.is_zoomed();
            }
            Event::ClientMessage(event) if event.type_ == self.atoms.WM_PROTOCOLS => {
                let protocol = event.data.as_data32()[0];
                if protocol == self.atoms.WM_DELETE_WINDOW {
                    return Ok(Some(Input::End));
                }
                if protocol == self.atoms._NET_WM_PING {
                    self.answer(event)?;
                }
            }
            Event::DestroyNotify(event) if event.window == self.id => bail!("{GONE}"),
            _ => {}
        }
        Ok(None)
    }

    /// Obeys a key, or passes it on.
    fn press(&mut self, key: char) -> Result<Option<Input>> {
        /// The part of what is shown that an arrow moves by.
        const STEP: f64 = 0.2;
        match key {
            'f' => self.fill_display()?,
            '+' | '=' => self.zoom(true),
            '-' => self.zoom(false),
            '0' => self.look = Look::default(),
            '←' => self.look.shift(-STEP, 0.0),
            '→' => self.look.shift(STEP, 0.0),
            '↑' => self.look.shift(0.0, -STEP),
            '↓' => self.look.shift(0.0, STEP),
            _ => return Ok(Some(Input::Key(key))),
        }
        self.stale = true;
        Ok(None)
    }

    /// Zooms in or out. What is under the cursor stays there.
    fn zoom(&mut self, nearer: bool) {
        let under = self.cursor.and_then(|cursor| {
            let mut placed = self.placed.iter();
            placed.find_map(|placed| placed.at(cursor))
        });
        self.look.zoom(nearer, under);
        self.stale = true;
    }

    fn drag(&mut self, from: Point, to: Point) {
        if let Some(placed) = self.placed.iter().find(|placed| placed.at(from).is_some()) {
            let (right, down) = placed.parts(to - from);
            self.look.shift(-right, -down);
        }
    }

    /// Takes the keyboard's focus if nobody else gives it.
    fn take_focus(&self) -> Result<()> {
        if !self.is_managed {
            let time = x11rb::CURRENT_TIME;
            let sent = self
                .connection
                .set_input_focus(InputFocus::PARENT, self.id, time)?;
            sent.ignore_error();
        }
        Ok(())
    }

    /// Makes the window as large as the display, or as it was before.
    fn fill_display(&mut self) -> Result<()> {
        if self.is_managed {
            let full = self.atoms._NET_WM_STATE_FULLSCREEN;
            let data = ClientMessageData::from([TOGGLE, full, 0, 1, 0]);
            let event = ClientMessageEvent::new(32, self.id, self.atoms._NET_WM_STATE, data);
            let mask = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
            self.connection.send_event(false, self.root, mask, event)?;
            return Ok(());
        }
        let (place, size) = if let Some(before) = self.before.take() {
            before
        } else {
            let now = self.connection.get_geometry(self.id)?.reply()?;
            self.before = Some((Point::new(now.x.into(), now.y.into()), self.size));
            (Point::new(0, 0), self.display)
        };
        let values = ConfigureWindowAux::new().x(place.x).y(place.y);
        self.connection.configure_window(self.id, &values)?;
        self.resize(size)
    }

    /// Says to a window manager that this window is well.
    fn answer(&self, ping: &ClientMessageEvent) -> Result<()> {
        let mut answer = *ping;
        answer.window = self.root;
        let mask = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
        self.connection.send_event(false, self.root, mask, answer)?;
        Ok(())
    }
}

/// What is said when the display ends before the window does.
const GONE: &str = "the display is gone";

/// Gives a window its title, and the rest that window managers want to know.
fn name(connection: &RustConnection, atoms: &Atoms, id: xproto::Window, title: &str) -> Result<()> {
    let text = |property, kind, text: &str| {
        connection.change_property8(PropMode::REPLACE, id, property, kind, text.as_bytes())
    };
    text(AtomEnum::WM_NAME.into(), AtomEnum::STRING.into(), title)?;
    text(atoms._NET_WM_NAME, atoms.UTF8_STRING, title)?;
    let program = title.split(' ').next().unwrap_or(title);
    let class = format!("{program}\0{program}\0");
    text(AtomEnum::WM_CLASS.into(), AtomEnum::STRING.into(), &class)?;
    let numbers = |property, kind: AtomEnum, numbers: &[u32]| {
        connection.change_property32(PropMode::REPLACE, id, property, kind, numbers)
    };
    numbers(atoms._NET_WM_PID, AtomEnum::CARDINAL, &[process::id()])?;
    let protocols = [atoms.WM_DELETE_WINDOW, atoms._NET_WM_PING];
    numbers(atoms.WM_PROTOCOLS, AtomEnum::ATOM, &protocols)?;
    Ok(())
}

/// Where the colours are in a pixel of the display.
fn layout(screen: &Screen) -> Result<PixelLayout> {
    let visuals = screen
        .allowed_depths
        .iter()
        .flat_map(|depth| &depth.visuals);
    let visual = visuals
        .filter(|visual| visual.visual_id == screen.root_visual)
        .find_map(|visual| PixelLayout::from_visual_type(*visual).ok());
    visual.context("the display has no true colours")
}

/// Where the colours are in our pixels: blue is the first byte.
fn standard() -> PixelLayout {
    let colour = |shift| ColorComponent::new(8, shift).expect("8 of 32 bits");
    PixelLayout::new(colour(16), colour(8), colour(0))
}

/// The size of a window for pictures of that size.
fn first_size(picture: Size) -> Size {
    let (width, height) = FIRST_SIZE;
    let size = if picture.width > width || picture.height > height {
        canvas::within(picture, Size::new(width, height))
    } else {
        // By whole factors, so that each pixel is as large as the next.
        let factor = (FIRST_SIDE / picture.width.max(picture.height)).max(1);
        Size::new(picture.width * factor, picture.height * factor)
    };
    Size::new(size.width.max(LEAST_SIZE.0), size.height.max(LEAST_SIZE.1))
}

/// A side of a window as the protocol has it.
fn side(side: i32) -> u16 {
    u16::try_from(side.max(1)).unwrap_or(u16::MAX)
}

/// A connection with a display.
pub(crate) struct Display {
    connection: RustConnection,
    screen: usize,
}

/// Whether the environment names a display, of whatever kind.
pub(crate) fn is_named() -> bool {
    let names = ["DISPLAY", "WAYLAND_DISPLAY"].map(env::var_os);
    names.into_iter().flatten().any(|name| !name.is_empty())
}

/// The display that the environment names, or why there is none, for people.
pub(crate) fn display() -> Result<Display, String> {
    // Somebody who asks Qt for no display has none, or wants none.
    let platform = env::var("QT_QPA_PLATFORM").unwrap_or_default();
    if matches!(platform.split(':').next(), Some("offscreen" | "minimal")) {
        return Err(format!("QT_QPA_PLATFORM={platform} asks for no display"));
    }
    let Some(name) = env::var_os("DISPLAY").filter(|display| !display.is_empty()) else {
        return Err(match env::var_os("WAYLAND_DISPLAY") {
            Some(_) => "there is no X11 display (DISPLAY is not set), and Wayland alone is not \
                        supported: start Xwayland"
                .to_owned(),
            None => "there is no display (DISPLAY is not set)".to_owned(),
        });
    };
    // In a thread, since a display may accept a connection and never answer.
    let (answer, answered) = mpsc::channel();
    thread::spawn(move || {
        // If nobody waits any more, the connection is closed again.
        let _ = answer.send(x11rb::connect(None));
    });
    let failed = |why: &str| format!("display {} does not answer: {why}", name.display());
    match answered.recv_timeout(PATIENCE) {
        Ok(Ok((connection, screen))) => Ok(Display { connection, screen }),
        Ok(Err(error)) => Err(failed(&error.to_string())),
        Err(_) => Err(failed(&format!("tried for {} s", PATIENCE.as_secs()))),
    }
}
