//! Looks whether the source still has the files that a snapshot's version needs: one listing of the whole table.
//!
//! An ordinary night never lists the data prefix, so a file that something deletes from under a table that does not
//! change is noticed only when somebody reads it. This is for a weekly run. The snapshot is published already and holds
//! the files: what is found here is about the live table. Only of what the source lacks is the vault asked, too: nobody
//! else has it any more. No file is read: that one was written again with the same size is
//! told by its tag. Files outside the table's root are not in the listing; each is asked for alone.
//!
//! What the version needs comes from the manifest's data pages through an external sort, so memory does not grow with
//! the table; of what is missing, counts and the first few names are kept.

use std::io;
use std::iter::Peekable;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::presence::{self, Looked};
use super::request::SnapshotDone;
use super::snapshotter::Snapshotter;
use crate::delta::LogFile;
use crate::delta::segment::LogListing;
use crate::error::Error;
use crate::format::{Entry, EntryKind, Manifest, Record};
use crate::ids::{Location, Version};
use crate::plan::snapshot::ByFile;
use crate::progress::Phase;
use crate::shell::operand;
use crate::sort::{Sorted, Sorter};
use crate::source::Source;
use crate::spool::{Rows, Scratch};
use crate::store::{Attributes, StoreErrorKind};
use crate::vault::listing::{KnownKeys, Listed, list_all};

const NAMED: usize = 10;

/// Files outside the root that are asked for at a time: S3 answers many small requests side by side.
const REQUESTS_AHEAD: usize = 32;

/// What a look at the source came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceCheck {
    /// Files that the version needs, all of them looked for.
    pub files: u64,
    /// How many of them are gone, have another size or could not be looked at.
    pub faults: u64,
    /// How many of those that are gone the vault has lost, too.
    pub lost: u64,
    /// What the owner should know; empty when the source has them all.
    pub findings: Vec<String>,
}

/// What one entry of the manifest says about a file. The order of the fields has no meaning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Said {
    is_live: bool,
    /// What is held, where the entry is the file's own.
    held: Option<Box<Entry>>,
}

/// A file that the pinned version needs, and what is held.
type Needed = (Location, Option<Box<Entry>>);

impl Snapshotter {
    /// Looks whether the source still has every file that the version of a published snapshot needs.
    ///
    /// # Errors
    /// What the stores say; the snapshot stays published.
    pub async fn check_live_files(
        &self,
        source: &Source,
        done: &SnapshotDone,
    ) -> Result<SourceCheck, Error> {
        let record = &done.record;
        self.progress.phase(&record.table.name, Phase::CheckSource);
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let manifest = self.vault.manifest(record).await?;
        let (rows, known) = self.said_of_files(&manifest, &scratch).await?;
        let mut needed = NeededFiles(rows.finish()?.peekable());
        let mut seen = Seen::new(&scratch)?;
        let ends = known.range_ends(source.root().as_ref());
        let mut listed = Listed::of(list_all(source.root().as_ref(), &ends)).await?;
        let mut outside = None;
        for row in needed.by_ref() {
            let (file, held) = row?;
            let Location::Inside(key) = &file else {
                // Sorted behind all that is inside.
                outside = Some((file, held));
                break;
            };
            seen.see(&file, held.as_deref(), listed.find(key).await?)?;
        }
        drop(listed);
        let outside = outside.map(Ok).into_iter().chain(needed);
        let mut answers = stream::iter(outside)
            .map(async |row: Result<Needed, Error>| {
                let (file, held) = row?;
                let found = source.attributes(&file).await;
                Ok::<_, Error>((file, held, found))
            })
            .buffered(REQUESTS_AHEAD);
        while let Some((file, held, found)) = answers.try_next().await? {
            match found {
                Ok(found) => seen.see(&file, held.as_deref(), Some(&found))?,
                Err(error) if error.is_not_found() => seen.see(&file, held.as_deref(), None)?,
                Err(error) => seen.see_nothing(&file, &error.kind),
            }
        }
        let lost = self.lost_too(&mut seen, &scratch).await?;
        let newer = if seen.faults() > 0 {
            newer_version(source, record.version).await
        } else {
            None
        };
        Ok(SourceCheck {
            files: seen.files,
            faults: seen.faults(),
            lost: lost.count,
            findings: seen.findings(done, newer, &lost),
        })
    }

    /// Looks for what the source lacks in the vault.
    async fn lost_too(&self, seen: &mut Seen, scratch: &Scratch) -> Result<Named, Error> {
        let none = Rows::create(scratch).map_err(Error::Scratch)?;
        let gone = std::mem::replace(&mut seen.gone_but_held, none);
        let mut looks = stream::iter(gone.read().map_err(Error::Scratch)?)
            .map(async |entry: io::Result<Entry>| {
                let entry = entry.map_err(Error::Scratch)?;
                let looked = presence::look_at(&self.vault, &entry, scratch.path()).await?;
                Ok::<_, Error>((entry, looked))
            })
            .buffered(REQUESTS_AHEAD);
        let mut lost = Named::default();
        while let Some((entry, looked)) = looks.try_next().await? {
            if let Looked::Lost(object) = looked {
                lost.add(|| format!("{} (in {object})", entry.file));
            }
        }
        Ok(lost)
    }

    /// What the data pages say of each file that the version may need.
    async fn said_of_files(
        &self,
        manifest: &Manifest,
        scratch: &Scratch,
    ) -> Result<(Sorter<ByFile<Said>>, KnownKeys), Error> {
        let mut rows: Sorter<ByFile<Said>> = Sorter::new(scratch.path())?;
        let mut known = KnownKeys::default();
        let mut entries = self.vault.entries(&manifest.data_pages);
        while let Some(entry) = entries.try_next().await? {
            if let Location::Inside(key) = &entry.file {
                known.see(key);
            }
            let vectors = entry.live.iter().filter_map(|used| used.dv.as_ref());
            for file in vectors.filter_map(|dv| dv.file.clone()) {
                let (is_live, held) = (true, None);
                let row = Said { is_live, held };
                rows.push(ByFile { file, row })?;
            }
            let file = entry.file.clone();
            if let Some(row) = said_by(entry) {
                rows.push(ByFile { file, row })?;
            }
        }
        Ok((rows, known))
    }
}

/// What an entry says of its own file; nothing when no version's rows need it.
fn said_by(entry: Entry) -> Option<Said> {
    let is_live = !entry.live.is_empty();
    // A file of deletion vectors is live when a data file says so.
    let may_be_live = is_live || entry.kind == EntryKind::DeletionVector;
    may_be_live.then_some(Said {
        is_live,
        held: Some(Box::new(entry)),
    })
}

/// The version that has been committed since, if any; only for the wording, so a log that cannot be listed has none.
async fn newer_version(source: &Source, version: Version) -> Option<Version> {
    let listed = source.list_log(Some(version), LogFile::is_one).await.ok()?;
    let newest = LogListing::new(listed).newest().ok()?;
    (newest > version).then_some(newest)
}

/// The files that the version needs, each once, in the order of their locations.
struct NeededFiles(Peekable<Sorted<ByFile<Said>>>);

impl Iterator for NeededFiles {
    type Item = Result<Needed, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let ByFile { file, row: mut all } = match self.0.next()? {
                Ok(row) => row,
                Err(error) => return Some(Err(error.into())),
            };
            while let Some(next) = self
                .0
                .next_if(|next| next.as_ref().map_or(true, |next| next.file == file))
            {
                match next {
                    Ok(ByFile { row, .. }) => {
                        all.is_live |= row.is_live;
                        all.held = all.held.or(row.held);
                    }
                    Err(error) => return Some(Err(error.into())),
                }
            }
            if all.is_live {
                return Some(Ok((file, all.held)));
            }
        }
    }
}

/// Files of one kind: how many, and the first few as a finding names them.
#[derive(Debug, Default)]
struct Named {
    count: u64,
    names: Vec<String>,
}

impl Named {
    fn add(&mut self, name: impl FnOnce() -> String) {
        self.count += 1;
        if self.names.len() < NAMED {
            self.names.push(name());
        }
    }

    fn list(&self) -> String {
        let more = self.count.saturating_sub(self.names.len() as u64);
        let names = self.names.join(", ");
        if more == 0 {
            names
        } else {
            format!("{names} and {more} more")
        }
    }
}

struct Seen {
    files: u64,
    gone: Named,
    /// What is held of files that are gone.
    gone_but_held: Rows<Entry>,
    other_size: Named,
    put_again: Named,
    unknown: Named,
}

impl Seen {
    fn new(scratch: &Scratch) -> Result<Self, Error> {
        Ok(Self {
            files: 0,
            gone: Named::default(),
            gone_but_held: Rows::create(scratch).map_err(Error::Scratch)?,
            other_size: Named::default(),
            put_again: Named::default(),
            unknown: Named::default(),
        })
    }

    fn see(
        &mut self,
        file: &Location,
        held: Option<&Entry>,
        found: Option<&Attributes>,
    ) -> Result<(), Error> {
        self.files += 1;
        match (held, found) {
            (held, None) => {
                self.gone.add(|| file.to_string());
                if let Some(held) = held {
                    self.gone_but_held.push(held).map_err(Error::Scratch)?;
                }
            }
            (Some(held), Some(found)) if held.size != found.size => {
                let (found, held) = (found.size, held.size);
                self.other_size
                    .add(|| format!("{file} ({found} bytes instead of {held})"));
            }
            (Some(held), Some(found))
                if held.etag.as_ref().is_some_and(|etag| *etag != found.etag) =>
            {
                self.put_again.add(|| file.to_string());
            }
            (_, Some(_)) => {}
        }
        Ok(())
    }

    fn see_nothing(&mut self, file: &Location, why: &StoreErrorKind) {
        self.files += 1;
        self.unknown.add(|| format!("{file} ({why})"));
    }

    fn faults(&self) -> u64 {
        self.gone.count + self.other_size.count + self.put_again.count + self.unknown.count
    }

    fn findings(&self, done: &SnapshotDone, newer: Option<Version>, lost: &Named) -> Vec<String> {
        let record: &Record = &done.record;
        let of = format!(
            "of the {} files that version {} needs",
            self.files, record.version
        );
        let (id, table) = (done.id.short(), operand(&record.table.name));
        let since = newer.map_or_else(String::new, |newer| {
            format!("; version {newer} was committed meanwhile and may no longer need them")
        });
        let next = format!(
            "{since}; `deltavault restore {table} --snapshot {id}` shows how to put them back, \
             `deltavault diff {id} live` lists every difference"
        );
        let said = |named: &Named, how: &str, rest: &str| {
            let names = named.list();
            (named.count > 0).then(|| format!("{} {how}: {names}{rest}", named.count))
        };
        let findings = [
            said(&self.gone, &format!("{of} are gone from the source"), &next),
            said(
                lost,
                "of those that are gone the vault has lost, too",
                &format!(
                    "; `deltavault verify {table} --read all --repair` looks for them, with --from URI in a replica"
                ),
            ),
            said(
                &self.other_size,
                &format!("{of} have another size at the source"),
                &next,
            ),
            said(
                &self.put_again,
                &format!(
                    "{of} were written again at the source since they were held, with the same size and perhaps other bytes"
                ),
                &format!(
                    "{since}; this snapshot keeps the bytes that were held, and `deltavault snapshot {table} --distrust {id}` \
                     holds the table again as it is now"
                ),
            ),
            said(
                &self.unknown,
                &format!("{of} lie outside the table's folder and could not be looked at"),
                "",
            ),
        ];
        findings.into_iter().flatten().collect()
    }
}
