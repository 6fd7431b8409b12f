//! A Delta table written by hand into any store: quick, exact, and with the mishaps that tests need.
//!
//! Data files hold arbitrary bytes: the vault never looks into them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use deltavault::ids::{Digest, ObjectKey};
use deltavault::store::{Payload, RestoreStore};
use futures::TryStreamExt;
use serde_json::{Value, json};
use uuid::Uuid;

use super::parquet::parquet;

/// A table and what its writer knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) store: Arc<dyn RestoreStore>,
    pub(crate) id: String,
    /// The next version to commit.
    pub(crate) next: u64,
    /// Live files: name to `add` action.
    pub(crate) live: BTreeMap<String, Value>,
    /// The live files of each version.
    pub(crate) states: BTreeMap<u64, BTreeMap<String, Value>>,
    /// The change data that each version names.
    pub(crate) change_data: BTreeMap<u64, Vec<String>>,
    /// The sidecars that the checkpoint of a version names.
    sidecars: BTreeMap<u64, Vec<String>>,
    /// How many commits, vectors and files of change data it has named.
    named: u64,
    /// How many files it has named.
    pub(crate) serial: u64,
}

/// So many bytes of a text, over and over.
fn repeated(text: &str, size: usize) -> Vec<u8> {
    let mut bytes = text.repeat(size.div_ceil(text.len())).into_bytes();
    bytes.truncate(size);
    bytes
}

/// How a checkpoint is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckpointForm {
    /// V2, in JSON, all in one file.
    Json,
    /// V2, in JSON, its files in Parquet sidecars of so many rows.
    Sidecars(usize),
    /// Parquet under the classic name.
    Classic,
    /// Parquet in parts of so many rows.
    Parts(usize),
}

impl Table {
    /// The same table, where it lies in another store.
    pub(crate) fn moved(&self, store: Arc<dyn RestoreStore>) -> Self {
        Self {
            store,
            ..self.clone()
        }
    }

    /// Makes a table with its protocol and metadata as version 0.
    pub(crate) async fn create(store: Arc<dyn RestoreStore>, id: &str) -> Self {
        let mut table = Self::open(store);
        id.clone_into(&mut table.id);
        table.commit("CREATE TABLE", table.head()).await;
        table
    }

    /// Looks at what is in a store, without knowing its history.
    pub(crate) fn open(store: Arc<dyn RestoreStore>) -> Self {
        Self {
            store,
            id: String::new(),
            next: 0,
            live: BTreeMap::new(),
            states: BTreeMap::new(),
            change_data: BTreeMap::new(),
            sidecars: BTreeMap::new(),
            named: 0,
            serial: 0,
        }
    }

    pub(crate) fn head(&self) -> Vec<Value> {
        let schema = json!({"type": "struct", "fields": [
            {"name": "id", "type": "long", "nullable": true, "metadata": {}}]});
        vec![
            json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
                "readerFeatures": ["deletionVectors", "v2Checkpoint"],
                "writerFeatures": ["changeDataFeed", "deletionVectors", "v2Checkpoint"]}}),
            json!({"metaData": {"id": self.id, "format": {"provider": "parquet", "options": {}},
                "schemaString": schema.to_string(), "partitionColumns": [], "configuration": {},
                "createdTime": 1_760_000_000_000_u64}}),
        ]
    }

    /// Commits actions as they are given, after a commitInfo.
    pub(crate) async fn commit(&mut self, operation: &str, actions: Vec<Value>) {
        // No two commits have the same bytes, as no two of a real writer have.
        self.named += 1;
        let info = json!({"commitInfo": {"timestamp": 1_760_000_000_000_u64 + self.next * 1000,
            "operation": operation, "userName": "writer", "operationParameters": {},
            "txnId": format!("{}-{}", self.id, self.named)}});
        let mut text = String::new();
        for action in std::iter::once(info).chain(actions) {
            writeln!(text, "{action}").unwrap();
        }
        let key = format!("_delta_log/{:020}.json", self.next);
        self.put(&key, text.into_bytes()).await;
        self.states.insert(self.next, self.live.clone());
        self.next += 1;
    }

    /// The newest version.
    pub(crate) fn version(&self) -> u64 {
        self.next - 1
    }

    /// Puts an object as some writer would.
    pub(crate) async fn put(&self, name: &str, bytes: Vec<u8>) {
        self.store
            .put_new(&key(name), &Payload::from_bytes(bytes), None)
            .await
            .unwrap();
    }

    /// Removes an object as `rm` would.
    pub(crate) async fn remove(&self, name: &str) {
        let found = self.store.attributes(&key(name), None).await.unwrap();
        self.store.remove(&key(name), &found.etag).await.unwrap();
    }

    /// Commits `count` new files of `size` bytes each.
    pub(crate) async fn append(&mut self, count: usize, size: usize) {
        let adds = self.write_files(count, size).await;
        self.commit("WRITE", adds).await;
    }

    async fn write_files(&mut self, count: usize, size: usize) -> Vec<Value> {
        let mut adds = Vec::new();
        for _ in 0..count {
            self.serial += 1;
            let name = format!(
                "part={}/part-{:05}-{}.parquet",
                self.serial % 3,
                self.serial,
                self.id
            );
            let seed = format!("{name} of {} ", self.id);
            let bytes = repeated(&seed, size);
            self.put(&name, bytes).await;
            let add = json!({"path": name, "partitionValues": {}, "size": size,
                "modificationTime": 1_760_000_000_000_u64 + self.serial, "dataChange": true,
                "stats": json!({"numRecords": 10}).to_string()});
            self.live.insert(name, add.clone());
            adds.push(json!({ "add": add }));
        }
        adds
    }

    /// Commits the removal of the `count` first live files; their objects stay.
    pub(crate) async fn delete(&mut self, count: usize) {
        let names: Vec<_> = self.live.keys().take(count).cloned().collect();
        let removes = names.iter().map(|name| self.retire(name)).collect();
        self.commit("DELETE", removes).await;
    }

    /// Commits one file rewritten: a removal and an addition.
    pub(crate) async fn update(&mut self, size: usize) {
        let old = self.live.keys().next().cloned();
        let mut actions = self.write_files(1, size).await;
        actions.extend(old.map(|name| self.retire(&name)));
        self.commit("UPDATE", actions).await;
    }

    /// Commits `count` new files of `size` bytes each in the place of the live files `gone`; their objects stay.
    pub(crate) async fn overwrite_files(&mut self, gone: &[String], count: usize, size: usize) {
        let mut actions: Vec<_> = gone.iter().map(|name| self.retire(name)).collect();
        actions.extend(self.write_files(count, size).await);
        self.commit("OVERWRITE", actions).await;
    }

    fn retire(&mut self, name: &str) -> Value {
        let add = self.live.remove(name).unwrap();
        let mut remove = json!({"path": name, "deletionTimestamp": 1_760_000_000_000_u64,
            "dataChange": true});
        if let Some(vector) = add.get("deletionVector") {
            remove["deletionVector"] = vector.clone();
        }
        json!({ "remove": remove })
    }

    /// Commits a row deleted from each of the `count` first live files: their vectors all lie in one new file, and
    /// replace those that the files had.
    pub(crate) async fn delete_rows(&mut self, count: usize) {
        self.named += 1;
        let uuid = Digest::of(format!("{} {}", self.id, self.named).as_bytes()).to_string();
        let uuid = Uuid::parse_str(&uuid[..32]).unwrap();
        let file = vector_file(uuid);
        let bytes = repeated(&file, 1 + 40 * count);
        self.put(&file, bytes).await;
        self.replace_vectors(count, |position| {
            json!({"storageType": "u", "pathOrInlineDv": z85(uuid.as_bytes()),
                "offset": 1 + 40 * position, "sizeInBytes": 32, "cardinality": 1})
        })
        .await;
    }

    /// Commits a row deleted from each of the `count` first live files, by vectors that the log itself holds.
    pub(crate) async fn delete_rows_inline(&mut self, count: usize) {
        self.named += 1;
        let named = self.named;
        self.replace_vectors(count, |position| {
            json!({"storageType": "i", "pathOrInlineDv": format!("{named:010}{position:010}"),
                "sizeInBytes": 40, "cardinality": 2})
        })
        .await;
    }

    async fn replace_vectors(&mut self, count: usize, vector: impl Fn(usize) -> Value) {
        let names: Vec<_> = self.live.keys().take(count).cloned().collect();
        let mut actions = Vec::new();
        for (position, name) in names.into_iter().enumerate() {
            let mut add = self.live[&name].clone();
            actions.push(self.retire(&name));
            add["deletionVector"] = vector(position);
            actions.push(json!({ "add": add }));
            self.live.insert(name, add);
        }
        self.commit("DELETE", actions).await;
    }

    /// Commits `count` files of change data, beside one new file.
    pub(crate) async fn append_with_change_data(&mut self, count: usize, size: usize) {
        let mut actions = self.write_files(1, size).await;
        let mut names = Vec::new();
        for _ in 0..count {
            self.named += 1;
            let name = format!("_change_data/cdc-{}-{}.parquet", self.id, self.named);
            self.put(&name, vec![b'c'; size]).await;
            actions.push(
                json!({"cdc": {"path": name, "size": size, "partitionValues": {},
                "dataChange": false}}),
            );
            names.push(name);
        }
        self.change_data.insert(self.next, names);
        self.commit("MERGE", actions).await;
    }

    /// Commits one of the table's older files as live again, under its old name and with all its rows.
    pub(crate) async fn add_again(&mut self, name: &str) {
        let mut states = self.states.values().rev();
        let add = states.find_map(|state| state.get(name)).unwrap();
        let size = usize::try_from(add["size"].as_u64().unwrap()).unwrap();
        self.add_again_as(name, size).await;
    }

    /// As [`Table::add_again`], with another size.
    pub(crate) async fn add_again_as(&mut self, name: &str, size: usize) {
        let mut states = self.states.values().rev();
        let mut add = states.find_map(|state| state.get(name)).unwrap().clone();
        add.as_object_mut().unwrap().remove("deletionVector");
        add["size"] = json!(size);
        self.live.insert(name.to_owned(), add.clone());
        self.commit("RESTORE", vec![json!({ "add": add })]).await;
    }

    /// Writes a V2 checkpoint of the newest version, in JSON, and the hint that names it.
    pub(crate) async fn checkpoint(&mut self) {
        self.checkpoint_as(CheckpointForm::Json).await;
    }

    /// Writes a checkpoint of the newest version, unless there is one of that form, and the hint that names it.
    pub(crate) async fn checkpoint_as(&mut self, form: CheckpointForm) {
        let version = self.version();
        let adds = self.live.values().map(|add| json!({ "add": add }));
        let metadata = json!({"checkpointMetadata": {"version": version}});
        let mut lines = self.head();
        let name = match form {
            CheckpointForm::Classic => format!("_delta_log/{version:020}.checkpoint.parquet"),
            CheckpointForm::Json | CheckpointForm::Sidecars(_) => v2_name(version),
            CheckpointForm::Parts(rows) => {
                lines.extend(adds);
                let parts: Vec<_> = lines.chunks(rows).collect();
                for (part, rows) in (1..).zip(&parts) {
                    let of = parts.len();
                    let name = format!("{version:020}.checkpoint.{part:010}.{of:010}.parquet");
                    self.put(&format!("_delta_log/{name}"), parquet(rows)).await;
                }
                return self.point_at(version, Some(parts.len())).await;
            }
        };
        if self.has(&name).await {
            return;
        }
        match form {
            CheckpointForm::Classic | CheckpointForm::Parts(_) => {
                lines.extend(adds);
            }
            CheckpointForm::Json => {
                lines.insert(0, metadata);
                lines.extend(adds);
            }
            CheckpointForm::Sidecars(rows) => {
                lines.insert(0, metadata);
                let adds: Vec<_> = adds.collect();
                let mut named = Vec::new();
                for rows in adds.chunks(rows) {
                    let bytes = parquet(rows);
                    // Named by what is in it, so that checkpoints share what has not changed.
                    let uuid = &Digest::of(&bytes).to_string()[..32];
                    let name = format!("{}.parquet", Uuid::parse_str(uuid).unwrap());
                    lines.push(json!({"sidecar": {"path": name, "sizeInBytes": bytes.len(),
                        "modificationTime": 1_760_000_000_000_u64}}));
                    let name = format!("_delta_log/_sidecars/{name}");
                    if !self.has(&name).await {
                        self.put(&name, bytes).await;
                    }
                    named.push(name);
                }
                self.sidecars.insert(version, named);
            }
        }
        let bytes = match form {
            CheckpointForm::Classic | CheckpointForm::Parts(_) => parquet(&lines),
            CheckpointForm::Json | CheckpointForm::Sidecars(_) => {
                let lines = lines.iter().map(|line| format!("{line}\n"));
                lines.collect::<String>().into_bytes()
            }
        };
        self.put(&name, bytes).await;
        self.point_at(version, None).await;
    }

    /// The bytes of a classic checkpoint of the newest version, with its files in another order and without those in
    /// `without`.
    pub(crate) fn classic_again(&self, without: &[&str]) -> Vec<u8> {
        let mut lines = self.head();
        let files = self.live.iter().rev();
        let files = files.filter(|(name, _)| !without.contains(&name.as_str()));
        lines.extend(files.map(|(_, add)| json!({ "add": add })));
        parquet(&lines)
    }

    async fn point_at(&self, version: u64, parts: Option<usize>) {
        let mut hint = json!({"version": version, "size": 1});
        if let Some(parts) = parts {
            hint["parts"] = parts.into();
        }
        self.overwrite("_delta_log/_last_checkpoint", hint.to_string().into_bytes())
            .await;
    }

    /// Puts an object in the place of whatever is there.
    pub(crate) async fn overwrite(&self, name: &str, bytes: Vec<u8>) {
        if self.has(name).await {
            self.remove(name).await;
        }
        self.put(name, bytes).await;
    }

    /// Whether there is such an object.
    pub(crate) async fn has(&self, name: &str) -> bool {
        self.store.attributes(&key(name), None).await.is_ok()
    }

    /// Removes the commits and checkpoints below the newest checkpoint, and sidecars that no other names.
    pub(crate) async fn clean_up_log(&mut self) {
        let names = self.names("_delta_log/0").await;
        let checkpoints = names.iter().filter(|name| name.contains(".checkpoint."));
        let Some(newest) = checkpoints.map(|name| version_of(name)).max() else {
            return;
        };
        for name in names.iter().filter(|name| version_of(name) < newest) {
            self.remove(name).await;
        }
        self.sidecars.retain(|&version, _| version >= newest);
        self.remove_stray_sidecars().await;
    }

    async fn remove_stray_sidecars(&self) {
        for name in self.names("_delta_log/_sidecars/").await {
            if !self.sidecars.values().flatten().any(|named| *named == name) {
                self.remove(&name).await;
            }
        }
    }

    /// The oldest version from which the log leads up to the newest without a hole.
    pub(crate) async fn oldest_version(&self) -> u64 {
        let names = self.names("_delta_log/0").await;
        let has = |version: u64, end: &str| {
            let stem = format!("_delta_log/{version:020}.{end}");
            names.iter().any(|name| name.starts_with(&stem))
        };
        let mut oldest = self.version();
        let mut version = self.version();
        loop {
            let own_commit = has(version, "json");
            if has(version, "checkpoint.") || (version == 0 && own_commit) {
                oldest = version;
            }
            if version == 0 || !own_commit {
                return oldest;
            }
            version -= 1;
        }
    }

    /// Cuts the log back to a version, as a person might who knows no better; data files stay.
    pub(crate) async fn rewind(&mut self, version: u64) {
        for name in self.names("_delta_log/0").await {
            if version_of(&name) > version {
                self.remove(&name).await;
            }
        }
        self.sidecars.retain(|&of, _| of <= version);
        self.remove_stray_sidecars().await;
        if self.has("_delta_log/_last_checkpoint").await {
            self.remove("_delta_log/_last_checkpoint").await;
        }
        self.states.retain(|&of, _| of <= version);
        self.change_data.retain(|&of, _| of <= version);
        self.live = self.states[&version].clone();
        self.next = version + 1;
    }

    /// Removes the data files that the newest version does not need, as VACUUM does; returns how many.
    pub(crate) async fn vacuum(&self) -> usize {
        let needed = files_of(&self.live);
        let mut gone = 0;
        for name in self.names("").await {
            if !name.starts_with("_delta_log/") && !needed.contains(&name) {
                self.remove(&name).await;
                gone += 1;
            }
        }
        gone
    }

    /// Removes everything.
    pub(crate) async fn drop_all(&self) {
        for name in self.names("").await {
            self.remove(&name).await;
        }
    }

    /// The names of the objects that begin with `prefix`.
    pub(crate) async fn names(&self, prefix: &str) -> Vec<String> {
        let listed = self.store.list(prefix, None);
        listed
            .map_ok(|file| file.key.to_string())
            .try_collect()
            .await
            .unwrap()
    }

    /// What a version needs, as names with their bytes: the live files and the log up to the newest commit.
    pub(crate) async fn closure(&self) -> BTreeMap<String, Vec<u8>> {
        let mut closure = BTreeMap::new();
        for name in files_of(&self.live)
            .into_iter()
            .chain(self.names("_delta_log/").await)
        {
            closure.insert(name.clone(), self.read(&name).await);
        }
        closure
    }

    /// The bytes of an object.
    pub(crate) async fn read(&self, name: &str) -> Vec<u8> {
        let limit = u64::MAX;
        let (_, bytes) = deltavault::store::read_all(self.store.as_ref(), &key(name), None, limit)
            .await
            .unwrap();
        bytes.to_vec()
    }
}

/// A key.
pub(crate) fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}

/// The objects that live files need: themselves, and the files of their deletion vectors.
pub(crate) fn files_of(live: &BTreeMap<String, Value>) -> BTreeSet<String> {
    let vectors = live.values().filter_map(|add| {
        let vector = add.get("deletionVector")?;
        let encoded = vector["pathOrInlineDv"].as_str()?;
        (vector["storageType"] == "u").then(|| vector_file(unz85(encoded)))
    });
    live.keys().cloned().chain(vectors).collect()
}

/// The version that a log file's name begins with.
pub(crate) fn version_of(name: &str) -> u64 {
    let name = name.rsplit('/').next().unwrap();
    name[..20].parse().unwrap()
}

fn v2_name(version: u64) -> String {
    format!("_delta_log/{version:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json")
}

fn vector_file(uuid: Uuid) -> String {
    format!("deletion_vector_{uuid}.bin")
}

/// The alphabet of Z85.
const Z85: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

fn z85(bytes: &[u8]) -> String {
    let mut text = String::new();
    for word in bytes.chunks(4) {
        let word = u32::from_be_bytes(word.try_into().unwrap());
        for power in (0..5).rev() {
            let digit = word / 85_u32.pow(power) % 85;
            text.push(char::from(Z85[digit as usize]));
        }
    }
    text
}

fn unz85(text: &str) -> Uuid {
    let mut bytes = Vec::new();
    for digits in text.as_bytes().chunks(5) {
        let word = digits.iter().fold(0_u64, |word, digit| {
            let value = Z85.iter().position(|letter| letter == digit).unwrap();
            word * 85 + value as u64
        });
        bytes.extend(u32::try_from(word).unwrap().to_be_bytes());
    }
    Uuid::from_slice(&bytes).unwrap()
}
