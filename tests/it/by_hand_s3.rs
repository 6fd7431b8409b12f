//! `scripts/restore-by-hand.sh` against a bucket of a real server whose every object was planted on or hidden.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use aws_sdk_s3::primitives::ByteStream;
use deltavault::store::local::LocalStore;
use deltavault::store::{ReadStore as _, RestoreStore, WriteStore};
use futures::TryStreamExt as _;

use crate::restore_by_hand::{had, has_tools, read_tree, stderr};
use crate::support::s3::{Bucket, now, server};
use crate::support::scene::LARGE;
use crate::support::table::Table;
use crate::support::world::{init_locked_at, request_at, snapshotter, source};

#[tokio::test]
async fn s3_what_was_planted_on_or_hidden_comes_back_by_hand_by_object_version() {
    let Some(server) = server() else { return };
    if !has_tools(&["aws"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lake/orders");
    let live: Arc<dyn RestoreStore> = Arc::new(LocalStore::create(&path).unwrap());
    let mut table = Table::create(live.clone(), "orders").await;
    table.append(3, 100).await;
    table.append(1, LARGE).await;
    let (name, _) = table.live.first_key_value().unwrap();
    fs::set_permissions(path.join(name), Permissions::from_mode(0o600)).unwrap();
    let vault = server.store(Bucket::Locked).await;
    init_locked_at(&vault, now()).await;
    let uri = vault.uri().to_owned();
    let store: Arc<dyn WriteStore> = Arc::new(vault);
    let request = request_at(live.uri(), now());
    let snapshotter = snapshotter(store.clone()).await.unwrap();
    let done = snapshotter.take(&source(live), &request).await.unwrap();

    let keys: Vec<_> = store.list("", None).try_collect().await.unwrap();
    let (bucket, root) = uri.strip_prefix("s3://").unwrap().split_once('/').unwrap();
    let raw = server.raw();
    // Every second object is hidden, the others lie below one that somebody put there.
    for (n, object) in keys.iter().enumerate() {
        let key = format!("{root}/{}", object.key);
        let planted = ByteStream::from_static(b"{\"planted\":true}");
        let put = raw.put_object().bucket(bucket).key(&key).body(planted);
        if n % 4 > 0 {
            put.send().await.unwrap();
        }
        if n % 2 == 0 {
            let delete = raw.delete_object().bucket(bucket).key(&key);
            delete.send().await.unwrap();
        }
    }

    let target = folder.path().join("target");
    let output = Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/restore-by-hand.sh"))
        .args([&uri, "lake-orders", &done.id.short()])
        .arg(&target)
        .env("AWS_ENDPOINT_URL", &server.endpoint)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(read_tree(&target), read_tree(&path));
    assert_eq!(had(&target), had(&path));
}
