//! From an array of any numbers, order and arrangement to `[n, h, w, c]` bytes.
//!
//! | numbers | become |
//! | --- | --- |
//! | bytes | themselves |
//! | booleans | 0 and 255 |
//! | floats within 0 to 1, -1 to 1, 0 to 255 | `255 x`, `127.5 (x + 1)`, `x`, rounded |
//! | integers within 0 to 255, 16-bit ones beyond | `x`, `x / 257` |

use super::Array;
use crate::data::packed::MAX_PACKED;
use crate::data::{MAX_PIXELS, room};

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Bool,
    Unsigned,
    Signed,
    Float,
}

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) number: Number,
    /// Bytes: 1, 2, 4 or 8.
    pub(super) size: usize,
    pub(super) big_endian: bool,
}

impl Element {
    pub(super) const BYTE: Self = Self { number: Number::Unsigned, size: 1, big_endian: false };

    /// The value of so many bytes as the element has.
    fn value(self, bytes: &[u8]) -> f64 {
        let mut all = [0; 8];
        let n = self.size.min(8);
        all[..n].copy_from_slice(&bytes[..n]);
        if self.big_endian {
            all[..n].reverse();
        }
        let bits = u64::from_le_bytes(all);
        match (self.number, n) {
            (Number::Float, 2) => half::f16::from_bits(bits as u16).to_f64(),
            (Number::Float, 4) => f64::from(f32::from_bits(bits as u32)),
            (Number::Float, _) => f64::from_bits(bits),
            (Number::Signed, n) => {
                let unused = 64 - 8 * n as u32;
                ((bits << unused) as i64 >> unused) as f64
            }
            (Number::Bool | Number::Unsigned, _) => bits as f64,
        }
    }
}

/// Images as bytes, `[count, height, width, channels]`.
pub(super) struct Pixels {
    pub(super) count: usize,
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) channels: usize,
    pub(super) bytes: Vec<u8>,
}

/// Which axis of an array is which; without `channels` there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Axes {
    count: usize,
    height: usize,
    width: usize,
    channels: Option<usize>,
}

/// What the axes of images are.
///
/// # Errors
/// The end of a sentence that begins with the array.
fn axes(shape: &[usize], image_last: bool) -> Result<Axes, String> {
    let is_channels = |axis: usize| matches!(shape[axis], 1 | 3 | 4);
    let of = |count, height, width, channels| Axes { count, height, width, channels };
    let wrong = || {
        format!(
            "has the shape {shape:?}; images are [n, h, w], [n, h, w, c] or [n, c, h, w] with 1, 3 or 4 \
             channels"
        )
    };
    Ok(match (shape.len(), image_last) {
        (3, true) => of(2, 0, 1, None),
        (4, true) if is_channels(2) => of(3, 0, 1, Some(2)),
        // One image, height x width x channels.
        (3, false) if is_channels(2) => return Err(wrong()),
        (3, false) => of(0, 1, 2, None),
        (4, false) if is_channels(3) => of(0, 1, 2, Some(3)),
        (4, false) if is_channels(1) => of(0, 2, 3, Some(1)),
        _ => return Err(wrong()),
    })
}

/// How values become bytes: `scale * x + shift`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Scale(f64, f64);

impl Scale {
    /// For numbers from `low` to `high`.
    fn of(element: Element, low: f64, high: f64) -> Result<Self, String> {
        let float = element.number == Number::Float;
        match () {
            () if element.number == Number::Bool => Ok(Self(255.0, 0.0)),
            () if float && low >= 0.0 && high <= 1.0 => Ok(Self(255.0, 0.0)),
            () if float && low >= -1.0 && high <= 1.0 => Ok(Self(127.5, 127.5)),
            () if low >= 0.0 && high <= 255.0 => Ok(Self(1.0, 0.0)),
            () if !float && element.size == 2 && low >= 0.0 => Ok(Self(1.0 / 257.0, 0.0)),
            () => Err(format!(
                "has values from {low} to {high}; images have 0 to 1, -1 to 1 or 0 to 255"
            )),
        }
    }
}

impl Array<'_> {
    /// The number of its elements.
    fn len(&self) -> Result<usize, String> {
        let product = self.shape.iter().try_fold(1_usize, |a, &b| a.checked_mul(b));
        product
            .filter(|&n| (n as u64).saturating_mul(self.element.size as u64) <= MAX_PACKED * 8)
            .filter(|&n| n as u64 <= MAX_PACKED)
            .ok_or_else(|| {
                format!(
                    "has the shape {:?}, more than {} of pixels; give a part of it",
                    self.shape,
                    crate::human::bytes(MAX_PACKED)
                )
            })
    }

    /// Passes on every value, in the order in which they are stored; fewer or more than the shape says
    /// are an error.
    fn each(&self, f: &mut dyn FnMut(f64)) -> Result<(), String> {
        let (len, element) = (self.len()?, self.element);
        let mut seen = 0_usize;
        let mut carry = Vec::with_capacity(8);
        (self.read)(&mut |mut bytes| {
            while !carry.is_empty() && carry.len() < element.size {
                let Some((&first, rest)) = bytes.split_first() else { return Ok(()) };
                carry.push(first);
                bytes = rest;
            }
            let mut whole = |bytes: &[u8]| {
                seen += 1;
                if seen <= len {
                    f(element.value(bytes));
                }
            };
            if !carry.is_empty() {
                whole(&carry);
                carry.clear();
            }
            let chunks = bytes.chunks_exact(element.size);
            carry.extend_from_slice(chunks.remainder());
            chunks.for_each(whole);
            Ok(())
        })?;
        self.check_len(seen, len)
    }

    fn check_len(&self, seen: usize, len: usize) -> Result<(), String> {
        match seen.cmp(&len) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => {
                let shape = &self.shape;
                Err(format!("is truncated: {seen} of its {len} values are there (shape {shape:?})"))
            }
            std::cmp::Ordering::Greater => {
                Err(format!("is damaged: it has more than the {len} values that its shape says"))
            }
        }
    }

    /// All values as bytes, in the order in which they are stored.
    fn bytes(&self) -> Result<Vec<u8>, String> {
        let len = self.len()?;
        // Grows with what is there, not with what the shape claims.
        let mut out = Vec::new();
        if self.element.size == 1 && self.element.number == Number::Unsigned {
            let mut seen = 0_usize;
            (self.read)(&mut |bytes| {
                seen = seen.saturating_add(bytes.len());
                out.extend_from_slice(&bytes[..bytes.len().min(len - out.len())]);
                Ok(())
            })?;
            self.check_len(seen, len)?;
            return Ok(out);
        }
        let (mut low, mut high, mut non_finite) = (f64::INFINITY, f64::NEG_INFINITY, 0_usize);
        self.each(&mut |value| {
            non_finite += usize::from(!value.is_finite());
            low = low.min(value);
            high = high.max(value);
        })?;
        if non_finite > 0 {
            return Err(format!("has {non_finite} values that are NaN or infinite"));
        }
        let Scale(scale, shift) = Scale::of(self.element, low, high)?;
        self.each(&mut |value| out.push((value * scale + shift).round() as u8))?;
        Ok(out)
    }

    /// Its images.
    ///
    /// # Errors
    /// The end of a sentence that begins with the array.
    pub(super) fn pixels(&self) -> Result<Pixels, String> {
        let Axes { count, height, width, channels } = axes(&self.shape, self.image_last)?;
        let size = |axis: usize| self.shape[axis];
        let channels_of = channels.map_or(1, size);
        let pixels = (size(height) as u64).checked_mul(size(width) as u64);
        if pixels.is_none_or(|pixels| pixels == 0 || pixels > MAX_PIXELS) || size(count) == 0 {
            return Err(format!("has the shape {:?}: no images, or too large ones", self.shape));
        }
        let len = self.len()?;
        let axis_stride = |axis: usize| -> usize {
            let within = if self.fortran { &self.shape[..axis] } else { &self.shape[axis + 1..] };
            within.iter().product()
        };
        let steps = [count, height, width].map(axis_stride);
        let channel_step = channels.map_or(1, axis_stride);
        let row = size(width) * channels_of;
        let is_in_order = channel_step == 1 && steps == [size(height) * row, row, channels_of];
        room::check(len as u64 * if is_in_order { 1 } else { 2 }, room::free())?;
        let stored = self.bytes()?;
        let bytes = if is_in_order {
            stored
        } else {
            let mut out = Vec::with_capacity(len);
            for n in 0..size(count) {
                for y in 0..size(height) {
                    for x in 0..size(width) {
                        let at = n * steps[0] + y * steps[1] + x * steps[2];
                        out.extend((0..channels_of).map(|c| stored[at + c * channel_step]));
                    }
                }
            }
            out
        };
        Ok(Pixels {
            count: size(count),
            height: size(height),
            width: size(width),
            channels: channels_of,
            bytes,
        })
    }

    /// The classes of `count` images: a number for each, or a row with a 1 at its class.
    ///
    /// # Errors
    /// The end of a sentence that begins with the array.
    pub(super) fn labels(&self, count: usize) -> Result<Vec<u32>, String> {
        let (rows, classes) = match self.shape.as_slice() {
            [n] | [n, 1] => (*n, 1),
            [1, n] if *n == count => (*n, 1),
            [n, classes] => (*n, *classes),
            shape => return Err(format!("has the shape {shape:?}; labels are [n]")),
        };
        if rows != count {
            return Err(format!(
                "has {rows} labels for {}; it belongs to other images",
                crate::data::count(count, "image")
            ));
        }
        let mut values = Vec::new();
        self.each(&mut |value| values.push(value))?;
        let number = |value: f64| {
            let is_whole = value.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&value);
            is_whole.then_some(value as u32).ok_or_else(|| {
                format!("has the label {value}; labels of classes are whole numbers from 0 on")
            })
        };
        if classes == 1 {
            return values.into_iter().map(number).collect();
        }
        let at = |row: usize, class: usize| {
            if self.fortran { values[class * rows + row] } else { values[row * classes + class] }
        };
        let hot = |row: usize| {
            let ones: Vec<usize> = (0..classes).filter(|&class| at(row, class) == 1.0).collect();
            let zeros = (0..classes).filter(|&class| at(row, class) == 0.0).count();
            match ones.as_slice() {
                [one] if zeros == classes - 1 => Ok(*one as u32),
                _ => Err(format!(
                    "has {classes} numbers for image {row}, which are not one 1 among zeros; labels \
                     are [n]"
                )),
            }
        };
        (0..rows).map(hot).collect()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn array(shape: &[usize], element: Element, fortran: bool, bytes: Vec<u8>) -> Array<'static> {
        Array {
            name: "a.npy".into(),
            called: "a".into(),
            shape: shape.to_vec(),
            element,
            fortran,
            image_last: false,
            // In pieces that end within numbers.
            read: Box::new(move |take| bytes.chunks(3).try_for_each(&mut *take)),
        }
    }

    #[test]
    fn every_order_and_arrangement_gives_the_same_pixels() {
        // Pixel (n, y, x, c) of [2, 2, 5, 3] is 30 n + 15 y + 3 x + c.
        let wanted: Vec<u8> = (0..60).collect();
        let at = |n, y, x, c| (30 * n + 15 * y + 3 * x + c) as u8;
        let mut first = Vec::new();
        let mut planes = Vec::new();
        // In Fortran's order the first axis varies fastest.
        for c in 0..3 {
            for x in 0..5 {
                for y in 0..2 {
                    first.extend((0..2).map(|n| at(n, y, x, c)));
                }
            }
        }
        for n in 0..2 {
            for c in 0..3 {
                for y in 0..2 {
                    planes.extend((0..5).map(|x| at(n, y, x, c)));
                }
            }
        }
        let shape = [2, 2, 5, 3];
        for (array, what) in [
            (array(&shape, Element::BYTE, false, wanted.clone()), "C"),
            (array(&shape, Element::BYTE, true, first), "Fortran"),
            (array(&[2, 3, 2, 5], Element::BYTE, false, planes), "channels first"),
        ] {
            let pixels = array.pixels().unwrap();
            assert_eq!((pixels.count, pixels.height, pixels.width, pixels.channels), (2, 2, 5, 3));
            assert_eq!(pixels.bytes, wanted, "{what}");
        }
    }

    #[test]
    fn numbers_of_every_type_become_bytes() {
        let float = |size, big_endian| Element { number: Number::Float, size, big_endian };
        let read = |element: Element, bytes: Vec<u8>| {
            let n = bytes.len() / element.size;
            array(&[1, 1, n], element, false, bytes).pixels().map(|pixels| pixels.bytes)
        };
        // Of five columns, so that they are no channels.
        let f4 = |v: [f32; 5]| v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let f8 = |v: [f64; 5]| v.iter().flat_map(|x| x.to_be_bytes()).collect::<Vec<u8>>();
        assert_eq!(
            read(float(4, false), f4([0.0, 0.5, 1.0, 0.2, 0.0])).unwrap(),
            [0, 128, 255, 51, 0]
        );
        assert_eq!(
            read(float(8, true), f8([-1.0, 0.0, 1.0, 0.5, 0.0])).unwrap()[..3],
            [0, 128, 255]
        );
        assert_eq!(
            read(float(4, false), f4([0.0, 7.0, 255.0, 2.4, 0.0])).unwrap(),
            [0, 7, 255, 2, 0]
        );
        let error = read(float(4, false), f4([0.0, -7.0, 255.0, 0.0, 0.0])).unwrap_err();
        assert!(error.contains("from -7 to 255"), "{error}");
        let error = read(float(4, false), f4([0.0, f32::NAN, 1.0, 0.0, 0.0])).unwrap_err();
        assert!(error.contains("1 values that are NaN"), "{error}");
        let short = Element { number: Number::Unsigned, size: 2, big_endian: true };
        assert_eq!(read(short, vec![0, 0, 255, 255, 1, 1, 0, 0, 0, 0]).unwrap(), [0, 255, 1, 0, 0]);
        let long = Element { number: Number::Signed, size: 8, big_endian: false };
        let i8 = [3_i64, 255, 0, 1, 2].iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        assert_eq!(read(long, i8).unwrap(), [3, 255, 0, 1, 2]);
        let signed = Element { number: Number::Signed, size: 2, big_endian: false };
        assert!(read(signed, vec![255; 10]).unwrap_err().contains("from -1 to -1"));
        let bool = Element { number: Number::Bool, size: 1, big_endian: false };
        assert_eq!(read(bool, vec![0, 1, 1, 0, 1]).unwrap(), [0, 255, 255, 0, 255]);
        let half = [0x3c00_u16, 0, 0x3800, 0, 0].iter().flat_map(|x| x.to_le_bytes()).collect();
        assert_eq!(read(float(2, false), half).unwrap(), [255, 0, 128, 0, 0]);
    }

    #[test]
    fn a_shape_is_not_believed() {
        let read = |shape: &[usize], n: usize| {
            array(shape, Element::BYTE, false, vec![0; n]).pixels().map(drop).unwrap_err()
        };
        assert!(read(&[2, 5, 5], 49).contains("49 of its 50 values are there"));
        assert!(read(&[2, 5, 5], 51).contains("more than the 50 values"));
        assert!(read(&[usize::MAX, 5, 5], 9).contains("has the shape"));
        assert!(read(&[0, 5, 5], 0).contains("no images"));
        assert!(read(&[1 << 31, 1, 5], 9).contains("has the shape"));
        // One image.
        assert!(read(&[5, 5, 3], 75).contains("images are [n, h, w]"));
        assert!(read(&[2, 5, 5, 2], 100).contains("images are [n, h, w]"));
    }

    #[test]
    fn labels_are_numbers_or_rows_with_a_one() {
        let labels = |shape: &[usize], fortran, bytes: &[u8], count| {
            array(shape, Element::BYTE, fortran, bytes.to_vec()).labels(count)
        };
        for shape in [&[3][..], &[3, 1], &[1, 3]] {
            assert_eq!(labels(shape, false, &[2, 0, 1], 3).unwrap(), [2, 0, 1]);
        }
        assert_eq!(labels(&[2, 3], false, &[0, 0, 1, 1, 0, 0], 2).unwrap(), [2, 0]);
        assert_eq!(labels(&[2, 3], true, &[0, 1, 0, 0, 1, 0], 2).unwrap(), [2, 0]);
        assert!(labels(&[2, 3], false, &[0, 1, 1, 1, 0, 0], 2).unwrap_err().contains("image 0"));
        assert!(labels(&[3], false, &[2, 0, 1], 4).unwrap_err().contains("3 labels for 4 images"));
        let signed = Element { number: Number::Signed, size: 1, big_endian: false };
        let error = array(&[1], signed, false, vec![255]).labels(1).unwrap_err();
        assert!(error.contains("the label -1"), "{error}");
    }
}
