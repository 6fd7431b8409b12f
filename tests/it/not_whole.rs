//! Snapshots with right digests that are not what their records say: `restore` stops before anything is written.

use std::sync::Arc;

use deltavault::error::RestoreError;
use deltavault::format::{Entry, Manifest, Record};
use deltavault::ids::{Digest, Location, Version};
use deltavault::plan::restore::Mode;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use deltavault::vault::restore::RestoreRequest;
use deltavault::{Error, ExitCode};

use crate::support::forge::{commit, forge_signed};
use crate::support::scene::{Scene, everything};
use crate::support::vault_builder::commit_key;
use crate::support::verified::{ALL, verify};
use crate::support::world::{request, restore_request};

type Entries = fn(&mut Vec<Entry>);
type OfManifest = fn(&mut Manifest);
type OfRecord = fn(&mut Record);

/// How a snapshot is forged, and what is said of it.
struct Forgery {
    says: &'static str,
    entries: Entries,
    manifest: OfManifest,
    record: OfRecord,
}

const SOUND: Forgery = Forgery {
    says: "",
    entries: |_| {},
    manifest: |_| {},
    record: |_| {},
};

async fn forged(scene: &Scene, forgery: &Forgery, mode: Mode) -> RestoreRequest {
    let key = request(scene.table.store.uri(), 0).key;
    let (entries, of_manifest, of_record) = (forgery.entries, forgery.manifest, forgery.record);
    let change = |all: &mut Vec<Entry>, _: &mut Record| entries(all);
    let store = scene.vault.inner();
    let (id, record) = forge_signed(store, &key, change, of_manifest, of_record).await;
    RestoreRequest {
        id,
        record: Arc::new(record),
        ..restore_request(&scene.first, mode, 1)
    }
}

fn drops_newest_commit(entries: &mut Vec<Entry>) {
    entries.retain(|entry| entry.file.as_str() != commit(Version(2)));
}

#[tokio::test]
async fn a_snapshot_that_is_not_what_its_record_says_is_put_back_only_where_that_is_accepted() {
    let forgeries = [
        Forgery {
            says: "live files, not 9",
            record: |record| {
                record.totals.live_files = 9;
            },
            manifest: |manifest| {
                manifest.totals.live_files = 9;
            },
            ..SOUND
        },
        Forgery {
            says: "its manifest does not say what its record does",
            record: |record| record.totals.files += 1,
            ..SOUND
        },
        Forgery {
            says: "the commit of version 2 that it holds is not the one",
            record: |record| record.commit.as_mut().unwrap().sha256 = Digest::of(b"another"),
            ..SOUND
        },
        Forgery {
            says: "the commit of version 2 that it holds is not the one",
            record: |record| record.commit.as_mut().unwrap().size += 1,
            ..SOUND
        },
        Forgery {
            says: "holds _delta_log/00000000000000000003.json of a newer one",
            entries: goes_on_above,
            ..SOUND
        },
    ];
    for forgery in forgeries {
        for mode in [Mode::To, Mode::InPlace] {
            let scene = Scene::set().await;
            let whole = scene.source_files().await;
            let refused = forged(&scene, &forgery, mode).await;
            scene.table.drop_all().await;
            let target = match mode {
                Mode::To => MemoryStore::new("s3://copy/orders"),
                Mode::InPlace | Mode::Heal | Mode::Rewind | Mode::Replace | Mode::Undo => {
                    scene.live.inner().clone()
                }
            };
            let restorer = scene.restorer(Arc::new(target.clone())).await;
            let error = restorer.plan(&refused).await.unwrap_err();
            let Error::Restore(RestoreError::NotWhole { what, .. }) = &error else {
                panic!("{}: {error:?}", forgery.says);
            };
            assert!(what.contains(forgery.says), "{what}");
            assert_eq!(error.exit_code(), ExitCode::Damage);
            assert!(error.hint().unwrap().contains("--accept-damaged"));
            assert!(everything(&target).await.is_empty());

            let accepted = RestoreRequest {
                accept_damaged: true,
                ..refused
            };
            let plan = restorer.plan(&accepted).await.unwrap();
            let done = restorer.execute(&accepted, plan).await.unwrap();
            assert!(done.not_whole.unwrap().contains(forgery.says));
            assert_eq!(everything(&target).await, whole);
            scene.first_is_safe().await;
        }
    }
}

/// Readers of what comes back would see version 3.
fn goes_on_above(entries: &mut Vec<Entry>) {
    let own = commit(Version(2));
    let at = entries
        .iter()
        .position(|it| it.file.as_str() == own)
        .unwrap();
    let file = Location::Inside(commit(Version(3)).parse().unwrap());
    let above = Entry {
        file,
        ..entries[at].clone()
    };
    entries.insert(at + 1, above);
}

#[tokio::test]
async fn a_file_of_the_log_above_the_version_is_damage_and_is_not_inherited() {
    let mut scene = Scene::set().await;
    let forgery = Forgery {
        entries: goes_on_above,
        ..SOUND
    };
    let forged = forged(&scene, &forgery, Mode::To).await;
    let vault = Vault::open(Arc::new(scene.vault.clone())).await.unwrap();
    let verified = verify(&vault, ALL).await;
    assert_eq!(verified.code(), ExitCode::Damage);
    let what = "of a newer version than the manifest's";
    let named = verified.findings.iter().find(|it| it.what.contains(what));
    assert_eq!(named.unwrap().snapshots, [forged.id]);
    scene.table.append(1, 100).await;
    let next = scene.take(24).await.unwrap();
    scene.is_exact(&next).await;
}

#[tokio::test]
async fn a_page_without_the_newest_commit_is_not_whole_though_its_sums_are_right() {
    let scene = Scene::set().await;
    let forgery = Forgery {
        entries: drops_newest_commit,
        ..SOUND
    };
    let refused = forged(&scene, &forgery, Mode::To).await;
    let target = MemoryStore::new("s3://copy/orders");
    let restorer = scene.restorer(Arc::new(target.clone())).await;
    let error = restorer.plan(&refused).await.unwrap_err();
    assert!(
        error.to_string().contains("the commit of version 2"),
        "{error}"
    );
    assert!(everything(&target).await.is_empty());
}

#[tokio::test]
async fn a_manifest_of_another_version_or_table_is_never_put_back() {
    let of_another: [OfManifest; 2] = [
        |manifest| manifest.version = Version(1),
        |manifest| manifest.delta_id = "another".to_owned(),
    ];
    for manifest in of_another {
        let scene = Scene::set().await;
        let forgery = Forgery { manifest, ..SOUND };
        let refused = forged(&scene, &forgery, Mode::To).await;
        let accepted = RestoreRequest {
            accept_damaged: true,
            ..refused
        };
        let target = MemoryStore::new("s3://copy/orders");
        let restorer = scene.restorer(Arc::new(target.clone())).await;
        let error = restorer.plan(&accepted).await.unwrap_err();
        assert!(
            error.to_string().contains("is a manifest of version"),
            "{error}"
        );
        assert_eq!(error.exit_code(), ExitCode::Damage);
        assert!(everything(&target).await.is_empty());
    }
}

#[tokio::test]
async fn an_older_version_out_of_a_snapshot_that_is_not_whole_is_refused_alike() {
    let scene = Scene::set().await;
    let forgery = Forgery {
        record: |record| record.totals.files += 1,
        ..SOUND
    };
    let older = RestoreRequest {
        version: Version(1),
        ..forged(&scene, &forgery, Mode::To).await
    };
    let target = MemoryStore::new("s3://copy/orders");
    let restorer = scene.restorer(Arc::new(target.clone())).await;
    let error = restorer.plan(&older).await.unwrap_err();
    assert!(error.to_string().contains("is not whole"), "{error}");
    let sound = RestoreRequest {
        version: Version(1),
        ..restore_request(&scene.first, Mode::To, 1)
    };
    let plan = restorer.plan(&sound).await.unwrap();
    restorer.execute(&sound, plan).await.unwrap();
    assert!(everything(&target).await.contains_key(&commit_key(1)));
}
