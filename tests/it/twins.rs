//! Tables of one URI from several sources: a machine with another configuration, or anyone with the keys of a snapshotter,
//! makes a second ledger for the place of a table. It stands in the way of no command.

use std::fs;
use std::path::Path;

use deltavault::format::{TableKey, TableUri};
use deltavault::store::local::LocalStore;

use super::support::vault_builder::{TableBuilder, open};
use super::support::world::files;
use super::told_live::{Lake, all_of, none_of};

impl Lake {
    /// Takes two snapshots of another table into the ledger that `source` gives the place of `lake/t`; returns its key.
    fn plant_twin(&self, source: &str) -> TableKey {
        let uri = format!("file://{}", self.table().canonicalize().unwrap().display());
        let uri: TableUri = uri.parse().unwrap();
        let key = TableKey::of(source, &uri).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let store = LocalStore::open(&self.folder().join("vault")).unwrap();
            let vault = open(&store).await;
            let mut twin = TableBuilder::new(store, &vault, "lake-t");
            twin.identity.uri = uri.to_string();
            twin.identity.source = source.to_owned();
            twin.key = key.clone();
            for _ in 0..2 {
                twin.commit().await;
                twin.publish_as(|record| {
                    record.promise = "2099-01-01T00:00:00Z".parse().unwrap();
                })
                .await;
            }
        });
        key
    }

    /// The key of the table itself.
    fn key(&self) -> TableKey {
        let uri = format!("file://{}", self.table().canonicalize().unwrap().display());
        TableKey::of("local", &uri.parse().unwrap()).unwrap()
    }

    /// The table is restored from this name exactly; returns what was printed.
    fn comes_back(&self, name: &str, to: &str, flags: &[&str]) -> String {
        let words = ["restore", name, "--latest", "--to", to, "--yes"];
        let said = self.ends(&[flags, &words].concat(), 0);
        let copy = self.folder().join(to);
        let copied = files(&copy).into_iter();
        let copied: Vec<_> = copied
            .filter(|(name, _)| !name.starts_with("_deltavault"))
            .collect();
        let live: Vec<_> = files(&self.table()).into_iter().collect();
        assert_eq!(copied, live, "{name}: {said}");
        said
    }
}

#[test]
fn table_of_the_configured_source_is_meant_by_every_name_of_a_place_that_has_two() {
    let lake = Lake::with_snapshot();
    let twin = lake.plant_twin("evil").to_string();
    let config = "[vault]\nuri = \"vault\"\n[[tables]]\nname = \"mine\"\nuri = \"lake/t\"\n";
    fs::write(lake.folder().join("dv.toml"), config).unwrap();
    let path = lake.table().display().to_string();
    let uri = format!("file://{path}");
    let names = ["lake-t", "lake/t", &path, &uri, "mine"];
    for (n, name) in names.into_iter().enumerate() {
        let flags = ["--config", "dv.toml"];
        let said = lake.comes_back(name, &format!("copy-{n}"), &flags);
        let mention = format!(
            "{} is meant; the vault also holds, from another source: {twin}",
            lake.key()
        );
        assert_eq!(said.matches(&mention).count(), 1, "{name}: {said}");
        for words in [
            &["snapshots", name][..],
            &["show", name],
            &["ls", name],
            &["diff", name, "live"],
            &["verify", name],
            &["hold", name],
            &["release", name],
            &["retire", name, "--yes"],
            &["restore", name],
        ] {
            let (code, said) = lake.run(&[&flags, words].concat());
            assert!(matches!(code, Some(0 | 3)), "{words:?} {code:?}: {said}");
            assert!(said.contains(&mention), "{words:?}: {said}");
            none_of(&said, &["part-1-big"]);
        }
    }
    // A pattern finds the table once.
    let said = lake.ends(
        &["restore", "lake-*", "--latest", "--to", "all", "--yes"],
        0,
    );
    all_of(&said, &[&twin]);
    assert_eq!(
        files(&lake.folder().join("all")).len(),
        files(&lake.table()).len(),
        "{said}"
    );
    let mut lake = lake;
    lake.append();
    for name in ["lake-t", "mine"] {
        lake.ends(&["--config", "dv.toml", "snapshot", name], 0);
    }
}

#[test]
fn every_table_is_named_by_its_key_wherever_a_table_is_named() {
    let lake = Lake::with_snapshot();
    let twin = lake.plant_twin("evil");
    for (key, file) in [(lake.key(), "r=a/1.parquet"), (twin, "part-1-big")] {
        let key = key.to_string();
        let newest = format!("{key}@latest");
        for words in [
            &["snapshots", &key][..],
            &["show", &key],
            &["ls", &key],
            &["ls", &newest],
            &["diff", &newest, &newest],
            &["verify", &key],
            &["hold", &key],
            &["release", &key],
            &["retire", &key, "--yes"],
            &["restore", &key, "--latest", "--to", &key, "--yes"],
        ] {
            let (code, said) = lake.run(words);
            assert!(matches!(code, Some(0 | 3)), "{words:?} {code:?}: {said}");
            none_of(&said, &["is meant"]);
        }
        assert!(lake.folder().join(&key).join(file).exists());
        let said = lake.ends(&["ls", &key], 0);
        assert!(said.contains(file), "{said}");
    }
}

#[test]
fn owner_chooses_by_key_among_tables_of_sources_that_are_not_configured() {
    let lake = Lake::with_snapshot();
    let twins = [lake.plant_twin("one"), lake.plant_twin("two")];
    fs::remove_dir_all(tables(&lake).join(lake.key().to_string())).unwrap();
    for words in [
        &["restore", "lake/t", "--latest"][..],
        &["restore", "lake-t", "--latest"],
        &["snapshots", "lake-t"],
        &["show", "lake-t"],
        &["verify", "lake-t"],
    ] {
        let said = lake.ends(words, 4);
        for twin in &twins {
            assert!(said.contains(&twin.to_string()), "{said}");
        }
    }
}

#[test]
fn twin_does_not_stand_in_for_a_table_whose_records_cannot_be_read() {
    let lake = Lake::with_snapshot();
    lake.plant_twin("evil");
    let record = tables(&lake).join(format!("{}/ledger/00000000000000000001.json", lake.key()));
    fs::remove_file(&record).unwrap();
    fs::write(&record, "garbage").unwrap();
    for name in ["lake/t", "lake-t", "lake-*"] {
        let words = ["restore", name, "--latest", "--to", "copy", "--yes"];
        let said = lake.ends(&words, 12);
        all_of(&said, &["cannot be read completely"]);
        assert!(!lake.folder().join("copy").exists());
    }
}

fn tables(lake: &Lake) -> std::path::PathBuf {
    Path::new(lake.folder()).join("vault/tables")
}
