//! Pins a version: one listing of the log, a version, and the newest record that the snapshot may build on.
//!
//! From here on nothing asks for "the latest" again. What the listing showed is compared when a file is read, and
//! V's commit once more before the record of a table that has changed is published.

use std::collections::HashSet;
use std::path::Path;

use super::super::Vault;
use super::failure::Failure;
use super::inherit::{self, diverged};
use super::inputs::Inputs;
use super::left::Left;
use super::live_log;
use super::log_files::read_listed;
use super::past::{Base, Past};
use super::pinned::Pinned;
use super::presence::{self, Looked, Lost};
use crate::delta::LogFile;
use crate::delta::segment::LogListing;
use crate::error::Error;
use crate::format::ledger::{self, Bodies};
use crate::format::{EventRole, LockMode, PageRef, Scope};
use crate::ids::{Digest, SnapshotId, Version};
use crate::plan::snapshot::{
    BaseEvidence, BaseUse, CommitState, LogScope, compare_commit, judge_base, log_digest,
};
use crate::plan::{keep, retention};

/// Lists the log, chooses V and judges the records that could be the base.
pub(super) async fn pin(
    vault: &Vault,
    inputs: Inputs<'_>,
    folder: &Path,
) -> Result<Pinned, Failure> {
    let Inputs {
        source, request, ..
    } = inputs;
    let chooser = Pinner {
        vault,
        inputs,
        folder,
    };
    let mut pinned = chooser.choose().await?;
    pinned.findings.extend(presence::of_ledger(inputs.view));
    if pinned.unchanged.is_some() {
        return Ok(pinned);
    }
    inherit::inspect_base(vault, source, &mut pinned, folder).await?;
    live_log::look(&mut pinned);
    if let Some(accepted) = request.accept_tip.filter(|tip| *tip != pinned.version) {
        pinned.findings.push(format!(
            "--accept-tip names version {accepted}, and the newest version is {}, which does not stand alone",
            pinned.version
        ));
    }
    if let Some(version) = pinned.listing.crowded() {
        pinned.findings.push(format!(
            "version {version} has so many checkpoints that only some are read and held"
        ));
    }
    let known = pinned.base.as_ref().map(|base| base.past.record.version);
    let torn = pinned.listing.torn();
    let entered = torn.filter(|(version, ..)| *version <= pinned.version && Some(*version) > known);
    let findings = entered.map(|(version, present, parts)| {
        format!("checkpoint {version} is torn and not used: {present} of {parts} parts are there")
    });
    pinned.findings.extend(findings.collect::<Vec<_>>());
    Ok(pinned)
}

struct Pinner<'a> {
    vault: &'a Vault,
    inputs: Inputs<'a>,
    folder: &'a Path,
}

/// What the walk down the ledger found.
#[derive(Debug, Default)]
struct Older {
    base: Option<Base>,
    /// The newest record that the live table does not continue.
    untrusted: Option<Past>,
    findings: Vec<String>,
}

impl Pinner<'_> {
    async fn choose(&self) -> Result<Pinned, Failure> {
        let Inputs {
            source,
            request,
            view,
            avoid,
        } = self.inputs;
        // Which snapshot a prune keeps as the newest follows from the ledger alone, not from what is distrusted from now on.
        let head = view
            .head
            .link
            .as_ref()
            .filter(|_| request.distrust.is_empty());
        let newest = head.map(|link| link.id);
        // A listing from the head's checkpoint on does not show a version below it that the owner calls the newest.
        let shows_accepted = |head: &Past| request.accept_tip >= Some(head.record.version);
        let head = head.and_then(Past::of);
        if let Some(head) = &head
            && avoid.is_whole(&head.record)
            && (request.accept_tip.is_none() || shows_accepted(head))
            && let Some(pinned) = self.pin_after(head).await?
        {
            return Ok(pinned);
        }
        // Without a head to build on: the whole log, and the newest record of the ledger that is of this table's past.
        let listing = LogListing::new(source.list_log(None, LogFile::is_one).await?);
        let known = head.map(|past| past.record.version);
        let version = listing.tip(request.accept_tip, known)?;
        let mut pinned = Pinned::without_base(listing, true, version);
        if view.head.link.is_some() {
            let older = self.older_base(&pinned, newest).await?;
            if let Some(past) = older.untrusted {
                let listing = &pinned.listing;
                let diverged = diverged(self.vault, source, &past, listing, self.folder).await?;
                pinned.left = Some(Left::at(past, diverged));
                pinned.passed_by = true;
            } else if older.base.is_none() {
                pinned.findings.push(presence::no_base());
            }
            pinned.base = older.base;
            pinned.findings.extend(older.findings);
        }
        Ok(pinned)
    }

    /// Tries the head as base with a listing from its checkpoint on: the normal night.
    async fn pin_after(&self, head: &Past) -> Result<Option<Pinned>, Failure> {
        let Inputs {
            source,
            request,
            view,
            ..
        } = self.inputs;
        // Where the base's entries may not be used again, the log must be held again, and all of it.
        let reuse = self.may_reuse(head, Some(head.id)).await?;
        // It may stand below the checkpoint from which readers start.
        let has_emptied = head.record.emptied.is_some();
        let from = head.record.checkpoint.filter(|_| reuse && !has_emptied);
        let mut listing = LogListing::new(source.list_log(from, LogFile::is_one).await?);
        // Gone or cut short: the whole log tells, with its own errors.
        let known = Some(head.record.version);
        let Ok(mut version) = listing.tip(request.accept_tip, known) else {
            return Ok(None);
        };
        let mut whole = from.is_none();
        if !whole && newest_checkpoint(&listing, version) > from {
            // A checkpoint entered: time to see what the source has cleaned up.
            listing = LogListing::new(source.list_log(None, LogFile::is_one).await?);
            version = listing.tip(request.accept_tip, known)?;
            whole = true;
        }
        let judged = self.judge(head, &listing, version).await?;
        if judged == BaseUse::Untrusted || (judged == BaseUse::HeldOnly && !whole) {
            return Ok(None);
        }
        let mut pinned = Pinned::without_base(listing, whole, version);
        let Some(mut base) = self.open_base(head.clone(), judged, reuse).await? else {
            return Ok(None);
        };
        let is_unchanged = judged == BaseUse::Unchanged
            && !(has_emptied && self.has_other_bytes(&pinned.listing, &base).await?);
        if is_unchanged && reuse {
            let slot = view.head.next_free;
            match presence::look(self.vault, &base.manifest, slot, self.folder).await? {
                Looked::Present => pinned.unchanged = Some(head.clone()),
                Looked::Unknown(what) => {
                    pinned.findings.push(presence::unknown(&what));
                    pinned.unchanged = Some(head.clone());
                }
                Looked::Lost(object) => {
                    let finding = presence::lost(&Lost::Object(&object), head, &request.table.name);
                    pinned.findings.push(finding);
                    base.lost.push(object);
                }
            }
        }
        pinned.base = Some(base).filter(|_| pinned.unchanged.is_none());
        Ok(Some(pinned))
    }

    /// Whether a commit at or below a base has other bytes in the listed log, which its record's digest does not show where
    /// a checkpoint stands above the commit.
    async fn has_other_bytes(&self, listing: &LogListing, base: &Base) -> Result<bool, Failure> {
        let (source, manifest) = (self.inputs.source, &base.manifest);
        let examined = inherit::examine(self.vault, source, manifest, listing, self.folder);
        Ok(!examined.await?.overwritten.is_empty())
    }

    /// Walks the ledger down from its head to the first record that the live table continues.
    async fn older_base(
        &self,
        pinned: &Pinned,
        newest: Option<SnapshotId>,
    ) -> Result<Older, Failure> {
        let Inputs { request, avoid, .. } = self.inputs;
        let table = &request.table.name;
        let mut older = Older::default();
        let mut bad: HashSet<Digest> = HashSet::new();
        let chain = self
            .vault
            .chain(&request.key, Bodies::new(), &request.distrust)
            .await?;
        let trusted = ledger::trusted(&chain.links, &request.distrust);
        for past in trusted.into_iter().rev().filter_map(Past::of) {
            let manifest = past.record.manifest.sha256;
            // Unchanged nights name one manifest: it is looked at once.
            if bad.contains(&manifest) {
                continue;
            }
            if !avoid.is_whole(&past.record) {
                older
                    .findings
                    .push(presence::lost(&Lost::Part, &past, table));
                bad.insert(manifest);
                continue;
            }
            let judged = self.judge(&past, &pinned.listing, pinned.version).await?;
            // A commit that is gone proves nothing this far back: another table may stand here by now.
            let same = judged == BaseUse::Continue || judged == BaseUse::Unchanged;
            let held = judged == BaseUse::HeldOnly && request.scope == Scope::History;
            if same || held {
                let reuse = self.may_reuse(&past, newest).await?;
                older.base = self.open_base(past.clone(), judged, reuse).await?;
                if older.base.is_some() {
                    return Ok(older);
                }
                older
                    .findings
                    .push(presence::lost(&Lost::List, &past, table));
                bad.insert(manifest);
            } else if judged == BaseUse::Untrusted {
                older.untrusted.get_or_insert(past);
            }
        }
        Ok(older)
    }

    async fn judge(
        &self,
        past: &Past,
        listing: &LogListing,
        version: Version,
    ) -> Result<BaseUse, Failure> {
        let record = &past.record;
        let same_commit = match compare_commit(record, listing) {
            CommitState::Same => Some(true),
            CommitState::Gone => None,
            CommitState::MustRead => Some(
                self.read_commit_digest(listing, record.version).await?
                    == record.commit.as_ref().map(|commit| commit.sha256),
            ),
        };
        let evidence = BaseEvidence {
            same_commit,
            version,
            commits_listed: listing.commits(record.version, version).is_ok(),
            checkpoint_since: newest_checkpoint(listing, version)
                .is_some_and(|newest| newest >= record.version),
            log_digest: log_digest(listing, record.checkpoint),
            scope: self.inputs.request.scope,
        };
        Ok(judge_base(record, &evidence))
    }

    async fn read_commit_digest(
        &self,
        listing: &LogListing,
        version: Version,
    ) -> Result<Option<Digest>, Failure> {
        let Some(file) = listing.commit(version) else {
            return Ok(None);
        };
        let fetched = read_listed(self.inputs.source, file, self.folder).await?;
        Ok(Some(fetched.payload.sha256))
    }

    /// Whether no prune can collect what `past` references while this run goes on from it: for a while yet, or since it is
    /// the `newest` of a table that is in use, which is kept whatever its promise.
    async fn may_reuse(&self, past: &Past, newest: Option<SnapshotId>) -> Result<bool, Failure> {
        let request = self.inputs.request;
        let lock_mode = self.vault.file().lock_mode;
        if retention::outlasts_a_run(&past.record, lock_mode, request.now) {
            return Ok(true);
        }
        if lock_mode == LockMode::None || newest != Some(past.id) {
            return Ok(false);
        }
        match self.vault.events(&request.key, EventRole::Pruner).await {
            Ok(events) => Ok(!keep::is_retired(events.records(), past.id)),
            Err(error @ Error::Store(_)) => Err(error.into()),
            // An event that only a newer tool understands must not stop a backup.
            Err(_) => Ok(false),
        }
    }

    /// Reads a base's manifest. One that is damaged, or has a damaged page, cannot be a base, and the snapshot copies again
    /// what they held.
    async fn open_base(
        &self,
        past: Past,
        using: BaseUse,
        reuse: bool,
    ) -> Result<Option<Base>, Failure> {
        let Inputs { request, avoid, .. } = self.inputs;
        let manifest = match self.vault.manifest(&past.record).await {
            Ok(manifest) => manifest,
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut pages = manifest.log_pages.iter().chain(&manifest.data_pages);
        let is_avoided = |page: &PageRef| {
            let mut objects = avoid.objects.iter();
            objects.any(|object| *object == *page.page.key.as_str())
        };
        if pages.any(is_avoided) {
            return Ok(None);
        }
        // Taken for its live set, an unchanged record is one that the table went on from by no commit.
        let using = match (using, request.scope) {
            (BaseUse::Unchanged, Scope::Live) => BaseUse::Continue,
            (BaseUse::Unchanged, Scope::History) => BaseUse::HeldOnly,
            (using, _) => using,
        };
        Ok(Some(Base {
            past,
            manifest,
            using,
            reuse,
            lost: Vec::new(),
        }))
    }
}

/// The newest complete checkpoint at or below a version.
pub(super) fn newest_checkpoint(listing: &LogListing, version: Version) -> Option<Version> {
    checkpoints(listing, version).next()
}

/// How far the log entries that the source has cleaned up leave the manifest.
///
/// Only of a base whose commit still stands are they of this table's past: of any other one, what is not listed may be
/// of a past that was rewound.
pub(super) fn log_scope(pinned: &Pinned) -> LogScope {
    let listing = &pinned.listing;
    if pinned.ended {
        // Held is what was compared, and that is what was listed.
        return LogScope {
            whole: true,
            keep_from: None,
        };
    }
    let Some(base) = pinned.base.as_ref().filter(|_| goes_on(pinned)) else {
        return LogScope {
            whole: pinned.whole,
            keep_from: None,
        };
    };
    let newest = newest_checkpoint(listing, pinned.version);
    let held = base.past.record.checkpoint;
    let second = checkpoints(listing, pinned.version).find(|found| Some(*found) < newest);
    LogScope {
        // Until another checkpoint enters, nothing leaves.
        whole: pinned.whole && newest > held,
        keep_from: second.max(held.filter(|held| Some(*held) < newest)),
    }
}

/// Whether the base's own commit still stands, so that its log is of this table's past.
pub(super) fn goes_on(pinned: &Pinned) -> bool {
    pinned.reused().is_some_and(|base| {
        !pinned.ended && compare_commit(&base.past.record, &pinned.listing) == CommitState::Same
    })
}

fn checkpoints(listing: &LogListing, version: Version) -> impl Iterator<Item = Version> + '_ {
    let versions = listing
        .checkpoints()
        .iter()
        .map(|checkpoint| checkpoint.version);
    versions.filter(move |checkpoint| *checkpoint <= version)
}
