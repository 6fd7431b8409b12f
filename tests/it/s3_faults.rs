//! What networks and servers do to single calls, on a real server: a command finishes right or fails and says why,
//! nothing wrong is ever published, and a second run finishes.
//!
//! A calm run tells which kinds of calls there are. Then each kind meets each fault, in a place of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::format::ledger::Bodies;
use deltavault::plan::restore::Mode;
use deltavault::store::memory::MemoryStore;
use deltavault::store::s3::{S3Client, S3Settings, S3Store};
use deltavault::store::{ReadStore, RestoreStore};
use deltavault::vault::Vault;
use deltavault::vault::restore::RestoreDone;
use deltavault::vault::snapshot::{JournalPace, SnapshotDone};
use futures::stream::{self, StreamExt};

use super::support::proxy::{Fault, Proxy, S3Call};
use super::support::s3::{self, Bucket, Server};
use super::support::table::Table;
use super::support::verified::{ALL, verify};
use super::support::world::{init, request, restore_request, restorer, snapshotter, source};

/// More than a pack may take.
const LARGE: usize = 1024 * 1024 + 1;

/// How long a client waits for an answer where none will come.
const PATIENCE: Duration = Duration::from_secs(3);

/// How many trials run side by side: they mostly wait.
const TRIALS: usize = 4;

/// A table in a bucket, and a bucket for vaults and restored tables.
struct Scene {
    server: Server,
    closure: BTreeMap<String, Vec<u8>>,
    direct: S3Client,
    live: String,
    bucket: String,
    next: AtomicUsize,
}

/// A way to the server that things happen on.
struct Way {
    proxy: Proxy,
    client: S3Client,
}

/// What kind of call it is: the operation, and the folder that it is about.
type Kind = (&'static str, String);

fn kind_of(call: &S3Call) -> Kind {
    let mut parts = call.key.split('/');
    let place = parts.next().unwrap_or_default();
    let mut folder = parts.next().unwrap_or_default();
    if folder == "tables" {
        folder = parts.nth(1).unwrap_or_default();
    }
    let folder = folder.split('=').next().unwrap_or_default();
    let place = place.trim_end_matches(|it: char| it.is_ascii_digit());
    (call.operation, format!("{place}/{folder}"))
}

impl Scene {
    async fn set(server: Server) -> Self {
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

    async fn way(&self) -> Way {
        let proxy = self.server.proxy();
        let settings = S3Settings {
            patience: Some(PATIENCE),
            ..self.server.settings(proxy.url(), self.server.keys.clone())
        };
        let client = S3Client::connect(&settings).await.unwrap();
        Way { proxy, client }
    }

    /// A place in the bucket that nothing was put to yet.
    fn place(&self, name: &str) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("s3://{}/{name}{number}", self.bucket)
    }

    fn store(&self, uri: &str) -> S3Store {
        S3Store::open(&self.direct, uri).unwrap()
    }

    async fn new_vault(&self) -> String {
        let uri = self.place("vault");
        init(&self.store(&uri)).await;
        uri
    }

    async fn snapshot(&self, client: &S3Client, vault: &str) -> Result<SnapshotDone, Error> {
        let store = S3Store::open(client, vault).unwrap();
        let live = S3Store::open(client, &self.live).unwrap();
        let mut snapshotter = snapshotter(Arc::new(store)).await?;
        snapshotter.journal = JournalPace {
            files: 1,
            ..JournalPace::default()
        };
        let request = request(&self.live, 0);
        snapshotter.take(&source(Arc::new(live)), &request).await
    }

    async fn restore(
        &self,
        client: &S3Client,
        vault: &str,
        done: &SnapshotDone,
        target: &str,
    ) -> Result<RestoreDone, Error> {
        let vault = S3Store::open(client, vault).unwrap();
        let target = S3Store::open(client, target).unwrap();
        let restorer = restorer(Arc::new(vault), Arc::new(target)).await?;
        let request = restore_request(done, Mode::To, 1);
        let plan = restorer.plan(&request).await?;
        restorer.carry_out(&request, plan).await
    }

    /// How many snapshots can be seen.
    async fn visible(&self, vault: &str) -> usize {
        let store: Arc<dyn ReadStore> = Arc::new(self.store(vault));
        let vault = Vault::open(store).await.unwrap();
        let key = request(&self.live, 0).key;
        let chain = vault.chain(&key, Bodies::default(), &[]).await.unwrap();
        assert_eq!(
            chain.findings,
            [],
            "a fault must leave nothing to remark on"
        );
        chain.links.len()
    }

    /// What is wrong with the vault, or with what it holds of the table.
    async fn wrong_in(&self, vault: &str, done: &SnapshotDone) -> Option<String> {
        let store: Arc<dyn ReadStore> = Arc::new(self.store(vault));
        let opened = Vault::open(Arc::clone(&store)).await.unwrap();
        let verified = verify(&opened, ALL).await;
        if verified.code() != ExitCode::Done {
            return Some(format!("{:#?}", verified.findings));
        }
        let target = MemoryStore::new("s3://elsewhere/orders");
        let restorer = restorer(store, Arc::new(target.clone())).await.unwrap();
        let request = restore_request(done, Mode::To, 1);
        let plan = restorer.plan(&request).await.unwrap();
        restorer.carry_out(&request, plan).await.unwrap();
        let found = everything(Arc::new(target)).await;
        (found != self.closure).then(|| "other bytes come back".to_owned())
    }
}

async fn everything(store: Arc<dyn RestoreStore>) -> BTreeMap<String, Vec<u8>> {
    let table = Table::open(store);
    let mut found = BTreeMap::new();
    for name in table.names("").await {
        found.insert(name.clone(), table.read(&name).await);
    }
    found
}

/// Every fault, and what a run that it fails says; nothing where it must not fail.
fn faults() -> Vec<(Fault, Option<&'static str>)> {
    let passing = [
        Fault::Refused(500, "InternalError"),
        Fault::Refused(503, "SlowDown"),
        Fault::Refused(409, "ConditionalRequestConflict"),
        Fault::DoneButRefused(500, "InternalError"),
        Fault::DoneButRefused(503, "ServiceUnavailable"),
        Fault::AnswerLost,
        Fault::Silence,
        Fault::ResetSending,
        Fault::ResetAnswering,
        Fault::Truncated,
        Fault::CorruptedSending,
        Fault::ErrorDocument("InternalError"),
    ];
    let lasting = [
        (Fault::Refused(403, "AccessDenied"), "access key"),
        (Fault::Refused(404, "NoSuchKey"), ""),
        (Fault::Refused(403, "RequestTimeTooSkewed"), "the clock"),
        (Fault::Refused(400, "ExpiredToken"), "the credentials"),
        (Fault::Refused(301, "PermanentRedirect"), "region"),
        (Fault::CorruptedAnswering, "hecksum"),
    ];
    let passing = passing.into_iter().map(|fault| (fault, None));
    let lasting = lasting.map(|(fault, word)| (fault, Some(word)));
    passing.chain(lasting).collect()
}

/// Whether such a thing can happen to such a call.
fn can_meet(fault: &Fault, (operation, place): &Kind) -> bool {
    let puts = matches!(*operation, "PutObject" | "UploadPart");
    let writes = puts || matches!(*operation, "CopyObject" | "CompleteMultipartUpload");
    let answers = *operation == "GetObject" || operation.starts_with("List");
    match fault {
        // Without bytes to send it is a lost answer.
        Fault::ResetSending | Fault::CorruptedSending => puts,
        Fault::ResetAnswering | Fault::Truncated => answers,
        // A listing has no checksum, and what is in the vault has its digest.
        Fault::CorruptedAnswering => *operation == "GetObject" && place.starts_with("orders"),
        Fault::ErrorDocument(_) | Fault::Refused(409, _) => writes,
        // The answer to a HEAD has no body that could name the reason.
        Fault::Refused(301 | 400, _) => *operation != "HeadObject",
        Fault::Refused(..)
        | Fault::DoneButRefused(..)
        | Fault::AnswerLost
        | Fault::Silence
        | Fault::HeldBefore
        | Fault::HeldAfter => true,
    }
}

/// A fault, the kind of call that meets it first, and what a run says that it fails.
type Trial = (Kind, Fault, Option<&'static str>);

/// Every fault at every kind of call that can meet it; unless `DELTAVAULT_TEST_LONG` is set a fourth of them, in which
/// each fault and each kind is.
fn trials(calls: &[S3Call]) -> Vec<Trial> {
    let all = std::env::var_os("DELTAVAULT_TEST_LONG").is_some();
    let kinds: BTreeSet<Kind> = calls.iter().map(kind_of).collect();
    let mut trials = Vec::new();
    for (row, kind) in kinds.iter().enumerate() {
        for (column, (fault, word)) in faults().into_iter().enumerate() {
            if can_meet(&fault, kind) && (all || (row + column).is_multiple_of(4)) {
                trials.push((kind.clone(), fault, word));
            }
        }
    }
    println!("{} trials at {} kinds of calls", trials.len(), kinds.len());
    trials
}

/// Runs trials side by side; what is wrong with each comes to nothing.
async fn run_trials<F>(trials: Vec<Trial>, trial: impl Fn(Trial) -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let results = stream::iter(trials).map(|it| {
        let what = format!("{:?} at {:?}", it.1, it.0);
        let running = trial(it);
        async move { running.await.map_err(|wrong| format!("{what}: {wrong}")) }
    });
    let results: Vec<_> = results.buffer_unordered(TRIALS).collect().await;
    let wrong: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A run that fails must have the right to, and say why.
fn judge<T>(result: Result<T, Error>, word: Option<&str>) -> Result<Option<T>, String> {
    let error = match result {
        Ok(done) => return Ok(Some(done)),
        Err(error) => error,
    };
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        said = format!("{said}: {next}");
        cause = next.source();
    }
    match word {
        Some(word) if said.contains(word) => Ok(None),
        Some(_) | None => Err(said),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_meets_a_fault_is_right_or_says_why_and_the_next_one_is_right() {
    let Some(server) = s3::server() else { return };
    let scene = &Scene::set(server).await;
    let calm = scene.way().await;
    let vault = scene.new_vault().await;
    scene.snapshot(&calm.client, &vault).await.unwrap();
    let trial = async |(kind, fault, word): Trial| {
        let way = scene.way().await;
        let vault = scene.new_vault().await;
        way.proxy.nth(1, move |call| kind_of(call) == kind, fault);
        let first = scene.snapshot(&way.client, &vault).await;
        if way.proxy.faults() != 1 {
            return Err("did not come to pass".to_owned());
        }
        let done = match judge(first, word)? {
            Some(done) => done,
            None if scene.visible(&vault).await > 0 => return Err("published".to_owned()),
            None => scene.snapshot(&scene.direct, &vault).await.unwrap(),
        };
        if scene.visible(&vault).await != 1 {
            return Err("not published once".to_owned());
        }
        let wrong = scene.wrong_in(&vault, &done).await;
        wrong.map_or(Ok(()), Err)
    };
    run_trials(trials(&calm.proxy.calls()), trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_meets_a_fault_is_right_or_says_why_and_the_next_one_is_right() {
    let Some(server) = s3::server() else { return };
    let scene = &Scene::set(server).await;
    let calm = scene.way().await;
    let vault = &scene.new_vault().await;
    let done = &scene.snapshot(&scene.direct, vault).await.unwrap();
    let target = scene.place("restored");
    let restored = scene.restore(&calm.client, vault, done, &target).await;
    restored.unwrap();
    let trial = async |(kind, fault, word): Trial| {
        let way = scene.way().await;
        let target = scene.place("restored");
        way.proxy.nth(1, move |call| kind_of(call) == kind, fault);
        let first = scene.restore(&way.client, vault, done, &target).await;
        if way.proxy.faults() != 1 {
            return Err("did not come to pass".to_owned());
        }
        if judge(first, word)?.is_none() {
            let found = everything(Arc::new(scene.store(&target))).await;
            for (name, bytes) in found {
                if !name.starts_with("_deltavault/") && scene.closure.get(&name) != Some(&bytes) {
                    return Err(format!("{name} is wrong"));
                }
            }
            let again = scene.restore(&scene.direct, vault, done, &target).await;
            judge(again, None)?;
        }
        let found = everything(Arc::new(scene.store(&target))).await;
        if found == scene.closure {
            Ok(())
        } else {
            Err(format!("it has {:?}", found.keys()))
        }
    };
    run_trials(trials(&calm.proxy.calls()), trial).await;
}
