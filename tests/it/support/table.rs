//! A Delta table written by hand into any store: quick, exact, and with the mishaps that tests need.
//!
//! Data files hold arbitrary bytes: the vault never looks into them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use deltavault::ids::ObjectKey;
use deltavault::store::{Payload, RestoreStore};
use futures::TryStreamExt;
use serde_json::{Value, json};

/// A table and what its writer knows of it.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) store: Arc<dyn RestoreStore>,
    id: String,
    /// The next version to commit.
    pub(crate) next: u64,
    /// Live files: name to `add` action.
    pub(crate) live: BTreeMap<String, Value>,
    /// How many files it has named.
    pub(crate) serial: u64,
}

impl Table {
    /// Makes a table with its protocol and metadata as version 0.
    pub(crate) async fn create(store: Arc<dyn RestoreStore>, id: &str) -> Self {
        let mut table = Self {
            store,
            id: id.to_owned(),
            next: 0,
            live: BTreeMap::new(),
            serial: 0,
        };
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
            serial: 0,
        }
    }

    fn head(&self) -> Vec<Value> {
        let schema = json!({"type": "struct", "fields": [
            {"name": "id", "type": "long", "nullable": true, "metadata": {}}]});
        vec![
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {"id": self.id, "format": {"provider": "parquet", "options": {}},
                "schemaString": schema.to_string(), "partitionColumns": [], "configuration": {},
                "createdTime": 1_760_000_000_000_u64}}),
        ]
    }

    /// Commits actions as they are given, after a commitInfo.
    pub(crate) async fn commit(&mut self, operation: &str, actions: Vec<Value>) {
        let info = json!({"commitInfo": {"timestamp": 1_760_000_000_000_u64 + self.next * 1000,
            "operation": operation, "userName": "writer", "operationParameters": {}}});
        let mut text = String::new();
        for action in std::iter::once(info).chain(actions) {
            writeln!(text, "{action}").unwrap();
        }
        let key = format!("_delta_log/{:020}.json", self.next);
        self.put(&key, text.into_bytes()).await;
        self.next += 1;
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
            let bytes: Vec<u8> = seed.bytes().cycle().take(size).collect();
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
        let mut actions = self.write_files(1, size).await;
        if let Some(name) = self.live.keys().next().cloned() {
            actions.push(self.retire(&name));
        }
        self.commit("UPDATE", actions).await;
    }

    fn retire(&mut self, name: &str) -> Value {
        self.live.remove(name);
        json!({"remove": {"path": name, "deletionTimestamp": 1_760_000_000_000_u64, "dataChange": true}})
    }

    /// Writes a V2 checkpoint of the newest version, in JSON, and the hint that names it.
    pub(crate) async fn checkpoint(&self) {
        let version = self.next - 1;
        let mut text = format!("{}\n", json!({"checkpointMetadata": {"version": version}}));
        let adds = self.live.values().map(|add| json!({ "add": add }));
        for action in self.head().into_iter().chain(adds) {
            writeln!(text, "{action}").unwrap();
        }
        let name = format!(
            "_delta_log/{version:020}.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.json"
        );
        if self.store.attributes(&key(&name), None).await.is_ok() {
            return;
        }
        self.put(&name, text.into_bytes()).await;
        let hint = key("_delta_log/_last_checkpoint");
        if self.store.attributes(&hint, None).await.is_ok() {
            self.remove(hint.as_str()).await;
        }
        self.put(
            hint.as_str(),
            json!({"version": version, "size": 1})
                .to_string()
                .into_bytes(),
        )
        .await;
    }

    /// Removes the data files that the newest version does not need, as VACUUM does; returns how many.
    pub(crate) async fn vacuum(&self) -> usize {
        let mut gone = 0;
        for name in self.names("part").await {
            if !self.live.contains_key(&name) {
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
        for name in self
            .live
            .keys()
            .cloned()
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
