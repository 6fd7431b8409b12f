//! Reconciles actions into the live set of a version, without ever holding it.
//!
//! A logical file is named by its location and the id of its deletion vector; both must match for a removal to end
//! it. Every add and remove becomes a row of an external sort by that name, version, and "removals before additions",
//! because the order of lines inside a commit has no meaning. Reading the rows back, the events of one logical file
//! are a run of neighbours, so memory does not depend on the number of files.
//!
//! Locations are canonical, so two spellings of one object are one file here, as they are for Spark. The Rust readers
//! compare paths as text: to them a remove ends only the add that is spelled alike. The replay follows both, and a
//! file is live as long as either has it live; [`ReplayFindings`] says where they differ.
//!
//! Checkpoints that the replay passes can be compared with it, see [`Replay::compare`]: what only such a checkpoint
//! names, and no later commit removes, joins the live set then, so that it is the union of all ways.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Action, Add, CommitInfo, DeletionVector, LogError, Metadata, Protocol, Spelling};
use crate::ids::{Location, Version};
use crate::sort::Sorter;

mod compare;
mod event;
mod live;

pub use compare::{Comparison, Detail, FilesCompared};
pub use live::LiveFiles;

use compare::{Compared, NamedFile};
use event::{AddBody, Event, VectorBody};

/// Takes actions in the order of their versions; see [`Replay::finish`].
#[derive(Debug)]
pub struct Replay {
    state: TableState,
    last: Option<Version>,
    passed_over: Paths,
    unnameable: Paths,
    events: Sorter<Event>,
    compared: Compared,
}

/// The table as a whole at the last version that was replayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableState {
    /// The protocol, if the log has one.
    pub protocol: Option<Protocol>,
    /// The metadata, if the log has any.
    pub metadata: Option<Metadata>,
    /// How far each application has written.
    pub txns: BTreeMap<String, Option<i64>>,
    /// The configuration of each domain.
    pub domains: BTreeMap<String, String>,
    /// The newest provenance, and the version it is of. A version that is only in a checkpoint has none.
    pub commit_info: Option<(Version, CommitInfo)>,
    /// Bytes of what applications and domains have said.
    held: usize,
}

/// The most bytes of what applications and domains say that are held in memory. A log has some dozens of either; this is room for
/// some hundred thousand.
const STATE_MAX: usize = 64 * 1024 * 1024;

/// What an entry of a map takes beside its text.
const AN_ENTRY: usize = 128;

impl TableState {
    /// The protocol and the metadata, without which nothing can be said of a version.
    ///
    /// # Errors
    /// [`LogError::NoProtocol`], [`LogError::NoMetadata`].
    pub fn required(&self, version: Version) -> Result<(&Protocol, &Metadata), LogError> {
        let protocol = self.protocol.as_ref();
        let protocol = protocol.ok_or(LogError::NoProtocol { version })?;
        let metadata = self.metadata.as_ref();
        let metadata = metadata.ok_or(LogError::NoMetadata { version })?;
        Ok((protocol, metadata))
    }

    fn apply(&mut self, version: Version, action: Action) {
        match action {
            Action::Protocol(protocol) => self.protocol = Some(protocol),
            Action::Metadata(metadata) => self.metadata = Some(metadata),
            Action::Txn { app_id, version } => {
                let size = AN_ENTRY + app_id.len();
                if self.txns.insert(app_id, version).is_none() {
                    self.held += size;
                }
            }
            Action::Domain {
                domain,
                configuration,
            } => {
                let name = domain.len();
                let size = |of: &String| AN_ENTRY + name + of.len();
                self.held += configuration.as_ref().map_or(0, size);
                let before = match configuration {
                    Some(configuration) => self.domains.insert(domain, configuration),
                    None => self.domains.remove(&domain),
                };
                self.held = self.held.saturating_sub(before.as_ref().map_or(0, size));
            }
            Action::CommitInfo(info) => self.commit_info = Some((version, info)),
            Action::Add { .. }
            | Action::Remove { .. }
            | Action::Cdc { .. }
            | Action::Sidecar { .. }
            | Action::PassedOver { .. }
            | Action::Unnameable { .. }
            | Action::CheckpointMetadata { .. } => {}
        }
    }
}

/// A logical file, and the versions in which it is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFile {
    /// The file, as the newest `add` has it.
    pub add: Add,
    /// The first version that has it; the start's version when it was there at the start.
    pub from: Version,
    /// The first version that no longer has it; `None` while the last version replayed has it.
    pub until: Option<Version>,
    /// Whether only readers that compare paths as text have it live: the log removed it under another spelling.
    pub by_text: bool,
    /// Whether readers do not have it live who start from the newest checkpoint: only another way through the log does.
    pub off_newest: bool,
    /// The sizes that other ways through the log give where they differ from `add`'s: which of them is right only the
    /// object can tell.
    pub otherwise: Vec<Sizes>,
    /// The spellings under which it is live, in order; empty where the only one is the file's own key or URI.
    pub spelled: Vec<String>,
}

/// What a log says of the bytes of a file, and of its deletion vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sizes {
    /// Bytes of the data file.
    pub file: u64,
    /// Bytes of the vector.
    pub vector: Option<u64>,
}

impl LiveFile {
    /// Whether every reader that starts from the newest checkpoint has it live.
    pub fn is_seen(&self) -> bool {
        !self.by_text && !self.off_newest
    }
}

/// Where an add comes from, beside what it says of its file.
struct AddSource {
    by_text: bool,
    compared: Option<usize>,
    spelling: Spelling,
}

impl AddSource {
    fn by(spelling: Spelling) -> Self {
        Self {
            by_text: false,
            compared: None,
            spelling,
        }
    }
}

impl Replay {
    /// Starts with an empty table. Rows that do not fit in memory go below `spill`.
    ///
    /// # Errors
    /// [`LogError::Sort`] when the folder cannot be used.
    pub fn new(spill: &Path) -> Result<Self, LogError> {
        Ok(Self {
            state: TableState::default(),
            last: None,
            passed_over: Paths::default(),
            unnameable: Paths::default(),
            events: Sorter::new(spill)?,
            compared: Compared::default(),
        })
    }

    /// Registers a complete checkpoint to compare with; returns the index by which its rows are passed to
    /// [`Replay::compared`]. All are registered, by ascending version, before the first commit above them.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`].
    pub fn compare(&mut self, version: Version, detail: Detail) -> Result<usize, LogError> {
        match self.compared.last_version().max(self.last) {
            Some(after) if version < after => Err(LogError::OutOfOrder { version, after }),
            _ => Ok(self.compared.push(version, detail)),
        }
    }

    /// Takes an action of a compared checkpoint.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn compared(&mut self, index: usize, action: Action) -> Result<(), LogError> {
        match action {
            Action::Add { add, spelling } => {
                let spelled = (!spelling.is_plain()).then(|| spelling.text(&add.file));
                let named = NamedFile {
                    file: &add.file,
                    size: add.size,
                    vector: add.dv.as_ref().map(DeletionVector::facts),
                    spelled: spelled.into_iter().collect(),
                };
                self.compared.names(index, &named);
                match self.compared.detail(index) {
                    Some((version, Detail::Rows)) => {
                        let source = AddSource {
                            compared: Some(index),
                            ..AddSource::by(spelling)
                        };
                        self.add(version, add, source)
                    }
                    Some((_, Detail::Sum)) | None => Ok(()),
                }
            }
            Action::Protocol(protocol) => {
                self.compared.has_protocol(index, protocol);
                Ok(())
            }
            Action::Metadata(metadata) => {
                self.compared.has_id(index, metadata.id);
                Ok(())
            }
            Action::Remove { .. }
            | Action::PassedOver { .. }
            | Action::Cdc { .. }
            | Action::Unnameable { .. }
            | Action::Sidecar { .. }
            | Action::Txn { .. }
            | Action::Domain { .. }
            | Action::CheckpointMetadata { .. }
            | Action::CommitInfo(_) => Ok(()),
        }
    }

    /// Leaves a compared checkpoint out, with every row of it that came: it could not be read to its end.
    pub fn drop_compared(&mut self, index: usize) {
        self.compared.drop_one(index);
    }

    /// Takes note of a file that is live from a version on and that nothing else of the replay is about, for the sums of
    /// the compared checkpoints; `spelled` as in [`LiveFile`].
    pub fn untouched(
        &mut self,
        from: Version,
        (file, size): (&Location, u64),
        dv: Option<&DeletionVector>,
        spelled: &[String],
    ) {
        let named = NamedFile {
            file,
            size,
            vector: dv.map(DeletionVector::facts),
            spelled: spelled.iter().map(String::as_str).collect(),
        };
        self.compared.live(&named, (from, None));
    }

    /// Takes an action of a checkpoint of `version`, or of another known state of it. Tombstones, which say what is
    /// not live, change nothing.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`] after a newer version, [`LogError::Sort`].
    pub fn start(&mut self, version: Version, action: Action) -> Result<(), LogError> {
        let is_past = matches!(
            action,
            Action::Remove { .. } | Action::PassedOver { .. } | Action::Unnameable { .. }
        );
        if is_past {
            return Ok(());
        }
        self.commit(version, action)
    }

    /// Takes a file that is known to be live at the start, with the version since which it is.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn start_file(&mut self, known: LiveFile) -> Result<(), LogError> {
        let LiveFile {
            add,
            by_text,
            from,
            spelled,
            ..
        } = known;
        let mut spelled: Vec<_> = spelled
            .iter()
            .map(|text| Spelling::of(text, &add.file))
            .collect();
        let last = spelled.pop().unwrap_or_default();
        let source = |spelling| AddSource {
            by_text,
            ..AddSource::by(spelling)
        };
        for spelling in spelled {
            self.add(from, add.clone(), source(spelling))?;
        }
        self.add(from, add, source(last))
    }

    /// Takes an action of the commit of `version`. Versions must not go down; inside one, any order will do.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`], [`LogError::Sort`].
    pub fn commit(&mut self, version: Version, action: Action) -> Result<(), LogError> {
        match self.last {
            Some(after) if version < after => return Err(LogError::OutOfOrder { version, after }),
            Some(last) if version == last => {}
            _ => {
                self.compared.pass(Some(version), &self.state);
                self.last = Some(version);
            }
        }
        match action {
            Action::Add { add, spelling } => self.add(version, add, AddSource::by(spelling)),
            Action::Remove {
                file,
                dv_id,
                spelling,
            } => self.push(Event {
                file,
                dv_id,
                version,
                sequence: self.events.len(),
                spelling,
                add: None,
                by_text: false,
                compared: None,
            }),
            Action::PassedOver { path } => {
                self.passed_over.note(path);
                Ok(())
            }
            Action::Unnameable { path } => {
                self.unnameable.note(path);
                Ok(())
            }
            action @ (Action::Cdc { .. }
            | Action::Sidecar { .. }
            | Action::Protocol(_)
            | Action::Metadata(_)
            | Action::Txn { .. }
            | Action::Domain { .. }
            | Action::CheckpointMetadata { .. }
            | Action::CommitInfo(_)) => {
                self.state.apply(version, action);
                if self.state.held > STATE_MAX {
                    let limit = STATE_MAX;
                    return Err(LogError::StateTooLarge { version, limit });
                }
                Ok(())
            }
        }
    }

    /// Takes from an action of the version's own commit only what no checkpoint has: its provenance. For a version
    /// whose state came from a checkpoint.
    pub fn tip(&mut self, version: Version, action: Action) {
        if matches!(action, Action::CommitInfo(_)) {
            self.state.apply(version, action);
        }
    }

    /// The state of the table as replayed so far.
    pub fn state(&self) -> &TableState {
        &self.state
    }

    /// Ends the replay. Returns the state of the table, and its live files in the order of location and vector id.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn finish(self) -> Result<(TableState, LiveFiles), LogError> {
        self.end(false)
    }

    /// As [`Replay::finish`], but also with the files that only older versions have live: one [`LiveFile`]
    /// for each span of versions, a file's spans ascending.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn finish_with_history(self) -> Result<(TableState, LiveFiles), LogError> {
        self.end(true)
    }

    fn end(mut self, history: bool) -> Result<(TableState, LiveFiles), LogError> {
        self.compared.pass(None, &self.state);
        let findings = ReplayFindings {
            passed_over: self.passed_over,
            unnameable: self.unnameable,
            ..ReplayFindings::default()
        };
        let files = LiveFiles::new(self.events.finish()?, history, self.compared, findings);
        Ok((self.state, files))
    }

    fn add(&mut self, version: Version, add: Add, source: AddSource) -> Result<(), LogError> {
        let AddSource {
            by_text,
            compared,
            spelling,
        } = source;
        let body = AddBody {
            absolute: add.absolute,
            size: add.size,
            modification_time: add.modification_time,
            rows: add.rows,
            dv: add.dv.as_ref().map(|dv| VectorBody {
                cardinality: dv.cardinality,
                file: dv.file.clone(),
                offset: dv.offset,
                size: dv.size,
            }),
        };
        let dv_id = add.dv.map(|dv| dv.id);
        self.push(Event {
            file: add.file,
            dv_id,
            version,
            sequence: self.events.len(),
            spelling,
            add: Some(body),
            by_text,
            compared,
        })
    }

    fn push(&mut self, event: Event) -> Result<(), LogError> {
        Ok(self.events.push(event)?)
    }
}

/// What was odd about a table while its live files were read. Not an error: the live set is certain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayFindings {
    /// Logical files on which readers differ because the log spells them in more than one way: some compare paths as
    /// text, others compare what the paths stand for.
    pub respelled: u64,
    /// Spellings of the first of them.
    pub respelled_example: Vec<String>,
    /// Logical files that one commit both removes and adds.
    pub contradicted: u64,
    /// Data files that are live with more than one deletion vector at once.
    pub live_twice: u64,
    /// Logical files that some ways to the version have live and others do not.
    pub disputed: u64,
    /// The first of them.
    pub disputed_example: Option<Location>,
    /// Removes that stand on one line with an add.
    pub passed_over: Paths,
    /// Removes and change data whose paths no object can have.
    pub unnameable: Paths,
}

/// Paths of the log that were passed over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paths {
    /// How many.
    pub count: u64,
    /// The first, as the log spells it.
    pub first: Option<String>,
}

impl Paths {
    fn note(&mut self, path: String) {
        self.count += 1;
        self.first.get_or_insert(path);
    }
}

#[cfg(test)]
mod tests;
