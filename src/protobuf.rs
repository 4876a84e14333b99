//! The wire format of protocol buffers, as far as ONNX graphs and TensorBoard's events need it:
//! varints, floats and byte strings, each preceded by its field number
//! (protobuf.dev/programming-guides/encoding).

/// A message being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Appends an integer.
    #[must_use]
    pub(crate) fn int(mut self, field: u32, value: i64) -> Self {
        self.varint(u64::from(field) << 3);
        self.varint(value as u64);
        self
    }

    /// Appends several integers, unpacked: every reader accepts that.
    #[must_use]
    pub(crate) fn ints(self, field: u32, values: &[i64]) -> Self {
        values.iter().fold(self, |message, &value| message.int(field, value))
    }

    /// Appends a float.
    #[must_use]
    pub(crate) fn float(mut self, field: u32, value: f32) -> Self {
        self.varint(u64::from(field) << 3 | 5);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// Appends a float of 64 bits.
    #[must_use]
    pub(crate) fn double(mut self, field: u32, value: f64) -> Self {
        self.varint(u64::from(field) << 3 | 1);
        self.bytes.extend(value.to_le_bytes());
        self
    }

    /// Appends bytes or text.
    #[must_use]
    pub(crate) fn bytes(mut self, field: u32, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.varint(u64::from(field) << 3 | 2);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
        self
    }

    /// Appends a nested message.
    #[must_use]
    pub(crate) fn message(self, field: u32, value: &Self) -> Self {
        self.bytes(field, &value.bytes)
    }

    /// The encoded message.
    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field<'a> {
    /// An integer.
    Int(u64),
    /// Bytes, text, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// Four bytes, such as a float.
    Four([u8; 4]),
    /// Eight bytes.
    Eight([u8; 8]),
}

impl<'a> Field<'a> {
    /// Bytes, text or a message; `None` for other kinds.
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The value as text.
    pub(crate) fn text(self) -> Option<String> {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// The value as a signed integer.
    pub(crate) fn int(self) -> Option<i64> {
        if let Self::Int(number) = self { Some(number as i64) } else { None }
    }

    /// The value as integers: a single one, or packed ones.
    pub(crate) fn ints(self) -> Option<Vec<i64>> {
        match self {
            Self::Int(number) => Some(vec![number as i64]),
            Self::Bytes(mut rest) => {
                let mut all = Vec::new();
                while !rest.is_empty() {
                    all.push(varint(&mut rest)? as i64);
                }
                Some(all)
            }
            _ => None,
        }
    }
}

/// The fields of a message, in order; `None` if any of it is malformed.
pub(crate) fn fields(mut rest: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest)?;
        let field = match key & 7 {
            0 => Field::Int(varint(&mut rest)?),
            1 => Field::Eight(array(&mut rest)?),
            2 => {
                let len = usize::try_from(varint(&mut rest)?).ok()?;
                let (bytes, after) = rest.split_at_checked(len)?;
                rest = after;
                Field::Bytes(bytes)
            }
            5 => Field::Four(array(&mut rest)?),
            // Groups, which are obsolete.
            _ => return None,
        };
        all.push((key >> 3, field));
    }
    Some(all)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = array(rest)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = Message::default().int(1, -5);
        let message = Message::default().int(3, 300).float(2, 1.5).bytes(20, "abc");
        let bytes = message.message(4, &inner).ints(5, &[7, 8]).double(6, 2.5).finish();
        let inner = inner.finish();
        let wanted = vec![
            (3, Field::Int(300)),
            (2, Field::Four(1.5_f32.to_le_bytes())),
            (20, Field::Bytes(b"abc")),
            (4, Field::Bytes(&inner)),
            (5, Field::Int(7)),
            (5, Field::Int(8)),
            (6, Field::Eight(2.5_f64.to_le_bytes())),
        ];
        assert_eq!(fields(&bytes), Some(wanted));
        let inner = fields(&inner).map(|fields| fields[0].1.int());
        assert_eq!(inner, Some(Some(-5)));
        assert_eq!(Field::Bytes(&[1, 0xac, 2, 3]).ints(), Some(vec![1, 300, 3]));
        for bad in [&[0x12, 5, 1][..], &[0x80; 11], &[0x0b], &[0x15, 0], &[0x08]] {
            assert_eq!(fields(bad), None, "{bad:x?}");
        }
    }

    /// The examples in the format's documentation.
    #[test]
    fn bytes_are_as_documented() {
        assert_eq!(Message::default().int(1, 150).finish(), [0x08, 0x96, 0x01]);
        let text = [0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67];
        assert_eq!(Message::default().bytes(2, "testing").finish(), text);
        let inner = Message::default().int(1, 150);
        assert_eq!(Message::default().message(3, &inner).finish(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        assert_eq!(Message::default().int(20, -1).finish()[..3], [0xa0, 0x01, 0xff]);
        assert_eq!(Message::default().float(2, 1.0).finish(), [0x15, 0, 0, 0x80, 0x3f]);
    }
}
