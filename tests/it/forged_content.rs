//! Somebody with the keys of a snapshotter appends a record that links, and whose manifest or pages are none. Each error
//! that comes of it names the command that goes on without it, and nothing else of the vault is in its way.

use deltavault::format::{Reference, TableKey, VaultKey};
use deltavault::ids::{Digest, Generation, SnapshotId};
use deltavault::store::local::LocalStore;

use super::support::forge::forge_signed;
use super::support::vault_builder::put_content;
use super::support::world::files;
use super::told_live::{Lake, all_of};

/// What is wrong with what the record leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Manifest,
    ManifestGone,
    DataPage,
    DataPageGone,
    LogPage,
    LogPageGone,
    Version,
    DeltaId,
}

/// Appends a forged record to the ledger of `lake/t`.
fn forge(lake: &Lake, wrong: Wrong) -> SnapshotId {
    let uri = format!("file://{}", lake.table().canonicalize().unwrap().display());
    let key = TableKey::of("local", &uri.parse().unwrap()).unwrap();
    let store = LocalStore::open(&lake.folder().join("vault")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let of = if matches!(wrong, Wrong::Manifest | Wrong::ManifestGone) {
            VaultKey::manifest
        } else {
            VaultKey::page
        };
        let gone = Reference {
            generation: Generation(0),
            key: of(Digest::of(b"junk"), None).object_key().unwrap(),
            sha256: Digest::of(b"junk"),
            size: 4,
            version: None,
        };
        let junk = match wrong {
            Wrong::Manifest | Wrong::DataPage | Wrong::LogPage => {
                put_content(&store, of, "junk".into()).await
            }
            Wrong::ManifestGone
            | Wrong::DataPageGone
            | Wrong::LogPageGone
            | Wrong::Version
            | Wrong::DeltaId => gone.clone(),
        };
        let forged = forge_signed(
            &store,
            &key,
            |_, _| {},
            |manifest| match wrong {
                Wrong::DataPage => manifest.data_pages[0].page = junk.clone(),
                Wrong::DataPageGone => manifest.data_pages[0].page = gone.clone(),
                Wrong::LogPage => manifest.log_pages[0].page = junk.clone(),
                Wrong::LogPageGone => manifest.log_pages[0].page = gone.clone(),
                Wrong::Version => manifest.version.0 += 5,
                Wrong::DeltaId => "other".clone_into(&mut manifest.delta_id),
                Wrong::Manifest | Wrong::ManifestGone => {}
            },
            |record| match wrong {
                Wrong::Manifest => record.manifest = junk.clone(),
                Wrong::ManifestGone => record.manifest = gone.clone(),
                Wrong::DataPage
                | Wrong::DataPageGone
                | Wrong::LogPage
                | Wrong::LogPageGone
                | Wrong::Version
                | Wrong::DeltaId => {}
            },
        );
        forged.await.0
    })
}

/// The short ids of the snapshots of `lake/t`.
fn ids(lake: &Lake) -> Vec<String> {
    let said = lake.ends(&["snapshots", "lake/t"], 0);
    let ids = said
        .lines()
        .skip(1)
        .filter_map(|it| it.split_whitespace().next());
    ids.map(str::to_owned).collect()
}

#[test]
fn every_error_about_a_forged_snapshot_says_how_to_go_on_without_it() {
    for wrong in [
        Wrong::Manifest,
        Wrong::ManifestGone,
        Wrong::DataPage,
        Wrong::DataPageGone,
        Wrong::LogPage,
        Wrong::LogPageGone,
        Wrong::Version,
        Wrong::DeltaId,
    ] {
        let mut lake = Lake::with_snapshot();
        lake.append();
        lake.ends(&["snapshot", "lake/t", "lake/orders"], 0);
        let below = ids(&lake).pop().unwrap();
        let forged = forge(&lake, wrong).short();
        let distrust = format!("--distrust {forged}");
        let mut commands = vec![
            &["show", "lake-t"][..],
            &["verify"],
            &["prune", "--dry-run"],
        ];
        let is_each_way = matches!(
            wrong,
            Wrong::Manifest | Wrong::DataPage | Wrong::LogPageGone
        );
        if is_each_way {
            commands.extend([
                &["ls", "lake-t"][..],
                &["diff", "lake-t~1", "lake-t"],
                &["diff", "lake-t", "lake-t~1"],
                &["diff", "lake-t", "live"],
                &["hold", "lake-t"],
                &["verify", "lake-t"],
            ]);
        }
        for words in commands {
            let said = lake.ends(words, 12);
            assert!(said.contains(&distrust), "{wrong:?} {words:?}: {said}");
        }
        for words in [
            &["restore", "lake/t"][..],
            &["restore", "lake/t", "--latest", "--to", "copy", "--yes"],
            &["restore", "lake/t", "--latest", "--heal", "--yes"],
        ] {
            let said = lake.ends(words, 12);
            all_of(&said, &[&distrust, &format!("--snapshot {below}")]);
        }
        // What is not touched by it goes on.
        let untouched: &[&[&str]] = &[
            &["hold", "lake-t~1"][..],
            &["release", "lake-t~1"],
            &["release", "lake-t"],
            &["hold", "lake-orders"],
            &["release", "lake-orders"],
            &["verify", "lake-orders"],
            &["show", "lake-t~1"],
        ];
        let old = [
            "restore",
            "lake/t",
            "--snapshot",
            &below,
            "--to",
            "old",
            "--yes",
        ];
        lake.ends(&old, 0);
        for words in untouched.iter().filter(|_| is_each_way) {
            lake.ends(words, 0);
        }
        // So do the nights, as if the newest snapshot were lost; and the owner ends it.
        lake.append();
        let said = lake.ends(&["snapshot", "lake/t", "lake/orders"], 3);
        all_of(
            &said,
            &[
                "lake-t v3 is snapshot",
                "lake-orders v0 is snapshot",
                &distrust,
            ],
        );
        comes_back(&lake, "night");
        lake.append();
        let (flag, id) = distrust.split_once(' ').unwrap();
        lake.ends(&["snapshot", "lake/t", flag, id], 0);
        comes_back(&lake, "after");
        for words in [&["verify"][..], &["prune", "--dry-run"]] {
            let (code, said) = lake.run(words);
            assert!(
                matches!(code, Some(0 | 3)),
                "{wrong:?} {words:?} {code:?}: {said}"
            );
        }
    }
}

fn comes_back(lake: &Lake, to: &str) {
    lake.ends(&["restore", "lake/t", "--latest", "--to", to, "--yes"], 0);
    let mut copy = files(&lake.folder().join(to));
    copy.retain(|name, _| !name.starts_with("_deltavault"));
    assert_eq!(copy, files(&lake.table()));
}
