//! Tables of the corpus on a real S3 server: snapshot, wipe, restore in place and elsewhere; all bytes equal.
//!
//! By default those with odd keys and some of each family; `DELTAVAULT_TEST_ALL=1` takes every table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use deltavault::ids::ObjectKey;
use deltavault::plan::restore::Mode;
use deltavault::store::s3::{S3Client, S3Store};
use deltavault::store::{Payload, ReadStore, RestoreStore, WriteStore, read_all};
use deltavault::vault::Vault;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::support::corpus::{self, CorpusTable};
use super::support::s3::{Bucket, now, server};
use super::support::verified::{ALL, verify};
use super::support::world::{
    files, init_at, request_at, restore_request_at, restorer, snapshotter, source,
};

/// Tables at a time, and files of each.
const AT_A_TIME: usize = 8;

/// Of each family that many tables without odd keys are taken by default.
const OF_EACH: usize = 1;

/// Larger than any file of the corpus.
const LIMIT: u64 = 64 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn tables_on_s3_come_back_byte_for_byte_whatever_their_keys() {
    const TEST: &str = "tables_on_s3_come_back_byte_for_byte_whatever_their_keys";
    let (Some(server), Some(tables)) = (server(), corpus::tables(TEST)) else {
        return;
    };
    let tables = chosen(tables);
    let client = server.client().await;
    let vault: Arc<dyn WriteStore> = Arc::new(server.store(Bucket::Versioned).await);
    init_at(vault.as_ref(), now()).await;
    let lake = server.bucket(Bucket::Versioned).await;
    let trips = tables.iter().map(|table| {
        let place = format!("s3://{lake}/lake 1%2F/{}", table.name);
        let vault = Arc::clone(&vault);
        let client = &client;
        async move {
            let came_back = round_trip(table, client, vault, &place).await;
            came_back.map_err(|problem| format!("{}: {problem}", table.name))
        }
    });
    let trips: Vec<_> = stream::iter(trips)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    let wrong: Vec<_> = trips
        .iter()
        .filter_map(|trip| trip.as_ref().err())
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let restored = trips.iter().flatten().filter(|came_back| **came_back);
    let restored = restored.count();
    println!("{restored} of {} tables restored", tables.len());
    assert!(restored > tables.len() / 2);
    let readable: Arc<dyn ReadStore> = vault;
    let verified = verify(&Vault::open(readable).await.unwrap(), ALL).await;
    assert_eq!(verified.findings, []);
    assert_eq!(verified.report.tables, restored as u64);
}

/// All of them, or those that can differ on S3: odd keys, and some of each family.
fn chosen(tables: Vec<CorpusTable>) -> Vec<CorpusTable> {
    if std::env::var_os("DELTAVAULT_TEST_ALL").is_some_and(|value| value == "1") {
        return tables;
    }
    let mut taken: BTreeMap<String, usize> = BTreeMap::new();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_=./-".contains(c);
    tables
        .into_iter()
        .filter(|table| {
            let names: Vec<String> = files(&table.path).into_keys().collect();
            if names.len() > 300 {
                return false;
            }
            if names.iter().any(|name| !name.chars().all(plain)) {
                return true;
            }
            let family = table.name.split("--").next().unwrap_or_default();
            let taken = taken.entry(family.to_owned()).or_default();
            *taken += 1;
            *taken <= OF_EACH
        })
        .collect()
}

/// `Ok(false)` for a table that cannot be taken, and is refused.
async fn round_trip(
    table: &CorpusTable,
    client: &S3Client,
    vault: Arc<dyn WriteStore>,
    place: &str,
) -> Result<bool, String> {
    let live = S3Store::open(client, place).unwrap();
    let original = files(&table.path);
    upload(&live, &original).await;
    let on_s3: BTreeSet<String> = listed(&live)
        .await
        .keys()
        .map(ToString::to_string)
        .collect();
    if !original.keys().eq(on_s3.iter()) {
        return Err("the store lists other keys than were put".to_owned());
    }
    let root: Arc<dyn ReadStore> = Arc::new(live.clone());
    let snapshotter = snapshotter(Arc::clone(&vault)).await.unwrap();
    let request = request_at(place, now());
    let taken = snapshotter.take(&source(root), &request).await;
    let done = match (can_be_taken(table), taken) {
        (true, Ok(done)) => done,
        (true, Err(error)) => return Err(format!("refused: {error:?}")),
        (false, Ok(_)) => return Err("taken, although it is not whole".to_owned()),
        (false, Err(_)) => return Ok(false),
    };
    wipe(&live).await;
    let elsewhere = S3Store::open(client, &format!("{place} copy+ü")).unwrap();
    for (target, mode) in [(&live, Mode::InPlace), (&elsewhere, Mode::To)] {
        let restorer = restorer(vault.clone(), Arc::new(target.clone()))
            .await
            .unwrap();
        let request = restore_request_at(&done, mode, now());
        let plan = restorer
            .plan(&request)
            .await
            .map_err(|e| format!("{e:?}"))?;
        let put_back = restorer.execute(&request, plan).await;
        put_back.map_err(|error| format!("{error:?}"))?;
        let back = download(target).await;
        for (name, bytes) in &back {
            match original.get(name) {
                Some(before) if before == bytes => {}
                Some(_) => return Err(format!("{name} came back with other bytes")),
                None => return Err(format!("{name} came from nowhere")),
            }
        }
        let closure = table.truth["closure"].as_array().unwrap();
        let missing: Vec<_> = closure
            .iter()
            .map(|key| key.as_str().unwrap())
            .filter(|key| !back.contains_key(*key))
            .collect();
        if !missing.is_empty() {
            return Err(format!("{missing:?} did not come back"));
        }
    }
    Ok(true)
}

/// By its truth; one table is refused all the same, for a version alone, thousands past the rest.
fn can_be_taken(table: &CorpusTable) -> bool {
    let truth = &table.truth;
    let none = |field: &str| truth[field].as_array().is_none_or(Vec::is_empty);
    truth["status"] == "ok"
        && none("missing")
        && none("closure_external")
        && table.name != "rserr--table_i"
}

async fn upload(store: &S3Store, files: &BTreeMap<String, Vec<u8>>) {
    let puts = files.iter().map(|(name, bytes)| async move {
        let key: ObjectKey = name.parse().unwrap();
        let payload = Payload::from_bytes(bytes.clone());
        store.put_new(&key, &payload, None).await.unwrap();
    });
    stream::iter(puts)
        .buffer_unordered(AT_A_TIME)
        .collect::<()>()
        .await;
}

async fn listed(store: &S3Store) -> BTreeMap<ObjectKey, deltavault::ids::ETag> {
    let rows = store.list("", None).map_ok(|found| (found.key, found.etag));
    rows.try_collect().await.unwrap()
}

async fn wipe(store: &S3Store) {
    let removes = listed(store)
        .await
        .into_iter()
        .map(|(key, etag)| async move { store.remove(&key, &etag).await.unwrap() });
    stream::iter(removes)
        .buffer_unordered(AT_A_TIME)
        .collect::<()>()
        .await;
    assert!(listed(store).await.is_empty());
}

async fn download(store: &S3Store) -> BTreeMap<String, Vec<u8>> {
    let reads = listed(store).await.into_keys().map(|key| async move {
        let (_, bytes) = read_all(store, &key, None, LIMIT).await.unwrap();
        (key.to_string(), bytes.to_vec())
    });
    stream::iter(reads)
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await
}
