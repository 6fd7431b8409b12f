//! Targets that are not what a restore expects: nothing is made worse, and what is the owner's choice is left to him.

use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::plan::restore::{Mode, Permission, Situation};
use deltavault::store::RestoreStore;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::restore::RestoreRequest;
use futures::FutureExt as _;

use super::support::scene::{LARGE, Scene, assert_holds, assert_says, everything};
use super::support::table::{Table, key};
use super::support::world::restore_request;

fn in_place(scene: &Scene, mode: Mode) -> RestoreRequest {
    restore_request(&scene.first, mode, 1)
}

async fn rewrite(table: &Table, name: &str, bytes: impl Into<Vec<u8>>) {
    table.remove(name).await;
    table.put(name, bytes.into()).await;
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_refused_whatever_is_in_it() {
    for name in [
        "notes.txt",
        "_delta_log/00000000000000000000.json",
        ".hidden",
    ] {
        let scene = Scene::set().await;
        let target = MemoryStore::new("s3://copy/orders");
        target.plant(&key(name), "somebody's");
        let restorer = scene.restorer(Arc::new(target.clone())).await;
        let error = restorer
            .plan(&in_place(&scene, Mode::To))
            .await
            .unwrap_err();
        assert_says(&error, ExitCode::Failed, &["s3://copy/orders is not empty"]);
        assert!(error.hint().unwrap().contains("--to"));
        assert_eq!(everything(&target).await.len(), 1);
    }
}

#[tokio::test]
async fn another_table_in_its_place_is_the_owners_to_choose_about() {
    for mode in [Mode::InPlace, Mode::Heal] {
        let mut scene = Scene::set().await;
        scene.table.drop_all().await;
        let store: Arc<dyn RestoreStore> = Arc::new(scene.live.inner().clone());
        scene.table = Table::create(store, "another").await;
        scene.table.append(2, 300).await;
        let before = scene.source_files().await;
        let request = in_place(&scene, mode);
        let plan = scene.plan(&request).await.unwrap();
        assert_eq!(
            plan.situation,
            Situation::AnotherTable {
                delta_id: "another".to_owned()
            }
        );
        assert_eq!(plan.permission, Permission::OwnerMustChoose);
        assert!(plan.is_empty());
        // Carried out all the same, it does nothing.
        let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
        let error = restorer.execute(&request, plan).await.unwrap_err();
        assert_says(&error, ExitCode::OwnerMustChoose, &["s3://lake/orders"]);
        assert_eq!(scene.source_files().await, before);
        scene.first_is_safe().await;
    }
}

#[tokio::test]
async fn commits_with_other_bytes_are_named_and_left() {
    let mut scene = Scene::set().await;
    let name = "_delta_log/00000000000000000001.json";
    let mut bytes = scene.table.read(name).await;
    bytes.extend_from_slice(b"\n");
    rewrite(&scene.table, name, bytes).await;
    let data = scene.table.live.keys().next().unwrap().clone();
    scene.table.remove(&data).await;
    let before = scene.source_files().await;
    for mode in [Mode::InPlace, Mode::Heal] {
        let request = in_place(&scene, mode);
        let plan = scene.plan(&request).await.unwrap();
        assert_eq!(
            plan.situation,
            Situation::CommitsDiffer {
                files: vec![name.to_owned()]
            }
        );
        assert_eq!(plan.permission, Permission::OwnerMustChoose);
        assert!(plan.is_empty());
        assert_eq!(scene.source_files().await, before);
    }
    scene.table.live.remove(&data);
}

#[tokio::test]
async fn a_newer_live_table_is_told_about_and_only_healed_when_asked() {
    let mut scene = Scene::set().await;
    let lost = scene.table.live.keys().next().unwrap().clone();
    let bytes = scene.table.read(&lost).await;
    scene.table.append(1, 10).await;
    scene.table.update(20).await;
    scene.table.vacuum().await;
    let names = scene.table.names("").await;
    assert!(!names.contains(&lost));
    let before = scene.source_files().await;

    let plan = scene.plan(&in_place(&scene, Mode::InPlace)).await.unwrap();
    assert_eq!(
        plan.situation,
        Situation::NewerLive {
            tip: deltavault::ids::Version(4)
        }
    );
    assert_eq!(plan.permission, Permission::OwnerMustChoose);
    assert_eq!(plan.missing.files, 1);
    let versions: Vec<_> = plan.live.above.iter().map(|lost| lost.version.0).collect();
    assert_eq!(versions, [4, 3]);
    let restorer = scene.restorer(Arc::new(scene.live.clone())).await;
    let request = in_place(&scene, Mode::InPlace);
    let error = restorer.execute(&request, plan).await.unwrap_err();
    assert_says(&error, ExitCode::OwnerMustChoose, &["s3://lake/orders"]);
    assert_eq!(scene.source_files().await, before);

    let done = scene.restore(&in_place(&scene, Mode::Heal)).await.unwrap();
    assert_eq!(done.files_written, 1);
    let mut expected = before;
    expected.insert(lost, bytes);
    assert_holds(&scene.source_files().await, &expected);
}

#[tokio::test]
async fn a_wrong_data_file_is_set_aside_and_replaced() {
    for same_size in [true, false] {
        let scene = Scene::set().await;
        let expected = scene.source_files().await;
        let names: Vec<_> = scene.table.live.keys().cloned().collect();
        for name in &names {
            let size = expected[name].len();
            let wrong = vec![b'w'; if same_size { size } else { size / 2 }];
            rewrite(&scene.table, name, wrong).await;
        }
        let request = in_place(&scene, Mode::InPlace);
        let plan = scene.plan(&request).await.unwrap();
        assert_eq!(plan.wrong.files, names.len() as u64);
        scene.restore(&request).await.unwrap();
        let found = scene.source_files().await;
        for name in &names {
            assert_eq!(found[name], expected[name], "{name}");
            let aside = found.iter().find(|(key, _)| {
                key.starts_with("_deltavault/aside/") && key.ends_with(name.as_str())
            });
            let (_, bytes) = aside.unwrap_or_else(|| panic!("{name} was not set aside"));
            assert!(bytes.iter().all(|byte| *byte == b'w'));
        }
        // Again: nothing left to do.
        assert!(scene.plan(&request).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_file_that_changes_between_plan_and_put_is_not_overwritten() {
    let scene = Scene::set().await;
    let name = scene.table.live.keys().next().unwrap().clone();
    let size = scene.table.read(&name).await.len();
    rewrite(&scene.table, &name, vec![b'w'; size]).await;
    let (table, changed) = (scene.table.clone(), name.clone());
    scene.live.before_call(
        1,
        |call| call.method == "replace",
        move || async move { rewrite(&table, &changed, vec![b'z'; size]).await }.boxed(),
    );
    let error = scene
        .restore(&in_place(&scene, Mode::InPlace))
        .await
        .unwrap_err();
    assert_says(
        &error,
        ExitCode::Failed,
        &["changed since it was looked at"],
    );
    assert_eq!(scene.table.read(&name).await, vec![b'z'; size]);

    // Or appears where nothing was.
    let scene = Scene::set().await;
    scene.table.remove(&name).await;
    let (table, appeared) = (scene.table.clone(), name.clone());
    let gone = name.clone();
    scene.live.before_call(
        1,
        move |call| call.method == "put_new" && call.key == gone,
        move || async move { table.put(&appeared, vec![b'z'; size]).await }.boxed(),
    );
    let error = scene
        .restore(&in_place(&scene, Mode::InPlace))
        .await
        .unwrap_err();
    assert_says(&error, ExitCode::Failed, &["exists already"]);
    assert_eq!(scene.table.read(&name).await, vec![b'z'; size]);
}

#[tokio::test]
async fn rewritten_checkpoints_are_reported_and_left() {
    let mut scene = Scene::set().await;
    scene.table.checkpoint().await;
    scene.table.append(1, LARGE).await;
    let done = scene.take(24).await.unwrap();
    let names = scene.table.names("_delta_log/").await;
    let checkpoint = names
        .iter()
        .find(|name| name.contains(".checkpoint."))
        .unwrap();
    let mut bytes = scene.table.read(checkpoint).await;
    bytes.push(b'\n');
    rewrite(&scene.table, checkpoint, bytes).await;
    let before = scene.source_files().await;
    let request = restore_request(&done, Mode::InPlace, 25);
    let plan = scene.plan(&request).await.unwrap();
    assert_eq!(plan.left, std::slice::from_ref(checkpoint));
    assert!(plan.is_empty());
    scene.restore(&request).await.unwrap();
    assert_holds(&scene.source_files().await, &before);
}
