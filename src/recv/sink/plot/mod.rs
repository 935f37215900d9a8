//! `--plot`: the delays as a drawing, over time and as a histogram.

mod canvas;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Rectangle};
use plotters::prelude::{BindKeyPoints, DrawingBackend, IntoLogRange, SVGBackend};
use plotters::style::{BLACK, Color, RGBColor};
use shm_frame::{Frame, Name};

use self::canvas::Canvas;
use super::{Shared, Sink, own_path};
use crate::picture;
use crate::recv::args::Args;
use crate::recv::histogram::{self, Bin};
use crate::recv::tally::Tally;
use crate::units::{counted, ms};

/// The size of a drawing, in pixels.
const SIZE: (u32, u32) = (960, 720);
/// The most points that are kept: twice the columns of a drawing.
const POINTS: usize = 1920;
/// The shortest delay that is drawn, in ms: the axis is logarithmic and has no 0.
const LEAST: f64 = 0.001;
/// Where the last bin is drawn to end: an hour. The bin itself has no end.
const LAST_NS: u64 = 3_600_000_000_000;
const GRAY: RGBColor = RGBColor(160, 160, 160);

/// Keeps the delays in bounded memory, and draws them at the end.
#[derive(Debug)]
struct Plot {
    path: PathBuf,
    /// The segment's name, for the title.
    name: String,
    begin: Option<Instant>,
    points: Vec<Point>,
    /// Frames per point.
    each: usize,
    /// Frames in the last point so far.
    last: usize,
}

/// Some consecutive frames.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Point {
    /// When the first of them came, in s after the very first frame.
    seconds: f64,
    /// The shortest and the longest delay, in ms: no peak gets lost.
    min: f64,
    max: f64,
}

/// Draws a file for each stream.
struct Plots {
    path: PathBuf,
    several: bool,
}

pub(super) fn prepare(args: &Args, several: bool) -> Result<Option<Box<dyn Shared>>> {
    if args.plot.as_deref().is_some_and(|path| !is_svg(path)) {
        // What is missing is an error now, not after a long run.
        picture::load_codecs()?;
    }
    let plots = args.plot.clone().map(|path| Plots { path, several });
    Ok(plots.map(|plots| Box::new(plots) as Box<dyn Shared>))
}

fn is_svg(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "svg")
}

impl Shared for Plots {
    fn open(&self, stream: &Name) -> Result<Box<dyn Sink>> {
        let path = own_path(&self.path, stream, self.several);
        // A wrong path is an error now, not after a long run.
        fs::write(&path, "").with_context(|| format!("--plot {}", path.display()))?;
        Ok(Box::new(Plot::new(path, stream.to_string())))
    }
}

impl Sink for Plot {
    fn name(&self) -> &'static str {
        "plot"
    }

    fn wants_pixels(&self) -> bool {
        false
    }

    fn note(&mut self, frame: Frame) {
        // The age of a frame that was there before is no delay.
        if !frame.found {
            let begin = *self.begin.get_or_insert_with(Instant::now);
            self.put(begin.elapsed().as_secs_f64(), ms(frame.delay_ns).max(LEAST));
        }
    }

    fn conclude(&mut self, tally: &Tally) -> Result<()> {
        self.write(tally)
            .with_context(|| format!("--plot {}", self.path.display()))
    }
}

impl Plot {
    fn new(path: PathBuf, name: String) -> Self {
        Self {
            path,
            name,
            begin: None,
            points: Vec::new(),
            each: 1,
            last: 0,
        }
    }

    fn put(&mut self, seconds: f64, delay: f64) {
        match self.points.last_mut() {
            Some(point) if self.last < self.each => {
                point.min = point.min.min(delay);
                point.max = point.max.max(delay);
                self.last += 1;
                return;
            }
            _ => {}
        }
        if self.points.len() == POINTS {
            self.points = self
                .points
                .chunks(2)
                .map(|pair| Point {
                    seconds: pair[0].seconds,
                    min: pair.iter().map(|point| point.min).fold(f64::MAX, f64::min),
                    max: pair.iter().map(|point| point.max).fold(0.0, f64::max),
                })
                .collect();
            self.each *= 2;
        }
        self.points.push(Point {
            seconds,
            min: delay,
            max: delay,
        });
        self.last = 1;
    }

    /// Draws the delays into the file.
    fn write(&self, tally: &Tally) -> Result<()> {
        let name = &self.name;
        let title = match tally.delays.quantiles() {
            Some(delays) => {
                format!("{name}: {}, delay {delays}", counted(tally.frames, "frame"))
            }
            None => format!("{name}: no frames"),
        };
        let bins = histogram::bins(&tally.delays.times, histogram::FINE);
        let bytes = if is_svg(&self.path) {
            let mut text = String::new();
            let svg = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
            self.draw(&svg, &title, &bins)?;
            drop(svg);
            text.into_bytes()
        } else {
            let mut canvas = Canvas::new(SIZE)?;
            self.draw(&(&mut canvas).into_drawing_area(), &title, &bins)?;
            canvas.png()?
        };
        Ok(fs::write(&self.path, bytes).inspect_err(|_| {
            // Leave no half drawing.
            let _ = fs::remove_file(&self.path);
        })?)
    }

    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, Shift>,
        title: &str,
        bins: &[Bin],
    ) -> Result<()> {
        let drawn = || {
            area.fill(&plotters::style::WHITE)?;
            let rest = area.titled(title, ("sans-serif", 18))?;
            let (over_time, spread) = rest.split_vertically((SIZE.1 - 30) / 2);
            self.draw_over_time(&over_time)?;
            draw_spread(&spread, bins)?;
            area.present()
        };
        drawn().map_err(|error| anyhow!("cannot draw it: {error}"))
    }

    fn draw_over_time<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        let end = self
            .points
            .last()
            .map_or(1.0, |point| point.seconds.max(1e-3));
        let min = self
            .points
            .iter()
            .map(|point| point.min)
            .fold(f64::MAX, f64::min);
        let max = self
            .points
            .iter()
            .map(|point| point.max)
            .fold(0.0, f64::max);
        let delays = if self.points.is_empty() {
            0.1..1.0
        } else {
            // A margin, so that the extremes are not drawn on the border.
            min * 0.9..max * 1.1
        };
        let marks = marks(&delays);
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .x_label_area_size(45)
            .y_label_area_size(70)
            .build_cartesian_2d(0.0..end, delays.log_scale().with_key_points(marks))?;
        chart
            .configure_mesh()
            .light_line_style(plotters::style::WHITE)
            .bold_line_style(GRAY.mix(0.5))
            .axis_style(BLACK)
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 15))
            .x_desc("time since the first frame (s)")
            .y_desc("delay (ms)")
            .y_label_formatter(&|delay| label(*delay))
            .draw()?;
        // A dot at the longest delay, and a stroke down to the shortest.
        chart.draw_series(self.points.iter().map(|point| {
            let line = vec![(point.seconds, point.min), (point.seconds, point.max)];
            PathElement::new(line, BLACK)
        }))?;
        let dots = self.points.iter().map(|point| (point.seconds, point.max));
        chart.draw_series(dots.map(|at| Circle::new(at, 2, BLACK.filled())))?;
        Ok(())
    }
}

type Drawn<B> = std::result::Result<
    (),
    plotters::drawing::DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>,
>;

#[expect(clippy::cast_precision_loss, reason = "to be drawn")]
fn draw_spread<B: DrawingBackend>(area: &DrawingArea<B, Shift>, bins: &[Bin]) -> Drawn<B> {
    let delay = |ns: u64| (ns as f64 / 1e6).max(LEAST);
    let delays = match bins {
        [] => 0.1..1.0,
        [first, .., last] => delay(first.from_ns)..delay(last.to_ns.min(LAST_NS)),
        [only] => delay(only.from_ns)..delay(only.to_ns.min(LAST_NS)),
    };
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(1);
    let marks = marks(&delays);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(70)
        .build_cartesian_2d(
            delays.log_scale().with_key_points(marks),
            0..most + most / 20 + 1,
        )?;
    chart
        .configure_mesh()
        .light_line_style(plotters::style::WHITE)
        .bold_line_style(GRAY.mix(0.5))
        .axis_style(BLACK)
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .x_desc("delay (ms)")
        .y_desc("frames")
        .x_label_formatter(&|delay| label(*delay))
        .draw()?;
    for style in [GRAY.filled(), BLACK.stroke_width(1)] {
        chart.draw_series(bins.iter().map(|bin| {
            Rectangle::new(
                [
                    (delay(bin.from_ns), 0),
                    (delay(bin.to_ns.min(LAST_NS)), bin.count),
                ],
                style,
            )
        }))?;
    }
    Ok(())
}

/// The marks of an axis of delays: 1, 2 and 5 in every decade; if these are less than three, all
/// digits; if those are less than three, tenths.
fn marks(delays: &Range<f64>) -> Vec<f64> {
    let within = |steps: &[f64]| -> Vec<f64> {
        (-3..7)
            .flat_map(|decade| steps.iter().map(move |step| step * 10_f64.powi(decade)))
            .filter(|mark| delays.contains(mark))
            .collect()
    };
    let digits: Vec<f64> = (1..10).map(f64::from).collect();
    let tenths: Vec<f64> = (10..100).map(|tenths| f64::from(tenths) / 10.0).collect();
    [&[1.0, 2.0, 5.0][..], &digits]
        .into_iter()
        .map(within)
        .find(|marks| marks.len() > 2)
        .unwrap_or_else(|| within(&tenths))
}

/// A mark's number, without rounding errors such as 0.30000000000000004.
fn label(delay: f64) -> String {
    ((delay * 1e4).round() / 1e4).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_kept_in_bounded_memory_with_its_extremes() {
        let mut plot = Plot::new(PathBuf::new(), String::new());
        for i in 0..100_000_u32 {
            let delay = match i {
                777 => 9.0,
                99_999 => 0.01,
                _ => 1.0,
            };
            plot.put(f64::from(i), delay);
        }
        assert!(plot.points.len() <= POINTS && plot.points.len() >= POINTS / 2);
        let peak = plot.points.iter().find(|point| point.max > 8.0).unwrap();
        assert!((700.0..=777.0).contains(&peak.seconds), "{peak:?}");
        assert!(plot.points.iter().any(|point| point.min < 0.1));
        assert!(plot.points.is_sorted_by_key(|point| point.seconds));
    }

    #[test]
    fn every_axis_has_marks() {
        for delays in [0.1..1.0, 0.001..5000.0, 0.11..0.14, 3.0..4.4] {
            let marks = marks(&delays);
            assert!((3..30).contains(&marks.len()), "{delays:?}: {marks:?}");
        }
    }
}
