//! One night over a fleet in which the writers of many tables are hostile: each such table fails alone and says why, all
//! others are held whole and in time, and what was held of a hostile table before comes back.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Instant;

use serde_json::json;

use crate::store_local::make_pipe;
use crate::support::attacked::{
    Fleet, HEALTHY, MEMORY, NIGHT, Table, add, commit_name, healthy, published,
};
use crate::support::world::files;

/// What a writer does to a table whose next version is given.
struct Attack {
    name: &'static str,
    plant: fn(&Table, u64),
    /// How the night ends for a table that was held before.
    held: Outcome,
    /// How it ends for a table that is first seen tonight.
    new: Outcome,
}

/// How a table's night ends.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// Without a snapshot, for this reason.
    Fails(&'static str),
    /// With a snapshot of a version, and this finding where it is not empty.
    Holds(u64, &'static str),
}

use Outcome::{Fails, Holds};

const ATTACKS: &[Attack] = &[
    Attack {
        name: "bomb-page",
        plant: |it, v| it.bomb(v, "page"),
        held: Holds(2, "the version was planned without it"),
        new: Fails("and a file of this size may have"),
    },
    Attack {
        name: "bomb-dictionary",
        plant: |it, v| it.bomb(v, "dictionary"),
        held: Holds(2, "the version was planned without it"),
        new: Fails("and a file of this size may have"),
    },
    Attack {
        name: "bomb-value",
        plant: |it, v| it.bomb(v, "value"),
        held: Holds(2, "the version was planned without it"),
        new: Fails("and a file of this size may have"),
    },
    Attack {
        name: "bomb-sidecars",
        plant: |it, v| it.bomb(v, "sidecars"),
        held: Holds(2, "the version was planned without it"),
        new: Fails("and a file of this size may have"),
    },
    Attack {
        name: "bomb-panic",
        plant: |it, v| it.bomb(v, "panic"),
        held: Holds(
            2,
            "its reader panicked): the version was planned without it",
        ),
        new: Fails("its reader panicked"),
    },
    Attack {
        name: "bomb-deep",
        plant: |it, v| it.bomb(v, "deep"),
        held: Holds(2, "nested too deeply"),
        new: Fails("nested too deeply"),
    },
    Attack {
        name: "bomb-brotli",
        plant: |it, v| it.bomb(v, "brotli"),
        held: Holds(2, "more bytes than its header says"),
        new: Fails("more bytes than its header says"),
    },
    Attack {
        name: "nested",
        plant: |it, v| it.write(v, format!("{{\"add\":{}", "[".repeat(3_000_000))),
        held: Fails("is not an action"),
        new: Fails("is not an action"),
    },
    Attack {
        name: "terabyte",
        plant: |it, v| it.sparse(&commit_name(v), 1 << 40),
        held: Fails("files of a log are read up to"),
        new: Fails("files of a log are read up to"),
    },
    Attack {
        name: "terabyte-checkpoint",
        plant: |it, v| {
            it.append(v);
            it.sparse(&format!("{v:020}.checkpoint.parquet"), 1 << 40);
        },
        held: Fails("files of a log are read up to"),
        new: Fails("files of a log are read up to"),
    },
    Attack {
        name: "zeros",
        plant: |it, v| it.sparse(&commit_name(v), 8 << 20),
        held: Fails("is not an action"),
        new: Fails("is not an action"),
    },
    Attack {
        name: "latin",
        plant: |it, v| it.write(v, b"{\"add\":{\"path\":\"\xff\xfe\",\"size\":1}}\n"),
        held: Fails("is not UTF-8"),
        new: Fails("is not UTF-8"),
    },
    Attack {
        name: "last-checkpoint",
        plant: |it, v| {
            it.append(v);
            it.sparse("_last_checkpoint", 1 << 40);
        },
        held: Holds(2, "names no complete checkpoint"),
        new: Holds(2, "names no complete checkpoint"),
    },
    Attack {
        name: "last-checkpoint-far",
        plant: |it, v| {
            it.append(v);
            let far =
                r#"{"version":9223372036854775807,"size":9223372036854775807,"parts":2147483647}"#;
            fs::write(it.log("_last_checkpoint"), far).unwrap();
        },
        held: Holds(2, "names no complete checkpoint"),
        new: Holds(2, "names no complete checkpoint"),
    },
    Attack {
        name: "far-future",
        plant: |it, v| {
            it.append(v);
            it.commit(9_223_372_036_854_775_807, &[]);
        },
        held: Fails("stands alone"),
        new: Fails("stands alone"),
    },
    Attack {
        name: "far-digits",
        plant: |it, v| {
            it.append(v);
            fs::write(it.log("99999999999999999999.json"), "").unwrap();
        },
        held: Holds(2, ""),
        new: Holds(2, ""),
    },
    Attack {
        name: "gap",
        plant: |it, v| it.append(v + 1000),
        held: Fails("stands alone"),
        new: Fails("stands alone"),
    },
    Attack {
        name: "folder",
        plant: |it, v| fs::create_dir(it.log(&commit_name(v))).unwrap(),
        held: Holds(1, ""),
        new: Holds(1, ""),
    },
    Attack {
        name: "folders",
        plant: |it, v| {
            it.append(v);
            for n in 0..100 {
                fs::create_dir_all(it.log(&format!("{n}/{n}/{n}"))).unwrap();
            }
        },
        held: Holds(2, ""),
        new: Holds(2, ""),
    },
    Attack {
        name: "link-out",
        plant: |it, v| symlink("/etc/passwd", it.log(&commit_name(v))).unwrap(),
        held: Fails("leads out of the folder"),
        new: Fails("leads out of the folder"),
    },
    Attack {
        name: "link-device",
        plant: |it, v| symlink("/dev/zero", it.log(&commit_name(v))).unwrap(),
        held: Fails("leads out of the folder"),
        new: Fails("leads out of the folder"),
    },
    Attack {
        name: "link-loop",
        plant: |it, v| symlink(commit_name(v), it.log(&commit_name(v))).unwrap(),
        held: Fails("lead in a circle"),
        new: Fails("lead in a circle"),
    },
    Attack {
        name: "link-up",
        plant: |it, v| {
            it.append(v);
            symlink("..", it.log("up")).unwrap();
        },
        held: Fails("lead in a circle"),
        new: Fails("lead in a circle"),
    },
    Attack {
        name: "pipe",
        plant: |it, v| make_pipe(&it.log(&commit_name(v))),
        held: Holds(1, ""),
        new: Holds(1, ""),
    },
    Attack {
        name: "data-pipe",
        plant: |it, v| {
            make_pipe(&it.0.join("p"));
            it.commit(v, &[add("p", 1)]);
        },
        held: Fails("neither a file nor a folder"),
        new: Fails("neither a file nor a folder"),
    },
    Attack {
        name: "data-link",
        plant: |it, v| {
            symlink("/etc/passwd", it.0.join("l")).unwrap();
            it.commit(v, &[add("l", 1)]);
        },
        held: Fails("leads out of the folder"),
        new: Fails("leads out of the folder"),
    },
    Attack {
        name: "outside",
        plant: |it, v| it.commit(v, &[add("file:///etc/passwd", 1)]),
        held: Fails("names 1 file outside its folder"),
        new: Fails("names 1 file outside its folder"),
    },
    Attack {
        name: "neighbour",
        plant: |it, v| it.commit(v, &[add("../healthy-0/1.parquet", 1)]),
        held: Fails("names 1 file outside its folder"),
        new: Fails("names 1 file outside its folder"),
    },
    Attack {
        name: "names",
        plant: |it, v| {
            it.append(v);
            fs::write(it.log(&"n".repeat(255)), "x").unwrap();
            fs::write(it.log("\u{1b}[2J\u{202e}\n.json"), "x").unwrap();
            fs::write(
                it.log(&format!("{v:020}.checkpoint.0000000001.2147483647.parquet")),
                "x",
            )
            .unwrap();
        },
        held: Holds(2, "checkpoint 2 is torn"),
        new: Holds(2, "checkpoint 2 is torn"),
    },
    Attack {
        name: "junk",
        plant: |it, v| {
            it.append(v);
            for n in 0..1200 {
                fs::write(it.log(&format!("{v:020}.junk{n}")), "x").unwrap();
            }
        },
        held: Holds(2, "200 of them are not held"),
        new: Holds(2, "200 of them are not held"),
    },
    Attack {
        name: "crowd",
        plant: |it, v| {
            it.append(v);
            for n in 0..100 {
                it.checkpoint(v, n, "");
            }
        },
        held: Holds(2, "so many checkpoints that only some are read"),
        new: Holds(2, "so many checkpoints that only some are read"),
    },
    Attack {
        name: "sidecar",
        plant: |it, v| {
            it.append(v);
            it.checkpoint(
                v,
                0,
                r#"{"sidecar":{"path":"file:///etc/passwd","sizeInBytes":1,"modificationTime":1}}"#,
            );
        },
        held: Holds(2, "is missing): no reader can open the table by it"),
        new: Holds(2, "is missing): no reader can open the table by it"),
    },
    Attack {
        name: "compaction",
        plant: |it, v| {
            it.append(v);
            fs::write(
                it.log("00000000000000000000.09223372036854775807.compacted.json"),
                "{}",
            )
            .unwrap();
        },
        held: Holds(2, ""),
        new: Holds(2, ""),
    },
    Attack {
        name: "size",
        plant: |it, v| {
            fs::write(it.0.join("s"), "x").unwrap();
            it.commit(v, &[add("s", 9_223_372_036_854_775_807)]);
        },
        held: Fails("has 1 bytes, the log says 9223372036854775807"),
        new: Fails("has 1 bytes, the log says 9223372036854775807"),
    },
    Attack {
        name: "vector",
        plant: |it, v| {
            let mut add = add("1.parquet", 1);
            add["add"]["deletionVector"] = json!({"storageType": "i", "pathOrInlineDv": "0".repeat(2_000_000),
            "sizeInBytes": 1, "cardinality": i64::MAX});
            it.commit(v, &[add]);
        },
        held: Holds(2, "live with several deletion vectors"),
        new: Holds(2, "live with several deletion vectors"),
    },
    Attack {
        name: "features",
        plant: |it, v| {
            let features: Vec<_> = (0..10_000).map(|n| format!("f{n}")).collect();
            it.commit(
                v,
                &[
                    json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": features, "writerFeatures": []}}),
                ],
            );
        },
        held: Fails("readerFeatures has more than 256 names"),
        new: Fails("readerFeatures has more than 256 names"),
    },
];

#[test]
fn hostile_writers_cost_only_their_own_tables_a_night() {
    let attacked = ATTACKS.iter();
    let fleet = Fleet::new(
        attacked.flat_map(|it| [format!("held-{}", it.name), format!("new-{}", it.name)]),
    );
    let healthy: Vec<_> = healthy().collect();
    let held = ATTACKS.iter().map(|it| format!("held-{}", it.name));
    let held: Vec<_> = held.collect();
    let first: Vec<_> = healthy.iter().chain(&held).collect();
    for name in &first {
        fleet.table(name).begin();
    }
    let words: Vec<_> = std::iter::once("snapshot")
        .chain(first.iter().map(|it| it.as_str()))
        .collect();
    let (code, said, _) = fleet.run(&words);
    assert_eq!(code, Some(0), "{said}");

    for name in &healthy {
        fleet.table(name).append(2);
    }
    for (attack, held) in ATTACKS.iter().zip(&held) {
        (attack.plant)(&fleet.table(held), 2);
        let new = fleet.table(&format!("new-{}", attack.name));
        new.begin();
        (attack.plant)(&new, 2);
        if attack.name.starts_with("bomb") {
            // It is the only way to what is below.
            new.remove(0);
            new.remove(1);
        }
    }
    let begun = Instant::now();
    let (code, said, peak) = fleet.run(&["snapshot"]);
    assert!(begun.elapsed() < NIGHT, "{:?}: {said}", begun.elapsed());
    assert!(peak < MEMORY, "{peak} MiB");
    println!("the night took {:?} and {peak} MiB", begun.elapsed());
    assert_eq!(code, Some(5), "{said}");
    for name in &healthy {
        assert!(published(&said, name, 2).is_some(), "{name}: {said}");
    }
    let mut failed = 0;
    for attack in ATTACKS {
        for (kind, outcome) in [("held", attack.held), ("new", attack.new)] {
            failed += u64::from(ends_so(&said, &format!("{kind}-{}", attack.name), outcome));
        }
    }
    let tables = HEALTHY + 2 * ATTACKS.len();
    assert!(
        said.contains(&format!("{failed} of {tables} tables failed")),
        "{said}"
    );

    let words = [
        "restore",
        "healthy-*",
        "--latest",
        "--to",
        "copies",
        "--yes",
    ];
    let (code, said, _) = fleet.run(&words);
    assert_eq!(code, Some(0), "{said}");
    for name in &healthy {
        let mut copy = files(&fleet.folder.path().join("copies").join(name));
        copy.retain(|name, _| !name.starts_with("_deltavault"));
        assert_eq!(copy, files(&fleet.table(name).0), "{name}");
    }
    // What was held of a hostile table before comes back: elsewhere always, at its place where its log can be read.
    for (attack, name) in ATTACKS.iter().zip(&held) {
        let table = fleet.table(name);
        let lost = table.0.join("1.parquet");
        let bytes = fs::read(&lost).unwrap();
        fs::remove_file(&lost).unwrap();
        let words = ["restore", name, "--version", "1", "--to", name, "--yes"];
        let (code, said, peak) = fleet.run(&words);
        assert_eq!(code, Some(0), "{name}: {said}");
        assert!(peak < MEMORY, "{name}: {peak} MiB");
        assert_eq!(
            fs::read(fleet.folder.path().join(name).join("1.parquet")).unwrap(),
            bytes
        );
        let readable = ["bomb", "last-checkpoint"];
        let is_readable = readable.iter().any(|it| attack.name.starts_with(it));
        if !is_readable && attack.name != "far-future" {
            continue;
        }
        let begun = Instant::now();
        let words = ["restore", name, "--latest", "--heal", "--yes"];
        let (code, said, peak) = fleet.run(&words);
        assert!(begun.elapsed() < NIGHT && peak < MEMORY, "{name}: {said}");
        if is_readable {
            // What else the log has may keep readers from it.
            assert!(matches!(code, Some(0 | 3)), "{name}: {said}");
            assert_eq!(fs::read(&lost).unwrap(), bytes);
        }
    }
}

#[test]
fn tables_that_each_take_as_much_memory_as_one_may_take_turns() {
    let large = ["a", "b", "c", "d"].map(str::to_owned);
    let fleet = Fleet::new(large.clone());
    for name in &large {
        let table = fleet.table(name);
        table.begin();
        table.bomb(2, "large");
        table.remove(0);
        table.remove(1);
    }
    let words: Vec<_> = std::iter::once("snapshot")
        .chain(large.iter().map(String::as_str))
        .collect();
    let (code, said, peak) = fleet.run(&words);
    assert_eq!(code, Some(5), "{said}");
    for name in &large {
        ends_so(&said, name, Fails("the log says 8"));
    }
    assert!(peak < MEMORY, "{peak} MiB");
    println!("{peak} MiB");
}

/// Checks how the night of a table ended; says whether without a snapshot.
fn ends_so(said: &str, table: &str, outcome: Outcome) -> bool {
    match outcome {
        Fails(why) => {
            let about = said
                .split("\nerror: ")
                .find(|it| it.starts_with(&format!("{table}: ")));
            let about = about.unwrap_or_else(|| panic!("{table} does not fail: {said}"));
            assert!(about.contains(why), "{table}: {about}");
            true
        }
        Holds(version, finding) => {
            let about = published(said, table, version);
            let about = about.unwrap_or_else(|| panic!("{table} v{version}: {said}"));
            let mut lines = about.lines().skip(1).take_while(|it| it.starts_with("  "));
            assert!(
                finding.is_empty() || lines.any(|it| it.contains(finding)),
                "{table}: {about}"
            );
            false
        }
    }
}
