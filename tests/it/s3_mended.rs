//! Mending a log and going on past damage on a real server: conditional puts and removals, and object versions.

use std::sync::Arc;

use deltavault::ids::ObjectKey;
use deltavault::plan::restore::Mode;
use deltavault::reader::{TableStore, Verdict, judge};
use deltavault::store::s3::S3Store;
use deltavault::store::{ListedVersion, Payload, ReadStore, RestoreStore, WriteStore, read_all};
use deltavault::vault::restore::{Reading, RestoreRequest};
use futures::TryStreamExt;

use super::support::s3::{self, Bucket, now};
use super::support::table::{CheckpointForm, Table, key};
use super::support::world::{
    init_at, request_at, restore_request_at, restorer, snapshotter, source,
};

async fn overwrite(store: &S3Store, name: &str, bytes: &[u8]) {
    let name = key(name);
    let found = store.attributes(&name, None).await.unwrap();
    let payload = Payload::from_bytes(bytes.to_vec());
    store.replace(&name, &payload, &found.etag).await.unwrap();
}

async fn versions(store: &S3Store, prefix: &str) -> Vec<ListedVersion> {
    let rows = store.list_versions(prefix, None);
    rows.try_collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_mended_and_lost_bytes_are_found_in_older_versions_at_the_source() {
    let Some(server) = s3::server() else { return };
    let live = server.store(Bucket::Versioned).await;
    let vault = server.store(Bucket::Versioned).await;
    init_at(&vault, now()).await;
    let mut table = Table::create(Arc::new(live.clone()) as Arc<dyn RestoreStore>, "orders").await;
    table.append(2, 1024 * 1024 + 1).await;
    table.append(2, 100).await;
    table.checkpoint_as(CheckpointForm::Classic).await;
    table.append(1, 10).await;
    let closure = table.closure().await;
    let taking = snapshotter(Arc::new(vault.clone())).await.unwrap();
    let table_source = source(Arc::new(live.clone()));
    let request = request_at(live.uri(), now());
    let done = taking.take(&table_source, &request).await.unwrap();

    // Three files of the log are wrong, and a data file is lost both here and in the vault.
    let checkpoint = format!("_delta_log/{:020}.checkpoint.parquet", 2);
    let commit = format!("_delta_log/{:020}.json", 3);
    let hint = "_delta_log/_last_checkpoint";
    overwrite(&live, &checkpoint, b"PAR1 no more PAR1").await;
    overwrite(&live, &commit, b"").await;
    overwrite(&live, hint, br#"{"version":3,"size":1}"#).await;
    let is_large = |name: &&String| closure[*name].len() > 1024 * 1024;
    let lost = table.live.keys().find(is_large).unwrap().clone();
    overwrite(&live, &lost, b"other bytes lie on top").await;
    table.remove(&lost).await;
    let size = closure[&lost].len() as u64;
    let rows: Vec<_> = vault.list("", None).try_collect().await.unwrap();
    for row in rows.iter().filter(|row| row.size == size) {
        let other = Payload::from_bytes(vec![b'?'; usize::try_from(row.size).unwrap()]);
        vault.replace(&row.key, &other, &row.etag).await.unwrap();
        for version in versions(&vault, row.key.as_str()).await {
            if let ListedVersion::Object(object) = version
                && object.etag == row.etag
            {
                let raw = server.raw();
                let (bucket, prefix) = vault.uri()[5..].split_once('/').unwrap();
                raw.delete_object()
                    .bucket(bucket)
                    .key(format!("{prefix}/{}", object.key))
                    .version_id(object.version.unwrap().0)
                    .send()
                    .await
                    .unwrap();
            }
        }
    }

    let target: Arc<dyn RestoreStore> = Arc::new(live.clone());
    let restorer = restorer(Arc::new(vault.clone()), target).await.unwrap();
    let request: RestoreRequest = restore_request_at(&done, Mode::InPlace, now());
    let plan = restorer.plan(&request).await.unwrap();
    assert_eq!(plan.broken.len(), 3, "{:?}", plan.broken);
    let expected = plan.expected.clone();
    let put = restorer.execute(&request, plan).await.unwrap();
    assert_eq!((put.lost.len(), put.files_rescued), (0, 1), "{put:?}");
    let checked = restorer
        .check(&request, &expected.after(&put))
        .await
        .unwrap();
    assert!(checked.is_good(), "{checked:?}");
    for (name, bytes) in &closure {
        let (_, found) = read_all(&live, &key(name), None, u64::MAX).await.unwrap();
        assert_eq!(found, bytes, "{name}");
    }
    let aside = versions(&live, "_deltavault/aside/").await;
    assert_eq!(aside.len(), 3, "{aside:?}");
    let again = restorer.plan(&request).await.unwrap();
    assert!(
        again.is_empty() && again.reading == Some(Reading::Opens),
        "{again:?}"
    );

    // What was set aside by removal is below a delete marker, and its bytes are kept.
    let odd: ObjectKey = key(hint);
    live.remove(&odd, &live.attributes(&odd, None).await.unwrap().etag)
        .await
        .unwrap();
    live.put_new(
        &odd,
        &Payload::from_bytes(&br#"{"version":9,"size":1}"#[..]),
        None,
    )
    .await
    .unwrap();
    let table = TableStore::ReadOnly(Arc::new(live.clone()));
    let plan = restorer.plan(&request).await.unwrap();
    assert_eq!(plan.broken.len(), 1);
    restorer.execute(&request, plan).await.unwrap();
    let judged = judge(&table, done.record.version, 5).await;
    assert!(
        matches!(judged, Verdict::Opens { files: Some(5), .. }),
        "{judged:?}"
    );
}
