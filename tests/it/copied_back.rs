//! Files that the store copies back by itself: their bytes stay where they are, and nothing else is different.

use std::sync::Arc;

use deltavault::ids::ObjectKey;
use deltavault::plan::restore::Mode;
use deltavault::store::StoreErrorKind;
use deltavault::store::memory::{CopyMode, MemoryService, MemoryStore};
use deltavault::vault::restore::RestoreDone;
use futures::FutureExt as _;

use crate::support::fault_store::{Call, Fault, FaultStore};
use crate::support::s3;
use crate::support::s3_scene;
use crate::support::scene::{Files, LARGE, Scene, everything};
use crate::support::world::restore_request;

/// Large files of the snapshot.
const FILES: usize = 2;

/// A table, its vault, and a place for a copy, all of one service.
struct Place {
    scene: Scene,
    target: FaultStore<MemoryStore>,
    mode: Mode,
    /// What has to be there in the end.
    wanted: Files,
}

impl Place {
    /// To another place, or back to where the large files are gone.
    async fn of(mode: Mode) -> Self {
        let service = MemoryService::new("memory");
        let store = |uri| MemoryStore::without_versions(uri).in_service(&service);
        let vault = MemoryStore::without_locks("s3://vault").in_service(&service);
        let scene = Scene::set_of(store("s3://lake/orders"), vault, store("s3://elsewhere")).await;
        let wanted = scene.table.closure().await;
        let target = if mode == Mode::To {
            FaultStore::new(store("s3://copy/orders"))
        } else {
            for (name, bytes) in &wanted {
                if bytes.len() == LARGE {
                    scene.live.inner().delete_marker(&name.parse().unwrap());
                }
            }
            scene.live.clone()
        };
        scene.vault.revive();
        target.revive();
        Self {
            scene,
            target,
            mode,
            wanted,
        }
    }

    async fn restore(&self) -> Result<RestoreDone, deltavault::Error> {
        let restorer = self.scene.restorer(Arc::new(self.target.clone())).await;
        let request = restore_request(&self.scene.first, self.mode, 1);
        let plan = restorer.plan(&request).await?;
        restorer.execute(&request, plan).await
    }

    /// Large files that were read from the vault.
    fn read(&self) -> usize {
        let is_copy = |call: &Call| call.method == "open" && call.key.starts_with("copies/");
        self.scene
            .vault
            .calls()
            .iter()
            .filter(|it| is_copy(it))
            .count()
    }

    async fn is_whole(&self) {
        let found = everything(self.target.inner()).await;
        for (name, bytes) in &self.wanted {
            assert!(found.get(name) == Some(bytes), "{name}");
        }
    }

    /// The keys of the large files at the target.
    fn large(&self) -> Vec<ObjectKey> {
        let large = self.wanted.iter().filter(|(_, bytes)| bytes.len() == LARGE);
        large.map(|(name, _)| name.parse().unwrap()).collect()
    }
}

const LARGE_BYTES: u64 = (FILES * LARGE) as u64;

#[tokio::test]
async fn bytes_of_large_files_pass_through_nobody_where_the_store_copies() {
    for copies in [CopyMode::Attests, CopyMode::AttestsWhenAsked] {
        // Whether the target copies on top of what is there, how many files are read, how many copies are asked for.
        for (mode, copies_over, read, asked) in [
            (Mode::To, false, 0, FILES),
            (Mode::To, true, 0, FILES),
            (Mode::InPlace, false, 1, FILES),
            (Mode::InPlace, true, FILES, 1),
        ] {
            let place = Place::of(mode).await;
            place.target.inner().set_copy_mode(copies.clone());
            if copies_over {
                place.target.inner().set_copies_over();
            }
            let done = place.restore().await.unwrap();
            place.is_whole().await;
            let case = format!("{copies:?} {mode:?} {copies_over}");
            assert_eq!(place.read(), read, "{case}");
            assert_eq!(place.target.count("copy_back"), asked, "{case}");
            let by_store = LARGE_BYTES - (read * LARGE) as u64;
            assert_eq!(done.bytes_by_store, by_store, "{case}");
            assert_eq!(
                usize::try_from(done.files_written).unwrap(),
                if mode == Mode::To {
                    place.wanted.len()
                } else {
                    FILES
                }
            );
        }
    }
}

#[tokio::test]
async fn where_the_store_does_not_copy_or_does_not_prove_it_the_bytes_are_put() {
    let detail = "no s3:PutObject from there".to_owned();
    let reason = "no copies here".to_owned();
    for copies in [
        CopyMode::Silent,
        CopyMode::Refuses(StoreErrorKind::Denied { detail }),
        CopyMode::Refuses(StoreErrorKind::Unsupported { reason }),
        CopyMode::Refuses(StoreErrorKind::Interrupted),
    ] {
        for mode in [Mode::To, Mode::InPlace] {
            let place = Place::of(mode).await;
            place.target.inner().set_copy_mode(copies.clone());
            let done = place.restore().await.unwrap();
            assert_eq!(done.bytes_by_store, 0);
            place.is_whole().await;
        }
    }
}

#[tokio::test]
async fn a_copy_whose_answer_is_lost_counts_as_put() {
    for mode in [Mode::To, Mode::InPlace] {
        let place = Place::of(mode).await;
        place.target.inner().lose_copy_answers(FILES);
        place.restore().await.unwrap();
        place.is_whole().await;
    }
}

#[tokio::test]
async fn an_object_that_is_not_what_its_store_says_comes_back_nowhere() {
    for mode in [Mode::To, Mode::InPlace] {
        let place = Place::of(mode).await;
        let entries = place.scene.entries(&place.scene.first).await;
        let held = entries.iter().filter_map(|it| it.placement.reference());
        for reference in held.filter(|it| it.key.as_str().starts_with("copies/")) {
            let version = reference.version.as_ref();
            place
                .scene
                .vault
                .inner()
                .flip_bit(&reference.key, version, 77)
                .unwrap();
        }
        let error = place.restore().await.unwrap_err();
        assert!(error.to_string().contains("lost"), "{error}");
        let found = everything(place.target.inner()).await;
        for key in place.large() {
            assert!(!found.contains_key(key.as_str()), "{key} {mode:?}");
        }
    }
}

#[tokio::test]
async fn what_somebody_puts_in_the_place_of_a_file_meanwhile_stays() {
    let place = Place::of(Mode::InPlace).await;
    let target = place.target.inner().clone();
    let keys = place.large();
    let theirs = b"theirs".to_vec();
    let bytes = theirs.clone();
    // The first is put by its bytes and offered, the second is offered.
    place
        .target
        .before_call(2, |call| call.method == "copy_back", {
            let keys = keys.clone();
            move || {
                async move {
                    for key in keys {
                        if !everything(&target).await.contains_key(key.as_str()) {
                            target.plant(&key, bytes.clone());
                        }
                    }
                }
                .boxed()
            }
        });
    place.restore().await.unwrap_err();
    let found = everything(place.target.inner()).await;
    let kept = keys.iter().filter(|key| found[key.as_str()] == theirs);
    assert_eq!(kept.count(), 1);
}

#[tokio::test]
async fn a_restore_that_copies_and_is_killed_at_any_call_goes_on() {
    for mode in [Mode::To, Mode::InPlace] {
        for fault in [Fault::Before, Fault::After] {
            for k in 1.. {
                let place = Place::of(mode).await;
                place.target.fail_call(k, fault);
                let ended = place.restore().await;
                let died = place.target.is_dead();
                place.target.revive();
                if !died {
                    ended.unwrap();
                    break;
                }
                place.restore().await.unwrap();
                place.is_whole().await;
            }
        }
    }
}

#[tokio::test]
async fn a_server_copies_into_a_new_place_by_itself() {
    let Some(server) = s3::server() else { return };
    let scene = s3_scene::Scene::set(server).await;
    let vault = scene.new_vault().await;
    let done = scene.snapshot(&scene.direct, &vault).await.unwrap();
    let way = scene.way().await;
    let copy = scene.place("copy");
    let put = scene.restore(&way.client, &vault, &done, &copy).await;
    assert_eq!(put.unwrap().bytes_by_store, LARGE_BYTES);
    let found = s3_scene::everything(Arc::new(scene.store(&copy))).await;
    assert_eq!(found, scene.closure);
    let calls = way.proxy.calls();
    let read = calls.iter().filter(|it| it.is("GetObject", "/copies/"));
    assert_eq!(read.count(), 0);
}
