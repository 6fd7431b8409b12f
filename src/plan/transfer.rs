//! How a file gets into the vault: packed, streamed, copied by the store itself, or in parts, each with the reason.
//!
//! Small files are packed whatever the store can do: an object of its own costs a PUT, a lock and an archive minimum
//! each. What a store makes of the offer to copy is learnt from its first real answer in a run; this file only says
//! what follows from it.

use std::fmt;

use crate::format::page::PACKED_FILE_LIMIT;

/// A file of unknown size counts as at least this many bytes when packs are planned.
pub const UNKNOWN_SIZE: u64 = 64 * 1024;

/// Files of one pack at most: as many as one journal may name.
pub const PACK_FILES: usize = 4096;

/// How a file gets into the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CopyMethod {
    /// Read, and put together with other small files.
    Pack,
    /// Read, and put alone.
    Stream,
    /// Copied by the store itself, under a random name.
    Copy,
    /// Read, and put in parts, under a random name.
    Parts,
}

impl CopyMethod {
    /// The method as a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pack => "pack",
            Self::Stream => "stream",
            Self::Copy => "copy",
            Self::Parts => "parts",
        }
    }
}

/// Whether the vault's store copies from a source by itself, as far as a run knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerCopy {
    /// Another service, or one that makes no copies.
    Unavailable,
    /// Nothing was asked yet.
    Unknown,
    /// The store copies, and attests the SHA-256 of the whole.
    Copies,
    /// It does not, or does not say the SHA-256; why.
    Refused(String),
}

/// Why a file is moved by its method. Its text ends a sentence that begins with the method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MethodReason {
    /// It is small.
    Small,
    /// It is larger than one put or one copy may be.
    TooLargeForOnePut,
    /// Its bytes need not pass through this machine.
    StoreCopies,
    /// The store may be able to copy; its first answer will tell.
    StoreMayCopy,
    /// It lies where the vault's store cannot copy from.
    OutOfReach,
    /// The store does not prove its copies.
    Refused(String),
}

impl fmt::Display for MethodReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Small => f.write_str("it is small"),
            Self::TooLargeForOnePut => f.write_str("it is larger than one put may be"),
            Self::StoreCopies => f.write_str("the store copies it and attests its SHA-256"),
            Self::StoreMayCopy => f.write_str("the store may copy it; its first answer will tell"),
            Self::OutOfReach => f.write_str("it lies where the vault's store cannot copy from"),
            Self::Refused(why) => write!(f, "the store does not prove its copies: {why}"),
        }
    }
}

/// Chooses the method for a file of `size` bytes.
pub fn choose_method(size: u64, pair: &ServerCopy, largest_put: u64) -> (CopyMethod, MethodReason) {
    if size <= PACKED_FILE_LIMIT {
        return (CopyMethod::Pack, MethodReason::Small);
    }
    if size > largest_put {
        return (CopyMethod::Parts, MethodReason::TooLargeForOnePut);
    }
    match pair {
        ServerCopy::Copies => (CopyMethod::Copy, MethodReason::StoreCopies),
        ServerCopy::Unknown => (CopyMethod::Copy, MethodReason::StoreMayCopy),
        ServerCopy::Unavailable => (CopyMethod::Stream, MethodReason::OutOfReach),
        ServerCopy::Refused(why) => (CopyMethod::Stream, MethodReason::Refused(why.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;
    const GIB: u64 = 1024 * MIB;

    #[test]
    fn the_method_follows_from_size_and_store() {
        use CopyMethod::{Copy, Pack, Parts, Stream};
        use ServerCopy::{Copies, Unavailable, Unknown};
        let refused = || ServerCopy::Refused("no".to_owned());
        let copies = "the store copies it and attests its SHA-256";
        let may_copy = "the store may copy it; its first answer will tell";
        let apart = "it lies where the vault's store cannot copy from";
        let no_copy = "the store does not prove its copies: no";
        let too_large = "it is larger than one put may be";
        for (size, server, expected, reason) in [
            (MIB, Copies, Pack, "it is small"),
            (UNKNOWN_SIZE, Copies, Pack, "it is small"),
            (MIB + 1, Copies, Copy, copies),
            (MIB + 1, Unknown, Copy, may_copy),
            (MIB + 1, Unavailable, Stream, apart),
            (5 * GIB, refused(), Stream, no_copy),
            (5 * GIB + 1, Copies, Parts, too_large),
        ] {
            let (method, why) = choose_method(size, &server, 5 * GIB);
            assert_eq!((method, &*why.to_string()), (expected, reason), "{size}");
        }
    }
}
