//! What tables on S3 have that folders have not: archive storage, keys of others, payers, versions, rights.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::StorageClass;
use deltavault::Error;
use deltavault::ExitCode;
use deltavault::store::s3::{S3Client, S3Settings, S3Store};
use deltavault::store::{
    CopySource, Payload, ReadStore, RestoreStore, StoreErrorKind, WriteStore, read_all,
};
use deltavault::vault::snapshot::SnapshotDone;
use futures::StreamExt;

use super::store_conformance::{assert_fails, key, put};
use super::support::proxy::{Fault, S3Call};
use super::support::s3::{self, Bucket};
use super::support::s3_scene::{LARGE, Scene};

/// Whether a call is for the bytes of one of those files.
fn wants(call: &S3Call, files: &[String]) -> bool {
    let copied = call.header("x-amz-copy-source").unwrap_or_default();
    let asked = match call.operation {
        "GetObject" => call.key.as_str(),
        "CopyObject" => copied,
        _ => return false,
    };
    files.iter().any(|file| asked.contains(name_of(file)))
}

/// A file's name without its folder, which is spelled differently in headers and paths.
fn name_of(file: &str) -> &str {
    file.rsplit('/').next().unwrap()
}

/// The data files of the scene's table.
fn data(scene: &Scene) -> Vec<String> {
    let names = scene.closure.keys();
    names
        .filter(|name| name.starts_with("part"))
        .cloned()
        .collect()
}

fn assert_archived(failed: Result<SnapshotDone, Error>, expected: &[String]) {
    let error = failed.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::ThawPending);
    assert_eq!(error.exit_code().number(), 13);
    assert!(error.hint().unwrap().contains("restore-object"));
    let Error::SourceArchived { mut files, .. } = error else {
        panic!("{error:?}");
    };
    files.sort();
    assert_eq!(files, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archived_files_are_all_named_and_after_the_thaw_only_they_are_copied() {
    let Some(server) = s3::server() else { return };
    let scene = Scene::set(server).await;
    let vault = scene.new_vault().await;
    let data = data(&scene);
    // A small one and a large one.
    let is_large = |name: &&String| scene.closure[*name].len() == LARGE;
    let large = data.iter().find(is_large).unwrap().clone();
    let small = data.iter().find(|name| !is_large(name)).unwrap().clone();
    let mut archived = vec![large, small];
    archived.sort();
    let way = scene.way().await;
    let frozen = archived.clone();
    let refused = Fault::Refused(403, "InvalidObjectState");
    way.proxy.every(move |call| wants(call, &frozen), refused);
    assert_archived(scene.snapshot(&way.client, &vault).await, &archived);
    assert_eq!(scene.visible(&vault).await, 0);

    let thawed = scene.way().await;
    let done = scene.snapshot(&thawed.client, &vault).await.unwrap();
    for call in thawed.proxy.calls() {
        let copied: Vec<_> = data.iter().filter(|it| !archived.contains(it)).collect();
        for file in copied {
            assert!(!wants(&call, std::slice::from_ref(file)), "{file} twice");
        }
    }
    assert_eq!(scene.wrong_in(&vault, &done).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_archive_storage_refuses_in_the_same_words() {
    let Some(server) = s3::server() else { return };
    let scene = Scene::set(server).await;
    let raw = scene.server.raw();
    let (bucket, _) = scene
        .live
        .strip_prefix("s3://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let data = data(&scene);
    let archived = [data[0].clone()];
    let put = raw
        .put_object()
        .bucket(bucket)
        .key(format!("orders/{}", archived[0]))
        .storage_class(StorageClass::DeepArchive)
        .body(ByteStream::from(scene.closure[&archived[0]].clone()))
        .send()
        .await;
    if put.is_err() {
        println!("SKIPPED: the server has no archive storage; moto has");
        return;
    }
    let vault = scene.new_vault().await;
    assert_archived(scene.snapshot(&scene.direct, &vault).await, &archived);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_removed_under_the_copy_is_taken_from_its_noncurrent_version() {
    let Some(server) = s3::server() else { return };
    let scene = Scene::set(server).await;
    for file in data(&scene) {
        let vault = scene.new_vault().await;
        let way = scene.way().await;
        let wanted = vec![file.clone()];
        let mut held = way
            .proxy
            .hold(1, move |call| wants(call, &wanted), Fault::HeldBefore);
        let live = scene.store(&scene.live);
        let seen = live.attributes(&key(&file), None).await.unwrap();
        let waiting = tokio::task::spawn_blocking(move || {
            held.arrives_within(Duration::from_secs(30)).unwrap()
        });
        let vacuum = async {
            let call = waiting.await.unwrap();
            live.remove(&key(&file), &seen.etag).await.unwrap();
            drop(call);
        };
        let (done, ()) = tokio::join!(scene.snapshot(&way.client, &vault), vacuum);
        let done = done.unwrap();
        assert_eq!(scene.wrong_in(&vault, &done).await, None, "{file}");
        // Back, for the next one.
        let payload = Payload::from_bytes(scene.closure[&file].clone());
        live.put_new(&key(&file), &payload, None).await.unwrap();
    }
}

#[tokio::test]
async fn who_pays_says_so_with_every_call() {
    let Some(server) = s3::server() else { return };
    let direct = server.store(Bucket::Versioned).await;
    for pays in [true, false] {
        let proxy = server.proxy();
        let settings = S3Settings {
            requester_pays: pays,
            ..server.settings(proxy.url(), server.keys.clone())
        };
        let client = S3Client::connect(&settings).await.unwrap();
        let store = S3Store::open(&client, direct.uri()).unwrap();
        put(&store, "a", "a").await;
        let seen = store.attributes(&key("a"), None).await.unwrap();
        let (_, bytes) = read_all(&store, &key("a"), None, 10).await.unwrap();
        let (a, payload) = (key("a"), Payload::from_bytes(bytes));
        let replaced = store.replace(&a, &payload, &seen.etag).await.unwrap();
        let copied = CopySource {
            address: store.copy_address(&key("a")).unwrap(),
            version: replaced.version,
            etag: replaced.etag.clone(),
            size: 1,
        };
        let to = key(if pays { "copy/1" } else { "copy/2" });
        store.copy_new(&to, &copied, None).await.unwrap();
        assert_eq!(store.list("", None).count().await, if pays { 2 } else { 3 });
        assert!(store.list_versions("", None).count().await > 2);
        store.remove(&key("a"), &replaced.etag).await.unwrap();
        let calls = proxy.calls();
        assert!(calls.len() > 5);
        for call in calls {
            let said = call.header("x-amz-request-payer");
            assert_eq!(said, pays.then_some("requester"), "{call:?}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_encrypted_with_a_key_out_of_reach_are_refused_with_the_reason() {
    let Some(server) = s3::server() else { return };
    let direct = server.store(Bucket::Versioned).await;
    put(&direct, "a", "secret").await;
    let by_customer = "The object was stored using a form of Server Side Encryption. The correct \
                       parameters must be provided to retrieve the object.";
    let decrypt = "User: arn:aws:iam::1:user/u is not authorized to perform: kms:Decrypt on \
                   resource: arn:aws:kms:eu-west-1:1:key/k";
    let disabled = "arn:aws:kms:eu-west-1:1:key/k is disabled.";
    for (fault, word) in [
        (
            Fault::RefusedSaying(400, "InvalidRequest", by_customer),
            "SSE-C",
        ),
        (
            Fault::RefusedSaying(403, "AccessDenied", decrypt),
            "kms:Decrypt",
        ),
        (
            Fault::RefusedSaying(400, "KMS.DisabledException", disabled),
            "is disabled",
        ),
    ] {
        let proxy = server.proxy();
        proxy.every(|_| true, fault);
        let store = server.by_way_of(&proxy, &direct).await;
        for head in [false, true] {
            let error = if head {
                store.attributes(&key("a"), None).await.unwrap_err()
            } else {
                store.open(&key("a"), None, None).await.unwrap_err()
            };
            let said = error.kind.to_string();
            assert!(said.contains(word), "{said}");
            assert!(said.contains("PROXY"), "the id of the request: {said}");
            assert!(error.is_permanent());
        }
    }
}

#[tokio::test]
async fn a_refusal_names_the_key_that_was_refused_and_the_request() {
    let Some(server) = s3::server() else { return };
    let direct = server.store(Bucket::Versioned).await;
    put(&direct, "a", "a").await;
    let policy = format!(
        r#"{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow",
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::{bucket}", "arn:aws:s3:::{bucket}/*"]}}]}}"#,
        bucket = direct.bucket()
    );
    let Some(reader) = server.user("reader", &policy) else {
        println!("SKIPPED: no mc to make a user with; DELTAVAULT_TEST_MC names it");
        return;
    };
    let settings = server.settings(&server.endpoint, reader.clone());
    let client = S3Client::connect(&settings).await.unwrap();
    let store = S3Store::open(&client, direct.uri()).unwrap();
    let (_, bytes) = read_all(&store, &key("a"), None, 10).await.unwrap();
    assert_eq!(bytes, "a");
    let payload = Payload::from_bytes("b");
    let error = store.put_new(&key("b"), &payload, None).await.unwrap_err();
    let StoreErrorKind::Denied { detail } = &error.kind else {
        panic!("{error:?}");
    };
    assert!(detail.contains("AccessDenied"), "{detail}");
    assert!(detail.contains("request "), "{detail}");
    assert!(detail.contains(&reader.id), "{detail}");
    let seen = direct.attributes(&key("a"), None).await.unwrap().etag;
    assert_fails!(
        store.remove(&key("a"), &seen).await,
        StoreErrorKind::Denied { .. }
    );
    read_all(&direct, &key("a"), None, 10).await.unwrap();
}
