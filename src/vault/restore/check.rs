//! After the last put: is everything there, and does the independent reader show the files that the snapshot says are
//! live?
//!
//! The target is listed once more, because whoever deleted the table may not be done with it. Nothing is repaired here;
//! what is wrong is named.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use futures::TryStreamExt;

use super::judge::way_to;
use super::{OWN_PREFIX, RestoreDone, RestoreRequest, Restorer};
use crate::delta::path::TableRoot;
use crate::error::Error;
use crate::format::{Entry, EntryKind, Manifest, Placement};
use crate::ids::{Location, ObjectKey, Version};
use crate::reader::{self, ListedFile, TableStore, Verdict};
use crate::source::LOG_PREFIX;
use crate::spool::Scratch;
use crate::store::{Attributes, RestoreStore};
use crate::vault::listing::{Listed, list_all};

/// What a plan leaves behind once it was executed.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Whether the whole log of the snapshot is put back.
    pub(super) log: bool,
    /// The newer live version for which the files are put, where the log leads to V no more.
    pub(super) live: Option<Version>,
    /// Files of the snapshot that are not: left out, or lost.
    pub(super) except: HashSet<ObjectKey>,
}

impl Expected {
    /// Takes note of what could not be put.
    #[must_use]
    pub fn after(mut self, done: &RestoreDone) -> Self {
        let not_put = done.lost.iter().chain(&done.useless);
        self.except.extend(not_put.filter_map(|file| match file {
            Location::Inside(key) => Some(key.clone()),
            Location::Outside(_) => None,
        }));
        self
    }
}

/// Some things of which the first is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Option<String>,
}

impl Counted {
    pub(super) fn add(&mut self, name: &impl ToString) {
        self.count += 1;
        self.first.get_or_insert_with(|| name.to_string());
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// What a restored table is found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What the independent reader says.
    pub verdict: Verdict,
    /// Files that were put back or were right, and are not there any more.
    pub vanished: Counted,
    /// How the reader's list of live files differs from the snapshot's, where it was read.
    pub list: Option<Difference>,
}

/// The reader's list of live files beside the snapshot's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Files that the reader shows.
    pub shown: u64,
    /// Files that are live by the snapshot.
    pub live: u64,
    /// Live by the snapshot, and not shown.
    pub lacks: Counted,
    /// Shown, and not live by the snapshot.
    pub adds: Counted,
    /// Shown, and not among the files of the table.
    pub absent: Counted,
    /// Rows by the reader and by the snapshot, where both know and they differ.
    pub rows: Option<(u64, u64)>,
}

impl Difference {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lacks.is_empty()
            && self.adds.is_empty()
            && self.absent.is_empty()
            && self.rows.is_none()
    }
}

impl Checked {
    /// Whether everything is as the snapshot says, and somebody has read it.
    pub fn is_good(&self) -> bool {
        matches!(self.verdict, Verdict::Opens { .. })
            && self.vanished.is_empty()
            && self.list.as_ref().is_none_or(Difference::is_empty)
    }
}

/// The live files by the snapshot, and which of them a listing showed.
#[derive(Debug, Default)]
struct Live {
    /// How often each data file is live.
    files: BTreeMap<Location, u64>,
    /// Data files of the table that the listing did not show.
    absent: HashSet<ObjectKey>,
}

impl Restorer {
    /// Looks at a table that was put back.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn check(
        &self,
        request: &RestoreRequest,
        expected: &Expected,
    ) -> Result<Checked, Error> {
        let about = request.record.totals.live_files;
        let log = self.list_log().await?;
        if let Some(tip) = expected.live {
            return Ok(Checked {
                verdict: self
                    .judge(way_to(log.into_values(), tip), tip, about)
                    .await?,
                vanished: Counted::default(),
                list: None,
            });
        }
        let manifest = self.vault.manifest(&request.record).await?;
        let mut vanished = Counted::default();
        if expected.log {
            let log = (&manifest, &log);
            self.look_for_log(request, log, expected, &mut vanished)
                .await?;
        }
        let live = self
            .look_for_data(request, &manifest, expected, &mut vanished)
            .await?;
        let way = way_to(log.into_values(), request.version);
        let read = self.listed(way, request.version, about).await?;
        let (verdict, list) = match read {
            Ok((version, shown)) => {
                let list = match shown {
                    Some(shown) => Some(self.compare(request, &live, shown)?),
                    None => None,
                };
                let files = list.as_ref().map(|list| list.shown);
                (Verdict::Opens { version, files }, list)
            }
            Err(refusal) => (refusal, None),
        };
        Ok(Checked {
            verdict,
            vanished,
            list,
        })
    }

    /// The target as the independent reader opens it.
    pub(super) fn table_store(&self) -> TableStore {
        TableStore::ReadOnly(Arc::<dyn RestoreStore>::clone(&self.target))
    }

    async fn look_for_log(
        &self,
        request: &RestoreRequest,
        (manifest, listed): (&Manifest, &HashMap<ObjectKey, Attributes>),
        expected: &Expected,
        vanished: &mut Counted,
    ) -> Result<(), Error> {
        let mut entries = self.log_entries(request, manifest);
        while let Some(entry) = entries.try_next().await? {
            if let Location::Inside(key) = &entry.file
                && entry.placement != (Placement::Absent {})
                && !expected.except.contains(key)
                && !listed.contains_key(key)
            {
                vanished.add(key);
            }
        }
        Ok(())
    }

    async fn look_for_data(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
        expected: &Expected,
        vanished: &mut Counted,
    ) -> Result<Live, Error> {
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let (wanted, known, _) = self.data_entries(request, manifest, scratch.path()).await?;
        let ends = known.range_ends(self.target.as_ref());
        let mut listed = Listed::of(list_all(self.target.as_ref(), &ends)).await?;
        let counted = reader::is_counted(request.record.totals.live_files);
        let mut live = Live::default();
        for row in wanted.finish()? {
            let entry = row?.row;
            let uses = live_uses(&entry, request);
            if counted && uses > 0 {
                *live.files.entry(entry.file.clone()).or_default() += uses;
            }
            let Location::Inside(key) = &entry.file else {
                continue;
            };
            let there = listed.find(key).await?.is_some();
            if there || entry.placement == (Placement::Absent {}) {
                continue;
            }
            if counted && uses > 0 {
                live.absent.insert(key.clone());
            }
            if !expected.except.contains(key) {
                vanished.add(key);
            }
        }
        Ok(live)
    }

    fn compare(
        &self,
        request: &RestoreRequest,
        live: &Live,
        shown: Vec<ListedFile>,
    ) -> Result<Difference, Error> {
        let root = TableRoot::new(self.target.uri())?;
        let by_snapshot = request.version == request.record.version;
        let mut found = Difference {
            shown: shown.len() as u64,
            live: live.files.values().sum(),
            ..Difference::default()
        };
        let mut rows = Some(0_u64);
        let mut left = live.files.clone();
        for file in shown {
            rows = rows
                .zip(file.rows)
                .map(|(sum, rows)| sum.saturating_add(rows));
            // The reader has decoded it once already.
            let location = root
                .resolve(&file.path.replace('%', "%25"))
                .unwrap_or(Location::Outside(file.path));
            if let Location::Inside(key) = &location {
                let own =
                    key.as_str().starts_with(LOG_PREFIX) || key.as_str().starts_with(OWN_PREFIX);
                if own || live.absent.contains(key) {
                    found.absent.add(key);
                }
            }
            match left.get_mut(&location) {
                Some(uses) if *uses > 0 => *uses -= 1,
                Some(_) | None => found.adds.add(&location),
            }
        }
        for (location, uses) in left {
            (0..uses).for_each(|_| found.lacks.add(&location));
        }
        let known = request.record.totals.rows.filter(|_| by_snapshot);
        found.rows = rows.zip(known).filter(|(shown, held)| shown != held);
        Ok(found)
    }
}

/// How often an entry is live in the version that is put back. Of an older version only the names are known.
fn live_uses(entry: &Entry, request: &RestoreRequest) -> u64 {
    if entry.kind != EntryKind::Data {
        return 0;
    }
    if request.version == request.record.version {
        return entry.live.len() as u64;
    }
    1
}
