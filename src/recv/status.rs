//! The values of the status line.

use shm_frame::Frame;

use crate::recv::tally::Tally;
use crate::terminal::{Item, Line};
use crate::units::ms;

/// The status line while no frame comes. With a stream's name if there are several.
pub(super) fn stale(name: Option<&str>, text: String) -> Line {
    let why = Item {
        alarming: true,
        ..Item::new(text.clone(), text)
    };
    Line(named(name).into_iter().chain([why]).collect())
}

fn named(name: Option<&str>) -> Option<Item> {
    name.map(|name| Item::new(name.to_owned(), name.to_owned()))
}

/// The status line after a frame, the most important values first.
/// With its stream's name if there are several.
pub(super) fn line(of: Option<&str>, frame: Frame, tally: &Tally) -> Line {
    let (number, shape) = (frame.number, frame.shape.to_string());
    let (fps, delay) = (tally.pace.fps(), ms(frame.delay_ns));
    // The word stays when the line is short: it is the number that people look for.
    let name = if frame.found { "age" } else { "delay" };
    let mut items: Vec<_> = named(of).into_iter().collect();
    items.extend([
        Item::new(format!("frame {number}"), number.to_string()),
        Item::new(shape.clone(), shape),
        Item::new(format!("{fps:.1} frames/s"), format!("{fps:.1}/s")),
        Item::new(
            format!("{name} {delay:.3} ms"),
            format!("{name} {delay:.3} ms"),
        ),
        Item::age_on_glass(),
    ]);
    if let Some(delays) = tally.delays.quantiles() {
        for (name, ms) in [("p50", delays.p50), ("p99", delays.p99)] {
            let text = format!("{name} {ms:.3}");
            items.push(Item::new(text.clone(), text));
        }
    }
    let Tally { skipped, torn, .. } = tally;
    items.push(Item::new(
        format!("skipped {skipped}"),
        format!("skip {skipped}"),
    ));
    items.push(Item {
        alarming: *torn > 0,
        ..Item::new(format!("torn {torn}"), format!("torn {torn}"))
    });
    Line(items)
}
