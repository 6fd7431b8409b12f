//! Makes the record of a snapshot from what its run found out.

use std::collections::BTreeMap;

use super::lock_terms::LockTerms;
use super::pin::{Pinned, newest_checkpoint};
use super::request::SnapshotRequest;
use super::snapshotter::Snapshotter;
use super::ways::LogRead;
use crate::delta::Protocol;
use crate::format::record::{CommitFile, ProtocolRecord, TableIdentity};
use crate::format::{Change, Disagreement, FORMAT, Record, Reference, Totals};
use crate::ids::{Id128, Timestamp, Version};
use crate::plan::snapshot::log_digest;

/// What was written and counted.
pub(super) struct Facts {
    pub(super) manifest: Reference,
    pub(super) totals: Totals,
    pub(super) change: Change,
    pub(super) journals: Vec<Id128>,
    pub(super) whole_versions: Vec<(Version, Version)>,
    pub(super) findings: Vec<String>,
    pub(super) disagreements: Vec<Disagreement>,
    pub(super) properties: BTreeMap<String, String>,
}

impl Snapshotter {
    /// The record but for its place in the ledger and its locks, which publishing fills in.
    #[expect(clippy::too_many_arguments, reason = "a record is made of many things")]
    pub(super) fn record(
        &self,
        request: &SnapshotRequest,
        terms: &LockTerms,
        pinned: &mut Pinned,
        log: &LogRead,
        delta_id: String,
        protocol: &Protocol,
        facts: Facts,
    ) -> Record {
        let mut findings = std::mem::take(&mut pinned.findings);
        findings.extend(facts.findings);
        let commit = pinned.commit().and_then(|file| {
            let body = log.bodies.get(&file.key)?;
            let sha256 = body.spooled.sha256;
            Some(CommitFile {
                etag: file.etag.clone(),
                sha256,
                size: body.spooled.size,
            })
        });
        let checkpoint = newest_checkpoint(&pinned.listing, pinned.version);
        Record {
            base: pinned.base.as_ref().map(|base| base.past.id),
            change: facts.change,
            checkpoint,
            class: terms.chosen.class.clone(),
            commit_time: commit_time(request, pinned, log, protocol),
            commit,
            disagreements: facts.disagreements,
            distrusts: request.distrust.clone(),
            doubt: pinned.doubt.take(),
            emptied: pinned.emptied,
            findings,
            format: FORMAT,
            journals: facts.journals,
            lock_mode: self.vault.file().lock_mode,
            locks: BTreeMap::new(),
            log_digest: log_digest(&pinned.listing, checkpoint),
            manifest: facts.manifest,
            opened: terms.chosen.opened.clone(),
            overwritten_from: pinned.inherited.rewritten_from(),
            previous: None,
            principal: request.principal.clone(),
            promise: terms.chosen.promise,
            properties: facts.properties,
            protocol: ProtocolRecord::of(protocol),
            requires: Vec::new(),
            run: request.run,
            scope: request.scope,
            seq: 1,
            set: request.set,
            table: TableIdentity {
                delta_id,
                ..request.table.clone()
            },
            taken_at: request.now,
            tool: request.tool.clone(),
            totals: facts.totals,
            trigger: request.trigger,
            vault_file: self.vault.file_digest(),
            version: pinned.version,
            whole_versions: facts.whole_versions,
        }
    }
}

/// When V was committed: its in-commit timestamp where the table has that feature, else when the store took its commit,
/// else its checkpoint.
fn commit_time(
    request: &SnapshotRequest,
    pinned: &Pinned,
    log: &LogRead,
    protocol: &Protocol,
) -> Timestamp {
    let told = log.info.in_commit_timestamp;
    let in_commit = told.filter(|_| protocol.has_in_commit_timestamps());
    let taken = pinned.commit().map(|file| file.last_modified);
    let newest = pinned
        .listing
        .files()
        .filter(|file| file.version == Some(pinned.version));
    in_commit
        .or(taken)
        .or_else(|| newest.map(|file| file.last_modified).max())
        .unwrap_or(request.now)
}
