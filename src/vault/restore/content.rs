//! What the files of a log say, read whole: whether engines can read them, and whether two checkpoints of one version
//! say the same.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read;

use futures::{StreamExt, TryStreamExt, stream};
use sha2::{Digest as _, Sha256};

use super::mend::Changes;
use super::{FILES_COMPARED, Restorer};
use crate::delta::checkpoint::read_whole;
use crate::delta::path::TableRoot;
use crate::delta::replay::Replay;
use crate::delta::segment::{CheckpointFiles, Segment};
use crate::delta::{Action, LogError, is_json};
use crate::error::Error;
use crate::format::Entry;
use crate::ids::{Digest, Location, ObjectKey, Version};
use crate::plan::suspect;
use crate::spool::{Scratch, Spool, Spooled};
use crate::vault::log_replay::{of_log, read_actions, read_sidecars, replay_segment};

/// What a file of the log, or a way through several, says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// It can be read: the digest of the protocol, the table's id and the logical files that it names.
    Says(Digest),
    /// It cannot be read, and why.
    Unreadable(String),
    /// The vault has lost the bytes that it would be judged by.
    Lost,
}

impl Content {
    pub(super) fn trouble(&self) -> Option<&str> {
        match self {
            Self::Unreadable(why) => Some(why),
            Self::Says(_) | Self::Lost => None,
        }
    }

    /// Takes what is wrong with the content of a file for an answer; what is wrong with the machine stays an error.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "everything else says nothing about a file's content"
    )]
    fn of_error(error: Error) -> Result<Self, Error> {
        match error {
            Error::Log(log) if !matches!(log, LogError::Sort(_) | LogError::Read { .. }) => {
                Ok(Self::Unreadable(with_cause(&log)))
            }
            Error::Store(store) if store.is_not_found() => {
                Ok(Self::Unreadable(format!("{} is gone", store.uri)))
            }
            Error::Damaged { .. } => Ok(Self::Lost),
            error => Err(error),
        }
    }
}

fn with_cause(error: &LogError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Reads log files, each once, and spools them.
pub(super) struct LogReader<'a> {
    pub(super) restorer: &'a Restorer,
    pub(super) root: TableRoot,
    /// Files that are read from the vault.
    held: &'a HashMap<ObjectKey, Entry>,
    /// Whether all others are read from the target; else they are missing.
    reads_target: bool,
    hasher: RandomState,
    bodies: HashMap<ObjectKey, Spooled>,
    spool: Spool,
    pub(super) scratch: Scratch,
}

impl<'a> LogReader<'a> {
    /// Reads from the vault alone; paths resolve against `root`.
    pub(super) fn of_vault(
        restorer: &'a Restorer,
        root: &str,
        held: &'a HashMap<ObjectKey, Entry>,
    ) -> Result<Self, Error> {
        Self::new(restorer, root, held, false)
    }

    /// Reads what lies at the target, apart from the files in `held`, which are read from the vault.
    pub(super) fn of_target(
        restorer: &'a Restorer,
        held: &'a HashMap<ObjectKey, Entry>,
    ) -> Result<Self, Error> {
        Self::new(restorer, restorer.target.uri(), held, true)
    }

    fn new(
        restorer: &'a Restorer,
        root: &str,
        held: &'a HashMap<ObjectKey, Entry>,
        reads_target: bool,
    ) -> Result<Self, Error> {
        let scratch = Scratch::create(&restorer.temp).map_err(Error::Scratch)?;
        Ok(Self {
            restorer,
            root: TableRoot::new(root)?,
            held,
            reads_target,
            hasher: RandomState::new(),
            bodies: HashMap::new(),
            spool: Spool::create(&scratch).map_err(Error::Scratch)?,
            scratch,
        })
    }

    /// Reads a file that an entry describes from the vault, whatever else is said of its key.
    pub(super) async fn load(&mut self, key: &ObjectKey, entry: &Entry) -> Result<Spooled, Error> {
        let vault = &self.restorer.vault;
        let payload = vault.payload(entry, self.scratch.path()).await?;
        let body = self.spool.append(&payload).map_err(Error::Scratch)?;
        self.bodies.insert(key.clone(), body.clone());
        Ok(body)
    }

    /// Reads those files that were not read yet, some at a time.
    pub(super) async fn fetch(
        &mut self,
        keys: impl Iterator<Item = &ObjectKey>,
    ) -> Result<(), Error> {
        let missing = keys.filter(|key| !self.bodies.contains_key(*key)).cloned();
        let missing: Vec<ObjectKey> = missing.collect();
        let (restorer, held, folder) = (self.restorer, self.held, self.scratch.path());
        let reads_target = self.reads_target;
        let source = &restorer.as_source();
        let fetched = stream::iter(missing).map(|key| async move {
            let payload = match held.get(&key) {
                Some(entry) => restorer.vault.payload(entry, folder).await?,
                None if reads_target => {
                    let location = Location::Inside(key.clone());
                    let fetched = source.fetch_log(&location, folder).await;
                    fetched.map_err(|error| of_log(error, &key))?.payload
                }
                None => {
                    let file = key.to_string();
                    return Err(Error::from(LogError::MissingSidecar { file }));
                }
            };
            Ok((key, payload))
        });
        let mut fetched = std::pin::pin!(fetched.buffered(FILES_COMPARED));
        while let Some((key, payload)) = fetched.try_next().await? {
            let body = self.spool.append(&payload).map_err(Error::Scratch)?;
            self.bodies.insert(key, body);
        }
        Ok(())
    }

    pub(super) fn read(&self, key: &ObjectKey) -> Option<Spooled> {
        self.bodies.get(key).cloned()
    }

    /// What a commit does; `None` where it cannot be read.
    pub(super) async fn changes(&mut self, key: &ObjectKey) -> Result<Option<Changes>, Error> {
        let body = self.body(key).await?;
        let mut changes = Changes::default();
        let sink = &mut |action| {
            match &action {
                Action::Add { add, .. } => {
                    let dv = add.dv.as_ref().map(|dv| dv.id.as_str());
                    changes.added.insert(self.hasher.hash_one((&add.file, dv)));
                }
                Action::Remove { file, dv_id, .. } => {
                    let removed = (file, dv_id.as_deref());
                    changes.removed.insert(self.hasher.hash_one(removed));
                }
                Action::PassedOver { .. }
                | Action::Unnameable { .. }
                | Action::Cdc { .. }
                | Action::Sidecar { .. }
                | Action::Protocol(_)
                | Action::Metadata(_)
                | Action::Txn { .. }
                | Action::Domain { .. }
                | Action::CheckpointMetadata { .. } => {}
                Action::CommitInfo(info) => {
                    changes.is_rewrite = info.operation.as_deref().is_some_and(suspect::is_rewrite);
                }
            }
            Ok(())
        };
        match read_actions(key, &body, &self.root, sink) {
            Ok(_) => Ok(Some(changes)),
            Err(error) if error.is_about_content() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn body(&mut self, key: &ObjectKey) -> Result<Spooled, Error> {
        self.fetch(std::iter::once(key)).await?;
        self.read(key).ok_or_else(|| {
            let file = key.to_string();
            LogError::MissingSidecar { file }.into()
        })
    }

    /// Reads every file of a way, sidecars included.
    async fn read_way(&mut self, way: &Segment) -> Result<Vec<ObjectKey>, Error> {
        let checkpoint = way.checkpoint.iter().flat_map(|found| &found.files);
        let mut read = Vec::new();
        for file in checkpoint {
            let body = self.body(&file.key).await?;
            for sidecar in read_sidecars(&file.key, &body, &self.root)? {
                self.body(&sidecar).await?;
                read.push(sidecar);
            }
            read.push(file.key.clone());
        }
        self.fetch(way.commits.iter().map(|file| &file.key)).await?;
        Ok(read)
    }

    fn replay(&self, way: &Segment) -> Result<Replay, LogError> {
        let mut replay = Replay::new(self.scratch.path())?;
        let body_of = |key: &ObjectKey| self.read(key);
        replay_segment(way, body_of, &self.root, &mut replay, &mut |_, _| {})?;
        Ok(replay)
    }

    /// Reads every file of a way, and replays it.
    pub(super) async fn read_and_replay(&mut self, way: &Segment) -> Result<Replay, Error> {
        self.read_way(way).await?;
        Ok(self.replay(way)?)
    }

    /// What a way to a version says.
    pub(super) async fn way(&mut self, way: &Segment) -> Result<Content, Error> {
        match self.digest_of_way(way).await {
            Ok(digest) => Ok(Content::Says(digest)),
            Err(error) => Content::of_error(error),
        }
    }

    async fn digest_of_way(&mut self, way: &Segment) -> Result<Digest, Error> {
        let checkpoint = self.read_way(way).await?;
        Ok(self.digest(way, &checkpoint)?)
    }

    /// Makes sure that engines can decode all of a checkpoint's files, and replays.
    fn digest(&self, way: &Segment, checkpoint: &[ObjectKey]) -> Result<Digest, LogError> {
        for key in checkpoint {
            if let Some(body) = self.bodies.get(key) {
                whole(key, body)?;
            }
        }
        digest_of(self.replay(way)?, Some(way.version))
    }

    /// What a checkpoint says of its version.
    pub(super) async fn checkpoint(&mut self, found: &CheckpointFiles) -> Result<Content, Error> {
        let way = Segment {
            version: found.version,
            checkpoint: Some(found.clone()),
            commits: Vec::new(),
            tip: None,
        };
        match self.digest_of_way(&way).await {
            Ok(digest) => Ok(Content::Says(digest)),
            // These do not say what lacks it.
            Err(Error::Log(
                error @ (LogError::NoProtocol { .. } | LogError::NoMetadata { .. }),
            )) => Ok(Content::Unreadable(format!(
                "checkpoint {}: {error}",
                found.version
            ))),
            Err(error) => Content::of_error(error),
        }
    }

    /// The sidecars that a checkpoint names; none where it cannot be read.
    pub(super) async fn sidecars(
        &mut self,
        found: &CheckpointFiles,
    ) -> Result<Vec<ObjectKey>, Error> {
        let mut named = Vec::new();
        for file in &found.files {
            let read = match self.body(&file.key).await {
                Ok(body) => read_sidecars(&file.key, &body, &self.root).map_err(Error::from),
                Err(error) => Err(error),
            };
            match read {
                Ok(sidecars) => named.extend(sidecars),
                Err(error) => {
                    Content::of_error(error)?;
                }
            }
        }
        Ok(named)
    }

    /// What one file of actions says by itself: a commit, a compaction, a sidecar.
    pub(super) async fn file(&mut self, key: &ObjectKey) -> Result<Content, Error> {
        let body = match self.body(key).await {
            Ok(body) => body,
            Err(error) => return Content::of_error(error),
        };
        if body.size == 0 {
            return Ok(Content::Unreadable(format!("{key} has 0 bytes")));
        }
        let read = || -> Result<Digest, LogError> {
            whole(key, &body)?;
            let mut replay = Replay::new(self.scratch.path())?;
            let version = Version(0);
            let sink = &mut |action| replay.commit(version, action);
            // A sidecar without files, or a commit of removes alone, is none the worse for it.
            let _whatever = read_actions(key, &body, &self.root, sink)?;
            digest_of(replay, None)
        };
        match read() {
            Ok(digest) => Ok(Content::Says(digest)),
            Err(error) => Content::of_error(error.into()),
        }
    }
}

/// Makes sure that all of a Parquet file can be decoded.
fn whole(key: &ObjectKey, body: &Spooled) -> Result<(), LogError> {
    if is_json(key) {
        return Ok(());
    }
    read_whole(body.clone(), key.as_str())
}

/// Whether a body is the beginning of another one, and shorter.
pub(super) fn is_cut_off(body: &Spooled, whole: &Spooled) -> Result<bool, Error> {
    if body.size >= whole.size {
        return Ok(false);
    }
    let mut left = std::io::BufReader::new(body.reader()).bytes();
    let mut right = std::io::BufReader::new(whole.reader()).bytes();
    loop {
        match (left.next(), right.next()) {
            (None, _) => return Ok(true),
            (Some(Ok(a)), Some(Ok(b))) if a == b => {}
            (Some(Err(error)), _) | (_, Some(Err(error))) => return Err(Error::Scratch(error)),
            (Some(Ok(_)), _) => return Ok(false),
        }
    }
}

/// The digest of what decides about a table: protocol, table id, and the logical files in their order. Readers need
/// protocol and metadata of what leads to a `version`.
fn digest_of(replay: Replay, version: Option<Version>) -> Result<Digest, LogError> {
    let (state, files) = replay.finish()?;
    if let Some(version) = version {
        state.required(version)?;
    }
    let mut hasher = Sha256::new();
    if let Some(protocol) = &state.protocol {
        let mut features = [&protocol.reader_features, &protocol.writer_features]
            .map(|features| features.iter().map(String::as_str).collect::<Vec<_>>());
        for features in &mut features {
            features.sort_unstable();
        }
        let [readers, writers] = features.map(|features| features.join(","));
        let (reader, writer) = (protocol.min_reader_version, protocol.min_writer_version);
        hasher.update(format!("{reader} {writer} {readers} {writers}"));
    }
    let id = state.metadata.and_then(|metadata| metadata.id);
    hasher.update(format!("\n{id:?}\n"));
    for file in files {
        let add = file?.add;
        hasher.update(format!("{:?} {:?}\n", add.file, add.dv.map(|dv| dv.id)));
    }
    Ok(Digest::from_hasher(hasher))
}
