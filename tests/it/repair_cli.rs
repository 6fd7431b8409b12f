//! `verify --repair` as it is typed: what is printed, how it ends, and that what it prints can be typed again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::cli::{deltavault, small_lake};
use crate::support::world::{copy_folder, files};

/// What a command printed, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    talk: String,
}

impl Said {
    fn has(&self, text: &str) -> bool {
        self.out.contains(text)
    }
}

fn run(command: &mut Command, folder: &Path) -> Said {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let command = command.current_dir(folder).env_clear();
    let output = command.env("PATH", path).output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        talk: String::from_utf8(output.stderr).unwrap(),
    }
}

fn typed(folder: &Path, words: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
    run(command.args(["--vault", "vault"]).args(words), folder)
}

/// Runs a command line as it was printed, in another folder.
fn pasted(folder: &Path, line: &str) -> Said {
    let elsewhere = folder.join("lake");
    run(Command::new("sh").args(["-c", line]), &elsewhere)
}

/// The commands in what was printed.
fn commands(said: &Said) -> Vec<String> {
    let printed: Vec<&str> = said.out.split('`').collect();
    let mut commands: Vec<String> = printed
        .iter()
        .skip(1)
        .step_by(2)
        .map(|it| (*it).to_owned())
        .collect();
    commands.dedup();
    commands
}

fn taken(folder: &Path, tables: &[&str]) {
    let said = typed(folder, &[&["snapshot"], tables].concat());
    assert_eq!(said.code, 0, "{said:?}");
}

fn lake() -> tempfile::TempDir {
    let folder = small_lake();
    taken(folder.path(), &["lake/orders"]);
    folder
}

/// The files below a folder of the vault.
fn inside(folder: &Path, area: &str) -> Vec<PathBuf> {
    let area = folder.join("vault").join(area);
    files(&area)
        .into_keys()
        .map(|name| area.join(name))
        .collect()
}

fn lose(folder: &Path, area: &str) {
    for path in inside(folder, area) {
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn unchanged_night_without_its_manifest_ends_with_3_and_a_remedy_that_runs() {
    let folder = lake();
    let folder = folder.path();
    let again = typed(folder, &["snapshot", "lake/orders"]);
    assert_eq!(again.code, 0, "{again:?}");
    lose(folder, "manifests");
    let found = typed(folder, &["snapshot", "lake/orders"]);
    assert_eq!(found.code, 3, "{found:?}");
    let remedies = commands(&found);
    let [remedy, distrust] = &remedies[..] else {
        panic!("{found:?}");
    };
    assert!(distrust.contains(" --distrust "), "{found:?}");
    // The same list of the same files has the same name: the older snapshots are whole again, too.
    let repair = pasted(folder, remedy);
    assert_eq!(repair.code, 0, "{repair:?}");
    let sound = typed(folder, &["snapshot", "lake/orders"]);
    assert_eq!(sound.code, 0, "{sound:?}");
    assert!(sound.has("nothing changed since"), "{sound:?}");
}

#[test]
fn restore_of_a_snapshot_without_its_manifest_names_an_older_one_that_can_be_read() {
    let folder = lake();
    let folder = folder.path();
    let of_before = inside(folder, "manifests");
    fs::write(
        folder.join("lake/orders/_delta_log/00000000000000000001.json"),
        r#"{"add":{"path":"a.parquet","partitionValues":{},"size":8,"modificationTime":1,"dataChange":false}}"#,
    )
    .unwrap();
    taken(folder, &["lake/orders"]);
    for manifest in inside(folder, "manifests") {
        if !of_before.contains(&manifest) {
            fs::remove_file(manifest).unwrap();
        }
    }
    fs::remove_dir_all(folder.join("lake/orders")).unwrap();

    let refused = typed(folder, &["restore", "lake/orders", "--latest", "--yes"]);
    assert_eq!(refused.code, 12, "{refused:?}");
    let hint = Said {
        code: refused.code,
        out: refused.talk,
        talk: String::new(),
    };
    let [repair, restore, distrust] = &commands(&hint)[..] else {
        panic!("{hint:?}");
    };
    assert!(repair.ends_with(" --read all --repair"), "{hint:?}");
    assert!(distrust.contains(" --distrust "), "{hint:?}");
    let restored = pasted(folder, &format!("{restore} --yes"));
    assert_eq!(restored.code, 0, "{restored:?}");
    assert!(folder.join("lake/orders/a.parquet").exists());

    // With the last manifest gone no command is offered that would fail.
    lose(folder, "manifests");
    let refused = typed(folder, &["restore", "lake/orders", "--latest", "--yes"]);
    assert!(
        refused
            .talk
            .contains("no other snapshot of the table can be read"),
        "{refused:?}"
    );
}

#[test]
fn damage_is_12_its_remedy_asks_with_4_and_repairs_with_0() {
    let folder = lake();
    let folder = folder.path();
    let whole = files(&folder.join("vault"));
    lose(folder, "blobs");
    let found = typed(folder, &["verify"]);
    assert_eq!(found.code, 12, "{found:?}");
    let [repair, retake] = &commands(&found)[..] else {
        panic!("{found:?}");
    };
    assert!(repair.ends_with(" verify lake-orders --repair"), "{repair}");

    // Nobody is there to be asked: the plan alone, and nothing is written.
    let before = files(&folder.join("vault"));
    let plan = pasted(folder, repair);
    assert_eq!(plan.code, 4, "{plan:?}");
    assert!(plan.has("repair: 1 object, 8 B, would be put again\n  1 from the live table\n"));
    assert!(plan.talk.contains("--yes"), "{plan:?}");
    assert_eq!(files(&folder.join("vault")), before);

    let done = pasted(folder, &format!("{repair} --yes"));
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.has("put again blobs/"), "{done:?}");
    let live = format!(
        "from file://{}",
        folder.join("lake/orders/a.parquet").display()
    );
    assert!(done.has(&live), "{done:?}");
    assert!(done.has(" is whole again\n"), "{done:?}");
    assert!(done.has("1 object repaired\nno problems found"));

    // Beside what is left, never in its place.
    let after = files(&folder.join("vault"));
    for (name, bytes) in &before {
        assert_eq!(after.get(name), Some(bytes), "{name}");
    }
    assert_eq!(after.len(), before.len() + 1);
    assert_eq!(after.len(), whole.len());

    let sound = typed(folder, &["verify", "--read", "all"]);
    assert_eq!(sound.code, 0, "{sound:?}");
    assert!(sound.has(", in no manifest: what repairs put"), "{sound:?}");
    let idle = typed(folder, &["verify", "--repair", "--yes", "--read", "all"]);
    assert_eq!(idle.code, 0, "{idle:?}");
    assert!(!idle.has("repair:"), "{idle:?}");
    assert_eq!(files(&folder.join("vault")), after);

    // The other remedy takes a snapshot that needs nothing of it.
    let retaken = pasted(folder, retake);
    assert_eq!(retaken.code, 3, "{retaken:?}");
    assert!(retaken.has("(#2)"), "{retaken:?}");
}

#[test]
fn json_says_what_was_planned_what_was_put_and_which_snapshots_are_whole() {
    let folder = lake();
    let folder = folder.path();
    lose(folder, "blobs");
    let words = ["verify", "--repair", "--yes", "--json"];
    let (code, rows, talk) = deltavault(folder, &words);
    assert_eq!((code, talk.as_str()), (Some(0), ""));
    let of = |wanted: &str| -> Vec<&Value> {
        let rows = rows.iter();
        rows.filter(|row| row["message_type"] == wanted).collect()
    };
    let plan = of("repair_plan")[0];
    assert_eq!((&plan["objects"], &plan["bytes"]), (&1.into(), &8.into()));
    assert_eq!(plan["nowhere"], 0);
    assert_eq!(plan["from"]["the live table"], 1);
    assert_eq!(plan["replica"], Value::Null);
    let repaired = of("repaired")[0];
    let object = repaired["object"].as_str().unwrap();
    assert_eq!(of("finding")[0]["object"], object);
    let put = repaired["put"][0]["key"].as_str().unwrap();
    assert!(put.starts_with(&format!("{object}.")), "{put}");
    assert!(folder.join("vault").join(put).exists());
    assert_eq!(repaired["still_lost"], Value::Array(Vec::new()));
    let mended = of("mended")[0];
    assert_eq!(
        (&mended["whole"], &mended["lacks"]),
        (&true.into(), &0.into())
    );
    assert_eq!(mended["table"], "lake-orders");
    let summary = rows.last().unwrap();
    assert_eq!(summary["message_type"], "verify_summary");
    assert_eq!(
        (&summary["damaged"], &summary["repaired"]),
        (&0.into(), &1.into())
    );

    // Without --yes it ends in an error that says so; without --repair nothing speaks of repairs.
    lose(folder, "blobs");
    let (code, rows, _) = deltavault(folder, &["verify", "--repair", "--json"]);
    assert_eq!(code, Some(4));
    assert_eq!(rows.last().unwrap()["message_type"], "exit_error");
    let (code, rows, _) = deltavault(folder, &["verify", "--json"]);
    assert_eq!(code, Some(12));
    assert!(rows.last().unwrap().get("repaired").is_none());
}

#[test]
fn snapshot_is_called_whole_only_once_all_of_it_was_verified() {
    // The manifest comes back from a replica; the file that it leads to is nowhere.
    let folder = lake();
    let folder = folder.path();
    copy_folder(&folder.join("vault"), &folder.join("replica"));
    for path in files(&folder.join("replica/blobs")).into_keys() {
        fs::remove_file(folder.join("replica/blobs").join(path)).unwrap();
    }
    for area in ["blobs", "manifests", "pages"] {
        lose(folder, area);
    }
    fs::rename(folder.join("lake/orders"), folder.join("gone")).unwrap();
    let words = ["verify", "--repair", "--yes", "--from", "replica"];
    let said = typed(folder, &words);
    assert_eq!(said.code, 12, "{said:?}");
    assert!(!said.has("whole again"), "{said:?}");
    assert!(said.has("still damaged: 1 lost, first blobs/"), "{said:?}");
    assert!(
        said.has("1 are nowhere to be had, not in file://"),
        "{said:?}"
    );
    assert!(said.has("1 DAMAGED"), "{said:?}");
    assert!(said.has("3 objects repaired"), "{said:?}");

    // With the table back at its place the rest follows.
    fs::rename(folder.join("gone"), folder.join("lake/orders")).unwrap();
    let said = typed(folder, &["verify", "--repair", "--yes"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.has("is whole again"), "{said:?}");
    assert_eq!(typed(folder, &["verify", "--read", "all"]).code, 0);
}

#[test]
fn replica_has_to_be_one_of_the_same_vault() {
    let folder = lake();
    let folder = folder.path();
    copy_folder(&folder.join("vault"), &folder.join("replica"));
    let mut other = Command::new(env!("CARGO_BIN_EXE_deltavault"));
    let other = run(other.args(["--vault", "other", "init"]), folder);
    assert_eq!(other.code, 0, "{other:?}");
    for area in ["blobs", "manifests"] {
        lose(folder, area);
    }
    fs::rename(folder.join("lake/orders"), folder.join("gone")).unwrap();
    let before = files(&folder.join("vault"));
    let refused = typed(folder, &["verify", "--repair", "--yes", "--from", "other"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.talk.contains("another vault"), "{refused:?}");
    let none = typed(folder, &["verify", "--repair", "--yes", "--from", "lake"]);
    assert_eq!(none.code, 10, "{none:?}");
    let alone = typed(folder, &["verify", "--repair", "--yes"]);
    assert_eq!(alone.code, 12, "{alone:?}");
    assert!(alone.has("name a replica with --from"), "{alone:?}");
    assert!(
        alone.has("still damaged: 1 lost, first manifests/"),
        "{alone:?}"
    );
    assert_eq!(files(&folder.join("vault")), before);

    let done = typed(
        folder,
        &["verify", "--repair", "--yes", "--from", "replica"],
    );
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.has("2 objects repaired"), "{done:?}");
    assert_eq!(done.out.matches("is whole again").count(), 1, "{done:?}");
    let replica = format!("from file://{}", folder.join("replica").display());
    assert_eq!(done.out.matches(&replica).count(), 4, "{done:?}");
}

#[test]
fn remedies_are_commands_whatever_the_tables_are_called() {
    // Names that a shell takes apart, one that a flag could be, and two tables of one name.
    let places = ["we ird/o'rders", "-x", "a/b/twin", "c/b/twin", "ünï/$HOME"];
    for place in places {
        let folder = small_lake();
        let folder = folder.path();
        for place in places {
            let to = folder.join("lake").join(place);
            fs::create_dir_all(&to).unwrap();
            copy_folder(&folder.join("lake/orders"), &to);
            // Bytes of its own, so that no object is shared.
            let data = to.join("a.parquet");
            let len = fs::metadata(&data).unwrap().len();
            let bytes: Vec<u8> = place
                .bytes()
                .cycle()
                .take(usize::try_from(len).unwrap())
                .collect();
            fs::write(data, bytes).unwrap();
        }
        let tables: Vec<String> = places
            .iter()
            .map(|place| format!("./lake/{place}"))
            .collect();
        let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
        taken(folder, &tables);
        let mut bytes = place.bytes().cycle();
        let data: Vec<u8> = (0..8).map(|_| bytes.next().unwrap()).collect();
        let blob = inside(folder, "blobs")
            .into_iter()
            .find(|path| fs::read(path).unwrap() == data);
        fs::write(blob.unwrap(), b"rottened").unwrap();

        let found = typed(folder, &["verify", "--read", "all"]);
        assert_eq!(found.code, 12, "{place}: {found:?}");
        let [repair, retake] = &commands(&found)[..] else {
            panic!("{place}: {found:?}");
        };
        let plan = pasted(folder, repair);
        assert_eq!(plan.code, 4, "{place}: {repair}: {plan:?}");
        assert!(plan.has("1 from the live table"), "{place}: {plan:?}");
        let done = pasted(folder, &format!("{repair} --yes"));
        assert_eq!(done.code, 0, "{place}: {done:?}");
        assert!(done.has("is whole again"), "{place}: {done:?}");
        let retaken = pasted(folder, retake);
        assert_eq!(retaken.code, 3, "{place}: {retake}: {retaken:?}");
        assert!(retaken.has("(#2)"), "{place}: {retaken:?}");
    }
}

#[test]
fn name_that_the_configuration_gives_to_another_place_is_not_printed() {
    let folder = lake();
    let folder = folder.path();
    lose(folder, "blobs");
    let text =
        "[vault]\nuri = \"vault\"\n\n[[tables]]\nname = \"lake-orders\"\nuri = \"lake/people\"\n";
    fs::write(folder.join("names.toml"), text).unwrap();
    let found = typed(folder, &["--config", "names.toml", "verify"]);
    assert_eq!(found.code, 12, "{found:?}");
    let [repair, _] = &commands(&found)[..] else {
        panic!("{found:?}");
    };
    let done = pasted(folder, &format!("{repair} --yes"));
    assert_eq!(done.code, 0, "{repair}: {done:?}");
    assert!(done.has("is whole again"), "{done:?}");
}
