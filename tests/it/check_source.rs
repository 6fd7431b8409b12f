//! `--check-source`: one listing of the whole table names what it needs and has lost, whatever the log says.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use deltavault::Error;
use deltavault::source::{OpenOutside, Source};
use deltavault::store::memory::MemoryStore;
use deltavault::store::{Payload, ReadStore, StoreError, StoreErrorKind, WriteStore as _};
use deltavault::vault::snapshot::{SnapshotDone, SourceCheck};
use serde_json::{Value, json};

use super::support::scene::{LARGE, Scene};
use super::support::table::key;
use super::support::world::{copy_folder, files, snapshotter};

fn add(path: &str, size: usize) -> Value {
    json!({"add": {"path": path, "partitionValues": {}, "size": size, "modificationTime": 1_760_000_000_000_u64,
        "dataChange": true}})
}

/// Looks at the source with `outside` for files that the log names elsewhere.
async fn check_with(
    scene: &Scene,
    done: &SnapshotDone,
    outside: OpenOutside,
) -> Result<SourceCheck, Error> {
    let source = Source::new(Arc::new(scene.live.clone()), outside);
    let vault = Arc::new(scene.vault.clone());
    snapshotter(vault)
        .await?
        .check_live_files(&source, done)
        .await
}

async fn check(scene: &Scene, done: &SnapshotDone) -> SourceCheck {
    let elsewhere = scene.elsewhere.clone();
    let outside: OpenOutside = Arc::new(move |uri| {
        let name = uri.strip_prefix("s3://elsewhere/").unwrap();
        let store: Arc<dyn ReadStore> = Arc::new(elsewhere.clone());
        Ok((store, key(name)))
    });
    check_with(scene, done, outside).await.unwrap()
}

/// Asserts that a check found one thing wrong and says all of `says`.
fn assert_one(found: &SourceCheck, says: &[&str]) {
    assert_eq!(found.findings.len(), 1, "{found:?}");
    for word in says {
        let text = &found.findings[0];
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
}

fn first_file(scene: &Scene) -> String {
    scene.table.live.keys().next().unwrap().clone()
}

#[tokio::test]
async fn a_whole_table_costs_one_listing_and_nothing_is_found() {
    let mut scene = Scene::set().await;
    scene.table.delete_rows(2).await;
    scene.table.checkpoint().await;
    let done = scene.take(24).await.unwrap();
    scene.live.revive();
    let found = check(&scene, &done).await;
    // Five data files and one of deletion vectors.
    let whole = SourceCheck {
        files: 6,
        faults: 0,
        lost: 0,
        findings: Vec::new(),
    };
    assert_eq!(found, whole);
    let calls = scene.live.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!((calls[0].method, calls[0].key.as_str()), ("list", ""));
}

#[tokio::test]
async fn a_file_that_is_gone_from_an_unchanged_table_is_named() {
    let scene = Scene::set().await;
    let gone = first_file(&scene);
    scene.table.remove(&gone).await;
    let done = scene.take(24).await.unwrap();
    assert!(done.unchanged);
    assert!(done.record.findings.is_empty(), "{:?}", done.record);
    let found = check(&scene, &done).await;
    assert_eq!((found.files, found.faults), (5, 1));
    let id = done.id.short();
    let diff = format!("`deltavault diff {id} live`");
    let restore = format!("restore {} --snapshot {id}`", done.record.table.name);
    let says = [
        "1 of the 5 files",
        "version 2",
        "are gone",
        &gone,
        &diff,
        &restore,
    ];
    assert_one(&found, &says);
}

#[tokio::test]
async fn a_file_that_is_gone_from_the_vault_too_is_no_longer_called_held() {
    let scene = Scene::set_in(MemoryStore::without_versions("s3://vault")).await;
    let gone: Vec<_> = scene.table.live.keys().cloned().collect();
    for file in &gone {
        scene.table.remove(file).await;
    }
    // One of two large files: each is alone in its object.
    let entries = scene.entries(&scene.first).await;
    let large = entries.iter().find(|entry| entry.size == LARGE as u64);
    let (file, object) = large
        .map(|entry| (entry.file.to_string(), entry.placement.reference().unwrap()))
        .unwrap();
    scene.vault.inner().delete_marker(&object.key);

    let done = scene.take(24).await.unwrap();
    let found = check(&scene, &done).await;
    assert_eq!((found.files, found.faults, found.lost), (5, 5, 1));
    let lost = &found.findings[1];
    for word in [&*file, object.key.as_str(), "verify", "--repair"] {
        assert!(lost.contains(word), "{lost:?} does not say {word:?}");
    }
}

#[tokio::test]
async fn files_that_are_gone_from_a_changed_table_are_named_and_it_is_held_all_the_same() {
    let mut scene = Scene::set().await;
    let gone = first_file(&scene);
    scene.table.remove(&gone).await;
    scene.table.append(2, 100).await;
    let done = scene.take(24).await.unwrap();
    assert!(!done.unchanged);
    let found = check(&scene, &done).await;
    assert_eq!((found.files, found.faults), (7, 1));
    assert_one(&found, &["1 of the 7 files", "version 3", &gone]);
    assert!(scene.visible().await.contains(&done.id));
    assert!(scene.contents(&done).await.unwrap().contains_key(&gone));
}

#[tokio::test]
async fn all_are_counted_and_the_first_ten_named() {
    let mut scene = Scene::set().await;
    scene.table.append(30, 10).await;
    let done = scene.take(24).await.unwrap();
    let names: Vec<_> = scene.table.live.keys().cloned().collect();
    for name in &names[..25] {
        scene.table.remove(name).await;
    }
    let found = check(&scene, &done).await;
    assert_eq!((found.files, found.faults), (35, 25));
    let listed = format!("{} and 15 more;", names[..10].join(", "));
    assert_one(&found, &["25 of the 35 files", &listed]);
    // Nothing left at all.
    scene.table.drop_all().await;
    assert_one(&check(&scene, &done).await, &["35 of the 35 files"]);
}

#[tokio::test]
async fn keys_are_compared_as_they_are_whatever_the_log_makes_of_them() {
    // As the log spells it, and as it is at the source; before and after every plain name.
    let odd = [
        ("a%20b.parquet", "a b.parquet"),
        (
            "day=2026-11-21%2003%253A00/%C3%BC.parquet",
            "day=2026-11-21 03%3A00/ü.parquet",
        ),
        ("day=a+b&c/%25.parquet", "day=a+b&c/%.parquet"),
        ("%21%21/x'y%22.parquet", "!!/x'y\".parquet"),
        ("\u{6f22}/\u{1f600}.parquet", "漢/😀.parquet"),
        (
            "zz~/_delta_log/not-a-log.parquet",
            "zz~/_delta_log/not-a-log.parquet",
        ),
    ];
    let mut scene = Scene::set().await;
    let mut adds = Vec::new();
    for (spelled, name) in odd {
        scene.table.put(name, b"odd".to_vec()).await;
        adds.push(add(spelled, 3));
    }
    scene.table.commit("WRITE", adds).await;
    let done = scene.take(24).await.unwrap();
    assert_eq!(check(&scene, &done).await.findings, Vec::<String>::new());
    for (_, name) in odd {
        scene.table.remove(name).await;
        let found = check(&scene, &done).await;
        assert_one(&found, &["1 of the 11 files", &format!(": {name};")]);
        scene.table.put(name, b"odd".to_vec()).await;
    }
}

#[tokio::test]
async fn a_file_with_another_size_is_named_with_both() {
    let scene = Scene::set().await;
    let name = scene.table.live.keys().next_back().unwrap().clone();
    let held = scene.table.live[&name]["size"].as_u64().unwrap();
    for size in [held - 1, held + 1, 0] {
        scene
            .table
            .overwrite(&name, vec![b'x'; usize::try_from(size).unwrap()])
            .await;
        let found = check(&scene, &scene.first).await;
        assert_eq!((found.files, found.faults), (5, 1));
        let sizes = format!("{name} ({size} bytes instead of {held})");
        assert_one(&found, &["1 of the 5 files", "another size", &sizes]);
    }
}

#[tokio::test]
async fn a_file_that_was_written_again_with_its_size_is_named() {
    let scene = Scene::set().await;
    let name = first_file(&scene);
    let size = scene.table.read(&name).await.len();
    scene.table.overwrite(&name, vec![b'!'; size]).await;
    let done = scene.take(24).await.unwrap();
    assert!(done.unchanged);
    let found = check(&scene, &done).await;
    assert_eq!((found.files, found.faults), (5, 1));
    let distrust = format!("--distrust {}`", done.id.short());
    let says = ["1 of the 5 files", "written again", &name, &distrust];
    assert_one(&found, &says);
}

#[tokio::test]
async fn deletion_vectors_of_the_version_count_and_what_only_older_versions_need_does_not() {
    let mut scene = Scene::set().await;
    scene.table.delete_rows(2).await;
    scene.table.append_with_change_data(1, 50).await;
    let before = scene.table.live.clone();
    let mut history = super::support::world::request("s3://lake/orders", 24);
    history.scope = deltavault::format::Scope::History;
    scene.table.delete(1).await;
    scene.table.delete_rows(2).await;
    let done =
        super::support::scene::take_as(&scene.live, &scene.vault, &scene.elsewhere, &history)
            .await
            .unwrap();
    let whole = check(&scene, &done).await;
    assert_eq!((whole.files, whole.faults), (6, 0), "{whole:?}");
    // VACUUM takes what only older versions and the change feed need.
    assert!(scene.table.vacuum().await >= 3);
    assert_eq!(check(&scene, &done).await, whole);
    let vectors: Vec<_> = scene.table.names("deletion_vector_").await;
    for name in &vectors {
        scene.table.remove(name).await;
    }
    let found = check(&scene, &done).await;
    assert_eq!(found.faults, vectors.len() as u64);
    assert_one(&found, &[vectors[0].as_str()]);
    assert!(before.len() > scene.table.live.len());
}

#[tokio::test]
async fn files_outside_the_folder_are_asked_for_one_by_one() {
    let mut scene = Scene::set().await;
    let name = key("shared/a b.parquet");
    let uri = "s3://elsewhere/shared/a b.parquet";
    let payload = Payload::from_bytes("far");
    let put = scene.elsewhere.put_new(&name, &payload, None);
    put.await.unwrap();
    let adds = vec![add("s3a://elsewhere/shared/a%20b.parquet", 3)];
    scene.table.commit("CLONE", adds).await;
    let done = scene.take(24).await.unwrap();
    let found = check(&scene, &done).await;
    assert_eq!((found.files, found.faults), (6, 0), "{found:?}");

    let kind = || StoreErrorKind::Denied {
        detail: "by a policy".to_owned(),
    };
    let outside: OpenOutside = Arc::new(move |uri| {
        Err(StoreError {
            action: "look at",
            uri: uri.to_owned(),
            kind: kind(),
        })
    });
    let found = check_with(&scene, &done, outside).await.unwrap();
    assert_eq!(found.faults, 1);
    assert_one(&found, &["could not be looked at", uri, "by a policy"]);

    assert!(scene.elsewhere.delete_marker(&name).is_some());
    let found = check(&scene, &done).await;
    assert_one(&found, &["1 of the 6 files", "gone", uri]);
}

#[tokio::test]
async fn a_version_that_was_committed_meanwhile_is_named() {
    let mut scene = Scene::set().await;
    let done = scene.take(24).await.unwrap();
    let gone = first_file(&scene);
    scene.table.delete(1).await;
    assert_eq!(check(&scene, &done).await.findings, Vec::<String>::new());
    scene.table.remove(&gone).await;
    let found = check(&scene, &done).await;
    assert_one(&found, &[&gone, "version 3 was committed meanwhile"]);
}

#[tokio::test]
async fn a_source_that_cannot_be_listed_is_an_error() {
    let scene = Scene::set().await;
    scene
        .live
        .deny(|call| call.method == "list" && call.key.is_empty());
    let outside: OpenOutside = Arc::new(|_| unreachable!());
    let failed = check_with(&scene, &scene.first, outside).await;
    assert!(matches!(failed, Err(Error::Store(_))), "{failed:?}");
}

/// The command, in a folder with the small tables of the transcripts: how it ended, and what it printed.
fn run(folder: &Path, words: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "vault"])
        .args(words)
        .current_dir(folder)
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), format!("{text}{talk}"))
}

#[test]
fn the_command_ends_with_3_when_a_file_is_gone_and_publishes_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let orders = folder.path().join("lake/orders");
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshot.in/lake/orders");
    copy_folder(&small, &orders);
    assert_eq!(run(folder.path(), &["init"]).0, 0);
    let check = ["snapshot", "lake/orders", "--check-source"];
    let (code, text) = run(folder.path(), &check);
    assert_eq!(code, 0, "{text}");
    assert!(
        text.contains("the source has all 1 files that v0 needs"),
        "{text}"
    );

    let data = files(&orders)
        .into_keys()
        .find(|name| !name.starts_with("_delta_log"));
    let data = data.unwrap();
    std::fs::remove_file(orders.join(&data)).unwrap();
    let (code, text) = run(folder.path(), &["snapshot", "lake/orders"]);
    assert_eq!(code, 0, "an ordinary run does not look: {text}");
    let (code, text) = run(folder.path(), &check);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("(#3)") && text.contains(&data), "{text}");
    let (code, text) = run(folder.path(), &[&check[..], &["--json"]].concat());
    assert_eq!(code, 3, "{text}");
    let row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&row["source_files"], &row["source_faults"]),
        (&json!(1), &json!(1))
    );
    assert!(
        row["findings"][0].as_str().unwrap().contains(&data),
        "{row}"
    );
    // Damage to the vault weighs more than a table that lacks files.
    std::fs::remove_dir_all(folder.path().join("vault/blobs")).unwrap();
    let (code, text) = run(folder.path(), &[&check[..], &["--json"]].concat());
    assert_eq!(code, 12, "{text}");
    let row: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(row["source_lost"], 1);
    // A plan looks at nothing.
    let (code, text) = run(folder.path(), &[&check[..], &["--dry-run"]].concat());
    assert_eq!(code, 2, "{text}");
}
