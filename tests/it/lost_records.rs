//! A ledger that has lost records: nobody is told that all is well, and what a replica still has goes back by a command that
//! is printed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use deltavault::ids::Digest;

use crate::cli::small_lake;
use crate::support::world::{copy_folder, files};

/// Puts back what the replica has.
const REPAIR: [&str; 6] = [
    "verify",
    "lake-orders",
    "--repair",
    "--from",
    "replica",
    "--yes",
];

/// What a command printed, both streams together, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    text: String,
}

impl Said {
    #[track_caller]
    fn ends_with(&self, code: i32, texts: &[&str]) {
        assert_eq!(self.code, code, "{}", self.text);
        for text in texts {
            assert!(self.text.contains(text), "{text:?} not in {}", self.text);
        }
    }

    /// The commands that were printed of which one word is `word`.
    fn commands(&self, word: &str) -> Vec<String> {
        let quoted = self.text.split('`').skip(1).step_by(2);
        let with = quoted.filter(|it| it.split(' ').any(|one| one == word));
        with.map(ToOwned::to_owned).collect()
    }
}

fn run(command: &mut Command, folder: &Path) -> Said {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let command = command.current_dir(folder).env_clear();
    let output = command.env("PATH", path).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Said {
        code: output.status.code().unwrap(),
        text: String::from_utf8(text).unwrap(),
    }
}

/// Runs a command line as it was printed; deltavault is this one, and the replica is the one beside the vault.
fn pasted(folder: &Path, line: &str) -> Said {
    let line = line.replace("REPLICA", &folder.join("replica").display().to_string());
    let line = match line.strip_prefix("deltavault ") {
        Some(rest) => format!("{} {rest}", env!("CARGO_BIN_EXE_deltavault")),
        None => line,
    };
    run(Command::new("sh").args(["-c", &line]), folder)
}

/// A lake with two tables: `orders` with snapshots of versions 0 to 2, `people` with one that was taken last. The replica is
/// as the vault was then.
struct Lake(tempfile::TempDir);

impl Lake {
    fn new() -> Self {
        let lake = Self(small_lake());
        lake.take("lake/orders");
        for version in 1..=2 {
            lake.commit(version);
            lake.take("lake/orders");
        }
        lake.take("lake/people");
        lake.keep_replica();
        lake
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn typed(&self, words: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
        run(
            command.args(["--vault", "vault"]).args(words),
            self.folder(),
        )
    }

    fn commit(&self, version: u64) {
        let log = self.folder().join("lake/orders/_delta_log");
        let commit = log.join(format!("{version:020}.json"));
        fs::write(commit, r#"{"commitInfo":{}}"#).unwrap();
    }

    fn take(&self, table: &str) {
        let said = self.typed(&["snapshot", table]);
        assert_eq!(said.code, 0, "{said:?}");
    }

    fn keep_replica(&self) {
        fs::remove_dir_all(self.folder().join("replica")).ok();
        copy_folder(&self.folder().join("vault"), &self.folder().join("replica"));
    }

    /// The folder of a table in the vault or its replica.
    fn table(&self, vault: &str, slug: &str) -> PathBuf {
        let tables = fs::read_dir(self.folder().join(vault).join("tables")).unwrap();
        let mut paths = tables.map(|entry| entry.unwrap().path());
        let is_of = |path: &PathBuf| path.display().to_string().contains(slug);
        paths.find(is_of).unwrap()
    }

    fn record(&self, vault: &str, seq: u64) -> PathBuf {
        self.table(vault, "lake-orders-")
            .join(format!("ledger/{seq:020}.json"))
    }

    /// The id of a snapshot of `orders`.
    fn id_of(&self, seq: u64) -> String {
        Digest::of(&fs::read(self.record("vault", seq)).unwrap()).to_string()
    }

    fn lose(&self, seq: u64) {
        fs::remove_file(self.record("vault", seq)).unwrap();
    }

    fn vault(&self) -> BTreeMap<String, Vec<u8>> {
        files(&self.folder().join("vault"))
    }

    #[track_caller]
    fn is_as_the_replica(&self) {
        let replica = files(&self.folder().join("replica"));
        assert!(files(&self.folder().join("vault")) == replica);
        self.typed(&["verify"]).ends_with(0, &["no problems found"]);
    }
}

/// Repairs by the command that was printed: it asks first, and then heals all.
#[track_caller]
fn heals(lake: &Lake, said: &Said) {
    let commands = said.commands("REPLICA");
    let Some(repair) = commands.first() else {
        panic!("{}", said.text);
    };
    let before = lake.vault();
    let asked = pasted(lake.folder(), repair);
    asked.ends_with(4, &["would be put again", "from file://", "--yes"]);
    assert!(lake.vault() == before);
    let done = pasted(lake.folder(), &format!("{repair} --yes"));
    done.ends_with(
        0,
        &[
            " put again\n",
            "put again tables/",
            "/replica",
            "no problems found",
        ],
    );
    assert!(!done.text.contains("would be"), "{done:?}");
    lake.is_as_the_replica();
}

/// The next snapshot took its slot: only its manifest is left.
#[test]
fn record_that_was_lost_below_a_newer_snapshot_leaves_a_trace() {
    let lake = Lake::new();
    let lost = lake.id_of(3);
    lake.lose(3);
    lake.commit(3);
    let says = format!("what was published into slot 3 is lost: {}", &lost[..8]);
    lake.typed(&["snapshot", "lake/orders"])
        .ends_with(3, &[&says]);
    let traces = [&says, "no record names 1 manifest, the first of version 2"];
    lake.typed(&["verify"]).ends_with(12, &traces);
    // The table keeps all that it has, and is not in the way of others.
    lake.typed(&["prune", "--yes"])
        .ends_with(3, &["so all of its snapshots are kept"]);
    lake.commit(4);
    lake.typed(&["snapshot", "lake/orders", "--distrust", &lost[..8]])
        .ends_with(0, &["v4"]);
    lake.typed(&["verify"]).ends_with(3, &["given up since"]);
}

#[test]
fn lost_newest_record_is_a_finding_and_goes_back_from_a_replica() {
    let lake = Lake::new();
    lake.lose(3);
    for words in [&["verify"][..], &["verify", "lake-orders"]] {
        let said = lake.typed(words);
        let says = [
            "this manifest of version 2",
            "finding lake-orders: manifests/",
        ];
        said.ends_with(
            12,
            &[&says[..], &["published into slot 3 is lost"]].concat(),
        );
        assert_eq!(said.text.matches("no record names").count(), 1, "{said:?}");
    }
    // Of another table there is nothing to say.
    lake.typed(&["verify", "lake-people"]).ends_with(0, &[]);
    let restored = lake.typed(&["restore", "lake-orders", "--latest", "--dry-run"]);
    restored.ends_with(12, &["published into slot 3 is lost"]);
    heals(&lake, &restored);
    lake.lose(3);
    heals(&lake, &lake.typed(&["verify", "lake-orders"]));
    let sound = lake.typed(&["restore", "lake-orders", "--latest", "--dry-run"]);
    assert!(!sound.text.contains("has a manifest of"), "{sound:?}");
    // Several at the end, by the whole vault.
    lake.lose(3);
    lake.lose(2);
    heals(&lake, &lake.typed(&["verify"]));
}

#[test]
fn restore_takes_no_older_snapshot_for_the_newest_where_a_record_is_lost_below_others() {
    let lake = Lake::new();
    lake.lose(2);
    fs::remove_dir_all(lake.folder().join("lake/orders")).unwrap();
    for how in [
        &["--latest", "--yes"][..],
        &["--at", "2100-01-01T00:00Z", "--yes"],
        &[],
        &["--heal", "--yes"],
    ] {
        let refused = lake.typed(&[&["restore", "lake-orders"], how].concat());
        refused.ends_with(
            12,
            &[
                "error: the ledger of lake-orders is not whole: a snapshot newer than ",
                "/ledger/00000000000000000002.json: slot 2 is empty",
                " verify lake-orders --repair --from REPLICA`",
            ],
        );
        assert!(!lake.folder().join("lake/orders").exists());
    }
    let refused = lake.typed(&["restore", "lake-orders", "--to", "copy"]);
    let [unlinked, restore] = &refused.commands("--snapshot")[..] else {
        panic!("{refused:?}");
    };
    refused.ends_with(12, &["slot 3 has a snapshot of v2, ", "does not prove"]);
    assert!(unlinked.contains(&lake.id_of(3)), "{unlinked}");
    pasted(lake.folder(), &format!("{restore} --yes")).ends_with(0, &[]);
    assert!(
        lake.folder()
            .join("copy/_delta_log/00000000000000000000.json")
            .exists()
    );
    lake.typed(&[
        "restore",
        "lake-orders",
        "--version",
        "0",
        "--to",
        "other",
        "--yes",
    ])
    .ends_with(0, &[]);
    heals(&lake, &lake.typed(&["verify", "lake-orders"]));
    lake.typed(&["restore", "lake-orders", "--latest", "--yes"])
        .ends_with(0, &["v2"]);
}

#[test]
fn snapshot_above_a_lost_record_comes_back_by_its_id_alone() {
    let lake = Lake::new();
    let held = files(&lake.folder().join("lake/orders"));
    let id = lake.id_of(3);
    lake.lose(2);
    fs::remove_dir_all(lake.folder().join("lake/orders")).unwrap();
    for which in [
        &["--version", "2"][..],
        &["--latest"],
        &["--snapshot", "0123456789"],
    ] {
        let words = [&["restore", "lake-orders", "--yes"], which].concat();
        lake.typed(&words).ends_with(12, &[]);
    }
    lake.typed(&["restore", "lake-orders", "--snapshot", &id[..12], "--yes"])
        .ends_with(3, &["slot 3 has a snapshot of v2, ", "UNPROVEN"]);
    assert_eq!(files(&lake.folder().join("lake/orders")), held);
}

#[test]
fn record_of_another_slot_or_table_is_no_snapshot_of_a_broken_ledger() {
    let lake = Lake::new();
    let (slot, ledger) = (lake.record("vault", 3), lake.table("vault", "lake-people-"));
    let other = files(&ledger.join("ledger")).into_values().next().unwrap();
    lake.lose(2);
    let moved = slot.with_file_name("00000000000000000004.json");
    fs::rename(&slot, &moved).unwrap();
    fs::write(&slot, other).unwrap();
    let said = lake.typed(&["restore", "lake-orders"]);
    said.ends_with(12, &[]);
    assert!(!said.text.contains("has a snapshot of"), "{said:?}");
}

#[test]
fn table_whose_ledger_is_gone_is_a_finding_and_goes_back_from_a_replica() {
    let lake = Lake::new();
    fs::remove_dir_all(lake.table("vault", "lake-orders-")).unwrap();
    let found = lake.typed(&["verify"]);
    found.ends_with(
        3,
        &["3 manifests up to version 2 of a table of which there is no record"],
    );
    heals(&lake, &found);
    fs::remove_dir_all(lake.table("vault", "lake-orders-")).unwrap();
    pasted(
        lake.folder(),
        "deltavault --vault vault verify lake-orders --repair --from replica --yes",
    )
    .ends_with(0, &["put again tables/"]);
    lake.is_as_the_replica();
    fs::remove_dir_all(lake.folder().join("vault/tables")).unwrap();
    let refused = lake.typed(&["restore", "lake-orders"]);
    refused.ends_with(
        12,
        &["no record of \"lake-orders\"", "their records are lost"],
    );
    assert!(
        !refused.text.contains("take the first snapshot"),
        "{refused:?}"
    );
    let found = lake.typed(&["verify"]);
    found.ends_with(3, &["of a table of which there is no record"]);
    heals(&lake, &found);
    // Who names the table gets its records back, too, and a backup of a folder goes on.
    fs::remove_dir_all(lake.folder().join("vault/tables")).unwrap();
    lake.typed(&[
        "verify",
        "lake-orders",
        "--repair",
        "--from",
        "replica",
        "--yes",
    ])
    .ends_with(0, &["put again tables/"]);
    fs::remove_dir_all(lake.folder().join("vault/tables")).unwrap();
    let mut night = Command::new(env!("CARGO_BIN_EXE_deltavault"));
    let night = night.args(["--vault", "../vault", "snapshot", "orders"]);
    run(night, &lake.folder().join("lake")).ends_with(0, &["(#1)"]);
}

#[test]
fn what_lies_in_a_slot_is_never_replaced() {
    // A damaged record: it is named, and moved away by hand.
    let lake = Lake::new();
    let repair = REPAIR;
    lake.lose(3);
    fs::write(lake.record("vault", 3), "{").unwrap();
    let told = lake.typed(&repair);
    told.ends_with(
        12,
        &["the replica has a record in this slot, and something else lies here"],
    );
    assert_eq!(fs::read(lake.record("vault", 3)).unwrap(), b"{");
    let [away] = &told.commands("mv")[..] else {
        panic!("{told:?}");
    };
    pasted(lake.folder(), away).ends_with(0, &[]);
    lake.typed(&repair).ends_with(0, &["put again tables/"]);
    lake.is_as_the_replica();

    // A later snapshot took the slot.
    lake.lose(3);
    lake.commit(3);
    lake.typed(&["snapshot", "lake/orders"])
        .ends_with(3, &["is lost"]);
    let theirs = fs::read(lake.record("vault", 3)).unwrap();
    let told = lake.typed(&repair);
    told.ends_with(12, &["the replica has another record in this slot"]);
    assert_eq!(fs::read(lake.record("vault", 3)).unwrap(), theirs);
    let [restore] = &told.commands("restore")[..] else {
        panic!("{told:?}");
    };
    pasted(lake.folder(), &format!("{restore} --to copy --yes")).ends_with(0, &["v2"]);

    // What the replica has does not go on from what is here.
    fs::remove_file(lake.record("vault", 3)).unwrap();
    let forged = fs::read_to_string(lake.record("replica", 3)).unwrap();
    let below = forged.find("\"sha256\":\"").unwrap();
    let forged = format!(
        "{}{}",
        &forged[..below],
        forged[below..].replacen("\":\"", "\":\"00", 1)
    );
    fs::remove_file(lake.record("replica", 3)).unwrap();
    fs::write(lake.record("replica", 3), forged).unwrap();
    lake.typed(&repair);
    assert!(!lake.record("vault", 3).exists());
}

#[test]
fn record_does_not_go_back_below_one_that_was_published_over_it() {
    let lake = Lake::new();
    let repair = REPAIR;
    let slot = lake.record("vault", 3);
    fs::write(&slot, "{").unwrap();
    lake.commit(3);
    let night = lake.typed(&["snapshot", "lake/orders"]);
    assert!(night.text.contains("(#4)"), "{night:?}");
    let told = lake.typed(&repair);
    told.ends_with(12, &["over which a later one was published"]);
    assert_eq!(told.commands("mv"), [""; 0]);
    let [restore] = &told.commands("restore")[..] else {
        panic!("{told:?}");
    };
    pasted(lake.folder(), &format!("{restore} --to copy --yes")).ends_with(0, &["v2"]);

    // Moved away all the same.
    fs::remove_file(&slot).unwrap();
    let told = lake.typed(&repair);
    told.ends_with(12, &["fits none of those around it", "move it back"]);
    assert!(!slot.exists());
    fs::write(&slot, "{").unwrap();
    lake.typed(&[
        "restore",
        "lake/orders",
        "--latest",
        "--to",
        "newest",
        "--yes",
    ])
    .ends_with(0, &["v3"]);
}

#[test]
fn latest_is_a_choice_where_a_snapshot_took_the_slot_of_a_lost_one() {
    let lake = Lake::new();
    lake.commit(3);
    lake.take("lake/orders");
    lake.lose(2);
    lake.commit(4);
    lake.typed(&["snapshot", "lake/orders"])
        .ends_with(3, &["v4", "(#2)"]);
    let held = files(&lake.folder().join("lake/orders"));
    fs::remove_dir_all(lake.folder().join("lake/orders")).unwrap();
    for which in [&["--latest", "--yes"][..], &["--yes"]] {
        let said = lake.typed(&[&["restore", "lake-orders"], which].concat());
        said.ends_with(
            4,
            &[
                "taken last is not the last of the ledger",
                &lake.id_of(2)[..8],
            ],
        );
    }
    let id = lake.id_of(2);
    lake.typed(&["restore", "lake-orders", "--snapshot", &id, "--yes"])
        .ends_with(0, &["v4"]);
    assert_eq!(files(&lake.folder().join("lake/orders")), held);
    // Nothing can go back into the slot: what is above it is given up, and the ledger is whole again.
    let said = lake.typed(&["verify"]);
    said.ends_with(12, &["gives those up", "--distrust"]);
    lake.typed(&["prune", "--yes"]).ends_with(12, &[]);
    let distrust = said.commands("--distrust");
    let distrust = distrust.iter().find(|it| it.contains(&lake.id_of(3)[..8]));
    pasted(lake.folder(), distrust.unwrap()).ends_with(0, &["v4"]);
    lake.typed(&["verify"]).ends_with(3, &["given up since"]);
    lake.typed(&["prune", "--yes"]).ends_with(0, &[]);
    lake.typed(&["restore", "lake-orders", "--latest", "--yes"])
        .ends_with(0, &["v4"]);
    let given_up = lake.id_of(4);
    let copy = ["--snapshot", &given_up, "--to", "copy", "--yes"];
    lake.typed(&[&["restore", "lake-orders"], &copy[..]].concat())
        .ends_with(0, &["v3"]);
}

#[test]
fn who_writes_where_an_event_is_lost_below_others_is_told() {
    let lake = Lake::new();
    for seq in 1..=2 {
        lake.typed(&["hold", &lake.id_of(seq)]).ends_with(0, &[]);
    }
    let events = lake.table("vault", "lake-orders-").join("events/holder");
    fs::remove_file(events.join("00000000000000000001.json")).unwrap();
    lake.typed(&["hold", &lake.id_of(3)])
        .ends_with(3, &["slot 1 is empty", "hold again what it held"]);
}

/// Whoever may create objects can copy records into a folder whose name has the same digits.
#[test]
fn folder_of_another_name_with_the_same_digits_is_no_table() {
    let lake = Lake::new();
    let honest = lake.table("vault", "lake-orders-");
    let name = honest.file_name().unwrap().to_str().unwrap();
    let twin = honest.with_file_name(name.replace("lake-orders", "aa"));
    copy_folder(&honest, &twin);
    fs::remove_dir_all(lake.folder().join("lake/orders")).unwrap();
    lake.typed(&["restore", "lake/orders", "--latest", "--yes"])
        .ends_with(0, &["v2"]);
    lake.typed(&["hold", &lake.id_of(3)]).ends_with(0, &[]);
    assert!(honest.join("events").exists());
    assert!(!twin.join("events").exists());
}

#[test]
fn lost_events_go_back_as_records_do() {
    let lake = Lake::new();
    let listed = lake.typed(&["snapshots", "lake-orders", "--json"]);
    let row: serde_json::Value = serde_json::from_str(listed.text.lines().next().unwrap()).unwrap();
    let id = row["snapshot"].as_str().unwrap();
    lake.typed(&["hold", id]).ends_with(0, &[]);
    lake.typed(&["release", id]).ends_with(0, &[]);
    lake.keep_replica();
    let events = lake.table("vault", "lake-orders-").join("events/holder");
    fs::remove_file(events.join("00000000000000000001.json")).unwrap();
    let found = lake.typed(&["verify"]);
    found.ends_with(
        12,
        &["events/holder/00000000000000000001.json: slot 1 is empty"],
    );
    heals(&lake, &found);
}

#[test]
fn place_without_a_replica_is_refused_before_anything_is_verified() {
    let lake = Lake::new();
    lake.lose(2);
    let said = lake.typed(&["verify", "--repair", "--from", "replika", "--yes"]);
    said.ends_with(
        10,
        &[
            "--from names no replica: there is no vault at ",
            "check the spelling",
        ],
    );
    assert!(!said.text.contains(" init`"), "{said:?}");
    assert!(!said.text.contains("DAMAGE"), "{said:?}");
    // The replica that was named is in the commands that are printed.
    fs::remove_dir_all(lake.folder().join("vault/blobs")).unwrap();
    let said = lake.typed(&["verify", "--repair", "--from", "replica"]);
    let replica = lake.folder().join("replica").display().to_string();
    assert!(
        said.commands("--repair")
            .iter()
            .all(|it| it.ends_with(&replica)),
        "{said:?}"
    );
}

#[test]
fn the_last_record_above_a_lost_one_can_be_given_up() {
    let lake = Lake::new();
    let upper = lake.id_of(3);
    lake.lose(2);
    lake.commit(3);
    lake.typed(&["snapshot", "lake/orders"])
        .ends_with(3, &["(#2)"]);
    // Nobody has the record of slot 2 that the one of slot 3 names.
    lake.typed(&["verify"])
        .ends_with(12, &["`snapshot --distrust ID` gives", "restore"]);
    lake.typed(&["restore", "lake/orders"])
        .ends_with(12, &[&upper]);
    let program = format!("`{} --vault", env!("CARGO_BIN_EXE_deltavault"));
    lake.typed(&["verify", "--repair", "--from", "replica"])
        .ends_with(12, &["restores what is only in the replica", &program]);
    lake.typed(&["verify", "--repair", "--from", "vault"])
        .ends_with(2, &["it names this vault itself"]);
    lake.commit(4);
    lake.typed(&["snapshot", "lake/orders", "--distrust", &upper[..8]])
        .ends_with(3, &["v4", "(#4)"]);
    let said = lake.typed(&["verify"]);
    said.ends_with(3, &["given up since"]);
    assert!(!said.text.contains("not below it"), "{}", said.text);
    lake.typed(&["prune", "--yes"]).ends_with(0, &[]);
    lake.commit(5);
    lake.take("lake/orders");
    lake.typed(&["restore", "lake/orders"])
        .ends_with(0, &["live v5 healthy"]);
    // By its id it is still there.
    let copy = ["--snapshot", &upper, "--to", "copy", "--yes"];
    lake.typed(&[&["restore", "lake/orders"], &copy[..]].concat())
        .ends_with(3, &["v2"]);
}
