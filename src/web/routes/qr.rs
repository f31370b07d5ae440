//! `GET /{key}/qr`: the QR code of a short URL.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use qrcode::{Color, EcLevel, QrCode, types::QrError};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use crate::{
    gate::Gate,
    shortener::Shortener,
    web::{
        extract::{accept::preferred, body::Query, link_key::LinkKey, service_url::ServiceUrl},
        respond::error::{ApiError, ErrorBody, ErrorResponses},
        routes::redirect::FollowErrors,
    },
};

/// The allowed image sizes, in pixels.
const SIZES: std::ops::RangeInclusive<u16> = 64..=2048;

/// The allowed margins, in modules. ISO/IEC 18004 requires a margin of four modules.
const MARGINS: std::ops::RangeInclusive<u16> = 0..=16;

/// The maximum number of queued codes.
///
/// Drawing a code takes a few milliseconds of CPU time.
const MAX_QUEUED: usize = 64;

/// A queue for drawing QR codes.
///
/// It draws one code at a time, on a thread that serves no connections.
#[derive(Clone)]
pub struct Drawing(Arc<Gate>);

impl Default for Drawing {
    fn default() -> Self {
        Self(Arc::new(Gate::new(1, MAX_QUEUED)))
    }
}

impl Drawing {
    /// Draws a code to embed in a page.
    ///
    /// It returns `None` if the queue is full or drawing fails.
    pub(crate) async fn inline(&self, short_url: String) -> Option<String> {
        let draw = move || draw(&short_url, EcLevel::M, Format::Svg, 300, 4);
        let svg = self.0.run(draw).await.ok()?.ok()?;
        String::from_utf8(svg).ok()
    }

    /// Draws a code, and returns it as an image response.
    pub(crate) async fn image(
        &self,
        short_url: String,
        query: QrQuery,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        let (size, margin) = (query.size.unwrap_or(300), query.margin.unwrap_or(4));
        if !SIZES.contains(&size) || !MARGINS.contains(&margin) {
            return Err(ApiError::InvalidQuery("size must be 64 to 2048, and margin 0 to 16".into()));
        }
        let level = match query.ecc {
            Correction::L => EcLevel::L,
            Correction::M => EcLevel::M,
            Correction::Q => EcLevel::Q,
            Correction::H => EcLevel::H,
        };
        let format =
            query.format.unwrap_or_else(|| match preferred(headers, &["image/svg+xml", "image/png"]) {
                "image/png" => Format::Png,
                _ => Format::Svg,
            });
        let image = self.0.run(move || draw(&short_url, level, format, size, margin)).await??;
        let media_type = match format {
            Format::Svg => "image/svg+xml",
            Format::Png => "image/png",
        };
        let headers = [
            (header::CONTENT_TYPE, media_type),
            (header::CACHE_CONTROL, "no-cache"),
            (header::VARY, "Accept"),
        ];
        Ok((headers, image).into_response())
    }
}

/// The options for a QR code.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct QrQuery {
    /// `svg` or `png`. By default, the `Accept` header decides.
    #[serde(default)]
    #[param(inline)]
    format: Option<Format>,
    /// Maximum width and height in pixels. A PNG can be smaller, because each module is a whole number of pixels wide.
    #[serde(default)]
    #[param(minimum = 64, maximum = 2048, default = 300)]
    size: Option<u16>,
    /// Width of the blank margin, in modules.
    #[serde(default)]
    #[param(minimum = 0, maximum = 16, default = 4)]
    margin: Option<u16>,
    /// Error correction level. `L`, `M`, `Q` and `H` tolerate damage to 7, 15, 25 and 30 % of the code, respectively.
    #[serde(default)]
    #[param(inline, default = "M")]
    ecc: Correction,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Svg,
    Png,
}

#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
pub(crate) enum Correction {
    L,
    #[default]
    M,
    Q,
    H,
}

/// Return the short URL as a QR code
#[utoipa::path(
    get,
    path = "/{key}/qr",
    params(LinkKey, QrQuery),
    responses(
        (status = OK, content((String = "image/svg+xml"), (Vec<u8> = "image/png"))),
        FollowErrors,
        (status = TOO_MANY_REQUESTS, description = "`rate_limited`", body = ErrorBody),
        ErrorResponses,
    ),
)]
pub(crate) async fn qr(
    State(shortener): State<Arc<Shortener>>,
    State(drawing): State<Drawing>,
    ServiceUrl(base_url): ServiceUrl,
    headers: HeaderMap,
    LinkKey { key }: LinkKey,
    Query(query): Query<QrQuery>,
) -> Result<Response, ApiError> {
    let link = shortener.find(&key).await?;
    drawing.image(base_url.short_url(&link.key), query, &headers).await
}

fn draw(text: &str, level: EcLevel, format: Format, size: u16, margin: u16) -> Result<Vec<u8>, ApiError> {
    let code = QrCode::with_error_correction_level(text, level).map_err(|error| match error {
        QrError::DataTooLong => {
            ApiError::InvalidQuery("the short URL is too long for a QR code with this ecc".into())
        }
        error => ApiError::Internal(error.into()),
    })?;
    match format {
        Format::Svg => Ok(svg(&code, size, margin).into_bytes()),
        Format::Png => png(&code, size, margin).map_err(|error| ApiError::Internal(error.into())),
    }
}

/// Draws an SVG of `size` pixels, with all dark modules in one path.
fn svg(code: &QrCode, size: u16, margin: u16) -> String {
    let (width, margin) = (code.width(), usize::from(margin));
    let whole = width + 2 * margin;
    let mut path = String::new();
    for (line, colors) in code.to_colors().chunks(width).enumerate() {
        let mut column = 0;
        for bar in colors.chunk_by(|one, next| one == next) {
            if bar[0] == Color::Dark {
                path += &format!(
                    "M{} {}h{length}v1h-{length}z",
                    column + margin,
                    line + margin,
                    length = bar.len()
                );
            }
            column += bar.len();
        }
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{size}\" height=\"{size}\" viewBox=\"0 0 {whole} {whole}\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{whole}v{whole}H0z\"/>\
         <path d=\"{path}\"/></svg>\n"
    )
}

/// Draws a black-and-white PNG with one bit per pixel.
fn png(code: &QrCode, size: u16, margin: u16) -> Result<Vec<u8>, png::EncodingError> {
    let (width, margin, colors) = (code.width(), usize::from(margin), code.to_colors());
    let scale = (usize::from(size) / (width + 2 * margin)).max(1);
    let pixels = (width + 2 * margin) * scale;
    let mut rows = Vec::with_capacity(pixels.div_ceil(8) * pixels);
    for line in 0..width + 2 * margin {
        let is_dark = |column: usize| {
            let inside = |at: usize| at.checked_sub(margin).filter(|at| *at < width);
            let (Some(column), Some(line)) = (inside(column), inside(line)) else { return false };
            colors[line * width + column] == Color::Dark
        };
        let mut row = vec![0xff_u8; pixels.div_ceil(8)];
        for x in (0..pixels).filter(|x| is_dark(x / scale)) {
            row[x / 8] &= !(0x80 >> (x % 8));
        }
        (0..scale).for_each(|_| rows.extend_from_slice(&row));
    }
    let mut file = Vec::new();
    let side = u32::try_from(pixels).expect("an image has at most 2,048 pixels, or one per module");
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    encoder.write_header()?.write_image_data(&rows)?;
    Ok(file)
}
