//! The log as a snapshot holds it, beside the log as it lies at the target: what is right, missing, wrong, and what
//! nobody can read any more.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;

use futures::{StreamExt, TryStreamExt};

use super::content::{Content, LogReader, is_cut_off};
use super::{FILES_COMPARED, RestoreRequest, Restorer, makes_a_version};
use crate::delta::segment::LogListing;
use crate::delta::{LogFile, LogFileKind};
use crate::error::Error;
use crate::format::{Entry, EntryKind, Manifest};
use crate::ids::{Location, ObjectKey};
use crate::plan::restore::FileState;
use crate::plan::restore::whole::Seen;
use crate::store::{Attributes, StoreErrorKind, read_all};
use crate::vault::log_replay::as_listed;

/// A checksum file or a hint has a few hundred bytes, with a schema some thousands; more is none.
pub(super) const SMALL_LIMIT: u64 = 16 * 1024 * 1024;

/// The log of a snapshot, compared with what a listing of the target showed.
#[derive(Debug, Default)]
pub(super) struct HeldLog {
    /// What a listing of the target's log showed.
    pub(super) listed: HashMap<ObjectKey, Attributes>,
    /// Its files, as a listing would show them.
    pub(super) files: Vec<Attributes>,
    /// The entries of its checkpoints, of their sidecars and of the hint, and of what cannot be read at the target.
    pub(super) special: HashMap<ObjectKey, Entry>,
    /// How its files stand at the target.
    pub(super) states: HashMap<ObjectKey, FileState>,
    /// What is wrong with files that nobody can read, or that say what they did not say when they were held.
    pub(super) broken: BTreeMap<ObjectKey, String>,
    /// Commits that are at the target as they were held.
    pub(super) right_commits: u64,
    /// Commits that can be read and have other bytes.
    pub(super) other_commits: Vec<String>,
    /// What all of its entries say together.
    pub(super) seen: Seen,
}

/// Looks up nothing: for readers of the target alone.
pub(super) fn nothing_held() -> &'static HashMap<ObjectKey, Entry> {
    static NOTHING: OnceLock<HashMap<ObjectKey, Entry>> = OnceLock::new();
    NOTHING.get_or_init(HashMap::new)
}

impl HeldLog {
    /// The log at the target by what its files are.
    pub(super) fn live(&self) -> LogListing {
        LogListing::new(self.listed.values().cloned())
    }

    /// Whether what is missing of it at the target is older than everything that is there: the log's own clean-up takes
    /// the oldest commits and checkpoints, and what belongs to them.
    pub(super) fn lacks_only_its_beginning(&self) -> bool {
        let files = self.files.iter().cloned().filter_map(LogFile::parse);
        let (gone, there): (Vec<_>, Vec<_>) =
            files.partition(|file| self.states.get(&file.key) == Some(&FileState::Missing));
        let lacks_hint = gone.iter().any(|it| it.kind == LogFileKind::LastCheckpoint);
        let newest_gone = gone.iter().filter_map(|it| it.version).max();
        let there = there.iter().filter(|it| makes_a_version(it));
        let oldest_there = there.clone().filter_map(|it| it.version).min();
        // With the commits below a checkpoint may go the checkpoint's own: readers do not need it.
        let begins_with_checkpoint = !there
            .filter(|it| it.version == oldest_there)
            .any(|it| it.kind == LogFileKind::Commit);
        let is_below =
            newest_gone < oldest_there || (newest_gone == oldest_there && begins_with_checkpoint);
        !lacks_hint && (newest_gone.is_none() || is_below)
    }
}

impl Restorer {
    /// Lists the target's log and compares the snapshot's with it, reading what differs in its tag.
    pub(super) async fn survey_log(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
    ) -> Result<HeldLog, Error> {
        let mut held = HeldLog::default();
        let log = self.list_log().await?;
        let mut seen = Seen::default();
        let entries =
            self.log_entries_seen(request, manifest, |entry| seen.add(&request.record, entry));
        let compared = entries.map_ok(|entry| async {
            let listed = match &entry.file {
                Location::Inside(key) => log.get(key),
                Location::Outside(_) => None,
            };
            let state = self.settle(&entry, listed).await?;
            let (state, trouble) = self.judge_wrong(&entry, state).await?;
            Ok::<_, Error>((entry, state, trouble))
        });
        let mut compared = compared.try_buffered(FILES_COMPARED).boxed();
        while let Some((entry, state, trouble)) = compared.try_next().await? {
            let Location::Inside(key) = entry.file.clone() else {
                continue;
            };
            if entry.kind == EntryKind::Commit {
                match state {
                    FileState::Right => held.right_commits += 1,
                    FileState::Wrong => held.other_commits.push(key.to_string()),
                    FileState::Unsure
                    | FileState::Missing
                    | FileState::Hole
                    | FileState::Broken => {}
                }
            }
            held.files.push(as_listed(&key, &entry));
            held.states.insert(key.clone(), state);
            let is_special = trouble.is_some()
                || matches!(
                    entry.kind,
                    EntryKind::Checkpoint | EntryKind::Sidecar | EntryKind::LastCheckpoint
                );
            if let Some(trouble) = trouble {
                held.broken.insert(key.clone(), trouble);
            }
            if is_special {
                held.special.insert(key, entry);
            }
        }
        drop(compared);
        (held.listed, held.seen) = (log, seen);
        Ok(held)
    }

    /// Looks closer at a commit, a compaction or a checksum that has other bytes: one that nobody can read, or that was
    /// cut off, is damage and not another history, where the vault has bytes that can be read.
    async fn judge_wrong(
        &self,
        entry: &Entry,
        state: FileState,
    ) -> Result<(FileState, Option<String>), Error> {
        let Location::Inside(key) = &entry.file else {
            return Ok((state, None));
        };
        if state != FileState::Wrong {
            return Ok((state, None));
        }
        let trouble = match entry.kind {
            EntryKind::Commit | EntryKind::Compaction => {
                self.trouble_of_actions(key, entry).await?
            }
            EntryKind::Checksum => self.trouble_of_checksum(key).await?,
            EntryKind::Checkpoint
            | EntryKind::Sidecar
            | EntryKind::LastCheckpoint
            | EntryKind::Other
            | EntryKind::Data
            | EntryKind::DeletionVector
            | EntryKind::ChangeData => None,
        };
        Ok(match trouble {
            Some(trouble) => (FileState::Broken, Some(trouble)),
            None => (state, None),
        })
    }

    async fn trouble_of_actions(
        &self,
        key: &ObjectKey,
        entry: &Entry,
    ) -> Result<Option<String>, Error> {
        let held = HashMap::from([(key.clone(), entry.clone())]);
        let mut vault = LogReader::of_vault(self, self.target.uri(), &held)?;
        let mut target = LogReader::of_target(self, nothing_held())?;
        let trouble = match target.file(key).await? {
            Content::Unreadable(why) => why,
            Content::Lost => return Ok(None),
            Content::Says(_) => {
                let (now, then) = (target.body(key).await?, vault.body(key).await);
                match then {
                    Ok(then) if is_cut_off(&now, &then)? => {
                        format!("{key} is cut off after {} of {} bytes", now.size, then.size)
                    }
                    Ok(_) | Err(Error::Damaged { .. }) => return Ok(None),
                    Err(error) => return Err(error),
                }
            }
        };
        // Bytes that cannot be read either are not put in its place. Whether the vault has lost them is found out later.
        let is_better = vault.file(key).await?.trouble().is_none();
        Ok(is_better.then_some(trouble))
    }

    async fn trouble_of_checksum(&self, key: &ObjectKey) -> Result<Option<String>, Error> {
        let read = match read_all(self.target.as_ref(), key, None, SMALL_LIMIT).await {
            Ok((_, bytes)) => serde_json::from_slice::<serde_json::Value>(&bytes).is_ok(),
            Err(error) if error.is_not_found() => return Ok(None),
            // No writer of Delta makes one of this size.
            Err(error) if matches!(error.kind, StoreErrorKind::TooLarge { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        Ok((!read).then(|| format!("{key} is not JSON")))
    }
}
