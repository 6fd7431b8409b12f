//! Finds lost bytes: in other objects of the vault, at the live table, among this machine's pages, in a replica.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::places::{Places, unless_damaged};
use super::{Origin, Repairer};
use crate::error::Error;
use crate::format::manifest::MANIFEST_LIMIT;
use crate::format::pack::{PackLine, encode_trailer};
use crate::format::page::PAGE_LIMIT;
use crate::format::{Entry, Placement, Reference, TableKey};
use crate::ids::{Digest, Generation, Location, ObjectKey, ObjectVersion};
use crate::source::{Source, collect};
use crate::spool::IN_MEMORY_LIMIT;
use crate::store::{Payload, PayloadData, ReadStore, read_range};
use crate::vault::verify::{Lost, LostKind, PackedFile};

impl Origin {
    /// Where the bytes of two come from together: files of one table from the folder that both are below.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (one, other) if one == other => one,
            (Self::Live(one), Self::Live(other)) => {
                let same = one.split_inclusive('/').zip(other.split_inclusive('/'));
                let same = same.take_while(|(one, other)| one == other);
                let folder: String = same.map(|(segment, _)| segment).collect();
                // Of two buckets nothing but the scheme is the same.
                if folder.matches('/').count() > 3 || folder.starts_with("file:///") {
                    Self::Live(folder)
                } else {
                    Self::Mixed
                }
            }
            (_, _) => Self::Mixed,
        }
    }
}

/// What was found of a pack.
#[derive(Default)]
pub(super) struct FoundPack {
    pub(super) whole: Option<Bytes>,
    pub(super) origin: Option<Origin>,
    /// The lost files that were found.
    pub(super) files: Vec<(Payload, Origin)>,
    pub(super) still_lost: Vec<String>,
}

impl Lost {
    /// The bytes that are lost: of a pack, those of its lost files.
    pub fn lost_bytes(&self) -> u64 {
        if self.is_only_locked_short() {
            return 0;
        }
        match &self.what {
            LostKind::Manifest | LostKind::Page | LostKind::File => self.size,
            LostKind::Pack(files) => {
                let lost = files.iter().filter(|file| file.is_lost);
                lost.fold(0, |sum, file| sum.saturating_add(file.size))
            }
        }
    }

    pub(super) fn reference(&self) -> Reference {
        Reference {
            generation: Generation::default(),
            key: self.key.clone(),
            sha256: self.sha256,
            size: self.size,
            version: self.version.clone(),
        }
    }

    /// Whether nothing of it is lost, and what serves in its place is locked for too short a time.
    pub fn is_only_locked_short(&self) -> bool {
        !self.substitutes.is_empty()
    }

    /// What of it is lost: files of a pack by their names, anything else by its key.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.what {
            LostKind::Manifest | LostKind::Page | LostKind::File => vec![self.key.to_string()],
            LostKind::Pack(files) => {
                let lost = files.iter().filter(|file| file.is_lost);
                lost.map(|file| file.file.to_string()).collect()
            }
        }
    }

    /// The digests of the files that are lost, as entries name them.
    pub(super) fn digests(&self) -> Vec<Digest> {
        match &self.what {
            LostKind::Manifest | LostKind::Page => Vec::new(),
            LostKind::File => vec![self.sha256],
            LostKind::Pack(files) => {
                let lost = files.iter().filter(|file| file.is_lost);
                lost.map(|file| file.sha256).collect()
            }
        }
    }

    fn limit(&self) -> u64 {
        match self.what {
            LostKind::Manifest => MANIFEST_LIMIT,
            LostKind::Page => PAGE_LIMIT,
            LostKind::File | LostKind::Pack(_) => self.size,
        }
    }
}

impl Repairer {
    /// The first place where lost bytes seem to be. No file is read whole yet.
    pub(super) async fn look(&self, lost: &Lost, places: &Places) -> Option<Origin> {
        if lost.is_only_locked_short() {
            return Some(Origin::Substitute);
        }
        match &lost.what {
            LostKind::Manifest | LostKind::Page => {
                let found = self.structure(lost).await;
                found.map(|(_, origin)| origin)
            }
            LostKind::File => self.look_for(lost.sha256, &lost.key, places).await,
            LostKind::Pack(files) => {
                let mut found: Option<Origin> = None;
                for file in files.iter().filter(|file| file.is_lost) {
                    let origin = self.look_for(file.sha256, &lost.key, places).await;
                    found = match (found, origin) {
                        (Some(found), Some(origin)) => Some(found.and(origin)),
                        (found, origin) => found.or(origin),
                    };
                }
                found
            }
        }
    }

    async fn look_for(&self, sha256: Digest, was: &ObjectKey, places: &Places) -> Option<Origin> {
        for (table, entry) in places.of(sha256) {
            if let Some(reference) = entry.placement.reference().filter(|it| it.key != *was) {
                let there = self.vault.store();
                let there = there.attributes(&reference.key, reference.version.as_ref());
                if there.await.is_ok_and(|there| there.size == reference.size) {
                    return Some(Origin::Vault(reference.key.clone()));
                }
            }
            if matches!(entry.placement, Placement::Inline(_)) {
                return Some(Origin::Mixed);
            }
            if let Some(source) = self.source(places, table).await
                && let Ok(there) = source.attributes(&entry.file).await
                && there.size == entry.size
            {
                return Some(live(&source, &entry.file));
            }
            if self.noncurrent(places, table, entry).await.is_some() {
                return Some(Origin::Live(entry.file.to_string()));
            }
        }
        let replica = self.replica.as_ref()?;
        let (_, entry) = places.of(sha256).next()?;
        let reference = entry.placement.reference()?;
        let there = replica.store().list_versions(reference.key.as_str(), None);
        let is_there = there.boxed().next().await.is_some_and(|row| row.is_ok());
        is_there.then(|| Origin::Replica(replica.uri().to_owned()))
    }

    /// Reads a manifest or a page from wherever it is.
    pub(super) async fn structure(&self, lost: &Lost) -> Option<(Bytes, Origin)> {
        if let (LostKind::Page, Some(pages)) = (&lost.what, &self.pages)
            && let Some(bytes) = pages.read(lost.sha256, lost.size)
        {
            return Some((bytes, Origin::Cache));
        }
        let replica = self.replica.as_ref()?;
        let bytes = replica.read(&lost.reference(), lost.limit()).await.ok()?;
        Some((bytes, Origin::Replica(replica.uri().to_owned())))
    }

    /// Reads a file from wherever its bytes are; `was` is the object that has lost them.
    pub(super) async fn file(
        &self,
        sha256: Digest,
        was: &ObjectKey,
        places: &Places,
    ) -> Result<Option<(Payload, Origin)>, Error> {
        let is_right = |payload: &Payload| payload.sha256 == sha256;
        for (table, entry) in places.of(sha256) {
            let elsewhere = entry.placement.reference().is_none_or(|it| it.key != *was);
            if elsewhere
                && let Some(payload) = unless_damaged(self.vault.payload(entry, &self.temp).await)?
                && is_right(&payload)
            {
                let key = entry.placement.reference().map(|it| it.key.clone());
                return Ok(Some((payload, key.map_or(Origin::Mixed, Origin::Vault))));
            }
            if let Some(source) = self.source(places, table).await {
                let origin = live(&source, &entry.file);
                if let Ok(fetched) = source.fetch(&entry.file, &self.temp).await
                    && is_right(&fetched.payload)
                {
                    return Ok(Some((fetched.payload, origin)));
                }
                if let Some((store, key, version)) = self.noncurrent(places, table, entry).await
                    && let Ok(reader) = store.open(&key, Some(&version), None).await
                    && let Ok(fetched) =
                        collect(store.as_ref(), reader, IN_MEMORY_LIMIT, &self.temp).await
                    && is_right(&fetched.payload)
                {
                    return Ok(Some((fetched.payload, origin)));
                }
            }
        }
        if let Some(replica) = &self.replica {
            for (_, entry) in places.of(sha256) {
                if let Ok(payload) = replica.payload(entry, &self.temp).await
                    && is_right(&payload)
                {
                    return Ok(Some((payload, Origin::Replica(replica.uri().to_owned()))));
                }
            }
        }
        Ok(None)
    }

    /// Reads the files of a pack, those that are not lost from itself. Only where every byte of the pack is one of theirs
    /// can all of it be put again; else its files are put one by one.
    pub(super) async fn pack(
        &self,
        lost: &Lost,
        files: &[PackedFile],
        places: &Places,
    ) -> Result<FoundPack, Error> {
        let mut found = FoundPack::default();
        if let Some(replica) = &self.replica
            && let Ok(bytes) = replica.read(&lost.reference(), lost.size).await
        {
            found.whole = Some(bytes);
            found.origin = Some(Origin::Replica(replica.uri().to_owned()));
            return Ok(found);
        }
        let mut whole = BytesMut::new();
        let mut origins: Vec<Origin> = Vec::new();
        let mut seen = HashSet::new();
        for file in files {
            let bytes = if file.is_lost {
                if let Some((payload, origin)) = self.file(file.sha256, &lost.key, places).await? {
                    let bytes = in_memory(&payload);
                    if seen.insert(file.sha256) {
                        found.files.push((payload, origin.clone()));
                    }
                    origins.push(origin);
                    bytes
                } else {
                    found.still_lost.push(file.file.to_string());
                    None
                }
            } else {
                let range = file.offset..file.offset.saturating_add(file.size);
                let version = lost.version.as_ref();
                let read = read_range(self.vault.store(), &lost.key, version, range).await;
                read.ok().filter(|bytes| Digest::of(bytes) == file.sha256)
            };
            // Two references to one part of the pack are one part of it.
            let end = whole.len() as u64;
            if let Some(bytes) = bytes
                && file.offset == end
            {
                whole.extend_from_slice(&bytes);
            }
        }
        if is_pack(&mut whole, lost, files, places) {
            found.whole = Some(whole.freeze());
            found.origin = origins.into_iter().reduce(Origin::and);
        }
        Ok(found)
    }

    async fn source(&self, places: &Places, table: usize) -> Option<Source> {
        let identity = places.identity(table)?;
        match (self.open)(identity).await {
            Ok(source) => Some(source),
            Err(error) => {
                tracing::info!(table = identity.uri, %error, "the live table cannot be read");
                None
            }
        }
    }

    /// The object version that was copied once, where it may still lie below others at the source.
    async fn noncurrent(
        &self,
        places: &Places,
        table: usize,
        entry: &Entry,
    ) -> Option<(Arc<dyn ReadStore>, ObjectKey, ObjectVersion)> {
        let version = entry.object_version.clone()?;
        let source = self.source(places, table).await?;
        let (store, key) = source.locate(&entry.file).ok()?;
        let there = store.attributes(&key, Some(&version)).await.ok()?;
        (there.size == entry.size).then_some((store, key, version))
    }
}

/// Whether the files of a pack, one behind the other, are all of it once they have their trailer, which they get. A pack
/// whose trailer would be too large has none.
fn is_pack(whole: &mut BytesMut, lost: &Lost, files: &[PackedFile], places: &Places) -> bool {
    let end = whole.len();
    let tables = files.iter().flat_map(|file| places.of(file.sha256));
    let mut tables: Vec<usize> = tables.map(|(table, _)| table).collect();
    tables.sort_unstable();
    tables.dedup();
    let tables = tables.into_iter().filter_map(|table| {
        let identity = places.identity(table)?;
        TableKey::of(&identity.source, &identity.uri.parse().ok()?).ok()
    });
    let trailers = tables.filter_map(|table| {
        let lines = files.iter().map(|file| PackLine {
            file: &file.file,
            offset: file.offset,
            sha256: file.sha256,
            size: file.size,
        });
        encode_trailer(&table, lines).ok()
    });
    for trailer in trailers.chain([Vec::new()]) {
        whole.truncate(end);
        whole.extend_from_slice(&trailer);
        if Digest::of(whole) == lost.sha256 {
            return true;
        }
    }
    false
}

fn live(source: &Source, file: &Location) -> Origin {
    Origin::Live(match file {
        Location::Inside(key) => format!("{}/{key}", source.uri()),
        Location::Outside(uri) => uri.clone(),
    })
}

fn in_memory(payload: &Payload) -> Option<Bytes> {
    match &payload.data {
        PayloadData::Bytes(bytes) => Some(bytes.clone()),
        PayloadData::File(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_table_come_from_its_folder() {
        let live = |uri: &str| Origin::Live(uri.to_owned());
        let both = |one: &str, other: &str| live(one).and(live(other));
        assert_eq!(both("s3://a/t/x", "s3://a/t/x"), live("s3://a/t/x"));
        assert_eq!(both("s3://a/t/p=1/x", "s3://a/t/p=2/x"), live("s3://a/t/"));
        assert_eq!(both("s3://a/t/", "s3://a/t/p=2/x"), live("s3://a/t/"));
        assert_eq!(both("file:///t/p/x", "file:///t/q"), live("file:///t/"));
        assert_eq!(both("s3://a/t/x", "s3://b/t/x"), Origin::Mixed);
        assert_eq!(both("s3://a/x", "s3://a/y"), Origin::Mixed);
        assert_eq!(live("s3://a/t/x").and(Origin::Cache), Origin::Mixed);
        assert_eq!(Origin::Cache.and(Origin::Cache), Origin::Cache);
    }
}
