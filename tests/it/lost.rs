//! Vaults that have lost bytes: a restore goes on with everything else, looks for what is lost wherever it may be, and
//! names what nobody has; and targets from which something takes away what was just put back.

use std::sync::Arc;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::error::RestoreError;
use deltavault::format::Placement;
use deltavault::format::layout::{Area, content_prefix};
use deltavault::ids::{Location, ObjectKey};
use deltavault::plan::restore::Mode;
use deltavault::reader::Verdict;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use deltavault::vault::restore::{Checked, RestoreDone, RestoreRequest, Restorer};
use deltavault::vault::snapshot::SnapshotDone;
use futures::TryStreamExt;

use super::support::scene::{Files, Scene, assert_says, everything, take_as};
use super::support::table::{Table, key};
use super::support::world::{request, restore_request};

/// What a vault can lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// The object is gone.
    Gone,
    /// It has other bytes of the same size.
    Noise,
    /// It ends too early.
    Short,
    /// Some bytes of one file are wrong.
    OneRange,
}

/// A vault that keeps one version of each object, with a table of five files: two large ones, and three in a pack.
async fn scene() -> Scene {
    Scene::set_in(MemoryStore::without_versions("s3://vault")).await
}

/// Where the vault holds the files of a snapshot: name, object, offset in it, size.
async fn places(scene: &Scene, done: &SnapshotDone) -> Vec<(String, ObjectKey, u64, u64)> {
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    let manifest = vault.manifest(&done.record).await.unwrap();
    let pages = [manifest.log_pages, manifest.data_pages].concat();
    let entries: Vec<_> = vault.entries(&pages).try_collect().await.unwrap();
    let rows = entries.iter().filter_map(|entry| {
        let reference = entry.placement.reference()?;
        let offset = match &entry.placement {
            Placement::Blob { offset, .. } => offset.unwrap_or_default(),
            Placement::Absent {} | Placement::Copy { .. } | Placement::Inline(_) => 0,
        };
        Some((
            entry.file.to_string(),
            reference.key.clone(),
            offset,
            entry.size,
        ))
    });
    rows.collect()
}

/// Harms the object that holds a file; returns the files that are lost by it.
async fn lose(scene: &Scene, done: &SnapshotDone, packed: bool, loss: Loss) -> Vec<String> {
    let places = places(scene, done).await;
    let of = |object: &ObjectKey| places.iter().filter(|place| place.1 == *object).count();
    let place = places
        .iter()
        .filter(|place| place.0.starts_with("part"))
        .find(|place| (of(&place.1) > 1) == packed)
        .unwrap();
    let (name, object, offset, size) = place.clone();
    let store = scene.vault.inner();
    let vault = Table::open(Arc::new(store.clone()));
    let mut bytes = vault.read(object.as_str()).await;
    let all = places.iter().filter(|place| place.1 == object);
    let all: Vec<String> = all.map(|place| place.0.clone()).collect();
    match loss {
        Loss::Gone => {
            vault.remove(object.as_str()).await;
            return all;
        }
        Loss::Noise => bytes.iter_mut().for_each(|byte| *byte = !*byte),
        Loss::Short => bytes.truncate(1),
        Loss::OneRange => {
            let at = usize::try_from(offset + size / 2).unwrap();
            bytes[at] ^= 1;
            store.plant(&object, bytes);
            return vec![name];
        }
    }
    store.plant(&object, bytes);
    all
}

fn accepting(request: RestoreRequest) -> RestoreRequest {
    RestoreRequest {
        accept_damaged: true,
        ..request
    }
}

/// Where a restore puts the table.
fn target_of(scene: &Scene, mode: Mode) -> MemoryStore {
    match mode {
        Mode::To => MemoryStore::new("s3://copy/orders"),
        Mode::InPlace | Mode::Heal | Mode::Rewind | Mode::Replace | Mode::Undo => {
            scene.live.inner().clone()
        }
    }
}

/// Plans, carries out and looks at what is there.
async fn restore(
    restorer: &Restorer,
    request: &RestoreRequest,
) -> Result<(RestoreDone, Checked), Error> {
    let plan = restorer.plan(request).await?;
    let expected = plan.expected.clone();
    let done = restorer.execute(request, plan).await?;
    let checked = restorer.check(request, &expected.after(&done)).await?;
    Ok((done, checked))
}

fn names(lost: &[Location]) -> Vec<String> {
    let mut names: Vec<String> = lost.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

#[tokio::test]
async fn everything_but_what_is_lost_comes_back_when_the_owner_says_so() {
    for (packed, loss) in [
        (false, Loss::Gone),
        (false, Loss::Noise),
        (false, Loss::Short),
        (false, Loss::OneRange),
        (true, Loss::Gone),
        (true, Loss::Noise),
        (true, Loss::Short),
        (true, Loss::OneRange),
    ] {
        for mode in [Mode::To, Mode::InPlace] {
            let scene = scene().await;
            let whole = scene.source_files().await;
            let mut lost = lose(&scene, &scene.first, packed, loss).await;
            lost.sort();
            scene.table.drop_all().await;
            let target = target_of(&scene, mode);
            let restorer = scene.restorer(Arc::new(target.clone())).await;
            let request = restore_request(&scene.first, mode, 1);

            let error = restore(&restorer, &request).await.unwrap_err();
            let good = format!(
                "{} of {} files are good",
                whole.len() - lost.len(),
                whole.len()
            );
            assert_says(&error, ExitCode::Damage, &[&good, &lost[0], "blobs/"]);
            assert!(error.hint().unwrap().contains("--accept-damaged"));
            let Error::Restore(RestoreError::FilesLost { lost: told, .. }) = error else {
                panic!("{error:?}");
            };
            assert_eq!(names(&told), lost, "{packed} {loss:?}");
            // What is good is there already, and no reader sees a table that is not whole.
            let between = everything(&target).await;
            assert!(!between.keys().any(|name| name.starts_with("_delta_log/")));
            let data = whole.keys().filter(|name| name.starts_with("part"));
            assert_eq!(
                between
                    .keys()
                    .filter(|name| name.starts_with("part"))
                    .count(),
                data.count() - lost.len()
            );

            let (done, checked) = restore(&restorer, &accepting(request)).await.unwrap();
            assert_eq!(names(&done.lost), lost, "{packed} {loss:?}");
            let mut expected: Files = whole.clone();
            expected.retain(|name, _| !lost.contains(name));
            let mut after = everything(&target).await;
            after.retain(|name, _| !name.starts_with("_deltavault/"));
            assert_eq!(after, expected, "{packed} {loss:?}");
            assert!(checked.vanished.is_empty());
            assert!(matches!(checked.verdict, Verdict::Opens { .. }));
            assert_eq!(checked.list.unwrap().absent.count, lost.len() as u64);
        }
    }
}

#[tokio::test]
async fn a_table_that_somebody_makes_while_data_is_put_back_is_left_alone() {
    for mode in [Mode::InPlace, Mode::To] {
        let scene = scene().await;
        scene.table.drop_all().await;
        let target = target_of(&scene, mode);
        let restorer = scene.restorer(Arc::new(target.clone())).await;
        let request = restore_request(&scene.first, mode, 1);
        let plan = restorer.plan(&request).await.unwrap();
        let mut theirs = Table::create(Arc::new(target.clone()), "another").await;
        theirs.append(1, 10).await;
        let log = async || {
            let mut files = everything(&target).await;
            files.retain(|name, _| name.starts_with("_delta_log/"));
            files
        };
        let before = log().await;
        let error = restorer.execute(&request, plan).await.unwrap_err();
        let says = ["somebody made a table", "00000000000000000000.json"];
        assert_says(&error, ExitCode::OwnerMustChoose, &says);
        assert_eq!(log().await, before);
    }
}

#[tokio::test]
async fn the_bytes_of_a_lost_file_are_taken_from_another_snapshot() {
    for (packed, loss) in [
        (false, Loss::Gone),
        (true, Loss::OneRange),
        (true, Loss::Short),
        (false, Loss::Noise),
    ] {
        let mut scene = scene().await;
        let whole = scene.source_files().await;
        scene.table.append(1, 10).await;
        // A snapshot that builds on nothing holds everything once more, in packs of its own.
        let mut again = request("s3://lake/orders", 24);
        again.distrust = vec![scene.first.id];
        take_as(&scene.live, &scene.vault, &scene.elsewhere, &again)
            .await
            .unwrap();
        let lost = lose(&scene, &scene.first, packed, loss).await;
        scene.table.drop_all().await;
        let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
        let request = restore_request(&scene.first, Mode::InPlace, 25);
        let (done, checked) = restore(&restorer, &request).await.unwrap();
        assert_eq!(done.lost, []);
        // A file that is an object of its own is found under its name at once.
        let rescued = if packed { lost.len() as u64 } else { 0 };
        assert_eq!(done.files_rescued, rescued, "{packed} {loss:?}");
        assert!(checked.is_good(), "{checked:?}");
        assert_eq!(scene.source_files().await, whole);
    }
}

#[tokio::test]
async fn the_bytes_of_a_lost_file_are_taken_from_an_older_version_at_the_source() {
    for (packed, loss) in [
        (false, Loss::Gone),
        (true, Loss::OneRange),
        (true, Loss::Gone),
    ] {
        // The table's bucket keeps versions: what is deleted there is still to be had.
        let scene = Scene::set_of(
            MemoryStore::new("s3://lake/orders"),
            MemoryStore::without_versions("s3://vault"),
            MemoryStore::new("s3://elsewhere"),
        )
        .await;
        let whole = scene.source_files().await;
        let lost = lose(&scene, &scene.first, packed, loss).await;
        for name in scene.table.names("").await {
            // Newer versions with other bytes lie on top.
            if name.starts_with("part") {
                let size = whole[&name].len();
                scene.live.inner().plant(&key(&name), vec![b'?'; size]);
            }
            scene.live.inner().delete_marker(&key(&name));
        }
        let target = MemoryStore::new("s3://copy/orders");
        let mut restorer = scene.restorer(Arc::new(target.clone())).await;
        restorer.origin = Some(Arc::new(scene.live.clone()));
        let request = restore_request(&scene.first, Mode::To, 1);
        let (done, checked) = restore(&restorer, &request).await.unwrap();
        assert_eq!(done.lost, []);
        assert_eq!(done.files_rescued, lost.len() as u64);
        assert!(checked.is_good(), "{checked:?}");
        assert_eq!(everything(&target).await, whole);

        // Without a place to look at, it is lost.
        let target = MemoryStore::new("s3://copy/orders");
        let mut restorer = scene.restorer(Arc::new(target.clone())).await;
        restorer.origin = None;
        restore(&restorer, &request).await.unwrap_err();
    }
}

#[tokio::test]
async fn a_file_under_its_own_name_in_the_vault_serves_for_a_damaged_pack() {
    let scene = scene().await;
    let whole = scene.source_files().await;
    let lost = lose(&scene, &scene.first, true, Loss::OneRange).await;
    let bytes = whole[&lost[0]].clone();
    let prefix = content_prefix(Area::Blobs, deltavault::ids::Digest::of(&bytes));
    scene
        .vault
        .inner()
        .plant(&format!("{prefix}.repaired").parse().unwrap(), bytes);
    scene.table.drop_all().await;
    let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
    let request = restore_request(&scene.first, Mode::InPlace, 1);
    let (done, _) = restore(&restorer, &request).await.unwrap();
    assert_eq!((done.lost.len(), done.files_rescued), (0, 0));
    assert_eq!(scene.source_files().await, whole);
}

#[tokio::test]
async fn a_lost_log_file_stops_the_log_and_a_hint_does_not_name_a_lost_checkpoint() {
    let mut scene = scene().await;
    // Large enough not to stand in a page.
    scene.table.append(600, 1).await;
    scene
        .table
        .checkpoint_as(super::support::table::CheckpointForm::Json)
        .await;
    let done = scene.take(24).await.unwrap();
    let places = places(&scene, &done).await;
    for part in [".checkpoint.", "003.json"] {
        let place = places.iter().find(|place| place.0.contains(part)).unwrap();
        let vault = Table::open(Arc::new(scene.vault.inner().clone()));
        let bytes = vault.read(place.1.as_str()).await;
        vault.remove(place.1.as_str()).await;
        let target = MemoryStore::new("s3://copy/orders");
        let mut restorer = scene.restorer(Arc::new(target.clone())).await;
        restorer.origin = None;
        let request = restore_request(&done, Mode::To, 25);
        let error = restore(&restorer, &request).await.unwrap_err();
        assert_says(&error, ExitCode::Damage, &[&place.0]);

        let (done, checked) = restore(&restorer, &accepting(request)).await.unwrap();
        assert_eq!(names(&done.lost), std::slice::from_ref(&place.0));
        // Either way to the version is enough.
        assert!(
            matches!(checked.verdict, Verdict::Opens { .. }),
            "{part}: {checked:?}"
        );
        assert!(checked.vanished.is_empty(), "{part}: {checked:?}");
        scene.vault.inner().plant(&place.1, bytes);
    }
}

#[tokio::test]
async fn what_vanishes_after_it_was_put_back_is_counted_and_named() {
    for gone in ["part", "_delta_log/"] {
        let scene = scene().await;
        scene.table.drop_all().await;
        let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
        let request = restore_request(&scene.first, Mode::InPlace, 1);
        let plan = restorer.plan(&request).await.unwrap();
        let expected = plan.expected.clone();
        restorer.execute(&request, plan).await.unwrap();
        let good = restorer.check(&request, &expected).await.unwrap();
        assert!(good.is_good(), "{good:?}");
        // Somebody is not done with deleting.
        let names = scene.table.names(gone).await;
        for name in names.iter().take(2) {
            scene.table.remove(name).await;
        }
        let checked = restorer.check(&request, &expected).await.unwrap();
        assert_eq!(checked.vanished.count, 2, "{gone}");
        assert_eq!(checked.vanished.first.as_deref(), Some(names[0].as_str()));
        assert!(!checked.is_good());
    }
    // Found by the listing after the last put, not by one before.
    let scene = scene().await;
    scene.table.drop_all().await;
    let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
    let first = scene.table.live.keys().next().unwrap().clone();
    let (table, name) = (scene.table.clone(), first.clone());
    scene.live.before_call(
        1,
        |call| call.method == "put_new" && call.key.ends_with("0002.json"),
        move || Box::pin(async move { table.remove(&name).await }),
    );
    let request = restore_request(&scene.first, Mode::InPlace, 1);
    let (_, checked) = restore(&restorer, &request).await.unwrap();
    assert_eq!(checked.vanished.first, Some(first));
    assert_eq!(checked.list.unwrap().absent.count, 1);
}

#[tokio::test]
async fn a_reader_that_shows_other_files_than_the_snapshot_is_contradicted() {
    let mut scene = scene().await;
    scene.table.delete_rows_inline(1).await;
    let done = scene.take(24).await.unwrap();
    let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
    let request = restore_request(&done, Mode::InPlace, 25);
    let plan = restorer.plan(&request).await.unwrap();
    let good = restorer.check(&request, &plan.expected).await.unwrap();
    assert!(good.is_good(), "{good:?}");
    // A checkpoint of the version that lacks two files and knows a dead one.
    let lost: Vec<String> = scene.table.live.keys().take(2).cloned().collect();
    let lacking: Vec<&str> = lost.iter().map(String::as_str).collect();
    let dead = serde_json::json!({"path": "part=9/dead.parquet", "size": 1, "partitionValues": {},
        "modificationTime": 1, "dataChange": true});
    scene.table.live.insert("part=9/dead.parquet".into(), dead);
    let bytes = scene.table.classic_again(&lacking);
    let name = format!("_delta_log/{:020}.checkpoint.parquet", 3);
    scene.table.put(&name, bytes).await;
    let checked = restorer.check(&request, &plan.expected).await.unwrap();
    let differs = checked.list.clone().unwrap();
    assert_eq!((differs.shown, differs.live), (4, 5));
    assert_eq!((differs.lacks.count, differs.adds.count), (2, 1));
    assert_eq!(differs.lacks.first.as_deref(), Some(lacking[0]));
    assert_eq!(differs.adds.first.as_deref(), Some("part=9/dead.parquet"));
    assert!(!checked.is_good());
}
