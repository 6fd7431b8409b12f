//! What a plan does about log files that cannot be read, that disagree, or that nothing stands in for.
//!
//! Rules: what the vault has good bytes of is put in the place of what nobody can read, never the other way round. A
//! checkpoint that was held as it was, unreadable, is left out where the rest of the log suffices. A file is taken out of
//! the log only where a complete way remains without it, and it is set aside, not lost. The hint `_last_checkpoint`
//! never names a checkpoint that will not be there.

use std::collections::{HashMap, HashSet};

use futures::TryStreamExt;

use super::content::{Content, LogReader};
use super::held::SMALL_LIMIT;
use super::planning::Planning;
use super::{LogWanted, RestorePlan, Restorer};
use crate::delta::segment::{CheckpointFiles, LogListing};
use crate::error::Error;
use crate::format::{Entry, EntryKind};
use crate::ids::{ETag, Location, ObjectKey, Version};
use crate::plan::mend::Hint;
use crate::plan::restore::{FileState, Situation};
use crate::source::LOG_PREFIX;
use crate::store::{Attributes, StoreErrorKind, read_all};

mod behind;
mod compare;
mod left_out;
mod unheld;
mod written_without;

pub(super) use self::written_without::Changes;
pub use self::written_without::WrittenWithout;

/// A checkpoint of the snapshot that is not put back, or is taken out of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Its version.
    pub checkpoint: Version,
    /// Why.
    pub why: WhyLeftOut,
    /// The older checkpoint that readers begin with instead; `None` where they begin with commit 0.
    pub from: Option<Version>,
    /// The version that the commits after it lead up to.
    pub to: Version,
}

/// Why a checkpoint is left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyLeftOut {
    /// It could not be read when it was taken.
    UnreadableWhenTaken,
    /// It cannot be read, and why.
    Unreadable(String),
    /// The owner asked for it.
    Asked,
    /// The snapshot's record says that it disagrees with the log's other ways, and the live log does without it.
    Disagrees,
}

/// A file that is taken out of the live log; its bytes are kept beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// The file.
    pub key: ObjectKey,
    /// Its tag when it was listed.
    pub etag: ETag,
}

impl Aside {
    fn of(listed: &Attributes) -> Self {
        Self {
            key: listed.key.clone(),
            etag: listed.etag.clone(),
        }
    }
}

/// The log as it will be once a plan was executed.
#[derive(Debug, Default)]
pub(super) struct LogAfter {
    pub(super) files: HashMap<ObjectKey, Attributes>,
    /// Those whose bytes are not at the target yet.
    pub(super) from_vault: HashMap<ObjectKey, Entry>,
}

impl LogAfter {
    pub(super) fn listing(&self) -> LogListing {
        LogListing::new(self.files.values().cloned())
    }
}

/// What is decided about the log before its entries are planned one by one.
#[derive(Debug, Default)]
pub(super) struct Mended {
    /// Files of the snapshot that are not put back.
    pub(super) skip: HashSet<ObjectKey>,
    pub(super) after: LogAfter,
}

/// Checkpoints that are taken out of the log, or are not put back into it.
#[derive(Debug, Clone)]
struct Out {
    checkpoint: CheckpointFiles,
    why: WhyLeftOut,
}

impl Restorer {
    async fn live_hint(&self, key: &ObjectKey) -> Result<Option<Hint>, Error> {
        match read_all(self.target.as_ref(), key, None, SMALL_LIMIT).await {
            Ok((_, bytes)) => Ok(Hint::parse(&bytes)),
            Err(error)
                if matches!(
                    error.kind,
                    StoreErrorKind::NotFound | StoreErrorKind::TooLarge { .. }
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Out {
    fn of(checkpoint: &CheckpointFiles, why: WhyLeftOut) -> Self {
        let checkpoint = checkpoint.clone();
        Self { checkpoint, why }
    }
}

impl RestorePlan {
    /// Plans to take the files of a checkpoint that are at the target out of the log.
    fn set_aside(&mut self, checkpoint: &CheckpointFiles, log: &HashMap<ObjectKey, Attributes>) {
        let listed = checkpoint
            .files
            .iter()
            .filter_map(|file| log.get(&file.key));
        self.asides.extend(listed.map(Aside::of));
    }
}

fn hint_key() -> Result<ObjectKey, Error> {
    Ok(format!("{LOG_PREFIX}_last_checkpoint").parse()?)
}

impl Planning<'_> {
    /// Takes checkpoints that nobody can read out of a live log that the independent reader does not open, where a
    /// complete way remains without them. Returns what is wrong with the log all the same.
    pub(super) async fn set_unreadable_aside(
        &mut self,
        tip: Version,
        after: &LogAfter,
    ) -> Result<Option<String>, Error> {
        let listing = after.listing();
        let mut reader = LogReader::of_target(self.restorer, &after.from_vault)?;
        let mut rest = after.files.clone();
        let mut unreadable = Vec::new();
        for checkpoint in listing.checkpoints() {
            if let Content::Unreadable(why) = reader.checkpoint(checkpoint).await? {
                rest.retain(|key, _| !checkpoint.files.iter().any(|file| file.key == *key));
                unreadable.push((checkpoint, why));
            }
        }
        let rest = LogListing::new(rest.into_values());
        let mut said: Option<Content> = None;
        let ways = match rest.candidates(tip) {
            Ok(ways) => ways,
            Err(error) => return Ok(Some(error.to_string())),
        };
        for way in ways {
            match (reader.way(&way).await?, &said) {
                (Content::Unreadable(why), _) => return Ok(Some(why)),
                (Content::Says(digest), Some(Content::Says(other))) if digest != *other => {
                    let from = way.checkpoint.map_or_else(
                        || "its commits alone".to_owned(),
                        |checkpoint| format!("checkpoint {}", checkpoint.version),
                    );
                    return Ok(Some(format!(
                        "the ways through its log disagree: {from} leads to other files"
                    )));
                }
                (content, _) => said = Some(content),
            }
        }
        for (checkpoint, why) in unreadable {
            self.plan.broken.push(why);
            self.plan.set_aside(checkpoint, &after.files);
        }
        self.set_hint_aside(after, &rest).await?;
        Ok(None)
    }

    /// Takes the hint out of the log where it names a checkpoint that is not in the rest.
    async fn set_hint_aside(&mut self, after: &LogAfter, rest: &LogListing) -> Result<(), Error> {
        let hint = hint_key()?;
        if let Some(listed) = after.files.get(&hint)
            && let Some(found) = self.restorer.live_hint(&hint).await?
            && !found.is_kept_by(rest)
        {
            self.plan.asides.insert(0, Aside::of(listed));
        }
        Ok(())
    }

    /// Decides about the log as a whole: marks what is to be replaced and what closes a hole, and says what is left out.
    pub(super) async fn mend(&mut self) -> Result<Mended, Error> {
        let listing = LogListing::new(self.held.files.iter().cloned());
        let mut out = match self.request.log {
            LogWanted::AsItWas => Vec::new(),
            LogWanted::Readable => self.marked(&listing).await?,
            LogWanted::Without(version) => {
                let mut out = left_out::asked(&listing, version)?;
                self.with_disagreeing(&listing, &mut out).await?;
                let marked = self.marked(&listing).await?.into_iter();
                out.extend(marked.filter(|it| it.checkpoint.version != version));
                out
            }
        };
        if self.request.log != LogWanted::AsItWas {
            self.leave_out_disagreeing(&listing, &mut out);
        }
        if self.tip().is_some() {
            self.compare_checkpoints(&listing, &mut out).await?;
            self.compare_sidecars().await?;
        }
        if self.request.log != LogWanted::AsItWas {
            self.check_newest(&listing, &mut out).await?;
        }
        let mut skip = self.leave_out(&listing, out).await?;
        self.close_holes(&listing, &skip).await?;
        self.leave_empty(&skip).await?;
        self.set_checkpoints_behind_aside(&skip).await?;
        let mut after = self.after(&skip);
        self.settle_hint(&mut after, &mut skip).await?;
        self.plan.broken = self.held.broken.values().cloned().collect();
        Ok(Mended { skip, after })
    }

    /// The live log's newest version, where there is a log.
    fn tip(&self) -> Option<Version> {
        match self.plan.situation {
            Situation::EmptyTarget | Situation::NoLog => None,
            Situation::NewerLive { tip } => Some(tip),
            Situation::NothingAbove
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. } => Some(self.request.version),
        }
    }

    /// Takes note of what is wrong with a file at the target, which the vault's takes the place of.
    fn mark_broken(&mut self, key: ObjectKey, trouble: String) {
        self.held.states.insert(key.clone(), FileState::Broken);
        self.held.broken.insert(key, trouble);
    }

    pub(super) fn state(&self, key: &ObjectKey) -> FileState {
        let state = self.held.states.get(key).cloned();
        state.unwrap_or(FileState::Missing)
    }

    fn vault_reader<'b>(&self, held: &'b HashMap<ObjectKey, Entry>) -> Result<LogReader<'b>, Error>
    where
        Self: 'b,
    {
        LogReader::of_vault(self.restorer, &self.request.record.table.uri, held)
    }

    /// Under a newer live table, finds the log files without which its log leads nowhere.
    async fn close_holes(
        &mut self,
        listing: &LogListing,
        skip: &HashSet<ObjectKey>,
    ) -> Result<(), Error> {
        let Some(tip) = self.tip().filter(|_| !self.puts_all()) else {
            return Ok(());
        };
        let mut holes = Vec::new();
        let live = self.held.live();
        let trouble = live.candidates(tip).map(drop).err();
        if let Some(trouble) = trouble {
            let mut all = self.held.listed.clone();
            let more = self.held.files.iter().filter(|it| !skip.contains(&it.key));
            for file in more {
                all.entry(file.key.clone()).or_insert_with(|| file.clone());
            }
            if let Ok(mut ways) = LogListing::new(all.into_values()).candidates(tip)
                && let Some(way) = ways.next()
            {
                let files = way.files().map(|file| file.key.clone());
                let missing = files.filter(|key| self.state(key) == FileState::Missing);
                holes.extend(missing.map(|key| (key, trouble.to_string())));
            }
        }
        let mut special = self.held.special.iter();
        if special.any(|(key, entry)| {
            entry.kind == EntryKind::Sidecar && self.state(key) == FileState::Missing
        }) {
            let mut reader = self.vault_reader(&self.held.special)?;
            for checkpoint in listing.checkpoints() {
                let mut files = checkpoint.files.iter();
                if files.any(|file| !self.held.listed.contains_key(&file.key)) {
                    continue;
                }
                for key in reader.sidecars(checkpoint).await? {
                    if self.state(&key) == FileState::Missing && !skip.contains(&key) {
                        let what = format!(
                            "{key} is gone, and checkpoint {} names it",
                            checkpoint.version
                        );
                        holes.push((key, what));
                    }
                }
            }
        }
        if holes.is_empty() {
            return Ok(());
        }
        for (key, trouble) in holes {
            self.held.states.insert(key.clone(), FileState::Hole);
            self.held.broken.insert(key, trouble);
        }
        let mut entries = self.restorer.log_entries(self.request, self.manifest);
        while let Some(entry) = entries.try_next().await? {
            if let Location::Inside(key) = &entry.file
                && self.state(key) == FileState::Hole
            {
                self.held.special.insert(key.clone(), entry);
            }
        }
        Ok(())
    }

    fn after(&self, skip: &HashSet<ObjectKey>) -> LogAfter {
        let mut after = LogAfter {
            files: self.held.listed.clone(),
            from_vault: HashMap::new(),
        };
        for aside in &self.plan.asides {
            after.files.remove(&aside.key);
        }
        for file in self.held.files.iter().filter(|it| !skip.contains(&it.key)) {
            let is_put = match self.state(&file.key) {
                FileState::Hole | FileState::Broken => true,
                FileState::Missing => self.puts_all(),
                FileState::Right | FileState::Wrong | FileState::Unsure => false,
            };
            if is_put {
                after.files.insert(file.key.clone(), file.clone());
                if let Some(entry) = self.held.special.get(&file.key) {
                    after.from_vault.insert(file.key.clone(), entry.clone());
                }
            }
        }
        after
    }

    /// Makes sure that the hint names a checkpoint that will be there.
    async fn settle_hint(
        &mut self,
        after: &mut LogAfter,
        skip: &mut HashSet<ObjectKey>,
    ) -> Result<(), Error> {
        let key = hint_key()?;
        let listing = after.listing();
        let mut held = None;
        if let Some(entry) = self.held.special.get(&key) {
            let folder =
                crate::spool::Scratch::create(&self.restorer.temp).map_err(Error::Scratch)?;
            held = match self.restorer.vault.payload(entry, folder.path()).await {
                Ok(payload) => hint_of(&payload),
                Err(Error::Damaged { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        let held_serves = held.is_some_and(|held| held.is_kept_by(&listing));
        let drops_held = !held_serves && self.request.log != LogWanted::AsItWas;
        let Some(listed) = self.held.listed.get(&key) else {
            if drops_held && self.held.special.contains_key(&key) {
                skip.insert(key.clone());
                after.files.remove(&key);
            }
            return Ok(());
        };
        let live = self.restorer.live_hint(&key).await?;
        let trouble = match live {
            Some(live) if live.is_kept_by(&listing) => return Ok(()),
            Some(live) => format!(
                "{key} names checkpoint {}, which is not there",
                live.version
            ),
            // Readers pass over a hint that they cannot read, so it is mended only where the vault has a good one.
            None if held_serves => format!("{key} cannot be read"),
            None => return Ok(()),
        };
        // It may serve the log as it is, and not the log without what is taken out of it.
        let now = self.held.live();
        if !live.is_some_and(|live| live.is_kept_by(&now)) {
            self.held.broken.insert(key.clone(), trouble);
        }
        if held_serves {
            self.held.states.insert(key, FileState::Broken);
        } else {
            skip.insert(key.clone());
            after.files.remove(&key);
            self.plan.asides.insert(0, Aside::of(listed));
        }
        Ok(())
    }
}

/// A hint has a few hundred bytes, which are in memory.
fn hint_of(payload: &crate::store::Payload) -> Option<Hint> {
    match &payload.data {
        crate::store::PayloadData::Bytes(bytes) => Hint::parse(bytes),
        crate::store::PayloadData::File(_) => None,
    }
}
