//! A table and vaults in buckets of a real server, with ways to it that things happen on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::format::TableKey;
use deltavault::format::ledger::Bodies;
use deltavault::plan::restore::Mode;
use deltavault::store::memory::MemoryStore;
use deltavault::store::s3::{S3Client, S3Settings, S3Store};
use deltavault::store::{ReadStore, RestoreStore};
use deltavault::vault::Vault;
use deltavault::vault::restore::RestoreDone;
use deltavault::vault::snapshot::{JournalPace, SnapshotDone};

use super::proxy::Proxy;
use super::s3::{Bucket, Server, now};
use super::table::Table;
use super::verified::{ALL, verify};
use super::world::{
    init_at, key_of, request_at, restore_request_at, restorer, snapshotter, source,
};

/// More than a pack may take.
pub(crate) const LARGE: usize = 1024 * 1024 + 1;

/// How long a client waits for an answer where none will come.
const PATIENCE: Duration = Duration::from_secs(2);

/// A table in a bucket, and a bucket for vaults and restored tables.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) closure: BTreeMap<String, Vec<u8>>,
    pub(crate) direct: S3Client,
    pub(crate) live: String,
    pub(crate) bucket: String,
    next: AtomicUsize,
}

/// A way to the server that things happen on.
pub(crate) struct Way {
    pub(crate) proxy: Proxy,
    pub(crate) client: S3Client,
}

impl Scene {
    pub(crate) async fn set(server: Server) -> Self {
        let direct = server.client().await;
        let live = format!("s3://{}/orders", server.bucket(Bucket::Versioned).await);
        let store: Arc<dyn RestoreStore> = Arc::new(S3Store::open(&direct, &live).unwrap());
        let mut table = Table::create(store, "orders").await;
        table.append(2, LARGE).await;
        table.append(2, 100).await;
        table.checkpoint().await;
        table.append(1, 200).await;
        Self {
            closure: table.closure().await,
            direct,
            live,
            bucket: server.bucket(Bucket::Versioned).await,
            next: AtomicUsize::new(0),
            server,
        }
    }

    pub(crate) async fn way(&self) -> Way {
        let proxy = self.server.proxy();
        let settings = S3Settings {
            patience: Some(PATIENCE),
            ..self.server.settings(proxy.url(), self.server.keys.clone())
        };
        let client = S3Client::connect(&settings).await.unwrap();
        Way { proxy, client }
    }

    /// A place in the bucket that nothing was put to yet.
    pub(crate) fn place(&self, name: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("s3://{}/{name}{number}", self.bucket)
    }

    pub(crate) fn store(&self, uri: &str) -> S3Store {
        S3Store::open(&self.direct, uri).unwrap()
    }

    pub(crate) async fn new_vault(&self) -> String {
        let uri = self.place("vault");
        init_at(&self.store(&uri), now()).await;
        uri
    }

    pub(crate) async fn snapshot(
        &self,
        client: &S3Client,
        vault: &str,
    ) -> Result<SnapshotDone, Error> {
        let store = S3Store::open(client, vault).unwrap();
        let live = S3Store::open(client, &self.live).unwrap();
        let mut snapshotter = snapshotter(Arc::new(store)).await?;
        snapshotter.journal = JournalPace {
            files: 1,
            ..JournalPace::default()
        };
        let request = request_at(&self.live, now());
        snapshotter.take(&source(Arc::new(live)), &request).await
    }

    pub(crate) async fn restore(
        &self,
        client: &S3Client,
        vault: &str,
        done: &SnapshotDone,
        target: &str,
    ) -> Result<RestoreDone, Error> {
        let vault = S3Store::open(client, vault).unwrap();
        let target = S3Store::open(client, target).unwrap();
        let restorer = restorer(Arc::new(vault), Arc::new(target)).await?;
        let request = restore_request_at(done, Mode::To, now());
        let plan = restorer.plan(&request).await?;
        restorer.execute(&request, plan).await
    }

    /// How many snapshots can be seen.
    pub(crate) async fn visible(&self, vault: &str) -> usize {
        self.visible_of(vault, &key_of(&self.live)).await
    }

    /// How many snapshots of a table can be seen.
    pub(crate) async fn visible_of(&self, vault: &str, key: &TableKey) -> usize {
        let store: Arc<dyn ReadStore> = Arc::new(self.store(vault));
        let vault = Vault::open(store).await.unwrap();
        let chain = vault.chain(key, Bodies::default(), &[]).await.unwrap();
        assert_eq!(
            chain.findings,
            [],
            "a fault must leave nothing to remark on"
        );
        chain.links.len()
    }

    /// What is wrong with the vault, or with what it holds of the table.
    pub(crate) async fn wrong_in(&self, vault: &str, done: &SnapshotDone) -> Option<String> {
        let store: Arc<dyn ReadStore> = Arc::new(self.store(vault));
        let opened = Vault::open(Arc::clone(&store)).await.unwrap();
        let verified = verify(&opened, ALL).await;
        if verified.code() != ExitCode::Done {
            return Some(format!("{:#?}", verified.findings));
        }
        let target = MemoryStore::new("s3://elsewhere/orders");
        let restorer = restorer(store, Arc::new(target.clone())).await.unwrap();
        let request = restore_request_at(done, Mode::To, now());
        let plan = restorer.plan(&request).await.unwrap();
        restorer.execute(&request, plan).await.unwrap();
        let found = everything(Arc::new(target)).await;
        (found != self.closure).then(|| "other bytes come back".to_owned())
    }
}

pub(crate) async fn everything(store: Arc<dyn RestoreStore>) -> BTreeMap<String, Vec<u8>> {
    let table = Table::open(store);
    let mut found = BTreeMap::new();
    for name in table.names("").await {
        found.insert(name.clone(), table.read(&name).await);
    }
    found
}
