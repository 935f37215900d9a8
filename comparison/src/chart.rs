//! The tables that the README shows, as bars: drawn so that black ink on white paper is enough.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::Result;
use crate::contender::Group;
use crate::report::short;
use crate::result::Table;
use crate::scenario::{Metric, SHAPES};

const WIDTH: f64 = 720.0;
/// Where bars begin, and the most that they may take.
const LEFT: f64 = 170.0;
const LONGEST: f64 = 480.0;
const BAR: f64 = 16.0;
const ROW: f64 = 22.0;
/// Times ours that a bar may show before it is cut, so that the others can be told apart.
const CUT: f64 = 6.0;

/// Draws `bench-*.svg`.
pub fn draw(tables: &[Table], directory: &Path) -> Result<()> {
    const DELAY: &str = "us from before the first byte is written until the receiver has the frame";
    for (id, title, unit) in [
        ("asleep", "60 frames/s, receiver asleep", DELAY),
        ("busy", "60 frames/s, receiver busy-waiting", DELAY),
        ("flat", "Flat out", "whole frames/s at the receiver"),
    ] {
        let ids = SHAPES.map(|shape| format!("{id}/{shape}"));
        let panels = tables.iter().filter(|table| ids.contains(&table.id));
        let path = directory.join(format!("bench-{id}.svg"));
        fs::write(&path, chart(title, unit, panels))?;
        println!("drawn: {}", path.display());
    }
    Ok(())
}

fn chart<'a>(title: &str, unit: &str, panels: impl Iterator<Item = &'a Table>) -> String {
    let mut body = String::new();
    let mut y = 24.0;
    text(&mut body, 8.0, y, "font-weight=\"bold\"", title);
    y += 18.0;
    text(&mut body, 8.0, y, "", unit);
    for table in panels {
        y += 34.0;
        let shape = table.id.split('/').next_back().unwrap_or_default();
        let better = match table.metric {
            Metric::Rate => "longer is better",
            _ => "shorter is better",
        };
        text(
            &mut body,
            LEFT,
            y,
            "font-style=\"italic\"",
            &format!("{shape}: {better}"),
        );
        y += 8.0;
        let bars = bars(table);
        let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
        let ours = bars.iter().find(|bar| bar.group == Group::Ours);
        let shown = ours.map_or(most, |ours| most.min(CUT * ours.value));
        for bar in bars {
            bar.draw(&mut body, y, shown);
            y += ROW;
        }
    }
    let height = y + 10.0;
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" font-family="sans-serif" font-size="13">
<defs><pattern id="hatched" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="white"/><rect width="2" height="6" fill="black"/></pattern></defs>
<rect width="100%" height="100%" fill="white"/>
{body}</svg>
"#
    )
}

struct Bar {
    label: String,
    group: Group,
    value: f64,
}

/// The best floor, ours, and the peers.
fn bars(table: &Table) -> Vec<Bar> {
    let best = table.best(Group::Floor).map(|row| &row.label);
    let rows = table.rows.iter().filter(|row| match row.group {
        Group::Floor => Some(&row.label) == best,
        Group::Ours => !row.label.contains("source at") && !row.label.contains("1 slot"),
        Group::Peer => true,
    });
    let bar = |row: &crate::result::Row| {
        let label = match row.group {
            Group::Floor => "best bare ring",
            Group::Ours | Group::Peer => row.label.trim_end_matches(", 4 slots"),
        };
        Some(Bar {
            label: label.into(),
            group: row.group,
            value: row.median(table.metric)?,
        })
    };
    rows.filter_map(bar).collect()
}

impl Bar {
    /// With `shown` as long as a bar may be.
    fn draw(&self, body: &mut String, y: f64, shown: f64) {
        let fill = match self.group {
            Group::Floor => "url(#hatched)",
            Group::Ours => "black",
            Group::Peer => "#ccc",
        };
        let length = LONGEST * (self.value / shown).min(1.0);
        let _ = writeln!(
            body,
            r#"<rect x="{LEFT}" y="{y:.1}" width="{length:.1}" height="{BAR}" fill="{fill}" stroke="black"/>"#
        );
        if self.value > shown {
            let at = LEFT + length - 24.0;
            let _ = writeln!(
                body,
                r#"<path d="M{at:.1} {:.1}l8 {h}m4 0l-8 -{h}" stroke="white" stroke-width="4" fill="none"/>"#,
                y - 2.0,
                h = BAR + 4.0,
            );
        }
        let line = y + BAR - 4.0;
        text(body, LEFT - 8.0, line, "text-anchor=\"end\"", &self.label);
        text(body, LEFT + length + 6.0, line, "", &short(self.value));
    }
}

fn text(body: &mut String, x: f64, y: f64, style: &str, text: &str) {
    let _ = writeln!(body, r#"<text x="{x:.1}" y="{y:.1}" {style}>{text}</text>"#);
}
