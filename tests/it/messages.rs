//! The lines of `--json`: each `message_type` is one shape, which a file in `tests/data/messages` has: every field with the
//! kinds of value that it may have, `?` behind the name of one that may be absent.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::told_live::Lake;

/// Types that only a bucket brings about, which `walls` has checked, `committed`, which `as_commit` has, and `table_waits`, which takes
/// a server that fails.
const NOT_HERE: [&str; 5] = [
    "bucket_finding",
    "committed",
    "table_waits",
    "wall",
    "wall_summary",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/messages")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Asserts that a line has the shape of its type, and returns the type.
pub(crate) fn assert_shape(line: &Value) -> String {
    let of = line["message_type"].as_str().unwrap();
    let golden = folder().join(format!("{of}.json"));
    let golden = fs::read(golden).unwrap_or_else(|error| panic!("{of}: {error}: {line}"));
    let golden: BTreeMap<String, String> = serde_json::from_slice(&golden).unwrap();
    let fields = line.as_object().unwrap();
    for (field, value) in fields.iter().filter(|(field, _)| *field != "message_type") {
        let optional = format!("{field}?");
        let kinds = golden.get(field).or(golden.get(&optional));
        let kinds = kinds.unwrap_or_else(|| panic!("{of} has no field {field}: {line}"));
        let fits = kinds.split('|').any(|it| it == kind(value));
        assert!(fits, "{of}: {field} is no {kinds}: {line}");
    }
    for field in golden.keys().filter(|field| !field.ends_with('?')) {
        assert!(fields.contains_key(field), "{of} lacks {field}: {line}");
    }
    of.to_owned()
}

/// The types that the source names.
fn named() -> BTreeSet<String> {
    fn below(folder: &Path, types: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(&path, types);
                continue;
            }
            let text = fs::read_to_string(path).unwrap();
            let named = text.split("const TYPE: &'static str = \"").skip(1);
            types.extend(named.map(|it| it.split('"').next().unwrap().to_owned()));
        }
    }
    let mut types = Vec::new();
    let cli = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    below(&cli, &mut types);
    let all: BTreeSet<String> = types.iter().cloned().collect();
    assert_eq!(
        all.len(),
        types.len(),
        "one type names two shapes: {types:?}"
    );
    all
}

/// Runs a command at a time, and returns what it printed on stdout, each line checked.
fn said(lake: &Lake, now: Option<&str>, words: &[&str], seen: &mut BTreeSet<String>) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
    if let Some(now) = now {
        command.env("DELTAVAULT_NOW", now);
    }
    let command = command.current_dir(lake.folder()).args(["--json"]);
    let output = command.args(words).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    seen.extend(lines.iter().map(assert_shape));
    lines
}

#[test]
fn every_line_has_the_shape_of_its_type() {
    let mut lake = Lake::with_snapshot();
    let mut seen = BTreeSet::new();
    lake.append();
    fs::create_dir(lake.folder().join("lake/none")).unwrap();
    let run = |words: &[&str], seen: &mut BTreeSet<String>| {
        let words = [&["--vault", "vault"], words].concat();
        said(&lake, None, &words, seen)
    };
    said(&lake, None, &["--vault", "another", "init"], &mut seen);
    run(&["snapshot", "lake/t", "--dry-run"], &mut seen);
    run(&["snapshot", "lake/t", "lake/none", "--dry-run"], &mut seen);
    let taken = run(&["snapshot", "lake/t", "lake/none"], &mut seen);
    let id = taken
        .iter()
        .find_map(|line| line["snapshot"].as_str())
        .unwrap();
    run(&["snapshots", "--heads"], &mut seen);
    let list = run(&["snapshots"], &mut seen);
    let first = list[0]["snapshot"].as_str().unwrap();
    for words in [
        &["show", id][..],
        &["ls", id],
        &["diff", first, id],
        &["diff", id, "live"],
    ] {
        run(words, &mut seen);
    }
    run(&["hold", id], &mut seen);
    run(&["release", id], &mut seen);
    run(&["index", "rebuild"], &mut seen);
    run(&["restore", "lake/t"], &mut seen);
    run(&["restore", "lake/t", "--snapshot", first], &mut seen);
    let words =
        "--vault s3://bucket/vault iam render --role snapshotter --flavor minio --mode governance";
    let words: Vec<_> = words.split(' ').collect();
    said(&lake, None, &words, &mut seen);
    let blobs = lake.folder().join("vault/blobs");
    fs::remove_dir_all(&blobs).unwrap();
    run(&["verify", "lake/t", "--repair", "--yes"], &mut seen);
    fs::remove_dir_all(lake.table()).unwrap();
    run(&["restore", "lake/t", "--latest", "--yes"], &mut seen);
    let several = ["restore", "lake-*", "--latest", "--to", "copies"];
    run(&[&several[..], &["--dry-run"]].concat(), &mut seen);
    run(&[&several[..], &["--yes"]].concat(), &mut seen);
    run(&["retire", "lake/t", "--yes"], &mut seen);
    let later = ["--vault", "vault", "prune"];
    let day = Some("2199-01-01T00:00:00Z");
    said(
        &lake,
        day,
        &[&later[..], &["--dry-run"]].concat(),
        &mut seen,
    );
    let yes = ["--yes", "--longest-pause", "65535"];
    said(&lake, day, &[&later[..], &yes].concat(), &mut seen);
    let known = named();
    let expected = known.iter().filter(|it| !NOT_HERE.contains(&it.as_str()));
    let missed: Vec<_> = expected.filter(|it| !seen.contains(*it)).collect();
    assert!(missed.is_empty(), "never printed: {missed:?}");
    let files = fs::read_dir(folder()).unwrap();
    let files = files.map(|entry| {
        entry
            .unwrap()
            .path()
            .file_stem()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    });
    assert_eq!(files.collect::<BTreeSet<_>>(), known);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    let page = fs::read_to_string(page).unwrap();
    let untold: Vec<_> = known
        .iter()
        .filter(|it| !page.contains(&format!("`{it}`")))
        .collect();
    assert!(
        untold.is_empty(),
        "docs/commands.md does not name {untold:?}"
    );
}
