//! Anyone who may create records and events can put an object where it stands in the way of every later command. What the
//! owner calls forged is treated as absent.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use deltavault::format::TableKey;
use deltavault::ids::Digest;
use serde_json::{Value, json};

use self::Plant::{Bytes, LinkTo, Pipe};
use crate::store_local::make_pipe;
use crate::told_live::{Lake, all_of};

const JUNK: &str =
    r#"{"format":1,"requires":["read-me-never"],"seq":1,"previous":null,"tool":"evil 9"}"#;

/// What somebody plants.
#[derive(Debug, Clone, Copy)]
enum Plant<'a> {
    Bytes(&'a str),
    Pipe,
    LinkTo(&'a str),
}

/// Puts bytes into a slot of the table, and returns their key.
fn plant(lake: &Lake, slot: &str, body: &str) -> String {
    put(lake, slot, Bytes(body))
}

/// Puts anything into a slot of the table, and returns its key.
fn put(lake: &Lake, slot: &str, what: Plant<'_>) -> String {
    let tables = lake.folder().join("vault/tables");
    let table = fs::read_dir(tables).unwrap().next().unwrap().unwrap();
    let path = table.path().join(slot);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    match what {
        Bytes(body) => fs::write(&path, body).unwrap(),
        Pipe => make_pipe(&path),
        LinkTo(target) => symlink(target, &path).unwrap(),
    }
    format!("tables/{}/{slot}", table.file_name().to_str().unwrap())
}

/// How `verify`, `prune --dry-run` and `snapshots` end, and what they print.
fn codes(lake: &Lake, flags: &[&str]) -> ([Option<i32>; 3], String) {
    let mut all = String::new();
    let codes = [&["verify"][..], &["prune", "--dry-run"], &["snapshots"]].map(|words| {
        let (code, said) = lake.run(&[words, flags].concat());
        all.push_str(&said);
        code
    });
    (codes, all)
}

#[test]
fn a_hold_that_may_be_out_of_sight_is_said_where_holds_are_shown() {
    let lake = Lake::with_snapshot();
    let said = lake.ends(&["snapshots"], 0);
    assert!(!said.contains("out of sight"), "{said}");
    let key = plant(&lake, "events/holder/00000000000000000001.json", "{");
    let said = lake.ends(&["snapshots"], 0);
    all_of(
        &said,
        &["lake-t: a hold may be out of sight", "verify` names"],
    );
    let said = lake.ends(&["snapshots", "--forged", &key], 0);
    assert!(!said.contains("out of sight"), "{said}");
}

#[test]
fn what_is_no_file_stands_in_nobody_s_way() {
    for what in [Pipe, LinkTo("/etc/passwd"), LinkTo("/nowhere")] {
        let mut lake = Lake::with_snapshot();
        put(&lake, "ledger/00000000000000000002.json", what);
        put(&lake, "events/holder/00000000000000000001.json", what);
        let said = lake.ends(&["verify"], 3);
        assert!(said.contains("slot 2 is not a record"), "{said}");
        lake.append();
        for words in [&["snapshot", "lake/t"][..], &["hold", "lake-t"]] {
            let (code, said) = lake.run(words);
            assert_eq!(code, Some(3), "{what:?} {words:?}: {said}");
        }
        lake.ends(&["snapshots"], 0);
        lake.ends(&["restore", "lake-t", "--latest", "--to", "x", "--yes"], 0);
    }
}

#[test]
fn what_stands_in_the_way_is_treated_as_absent_when_its_owner_says_so() {
    let seal = "0".repeat(64);
    for (slot, what) in [
        ("ledger/09999999999999999999.json", Bytes("{}")),
        ("events/holder/09999999999999999999.json", Bytes("{}")),
        ("events/holder/00000000000000000001.json", Bytes("garbage")),
        ("events/holder/00000000000000000001.json", Bytes(JUNK)),
        ("events/pruner/00000000000000000001.json", Bytes(JUNK)),
        ("events/restorer/00000000000000000001.json", Bytes(JUNK)),
        (
            "events/restorer/00000000000000000001.json",
            Bytes("garbage"),
        ),
        ("ledger/00000000000000000002.json", Pipe),
        ("ledger/00000000000000000002.json", LinkTo("/etc/passwd")),
        ("ledger/00000000000000000002.json", LinkTo("/nowhere")),
        ("events/holder/00000000000000000001.json", Pipe),
        ("events/pruner/00000000000000000001.json", LinkTo("/etc")),
        (&format!("ledger/00000000000000000002-{seal}"), Bytes("")),
        (
            &format!("events/holder/00000000000000000001-{seal}"),
            Bytes(""),
        ),
    ] {
        let mut lake = Lake::with_snapshot();
        let key = put(&lake, slot, what);
        let (before, said) = codes(&lake, &[]);
        assert_ne!(before, [Some(0); 3], "{slot}: {said}");
        let flags = ["--forged", key.as_str()];
        let (after, said) = codes(&lake, &flags);
        for code in after {
            assert!(matches!(code, Some(0 | 3)), "{slot} {after:?}: {said}");
        }
        let named = "treated as absent, as forged: 1 object of the vault";
        assert_eq!(said.matches(named).count(), 3, "{said}");
        // Honest work goes on: a night, a hold, its release.
        lake.append();
        for words in [
            &["snapshot", "lake/t"][..],
            &["hold", "lake-t"],
            &["release", "lake-t"],
        ] {
            let (code, said) = lake.run(&[words, &flags].concat());
            assert!(
                matches!(code, Some(0 | 3)),
                "{slot} {words:?} {code:?}: {said}"
            );
        }
        let (after, said) = codes(&lake, &flags);
        for code in after {
            assert!(matches!(code, Some(0 | 3)), "{slot} {after:?}: {said}");
        }
        // The configuration says so every night.
        let config = format!("[vault]\nuri = \"vault\"\nforged = [\"{key}\"]\n");
        fs::write(lake.folder().join("dv.toml"), config).unwrap();
        let (configured, said) = codes(&lake, &["--config", "dv.toml"]);
        assert_eq!(configured, after, "{said}");
        lake.ends(
            &[
                "restore", "lake-t", "--latest", "--to", "copy", "--yes", flags[0], flags[1],
            ],
            0,
        );
    }
}

#[test]
fn who_writes_above_a_damaged_event_of_the_same_chain_is_told_what_it_may_have_been() {
    let (hold, retire) = (&["hold", "lake-t"][..], &["retire", "lake-t", "--yes"][..]);
    for (role, words, was, other) in [
        ("holder", hold, "hold again what it held", retire),
        ("pruner", retire, "may have been a retirement", hold),
    ] {
        let lake = Lake::with_snapshot();
        lake.ends(words, 0);
        let slot = format!("events/{role}/00000000000000000001.json");
        let key = plant(&lake, &slot, "{");
        let said = lake.ends(other, 0);
        assert!(!said.contains(&key), "{said}");
        let said = lake.ends(words, 3);
        assert!(said.contains(&key) && said.contains(was), "{said}");
        lake.ends(words, 0);
    }
}

#[test]
fn nothing_but_slots_and_seals_can_be_called_forged() {
    let lake = Lake::with_snapshot();
    for wrong in ["vault.json", "manifests/ab/cd", ""] {
        let said = lake.ends(&["verify", "--forged", wrong], 2);
        assert!(
            said.contains("it is the key of a record, an event or a seal"),
            "{said}"
        );
    }
    let journal = format!("runs/{0}/{1:020}/{0}-0.jsonl.zst@v1", "0".repeat(32), 4);
    let said = lake.ends(&["verify", "--forged", &journal], 2);
    assert!(said.contains("or the key of a journal"), "{said}");
    let config = "[vault]\nforged = [\"vault.json\"]\n";
    fs::write(lake.folder().join("dv.toml"), config).unwrap();
    let said = lake.ends(&["--config", "dv.toml", "verify"], 2);
    assert!(said.contains("vault.forged"), "{said}");
}

/// The folder of the table in the vault.
fn in_vault(lake: &Lake) -> PathBuf {
    let tables = lake.folder().join("vault/tables");
    fs::read_dir(tables)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
}

/// Appends a record to the ledger that differs from the first one by `change`, with its seal; returns its key and its id.
fn append_record(lake: &Lake, change: impl FnOnce(&mut Value)) -> (String, String) {
    let first = in_vault(lake).join("ledger/00000000000000000001.json");
    let first = fs::read(first).unwrap();
    let mut record: Value = serde_json::from_slice(&first).unwrap();
    record["seq"] = json!(2);
    record["previous"] = json!({"seq": 1, "sha256": Digest::of(&first).to_string()});
    change(&mut record);
    let body = record.to_string();
    let id = Digest::of(body.as_bytes()).to_string();
    let key = plant(lake, "ledger/00000000000000000002.json", &body);
    plant(lake, &format!("ledger/00000000000000000002-{id}"), "");
    (key, id)
}

#[test]
fn events_of_the_restorer_stop_nothing_but_what_turns_the_table_back() {
    let elsewhere = "f".repeat(64);
    let deed = format!(
        r#"{{"rewind":{{"from":9,"safety":"{elsewhere}","snapshot":"{elsewhere}","version":0}}}}"#
    );
    let forged = json!({"action": serde_json::from_str::<Value>(&deed).unwrap(), "at": "2026-02-01T00:00:00Z",
        "format": 1, "principal": "evil", "requires": [], "run": "05".repeat(16), "seq": 1, "tool": "evil 9"});
    let mut newer = forged.clone();
    newer["requires"] = json!(["future"]);
    for (body, code) in [(newer.to_string(), 1), (forged.to_string(), 0)] {
        let mut lake = Lake::with_snapshot();
        lake.append();
        let key = plant(&lake, "events/restorer/00000000000000000001.json", &body);
        lake.ends(
            &["restore", "lake-t", "--latest", "--to", "copy", "--yes"],
            0,
        );
        lake.ends(
            &["restore", "lake-t", "--version", "1", "--heal", "--yes"],
            0,
        );
        lake.remove("r=a/1.parquet");
        lake.ends(
            &["restore", "lake-t", "--version", "1", "--heal", "--yes"],
            0,
        );
        let rewind = [
            "restore",
            "lake-t",
            "--version",
            "1",
            "--rewind",
            "--dry-run",
        ];
        let said = lake.ends(&rewind, code);
        if code == 1 {
            all_of(&said, &["--forged"]);
            let words = [&rewind[..], &["--forged", &key]].concat();
            lake.ends(&words, 0);
        }
    }
}

#[test]
fn what_vouches_for_a_forged_object_goes_with_it() {
    let lake = Lake::with_snapshot();
    let (key, _) = append_record(&lake, |record| record["requires"] = json!(["future"]));
    lake.ends(&["restore", "lake-t", "--latest"], 1);
    lake.ends(&["verify", "--forged", &key], 3);
    lake.ends(&["snapshot", "lake/t", "--forged", &key], 0);
}

#[test]
fn a_record_that_needs_a_newer_tool_is_given_up_by_its_id() {
    let lake = Lake::with_snapshot();
    let first = fs::read(in_vault(&lake).join("ledger/00000000000000000001.json")).unwrap();
    let first = Digest::of(&first).to_string();
    let (_, id) = append_record(&lake, |record| record["requires"] = json!(["future"]));
    let said = lake.ends(&["restore", "lake-t", "--latest"], 1);
    all_of(&said, &[&format!("--distrust {id}"), "--forged"]);
    // What is older can be had all the same.
    let words = [
        "restore",
        "lake-t",
        "--snapshot",
        &first,
        "--to",
        "copy",
        "--yes",
    ];
    lake.ends(&words, 0);
    lake.ends(&["snapshot", "lake/t", "--distrust", &id], 0);
    lake.ends(&["restore", "lake-t", "--latest"], 0);
}

#[test]
fn a_record_of_another_table_takes_no_name_away() {
    let lake = Lake::with_snapshot();
    append_record(&lake, |record| {
        let uri = record["table"]["uri"]
            .as_str()
            .unwrap()
            .replace("lake/t", "lake/other");
        record["table"]["uri"] = json!(uri);
    });
    fs::remove_dir_all(lake.table()).unwrap();
    lake.ends(&["snapshots", "lake-t"], 0);
    lake.ends(&["restore", "lake-t", "--latest", "--yes"], 0);
    assert!(lake.commit_file(1).exists());
    lake.ends(&["verify", "lake-t"], 3);
}

#[test]
fn a_record_that_must_not_be_built_upon_is_given_up_by_its_id() {
    let mut lake = Lake::with_snapshot();
    let (_, id) = append_record(&lake, |record| record["requires"] = json!(["write:braids"]));
    lake.append();
    let said = lake.ends(&["snapshot", "lake/t"], 1);
    all_of(&said, &[&format!("--distrust {id}"), "--forged"]);
    lake.ends(&["snapshot", "lake/t", "--distrust", &id], 0);
}

#[test]
fn a_hold_of_what_never_was_names_the_flag_that_treats_it_as_absent() {
    let lake = Lake::with_snapshot();
    let action = json!({"hold": {"snapshot": "f".repeat(64)}});
    let event = json!({"action": action, "at": "2026-02-01T00:00:00Z", "format": 1, "principal": "evil",
        "requires": [], "run": "05".repeat(16), "seq": 1, "tool": "evil 9"});
    let slot = "events/holder/00000000000000000001.json";
    let key = plant(&lake, slot, &event.to_string());
    let said = lake.ends(&["prune", "--dry-run"], 3);
    all_of(&said, &[&format!("--forged {key} treats")]);
    lake.ends(&["prune", "--dry-run", "--forged", &key], 0);
}

#[test]
fn commands_that_are_printed_treat_the_same_objects_as_absent() {
    let lake = Lake::with_snapshot();
    let key = plant(&lake, "events/holder/00000000000000000001.json", JUNK);
    lake.remove("r=a/1.parquet");
    let said = lake.ends(&["restore", "lake-t", "--forged", &key], 4);
    let commands = said
        .lines()
        .filter(|line| line.contains("deltavault ") && line.contains(" restore "));
    let commands: Vec<_> = commands.collect();
    assert!(!commands.is_empty(), "{said}");
    for command in commands {
        assert!(
            command.contains(&format!("--forged {key} restore ")),
            "{command}"
        );
    }
}

#[test]
fn a_forged_record_takes_no_other_tables_name_and_says_so_in_few_words() {
    for name in ["lake-orders", "the key of the other", "n"] {
        let lake = Lake::with_snapshot();
        let (_, id) = append_record(&lake, |record| {
            let name = match name {
                "n" => "n".repeat(900_000),
                "lake-orders" => name.to_owned(),
                _ => {
                    let uri = format!(
                        "file://{}/lake/orders",
                        lake.folder().canonicalize().unwrap().display()
                    );
                    TableKey::of("local", &uri.parse().unwrap())
                        .unwrap()
                        .to_string()
                }
            };
            record["table"]["name"] = json!(name);
        });
        lake.ends(&["snapshot", "lake/orders"], 0);
        let said = lake.ends(&["snapshots", "lake-orders"], 0);
        assert!(
            said.contains("lake-orders") && !said.contains("is the name of"),
            "{said}"
        );
        for words in [&["snapshots"][..], &["verify"], &["restore", "lake/t"]] {
            let (_, said) = lake.run(words);
            assert!(said.len() < 20_000, "{words:?}: {}", said.len());
        }
        // What does not build on it has the name of its place again.
        let said = lake.ends(&["snapshot", "lake/t", "--distrust", &id], 0);
        all_of(&said, &["lake-t v1 is snapshot"]);
    }
}

#[test]
fn a_slot_of_a_table_that_never_was_is_absent_when_its_owner_says_so() {
    let lake = Lake::with_snapshot();
    let table = "tables/x-77777777777777777777777777777777";
    let slot = "ledger/00000000000000000001.json";
    let path = lake.folder().join("vault").join(table).join(slot);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "junk").unwrap();
    lake.ends(&["snapshots"], 12);
    let flags = ["--forged", &format!("{table}/{slot}")];
    let (codes, said) = codes(&lake, &flags);
    for code in codes {
        assert!(matches!(code, Some(0 | 3)), "{codes:?}: {said}");
    }
}

#[test]
fn an_event_of_a_table_that_never_was_is_found_by_verify_and_its_key_is_the_way_out() {
    let lake = Lake::with_snapshot();
    let table = "tables/x-77777777777777777777777777777777";
    let key = format!("{table}/events/holder/00000000000000000001.json");
    let event = json!({"action": {"hold": {"snapshot": "f".repeat(64)}}, "at": "2026-02-01T00:00:00Z", "format": 1,
        "principal": "x", "requires": [], "run": "05".repeat(16), "seq": 1, "tool": "deltavault 9"});
    let path = lake.folder().join("vault").join(&key);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, event.to_string()).unwrap();
    let said = lake.ends(&["verify"], 12);
    all_of(
        &said,
        &[&key, "no record that they could be about", "--forged KEY"],
    );
    let said = lake.ends(&["prune", "--dry-run"], 12);
    all_of(&said, &["--forged KEY"]);
    let flags = ["--forged", key.as_str()];
    let (codes, said) = codes(&lake, &flags);
    assert_eq!(codes, [Some(3), Some(0), Some(0)], "{said}");
}

#[test]
fn what_this_tool_must_not_go_on_from_is_found_by_verify() {
    for (feature, what) in [
        ("write:x", "no snapshot is taken after it"),
        ("delete:x", "prune deletes nothing"),
    ] {
        let mut lake = Lake::with_snapshot();
        let (_, id) = append_record(&lake, |record| record["requires"] = json!([feature]));
        let said = lake.ends(&["verify"], 3);
        all_of(&said, &[what, &format!("--distrust {}", &id[..8])]);
        let (_, said) = lake.run(&["prune", "--dry-run"]);
        let names_it = said.contains(&format!("--distrust {id}"));
        assert_eq!(names_it, feature == "delete:x", "{said}");
        lake.append();
        lake.ends(&["snapshot", "lake/t", "--distrust", &id], 0);
        let said = lake.ends(&["verify"], 0);
        assert!(!said.contains("--distrust"), "{said}");
    }
}

#[test]
fn an_event_after_which_nothing_may_be_written_or_deleted_is_found_by_verify() {
    for (role, feature, what) in [
        ("holder", "write:x", "no event is written after it"),
        ("holder", "delete:x", "prune deletes nothing of the table"),
        ("pruner", "delete:x", "prune deletes nothing of the table"),
    ] {
        let lake = Lake::with_snapshot();
        let action = if role == "holder" { "hold" } else { "retire" };
        let event = json!({"action": {action: {"snapshot": "f".repeat(64)}}, "at": "2026-02-01T00:00:00Z", "format": 1,
            "principal": "x", "requires": [feature], "run": "05".repeat(16), "seq": 1, "tool": "deltavault 9"});
        let slot = format!("events/{role}/00000000000000000001.json");
        let key = plant(&lake, &slot, &event.to_string());
        let said = lake.ends(&["verify"], 3);
        all_of(&said, &[&key, what, "--forged KEY"]);
        lake.ends(&["verify", "--forged", &key], 3);
        lake.ends(&["prune", "--dry-run", "--forged", &key], 0);
    }
}

#[test]
fn an_event_that_needs_a_newer_tool_is_named_by_its_key() {
    let lake = Lake::with_snapshot();
    let event = json!({"action": {"hold": {"snapshot": "f".repeat(64)}}, "at": "2026-02-01T00:00:00Z", "format": 1,
        "principal": "x", "requires": ["x"], "run": "05".repeat(16), "seq": 1, "tool": "deltavault 9"});
    let key = plant(
        &lake,
        "events/holder/00000000000000000001.json",
        &event.to_string(),
    );
    let said = lake.ends(&["verify"], 1);
    all_of(&said, &[&key, "--forged KEY"]);
    lake.ends(&["verify", "--forged", &key], 3);
}

#[test]
fn a_deed_that_nobody_began_is_treated_as_absent_by_the_way_that_the_plan_names() {
    for action in ["rewind", "replace"] {
        let mut lake = Lake::with_snapshot();
        lake.append();
        lake.ends(&["snapshot", "lake/t"], 0);
        lake.append();
        lake.ends(&["snapshot", "lake/t"], 0);
        let ids: Vec<String> = lake
            .ends(&["snapshots", "lake-t", "--json"], 0)
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|row| Some(row["snapshot"].as_str()?.to_owned()))
            .collect();
        let turned = json!({"from": 3, "safety": ids[2], "snapshot": ids[0], "version": 1});
        let event = json!({"action": {action: turned}, "at": "2026-02-01T00:00:00Z", "format": 1, "principal": "evil",
            "requires": [], "run": "05".repeat(16), "seq": 1, "tool": "evil 9"});
        let slot = "events/restorer/00000000000000000001.json";
        let key = plant(&lake, slot, &event.to_string());
        for which in [&["--latest"][..], &["--snapshot", &ids[1]]] {
            let (_, said) = lake.run(&[&["restore", "lake-t"], which].concat());
            all_of(&said, &[&format!("--forged {key}"), "as absent"]);
        }
        // Nothing is offered that would be refused.
        let said = lake.ends(&["restore", "lake-t"], 0);
        all_of(&said, &["go on with it", "take it back", &key]);
        let other = format!("--snapshot {}", &ids[1][..8]);
        assert!(!said.contains(&other), "{said}");
        let flags = ["--forged", &key];
        let said = lake.ends(&[&["restore", "lake-t"], &flags[..]].concat(), 0);
        assert!(
            said.contains(&other) && !said.contains("UNFINISHED"),
            "{said}"
        );
        let words = ["restore", "lake-t", "--snapshot", &ids[1], "--rewind"];
        let said = lake.ends(&[&words, &flags[..]].concat(), 4);
        all_of(&said, &["REMOVES 1 file"]);
    }
}
