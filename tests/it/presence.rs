//! A night on which nothing changed still looks whether the vault has what it names: the manifest every night, and one
//! page or one object in turn.

use std::collections::BTreeSet;
use std::sync::Arc;

use deltavault::ExitCode;
use deltavault::format::{Entry, Placement, Scope, VaultKey};
use deltavault::ids::ObjectKey;
use deltavault::plan::verify::Severity;
use deltavault::store::{ReadStore, memory::MemoryStore};
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;

use crate::support::fault_store::Call;
use crate::support::repairs;
use crate::support::scene::{Scene, Store, assert_says, take_as, take_from};
use crate::support::table::CheckpointForm;
use crate::support::verified::{ALL, verify};
use crate::support::world::{hours_later, request, snapshotter, source};

/// Nights within which everything of the scene has had its turn: half of them are for objects, and half of those for
/// the page that has three of them.
const NIGHTS: i64 = 60;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Harm {
    Gone,
    Short,
}

fn harm(store: &Store, key: &ObjectKey, how: Harm) {
    match how {
        Harm::Gone => drop(store.inner().delete_marker(key)),
        Harm::Short => store.inner().truncate(key, None, 9).unwrap(),
    }
}

async fn scene() -> Scene {
    let scene = Scene::set_in(MemoryStore::without_versions("s3://vault")).await;
    assert!(scene.take(1).await.unwrap().unchanged);
    scene
}

/// The objects that the first snapshot needs: pages, and what holds files.
async fn parts(scene: &Scene) -> (Vec<ObjectKey>, Vec<ObjectKey>) {
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    let manifest = vault.manifest(&scene.first.record).await.unwrap();
    let pages = manifest.log_pages.iter().chain(&manifest.data_pages);
    let pages: Vec<_> = pages.map(|page| page.page.key.clone()).collect();
    let mut objects = BTreeSet::new();
    for entry in scene.entries(&scene.first).await {
        if let Placement::Blob { reference, .. } | Placement::Copy { reference } = entry.placement {
            objects.insert(reference.key);
        }
    }
    assert_eq!((pages.len(), objects.len()), (2, 3));
    (pages, objects.into_iter().collect())
}

/// Takes snapshots night after night until one of them is not "nothing changed"; how many that took.
async fn nights_until_seen(scene: &Scene) -> (i64, SnapshotDone) {
    for night in 1..=NIGHTS {
        let done = scene.take(1 + night).await.unwrap();
        if !done.unchanged {
            return (night, done);
        }
        assert_eq!(done.record.findings, [""; 0]);
    }
    panic!("not seen within {NIGHTS} nights");
}

/// Proves that a snapshot is whole by itself, and that later nights say nothing more.
async fn is_whole(scene: &Scene, done: &SnapshotDone, case: &str) {
    scene.is_exact(done).await;
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    let found = verify(&vault, ALL).await;
    let hurts = |severity| {
        let findings = found.findings.iter();
        let mut findings = findings.filter(move |it| it.severity >= severity);
        findings.any(|it| it.snapshots.contains(&done.id))
    };
    assert!(!hurts(Severity::Warning), "{case}: {found:#?}");
    for night in 1..=12 {
        let next = scene.take(2 + NIGHTS + night).await.unwrap();
        assert!(next.unchanged, "{case}");
        assert_eq!(next.record.findings, [""; 0], "{case}");
        assert_eq!(next.record.manifest, done.record.manifest, "{case}");
    }
}

fn says_how(done: &SnapshotDone, what: &str, case: &str) {
    let findings = &done.record.findings;
    let about = findings.iter().find(|it| it.contains(what));
    let about = about.unwrap_or_else(|| panic!("{case}: {findings:?}"));
    let repair = "`deltavault verify lake-orders --repair`";
    assert!(about.contains(repair), "{case}: {about}");
}

#[tokio::test]
async fn lost_manifest_is_seen_on_the_next_night() {
    for how in [Harm::Gone, Harm::Short] {
        let scene = scene().await;
        harm(&scene.vault, &scene.first.record.manifest.key, how);
        let case = format!("{how:?}");
        let (night, done) = nights_until_seen(&scene).await;
        assert_eq!(night, 1, "{case}");
        says_how(&done, "no longer has the manifest of snapshot", &case);
        // Both records name the one that is lost: it is said once.
        let told = done.record.findings.iter();
        assert_eq!(
            told.filter(|it| it.contains("--repair")).count(),
            1,
            "{case}"
        );
        is_whole(&scene, &done, &case).await;
    }
}

#[tokio::test]
async fn a_record_that_is_gone_is_seen_whether_the_table_changed_or_not() {
    for changes in [false, true] {
        let mut scene = scene().await;
        for night in 2..=3 {
            scene.table.append(1, 30).await;
            scene.take(night).await.unwrap();
        }
        let table = request(scene.live.uri(), 0).key;
        let second = VaultKey::Record { table, seq: 2 };
        harm(
            &scene.vault,
            &second.to_string().parse().unwrap(),
            Harm::Gone,
        );
        if changes {
            scene.table.append(1, 30).await;
        }
        let done = scene.take(4).await.unwrap();
        let findings = &done.record.findings;
        let says = "the vault may hide snapshots of this table: slot 2 is empty";
        assert!(
            findings.iter().any(|it| it.starts_with(says)),
            "{findings:?}"
        );
        scene.is_exact(&done).await;
    }
}

#[tokio::test]
async fn lost_page_is_seen_when_it_is_its_turn() {
    for at in 0..2 {
        for how in [Harm::Gone, Harm::Short] {
            let scene = scene().await;
            let page = parts(&scene).await.0.remove(at);
            harm(&scene.vault, &page, how);
            let case = format!("page {at} {how:?}");
            let (night, done) = nights_until_seen(&scene).await;
            assert!(night <= 12, "{case}: {night}");
            says_how(&done, "or a page of it", &case);
            is_whole(&scene, &done, &case).await;
        }
    }
}

#[tokio::test]
async fn lost_object_is_seen_when_it_is_its_turn_and_only_its_files_are_copied_again() {
    for scope in [Scope::Live, Scope::History] {
        for at in 0..3 {
            for how in [Harm::Gone, Harm::Short] {
                let scene = scene().await;
                let object = parts(&scene).await.1.remove(at);
                let case = format!("{object} {how:?} {scope:?}");
                let mut seen = None;
                // A change of scope is a change.
                let mut asked = request(scene.live.uri(), 2);
                asked.scope = scope;
                let take = take_as(&scene.live, &scene.vault, &scene.elsewhere, &asked);
                let then = take.await.unwrap();
                harm(&scene.vault, &object, how);
                for night in 1..=NIGHTS {
                    let mut asked = request(scene.live.uri(), 2 + night);
                    asked.scope = scope;
                    let take = take_as(&scene.live, &scene.vault, &scene.elsewhere, &asked);
                    let done = take.await.unwrap();
                    if !done.unchanged {
                        seen = Some(done);
                        break;
                    }
                }
                let done = seen.unwrap();
                says_how(&done, &format!("the vault no longer has {object}"), &case);
                let entries = scene.entries(&done).await;
                let lost: Vec<_> = scene
                    .entries(&then)
                    .await
                    .into_iter()
                    .filter(|entry| {
                        entry
                            .placement
                            .reference()
                            .is_some_and(|it| it.key == object)
                    })
                    .collect();
                assert_eq!(done.record.change.new_files, lost.len() as u64, "{case}");
                for entry in scene.entries(&then).await {
                    let now = entries.iter().find(|it| it.file == entry.file).unwrap();
                    let is_lost = lost.iter().any(|it| it.file == entry.file);
                    if !is_lost {
                        assert_eq!(*now, entry, "{case}");
                    }
                    assert_eq!(now.live, entry.live, "{case}");
                }
                assert_eq!(done.record.change.files_added, 0, "{case}");
                assert_eq!(done.record.change.files_removed, 0, "{case}");
                if scope == Scope::Live {
                    is_whole(&scene, &done, &case).await;
                } else {
                    scene.is_exact(&done).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn lost_checkpoint_is_held_again_though_the_listing_begins_above_it() {
    let mut scene = Scene::set_in(MemoryStore::without_versions("s3://vault")).await;
    // Too many files for a checkpoint that is inlined.
    scene.table.append(3000, 1).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    let older = |entry: &Entry| entry.file.to_string().contains("03.checkpoint");
    scene.table.append(1, 100).await;
    scene.table.checkpoint_as(CheckpointForm::Classic).await;
    let then = scene.take(1).await.unwrap();
    let held = scene.entries(&then).await;
    let held = held.into_iter().find(older).unwrap();
    let object = held.placement.reference().unwrap().key.clone();
    harm(&scene.vault, &object, Harm::Gone);
    let (_, done) = nights_until_seen(&scene).await;
    says_how(&done, &format!("the vault no longer has {object}"), "");
    let again = scene.entries(&done).await;
    assert!(again.iter().any(older));
    is_whole(&scene, &done, "checkpoint").await;
}

#[tokio::test]
async fn what_is_served_elsewhere_is_not_missed() {
    // By a repair.
    for at in 0..5 {
        let scene = scene().await;
        let (mut pages, objects) = parts(&scene).await;
        pages.extend(objects);
        let replica = MemoryStore::without_versions("s3://replica");
        for name in scene_keys(&scene).await {
            let read = deltavault::store::read_all(scene.vault.inner(), &name, None, 64 << 20);
            replica.plant(&name, read.await.unwrap().1);
        }
        harm(&scene.vault, &pages[at], Harm::Gone);
        let (vault, live) = (scene.vault.clone(), scene.live.clone());
        let replica = Some(Arc::new(replica) as Arc<dyn ReadStore>);
        let repairer = repairs::repairer(Arc::new(vault), Arc::new(live), replica, hours_later(1));
        assert_eq!(repairs::repair(&repairer.await).await.unwrap().len(), 1);
        for night in 1..=NIGHTS {
            let done = scene.take(1 + night).await.unwrap();
            assert!(done.unchanged, "{at} {night}");
            assert_eq!(done.record.findings, [""; 0]);
        }
    }
    // By another version of the key, as in a plain copy of a bucket.
    let scene = Scene::set().await;
    let copy = MemoryStore::without_locks("s3://vault");
    copy.set_now(hours_later(1));
    for name in scene_keys(&scene).await {
        let read = deltavault::store::read_all(scene.vault.inner(), &name, None, 64 << 20);
        copy.plant(&"x".parse().unwrap(), "x");
        copy.plant(&name, read.await.unwrap().1);
    }
    let copy = Store::new(copy);
    for night in 1..=NIGHTS {
        let done = take_from(&scene.live, &copy, &scene.elsewhere, 1 + night);
        let done = done.await.unwrap();
        assert!(done.unchanged, "{night}: {done:#?}");
    }
}

async fn scene_keys(scene: &Scene) -> Vec<ObjectKey> {
    let files = crate::support::scene::everything(scene.vault.inner()).await;
    files
        .into_keys()
        .map(|name| name.parse().unwrap())
        .collect()
}

#[tokio::test]
async fn file_that_vault_and_table_have_lost_fails_the_snapshot_and_is_named() {
    let scene = scene().await;
    let object = parts(&scene).await.1.remove(0);
    let entries = scene.entries(&scene.first).await.into_iter();
    let mut lost = entries.filter(|it| it.placement.reference().is_some_and(|it| it.key == object));
    let lost = lost.next().unwrap().file.to_string();
    harm(&scene.vault, &object, Harm::Gone);
    scene.table.remove(&lost).await;
    for night in 1..=NIGHTS {
        match scene.take(1 + night).await {
            Ok(done) => assert!(done.unchanged),
            Err(error) => {
                let says = [&*lost, "the vault has lost", object.as_str()];
                assert_says(&error, ExitCode::Damage, &says);
                return;
            }
        }
    }
    panic!("not seen");
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_a_finding_and_stops_no_snapshot() {
    let scene = scene().await;
    scene
        .vault
        .deny(|call: &Call| call.method == "attributes" && !call.key.starts_with("tables/"));
    let done = scene.take(2).await.unwrap();
    assert!(done.unchanged);
    let [finding] = &done.record.findings[..] else {
        panic!("{:?}", done.record.findings);
    };
    assert!(
        finding.contains("does not say whether it still has"),
        "{finding}"
    );
    // The next night says what it finds itself.
    scene.vault.revive();
    assert_eq!(scene.take(3).await.unwrap().record.findings, [""; 0]);
}

#[tokio::test]
async fn plan_says_what_the_snapshot_would_do() {
    let scene = scene().await;
    harm(&scene.vault, &scene.first.record.manifest.key, Harm::Gone);
    let taker = snapshotter(Arc::new(scene.vault.clone())).await.unwrap();
    let asked = request(scene.live.uri(), 2);
    let live = source(Arc::new(scene.live.clone()));
    let plan = taker.plan(&live, &asked).await.unwrap();
    assert!(!plan.unchanged);
    assert_eq!(plan.files, 5);
    let says = plan.findings.iter().any(|it| it.contains("--repair"));
    assert!(says, "{:?}", plan.findings);
}
