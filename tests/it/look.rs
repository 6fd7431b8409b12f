//! Looking into vaults, with and without the local index: tables, snapshots, files and differences.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use deltavault::format::ledger::Bodies;
use deltavault::format::{EntryKind, Placement, TableUri};
use deltavault::ids::{ObjectKey, Version};
use deltavault::index::{Index, Opened};
use deltavault::plan::choose::{ChooseError, CommitTimes, Wanted};
use deltavault::store::ReadStore;
use deltavault::store::local::LocalStore;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use deltavault::vault::diff::{Change, DiffTotals, LiveChange, LiveTotals};
use deltavault::vault::look::{TableRef, find_snapshot};
use deltavault::{Error, ExitCode};
use futures::TryStreamExt;
use serde_json::Value;

use crate::support::fault_store::FaultStore;
use crate::support::vault_builder::{TableBuilder, new_vault, open};

fn name(table: &TableRef) -> (String, String) {
    (table.name().to_owned(), table.uri())
}

#[tokio::test]
async fn tables_are_found_by_name_uri_key_and_slug() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 2).await;
    let mut people = TableBuilder::new(store.clone(), &vault, "people");
    people.identity.name = "the people".to_owned();
    people.commit().await;
    people.publish().await;
    let key = people.key.to_string();
    for text in [
        "the people",
        "file:///lake/people",
        "file:/lake/people/",
        "lake-people",
        key.as_str(),
    ] {
        let found = vault.find_table(text).await.unwrap();
        assert_eq!(found.key, people.key, "{text}");
        assert_eq!(name(&found).0, "the people");
    }
    let Err(Error::UnknownTable { known, .. }) = vault.find_table("orderz").await else {
        panic!("found");
    };
    assert_eq!(known, ["orders", "the people"]);
    // A word may also be a path. Where it names one table and leads to another, nobody can know.
    let place: TableUri = "file:///lake/people".parse().unwrap();
    let found = vault.find_table_or_place("people", Some(&place)).await;
    assert_eq!(found.unwrap().key, people.key);
    let both = vault.find_table_or_place("orders", Some(&place)).await;
    let error = both.unwrap_err();
    assert_eq!(error.exit_code(), ExitCode::OwnerMustChoose);
    assert!(error.hint().unwrap().contains("file:///lake/orders"));
    assert_eq!(vault.find_table("orders").await.unwrap().key, orders.key);
}

#[tokio::test]
async fn record_in_the_ledger_of_another_table_does_not_lend_it_its_name() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 1).await;
    let mut people = TableBuilder::with_snapshots(store.clone(), &vault, "people", 1).await;
    people
        .publish_as(|record| record.table = orders.identity.clone())
        .await;
    assert_eq!(vault.find_table("orders").await.unwrap().key, orders.key);
    let nameless = vault.find_table("lake-people").await.unwrap();
    assert_eq!(nameless.identity, None);
}

#[tokio::test]
async fn record_for_a_newer_tool_hides_nothing_and_is_the_answer_where_it_may_be_meant() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 2).await;
    let newer = orders
        .publish_as(|record| record.requires = vec!["x".to_owned()])
        .await;
    orders
        .publish_as(|record| record.requires = vec!["x".to_owned()])
        .await;
    let found = vault.find_table("lake-orders").await.unwrap();
    let history = vault.history(&found.key, Bodies::new()).await.unwrap();
    assert_eq!(history.snapshots.len(), 2);
    assert_eq!(history.newer.len(), 2);
    for wanted in [Wanted::Latest, Wanted::Snapshot(newer.to_string())] {
        let refused = history.choose(&wanted, &CommitTimes::new());
        assert!(matches!(refused, Err(ChooseError::Ledger(_))));
    }
    let id = orders.records[0].0.to_string();
    let by_id = Wanted::Snapshot(id);
    assert!(history.choose(&by_id, &CommitTimes::new()).is_ok());
    assert!(matches!(
        vault.find_table("orders").await,
        Err(Error::Ledger(_))
    ));
    let elsewhere = vault.find_table("file:///lake/people").await;
    assert!(matches!(elsewhere, Err(Error::UnknownTable { .. })));
}

#[tokio::test]
async fn snapshots_are_found_by_prefix_across_tables() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let orders = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 3).await;
    let people = TableBuilder::with_snapshots(store.clone(), &vault, "people", 2).await;
    let histories = vault.histories(|_| Bodies::new()).await.unwrap();
    for (table, key) in [(&orders, &orders.key), (&people, &people.key)] {
        for (id, record) in &table.records {
            let (history, found) = find_snapshot(&histories, &id.short()).unwrap();
            assert_eq!(
                (&history.table, found.id, found.seq),
                (key, *id, record.seq)
            );
            assert_eq!(found.record.change.operation.as_deref(), Some("WRITE"));
        }
    }
    let unknown = find_snapshot(&histories, "00000000").unwrap_err();
    let known = Error::from(unknown).hint().unwrap();
    assert!(known.contains(&people.records[0].0.short()), "{known}");
}

#[tokio::test]
async fn files_of_a_snapshot_come_in_order_and_are_counted_by_kind() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 3).await;
    let manifest = table.manifest_of(2).await;
    let files: Vec<_> = vault.files(&manifest).try_collect().await.unwrap();
    assert_eq!(files.len(), 15);
    assert!(files[0].kind.is_log() && !files[3].kind.is_log());
    let kinds = vault.count_kinds(&manifest).await.unwrap();
    assert_eq!(kinds[&EntryKind::Commit].files, 3);
    assert_eq!(kinds[&EntryKind::Data].files, 12);
    assert_eq!(kinds[&EntryKind::Data].bytes, manifest.totals.data_bytes);
    // A page that is damaged is an error that names it, not a shorter list.
    let page = manifest.data_pages[0].page.key.clone();
    store.flip_bit(&page, None, 5).unwrap();
    let damaged = vault.files(&manifest).try_collect::<Vec<_>>().await;
    assert!(matches!(damaged, Err(Error::Damaged { object, .. }) if object == page.as_str()));
}

async fn diff(
    vault: &Vault,
    table: &TableBuilder<MemoryStore>,
    (before, after): (usize, usize),
) -> (Vec<(String, Change)>, DiffTotals) {
    let spill = tempfile::tempdir().unwrap();
    let (before, after) = (
        table.manifest_of(before).await,
        table.manifest_of(after).await,
    );
    let mut found = Vec::new();
    let mut take = |it: deltavault::vault::diff::Difference| {
        found.push((it.file.to_string(), it.change));
        Ok(())
    };
    let totals = vault.diff(&before, &after, spill.path(), &mut take).await;
    (found, totals.unwrap())
}

#[tokio::test]
async fn snapshots_differ_in_what_was_added_removed_and_changed() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 2).await;
    // Version 2: a file goes, one has other bytes, one that was named is only named.
    table.commit().await;
    table
        .entries
        .retain(|entry| entry.file.as_str() != "part-0-0");
    let other = table
        .put_content(deltavault::format::VaultKey::blob, "other".into())
        .await;
    let find = |entries: &mut Vec<deltavault::format::Entry>, name: &str| {
        entries
            .iter()
            .position(|entry| entry.file.as_str() == name)
            .unwrap()
    };
    let changed = find(&mut table.entries, "part-0-big");
    let before = table.entries[changed].size;
    table.entries[changed].size = 5;
    table.entries[changed].sha256 = Some(other.sha256);
    table.entries[changed].placement = Placement::Blob {
        offset: None,
        reference: other,
    };
    let absent = find(&mut table.entries, "part-0-1");
    let size = table.entries[absent].size;
    table.entries[absent].sha256 = None;
    table.entries[absent].placement = Placement::Absent {};
    table.entries[absent].live.clear();
    table.publish().await;

    let (found, totals) = diff(&vault, &table, (1, 2)).await;
    let found: BTreeMap<_, _> = found.into_iter().collect();
    assert_eq!(found.len(), 8, "{found:?}");
    assert_eq!(found["part-0-big"], Change::Changed { before, after: 5 });
    assert_eq!(
        found["part-0-1"],
        Change::Changed {
            before: size,
            after: size
        }
    );
    assert!(matches!(found["part-0-0"], Change::Removed { .. }));
    assert!(matches!(found["part-2-big"], Change::Added { .. }));
    assert!(matches!(
        found["_delta_log/00000000000000000002.json"],
        Change::Added { .. }
    ));
    assert_eq!((totals.log.added.files, totals.log.same), (1, 2));
    let data = totals.data;
    assert_eq!(
        (
            data.added.files,
            data.removed.files,
            data.changed.files,
            data.same
        ),
        (4, 1, 2, 5)
    );
    let (found, totals) = diff(&vault, &table, (2, 2)).await;
    assert_eq!(found, []);
    assert_eq!((totals.log.same, totals.data.same), (3, 11));
}

#[tokio::test]
async fn pages_that_both_have_are_not_read() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let mut table = TableBuilder::new(store.clone(), &vault, "orders");
    table.commit().await;
    for n in 1..9000_u64 {
        table.inline(&format!("_delta_log/{n:020}.json"), "{}");
    }
    table.publish().await;
    table.inline("_delta_log/00000000000000009000.json", "{}");
    table.publish().await;
    let counted = FaultStore::new(store.clone());
    let counting = Vault::open(std::sync::Arc::new(counted.clone()))
        .await
        .unwrap();
    let before = counted.count("open");
    let (found, totals) = diff(&counting, &table, (0, 1)).await;
    assert_eq!(found.len(), 1);
    assert_eq!((totals.log.same, totals.data.same), (9000, 4));
    assert!(counted.count("open") - before <= 2);
}

async fn live(
    vault: &Vault,
    table: &TableBuilder<MemoryStore>,
    live: &MemoryStore,
) -> (BTreeMap<String, LiveChange>, LiveTotals) {
    let spill = tempfile::tempdir().unwrap();
    let manifest = table.manifest_of(table.records.len() - 1).await;
    let mut found = BTreeMap::new();
    let mut take = |it: deltavault::vault::diff::LiveDifference| {
        found.insert(it.file.to_string(), it.change);
        Ok(())
    };
    let totals = vault
        .diff_live(&manifest, live, spill.path(), &mut take)
        .await;
    (found, totals.unwrap())
}

#[tokio::test]
async fn live_table_is_compared_by_one_listing() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 2).await;
    let lake = MemoryStore::without_versions("file:///lake/orders");
    let scratch = tempfile::tempdir().unwrap();
    let key = |text: &str| text.parse::<ObjectKey>().unwrap();
    for entry in &table.entries {
        let payload = vault.payload(entry, scratch.path()).await.unwrap();
        let deltavault::store::PayloadData::Bytes(bytes) = payload.data else {
            panic!("small files are in memory");
        };
        lake.plant(&key(entry.file.as_str()), bytes);
    }
    let (found, totals) = live(&vault, &table, &lake).await;
    assert_eq!(found, BTreeMap::new());
    assert_eq!((totals.same, totals.newest), (10, Some(Version(1))));

    let sizes: BTreeMap<_, _> = table
        .entries
        .iter()
        .map(|entry| (entry.file.as_str(), entry.size))
        .collect();
    let same_size = usize::try_from(sizes["part-1-0"]).unwrap();
    lake.delete_marker(&key("part-0-0"));
    lake.delete_marker(&key("part-1-big"));
    lake.plant(&key("part-0-big"), "short");
    lake.plant(&key("part-1-0"), vec![b'x'; same_size]);
    lake.plant(&key("_delta_log/00000000000000000002.json"), "newer");
    lake.plant(&key("_delta_log/00000000000000000000.crc"), "not held");
    lake.plant(&key("zzz"), "extra");
    lake.plant(&key("_deltavault/claim-1"), "a restore's own");
    let (found, totals) = live(&vault, &table, &lake).await;
    let size = |name: &str| sizes[name];
    let expected = [
        (
            "_delta_log/00000000000000000000.crc",
            LiveChange::Extra { size: 8 },
        ),
        (
            "_delta_log/00000000000000000002.json",
            LiveChange::NewerLog { size: 5 },
        ),
        (
            "part-0-0",
            LiveChange::Missing {
                size: size("part-0-0"),
            },
        ),
        (
            "part-0-big",
            LiveChange::OtherSize {
                held: size("part-0-big"),
                live: 5,
            },
        ),
        (
            "part-1-0",
            LiveChange::Unsure {
                size: size("part-1-0"),
            },
        ),
        (
            "part-1-big",
            LiveChange::Missing {
                size: size("part-1-big"),
            },
        ),
        ("zzz", LiveChange::Extra { size: 5 }),
    ];
    assert_eq!(
        found,
        expected
            .map(|(name, change)| (name.to_owned(), change))
            .into()
    );
    assert_eq!(
        (totals.same, totals.missing.files, totals.newest),
        (6, 2, Some(Version(2)))
    );
}

#[tokio::test]
async fn index_saves_requests_and_decides_nothing() {
    let store = MemoryStore::without_versions("s3://bucket/vault");
    let vault = new_vault(&store).await;
    let table = TableBuilder::with_snapshots(store.clone(), &vault, "orders", 40).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("index.db");
    let id = vault.file().id;
    let cold = vault.history(&table.key, Bodies::new()).await.unwrap();
    let Opened { mut index, .. } = Index::open(&path, id).unwrap();
    index.put_records(&cold).unwrap();

    let counted = FaultStore::new(store.clone());
    let counting = Vault::open(std::sync::Arc::new(counted.clone()))
        .await
        .unwrap();
    let reads = counted.count("open");
    let bodies = index.records(&table.key).unwrap();
    let warm = counting.history(&table.key, bodies).await.unwrap();
    assert_eq!(warm, cold);
    assert!(
        counted.count("open") - reads <= 4,
        "{}",
        counted.count("open") - reads
    );

    // Poison: every record is another, under the digest of the right one.
    let poison = rusqlite::Connection::open(&path).unwrap();
    let mut forged = table.records[5].1.clone();
    forged.manifest.key = "blobs/forged".parse().unwrap();
    poison
        .execute("UPDATE record SET body = ?1", [forged.encode().unwrap()])
        .unwrap();
    let bodies = index.records(&table.key).unwrap();
    assert_eq!(vault.history(&table.key, bodies).await.unwrap(), cold);
    // A forged chain that the vault does not know.
    let mut previous = None;
    for seq in 1..=50 {
        forged.seq = seq;
        forged.previous = previous;
        let body = forged.encode().unwrap();
        let sha256 = deltavault::ids::Digest::of(&body);
        poison
            .execute(
                "INSERT INTO record VALUES (?1, ?2, ?3, ?4, ?5)",
                rusqlite::params![
                    id.to_string(),
                    table.key.to_string(),
                    i64::try_from(seq).unwrap(),
                    sha256.to_string(),
                    body
                ],
            )
            .unwrap();
        previous = Some(deltavault::format::record::Previous { seq, sha256 });
    }
    let bodies = index.records(&table.key).unwrap();
    assert_eq!(vault.history(&table.key, bodies).await.unwrap(), cold);
    // Nor does it stand in for what the vault has lost.
    store.flip_bit(&table.slot(20), None, 9).unwrap();
    let damaged = vault.history(&table.key, Bodies::new()).await.unwrap();
    let bodies = index.records(&table.key).unwrap();
    assert_ne!(damaged, cold);
    assert_eq!(vault.history(&table.key, bodies).await.unwrap(), damaged);
}

/// The command line on a real vault, with the index in a folder of its own.
struct Cli {
    vault: PathBuf,
    cache: PathBuf,
}

impl Cli {
    fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_deltavault"))
            .args(args)
            .env_clear()
            .env("DELTAVAULT_VAULT", &self.vault)
            .env("XDG_CACHE_HOME", &self.cache)
            .env("DELTAVAULT_NOW", "2026-01-02T00:00:00Z")
            .output()
            .unwrap()
    }

    fn text(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn lines(&self, args: &[&str]) -> Vec<Value> {
        let args: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
        let text = self.text(&args);
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn index(&self) -> PathBuf {
        let folder = fs::read_dir(self.cache.join("deltavault")).unwrap();
        let mut files = folder.map(|entry| entry.unwrap().path());
        files
            .find(|path| path.extension().is_some_and(|it| it == "db"))
            .unwrap()
    }
}

async fn cli(folder: &Path) -> (Cli, TableBuilder<LocalStore>) {
    let vault = folder.join("vault");
    let store = LocalStore::create(&vault).unwrap().with_read_only_files();
    let opened = new_vault(&store).await;
    let table = TableBuilder::with_snapshots(store, &opened, "orders", 3).await;
    let cache = folder.join("cache");
    (Cli { vault, cache }, table)
}

#[tokio::test]
async fn commands_look_into_a_vault() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, table) = cli(folder.path()).await;
    let rows = cli.lines(&["snapshots", "orders"]);
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[2]["message_type"], "snapshot");
    assert_eq!(rows[2]["snapshot"], table.records[2].0.to_string());
    assert_eq!(
        (&rows[2]["operation"], &rows[2]["rows"]),
        (&"WRITE".into(), &40.into())
    );
    assert_eq!(rows[2]["distrusted"], false);
    let [first, last] = [0, 2].map(|index: usize| table.records[index].0.short());
    let show = cli.lines(&["show", &last]);
    assert_eq!(show[0]["kinds"][1]["kind"], "commit");
    assert_eq!(show[0]["kinds"][1]["files"], 3);
    let files = cli.lines(&["ls", &last]);
    assert_eq!(files.len(), 15);
    assert_eq!(files[0]["placement"], "inline");
    let packed = files.iter().find(|it| it["path"] == "part-1-1").unwrap();
    assert!(
        packed["placement"].as_str().unwrap().contains('@'),
        "{packed}"
    );
    let diff = cli.lines(&["diff", &first, &last]);
    let summary = diff.last().unwrap();
    assert_eq!(summary["message_type"], "diff_summary");
    assert_eq!(
        (&summary["added"], &summary["same"]),
        (&10.into(), &5.into())
    );
    assert_eq!(summary["of_the_log"], 2);
    assert_eq!(diff.len(), 11);
    // The table is gone, or was never here.
    let live = cli.lines(&["diff", &first, "live"]);
    assert_eq!(live.last().unwrap()["removed"], 5);
    assert_eq!(live.last().unwrap()["versions"][1], Value::Null);
    let unknown = cli.run(&["show", "00000000"]);
    assert_eq!(unknown.status.code(), Some(1));
    let said = String::from_utf8(unknown.stderr).unwrap();
    assert!(said.contains(&last), "{said}");
}

#[tokio::test]
async fn verify_says_what_it_found_and_ends_so() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, table) = cli(folder.path()).await;
    for args in [
        &["verify"][..],
        &["verify", "--read", "all"],
        &["verify", "orders"],
    ] {
        assert!(cli.text(args).contains("no problems found"), "{args:?}");
    }
    let part = cli.lines(&["verify", "--subset", "1/1"]);
    assert_eq!(
        (&part[0]["read"], &part[0]["objects_read"]),
        (&"all".into(), &6.into())
    );
    let blob = table.entries[1].placement.clone();
    let Placement::Blob { reference, .. } = blob else {
        panic!("{blob:?}");
    };
    let path = cli.vault.join(reference.key.as_str());
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes.to_ascii_uppercase()).unwrap();
    assert!(cli.run(&["verify"]).status.success(), "the size is right");
    let damaged = cli.run(&["--json", "verify", "--read", "all"]);
    assert_eq!(damaged.status.code(), Some(12));
    let text = String::from_utf8(damaged.stdout).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["message_type"], "finding");
    assert_eq!(lines[0]["severity"], "damage");
    assert_eq!(lines[0]["object"], reference.key.as_str());
    assert_eq!(lines[0]["snapshots"].as_array().unwrap().len(), 3);
    assert_eq!(lines[1]["damaged"], 1);
    // Nothing on top of it: a record that does not belong is a finding of its own code.
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    fs::write(cli.vault.join(table.slot(4).as_str()), "garbage").unwrap();
    assert_eq!(cli.run(&["verify"]).status.code(), Some(3));
}

#[tokio::test]
async fn index_may_go_or_rot_between_any_two_commands() {
    let folder = tempfile::tempdir().unwrap();
    let (cli, _) = cli(folder.path()).await;
    let expected = cli.text(&["snapshots"]);
    let index = cli.index();
    let rot: [&dyn Fn(); 5] = [
        &|| {},
        &|| fs::remove_file(&index).unwrap(),
        &|| fs::remove_dir_all(&cli.cache).unwrap(),
        &|| fs::write(&index, "garbage".repeat(1000)).unwrap(),
        &|| {
            fs::remove_file(&index).unwrap();
            fs::create_dir(&index).unwrap();
        },
    ];
    for damage in rot {
        damage();
        assert_eq!(cli.text(&["snapshots"]), expected);
        assert!(index.is_file());
        let rebuilt = cli.lines(&["index", "rebuild"]);
        assert_eq!(rebuilt[0]["snapshots"], 3);
    }
    // Where there is no place for it, nothing needs it.
    let nowhere = Cli {
        vault: cli.vault.clone(),
        cache: "/dev/null/cache".into(),
    };
    assert_eq!(nowhere.text(&["snapshots"]), expected);
    assert_eq!(nowhere.run(&["index", "rebuild"]).status.code(), Some(1));
}

#[tokio::test]
async fn vault_is_made_once_and_only_where_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| Cli {
        vault: folder.path().join(name),
        cache: folder.path().join("cache"),
    };
    let new = at("on/the/way");
    let made = new.lines(&["init"]);
    assert_eq!(made[0]["message_type"], "vault");
    assert_eq!(made[0]["created"], true);
    // Whoever sets up machines runs it again: it is there, as it was asked for.
    for words in [
        &["init", "--yes"][..],
        &["init", "--no-lock", "--shortest", "3"],
    ] {
        let again = new.lines(words);
        assert_eq!(
            (&again[0]["created"], &again[0]["id"]),
            (&false.into(), &made[0]["id"])
        );
    }
    assert!(
        new.text(&["init"])
            .contains("nothing to do: the vault is there already")
    );
    let other = new.run(&["init", "--shortest", "7"]);
    assert_eq!(other.status.code(), Some(1));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.contains(made[0]["id"].as_str().unwrap()), "{said}");
    assert!(said.contains("--shortest 3"), "{said}");
    assert!(new.text(&["verify"]).contains("\nno problems found"));
    let store = LocalStore::open(&new.vault).unwrap();
    assert_eq!(open(&store).await.uri(), store.uri());

    let occupied = at("occupied");
    fs::create_dir_all(occupied.vault.join("an empty folder")).unwrap();
    let refused = occupied.run(&["init", "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("hint: name a place"), "{said}");
    assert_eq!(fs::read_dir(&occupied.vault).unwrap().count(), 1);
}
