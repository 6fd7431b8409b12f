//! Logs whose paths climb, or are absolute: into the table's own root, or to other places.

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::plan::restore::Mode;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, WriteStore as _};
use deltavault::vault::snapshot::SnapshotDone;
use serde_json::{Value, json};

use super::support::scene::{Scene, assert_holds, assert_says, everything};
use super::support::table::key;
use super::support::world::{everywhere, restore_request};

fn add(path: &str, size: usize) -> Value {
    json!({"add": {"path": path, "partitionValues": {}, "size": size, "modificationTime": 1_760_000_000_000_u64,
        "dataChange": true}})
}

/// Restoring into another place must be refused, and leave that place empty.
async fn refuses_elsewhere(scene: &Scene, done: &SnapshotDone, says: &[&str]) -> Error {
    let target = MemoryStore::new("s3://copy/orders");
    let restorer = scene.restorer(std::sync::Arc::new(target.clone())).await;
    let error = restorer
        .plan(&restore_request(done, Mode::To, 1))
        .await
        .unwrap_err();
    assert_says(&error, ExitCode::Failed, says);
    assert!(everything(&target).await.is_empty());
    error
}

#[tokio::test]
async fn a_path_that_climbs_out_of_its_bucket_is_refused() {
    for path in [
        "../../secret.parquet",
        "a/../../../x",
        "..%2F..%2Fsecret",
        "s3://lake/../x",
    ] {
        let mut scene = Scene::set().await;
        scene.table.commit("WRITE", vec![add(path, 3)]).await;
        scene
            .refuses(
                ExitCode::Failed,
                &[
                    "00000000000000000003.json",
                    path,
                    "climbs out of its bucket",
                ],
            )
            .await;
    }
}

#[tokio::test]
async fn a_path_that_is_no_name_is_refused() {
    let long = "x".repeat(1100);
    for (path, says) in [
        ("%ff%fe", "does not decode to UTF-8"),
        ("", "is not an object's name"),
        (&long, "is not an object's name"),
    ] {
        let mut scene = Scene::set().await;
        scene.table.commit("WRITE", vec![add(path, 3)]).await;
        scene
            .refuses(ExitCode::Failed, &["00000000000000000003.json", says])
            .await;
    }
}

#[tokio::test]
async fn a_foreign_file_that_is_missing_is_named() {
    for path in [
        "../neighbour/a.parquet",
        "s3://elsewhere/shared/a%20b.parquet",
    ] {
        let mut scene = Scene::set().await;
        scene.table.commit("CLONE", vec![add(path, 3)]).await;
        let uri = if path.starts_with("..") {
            "s3://lake/neighbour/a.parquet"
        } else {
            "s3://elsewhere/shared/a b.parquet"
        };
        let error = scene
            .refuses(ExitCode::Failed, &["version 3 is not whole", "first", uri])
            .await;
        assert!(matches!(error, Error::SourceFileMissing { .. }));
    }
}

#[tokio::test]
async fn foreign_files_are_held_and_go_back_to_their_own_place_only_when_asked() {
    let mut scene = Scene::set().await;
    let name = key("shared/a b.parquet");
    let payload = Payload::from_bytes("far");
    scene
        .elsewhere
        .put_new(&name, &payload, None)
        .await
        .unwrap();
    scene
        .table
        .commit(
            "CLONE",
            vec![add("s3a://elsewhere/shared/a%20b.parquet", 3)],
        )
        .await;
    let done = scene.take(24).await.unwrap();
    let before = scene.source_files().await;
    let uri = "s3://elsewhere/shared/a b.parquet";
    refuses_elsewhere(
        &scene,
        &done,
        &[uri, "would be put outside s3://copy/orders"],
    )
    .await;

    // In place and whole: nothing to do, nothing touched.
    let request = restore_request(&done, Mode::InPlace, 1);
    assert!(scene.plan(&request).await.unwrap().is_empty());

    // The foreign file is gone with the table's folder.
    let listed = scene.elsewhere.delete_marker(&name);
    assert!(listed.is_some());
    scene.table.drop_all().await;
    let plan = scene.plan(&request).await.unwrap();
    assert_eq!(plan.outside_missing, [uri]);
    // A log that names a file which is not there is not put back.
    let error = scene.restore(&request).await.unwrap_err();
    let says = ["1 file to be put back outside the table's folder"];
    assert_says(&error, ExitCode::OwnerMustChoose, &says);
    assert!(scene.source_files().await.is_empty());
    assert!(
        everything(&scene.elsewhere).await.is_empty(),
        "put back unasked"
    );

    let mut asked = request;
    asked.outside = everywhere();
    let restored = scene.restore(&asked).await.unwrap();
    assert_eq!(restored.files_written, before.len() as u64 + 1);
    assert_eq!(scene.source_files().await, before);
    assert_eq!(
        everything(&scene.elsewhere).await["shared/a b.parquet"],
        b"far"
    );
    scene.first_is_safe().await;
}

#[tokio::test]
async fn absolute_paths_into_the_own_root_come_back_in_place_and_are_refused_elsewhere() {
    let vector = json!({"storageType": "p", "pathOrInlineDv": "s3://lake/orders/vectors/dv.bin", "offset": 1,
        "sizeInBytes": 4, "cardinality": 2});
    let mut with_vector = add("part=0/plain.parquet", 5);
    with_vector["add"]["deletionVector"] = vector;
    for (file, action) in [
        (
            "part=9/a b.parquet",
            add("s3a://lake/orders/part=9/a%20b.parquet", 5),
        ),
        ("vectors/dv.bin", with_vector),
    ] {
        let mut scene = Scene::set().await;
        scene
            .table
            .put("part=9/a b.parquet", b"12345".to_vec())
            .await;
        scene
            .table
            .put("part=0/plain.parquet", b"12345".to_vec())
            .await;
        let vectors = b"file of vectors".to_vec();
        scene.table.put("vectors/dv.bin", vectors).await;
        let remove = json!({"remove": {"path": action["add"]["path"], "dataChange": true,
            "deletionVector": action["add"].get("deletionVector").cloned().unwrap_or(Value::Null),
            "deletionTimestamp": 1_760_000_000_000_u64}});
        scene.table.commit("WRITE", vec![action]).await;
        let done = scene.take(24).await.unwrap();
        let says = [file, "absolute path below s3://lake/orders"];
        let error = refuses_elsewhere(&scene, &done, &says).await;
        assert!(matches!(error, Error::AbsoluteIntoOwnRoot { .. }));
        assert!(error.hint().unwrap().contains("without --to"));

        // What builds on it knows, although it does not read that commit again.
        scene.table.append(1, 10).await;
        let next = scene.take(25).await.unwrap();
        assert_eq!(next.record.base, Some(done.id));
        refuses_elsewhere(&scene, &next, &says).await;

        let before = scene.source_files().await;
        scene.table.drop_all().await;
        let request = restore_request(&next, Mode::InPlace, 1);
        scene.restore(&request).await.unwrap();
        let after = scene.source_files().await;
        assert_eq!(after[file], before[file]);
        assert!(after.iter().all(|(name, bytes)| before[name] == *bytes));

        // Once the file has left the table, a copy elsewhere reads nothing of the original's.
        scene.table.commit("DELETE", vec![remove]).await;
        let last = scene.take(26).await.unwrap();
        assert!(scene.contents(&last).await.is_ok());
        scene.first_is_safe().await;
    }
}

#[tokio::test]
async fn spellings_that_stay_relative_are_not_taken_for_absolute() {
    let mut scene = Scene::set().await;
    scene.table.put("part=1/x:y.parquet", b"abc".to_vec()).await;
    scene
        .table
        .commit("WRITE", vec![add("./part=1/x%3Ay.parquet", 3)])
        .await;
    let mut done = scene.take(24).await.unwrap();
    let mut found = scene.contents(&done).await.unwrap();
    assert_eq!(found.remove("part=1/x:y.parquet").unwrap(), b"abc");
    assert_holds(&found, &scene.table.closure().await);

    // Named absolutely and then relatively, both actions are in the log: some readers follow the first.
    let absolute = "s3://lake/orders/part=1/x%3Ay.parquet";
    scene.table.commit("WRITE", vec![add(absolute, 3)]).await;
    scene
        .table
        .commit("WRITE", vec![add("part=1/x%3Ay.parquet", 3)])
        .await;
    done = scene.take(25).await.unwrap();
    refuses_elsewhere(&scene, &done, &["x:y.parquet"]).await;
}
