//! Looking into vaults by the command line, with an index in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use deltavault::format::Placement;
use deltavault::store::ReadStore;
use deltavault::store::local::LocalStore;
use serde_json::Value;

use crate::support::vault_builder::{TableBuilder, new_vault, open};

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
            .env("DELTAVAULT_NOW", "2026-11-02T00:00:00Z")
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
