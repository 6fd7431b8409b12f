//! Proves that a snapshot holds what its log names: replays the log from the vault's own bytes, by every complete way
//! through it, and compares what is live with the entries of the data pages.
//!
//! Each page is asked for once: what the checks before this one read waits in a folder of this machine, under its
//! digest. Log files are spooled, live files and entries sorted externally, so memory holds something for each log
//! file, never for each data file. What lies in objects of its own, as checkpoints do, is read once for snapshots that
//! follow each other; each of them decodes it, since what is live is sorted together with the commits after it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt};

use super::super::ahead::{Bounds, ahead};
use super::super::log_replay::{as_listed, replay_segment};
use super::super::{Vault, offload};
use super::Verify;
use super::table::not_read;
use crate::delta::path::TableRoot;
use crate::delta::replay::{LiveFiles, Replay};
use crate::delta::segment::{LogListing, Segment};
use crate::delta::{LogError, Protocol, check_protocol};
use crate::error::Error;
use crate::format::{Entry, EntryKind, Manifest, Placement, Reference};
use crate::ids::{Digest, Location, ObjectKey, Version};
use crate::plan::choose::Snapshot;
use crate::plan::snapshot::ByFile;
use crate::plan::verify::{
    Comparison, HeldCommit, HeldFile, Problem, ReadBytes, Severity, USE_NEWER, WayEnd, compare,
    completeness_problems,
};
use crate::sort::{Sorted, Sorter};
use crate::spool::{Scratch, Spool, Spooled};
use crate::store::Payload;

/// Log files that are read from the vault ahead of the one that is spooled; most are inlined and cost no request.
const LOG_FILES_AHEAD: Bounds = Bounds {
    count: 16,
    bytes: 64 * 1024 * 1024,
};

struct HeldLog {
    listing: LogListing,
    /// Files of checkpoints that could not be decoded when they were taken: no way leads through them.
    unreadable: HashSet<ObjectKey>,
    commit: Option<HeldCommit>,
}

/// The log files that a snapshot has in objects of their own, by their digest: spooled for the next snapshot.
pub(super) type LogFiles = HashMap<Digest, Spooled>;

struct Proof {
    ways: Vec<WayEnd>,
    comparison: Comparison,
    /// Bytes of log files that were read from objects of their own.
    bytes_read: u64,
}

impl Verify<'_, '_> {
    /// Whether a manifest is to be proven complete: each table's newest, and all where bytes are read again.
    pub(super) fn proves(&self, users: &[usize], is_newest: bool) -> bool {
        let is_wanted = match self.plan.read {
            ReadBytes::None => is_newest,
            ReadBytes::Sample | ReadBytes::All => true,
        };
        // What no promise covers may have been pruned in part.
        let mut users = users.iter().filter_map(|user| self.snapshots.get(*user));
        is_wanted && users.any(|snapshot| !snapshot.is_over)
    }

    /// Proves one manifest complete, whose pages were all read; says what is wrong. `shared` are the log files of the
    /// manifest that was proven before, and of this one afterwards.
    pub(super) async fn complete(
        &mut self,
        vault: &Vault,
        manifest: &Manifest,
        reference: &Reference,
        named_by: &[(usize, &Snapshot)],
        shared: &mut LogFiles,
    ) -> Result<(), Error> {
        let Some((_, first)) = named_by.first() else {
            return Ok(());
        };
        let users: Vec<usize> = named_by.iter().map(|(user, _)| *user).collect();
        let object = reference.key.as_str();
        let scratch = Scratch::create(self.spill).map_err(Error::Scratch)?;
        let uri = &first.record.table.uri;
        let (proof, commit) = match prove(vault, manifest, uri, &scratch, shared).await {
            Ok(proven) => proven,
            Err(Error::Scratch(error)) => return Err(Error::Scratch(error)),
            Err(Error::Log(error @ (LogError::Sort(_) | LogError::Read { .. }))) => {
                return Err(error.into());
            }
            Err(Error::Log(
                error @ (LogError::UnknownReaderFeature { .. }
                | LogError::UnsupportedReaderVersion { .. }),
            )) => {
                let what = format!("its completeness could not be checked: {error}");
                let problem = Problem::unchecked(what, USE_NEWER);
                return self.report_users(&users, object, &problem);
            }
            Err(Error::Log(error)) => {
                let what = format!(
                    "its log does not lead to version {}: {error}",
                    manifest.version
                );
                return self.report_users(&users, object, &Problem::damage(what));
            }
            Err(Error::Damaged { object: file, what }) => {
                let what = format!("what it holds of the log cannot be replayed: {file}: {what}");
                return self.report_users(&users, object, &Problem::damage(what));
            }
            Err(error) => return self.report_users(&users, object, &not_read(&error)),
        };
        self.report.bytes_read += proof.bytes_read;
        for (user, snapshot) in named_by {
            let problems = completeness_problems(
                &snapshot.record,
                &manifest.delta_id,
                commit,
                &proof.ways,
                &proof.comparison,
            );
            let is_complete = problems.iter().all(|it| it.severity < Severity::Damage);
            self.report.proven += u64::from(is_complete);
            for problem in problems {
                self.report_users(&[*user], object, &problem)?;
            }
        }
        Ok(())
    }
}

/// Replays the log that a manifest holds and compares it with the manifest's data pages.
async fn prove(
    vault: &Vault,
    manifest: &Manifest,
    uri: &str,
    scratch: &Scratch,
    shared: &mut LogFiles,
) -> Result<(Proof, Option<HeldCommit>), Error> {
    let root = TableRoot::new(uri)?;
    let log = held_log(vault, manifest).await?;
    let ways: Vec<Segment> = log
        .listing
        .candidates(manifest.version)?
        .filter(|way| !way.files().any(|file| log.unreadable.contains(&file.key)))
        .collect();
    let (bodies, bytes_read) = spool_log(vault, manifest, &ways, scratch, shared).await?;
    let mut held = Sorter::new(scratch.path())?;
    let mut entries = vault.entries(&manifest.data_pages);
    while let Some(entry) = entries.try_next().await? {
        held.push(HeldFile::of(&entry))?;
    }
    let job = Job {
        ways,
        bodies,
        root,
        version: manifest.version,
        folder: scratch.path().to_owned(),
    };
    let held = held.finish()?;
    let proof = offload(move || job.run(held)).await??;
    let proof = Proof {
        bytes_read,
        ..proof
    };
    Ok((proof, log.commit))
}

/// Lists the log that a manifest holds as its source's store would list it.
async fn held_log(vault: &Vault, manifest: &Manifest) -> Result<HeldLog, Error> {
    let mut objects = Vec::new();
    let mut unreadable = HashSet::new();
    let mut commits = BTreeMap::new();
    let mut entries = vault.entries(&manifest.log_pages);
    while let Some(entry) = entries.try_next().await? {
        let Location::Inside(key) = &entry.file else {
            continue;
        };
        if entry.placement == (Placement::Absent {}) {
            continue;
        }
        if entry.unreadable {
            unreadable.insert(key.clone());
        }
        if let (EntryKind::Commit, Some(sha256)) = (entry.kind, entry.sha256) {
            commits.insert(key.clone(), (sha256, entry.size));
        }
        objects.push(as_listed(key, &entry));
    }
    let listing = LogListing::new(objects);
    let commit = listing.commit(manifest.version);
    let commit = commit.and_then(|file| commits.get(&file.key).copied());
    Ok(HeldLog {
        listing,
        unreadable,
        commit,
    })
}

/// Reads from the vault what the ways need and `shared` lacks, and every sidecar: which ones a checkpoint names is in its
/// content.
async fn spool_log(
    vault: &Vault,
    manifest: &Manifest,
    ways: &[Segment],
    scratch: &Scratch,
    shared: &mut LogFiles,
) -> Result<(HashMap<ObjectKey, Spooled>, u64), Error> {
    let needed: HashSet<&ObjectKey> = ways
        .iter()
        .flat_map(Segment::files)
        .map(|file| &file.key)
        .collect();
    let is_needed = |entry: &Entry| match &entry.file {
        Location::Inside(key) => {
            needed.contains(key) || (entry.kind == EntryKind::Sidecar && !entry.unreadable)
        }
        Location::Outside(_) => false,
    };
    let entries = vault.entries(&manifest.log_pages);
    let wanted = entries.try_filter(|entry| futures::future::ready(is_needed(entry)));
    let known = std::mem::take(shared);
    let reads = wanted.map(|entry| {
        let known = entry.as_ref().ok().and_then(|it| known.get(&it.sha256?));
        let weight = match (&entry, known) {
            (Ok(entry), None) => entry.size,
            _ => 0,
        };
        (weight, read(vault, entry, known, scratch.path()))
    });
    let mut reads = ahead(reads, LOG_FILES_AHEAD);
    let mut spool = Spool::create(scratch).map_err(Error::Scratch)?;
    let (mut bodies, mut bytes_read) = (HashMap::new(), 0_u64);
    while let Some((entry, body)) = reads.try_next().await? {
        let has_object = !matches!(entry.placement, Placement::Inline(_));
        let spooled = match body {
            Body::Known(spooled) => spooled,
            Body::Read(payload) => {
                if has_object {
                    bytes_read = bytes_read.saturating_add(entry.size);
                }
                spool.append(&payload).map_err(Error::Scratch)?
            }
        };
        if has_object {
            shared.insert(spooled.sha256, spooled.clone());
        }
        if let Location::Inside(key) = entry.file {
            bodies.insert(key, spooled);
        }
    }
    Ok((bodies, bytes_read))
}

enum Body {
    Known(Spooled),
    Read(Payload),
}

async fn read(
    vault: &Vault,
    entry: Result<Entry, Error>,
    known: Option<&Spooled>,
    folder: &Path,
) -> Result<(Entry, Body), Error> {
    let entry = entry?;
    let body = match known {
        // An entry with another size is damage, and reading it says so.
        Some(spooled) if spooled.size == entry.size => Body::Known(spooled.clone()),
        _ => Body::Read(vault.payload(&entry, folder).await?),
    };
    Ok((entry, body))
}

/// A replay of all ways, for a thread that may be kept busy.
struct Job {
    ways: Vec<Segment>,
    bodies: HashMap<ObjectKey, Spooled>,
    root: TableRoot,
    version: Version,
    folder: PathBuf,
}

impl Job {
    fn run(self, held: Sorted<ByFile<HeldFile>>) -> Result<Proof, LogError> {
        let mut ends = Vec::new();
        let mut live = Vec::new();
        for way in &self.ways {
            let checkpoint = way.checkpoint.as_ref().and_then(|checkpoint| {
                let first = checkpoint.files.first()?;
                Some((checkpoint.version, first.key.clone()))
            });
            let end = match self.replay(way) {
                Ok((end, files)) => {
                    live.push(files);
                    Ok(end)
                }
                // A checkpoint one of whose sidecars was not there, or could not be decoded, begins no way.
                Err(LogError::MissingSidecar { .. }) => continue,
                Err(
                    error @ (LogError::Sort(_)
                    | LogError::Read { .. }
                    | LogError::UnknownReaderFeature { .. }
                    | LogError::UnsupportedReaderVersion { .. }),
                ) => return Err(error),
                Err(error) => Err(error),
            };
            ends.push(WayEnd { checkpoint, end });
        }
        let mut vectors = Sorter::new(&self.folder)?;
        let held = held.map(|row| row.map_err(LogError::from));
        let mut comparison = compare(live, held, &mut |row| Ok(vectors.push(row)?))?;
        comparison.add_vectors(vectors.finish()?.map(|row| row.map_err(LogError::from)))?;
        Ok(Proof {
            ways: ends,
            comparison,
            bytes_read: 0,
        })
    }

    fn replay(&self, way: &Segment) -> Result<((Protocol, String), LiveFiles), LogError> {
        let mut replay = Replay::new(&self.folder)?;
        let body_of = |key: &ObjectKey| self.bodies.get(key).cloned();
        replay_segment(way, body_of, &self.root, &mut replay, &mut |_, _| {})?;
        let (state, files) = replay.finish()?;
        let (protocol, metadata) = state.required(self.version)?;
        check_protocol(protocol)?;
        let id = metadata.id.clone().unwrap_or_default();
        Ok(((protocol.clone(), id), files))
    }
}
