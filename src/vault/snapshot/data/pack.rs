//! Packs: one buffer for all files of a pack and its trailer, each file read straight to its place there.
//!
//! Hundreds of bodies are on their way at a time. Were each collected first and then copied, a run would need its
//! memory twice, and leave it in pieces that no pack fits into.

use bytes::BytesMut;
use futures::stream::{self, StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};

use super::{Copier, Outcome, ReadFile, placed};
use crate::error::Error;
use crate::format::pack::{PackLine, encode_trailer, likely_trailer};
use crate::format::{Placement, TableKey};
use crate::ids::Digest;
use crate::plan::snapshot::Need;
use crate::source::{Fetched, collect};
use crate::store::{ObjectReader, Payload, PayloadData, ReadStore, StoreError, StoreErrorKind};

/// What became of one file of a pack.
enum Member {
    /// Its bytes, in their place.
    Here(ReadFile, BytesMut),
    /// It is larger than anybody could know, and waits on disk.
    Large(Fetched),
    /// It is not there, or not what the log says.
    Not(Outcome),
}

impl Copier {
    /// Reads small files, puts them together as one object, and those alone that turn out to be large.
    pub(super) async fn copy_pack(&self, needs: Vec<Need>) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::with_capacity(needs.len());
        let mut pack = Pack::with_capacity(needs.len());
        // In the order of the plan, so that a second run makes the same packs.
        let mut members = stream::iter(places(needs))
            .map(|(need, place)| async move {
                let member = self.read_member(&need, place).await;
                (need, member)
            })
            .buffered(self.run.budget.at_once());
        while let Some((need, member)) = members.next().await {
            match member? {
                Member::Here(read, bytes) => pack.add(need, read, bytes),
                Member::Large(fetched) => outcomes.push(self.place_alone(need, fetched).await?),
                Member::Not(outcome) => outcomes.push(outcome),
            }
        }
        drop(members);
        if pack.files.is_empty() {
            return Ok(outcomes);
        }
        let alone = pack.files.len() == 1;
        let (payload, files) = pack.into_payload(self.terms.table());
        let reference = self.placer().blob(&payload).await?;
        outcomes.extend(files.into_iter().map(|(need, read, offset)| {
            let placement = Placement::Blob {
                offset: (!alone).then_some(offset),
                reference: reference.clone(),
            };
            placed(need, read, placement)
        }));
        Ok(outcomes)
    }

    async fn read_member(&self, need: &Need, mut place: BytesMut) -> Result<Member, Error> {
        let _turn = self.run.budget.request(need.likely_size()).await;
        let (store, reader) = match self.open(need).await? {
            Ok(opened) => opened,
            Err(outcome) => return Ok(Member::Not(outcome)),
        };
        let size = reader.attributes.size;
        if size > place.capacity() as u64 {
            let fetched = collect(store.as_ref(), reader, 0, &self.folder).await?;
            return Ok(Member::Large(fetched));
        }
        let attributes = reader.attributes.clone();
        let sha256 = read_into(store.as_ref(), reader, &mut place).await?;
        let read = ReadFile {
            attributes,
            sha256,
            size,
        };
        Ok(Member::Here(read, place))
    }
}

/// The bytes of a pack, as far as can be known before they are read, its trailer included.
pub(super) fn room(needs: &[Need]) -> usize {
    let files: usize = needs.iter().map(room_of).sum();
    files + likely_trailer(needs.iter().map(|need| &need.file))
}

fn room_of(need: &Need) -> usize {
    usize::try_from(need.likely_size()).unwrap_or_default()
}

/// The places of the files in one buffer, one behind the other; room for the trailer is left behind them.
fn places(needs: Vec<Need>) -> impl Iterator<Item = (Need, BytesMut)> + Send {
    let mut rest = BytesMut::with_capacity(room(&needs));
    needs.into_iter().map(move |need| {
        let behind = rest.split_off(room_of(&need).min(rest.capacity()));
        let place = std::mem::replace(&mut rest, behind);
        (need, place)
    })
}

/// Reads a body to its end, which must come where the store said, and hashes it.
async fn read_into(
    store: &dyn ReadStore,
    mut reader: ObjectReader,
    place: &mut BytesMut,
) -> Result<Digest, StoreError> {
    let expected = reader.attributes.size;
    let key = reader.attributes.key.as_str();
    let failed = |sent: String| {
        let detail = format!("the object has {expected} bytes, but {sent}");
        StoreError::below("read", store.uri(), key, StoreErrorKind::Io { detail })
    };
    let mut hasher = Sha256::new();
    while let Some(chunk) = reader.body.try_next().await? {
        // Past its place lies that of the next file.
        if (place.len() + chunk.len()) as u64 > expected {
            return Err(failed("more were sent".to_owned()));
        }
        hasher.update(&chunk);
        place.extend_from_slice(&chunk);
    }
    let size = place.len() as u64;
    if size < expected {
        return Err(failed(format!("only {size} were sent")));
    }
    Ok(Digest::from_hasher(hasher))
}

struct Pack {
    bytes: BytesMut,
    hasher: Sha256,
    files: Vec<(Need, ReadFile, u64)>,
}

impl Pack {
    fn with_capacity(files: usize) -> Self {
        Self {
            bytes: BytesMut::new(),
            hasher: Sha256::new(),
            files: Vec::with_capacity(files),
        }
    }

    /// Joins a file to those before it: without a copy, but behind a gap that a missing one left.
    fn add(&mut self, need: Need, read: ReadFile, bytes: BytesMut) {
        let offset = self.bytes.len() as u64;
        // File by file, so that no thread is kept busy by a whole pack at once.
        self.hasher.update(&bytes);
        self.bytes.unsplit(bytes);
        self.files.push((need, read, offset));
    }

    /// Ends it: behind several files with a trailer. One file alone is a blob of its own SHA-256.
    fn into_payload(mut self, table: &TableKey) -> (Payload, Vec<(Need, ReadFile, u64)>) {
        if self.files.len() > 1 {
            let lines = self.files.iter().map(|(need, read, offset)| PackLine {
                file: &need.file,
                offset: *offset,
                sha256: read.sha256,
                size: read.size,
            });
            // Names so long that it has no room serve nobody who splits packs by hand.
            let trailer = encode_trailer(table, lines).unwrap_or_default();
            self.hasher.update(&trailer);
            self.bytes.extend_from_slice(&trailer);
        }
        let payload = Payload {
            sha256: Digest::from_hasher(self.hasher),
            size: self.bytes.len() as u64,
            data: PayloadData::Bytes(self.bytes.freeze()),
        };
        (payload, self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::EntryKind;
    use crate::ids::Location;

    fn need(name: &str, size: u64) -> Need {
        let file = Location::Inside(name.parse().unwrap());
        Need::plain(file, EntryKind::Data, Some(size), true)
    }

    #[test]
    fn places_lie_behind_one_another_and_join_without_a_copy() {
        let needs = vec![need("a", 3), need("b", 0), need("c", 4)];
        let mut places: Vec<_> = places(needs).map(|(_, place)| place).collect();
        let capacities: Vec<_> = places.iter().map(BytesMut::capacity).collect();
        assert_eq!(capacities, [3, 0, 4]);
        for (place, text) in places.iter_mut().zip(["abc", "", "defg"]) {
            place.extend_from_slice(text.as_bytes());
        }
        let begin = places[0].as_ptr();
        let mut whole = BytesMut::new();
        places.drain(..).for_each(|place| whole.unsplit(place));
        assert_eq!(whole, "abcdefg");
        whole.extend_from_slice(&[b'x'; 3 * 160]);
        assert_eq!(whole.as_ptr(), begin, "room for the trailer");
    }

    #[test]
    fn a_gap_between_places_is_closed() {
        let mut places: Vec<_> = places(vec![need("a", 3), need("b", 9), need("c", 4)])
            .map(|(_, place)| place)
            .collect();
        places[0].extend_from_slice(b"abc");
        places[2].extend_from_slice(b"defg");
        let (last, mut first) = (places.remove(2), places.remove(0));
        first.unsplit(last);
        assert_eq!(first, "abcdefg");
    }
}
