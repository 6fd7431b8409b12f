//! Makes the record of a snapshot from what its run found out.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::inputs::Inputs;
use super::manifest::ManifestWritten;
use super::pin::newest_checkpoint;
use super::pinned::Pinned;
use super::planned::Plan;
use super::write_data::Brought;

use super::request::SnapshotRequest;
use super::snapshotter::Snapshotter;
use super::ways::LogRead;
use crate::delta::Protocol;
use crate::format::record::{CommitFile, ProtocolRecord, TableIdentity};
use crate::format::{FORMAT, Record, Scope};
use crate::ids::{Timestamp, Version};
use crate::plan::snapshot::{log_digest, whole_versions};
use crate::plan::unheld::noted_properties;
use crate::visible::shortened;

/// The most characters of a finding.
const FINDING_MAX: usize = 4096;

impl Snapshotter {
    /// The record but for its place in the ledger and its locks, which publishing fills in.
    pub(super) fn record(
        &self,
        inputs: Inputs<'_>,
        plan: &mut Plan,
        brought: Brought,
        manifest: &ManifestWritten,
    ) -> Record {
        let request = inputs.request;
        let delta_id = plan.delta_id();
        let Plan {
            terms,
            pinned,
            log,
            protocol,
            ..
        } = plan;
        let mut findings = std::mem::take(&mut pinned.findings);
        findings.append(&mut plan.findings);
        findings.extend(brought.findings);
        // What names a path of a megabyte would leave no room for the rest.
        for finding in findings.iter_mut().chain(&mut pinned.doubt) {
            if let Cow::Owned(short) = shortened(finding, FINDING_MAX) {
                *finding = short;
            }
        }
        let mut change = brought.change;
        change.operation.clone_from(&log.info.operation);
        change.user.clone_from(&log.info.user);
        let whole_versions = match (request.scope, pinned.version.0.checked_sub(1)) {
            (Scope::History, Some(last)) => {
                whole_versions(log.way.first_version(), Version(last), &brought.absent)
            }
            (Scope::History, None) | (Scope::Live, _) => Vec::new(),
        };
        let commit = pinned.commit().and_then(|file| {
            let body = log.bodies.get(&file.key)?;
            Some(CommitFile {
                etag: file.etag.clone(),
                sha256: body.spooled.sha256,
                size: body.spooled.size,
            })
        });
        let checkpoint = newest_checkpoint(&pinned.listing, pinned.version);
        Record {
            base: pinned.base.as_ref().map(|base| base.past.id),
            change,
            checkpoint,
            class: terms.chosen.class.clone(),
            commit_time: commit_time(request, pinned, log, protocol),
            commit,
            disagreements: std::mem::take(&mut plan.disagreements),
            distrusts: request.distrust.clone(),
            doubt: pinned.doubt.take(),
            emptied: pinned.emptied,
            findings,
            format: FORMAT,
            journals: std::mem::take(&mut plan.journals),
            lock_mode: self.vault.file().lock_mode,
            locks: BTreeMap::new(),
            log_digest: log_digest(&pinned.listing, checkpoint),
            manifest: manifest.reference.clone(),
            opened: terms.chosen.opened.clone(),
            overwritten_from: pinned.inherited.rewritten_from(),
            previous: None,
            principal: request.principal.clone(),
            promise: terms.chosen.promise,
            properties: noted_properties(&plan.metadata.configuration),
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
            totals: manifest.manifest.totals,
            trigger: request.trigger,
            vault_file: self.vault.file_digest(),
            version: pinned.version,
            whole_versions,
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
