//! TIFF in its many kinds: read rightly, or refused in words; never white, never wrong.

use image::{DynamicImage, ImageFormat, RgbImage};

use crate::data_formats::{encode, read, sample};

/// Values of a tag, by their type.
#[derive(Clone)]
pub(crate) enum Values {
    Short(Vec<u16>),
    Long(Vec<u32>),
    Rational(Vec<[u32; 2]>),
}

use Values::{Long, Rational, Short};

/// A TIFF of one strip: as TIFF or BigTIFF, in either byte order.
pub(crate) fn tiff(tags: &[(u16, Values)], strip: &[u8], little: bool, big: bool) -> Vec<u8> {
    let number = |value: u64, width: usize| match little {
        true => value.to_le_bytes()[..width].to_vec(),
        false => value.to_be_bytes()[8 - width..].to_vec(),
    };
    let word = if big { 8 } else { 4 };
    let mut out = if little { b"II".to_vec() } else { b"MM".to_vec() };
    let start = if big { 16 } else { 8 };
    let directory = start + strip.len().next_multiple_of(2);
    out.extend(number(if big { 43 } else { 42 }, 2));
    if big {
        out.extend(number(8, 2));
        out.extend(number(0, 2));
    }
    out.extend(number(directory as u64, word));
    out.extend(strip);
    out.resize(directory, 0);

    let mut tags = tags.to_vec();
    tags.push((273, Long(vec![start as u32])));
    tags.push((279, Long(vec![strip.len() as u32])));
    tags.sort_by_key(|(tag, _)| *tag);
    let entry = if big { 20 } else { 12 };
    let count = if big { 8 } else { 2 };
    let mut behind = directory + count + entry * tags.len() + word;
    let mut values = Vec::new();
    out.extend(number(tags.len() as u64, count));
    for (tag, value) in &tags {
        let (kind, len, bytes) = match value {
            Short(v) => {
                (3, v.len(), v.iter().flat_map(|&v| number(v.into(), 2)).collect::<Vec<_>>())
            }
            Long(v) => (4, v.len(), v.iter().flat_map(|&v| number(v.into(), 4)).collect()),
            Rational(v) => {
                (5, v.len(), v.iter().flatten().flat_map(|&v| number(v.into(), 4)).collect())
            }
        };
        out.extend(number((*tag).into(), 2));
        out.extend(number(kind, 2));
        out.extend(number(len as u64, word));
        if bytes.len() <= word {
            out.extend(&bytes);
            out.resize(out.len() + word - bytes.len(), 0);
        } else {
            out.extend(number(behind as u64, word));
            behind += bytes.len();
            values.extend(bytes);
        }
    }
    out.extend(number(0, word));
    out.extend(values);
    out
}

/// The tags of an 8 x 6 image: kind of colors, bits of a sample, samples of a pixel.
pub(crate) fn tags(kind: u16, bits: u16, samples: u16) -> Vec<(u16, Values)> {
    vec![
        (256, Short(vec![8])),
        (257, Short(vec![6])),
        (258, Short(vec![bits; samples.into()])),
        (262, Short(vec![kind])),
        (277, Short(vec![samples])),
        (278, Short(vec![6])),
    ]
}

fn with(mut tags: Vec<(u16, Values)>, more: &[(u16, Values)]) -> Vec<(u16, Values)> {
    tags.extend(more.iter().cloned());
    tags
}

/// The pixels over white, whatever they are made of.
fn shown(bytes: &[u8]) -> Vec<u8> {
    let image = read("a.tif", bytes).unwrap();
    let (height, width) = (image.height() as usize, image.width() as usize);
    let prepare = dcgan::data::Prepare { height, width, ..dcgan::data::Prepare::default() };
    prepare.apply(image, 0)
}

fn refused(tags: &[(u16, Values)], strip: &[u8], what: &str) {
    let reason = read("a.tif", &tiff(tags, strip, true, false)).unwrap_err();
    assert!(reason.starts_with("is TIFF") && reason.contains(what), "{what}: {reason}");
    assert!(!reason.contains("Unknown("), "{reason}");
}

/// Levels 0 to 47 of 47, as many bits as asked for.
fn gray(bits: u16) -> (Vec<u8>, Vec<u8>) {
    let most = (1_u32 << bits) - 1;
    let levels: Vec<u32> = (0..48).map(|i| i * most / 47).collect();
    let strip = match bits {
        16 => levels.iter().flat_map(|&v| (v as u16).to_le_bytes()).collect(),
        bits => levels
            .chunks(8 / usize::from(bits))
            .map(|chunk| chunk.iter().fold(0, |byte, &v| byte << bits | v) as u8)
            .collect(),
    };
    let shown = levels.iter().flat_map(|v| [(v * 255 / most) as u8; 3]).collect();
    (strip, shown)
}

#[test]
fn big_and_small_of_either_byte_order_are_the_same() {
    let pixels = sample().into_raw();
    for (little, big) in [(true, false), (true, true), (false, true), (false, false)] {
        let file = tiff(&tags(2, 8, 3), &pixels, little, big);
        assert_eq!(shown(&file), pixels, "little {little}, big {big}");
        assert_eq!(read("no-extension", &file).unwrap().into_rgb8().into_raw(), pixels);
    }
}

#[test]
fn gray_of_any_depth_and_either_direction_is_read() {
    for bits in [1, 2, 4, 8, 16] {
        let (strip, expected) = gray(bits);
        let inverse: Vec<u8> = expected.iter().map(|v| 255 - v).collect();
        for (kind, expected) in [(1, expected), (0, inverse)] {
            let shown = shown(&tiff(&tags(kind, bits, 1), &strip, true, false));
            // Sixteen bits are rounded to eight.
            let most = u8::from(bits == 16);
            let worst = shown.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst.unwrap() <= most, "{bits} bits, kind {kind}: {worst:?}");
        }
    }
    refused(&tags(1, 12, 1), &[0; 72], "12 bits a sample");
    refused(&tags(1, 32, 1), &[0; 192], "32-bit integers");
    refused(&with(tags(1, 16, 1), &[(339, Short(vec![2]))]), &[0; 96], "signed integers");
    refused(&tags(1, 8, 2), &[0; 96], "2 samples a pixel that are no colors");
}

#[test]
fn palettes_of_any_depth_are_looked_up() {
    for bits in [1, 2, 4, 8] {
        let (strip, indices) = gray(bits);
        let most = (1_u32 << bits) - 1;
        let color = |i: u32| [(i * 3) as u8, 255 - i as u8, i as u8 ^ 85];
        let map: Vec<u16> =
            (0..3).flat_map(|c| (0..=most).map(move |i| u16::from(color(i)[c]) << 8)).collect();
        let expected: Vec<u8> =
            indices.chunks(3).flat_map(|v| color((u32::from(v[0]) * most).div_ceil(255))).collect();
        for big in [false, true] {
            let file =
                tiff(&with(tags(3, bits, 1), &[(320, Short(map.clone()))]), &strip, true, big);
            assert_eq!(shown(&file), expected, "{bits} bits, big {big}");
        }
    }
    let short = with(tags(3, 4, 1), &[(320, Short(vec![0; 47]))]);
    let reason = read("a.tif", &tiff(&short, &[0; 24], true, false)).unwrap_err();
    assert!(reason.contains("palette is missing or too short"), "{reason}");
}

fn floats(levels: impl Iterator<Item = f32>) -> Vec<u8> {
    levels.flat_map(f32::to_le_bytes).collect()
}

#[test]
fn floats_from_0_to_1_are_read_and_others_are_not_white() {
    let pixels = sample().into_raw();
    let float = [(339, Short(vec![3; 3]))];
    let unit = floats(pixels.iter().map(|&v| f32::from(v) / 255.0));
    assert_eq!(shown(&tiff(&with(tags(2, 32, 3), &float), &unit, true, false)), pixels);
    let gray = floats(pixels.chunks(3).map(|v| f32::from(v[0]) / 255.0));
    let expected: Vec<u8> = pixels.chunks(3).flat_map(|v| [v[0]; 3]).collect();
    let gray_float = with(tags(1, 32, 1), &[(339, Short(vec![3]))]);
    assert_eq!(shown(&tiff(&gray_float, &gray, true, false)), expected);

    let scientific = floats(pixels.iter().map(|&v| f32::from(v)));
    refused(&with(tags(2, 32, 3), &float), &scientific, "floats from 0 to 2");
    let negative = floats(pixels.iter().map(|&v| f32::from(v) / 255.0 - 0.5));
    refused(&with(tags(2, 32, 3), &float), &negative, "floats from -0.5 to");
    let holes = floats(pixels.iter().map(|&v| if v == 0 { f32::NAN } else { 0.5 }));
    refused(&with(tags(2, 32, 3), &float), &holes, "NaN");
}

#[test]
fn colors_that_alpha_is_multiplied_into_are_divided_by_it() {
    let colors = sample().into_raw();
    let alpha = |i: usize| (i * 5 + 10) as u8;
    let over = |level: u8, alpha: u8| {
        (u32::from(level) * u32::from(alpha) + 255 * (255 - u32::from(alpha)) + 127) / 255
    };
    let times = |level: u8, alpha: u8| ((u32::from(level) * u32::from(alpha) + 127) / 255) as u8;
    let pixels = || colors.chunks(3).enumerate().map(|(i, c)| (c, alpha(i)));
    let expected: Vec<u8> =
        pixels().flat_map(|(c, a)| c.iter().map(move |&c| over(c, a) as u8)).collect();
    let plain: Vec<u8> = pixels().flat_map(|(c, a)| [c[0], c[1], c[2], a]).collect();
    let multiplied: Vec<u8> =
        pixels().flat_map(|(c, a)| [times(c[0], a), times(c[1], a), times(c[2], a), a]).collect();
    let wide: Vec<u8> =
        multiplied.iter().flat_map(|&v| (u16::from(v) * 257).to_le_bytes()).collect();
    for (extra, bits, strip) in [(2, 8, &plain), (1, 8, &multiplied), (1, 16, &wide)] {
        let file = tiff(&with(tags(2, bits, 4), &[(338, Short(vec![extra]))]), strip, true, false);
        let shown = shown(&file);
        let worst = shown.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 1, "extra {extra}, {bits} bits: off by {worst}");
    }
    // Gray with alpha.
    let strip: Vec<u8> = pixels().flat_map(|(c, a)| [times(c[0], a), a]).collect();
    let file = tiff(&with(tags(1, 8, 2), &[(338, Short(vec![1]))]), &strip, true, false);
    for (shown, (c, a)) in shown(&file).chunks(3).zip(pixels()) {
        assert!(u32::from(shown[0]).abs_diff(over(c[0], a)) <= 1);
    }
    // A fourth sample that is no alpha.
    let file = tiff(&with(tags(2, 8, 4), &[(338, Short(vec![0]))]), &plain, true, false);
    assert_eq!(shown(&file), colors);
}

#[test]
fn luma_and_chroma_as_scanners_write_them_are_read() {
    let smooth = RgbImage::from_fn(16, 16, |x, y| image::Rgb([(x * 14) as u8, (y * 15) as u8, 90]));
    let jpeg = encode(&DynamicImage::from(smooth.clone()), ImageFormat::Jpeg);
    let base = |kind, samples| {
        let mut tags = tags(kind, 8, samples);
        tags.retain(|(tag, _)| ![256, 257, 278].contains(tag));
        with(tags, &[256, 257, 278].map(|tag| (tag, Short(vec![16]))))
    };
    let file = with(base(6, 3), &[(259, Short(vec![7])), (530, Short(vec![1, 1]))]);
    let near = |shown: &[u8], limit: u8| {
        let worst = shown.iter().zip(smooth.as_raw()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst < limit, "off by {worst}");
    };
    near(&shown(&tiff(&file, &jpeg, true, false)), 30);
    // Of full resolution without compression, and with the levels of television.
    let ycbcr = |black: f32, white: f32, chroma: f32| -> Vec<u8> {
        let pixel = |p: &image::Rgb<u8>| {
            let [r, g, b] = p.0.map(f32::from);
            let y = 0.299 * r + 0.587 * g + 0.114 * b;
            let (cb, cr) = ((b - y) / 1.772, (r - y) / 1.402);
            let scale = (white - black) / 255.0;
            [black + y * scale, 128.0 + cb * chroma / 127.0, 128.0 + cr * chroma / 127.0]
        };
        smooth.pixels().flat_map(pixel).map(|v| v.round() as u8).collect()
    };
    let full = with(base(6, 3), &[(530, Short(vec![1, 1]))]);
    near(&shown(&tiff(&full, &ycbcr(0.0, 255.0, 127.0), true, false)), 4);
    let reference = [16, 235, 128, 240, 128, 240].map(|v| [v, 1]).to_vec();
    let television = with(full, &[(532, Rational(reference))]);
    near(&shown(&tiff(&television, &ycbcr(16.0, 235.0, 112.0), true, false)), 5);

    // A strip that is cut off, one that is larger than its place, one with rare sampling factors.
    let reason = |strip: &[u8]| read("a.tif", &tiff(&file, strip, true, false)).unwrap_err();
    assert!(reason(&jpeg[..jpeg.len() - 20]).contains("truncated"));
    let mut other = jpeg.clone();
    let frame = other.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
    other[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xf0, 0xff, 0xf0]);
    assert!(reason(&other).contains("larger than its place"), "{}", reason(&other));
    let mut other = jpeg;
    other[frame + 11] = 0x11;
    other[frame + 14] = 0x22;
    assert!(reason(&other).contains("rare sampling factors"), "{}", reason(&other));
    refused(&with(base(6, 3), &[(530, Short(vec![2, 2]))]), &[0; 384], "not read");
}

#[test]
fn what_is_not_read_is_named() {
    let rgb = || tags(2, 8, 3);
    let strip = [0; 144];
    for (number, what) in [
        (3, "fax of group 3"),
        (6, "the old kind of JPEG"),
        (34_887, "LERC"),
        (50_000, "Zstandard"),
        (34_712, "JPEG 2000"),
        (12_345, "in a way of number 12345"),
    ] {
        refused(&with(rgb(), &[(259, Short(vec![number]))]), &strip, what);
    }
    refused(&tags(8, 8, 3), &strip, "Lab colors");
    refused(&tags(32_803, 16, 1), &strip, "a camera's raw files");
    refused(&with(rgb(), &[(254, Long(vec![1]))]), &strip, "only a preview");
    refused(&with(tags(5, 8, 4), &[(332, Short(vec![2]))]), &strip, "other inks");
    // Reserved for photographs: inks are read.
    let inks = [0, 51, 102, 0].repeat(48);
    assert_eq!(shown(&tiff(&tags(5, 8, 4), &inks, true, false))[..3], [255, 204, 153]);
}

#[test]
fn orientations_are_applied() {
    let pixels = sample().into_raw();
    let plain = DynamicImage::ImageRgb8(sample());
    for (orientation, turned) in [(1, plain.clone()), (3, plain.rotate180()), (6, plain.rotate90())]
    {
        let file =
            tiff(&with(tags(2, 8, 3), &[(274, Short(vec![orientation]))]), &pixels, true, false);
        assert_eq!(read("a.tif", &file).unwrap().into_rgb8(), turned.into_rgb8(), "{orientation}");
    }
}
