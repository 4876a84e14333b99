//! Films: animated GIF, PNG and WebP, which repeat without end.
//!
//! GIF is shown everywhere, with 256 colors a frame. APNG and WebP keep every pixel as it is; these
//! WebP frames are lossless ones, put into the container of an animation here, as the encoder makes
//! single images.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::codecs::webp::WebPEncoder;
use image::error::{EncodingError, ImageError, ImageFormatHint, LimitError, LimitErrorKind};
use image::{Delay, ExtendedColorType, Frame, ImageFormat, ImageResult, RgbImage, RgbaImage};

/// GIF encoder speed, 1 (best) to 30: 10 is the usual compromise.
const SPEED: i32 = 10;

/// Kinds of films.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Up to 256 colors a frame, durations of hundredths of seconds.
    Gif,
    /// Animated PNG, lossless.
    Apng,
    /// Animated WebP, lossless.
    WebP,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gif, Self::Apng, Self::WebP];

    /// The extension of its files' names.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Gif => "gif",
            Self::Apng => "apng",
            Self::WebP => "webp",
        }
    }

    /// The format that a file's name ends in.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?;
        Self::ALL.into_iter().find(|format| extension.eq_ignore_ascii_case(format.extension()))
    }

    /// An endless film; each image comes with its duration in milliseconds. All have the size of the
    /// first.
    ///
    /// # Errors
    /// If an image cannot be encoded, or there is none.
    pub fn encode<'a>(
        self,
        frames: impl IntoIterator<Item = (&'a RgbImage, u64)>,
    ) -> ImageResult<Vec<u8>> {
        match self {
            Self::Gif => gif(frames),
            Self::Apng => apng(&frames.into_iter().collect::<Vec<_>>()),
            Self::WebP => webp(frames),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Gif => "GIF",
            Self::Apng => "APNG",
            Self::WebP => "WebP",
        })
    }
}

/// Frames that are encoded as they come.
fn gif<'a>(frames: impl IntoIterator<Item = (&'a RgbImage, u64)>) -> ImageResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut bytes, SPEED);
    encoder.set_repeat(Repeat::Infinite)?;
    for (image, ms) in frames {
        let delay = Delay::from_saturating_duration(Duration::from_millis(ms));
        let image = RgbaImage::from_fn(image.width(), image.height(), |x, y| {
            let [r, g, b] = image.get_pixel(x, y).0;
            [r, g, b, 255].into()
        });
        encoder.encode_frame(Frame::from_parts(image, 0, 0, delay))?;
    }
    drop(encoder);
    Ok(bytes)
}

/// A PNG says first how many frames there are.
fn apng(frames: &[(&RgbImage, u64)]) -> ImageResult<Vec<u8>> {
    let failed = |error: png::EncodingError| {
        ImageError::Encoding(EncodingError::new(ImageFormatHint::Exact(ImageFormat::Png), error))
    };
    let (width, height) = size(frames.first())?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    // For ever.
    encoder.set_animated(frames.len() as u32, 0).map_err(failed)?;
    let mut writer = encoder.write_header().map_err(failed)?;
    for (image, ms) in frames {
        let ms = u16::try_from(*ms).unwrap_or(u16::MAX);
        writer.set_frame_delay(ms, 1000).map_err(failed)?;
        writer.write_image_data(image).map_err(failed)?;
    }
    writer.finish().map_err(failed)?;
    Ok(bytes)
}

fn size(first: Option<&(&RgbImage, u64)>) -> ImageResult<(u32, u32)> {
    let size = first.map(|(image, _)| image.dimensions());
    size.ok_or_else(|| ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError)))
}

/// The largest width and height of a WebP, the largest duration of a frame and the largest file.
const WEBP: u32 = 1 << 24;

/// A RIFF file of chunks, each a name, the length of its content, and that, filled up to even
/// length (RFC 9649, section 2.7):
///
/// ```text
/// VP8X  flags (2: animation), size − 1
/// ANIM  background (4 bytes), repetitions (2; 0: for ever)
/// ANMF  place / 2, size − 1, duration in ms (3 bytes each), flags (2: replace what was there);
///       the chunk VP8L of a single image
/// ```
fn webp<'a>(frames: impl IntoIterator<Item = (&'a RgbImage, u64)>) -> ImageResult<Vec<u8>> {
    let too_large = || ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError));
    let mut frames = frames.into_iter().peekable();
    let (width, height) = size(frames.peek())?;
    if width > WEBP || height > WEBP {
        return Err(too_large());
    }
    let corner = [three(width - 1), three(height - 1)].concat();
    let mut body = b"WEBP".to_vec();
    chunk(&mut body, *b"VP8X", &[&[2, 0, 0, 0], &corner[..]].concat());
    chunk(&mut body, *b"ANIM", &[0; 6]);
    for (image, ms) in frames {
        let mut single = Vec::new();
        let (w, h) = image.dimensions();
        WebPEncoder::new_lossless(&mut single).encode(image, w, h, ExtendedColorType::Rgb8)?;
        let ms = ms.min(u64::from(WEBP - 1)) as u32;
        let head = [&[0; 6], &corner[..], &three(ms), &[2]].concat();
        // Behind the 12 bytes `RIFF`, length and `WEBP`: the only chunk of an opaque image.
        chunk(&mut body, *b"ANMF", &[&head, &single[12..]].concat());
    }
    if u32::try_from(body.len()).is_err() {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(body.len() + 8);
    chunk(&mut bytes, *b"RIFF", &body);
    Ok(bytes)
}

/// The lower three bytes.
fn three(number: u32) -> [u8; 3] {
    let [a, b, c, _] = number.to_le_bytes();
    [a, b, c]
}

fn chunk(out: &mut Vec<u8>, name: [u8; 4], content: &[u8]) {
    out.extend(name);
    out.extend((content.len() as u32).to_le_bytes());
    out.extend(content);
    out.extend(&[0][..content.len() % 2]);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use std::io::Cursor;

    use image::AnimationDecoder as _;
    use image::codecs::gif::GifDecoder;
    use image::codecs::png::PngDecoder;
    use image::codecs::webp::WebPDecoder;

    use super::*;

    /// What a viewer shows of a film.
    fn decoded(format: Format, bytes: Vec<u8>) -> Vec<Frame> {
        let bytes = Cursor::new(bytes);
        let frames = match format {
            Format::Gif => GifDecoder::new(bytes).unwrap().into_frames(),
            Format::Apng => PngDecoder::new(bytes).unwrap().apng().unwrap().into_frames(),
            Format::WebP => WebPDecoder::new(bytes).unwrap().into_frames(),
        };
        frames.collect_frames().unwrap()
    }

    /// Few colors, so that a GIF keeps them; a square that moves to the left.
    fn images() -> Vec<RgbImage> {
        let image = |i: u32| {
            RgbImage::from_fn(21, 13, |x, y| match (x + i) % 7 < 3 && y > 4 {
                true => [200, 10 * i as u8, 30].into(),
                false => [0, 0, 90].into(),
            })
        };
        (0..5).map(image).collect()
    }

    #[test]
    fn every_format_keeps_its_frames_and_their_durations() {
        let images = images();
        for format in Format::ALL {
            let frames = images.iter().zip([50, 50, 80, 50, 2500]);
            let frames = decoded(format, format.encode(frames).unwrap());
            assert_eq!(frames.len(), 5, "{format}");
            for (frame, image) in frames.iter().zip(&images) {
                let shown = image::DynamicImage::from(frame.buffer().clone()).into_rgb8();
                assert!(shown == *image, "{format}");
            }
            let ms = |i: usize| {
                let (ms, of) = frames[i].delay().numer_denom_ms();
                ms / of
            };
            assert_eq!([ms(0), ms(2), ms(4)], [50, 80, 2500], "{format}");
        }
    }

    #[test]
    fn losslessly_means_every_color() {
        // More colors than a GIF has.
        let image = RgbImage::from_fn(40, 30, |x, y| [6 * x as u8, 8 * y as u8, 3].into());
        for format in [Format::Apng, Format::WebP] {
            let frames = decoded(format, format.encode([(&image, 40), (&image, 40)]).unwrap());
            let shown = image::DynamicImage::from(frames[1].buffer().clone()).into_rgb8();
            assert!(shown == image, "{format}");
        }
    }

    #[test]
    fn endless_and_by_name() {
        let images = images();
        let film = |format: Format| format.encode(images.iter().map(|image| (image, 50))).unwrap();
        let find = |bytes: &[u8], name: &[u8]| {
            bytes.windows(name.len()).position(|at| at == name).unwrap() + name.len()
        };
        let apng = film(Format::Apng);
        let at = find(&apng, b"acTL");
        assert_eq!(apng[at..at + 8], [0, 0, 0, 5, 0, 0, 0, 0]);
        let webp = film(Format::WebP);
        let at = find(&webp, b"ANIM");
        assert_eq!(webp[at + 8..at + 10], [0, 0]);
        assert_eq!(webp.len() % 2, 0);
        assert_eq!(webp[4..8], (webp.len() as u32 - 8).to_le_bytes());
        assert!(film(Format::Gif).windows(11).any(|at| at == b"NETSCAPE2.0"));

        assert_eq!(Format::of("a/walk.WebP".as_ref()), Some(Format::WebP));
        assert_eq!(Format::of("walk.gif".as_ref()), Some(Format::Gif));
        for other in ["walk.mp4", "walk.png", "gif", ""] {
            assert_eq!(Format::of(other.as_ref()), None, "{other}");
        }
        for format in [Format::Apng, Format::WebP] {
            assert!(format.encode([]).is_err(), "{format}");
        }
    }
}
