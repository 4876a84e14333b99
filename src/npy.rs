//! Reads NumPy files with one array: the only reader of their headers in this program.
//!
//! ```text
//! "\x93NUMPY", version, length of the header | {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)} | numbers
//! ```
//!
//! The header is a Python literal. Its reader knows only these three entries: it makes one pass
//! over at most [`LONGEST_HEADER`] bytes, whatever their nesting, and trusts no size. Memory grows
//! with the data in the file, not with the size that the header claims.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use crate::tensor::elements;

/// Bytes of the longest header that is read; NumPy itself reads up to 10,000 by default.
const LONGEST_HEADER: usize = 1 << 16;

/// The content of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The type of the values, such as `<f4`; `None` for structures.
    pub(crate) descr: Option<String>,
    /// Whether the first axis varies fastest.
    pub(crate) fortran: bool,
    /// The sizes of the axes.
    pub(crate) shape: Vec<usize>,
}

impl Header {
    /// Describes the type and shape: `'<f4' of shape [2, 3] in Fortran order`.
    #[cfg(feature = "cli")]
    pub(crate) fn describe(&self) -> String {
        let order = if self.fortran { " in Fortran order" } else { "" };
        format!("{} of shape {:?}{order}", self.element(), self.shape)
    }

    /// Describes the type, as NumPy writes it.
    pub(crate) fn element(&self) -> String {
        self.descr.as_ref().map_or("structures".into(), |descr| format!("'{descr}'"))
    }
}

/// Why a file cannot be read.
#[derive(Debug)]
pub(crate) enum Flaw {
    /// The system cannot read it.
    Io(io::Error),
    /// It is not a NumPy file.
    NoArray,
    /// It ends before its values do.
    CutShort,
    /// Its values are not little-endian 32- or 64-bit floats.
    NoFloats,
}

/// A file whose header has been read.
#[derive(Debug)]
pub(crate) struct Npy<R> {
    pub(crate) header: Header,
    numbers: R,
}

/// Opens a file and reads its header.
///
/// # Errors
/// [`Flaw::Io`] or [`Flaw::NoArray`].
pub(crate) fn open(path: &Path) -> Result<Npy<BufReader<File>>, Flaw> {
    Npy::new(BufReader::new(File::open(path).map_err(Flaw::Io)?))
}

impl<R: Read> Npy<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Flaw::Io`] or [`Flaw::NoArray`].
    pub(crate) fn new(mut source: R) -> Result<Self, Flaw> {
        let mut head = [0; 8];
        fill(&mut source, &mut head)?;
        let [magic @ .., major, _] = head;
        if magic != *b"\x93NUMPY" {
            return Err(Flaw::NoArray);
        }
        let mut len = [0; 4];
        match major {
            1 => fill(&mut source, &mut len[..2])?,
            2 | 3 => fill(&mut source, &mut len)?,
            _ => return Err(Flaw::NoArray),
        }
        let len = u32::from_le_bytes(len) as usize;
        if len > LONGEST_HEADER {
            return Err(Flaw::NoArray);
        }
        let mut text = vec![0; len];
        fill(&mut source, &mut text)?;
        let header = parse(&text).ok_or(Flaw::NoArray)?;
        Ok(Self { header, numbers: source })
    }

    /// A reader of the values, as they are stored.
    pub(crate) fn into_values(self) -> R {
        self.numbers
    }

    /// All values, in file order.
    ///
    /// # Errors
    /// [`Flaw::NoFloats`], [`Flaw::CutShort`] or [`Flaw::Io`].
    pub(crate) fn floats(self) -> Result<Vec<f32>, Flaw> {
        let size = match self.header.descr.as_deref() {
            Some("<f4") => 4,
            Some("<f8") => 8,
            _ => return Err(Flaw::NoFloats),
        };
        // No file is as long as an overflowing size.
        let len = elements(&self.header.shape).and_then(|len| len.checked_mul(size));
        let len = len.ok_or(Flaw::CutShort)?;
        let mut bytes = Vec::new();
        self.numbers.take(len as u64).read_to_end(&mut bytes).map_err(Flaw::Io)?;
        if bytes.len() < len {
            return Err(Flaw::CutShort);
        }
        Ok(match size {
            4 => bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x)).collect(),
            _ => bytes.as_chunks().0.iter().map(|&x| f64::from_le_bytes(x) as f32).collect(),
        })
    }
}

/// Fills `to`; a file that ends earlier is not a NumPy file.
fn fill(source: &mut impl Read, to: &mut [u8]) -> Result<(), Flaw> {
    source.read_exact(to).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Flaw::NoArray,
        _ => Flaw::Io(error),
    })
}

/// A header's three entries.
fn parse(text: &[u8]) -> Option<Header> {
    let text = std::str::from_utf8(text).ok()?;
    let mut rest = Rest(text.trim());
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    rest.skip("{")?;
    while !rest.starts("}") {
        let key = rest.string()?;
        rest.skip(":")?;
        match key {
            "descr" => descr = Some(rest.descr()?),
            "fortran_order" => fortran = Some(rest.truth()?),
            "shape" => shape = Some(rest.shape()?),
            _ => return None,
        }
        if !rest.starts("}") {
            rest.skip(",")?;
        }
    }
    rest.skip("}")?;
    let header = Header { descr: descr?, fortran: fortran?, shape: shape? };
    rest.0.is_empty().then_some(header)
}

/// The unparsed rest of a header.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn starts(&self, with: &str) -> bool {
        self.0.starts_with(with)
    }

    /// Skips a word and the blanks after it.
    fn skip(&mut self, word: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(word)?.trim_start();
        Some(())
    }

    /// A string without escapes, in either kind of quotes.
    fn string(&mut self) -> Option<&'a str> {
        let quote = self.0.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (text, rest) = self.0[1..].split_once(quote)?;
        self.0 = rest.trim_start();
        (!text.contains('\\')).then_some(text)
    }

    /// A type's name, or `None` for a structure, which is skipped.
    fn descr(&mut self) -> Option<Option<String>> {
        if !self.starts("[") {
            return self.string().map(|text| Some(text.to_owned()));
        }
        let mut depth = 0_usize;
        loop {
            let next = self.0.chars().next()?;
            if matches!(next, '\'' | '"') {
                self.string()?;
                continue;
            }
            self.0 = &self.0[next.len_utf8()..];
            match next {
                '[' | '(' => depth += 1,
                ']' | ')' => depth = depth.checked_sub(1)?,
                _ => {}
            }
            if depth == 0 {
                self.0 = self.0.trim_start();
                return Some(None);
            }
        }
    }

    fn truth(&mut self) -> Option<bool> {
        let truth = self.starts("True");
        self.skip(if truth { "True" } else { "False" })?;
        Some(truth)
    }

    /// `(3, 4)`, `(3,)`, `()`; Python 2 wrote `(3L, 4L)`.
    fn shape(&mut self) -> Option<Vec<usize>> {
        let mut shape = Vec::new();
        self.skip("(")?;
        while !self.starts(")") {
            let digits = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
            let (number, rest) = self.0.split_at(digits);
            shape.push(number.parse().ok()?);
            self.0 = rest.strip_prefix('L').unwrap_or(rest).trim_start();
            if !self.starts(")") {
                self.skip(",")?;
            }
        }
        self.skip(")")?;
        Some(shape)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    fn file(header: &str, numbers: &[u8]) -> Vec<u8> {
        let len = (header.len() as u32).to_le_bytes();
        [b"\x93NUMPY\x02\0", &len[..], header.as_bytes(), numbers].concat()
    }

    fn read(bytes: &[u8]) -> Result<(Header, Vec<f32>), Flaw> {
        let npy = Npy::new(bytes)?;
        Ok((npy.header.clone(), npy.floats()?))
    }

    #[test]
    fn headers_are_read_as_numpy_and_others_write_them() {
        let header = |descr: &str, fortran, shape: &[usize]| Header {
            descr: Some(descr.to_owned()),
            fortran,
            shape: shape.to_vec(),
        };
        for (text, wanted) in [
            (
                "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }     \n",
                header("<f4", false, &[3, 4]),
            ),
            (
                "{\"shape\":(5L,),\"fortran_order\":True,\"descr\":\"<f8\"}",
                header("<f8", true, &[5]),
            ),
            ("{'descr': '|u1', 'fortran_order': False, 'shape': ()}", header("|u1", false, &[])),
            (
                "{'descr': [('a)', '<f4', (2,)), ('b', [('c', '<i4')])], 'fortran_order': False, \
                 'shape': (2,)}",
                Header { descr: None, fortran: false, shape: vec![2] },
            ),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap(), wanted, "{text}");
        }
        for text in [
            "",
            "{}",
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (3, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)} more",
            "{'descr': [('a', '<f4'], 'fortran_order': False, 'shape': (3, 4)}",
            "{'descr': ]",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }

    /// Opening brackets without end are refused as quickly as anything else.
    #[test]
    fn brackets_without_end_take_no_time() {
        for opened in ["[", "(", "{'descr': [", "["] {
            let text = format!("{{'descr': {}", opened.repeat(60_000 / opened.len()));
            assert!(matches!(read(&file(&text, &[])), Err(Flaw::NoArray)));
        }
        let long = format!("{{'descr': {}", "[".repeat(LONGEST_HEADER));
        assert!(matches!(read(&file(&long, &[])), Err(Flaw::NoArray)));
    }

    #[test]
    fn sizes_are_never_trusted() {
        let of = |descr: &str, shape: &str| {
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}")
        };
        let numbers: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let (header, floats) = read(&file(&of("<f4", "(2,)"), &numbers)).unwrap();
        assert_eq!((header.shape, floats), (vec![2], vec![1.5, -2.0]));
        let (_, doubles) = read(&file(&of("<f8", "(1, 1)"), &2.5_f64.to_le_bytes())).unwrap();
        assert_eq!(doubles, [2.5]);
        let most = usize::MAX.to_string();
        for shape in [
            "(3,)".to_owned(),
            "(4294967296, 4294967296, 4294967296)".to_owned(),
            format!("({most},)"),
            format!("({most}, {most})"),
            format!("({most}, {most}, 0)"),
        ] {
            let read = read(&file(&of("<f4", &shape), &numbers));
            assert!(matches!(read, Err(Flaw::CutShort)), "{shape}: {read:?}");
        }
        assert!(matches!(read(&file(&of(">f4", "(2,)"), &numbers)), Err(Flaw::NoFloats)));
        assert!(matches!(read(b"\x93NUMPY\x09\0\0\0"), Err(Flaw::NoArray)));
        assert!(matches!(read(b"\x93NUM"), Err(Flaw::NoArray)));
    }
}
