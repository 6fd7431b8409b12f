//! Plans the data files: the snapshot's entries beside one listing of the table.

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::lost::unless_damaged;
use super::planning::Planning;
use super::{FILES_COMPARED, OWN_PREFIX, Restorer};
use crate::error::Error;
use crate::format::{Entry, Manifest, Placement};
use crate::ids::{ETag, Location};
use crate::plan::restore::fit::Nesting;
use crate::plan::restore::{FileState, Situation, compare};
use crate::plan::snapshot::ByFile;
use crate::sort::Sorter;
use crate::source::LOG_PREFIX;
use crate::store::{Attributes, StoreError};
use crate::vault::listing::list_all;

/// A data file of V that is not there, or that has other bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lacking {
    pub(super) entry: Entry,
    /// The bytes of what is there in its place.
    pub(super) there: Option<u64>,
    pub(super) etag: Option<ETag>,
}

impl Planning<'_> {
    /// Merges the data entries with one listing of the table. Under a newer live table, returns what is missing or wrong:
    /// whether it may be put, the live log has to say.
    pub(super) async fn plan_data(&mut self) -> Result<Sorter<ByFile<Lacking>>, Error> {
        let restorer = self.restorer;
        let target = restorer.target.as_ref();
        let is_under = matches!(self.plan.situation, Situation::NewerLive { .. });
        let folder = self.plan.scratch.path();
        let mut lacking = Sorter::new(folder)?;
        let (wanted, known, sums) = restorer
            .data_entries(self.request, self.manifest, folder)
            .await?;
        let (record, mut seen) = (&self.request.record, self.held.seen.clone());
        seen.add_sums(&sums);
        let trouble = seen.trouble(record, self.manifest);
        self.plan.not_whole = self.plan.not_whole.take().or(trouble);
        let wanted = wanted.finish()?;
        let ends = known.range_ends(target);
        let listing = list_all(target, &ends)
            .try_filter(|file| {
                let name = file.key.as_str();
                let data = !name.starts_with(LOG_PREFIX) && !name.starts_with(OWN_PREFIX);
                futures::future::ready(data)
            })
            .peekable();
        let pairs = stream::try_unfold(
            (wanted, listing.boxed().peekable()),
            |(mut wanted, mut listing)| async move {
                let Some(entry) = wanted.next() else {
                    return Ok::<_, Error>(None);
                };
                let entry = entry?.row;
                let mut found = None;
                if let Location::Inside(key) = &entry.file {
                    let at_or_before = |file: &Result<Attributes, StoreError>| {
                        file.as_ref().map_or(true, |file| file.key <= *key)
                    };
                    while let Some(file) =
                        std::pin::Pin::new(&mut listing).next_if(at_or_before).await
                    {
                        found = Some(file?).filter(|file| file.key == *key);
                    }
                }
                Ok(Some(((entry, found), (wanted, listing))))
            },
        );
        let settled = pairs
            .map_ok(|(entry, found)| async move {
                let state = match &entry.file {
                    Location::Inside(_) => restorer.settle(&entry, found.as_ref()).await?,
                    Location::Outside(uri) => restorer.settle_outside(&entry, uri).await?,
                };
                Ok((entry, found, state))
            })
            .try_buffered(FILES_COMPARED);
        let mut settled = std::pin::pin!(settled);
        let mut nesting = Nesting::default();
        while let Some((entry, found, state)) = settled.try_next().await? {
            restorer.refuse_below_a_file(&entry, &mut nesting)?;
            if entry.absolute {
                self.plan
                    .absolute
                    .get_or_insert_with(|| entry.file.to_string());
            }
            // No listing shows the size of what lies outside: it may be as large as it should be.
            let size = found.as_ref().map_or(entry.size, |file| file.size);
            let there = (state == FileState::Wrong).then_some(size);
            let etag = found.map(|file| file.etag);
            let lacks = matches!(state, FileState::Missing | FileState::Wrong)
                && entry.placement != (Placement::Absent {});
            if is_under && lacks {
                lacking.push(ByFile {
                    file: entry.file.clone(),
                    row: Lacking { entry, there, etag },
                })?;
            } else {
                self.add_step(entry, &state, etag)?;
            }
        }
        Ok(lacking)
    }
}

impl Restorer {
    /// The first file that the log names by an absolute path below the table. What is damaged tells nothing.
    pub(super) async fn first_absolute(
        &self,
        manifest: &Manifest,
    ) -> Result<Option<String>, Error> {
        let mut entries = self.vault.entries(&manifest.data_pages);
        while let Some(entry) = unless_damaged(entries.try_next().await)?.flatten() {
            if entry.absolute {
                return Ok(Some(entry.file.to_string()));
            }
        }
        Ok(None)
    }

    async fn settle_outside(&self, entry: &Entry, uri: &str) -> Result<FileState, Error> {
        let (store, key) = (self.outside)(uri)?;
        match store.attributes(&key, None).await {
            Ok(found) => Ok(compare(entry, Some(&found))),
            Err(error) if error.is_not_found() => Ok(FileState::Missing),
            Err(error) => Err(error.into()),
        }
    }
}
