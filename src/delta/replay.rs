//! Reconciles actions into the live set of a version, without ever holding it.
//!
//! A logical file is named by its location and the id of its deletion vector; both must match for a removal to end
//! it. Every add and remove becomes a row of an external sort by that name, version, and "removals before additions",
//! because the order of lines inside a commit has no meaning. Reading the rows back, the fate of one logical file is
//! a run of neighbours, so memory does not depend on the number of files.
//!
//! Locations are canonical, so two spellings of one object are one file here, as they are for Spark. Readers that
//! compare the raw strings see such a table differently; [`ReplayFindings`] says how often that happened.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use super::{Action, Add, CommitInfo, LogError, Metadata, Protocol, Spelling};
use crate::ids::{Location, Version};
use crate::sort::{Sorted, Sorter};

mod event;

use event::{AddBody, Event, VectorBody};

/// How many locations a finding names as examples.
const EXAMPLES: usize = 10;

/// Takes actions in the order of their versions; see [`Replay::finish`].
#[derive(Debug)]
pub struct Replay {
    state: TableState,
    last: Option<Version>,
    events: Sorter<Event>,
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
}

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
                self.txns.insert(app_id, version);
            }
            Action::Domain {
                domain,
                configuration: Some(configuration),
            } => {
                self.domains.insert(domain, configuration);
            }
            Action::Domain {
                domain,
                configuration: None,
            } => {
                self.domains.remove(&domain);
            }
            Action::CommitInfo(info) => self.commit_info = Some((version, info)),
            Action::Add { .. }
            | Action::Remove { .. }
            | Action::Cdc { .. }
            | Action::Sidecar { .. }
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
    /// The first version that has it no more; `None` while the last version replayed has it.
    pub until: Option<Version>,
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
            events: Sorter::new(spill)?,
        })
    }

    /// Takes an action of a checkpoint of `version`, or of another known state of it. Tombstones, which say what is
    /// not live, change nothing.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`] after a newer version, [`LogError::Sort`].
    pub fn start(&mut self, version: Version, action: Action) -> Result<(), LogError> {
        if matches!(action, Action::Remove { .. }) {
            return Ok(());
        }
        self.commit(version, action)
    }

    /// Takes a file that is known to be live at the start, with the version since which it is.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn start_file(&mut self, from: Version, add: Add) -> Result<(), LogError> {
        self.add(from, add, None)
    }

    /// Takes an action of the commit of `version`. Versions must not go down; inside one, any order will do.
    ///
    /// # Errors
    /// [`LogError::OutOfOrder`], [`LogError::Sort`].
    pub fn commit(&mut self, version: Version, action: Action) -> Result<(), LogError> {
        match self.last {
            Some(after) if version < after => return Err(LogError::OutOfOrder { version, after }),
            _ => self.last = Some(version),
        }
        match action {
            Action::Add { add, spelling } => self.add(version, add, spelling),
            Action::Remove {
                file,
                dv_id,
                spelling,
            } => self.push(file, dv_id, version, spelling, None),
            action @ (Action::Cdc { .. }
            | Action::Sidecar { .. }
            | Action::Protocol(_)
            | Action::Metadata(_)
            | Action::Txn { .. }
            | Action::Domain { .. }
            | Action::CheckpointMetadata { .. }
            | Action::CommitInfo(_)) => {
                self.state.apply(version, action);
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

    /// As [`Replay::finish`], but with the files that were live in an older version and are no more: one [`LiveFile`]
    /// for each span of versions, a file's spans ascending.
    ///
    /// # Errors
    /// [`LogError::Sort`].
    pub fn finish_with_history(self) -> Result<(TableState, LiveFiles), LogError> {
        self.end(true)
    }

    fn end(self, history: bool) -> Result<(TableState, LiveFiles), LogError> {
        let files = LiveFiles {
            events: self.events.finish()?,
            history,
            open: None,
            ready: VecDeque::new(),
            last_live: None,
            findings: ReplayFindings::default(),
        };
        Ok((self.state, files))
    }

    fn add(
        &mut self,
        version: Version,
        add: Add,
        spelling: Option<Spelling>,
    ) -> Result<(), LogError> {
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
        self.push(add.file, dv_id, version, spelling, Some(body))
    }

    fn push(
        &mut self,
        file: Location,
        dv_id: Option<String>,
        version: Version,
        spelling: Option<Spelling>,
        add: Option<AddBody>,
    ) -> Result<(), LogError> {
        let sequence = self.events.len();
        Ok(self.events.push(Event {
            file,
            dv_id,
            version,
            sequence,
            spelling,
            add,
        })?)
    }
}

/// What was odd about a table while its live files were read. Not an error: the live set is certain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayFindings {
    /// Logical files that the log spells in more than one way: readers that do not canonicalise paths may see others.
    pub respelled: u64,
    /// The first few of them.
    pub respelled_examples: Vec<Location>,
    /// Logical files that one commit both removes and adds.
    pub contradicted: u64,
    /// Data files that are live with more than one deletion vector at once.
    pub live_twice: u64,
}

/// The live files of a [`Replay`], in order. Ends after the first error.
#[derive(Debug)]
pub struct LiveFiles {
    events: Sorted<Event>,
    history: bool,
    open: Option<Fate>,
    ready: VecDeque<LiveFile>,
    last_live: Option<Location>,
    findings: ReplayFindings,
}

/// What is known of the logical file whose events are being read.
#[derive(Debug)]
struct Fate {
    file: Location,
    dv_id: Option<String>,
    spelling: Option<Spelling>,
    respelled: bool,
    removed_in: Option<Version>,
    live: Option<(AddBody, Version)>,
}

impl LiveFiles {
    /// What was odd; complete once the iterator has ended.
    pub fn findings(&self) -> &ReplayFindings {
        &self.findings
    }

    fn take(&mut self, event: Event) {
        let mut fate = match self.open.take() {
            Some(fate) if fate.file == event.file && fate.dv_id == event.dv_id => fate,
            other => {
                self.close(other);
                Fate {
                    file: event.file,
                    dv_id: event.dv_id,
                    spelling: event.spelling,
                    respelled: false,
                    removed_in: None,
                    live: None,
                }
            }
        };
        match (fate.spelling, event.spelling) {
            (Some(before), Some(now)) if before != now => fate.respelled = true,
            (None, now) => fate.spelling = now,
            _ => {}
        }
        match event.add {
            None => {
                fate.removed_in = Some(event.version);
                if let Some((body, from)) = fate.live.take() {
                    self.end_span(&fate, body, from, event.version);
                }
            }
            Some(mut body) => {
                if let Some((before, _)) = &fate.live {
                    // To readers that compare raw paths, one spelling does not end the other.
                    body.absolute |= before.absolute;
                }
                if fate.removed_in == Some(event.version) {
                    self.findings.contradicted += 1;
                }
                fate.live = Some(match fate.live.take() {
                    // Written again, for its statistics or tags: the same file goes on.
                    Some((before, from)) if before.is_same_file(&body) => (body, from),
                    Some((before, from)) if from < event.version => {
                        self.end_span(&fate, before, from, event.version);
                        (body, event.version)
                    }
                    _ => (body, event.version),
                });
            }
        }
        self.open = Some(fate);
    }

    fn end_span(&mut self, fate: &Fate, body: AddBody, from: Version, until: Version) {
        if self.history && from < until {
            let add = body.into_add(fate.file.clone(), fate.dv_id.clone());
            self.ready.push_back(LiveFile {
                add,
                from,
                until: Some(until),
            });
        }
    }

    fn close(&mut self, fate: Option<Fate>) {
        let Some(fate) = fate else { return };
        if fate.respelled {
            self.findings.respelled += 1;
            if self.findings.respelled_examples.len() < EXAMPLES {
                self.findings.respelled_examples.push(fate.file.clone());
            }
        }
        if let Some((body, from)) = fate.live {
            if self.last_live.as_ref() == Some(&fate.file) {
                self.findings.live_twice += 1;
            }
            self.last_live = Some(fate.file.clone());
            self.ready.push_back(LiveFile {
                add: body.into_add(fate.file, fate.dv_id),
                from,
                until: None,
            });
        }
    }
}

impl Iterator for LiveFiles {
    type Item = Result<LiveFile, LogError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(file) = self.ready.pop_front() {
                return Some(Ok(file));
            }
            match self.events.next() {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => {
                    // What is open may have more to its fate than could be read.
                    self.open = None;
                    return Some(Err(error.into()));
                }
                None => {
                    let fate = self.open.take()?;
                    self.close(Some(fate));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delta::commit::read_commit;
    use crate::delta::path::TableRoot;

    fn root() -> TableRoot {
        TableRoot::new("s3://lake/t").unwrap()
    }

    /// A replay of commits 0, 1, …, each given as lines.
    fn replay(commits: &[&str]) -> Replay {
        let spill = tempfile::tempdir().unwrap();
        let mut replay = Replay::new(spill.path()).unwrap();
        for (version, lines) in (0..).map(Version).zip(commits) {
            read_commit(lines.as_bytes(), "commit", &root(), &mut |action| {
                replay.commit(version, action)
            })
            .unwrap();
        }
        replay
    }

    /// `a@10 0..` for a file of 10 bytes that is live since version 0, `a+dv@10 0..3` for one that has ended.
    fn spelt(files: &mut LiveFiles) -> Vec<String> {
        files
            .map(|file| {
                let LiveFile { add, from, until } = file.unwrap();
                let dv = add.dv.map_or_else(String::new, |dv| format!("+{}", dv.id));
                let until = until.map_or_else(String::new, |until| until.to_string());
                format!("{}{dv}@{} {from}..{until}", add.file, add.size)
            })
            .collect()
    }

    fn live(commits: &[&str]) -> Vec<String> {
        spelt(&mut replay(commits).finish().unwrap().1)
    }

    fn history(commits: &[&str]) -> Vec<String> {
        spelt(&mut replay(commits).finish_with_history().unwrap().1)
    }

    fn add(path: &str) -> String {
        format!("{{\"add\":{{\"path\":\"{path}\",\"size\":10}}}}\n")
    }

    fn remove(path: &str) -> String {
        format!("{{\"remove\":{{\"path\":\"{path}\"}}}}\n")
    }

    /// An inline vector with that text.
    fn with_vector(action: &str, dv: &str) -> String {
        let vector =
            format!(r#""storageType":"i","pathOrInlineDv":"{dv}","sizeInBytes":4,"cardinality":1"#);
        format!(
            "{}, \"deletionVector\":{{{vector}}}}}}}\n",
            action.trim_end().trim_end_matches("}}")
        )
    }

    #[test]
    fn removal_ends_a_file_and_files_come_in_order() {
        let first = add("b") + &add("c") + &add("a");
        assert_eq!(
            live(&[&first, &remove("c"), &add("aa")]),
            ["a@10 0..", "aa@10 2..", "b@10 0.."]
        );
    }

    #[test]
    fn order_inside_a_commit_has_no_meaning() {
        let moves = [with_vector(&add("a"), "new"), remove("a")];
        for lines in [moves.concat(), moves.iter().rev().cloned().collect()] {
            assert_eq!(live(&[&add("a"), &lines]), ["a+inew@10 1.."], "{lines}");
        }
        // Both a removal and an addition of one name: the file stays, and that is worth telling.
        for lines in [add("a") + &remove("a"), remove("a") + &add("a")] {
            let (_, mut files) = replay(&[&lines]).finish().unwrap();
            assert_eq!(spelt(&mut files), ["a@10 0.."]);
            assert_eq!(files.findings().contradicted, 1);
        }
    }

    #[test]
    fn vector_that_is_updated_twice_leaves_one_logical_file_each_time() {
        let commits = [
            add("a"),
            with_vector(&add("a"), "one") + &remove("a"),
            with_vector(&remove("a"), "one") + &with_vector(&add("a"), "two"),
        ];
        let commits: Vec<_> = commits.iter().map(String::as_str).collect();
        assert_eq!(live(&commits[..1]), ["a@10 0.."]);
        assert_eq!(live(&commits[..2]), ["a+ione@10 1.."]);
        assert_eq!(live(&commits), ["a+itwo@10 2.."]);
        assert_eq!(
            history(&commits),
            ["a@10 0..1", "a+ione@10 1..2", "a+itwo@10 2.."]
        );
    }

    #[test]
    fn removal_with_another_vector_ends_nothing_and_a_file_live_twice_is_told() {
        let commits = [
            add("a"),
            with_vector(&remove("a"), "other"),
            with_vector(&add("a"), "dv"),
        ];
        let commits: Vec<_> = commits.iter().map(String::as_str).collect();
        let (_, mut files) = replay(&commits).finish().unwrap();
        assert_eq!(spelt(&mut files), ["a@10 0..", "a+idv@10 2.."]);
        assert_eq!(files.findings().live_twice, 1);
    }

    #[test]
    fn spellings_of_one_object_are_one_file_and_counted() {
        let commits = [
            add("a%20b"),
            remove("s3a://lake/t/a b"),
            add("c") + &add("d"),
            remove("c"),
        ];
        let commits: Vec<_> = commits.iter().map(String::as_str).collect();
        let (_, mut files) = replay(&commits).finish().unwrap();
        assert_eq!(spelt(&mut files), ["d@10 2.."]);
        assert_eq!(files.findings().respelled, 1);
        assert_eq!(files.findings().respelled_examples[0].as_str(), "a b");
    }

    #[test]
    fn spans_tell_when_a_file_came_and_went_and_came_again() {
        let (one, gone) = (add("a"), remove("a"));
        assert_eq!(
            history(&[&one, &gone, "", &one, &one, &gone]),
            ["a@10 0..1", "a@10 3..5"]
        );
        assert_eq!(live(&[&one, &gone, "", &one, &one]), ["a@10 3.."]);
        // Written again with another size it is another file, and the older versions had the older one.
        let other = one.replace("10", "11");
        assert_eq!(history(&[&one, "", &other]), ["a@10 0..2", "a@11 2.."]);
        assert_eq!(live(&[&one, "", &other]), ["a@11 2.."]);
        assert_eq!(live(&[&(one.clone() + &other)]), ["a@11 0.."]);
        assert_eq!(history(&[&(one + &other)]), ["a@11 0.."]);
    }

    #[test]
    fn start_ignores_tombstones_and_keeps_since_when_a_file_is_live() {
        let spill = tempfile::tempdir().unwrap();
        let mut replay = Replay::new(spill.path()).unwrap();
        let checkpoint = add("a") + &remove("a") + &add("b");
        read_commit(
            checkpoint.as_bytes(),
            "checkpoint",
            &root(),
            &mut |action| replay.start(Version(7), action),
        )
        .unwrap();
        let known = Add {
            file: Location::Inside("c".parse().unwrap()),
            size: 1,
            absolute: false,
            modification_time: 0,
            rows: None,
            dv: None,
        };
        replay.start_file(Version(3), known).unwrap();
        read_commit(remove("b").as_bytes(), "commit", &root(), &mut |action| {
            replay.commit(Version(8), action)
        })
        .unwrap();
        let (_, mut files) = replay.finish_with_history().unwrap();
        assert_eq!(spelt(&mut files), ["a@10 7..", "b@10 7..8", "c@1 3.."]);
        assert_eq!(*files.findings(), ReplayFindings::default());
    }

    #[test]
    fn state_is_the_newest_of_each_kind() {
        let (state, _) = replay(&[
            r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
               {"txn":{"appId":"a","version":1}}
               {"domainMetadata":{"domain":"d","configuration":"x","removed":false}}
               {"domainMetadata":{"domain":"e","configuration":"y","removed":false}}
               {"commitInfo":{"operation":"CREATE TABLE"}}"#,
            r#"{"txn":{"appId":"a","version":2}}
               {"domainMetadata":{"domain":"d","configuration":"","removed":true}}"#,
        ])
        .finish()
        .unwrap();
        assert_eq!(state.txns, [("a".to_owned(), Some(2))].into());
        assert_eq!(state.domains, [("e".to_owned(), "y".to_owned())].into());
        let (version, info) = state.commit_info.clone().unwrap();
        assert_eq!(
            (version, info.operation.as_deref()),
            (Version(0), Some("CREATE TABLE"))
        );
        let error = state.required(Version(1)).unwrap_err();
        assert_eq!(error.to_string(), "no metaData action up to version 1");
        let error = TableState::default().required(Version(1)).unwrap_err();
        assert_eq!(error.to_string(), "no protocol action up to version 1");
    }

    #[test]
    fn tip_brings_provenance_and_nothing_else() {
        let mut replay = replay(&[&add("a")]);
        let lines = remove("a") + r#"{"commitInfo":{"operation":"DELETE"}}"#;
        read_commit(lines.as_bytes(), "tip", &root(), &mut |action| {
            replay.tip(Version(0), action);
            Ok(())
        })
        .unwrap();
        let (state, mut files) = replay.finish().unwrap();
        assert_eq!(
            state.commit_info.unwrap().1.operation.as_deref(),
            Some("DELETE")
        );
        assert_eq!(spelt(&mut files), ["a@10 0.."]);
    }

    #[test]
    fn versions_that_go_down_are_refused() {
        let mut replay = replay(&["", &add("a")]);
        let action = Action::CommitInfo(CommitInfo::default());
        let error = replay.commit(Version(0), action).unwrap_err();
        assert_eq!(error.to_string(), "version 0 is replayed after version 1");
    }
}
