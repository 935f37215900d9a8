//! A gray picture to draw on. Its letters are OpenCV's own: no fonts are needed on the machine.

use anyhow::{Result, ensure};
use opencv::core::{
    CV_8UC1, Mat, MatTrait, MatTraitConst, MatTraitConstManual, Point, Rect, Scalar, Vector,
};
use opencv::{imgcodecs, imgproc};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
};

const FONT: i32 = imgproc::FONT_HERSHEY_SIMPLEX;
/// The font's line height at scale 1, in pixels.
const FONT_SIZE: f64 = 30.0;

pub(crate) struct Canvas {
    picture: Mat,
}

type Drawn = std::result::Result<(), DrawingErrorKind<opencv::Error>>;

impl Canvas {
    pub(crate) fn new(size: (u32, u32)) -> Result<Self> {
        let (width, height) = (size.0.try_into()?, size.1.try_into()?);
        let picture = Mat::new_rows_cols_with_default(height, width, CV_8UC1, Scalar::all(255.0))?;
        Ok(Self { picture })
    }

    pub(crate) fn png(&self) -> Result<Vec<u8>> {
        crate::picture::load_codecs()?;
        let mut png = Vector::<u8>::new();
        ensure!(
            imgcodecs::imencode_def(".png", &self.picture, &mut png)?,
            "OpenCV cannot encode it"
        );
        Ok(png.into())
    }
}

/// The gray level of a colour on white.
fn level(color: BackendColor) -> Scalar {
    let (r, g, b) = color.rgb;
    let opaque = 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
    Scalar::all(opaque * color.alpha + 255.0 * (1.0 - color.alpha))
}

fn thickness(style: &impl BackendStyle) -> i32 {
    i32::try_from(style.stroke_width()).unwrap_or(1).max(1)
}

fn point((x, y): BackendCoord) -> Point {
    Point::new(x, y)
}

fn done(result: opencv::Result<()>) -> Drawn {
    result.map_err(DrawingErrorKind::DrawingError)
}

fn text_size(text: &str, style: &impl BackendTextStyle) -> opencv::Result<(i32, i32, i32)> {
    let mut below = 0;
    let size = imgproc::get_text_size(text, FONT, style.size() / FONT_SIZE, 1, &mut below)?;
    Ok((size.width, size.height, below))
}

impl DrawingBackend for &mut Canvas {
    type ErrorType = opencv::Error;

    fn get_size(&self) -> (u32, u32) {
        (
            self.picture.cols().unsigned_abs(),
            self.picture.rows().unsigned_abs(),
        )
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Drawn {
        let one = Rect::new(at.0, at.1, 1, 1);
        done(imgproc::rectangle(
            &mut self.picture,
            one,
            level(color),
            imgproc::FILLED,
            imgproc::LINE_8,
            0,
        ))
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Drawn {
        let (color, thickness) = (level(style.color()), thickness(style));
        done(imgproc::line(
            &mut self.picture,
            point(from),
            point(to),
            color,
            thickness,
            imgproc::LINE_8,
            0,
        ))
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let path: Vec<_> = path.into_iter().collect();
        let mut pairs = path.windows(2);
        pairs.try_for_each(|pair| self.draw_line(pair[0], pair[1], style))
    }

    fn draw_circle<S: BackendStyle>(
        &mut self,
        center: BackendCoord,
        radius: u32,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let radius = i32::try_from(radius).unwrap_or(i32::MAX);
        let thickness = if fill {
            imgproc::FILLED
        } else {
            thickness(style)
        };
        let color = level(style.color());
        done(imgproc::circle(
            &mut self.picture,
            point(center),
            radius,
            color,
            thickness,
            imgproc::LINE_8,
            0,
        ))
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let thickness = if fill {
            imgproc::FILLED
        } else {
            thickness(style)
        };
        let color = level(style.color());
        done(imgproc::rectangle_points(
            &mut self.picture,
            point(from),
            point(to),
            color,
            thickness,
            imgproc::LINE_8,
            0,
        ))
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> std::result::Result<(u32, u32), DrawingErrorKind<opencv::Error>> {
        let (width, height, below) =
            text_size(text, style).map_err(DrawingErrorKind::DrawingError)?;
        Ok((width.unsigned_abs(), (height + below).unsigned_abs()))
    }

    fn draw_text<S: BackendTextStyle>(&mut self, text: &str, style: &S, at: BackendCoord) -> Drawn {
        done(draw_text(&mut self.picture, text, style, at))
    }
}

/// Draws a text. It is drawn upright on a picture of its own first; then each pixel is put where it
/// belongs after the text is turned.
fn draw_text(
    picture: &mut Mat,
    text: &str,
    style: &impl BackendTextStyle,
    at: BackendCoord,
) -> opencv::Result<()> {
    let (width, height, below) = text_size(text, style)?;
    let tall = height + below;
    let mut upright = Mat::new_rows_cols_with_default(tall, width, CV_8UC1, Scalar::all(255.0))?;
    let baseline = Point::new(0, height);
    let (scale, black) = (style.size() / FONT_SIZE, Scalar::all(0.0));
    imgproc::put_text(
        &mut upright,
        text,
        baseline,
        FONT,
        scale,
        black,
        1,
        imgproc::LINE_AA,
        false,
    )?;
    let anchor = style.anchor();
    let left = match anchor.h_pos {
        HPos::Left => 0,
        HPos::Center => -width / 2,
        HPos::Right => -width,
    };
    let top = match anchor.v_pos {
        VPos::Top => 0,
        VPos::Center => -tall / 2,
        VPos::Bottom => -tall,
    };
    for (y, row) in (0..).zip(
        upright
            .data_bytes()?
            .chunks(upright.cols().unsigned_abs() as usize),
    ) {
        for (x, &level) in (0..).zip(row) {
            let (x, y) = style.transform().transform(left + x, top + y);
            let (x, y) = (at.0 + x, at.1 + y);
            if level < 255 && (0..picture.cols()).contains(&x) && (0..picture.rows()).contains(&y) {
                *picture.at_2d_mut::<u8>(y, x)? = level;
            }
        }
    }
    Ok(())
}
