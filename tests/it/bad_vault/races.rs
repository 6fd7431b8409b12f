//! Several snapshotters at once.

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::store::ReadStore;
use deltavault::store::memory::MemoryStore;
use futures::FutureExt as _;

use crate::support::scene::{LARGE, Scene, assert_says, everything, take_beside};
use crate::support::table::key;

#[tokio::test]
async fn the_second_of_two_snapshotters_yields_to_a_winner_that_is_as_far() {
    let mut scene = Scene::set().await;
    scene.table.append(2, 100).await;
    let (live, vault, elsewhere) = (
        scene.live.clone(),
        scene.vault.clone(),
        scene.elsewhere.clone(),
    );
    let (sender, receiver) = tokio::sync::oneshot::channel();
    scene.vault.before_call(
        1,
        |call| call.method == "put_new" && call.key.starts_with("manifests/"),
        move || {
            async move {
                let won = take_beside(&live, &vault, &elsewhere, 24)
                    .await
                    .unwrap()
                    .unwrap();
                sender.send(won).unwrap();
            }
            .boxed()
        },
    );
    let error = scene.take(24).await.unwrap_err();
    let won = receiver.await.unwrap();
    assert_says(
        &error,
        ExitCode::AnotherWriterWon,
        &["version 3 of lake-orders", &won.id.short()],
    );
    assert!(matches!(&error, Error::AnotherWriterWon { snapshot, .. } if *snapshot == won.id));
    assert_eq!(scene.visible().await, [scene.first.id, won.id]);
    scene.is_exact(&won).await;
    scene.first_is_safe().await;
}

#[tokio::test]
async fn the_second_of_two_snapshotters_adds_a_clean_record_when_it_is_further() {
    let mut scene = Scene::set().await;
    scene.table.append(2, 100).await;
    let (vault, elsewhere) = (scene.vault.clone(), scene.elsewhere.clone());
    // The other one pins version 3 and publishes late; this one pins version 4 and is slow.
    let other = crate::support::fault_store::FaultStore::new(copy_of(scene.live.inner()).await);
    scene.table.append(1, 50).await;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    scene.vault.before_call(
        1,
        |call| call.method == "put_new" && call.key.contains("/ledger/"),
        move || {
            async move {
                let won = take_beside(&other, &vault, &elsewhere, 24)
                    .await
                    .unwrap()
                    .unwrap();
                sender.send(won).unwrap();
            }
            .boxed()
        },
    );
    let done = scene.take(24).await.unwrap();
    let won = receiver.await.unwrap();
    assert_eq!((won.record.version.0, won.record.seq), (3, 2));
    assert_eq!((done.record.version.0, done.record.seq), (4, 3));
    assert_eq!(done.record.previous.unwrap().sha256, won.id.0);
    assert_eq!(
        done.record.change.versions, 1,
        "counted from the record before"
    );
    assert_eq!(scene.visible().await, [scene.first.id, won.id, done.id]);
    assert_eq!(scene.ledger_findings().await, []);
    scene.is_exact(&done).await;
    scene.first_is_safe().await;
}

/// The same objects in another store of the same name.
async fn copy_of(store: &MemoryStore) -> MemoryStore {
    let copy = MemoryStore::new(store.uri());
    for (name, bytes) in everything(store).await {
        copy.plant(&key(&name), bytes);
    }
    copy
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_snapshotters_at_once_publish_whole_records_only() {
    let mut scene = Scene::set().await;
    scene.table.append(4, LARGE).await;
    scene.table.append(20, 100).await;
    let runs: Vec<_> = (0..8)
        .map(|n| take_beside(&scene.live, &scene.vault, &scene.elsewhere, 24 + n))
        .collect();
    let (mut published, mut lost) = (Vec::new(), 0);
    for run in runs {
        match run.await.unwrap() {
            Ok(done) => published.push(done),
            Err(error) => {
                assert_eq!(error.exit_code(), ExitCode::AnotherWriterWon, "{error}");
                lost += 1;
            }
        }
    }
    println!("{} published, {lost} yielded", published.len());
    assert!(!published.is_empty());
    let mut visible = scene.visible().await;
    assert_eq!(visible.remove(0), scene.first.id);
    let mut ids: Vec<_> = published
        .iter()
        .map(|done| (done.record.seq, done.id))
        .collect();
    ids.sort();
    assert_eq!(
        ids.into_iter().map(|(_, id)| id).collect::<Vec<_>>(),
        visible
    );
    assert_eq!(scene.ledger_findings().await, []);
    for done in &published {
        scene.is_exact(done).await;
    }
    scene.first_is_safe().await;
}
