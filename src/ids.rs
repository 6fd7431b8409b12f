//! The newtypes of the vault: every string or number with a rule is parsed once, here, and carries its rule
//! from then on.
//!
//! Nothing here does I/O, reads a clock or draws random numbers; callers bring the bytes.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::visible::shortened;

/// A point in time, UTC. Encoded as RFC 3339 with a trailing `Z`.
pub use jiff::Timestamp;

/// A string that breaks the rule of the type it was parsed as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {:?} is not valid: {rule}", shortened(text, 300))]
pub struct InvalidId {
    /// What was being parsed, e.g. `digest`.
    pub what: &'static str,
    /// The text that broke the rule.
    pub text: String,
    /// The rule, as a phrase.
    pub rule: &'static str,
}

impl InvalidId {
    pub(crate) fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self {
            what,
            text: text.to_owned(),
            rule,
        }
    }
}

/// Implements `Display`-based serde for a type that has `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(AsText(PhantomData))
            }
        }
    };
}

/// Implements the spelling of a type that is bytes in lower-case hex: `Display`, `Debug`, `FromStr`, serde.
macro_rules! spelled_in_hex {
    ($type:ident, $what:literal, $rule:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($type))
            }
        }
        impl FromStr for $type {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let bytes = parse_hex(text).map(Self);
                bytes.ok_or_else(|| InvalidId::new($what, text, $rule))
            }
        }
        serde_as_text!($type);
    };
}

/// Parses a text where it stands: pages are full of digests and keys, and a copy of each would show.
struct AsText<T>(PhantomData<T>);

impl<T: FromStr<Err = InvalidId>> serde::de::Visitor<'_> for AsText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// The SHA-256 of some bytes.
///
/// ```
/// use deltavault::ids::Digest;
/// let digest = Digest::of(b"delta");
/// assert_eq!(digest.to_string().len(), 64);
/// assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Takes over a finished hash.
    pub fn from_hasher(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// Takes 32 bytes for a digest that was computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 8 hex digits, for people.
    pub fn short(&self) -> String {
        self.to_string().chars().take(8).collect()
    }
}

spelled_in_hex!(Digest, "digest", "64 lower-case hex digits");

/// 128 random bits that name a vault, a run or a copy. Written as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id128([u8; 16]);

impl Id128 {
    /// Makes an id from 16 bytes that the caller drew.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The id as one number, its first hex digit the highest.
    pub fn as_u128(self) -> u128 {
        u128::from_be_bytes(self.0)
    }
}

spelled_in_hex!(Id128, "id", "32 lower-case hex digits");

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // One write for all digits, from the stack: a page is full of digests, and formatting byte by byte shows.
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or(b'0');
    let mut text = [0; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    let text = text.get(..2 * bytes.len()).ok_or(fmt::Error)?;
    f.write_str(std::str::from_utf8(text).map_err(|_| fmt::Error)?)
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = hex_digit(high)? << 4 | hex_digit(low)?;
    }
    Some(out)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// The id of a snapshot: the SHA-256 of its record's bytes. People type its first 4 or more hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(pub Digest);

impl SnapshotId {
    /// The first 8 hex digits, for people.
    pub fn short(&self) -> String {
        self.0.short()
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A version of a Delta table, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The name of an object below the root of a store (a vault, or a table).
///
/// Not empty, at most 1,024 bytes, no leading `/`, no NUL. Everything else is legal on S3; a store that
/// cannot express a key (a folder and `..`) refuses it when it is used.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// The key as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether any `/`-separated segment is empty, `.` or `..`: such a key cannot be a path below a folder.
    pub fn has_odd_segment(&self) -> bool {
        self.0
            .split('/')
            .any(|segment| matches!(segment, "" | "." | ".."))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl FromStr for ObjectKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if text.is_empty() || text.len() > 1024 || text.starts_with('/') || text.contains('\0') {
            let rule = "1 to 1024 bytes, no leading slash, no NUL";
            return Err(InvalidId::new("object key", text, rule));
        }
        Ok(Self(text.to_owned()))
    }
}
serde_as_text!(ObjectKey);

/// The id that a versioned store gives to one write of a key. Never called a version: that is Delta's word.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ObjectVersion(pub String);

/// An opaque tag of an object's content as a store gives it; never a content hash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(pub String);

/// Where a file that the log names lives.
///
/// `Inside` sorts before `Outside`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Location {
    /// Below the table's root, percent-decoded: the real object key.
    #[serde(rename = "key")]
    Inside(ObjectKey),
    /// Elsewhere: a canonical, percent-decoded URI (`s3://bucket/key`, `file:/folder/file`).
    #[serde(rename = "uri")]
    Outside(String),
}

impl Location {
    /// The key or the URI.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Inside(key) => key.as_str(),
            Self::Outside(uri) => uri,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The generation of locks in which an object was put or adopted; 0 in a vault without locks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

/// The permission bits of a file in a folder: reading, writing and executing by owner, group and others. Never the bits
/// above them (setuid, setgid, sticky).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct FileMode(u32);

impl FileMode {
    const BITS: u32 = 0o777;

    /// The permission bits of a mode as the operating system has it.
    pub fn of(mode: u32) -> Self {
        Self(mode & Self::BITS)
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for FileMode {
    type Error = InvalidId;

    fn try_from(mode: u32) -> Result<Self, InvalidId> {
        if mode > Self::BITS {
            let rule = "no bits but those of 0o777";
            return Err(InvalidId::new("file mode", &format!("{mode:#o}"), rule));
        }
        Ok(Self(mode))
    }
}

impl From<FileMode> for u32 {
    fn from(mode: FileMode) -> Self {
        mode.0
    }
}

impl fmt::Debug for FileMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileMode({:#o})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_mode_is_permission_bits_alone() {
        assert_eq!(FileMode::of(0o104_755), FileMode::of(0o755));
        let read = |text: &str| serde_json::from_str::<FileMode>(text);
        assert_eq!(read("511").unwrap().bits(), 0o777);
        assert_eq!(serde_json::to_string(&FileMode::of(0o640)).unwrap(), "416");
        for bad in ["512", "2541", "-1", "416.0", "\"0640\"", "4294967712"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn digest_parses_only_64_lower_case_hex_digits() {
        let good = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
        assert_eq!(good.parse::<Digest>().unwrap(), Digest::of(b"foo"));
        assert!(good.to_uppercase().parse::<Digest>().is_err());
        assert!(good[1..].parse::<Digest>().is_err());
        assert!(format!("{good}00").parse::<Digest>().is_err());
    }

    #[test]
    fn object_key_refuses_what_no_store_can_name() {
        for bad in ["", "/a", "a\0b", &"x".repeat(1025)] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad:?}");
        }
        for odd in ["a//b", "../x", "a/./b"] {
            assert!(
                odd.parse::<ObjectKey>().unwrap().has_odd_segment(),
                "{odd:?}"
            );
        }
        assert!(!"a/b c/%25".parse::<ObjectKey>().unwrap().has_odd_segment());
    }
}
