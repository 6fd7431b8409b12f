//! Replays V from spooled log files: over the source's for the plan, over the vault's own bytes before anything is
//! published. The [`Fingerprint`]s of both live sets must be equal.

use std::collections::BTreeMap;
use std::path::Path;

use futures::TryStreamExt;
use sha2::{Digest as _, Sha256};

use super::super::Vault;
use super::super::log_replay::{read_actions, replay_segment};
use super::Failure;
use super::pin::Base;
use super::ways::LogRead;
use crate::delta::path::TableRoot;
use crate::delta::replay::{LiveFile, LiveFiles, Replay};
use crate::delta::{Action, Add, LogError, Metadata, Protocol};
use crate::error::Error;
use crate::format::{Entry, Record};
use crate::ids::{Digest, Location, ObjectKey};

/// What identifies a live set: SHA-256 over its logical files in order, with everything a manifest keeps of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fingerprint(Digest);

/// A file of the change data feed that a commit names.
#[derive(Debug)]
pub(super) struct ChangeData {
    pub(super) file: Location,
    pub(super) absolute: bool,
    pub(super) size: u64,
}

/// Replays V, all from what was read; also returns the change data that the commits name.
pub(super) async fn replay_version(
    vault: &Vault,
    base: Option<&Base>,
    log: &LogRead,
    root: &TableRoot,
    folder: &Path,
) -> Result<(Replay, Vec<ChangeData>), Failure> {
    let mut replay = Replay::new(folder)?;
    if let Some(base) = base.filter(|_| log.way.from_base) {
        let record = &base.past.record;
        start_from(&mut replay, record)?;
        let mut entries = vault.entries(&base.manifest.data_pages);
        while let Some(entry) = entries.try_next().await? {
            for add in adds_of(entry) {
                replay.start_file(record.version, add)?;
            }
        }
    }
    let mut change_data = Vec::new();
    let mut note = |action: &Action| {
        if let Action::Cdc {
            file,
            absolute,
            size,
        } = action
        {
            let (absolute, size) = (*absolute, *size);
            change_data.push(ChangeData {
                file: file.clone(),
                absolute,
                size,
            });
        }
    };
    let body_of = |key: &ObjectKey| log.bodies.get(key).map(|body| body.spooled.clone());
    if let Some(file) = &log.way.first_commit
        && let Some(body) = body_of(&file.key)
    {
        let sink = &mut |action| {
            note(&action);
            Ok(())
        };
        read_actions(&file.key, &body, root, sink).map(drop)?;
    }
    replay_segment(&log.way.segment, body_of, root, &mut replay, &mut note)?;
    Ok((replay, change_data))
}

/// What a replay has to be closed with.
pub(super) struct Replayed {
    pub(super) replay: Replay,
    pub(super) change_data: Vec<ChangeData>,
    pub(super) history: bool,
}

/// Gives a replay the base's table state.
fn start_from(replay: &mut Replay, record: &Record) -> Result<(), LogError> {
    let protocol = Protocol {
        min_reader_version: record.protocol.reader,
        min_writer_version: record.protocol.writer,
        reader_features: record.protocol.reader_features.clone(),
        writer_features: record.protocol.writer_features.clone(),
    };
    replay.start(record.version, Action::Protocol(protocol))?;
    let metadata = Metadata {
        id: Some(record.table.delta_id.clone()),
        name: None,
        partition_columns: Vec::new(),
        configuration: BTreeMap::new(),
    };
    replay.start(record.version, Action::Metadata(metadata))
}

/// The logical files that a base's entry carries.
fn adds_of(entry: Entry) -> impl Iterator<Item = Add> {
    let Entry {
        absolute,
        file,
        live,
        modification_time,
        rows,
        size,
        ..
    } = entry;
    live.into_iter().map(move |used| Add {
        file: file.clone(),
        absolute,
        size,
        modification_time: modification_time.unwrap_or_default(),
        rows,
        dv: used.dv,
    })
}

/// The fingerprint of V's live set alone: what the proof compares.
pub(super) fn fingerprint(replay: Replay) -> Result<Fingerprint, Failure> {
    let (_, files) = replay.finish()?;
    let mut live = Watched::new(files);
    for file in &mut live {
        file?;
    }
    Ok(live.into_fingerprint())
}

/// Live files on their way, hashed as they go by.
pub(super) struct Watched {
    files: LiveFiles,
    fingerprint: Fingerprinter,
}

impl Iterator for Watched {
    type Item = Result<LiveFile, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let file = self.files.next()?;
        if let Ok(file) = &file
            && file.until.is_none()
        {
            self.fingerprint.add(file);
        }
        Some(file.map_err(Error::from))
    }
}

impl Watched {
    /// The fingerprint of all that went by.
    pub(super) fn into_fingerprint(self) -> Fingerprint {
        self.fingerprint.finish()
    }

    pub(super) fn new(files: LiveFiles) -> Self {
        Self {
            files,
            fingerprint: Fingerprinter::default(),
        }
    }

    /// What the owner should know of the files; complete once they have all gone by.
    pub(super) fn findings(&self) -> Vec<String> {
        let odd = self.files.findings();
        let mut findings = Vec::new();
        if odd.respelled > 0 {
            let example = odd.respelled_examples.first().map(ToString::to_string);
            findings.push(format!(
                "{} files are spelled in several ways in the log, first {}: readers differ about them",
                odd.respelled,
                example.unwrap_or_default()
            ));
        }
        if odd.contradicted > 0 {
            findings.push(format!(
                "{} files are removed and added by one commit",
                odd.contradicted
            ));
        }
        if odd.live_twice > 0 {
            findings.push(format!(
                "{} files are live with several deletion vectors",
                odd.live_twice
            ));
        }
        findings
    }
}

/// Hashes a live set file by file.
#[derive(Default)]
struct Fingerprinter(Sha256);

impl Fingerprinter {
    fn add(&mut self, file: &LiveFile) {
        let Add {
            file: location,
            absolute,
            size,
            modification_time,
            rows,
            dv,
        } = &file.add;
        let dv = dv.as_ref().map_or("", |dv| dv.id.as_str());
        let line =
            format!("{location:?}\t{absolute}\t{size}\t{modification_time}\t{rows:?}\t{dv}\n");
        self.0.update(line.as_bytes());
    }

    fn finish(self) -> Fingerprint {
        Fingerprint(Digest::from_hasher(self.0))
    }
}
