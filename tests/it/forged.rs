//! Anyone who may create records and events can put an object where it stands in the way of every later command. What the
//! owner calls forged is treated as absent.

use std::fs;

use crate::told_live::Lake;

const JUNK: &str =
    r#"{"format":1,"requires":["read-me-never"],"seq":1,"previous":null,"tool":"evil 9"}"#;

/// Puts an object into a slot of the table, and returns its key.
fn plant(lake: &Lake, slot: &str, body: &str) -> String {
    let tables = lake.folder().join("vault/tables");
    let table = fs::read_dir(tables).unwrap().next().unwrap().unwrap();
    let path = table.path().join(slot);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, body).unwrap();
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
fn what_stands_in_the_way_is_treated_as_absent_when_its_owner_says_so() {
    let seal = "0".repeat(64);
    for (slot, body) in [
        ("ledger/09999999999999999999.json", "{}"),
        ("events/holder/09999999999999999999.json", "{}"),
        ("events/holder/00000000000000000001.json", "garbage"),
        ("events/holder/00000000000000000001.json", JUNK),
        ("events/pruner/00000000000000000001.json", JUNK),
        ("events/restorer/00000000000000000001.json", JUNK),
        ("events/restorer/00000000000000000001.json", "garbage"),
        (&format!("ledger/00000000000000000002-{seal}"), ""),
        (&format!("events/holder/00000000000000000001-{seal}"), ""),
    ] {
        let mut lake = Lake::with_snapshot();
        let key = plant(&lake, slot, body);
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
    let config = "[vault]\nforged = [\"vault.json\"]\n";
    fs::write(lake.folder().join("dv.toml"), config).unwrap();
    let said = lake.ends(&["--config", "dv.toml", "verify"], 2);
    assert!(said.contains("vault.forged"), "{said}");
}
