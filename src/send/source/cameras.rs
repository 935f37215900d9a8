//! `--camera list`: the cameras of this machine, and what they can give.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use linuxvideo::format::{FrameIntervals, FrameSizes, PixelFormat};
use linuxvideo::{BufType, CapabilityFlags, Device, Fract};

use crate::console::Console;
use crate::event::CameraLine;
use crate::terminal::printable;

/// What is said when there is no camera.
pub(super) const NONE: &str =
    "there is no camera, no /dev/video* at all: plug one in, or start the container with --device";

/// A camera, and all that it can give.
struct Camera {
    path: String,
    name: String,
    modes: Vec<Mode>,
}

/// A format and a size with their rates, in frames per second.
#[derive(Debug, PartialEq)]
struct Mode {
    format: String,
    /// The smallest width and height, if there are sizes between.
    least: Option<(u32, u32)>,
    most: (u32, u32),
    rates: Rates,
}

#[derive(Debug, PartialEq)]
enum Rates {
    Single(Vec<f64>),
    Range(f64, f64),
}

/// The devices that may be cameras, in order of their numbers.
pub(super) fn devices() -> io::Result<Vec<PathBuf>> {
    let mut devices = Vec::new();
    for entry in fs::read_dir("/dev")? {
        let path = entry?.path();
        if path
            .as_os_str()
            .as_encoded_bytes()
            .starts_with(b"/dev/video")
        {
            devices.push(path);
        }
    }
    devices.sort_by_key(|path| (path.as_os_str().len(), path.clone()));
    Ok(devices)
}

/// Lists the cameras.
pub(in crate::send) fn list(console: &Console) -> Result<()> {
    let mut found = false;
    for path in devices().context("--camera list: /dev")? {
        match describe(&path) {
            Ok(Some(camera)) => {
                found = true;
                tell(console, &camera)?;
            }
            // Of one camera there may be devices for metadata, or for the other direction.
            Ok(None) => {}
            Err(error) => {
                found = true;
                let why = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        format!("{error}: its group, often video, must be one of yours")
                    }
                    _ => error.to_string(),
                };
                console.say(&format!("{}: {why}", path.display()));
            }
        }
    }
    if !found {
        console.say(NONE);
    }
    Ok(())
}

/// What a device can give. `None`: it is no camera.
fn describe(path: &Path) -> io::Result<Option<Camera>> {
    let device = Device::open(path)?;
    let can = device.capabilities()?;
    if !can
        .device_capabilities()
        .contains(CapabilityFlags::VIDEO_CAPTURE)
    {
        return Ok(None);
    }
    let mut modes = Vec::new();
    for format in device.formats(BufType::VIDEO_CAPTURE) {
        let format = format?.pixel_format();
        // Some drivers don't tell their sizes.
        if let Ok(sizes) = device.frame_sizes(format) {
            add(&mut modes, &device, format, &sizes);
        }
    }
    Ok(Some(Camera {
        path: path.to_string_lossy().into_owned(),
        name: can.card().to_owned(),
        modes,
    }))
}

/// Adds the sizes of a format, with their rates.
fn add(modes: &mut Vec<Mode>, device: &Device, format: PixelFormat, sizes: &FrameSizes) {
    let name = format.as_fourcc();
    let name = String::from_utf8_lossy(&name).trim_end().to_owned();
    let mut mode = |least, most: (u32, u32)| {
        modes.push(Mode {
            format: name.clone(),
            least,
            most,
            rates: rates(device, format, most),
        });
    };
    match sizes {
        FrameSizes::Discrete(sizes) => {
            for size in sizes {
                mode(None, (size.width(), size.height()));
            }
        }
        FrameSizes::Stepwise(sizes) | FrameSizes::Continuous(sizes) => mode(
            Some((sizes.min_width(), sizes.min_height())),
            (sizes.max_width(), sizes.max_height()),
        ),
    }
}

/// The rates of a size. The driver tells periods.
fn rates(device: &Device, format: PixelFormat, (width, height): (u32, u32)) -> Rates {
    let rate = |period: &Fract| f64::from(period.denominator()) / f64::from(period.numerator());
    match device.frame_intervals(format, width, height) {
        Ok(FrameIntervals::Discrete(periods)) => {
            Rates::Single(periods.iter().map(|period| rate(period.fract())).collect())
        }
        Ok(FrameIntervals::Stepwise(periods) | FrameIntervals::Continuous(periods)) => {
            Rates::Range(rate(periods.max()), rate(periods.min()))
        }
        Err(_) => Rates::Single(Vec::new()),
    }
}

fn tell(console: &Console, camera: &Camera) -> Result<()> {
    if console.is_json() {
        let lines = camera.modes.iter().flat_map(|mode| lines(camera, mode));
        return lines.into_iter().try_for_each(|line| console.json(&line));
    }
    console.result(&format!("{}  {}", camera.path, printable(&camera.name)))?;
    camera
        .modes
        .iter()
        .try_for_each(|mode| console.result(&text(mode)))
}

/// A line of JSON for each rate.
fn lines<'a>(camera: &'a Camera, mode: &'a Mode) -> Vec<CameraLine<'a>> {
    let line = |fps, min_fps| CameraLine {
        device: &camera.path,
        name: &camera.name,
        format: &mode.format,
        width: mode.most.0,
        height: mode.most.1,
        fps,
        min_width: mode.least.map(|(width, _)| width),
        min_height: mode.least.map(|(_, height)| height),
        min_fps,
    };
    match &mode.rates {
        Rates::Single(rates) if rates.is_empty() => vec![line(None, None)],
        Rates::Single(rates) => rates.iter().map(|rate| line(Some(*rate), None)).collect(),
        Rates::Range(least, most) => vec![line(Some(*most), Some(*least))],
    }
}

/// A mode for people: `YUYV  640x480     30, 15 frames/s`.
fn text(mode: &Mode) -> String {
    let rounded = |rate: &f64| ((rate * 100.0).round() / 100.0).to_string();
    let (width, height) = mode.most;
    let size = match mode.least {
        None => format!("{width}x{height}"),
        Some((least_width, least_height)) => {
            format!("{least_width}x{least_height} to {width}x{height}")
        }
    };
    let rates = match &mode.rates {
        Rates::Single(rates) if rates.is_empty() => "rates unknown".to_owned(),
        Rates::Single(rates) => {
            let rates: Vec<_> = rates.iter().map(rounded).collect();
            format!("{} frames/s", rates.join(", "))
        }
        Rates::Range(least, most) => {
            format!("{} to {} frames/s", rounded(least), rounded(most))
        }
    };
    format!("  {:<4}  {size:<9}  {rates}", printable(&mode.format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_sizes_and_rates_are_told_as_ranges() {
        let camera = Camera {
            path: "/dev/video0".to_owned(),
            name: "camera".to_owned(),
            modes: Vec::new(),
        };
        let mode = Mode {
            format: "YUYV".to_owned(),
            least: Some((16, 8)),
            most: (1920, 1080),
            rates: Rates::Range(1.0, 30_000.0 / 1001.0),
        };
        assert_eq!(
            text(&mode),
            "  YUYV  16x8 to 1920x1080  1 to 29.97 frames/s"
        );
        let line = serde_json::to_value(&lines(&camera, &mode)[0]).unwrap();
        assert_eq!(
            (&line["min_height"], &line["min_fps"]),
            (&8.into(), &1.0.into())
        );
    }
}
