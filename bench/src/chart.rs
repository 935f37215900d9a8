//! The tables that the README shows, as bars: drawn so that black ink on white paper is enough.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::contender::Group;
use crate::report::short;
use crate::result::{Row, Spread, Table};
use crate::scenario::{Metric, SHAPES};

const WIDTH: f64 = 760.0;
const LABELS: f64 = 190.0;
const BAR: f64 = 16.0;
const ROW: f64 = 22.0;
/// For the number at a bar's end.
const NUMBER: f64 = 60.0;

/// Draws `bench-*.svg`.
pub fn draw(tables: &[Table], directory: &Path) -> Result<()> {
    for (id, title) in [
        ("asleep", "From before the first byte until the receiver has the frame, 60 frames/s, receiver asleep"),
        ("busy", "From before the first byte until the receiver has the frame, 60 frames/s, receiver busy-waiting"),
        ("flat", "Frames that arrive whole, flat out"),
    ] {
        let panels = SHAPES.map(|shape| format!("{id}/{shape}"));
        let panels = tables.iter().filter(|table| panels.contains(&table.id)).collect::<Vec<_>>();
        if !panels.is_empty() {
            let path = directory.join(format!("bench-{id}.svg"));
            fs::write(&path, chart(title, &panels))?;
            println!("drawn: {}", path.display());
        }
    }
    Ok(())
}

/// Rows worth a bar: the best floor, ours, and the peers.
fn rows(table: &Table) -> Vec<(&Row, Spread)> {
    let best = table.best(Group::Floor).map(|row| &row.label);
    let shown = table.rows.iter().filter(|row| match row.group {
        Group::Floor => Some(&row.label) == best,
        Group::Ours => !row.label.contains("source at") && !row.label.contains("1 slot"),
        Group::Peer => true,
    });
    shown.filter_map(|row| Some((row, row.value(table.metric)?))).collect()
}

fn chart(title: &str, panels: &[&Table]) -> String {
    let mut body = String::new();
    let mut y = 24.0;
    text(&mut body, 0.0, y, "font-weight=\"bold\"", title);
    for table in panels {
        let rows = rows(table);
        let most = rows.iter().map(|(_, value)| value.median).fold(0.0, f64::max);
        let unit = if table.metric == Metric::Rate { "frames/s: longer is better" } else { "us: shorter is better" };
        y += 34.0;
        let shape = table.id.split('/').next_back().unwrap_or("");
        text(&mut body, LABELS, y, "font-style=\"italic\"", &format!("{shape}, {unit}"));
        y += 8.0;
        for (row, value) in rows {
            let scale = (WIDTH - LABELS - NUMBER) / most;
            let middle = y + BAR - 4.0;
            text(&mut body, LABELS - 8.0, middle, "text-anchor=\"end\"", &row.label);
            let fill = match row.group {
                Group::Floor => "url(#hatched)",
                Group::Ours => "black",
                Group::Peer => "#ccc",
            };
            let length = value.median * scale;
            let _ = writeln!(
                body,
                r#"<rect x="{LABELS}" y="{y:.1}" width="{length:.1}" height="{BAR}" fill="{fill}" stroke="black"/>"#
            );
            text(&mut body, LABELS + length + 6.0, middle, "", &short(value.median));
            y += ROW;
        }
    }
    let height = y + 10.0;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" font-family="sans-serif" font-size="13">
<defs><pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="white"/><rect width="2" height="6" fill="black"/></pattern></defs>
<rect width="100%" height="100%" fill="white"/>
{body}</svg>
"##
    )
}

fn text(body: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(body, r#"<text x="{x:.1}" y="{y:.1}" {style}>{text}</text>"#);
}
