//! Hashes the files in a pack while the pack streams by.

use sha2::{Digest as _, Sha256};

use super::wanted::Part;
use crate::ids::Digest;

/// The files of one pack, in the order of their offsets. They overlap only where a hostile page says so.
pub(super) struct PartHasher<'a> {
    parts: &'a [Part],
    /// The first part that has not begun.
    next: usize,
    /// Parts that have begun and not ended: index, hash so far, bytes left.
    open: Vec<(usize, Sha256, u64)>,
    at: u64,
    wrong: Vec<usize>,
}

impl<'a> PartHasher<'a> {
    /// Begins before the first byte. `parts` are sorted by offset.
    pub(super) fn new(parts: &'a [Part]) -> Self {
        Self {
            parts,
            next: 0,
            open: Vec::new(),
            at: 0,
            wrong: Vec::new(),
        }
    }

    pub(super) fn update(&mut self, chunk: &[u8]) {
        let end = self.at.saturating_add(chunk.len() as u64);
        while let Some(part) = self.parts.get(self.next).filter(|part| part.offset < end) {
            self.open.push((self.next, Sha256::new(), part.size));
            self.next += 1;
        }
        let mut still_open = Vec::new();
        for (index, mut hasher, left) in self.open.drain(..) {
            let Some(part) = self.parts.get(index) else {
                continue;
            };
            let start = to_index(part.offset.saturating_sub(self.at));
            let bytes = chunk.get(start..).unwrap_or_default();
            let bytes = bytes.get(..to_index(left)).unwrap_or(bytes);
            hasher.update(bytes);
            match left - bytes.len() as u64 {
                0 if Digest::from_hasher(hasher.clone()) == part.sha256 => {}
                0 => self.wrong.push(index),
                left => still_open.push((index, hasher, left)),
            }
        }
        self.open = still_open;
        self.at = end;
    }

    /// The parts whose bytes do not have their SHA-256, or do not end inside the pack.
    pub(super) fn finish(mut self) -> Vec<usize> {
        self.wrong
            .extend(self.open.iter().map(|(index, ..)| *index));
        // An empty file at the very end has no byte that would have begun it.
        let rest = self.parts.iter().enumerate().skip(self.next);
        self.wrong.extend(
            rest.filter(|(_, part)| {
                part.size > 0 || part.offset > self.at || part.sha256 != Digest::of(b"")
            })
            .map(|(index, _)| index),
        );
        self.wrong.sort_unstable();
        self.wrong
    }
}

/// An offset into a chunk; one that no chunk can reach is past its end.
fn to_index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Location;

    fn part(offset: u64, size: u64, bytes: &[u8]) -> Part {
        Part {
            offset,
            size,
            sha256: Digest::of(bytes),
            file: Location::Outside(format!("{offset}")),
            units: vec![0],
        }
    }

    fn wrong(parts: &[Part], pack: &[u8], chunk: usize) -> Vec<usize> {
        let mut hasher = PartHasher::new(parts);
        pack.chunks(chunk).for_each(|chunk| hasher.update(chunk));
        hasher.finish()
    }

    #[test]
    fn parts_are_hashed_wherever_chunks_end() {
        let pack = b"abcdefghij";
        let parts = [
            part(0, 3, b"abc"),
            part(0, 0, b""),
            part(3, 4, b"defg"),
            part(5, 2, b"fg"),
            part(7, 0, b""),
            part(7, 3, b"hij"),
            part(10, 0, b""),
        ];
        for chunk in 1..=11 {
            assert!(wrong(&parts, pack, chunk).is_empty(), "{chunk}");
        }
    }

    #[test]
    fn wrong_parts_are_told_apart_from_right_ones() {
        let pack = b"abcdefghij";
        let parts = [
            part(0, 3, b"abd"),
            part(3, 4, b"defg"),
            part(4, 0, b"x"),
            part(7, 4, b"hij"),
            part(10, 0, b"x"),
            part(11, 0, b""),
            part(12, 1, b"m"),
        ];
        for chunk in 1..=11 {
            assert_eq!(wrong(&parts, pack, chunk), [0, 2, 3, 4, 5, 6], "{chunk}");
        }
    }
}
