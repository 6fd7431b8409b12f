//! Tables that cannot be taken, or only with care: each refusal says what is wrong and what to do, and harms nothing.

use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, StringArray};
use deltalake::arrow::record_batch::RecordBatch;
use deltalake::parquet::arrow::ArrowWriter;
use deltavault::Error;
use deltavault::ExitCode;
use deltavault::delta::LogError;
use deltavault::delta::commit::VALUE_LIMIT;
use deltavault::ids::Version;
use deltavault::store::local::LocalStore;
use deltavault::store::memory::MemoryStore;
use deltavault::store::{ReadStore, RestoreStore};
use deltavault::vault::snapshot::{SnapshotDone, SnapshotRequest};
use serde_json::json;

use super::support::fault_store::FaultStore;
use super::support::scene::{Scene, assert_says, take_as, take_from};
use super::support::table::Table;
use super::support::world::{files, hours_later, init, request, take};

/// The name of a version's commit.
fn commit(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// What is wrong with the log of the table that was refused.
fn about_log(error: &Error) -> Option<&LogError> {
    let Error::LogUnreadable { source, .. } = error else {
        return None;
    };
    Some(source)
}

/// Puts other bytes where an object is.
async fn rewrite(table: &Table, name: &str, bytes: impl Into<Vec<u8>>) {
    table.remove(name).await;
    table.put(name, bytes.into()).await;
}

#[tokio::test]
async fn a_folder_that_is_no_table_is_refused() {
    let scene = Scene::set().await;
    for name in scene.table.names("_delta_log/").await {
        scene.table.remove(&name).await;
    }
    let error = scene
        .refuses(ExitCode::Failed, &["no Delta log here", "0 files"])
        .await;
    assert!(matches!(error, Error::Log(LogError::NoLog { files: 0 })));
    assert!(error.hint().unwrap().contains("deltavault restore"));
}

#[tokio::test]
async fn a_log_without_commits_is_refused() {
    let scene = Scene::set().await;
    for name in scene.table.names("_delta_log/").await {
        scene.table.remove(&name).await;
    }
    scene
        .table
        .put("_delta_log/00000000000000000002.crc", b"{}".to_vec())
        .await;
    scene
        .table
        .put("_delta_log/_last_checkpoint", br#"{"version":2}"#.to_vec())
        .await;
    scene
        .refuses(ExitCode::Failed, &["no Delta log here", "2 files"])
        .await;
}

#[tokio::test]
async fn a_gap_is_refused_and_the_first_missing_commit_named() {
    let mut scene = Scene::set().await;
    for _ in 0..3 {
        scene.table.append(1, 10).await;
    }
    scene.table.remove(&commit(4)).await;
    let error = scene
        .refuses(
            ExitCode::Failed,
            &["version 5 cannot be rebuilt", "commit 4 is missing"],
        )
        .await;
    assert!(matches!(about_log(&error), Some(LogError::Gap { .. })));

    // Filled again, the same command finishes.
    scene
        .table
        .put(&commit(4), b"{\"commitInfo\":{}}\n".to_vec())
        .await;
    let done = scene.take(25).await.unwrap();
    assert_eq!(done.record.version.0, 5);
}

/// Takes a snapshot of a table whose owner calls `tip` its newest version.
async fn take_tip(scene: &Scene, hours: i64, tip: u64) -> Result<SnapshotDone, Error> {
    let request = SnapshotRequest {
        accept_tip: Some(Version(tip)),
        ..request(scene.live.uri(), hours)
    };
    take_as(&scene.live, &scene.vault, &scene.elsewhere, &request).await
}

#[tokio::test]
async fn a_lone_commit_far_in_the_future_is_asked_about_and_can_be_passed_over() {
    let mut scene = Scene::set().await;
    scene
        .table
        .put(&commit(9_999_999), b"{\"commitInfo\":{}}\n".to_vec())
        .await;
    let lone = &["9999999 stands alone", "before it is 2"];
    let error = scene.refuses(ExitCode::OwnerMustChoose, lone).await;
    let hint = error.hint().unwrap();
    assert!(hint.contains("--accept-tip 2"), "{hint}");
    assert!(!hint.contains("--accept-tip 9999999"), "{hint}");
    let done = take_tip(&scene, 25, 2).await.unwrap();
    assert_eq!(done.record.version, Version(2));

    // What was accepted was one version: the next night asks again.
    scene.table.append(1, 10).await;
    let lone = &["9999999 stands alone", "before it is 3"];
    let error = scene.take(26).await.unwrap_err();
    assert_says(&error, ExitCode::OwnerMustChoose, lone);
    let error = take_tip(&scene, 26, 2).await.unwrap_err();
    assert_says(&error, ExitCode::OwnerMustChoose, lone);
    // Nothing leads up to the lone one, whoever says so.
    let error = take_tip(&scene, 26, 9_999_999).await.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::Failed);
    assert!(matches!(about_log(&error), Some(LogError::Gap { .. })));
    let done = take_tip(&scene, 27, 3).await.unwrap();
    assert_eq!(done.record.version, Version(3));
    scene.table.remove(&commit(9_999_999)).await;
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn a_lone_checkpoint_far_above_leftovers_is_asked_about_and_held() {
    let mut scene = Scene::set().await;
    scene.table.next = 300;
    scene.table.append(2, 10).await;
    scene.table.checkpoint().await;
    let lone = &["300 stands alone", "before it is 2"];
    let error = scene.refuses(ExitCode::OwnerMustChoose, lone).await;
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("--accept-tip 300;") && hint.contains("--accept-tip 2"),
        "{hint}"
    );
    let done = take_tip(&scene, 25, 300).await.unwrap();
    assert_eq!(done.record.version, Version(300));
    scene.is_exact(&done).await;
    // From then on the vault knows it.
    assert_eq!(scene.take(26).await.unwrap().record.version, Version(300));
    scene.table.append(1, 10).await;
    let done = scene.take(27).await.unwrap();
    assert_eq!(done.record.version, Version(301));
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn a_far_version_that_was_accepted_once_can_still_be_passed_over() {
    let mut scene = Scene::set().await;
    scene.table.next = 300;
    scene.table.append(2, 10).await;
    scene.table.checkpoint().await;
    take_tip(&scene, 25, 300).await.unwrap();
    let done = take_tip(&scene, 26, 2).await.unwrap();
    assert_eq!(done.record.version, Version(2));
    assert!(
        done.record.findings[0].contains("rewound"),
        "{:?}",
        done.record.findings
    );
    scene.first_is_safe().await;
    let lone = &["300 stands alone", "before it is 2"];
    let error = scene.take(27).await.unwrap_err();
    assert_says(&error, ExitCode::OwnerMustChoose, lone);

    // Once a commit follows it, it is no longer the owner's to choose, and who still chooses is told so.
    take_tip(&scene, 28, 300).await.unwrap();
    scene.table.append(1, 10).await;
    let done = take_tip(&scene, 29, 2).await.unwrap();
    assert_eq!(done.record.version, Version(301));
    let said = done.record.findings.join("\n");
    assert!(
        said.contains("--accept-tip names version 2, and the newest version is 301"),
        "{said}"
    );
    scene.is_exact(&done).await;
}

#[tokio::test]
async fn hints_name_a_snapshot_only_where_the_vault_holds_one() {
    let mut scene = Scene::set().await;
    scene.table.append(1, 10).await;
    rewrite(&scene.table, &commit(3), "{\"add\":{\"path\":").await;
    let says = &["the log of", "3.json line 1 is not an action"];
    let error = scene.refuses(ExitCode::Failed, says).await;
    let hint = error.hint().unwrap();
    let named = format!("--snapshot {}", scene.first.id.short());
    assert!(
        hint.contains(&named) && hint.contains("version 2"),
        "{hint}"
    );

    let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
    vault.inner().set_now(hours_later(24));
    init(&vault).await;
    let taken = take_from(&scene.live, &vault, &scene.elsewhere, 24).await;
    let hint = taken.unwrap_err().hint().unwrap();
    assert!(hint.contains("holds no snapshot"), "{hint}");
    assert!(!hint.contains("deltavault restore"), "{hint}");

    // The same for files that are gone.
    rewrite(&scene.table, &commit(3), "{\"commitInfo\":{}}\n").await;
    let name = scene.table.live.keys().next().unwrap();
    scene.table.remove(name).await;
    let taken = take_from(&scene.live, &vault, &scene.elsewhere, 24).await;
    let hint = taken.unwrap_err().hint().unwrap();
    assert!(hint.contains("holds no snapshot"), "{hint}");
    assert!(!hint.contains("deltavault restore"), "{hint}");
}

#[tokio::test]
async fn a_torn_checkpoint_is_passed_over_where_there_is_another_way() {
    let mut scene = Scene::set().await;
    scene.table.append(1, 10).await;
    let part = "_delta_log/00000000000000000003.checkpoint.0000000001.0000000002.parquet";
    scene.table.put(part, b"half of it".to_vec()).await;
    let done = scene.take(24).await.unwrap();
    let torn = "checkpoint 3 is torn and not used: 1 of 2 parts are there";
    assert!(
        done.record.findings.iter().any(|finding| finding == torn),
        "{:?}",
        done.record.findings
    );
    scene.is_exact(&done).await;
    scene.first_is_safe().await;

    // Without the commits below it there is no other way; what a base holds does not help a first snapshot.
    let scene = Scene::set().await;
    let part = "_delta_log/00000000000000000001.checkpoint.0000000001.0000000002.parquet";
    scene.table.put(part, b"half of it".to_vec()).await;
    for version in [0, 1] {
        scene.table.remove(&commit(version)).await;
    }
    rewrite(
        &scene.table,
        &commit(2),
        "{\"commitInfo\":{\"operation\":\"other\"}}\n",
    )
    .await;
    let error = scene
        .refuses(
            ExitCode::Failed,
            &["version 2", "1 of 2 parts of checkpoint 1 are there"],
        )
        .await;
    assert!(matches!(
        about_log(&error),
        Some(LogError::TornCheckpoint { .. })
    ));
}

#[tokio::test]
async fn commits_that_cannot_be_read_are_refused_with_file_and_line() {
    let mut scene = Scene::set().await;
    scene.table.append(2, 10).await;
    let whole = scene.table.read(&commit(3)).await;
    assert_eq!(String::from_utf8_lossy(&whole).lines().count(), 3);
    let mut not_utf8 = whole.clone();
    let last = not_utf8.len() - 20;
    not_utf8[last] = 0xff;
    let cases: [(Vec<u8>, &[&str]); 4] = [
        (
            whole[..whole.len() - 30].to_vec(),
            &["3.json line 3 is not an action"],
        ),
        (not_utf8, &["3.json line 3 is not UTF-8"]),
        (b"[]\n".to_vec(), &["3.json line 1 is not an action"]),
        (
            b"{\"add\":{\"path\":\"part=0/x\",\"modificationTime\":1}}\n".to_vec(),
            &["3.json line 1 gives no size for part=0/x"],
        ),
    ];
    for (bytes, says) in cases {
        rewrite(&scene.table, &commit(3), bytes).await;
        scene.refuses(ExitCode::Failed, says).await;
    }
    rewrite(&scene.table, &commit(3), whole).await;
    let done = scene.take(25).await.unwrap();
    scene.is_exact(&done).await;
}

/// The action is as long as makes it be refused and no longer: a longer one is spooled to disk before it is looked
/// at, and read no further than the limit. What it is full of is no text, which is said first.
#[tokio::test]
async fn a_commit_of_one_endless_line_is_refused_without_taking_it_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Arc::new(LocalStore::create(&folder.path().join("vault")).unwrap());
    init(vault.as_ref()).await;
    let path = folder.path().join("orders");
    let store: Arc<dyn RestoreStore> = Arc::new(LocalStore::create(&path).unwrap());
    let mut table = Table::create(store, "orders").await;
    table.append(1, 10).await;
    let first = take(vault.clone(), &path, 0).await.unwrap();
    let before = files(&path);

    let mut file = fs::File::create(path.join(commit(2))).unwrap();
    file.write_all(b"{\"commitInfo\":\"").unwrap();
    file.seek(SeekFrom::Start(VALUE_LIMIT + 2)).unwrap();
    file.write_all(b"\"}\n").unwrap();
    drop(file);
    let error = take(vault.clone(), &path, 24).await.unwrap_err();
    assert_says(
        &error,
        ExitCode::Failed,
        &["2.json line 1 is not an action: control character"],
    );
    fs::remove_file(path.join(commit(2))).unwrap();
    assert_eq!(files(&path), before);
    let again = take(vault, &path, 25).await.unwrap();
    assert_eq!(again.record.previous.unwrap().sha256, first.id.0);
    assert!(again.unchanged);
}

/// A Parquet file with one column that no checkpoint has.
fn foreign_parquet() -> Vec<u8> {
    let column: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let batch = RecordBatch::try_from_iter([("colour", column)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[tokio::test]
async fn a_checkpoint_with_missing_columns_is_passed_over_where_there_is_another_way() {
    let checkpoint = "_delta_log/00000000000000000002.checkpoint.parquet";
    for (bytes, says) in [
        (foreign_parquet(), "checkpoint.parquet has no column"),
        (
            b"PAR1 no it is not PAR1".to_vec(),
            "checkpoint.parquet cannot be read",
        ),
    ] {
        let mut scene = Scene::set().await;
        // Another commit at the base's version, so that the base is not taken.
        rewrite(
            &scene.table,
            &commit(2),
            "{\"commitInfo\":{\"operation\":\"other\"}}\n",
        )
        .await;
        scene.table.put(checkpoint, bytes).await;
        let done = scene.take(24).await.unwrap();
        let findings = &done.record.findings;
        let way = "checkpoint 2 cannot be decoded";
        assert!(
            findings
                .iter()
                .any(|found| found.contains(way) && found.contains(says)),
            "{findings:?}"
        );
        scene.first_is_safe().await;

        scene.table.remove(&commit(0)).await;
        scene.table.append(1, 10).await;
        rewrite(
            &scene.table,
            &commit(2),
            "{\"commitInfo\":{\"operation\":\"third\"}}\n",
        )
        .await;
        scene.refuses(ExitCode::Failed, &[says]).await;
    }
}

#[tokio::test]
async fn an_unknown_reader_feature_is_refused_by_name() {
    let mut scene = Scene::set().await;
    let protocol = json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["adaptiveMetadata", "deletionVectors"], "writerFeatures": ["deletionVectors"]}});
    scene.table.commit("UPGRADE", vec![protocol]).await;
    let error = scene
        .refuses(
            ExitCode::Failed,
            &["unknown reader features: adaptiveMetadata"],
        )
        .await;
    assert!(
        error
            .hint()
            .unwrap()
            .contains("use a version that knows it")
    );

    let mut scene = Scene::set().await;
    let protocol = json!({"protocol": {"minReaderVersion": 4, "minWriterVersion": 7}});
    scene.table.commit("UPGRADE", vec![protocol]).await;
    scene
        .refuses(
            ExitCode::Failed,
            &["reader version 4 is needed, 3 is the newest"],
        )
        .await;
}

#[tokio::test]
async fn a_log_without_protocol_or_metadata_is_refused() {
    for (keep, says) in [
        ("protocol", "no metaData action"),
        ("metaData", "no protocol action"),
    ] {
        let scene = Scene::set().await;
        let head = String::from_utf8(scene.table.read(&commit(0)).await).unwrap();
        let lines: Vec<_> = head.lines().filter(|line| line.contains(keep)).collect();
        rewrite(&scene.table, &commit(0), lines.join("\n")).await;
        rewrite(
            &scene.table,
            &commit(2),
            "{\"commitInfo\":{\"operation\":\"other\"}}\n",
        )
        .await;
        scene.refuses(ExitCode::Failed, &[says, "version 2"]).await;
    }
}
