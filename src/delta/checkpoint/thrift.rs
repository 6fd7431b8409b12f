//! Reads Thrift's compact protocol, as far as Parquet uses it.

/// Why something was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThriftError {
    /// The bytes end before it does.
    Short,
    /// It is not what it should be.
    Malformed,
}

/// Bytes, and how far they were read.
#[derive(Debug)]
pub(super) struct Thrift<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Thrift<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes were read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn byte(&mut self) -> Result<u8, ThriftError> {
        let byte = *self.bytes.get(self.at).ok_or(ThriftError::Short)?;
        self.at += 1;
        Ok(byte)
    }

    /// The id and the kind of the next field; the last one is [`STOP`].
    pub(super) fn field(&mut self, before: i64) -> Result<(i64, u8), ThriftError> {
        let byte = self.byte()?;
        let kind = byte & 0x0f;
        if kind == STOP {
            return Ok((before, STOP));
        }
        let id = match byte >> 4 {
            0 => self.integer()?,
            step => before + i64::from(step),
        };
        if id > i64::from(i16::MAX) || id < i64::from(i16::MIN) {
            return Err(ThriftError::Malformed);
        }
        Ok((id, kind))
    }

    pub(super) fn varint(&mut self) -> Result<u64, ThriftError> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ThriftError::Malformed)
    }

    pub(super) fn integer(&mut self) -> Result<i64, ThriftError> {
        let value = self.varint()?;
        let number = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
        // The decoder has 32 bits for it.
        i32::try_from(number).map_err(|_| ThriftError::Malformed)?;
        Ok(number)
    }

    pub(super) fn size(&mut self) -> Result<u64, ThriftError> {
        u64::try_from(self.integer()?).map_err(|_| ThriftError::Malformed)
    }

    fn pass(&mut self, bytes: u64) -> Result<(), ThriftError> {
        let left = self.bytes.len() - self.at;
        let bytes = usize::try_from(bytes).map_err(|_| ThriftError::Malformed)?;
        if bytes > left {
            return Err(ThriftError::Short);
        }
        self.at += bytes;
        Ok(())
    }

    pub(super) fn skip(&mut self, kind: u8, depth: usize) -> Result<(), ThriftError> {
        match kind {
            TRUE | FALSE => Ok(()),
            I8 => self.pass(1),
            I16 | I32 | I64 => self.varint().map(drop),
            DOUBLE => self.pass(8),
            BINARY => {
                let bytes = self.varint()?;
                self.pass(bytes)
            }
            STRUCT => {
                let depth = depth.checked_sub(1).ok_or(ThriftError::Malformed)?;
                let mut before = 0;
                loop {
                    let (id, kind) = self.field(before)?;
                    before = id;
                    match kind {
                        STOP => return Ok(()),
                        _ => self.skip(kind, depth)?,
                    }
                }
            }
            LIST | SET => {
                let (size, kind) = self.list()?;
                self.skip_elements(size, &[kind], depth)
            }
            MAP => {
                let size = self.varint()?;
                if size == 0 {
                    return Ok(());
                }
                let kinds = self.byte()?;
                self.skip_elements(size, &[kinds >> 4, kinds & 0x0f], depth)
            }
            _ => Err(ThriftError::Malformed),
        }
    }

    /// The number and the kind of the elements of a list.
    pub(super) fn list(&mut self) -> Result<(u64, u8), ThriftError> {
        let byte = self.byte()?;
        let size = match byte >> 4 {
            0x0f => self.varint()?,
            size => u64::from(size),
        };
        Ok((size, byte & 0x0f))
    }

    /// Passes over so many times one element of each kind.
    fn skip_elements(&mut self, size: u64, kinds: &[u8], depth: usize) -> Result<(), ThriftError> {
        let depth = depth.checked_sub(1).ok_or(ThriftError::Malformed)?;
        for _ in 0..size {
            for kind in kinds {
                match *kind {
                    // In a list a flag is a byte; in a struct its kind says it.
                    TRUE | FALSE => self.pass(1)?,
                    kind => self.skip(kind, depth)?,
                }
            }
        }
        Ok(())
    }
}

pub(super) const STOP: u8 = 0;
pub(super) const TRUE: u8 = 1;
pub(super) const FALSE: u8 = 2;
const I8: u8 = 3;
const I16: u8 = 4;
pub(super) const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
pub(super) const LIST: u8 = 9;
const SET: u8 = 10;
pub(super) const MAP: u8 = 11;
pub(super) const STRUCT: u8 = 12;
