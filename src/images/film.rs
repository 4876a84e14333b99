//! Animated GIFs.

use std::time::Duration;

use image::codecs::gif::{GifEncoder, Repeat};
use image::{Delay, Frame, ImageResult, RgbImage, RgbaImage};

/// GIF encoder speed, 1 (best) to 30: 10 is the usual compromise.
const SPEED: i32 = 10;

/// An endless GIF; each image comes with its duration in milliseconds, of which a GIF keeps
/// hundredths of seconds.
///
/// # Errors
/// If an image cannot be encoded.
pub fn encode<'a>(frames: impl IntoIterator<Item = (&'a RgbImage, u64)>) -> ImageResult<Vec<u8>> {
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
