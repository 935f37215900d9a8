//! Names of files that a user makes up: `{name}-{frame:06}-{captured}.png`.

use shm_frame::{Frame, Name};

use super::Kind;
use crate::recv::wall::Wall;

/// Text and fields, and the kind of file that the ending asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::recv) struct Pattern {
    parts: Vec<Part>,
    kind: Option<Kind>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A field, and to how many digits it is filled with zeros.
    Field(Field, usize),
}

/// What of a frame can be in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Frame,
    Captured,
    Sent,
    Received,
    Width,
    Height,
}

const FIELDS: [(&str, Field); 7] = [
    ("name", Field::Name),
    ("frame", Field::Frame),
    ("captured", Field::Captured),
    ("sent", Field::Sent),
    ("received", Field::Received),
    ("width", Field::Width),
    ("height", Field::Height),
];

/// What fills a pattern.
#[derive(Debug)]
pub(super) struct Values<'a> {
    pub stream: &'a Name,
    pub frame: &'a Frame,
    pub wall: Wall,
}

impl Pattern {
    /// The names of files if no others are asked for.
    pub(super) fn usual(several: bool) -> Self {
        let name = [Part::Field(Field::Name, 0), Part::Text("-".to_owned())];
        let mut parts = if several { name.to_vec() } else { Vec::new() };
        parts.push(Part::Field(Field::Frame, 6));
        Self { parts, kind: None }
    }

    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (field, after) = after.split_once('}').ok_or("a { without a }")?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(field_of(field)?);
            rest = after;
        }
        let mut kind = None;
        if let Some((stem, ending)) = rest.rsplit_once('.') {
            kind = Some(Kind::of_ending(ending).ok_or_else(|| {
                format!("no kind of file ends in .{ending}: there are .png, .tiff, .npy and .jpg")
            })?);
            rest = stem;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts, kind })
    }

    /// The kind of file that the ending asks for. `None`: one that holds the frame exactly.
    pub(super) fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// The name of a frame's file, without its ending.
    pub(super) fn fill(&self, values: &Values<'_>) -> String {
        let filled = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field, digits) => match values.get(*field) {
                Value::Text(text) => text,
                Value::Number(number) => format!("{number:0digits$}"),
            },
        });
        filled.collect()
    }
}

/// A field like `frame:06`.
fn field_of(text: &str) -> Result<Part, String> {
    let (name, digits) = text.split_once(':').unwrap_or((text, "0"));
    let known = FIELDS.into_iter().find(|(field, _)| *field == name);
    let digits = digits.strip_prefix('0').and_then(|digits| match digits {
        "" => Some(0),
        digits => digits
            .parse()
            .ok()
            .filter(|digits| (1..=20).contains(digits)),
    });
    match (known, digits) {
        (Some((_, Field::Name)), Some(1..)) | (Some(_), None) => Err(format!(
            "{{{text}}} is no field: only numbers are filled, as in {{frame:06}}"
        )),
        (Some((_, field)), Some(digits)) => Ok(Part::Field(field, digits)),
        (None, _) => {
            let fields = FIELDS.map(|(field, _)| format!("{{{field}}}")).join(", ");
            Err(format!("{{{text}}} is no field: there are {fields}"))
        }
    }
}

enum Value {
    Text(String),
    Number(u64),
}

impl Values<'_> {
    fn get(&self, field: Field) -> Value {
        let Self {
            stream,
            frame,
            wall,
        } = self;
        let side = |side: i32| Value::Number(side.unsigned_abs().into());
        match field {
            Field::Name => Value::Text(stream.to_string().trim_start_matches('/').to_owned()),
            Field::Frame => Value::Number(frame.number),
            Field::Captured => match frame.captured_ns {
                Some(ns) => Value::Number(ns),
                None => Value::Text("unknown".to_owned()),
            },
            Field::Sent => Value::Number(wall.begun_ns(frame)),
            Field::Received => Value::Number(wall.received_ns(frame)),
            Field::Width => side(frame.shape.width()),
            Field::Height => side(frame.shape.height()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_fields_and_an_ending() {
        let kind = |text| Pattern::parse(text).unwrap().kind;
        assert_eq!(kind("{name}-{frame:06}-{captured}.PNG"), Some(Kind::Png));
        assert_eq!(kind("{frame}.jpeg"), Some(Kind::Jpeg));
        assert_eq!(kind("v1.2-{frame}"), None);
        let parts = Pattern::parse("a{frame:04}").unwrap().parts;
        let field = Part::Field(Field::Frame, 4);
        let texts = ["a", ""].map(|text| Part::Text(text.to_owned()));
        assert_eq!(parts, [texts[0].clone(), field, texts[1].clone()]);
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_what_there_is() {
        for (text, says) in [
            (
                "{number}.png",
                "{name}, {frame}, {captured}, {sent}, {received}, {width}, {height}",
            ),
            ("{frame", "a { without a }"),
            ("{frame:6}.png", "as in {frame:06}"),
            ("{frame:099}.png", "as in {frame:06}"),
            ("{name:06}.png", "as in {frame:06}"),
            ("{frame}.bmp", ".png, .tiff, .npy and .jpg"),
            ("{}.png", "is no field"),
        ] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
