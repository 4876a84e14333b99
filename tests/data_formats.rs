//! Each image format gives the pixels that were put into it, upright; what cannot be read says why.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use dcgan::data::{Crop, Filter, Prepare, Source, contact_sheet};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage, Rgba, RgbaImage};
use tempfile::tempdir;

/// An image of 8 x 6 pixels of which no two are alike.
pub(crate) fn sample() -> RgbImage {
    RgbImage::from_fn(8, 6, |x, y| Rgb([(x * 30) as u8, (y * 40) as u8, (200 - x * 5 - y) as u8]))
}

pub(crate) fn encode(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// The only image of a folder, decoded.
pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<DynamicImage, String> {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join(name), bytes).unwrap();
    let source = Source::open(Some(folder.path())).unwrap();
    assert_eq!(source.len(), 1, "{name}");
    source.image(0).map(|image| image.pixels)
}

/// A target of an image's own size: preparing changes nothing but the channels.
fn same_size(image: &DynamicImage, channels: usize) -> Prepare {
    let (height, width) = (image.height() as usize, image.width() as usize);
    Prepare { height, width, channels, ..Prepare::default() }
}

fn bytes_in(image: &DynamicImage, channels: usize) -> Vec<u8> {
    same_size(image, channels).apply(image.clone(), 0)
}

#[test]
fn lossless_formats_give_every_pixel_back() {
    let image = DynamicImage::ImageRgb8(sample());
    for (name, format) in [
        ("a.png", ImageFormat::Png),
        ("a.bmp", ImageFormat::Bmp),
        ("a.webp", ImageFormat::WebP),
        ("a.tiff", ImageFormat::Tiff),
        ("a.GIF", ImageFormat::Gif),
        // Its content decides, not its name.
        ("a.jpg", ImageFormat::Png),
        ("a", ImageFormat::Bmp),
        ("a.b c", ImageFormat::Tiff),
    ] {
        let decoded = read(name, &encode(&image, format)).unwrap();
        assert_eq!(bytes_in(&decoded, 3), sample().into_raw(), "{name}");
    }
}

#[test]
fn jpeg_is_close() {
    let smooth = RgbImage::from_fn(32, 24, |x, y| Rgb([(x * 7) as u8, (y * 9) as u8, 90]));
    let decoded = read("a.jpeg", &encode(&smooth.clone().into(), ImageFormat::Jpeg)).unwrap();
    let worst =
        bytes_in(&decoded, 3).iter().zip(smooth.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(worst.unwrap() < 24, "{worst:?}");
}

#[test]
fn gray_alpha_and_16_bit_become_the_channels_asked_for() {
    let gray = DynamicImage::ImageLuma8(image::GrayImage::from_raw(2, 1, vec![10, 200]).unwrap());
    let decoded = read("a.png", &encode(&gray, ImageFormat::Png)).unwrap();
    assert_eq!(bytes_in(&decoded, 3), [10, 10, 10, 200, 200, 200]);
    assert_eq!(bytes_in(&decoded, 1), [10, 200]);
    assert_eq!(bytes_in(&decoded, 4), [10, 10, 10, 255, 200, 200, 200, 255]);

    // 257 * v is v of 255.
    let deep = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(3, 1, vec![0, 257 * 77, 65535]);
    let deep = DynamicImage::ImageLuma16(deep.unwrap());
    let decoded = read("a.png", &encode(&deep, ImageFormat::Png)).unwrap();
    assert_eq!(bytes_in(&decoded, 1), [0, 77, 255]);

    let rgb16 =
        image::ImageBuffer::<Rgb<u16>, _>::from_raw(1, 1, vec![257 * 3, 257 * 4, 257 * 250]);
    let decoded = read("a.tif", &encode(&rgb16.unwrap().into(), ImageFormat::Tiff)).unwrap();
    assert_eq!(bytes_in(&decoded, 3), [3, 4, 250]);

    // Over white: opaque red, half of black, nothing of green.
    let pixels = vec![255, 0, 0, 255, 0, 0, 0, 128, 0, 255, 0, 0];
    let alpha = DynamicImage::ImageRgba8(RgbaImage::from_raw(3, 1, pixels.clone()).unwrap());
    let decoded = read("a.png", &encode(&alpha, ImageFormat::Png)).unwrap();
    assert_eq!(bytes_in(&decoded, 3), [255, 0, 0, 127, 127, 127, 255, 255, 255]);
    assert_eq!(bytes_in(&decoded, 4), pixels);
    // Rec. 709: red counts 0.2126.
    assert_eq!(bytes_in(&decoded, 1), [54, 127, 255]);
}

/// A PNG, chunk by chunk.
pub(crate) fn png(
    width: u32,
    height: u32,
    depth: u8,
    kind: u8,
    chunks: &[(&[u8; 4], &[u8])],
) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut push = |name: &[u8; 4], data: &[u8]| {
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(name);
        bytes.extend(data);
        let mut sum = flate2::Crc::new();
        sum.update(name);
        sum.update(data);
        bytes.extend(sum.sum().to_be_bytes());
    };
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([depth, kind, 0, 0, 0]);
    push(b"IHDR", &header);
    chunks.iter().for_each(|(name, data)| push(name, data));
    push(b"IEND", &[]);
    bytes
}

pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn palettes_are_looked_up() {
    // Two bits a pixel: colors 2, 0, 1; color 1 is transparent.
    let palette = [10, 20, 30, 40, 50, 60, 70, 80, 90];
    let rows = deflate(&[0, 0b10_00_01_00]);
    let opaque = png(3, 1, 2, 3, &[(b"PLTE", &palette), (b"IDAT", &rows)]);
    let decoded = read("a.png", &opaque).unwrap();
    assert_eq!(bytes_in(&decoded, 3), [70, 80, 90, 10, 20, 30, 40, 50, 60]);
    let holes = png(3, 1, 2, 3, &[(b"PLTE", &palette), (b"tRNS", &[255, 0]), (b"IDAT", &rows)]);
    let decoded = read("a.png", &holes).unwrap();
    assert_eq!(bytes_in(&decoded, 3), [70, 80, 90, 10, 20, 30, 255, 255, 255]);

    let decoded = read("a.tiff", include_bytes!("fixtures/palette.tiff")).unwrap();
    let expected: Vec<u8> = (0..=255).flat_map(|i: u8| [i, 255 - i, i ^ 85]).collect();
    assert_eq!(bytes_in(&decoded, 3), expected);
}

#[test]
fn cmyk_jpeg_becomes_rgb() {
    let check = |bytes: &[u8], expected: [[u8; 3]; 4]| {
        let decoded = read("a.jpg", bytes).unwrap().into_rgb8();
        for (i, color) in (0_u32..).zip(expected) {
            let got = decoded.get_pixel(i % 2 * 8 + 4, i / 2 * 8 + 4).0;
            assert!(got.iter().zip(color).all(|(a, b)| a.abs_diff(b) <= 2), "{i}: {got:?}");
        }
    };
    // Cyan, magenta under half black, yellow under a fifth of black, black: (1 - ink)(1 - black).
    let cmyk = include_bytes!("fixtures/cmyk.jpg");
    check(cmyk, [[0, 255, 255], [127, 0, 127], [204, 204, 0], [0, 0, 0]]);
    // As Pillow (libjpeg) reads the same numbers taken as YCCK.
    let ycck = include_bytes!("fixtures/ycck.jpg");
    check(ycck, [[77, 255, 30], [0, 23, 113], [143, 0, 0], [0, 0, 0]]);
}

/// An EXIF segment that says nothing but the orientation.
fn with_exif(jpeg: &[u8], orientation: u8) -> Vec<u8> {
    let mut exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
    // Tag 0x0112, SHORT, one of them, its value; no further directory.
    exif.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0]);
    let mut out = jpeg[..2].to_vec();
    out.extend([0xff, 0xe1]);
    out.extend((exif.len() as u16 + 2).to_be_bytes());
    out.extend(exif);
    out.extend(&jpeg[2..]);
    out
}

#[test]
fn exif_orientation_is_applied() {
    // Red on the left, blue on the right, twice as wide as high; top half darker.
    let upright = RgbImage::from_fn(32, 16, |x, y| {
        let level = if y < 8 { 100 } else { 250 };
        if x < 16 { Rgb([level, 0, 0]) } else { Rgb([0, 0, level]) }
    });
    let turned: [fn(&DynamicImage) -> DynamicImage; 8] = [
        DynamicImage::clone,
        |p| p.fliph(),
        |p| p.rotate180(),
        |p| p.flipv(),
        |p| p.rotate90().fliph(),
        |p| p.rotate90(),
        |p| p.rotate270().fliph(),
        |p| p.rotate270(),
    ];
    let jpeg = encode(&upright.into(), ImageFormat::Jpeg);
    let plain = read("a.jpg", &jpeg).unwrap();
    for (orientation, turn) in (1..).zip(turned) {
        let decoded = read("a.jpg", &with_exif(&jpeg, orientation)).unwrap();
        assert_eq!(decoded.into_rgb8(), turn(&plain).into_rgb8(), "orientation {orientation}");
    }
}

#[test]
fn damaged_images_are_refused_in_every_format() {
    let image = DynamicImage::ImageRgb8(RgbImage::from_fn(64, 64, |x, y| {
        Rgb([(x * y) as u8, ((x * 37) ^ (y * 11)) as u8, (x * x + y) as u8])
    }));
    for (name, format) in [
        ("a.png", ImageFormat::Png),
        ("a.jpg", ImageFormat::Jpeg),
        ("a.webp", ImageFormat::WebP),
        ("a.gif", ImageFormat::Gif),
        ("a.bmp", ImageFormat::Bmp),
        ("a.tiff", ImageFormat::Tiff),
    ] {
        let bytes = encode(&image, format);
        assert!(read(name, &bytes).is_ok(), "{name}");
        for part in [30, 60, 90] {
            let reason = read(name, &bytes[..bytes.len() * part / 100]).unwrap_err();
            assert!(reason.contains("truncated"), "{name} to {part} %: {reason}");
        }
    }
    assert!(read("a.png", b"").unwrap_err().contains("is empty"));
    let text = read("a.png", b"<html>404 Not Found</html>").unwrap_err();
    assert!(text.contains("no image by its content") && text.contains("<html>"), "{text}");
    let other = read("a.avif", b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf").unwrap_err();
    assert_eq!(other, "is AVIF, which is not read; convert it to PNG or JPEG");
    let other = read("a.tga", b"\0\0\x02\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x18\0abc").unwrap_err();
    assert!(other.starts_with("is TGA, which is not read; convert it"), "{other}");
}

/// Sampling factors that the decoder gets wrong: see `decode/jpeg.rs`.
#[test]
fn a_jpeg_whose_luma_is_coarser_than_its_chroma_is_refused() {
    let mut jpeg = encode(&DynamicImage::ImageRgb8(sample()), ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    assert_eq!((jpeg[frame + 11], jpeg[frame + 14]), (0x11, 0x11), "the writer's own factors");
    jpeg[frame + 14] = 0x22;
    let reason = read("a.jpg", &jpeg).unwrap_err();
    assert!(reason.contains("rare sampling factors (1x1, 2x2, 1x1)"), "{reason}");
}

#[test]
fn an_orientation_behind_the_pixels_of_a_png_is_applied() {
    let rows: Vec<u8> =
        sample().into_raw().chunks(24).flat_map(|row| [&[0], row].concat()).collect();
    let idat = deflate(&rows);
    let exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let before = png(8, 6, 8, 2, &[(b"eXIf", exif), (b"IDAT", &idat)]);
    let behind = png(8, 6, 8, 2, &[(b"IDAT", &idat), (b"tEXt", b"a\0b"), (b"eXIf", exif)]);
    let turned = DynamicImage::ImageRgb8(sample()).rotate90().into_rgb8();
    for (file, place) in [(before, "before"), (behind.clone(), "behind")] {
        assert_eq!(read("a.png", &file).unwrap().into_rgb8(), turned, "{place}");
    }
    // A damaged one is none.
    let mut damaged = behind;
    let at = damaged.windows(4).position(|w| w == b"eXIf").unwrap();
    damaged[at + 4 + exif.len()] ^= 1;
    assert_eq!(read("a.png", &damaged).unwrap().into_rgb8(), sample());
}

/// A BMP of 8 x 6 pixels with a header of version 4 and a mask for alpha.
pub(crate) fn bmp_v4(alpha: impl Fn(usize) -> u8) -> Vec<u8> {
    let pixels = sample();
    let rows = (0..6).rev().flat_map(|y| (0..8).map(move |x| (x, y)));
    let data: Vec<u8> = rows
        .flat_map(|(x, y)| {
            let [r, g, b] = pixels.get_pixel(x, y).0;
            [b, g, r, alpha((y * 8 + x) as usize)]
        })
        .collect();
    let mut out = b"BM".to_vec();
    out.extend((122 + data.len() as u32).to_le_bytes());
    out.extend([0, 0, 0, 0, 122, 0, 0, 0, 108, 0, 0, 0, 8, 0, 0, 0, 6, 0, 0, 0, 1, 0, 32, 0]);
    out.extend([3, 0, 0, 0]);
    out.extend((data.len() as u32).to_le_bytes());
    out.extend([0; 16]);
    for mask in [0xff_0000, 0xff00, 0xff, 0xff00_0000_u32] {
        out.extend(mask.to_le_bytes());
    }
    out.extend(b"BGRs");
    out.resize(122, 0);
    out.extend(data);
    out
}

#[test]
fn a_bmp_whose_alpha_is_empty_has_none() {
    let read = |alpha: &dyn Fn(usize) -> u8| bytes_in(&read("a.bmp", &bmp_v4(alpha)).unwrap(), 3);
    assert_eq!(read(&|_| 0), sample().into_raw());
    assert_eq!(read(&|_| 255), sample().into_raw());
    // Half of it: that is alpha.
    let half = read(&|i| if i < 24 { 0 } else { 255 });
    assert_eq!(half[..72], [255; 72]);
    assert_eq!(half[72..], sample().into_raw()[72..]);
}

#[test]
fn bombs_are_refused_by_their_header() {
    let huge = png(60000, 60000, 8, 2, &[(b"IDAT", &deflate(&[0; 100_000]))]);
    let reason = read("a.png", &huge).unwrap_err();
    assert!(reason.contains("too large: 60000 x 60000"), "{reason}");

    let small = DynamicImage::ImageRgb8(sample());
    let mut jpeg = encode(&small, ImageFormat::Jpeg);
    let frame = jpeg.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xf0, 0xff, 0xf0]);
    assert!(read("a.jpg", &jpeg).unwrap_err().contains("too large"));

    let mut gif = encode(&small, ImageFormat::Gif);
    gif[6..10].copy_from_slice(&[0xff; 4]);
    assert!(read("a.gif", &gif).unwrap_err().contains("too large"));
    // A frame much larger than its screen.
    let mut gif = encode(&small, ImageFormat::Gif);
    let frame = gif.windows(9).position(|w| w == [0x2c, 0, 0, 0, 0, 8, 0, 6, 0]).unwrap();
    gif[frame + 5..frame + 9].copy_from_slice(&[0xff, 0x3f, 0xff, 0x3f]);
    assert!(read("a.gif", &gif).unwrap_err().contains("too large"));
    let mut webp = encode(&small, ImageFormat::WebP);
    let frame = webp.windows(4).position(|w| w == b"VP8L").unwrap();
    // A header that says 8 x 6 before a frame that says 16384 x 16384.
    let extended = [&b"VP8X\x0a\0\0\0\0\0\0\0\x07\0\0\x05\0\0"[..]].concat();
    webp[frame + 9..frame + 13].copy_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
    webp.splice(frame..frame, extended);
    let riff = (webp.len() as u32 - 8).to_le_bytes();
    webp[4..8].copy_from_slice(&riff);
    let reason = read("a.webp", &webp).unwrap_err();
    assert!(reason.contains("frame is larger than the image"), "{reason}");

    // Few pixels of many bytes: more than all threads together may take.
    let deep = png(8191, 16384, 16, 6, &[(b"IDAT", &deflate(&[0; 1000]))]);
    let reason = read("a.png", &deep).unwrap_err();
    assert!(reason.contains("take more than 1024 MiB to decode"), "{reason}");
    // A thin one would be resized by way of one as high and as wide as the target.
    let thin = png(1, 100_000, 8, 0, &[(b"IDAT", &deflate(&[0; 200_000]))]);
    let reason = read("a.png", &thin).unwrap_err();
    assert!(reason.contains("too large: 1 x 100000"), "{reason}");
}

/// Columns of 0, 10, 20 and so on.
fn ramp(width: u32, height: u32) -> DynamicImage {
    DynamicImage::ImageLuma8(image::GrayImage::from_fn(width, height, |x, _| {
        image::Luma([(x * 10) as u8])
    }))
}

#[test]
fn crops_take_the_part_they_say() {
    let target = |crop| Prepare {
        height: 4,
        width: 2,
        channels: 1,
        crop,
        filter: Filter::Nearest,
        flip: false,
    };
    // 10 x 4 to 2 columns of 4 rows: the middle two of ten.
    assert_eq!(target(Crop::Center).apply(ramp(10, 4), 0), [40, 50].repeat(4));
    assert_eq!(target(Crop::Random).apply(ramp(10, 4), 0), [0, 10].repeat(4));
    assert_eq!(target(Crop::Random).apply(ramp(10, 4), u32::MAX), [80, 90].repeat(4));
    assert_eq!(target(Crop::Random).apply(ramp(10, 4), 1 << 31), [40, 50].repeat(4));
    // Stretched: the middles of the two halves.
    let stretched = target(Crop::None).apply(ramp(10, 4), 0);
    assert_eq!(stretched, [20, 70].repeat(4));
    // Higher than the target: rows are cut, and the cut is resized.
    let wide = Prepare { height: 2, width: 4, ..target(Crop::Center) };
    let tall = DynamicImage::ImageLuma8(image::GrayImage::from_fn(8, 12, |_, y| {
        image::Luma([if (4..8).contains(&y) { 99 } else { 0 }])
    }));
    assert_eq!(wide.apply(tall, 0), [99; 8]);
}

#[test]
fn filters_average_what_they_shrink_and_keep_flat_colors() {
    for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
        let prepare = Prepare { height: 8, width: 8, channels: 1, filter, ..Prepare::default() };
        let checks = DynamicImage::ImageLuma8(image::GrayImage::from_fn(64, 64, |x, y| {
            image::Luma([if (x + y) % 2 == 0 { 0 } else { 200 }])
        }));
        let small = prepare.apply(checks, 0);
        assert!(small.iter().all(|&v| v.abs_diff(100) <= 3), "{filter}: {small:?}");
        let rgb = Prepare { height: 5, width: 9, channels: 3, ..prepare };
        let flat = DynamicImage::ImageRgb8(RgbImage::from_pixel(31, 17, Rgb([1, 128, 254])));
        assert_eq!(rgb.apply(flat, 0), [1, 128, 254].repeat(45), "{filter}");
    }
    // The color of transparent pixels does not bleed into their neighbors.
    let edge = RgbaImage::from_fn(16, 16, |x, _| {
        if x % 2 == 0 { Rgba([200, 100, 0, 255]) } else { Rgba([0, 0, 255, 0]) }
    });
    let prepare = Prepare { height: 4, width: 4, channels: 4, ..Prepare::default() };
    for pixel in prepare.apply(edge.into(), 0).chunks(4) {
        assert!(pixel[0].abs_diff(200) <= 2 && pixel[2] <= 2, "{pixel:?}");
        assert!((60..196).contains(&pixel[3]), "{pixel:?}");
    }
}

#[test]
fn impossible_targets_name_their_flag() {
    let size = Prepare { height: 0, ..Prepare::default() }.check().unwrap_err().to_string();
    assert!(size.starts_with("`size`: ") && size.contains("1 to 4096"), "{size}");
    let channels = Prepare { channels: 2, ..Prepare::default() }.check().unwrap_err().to_string();
    assert!(channels.contains("1, 3 or 4"), "{channels}");
}

#[test]
fn a_contact_sheet_has_gaps_between_its_images() {
    let folder = tempdir().unwrap();
    for i in 0..5_u8 {
        let image = RgbImage::from_pixel(4, 4, Rgb([i * 10, 0, 0]));
        image.save(folder.path().join(format!("{i}.png"))).unwrap();
    }
    fs::write(folder.path().join("bad.png"), "no").unwrap();
    let source = Source::open(Some(Path::new(folder.path()))).unwrap();
    let prepare = Prepare { height: 8, width: 8, ..Prepare::default() };
    let sheet = contact_sheet(&source, &prepare, 100, 1).unwrap();
    assert_eq!(sheet.dimensions(), (2 * 8 + 2, 3 * 8 + 2 * 2));
    let mut seen: Vec<u8> =
        (0..5).map(|i| sheet.get_pixel(i % 2 * 10 + 3, i / 2 * 10 + 3)[0]).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 10, 20, 30, 40]);
    for white in [(8, 0), (9, 5), (0, 8), (0, 9), (17, 25)] {
        assert_eq!(sheet.get_pixel(white.0, white.1), &Rgb([255; 3]), "{white:?}");
    }
    assert_eq!(sheet, contact_sheet(&source, &prepare, 100, 1).unwrap());
    assert_ne!(sheet, contact_sheet(&source, &prepare, 100, 2).unwrap());
}
