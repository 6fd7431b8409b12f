//! Which module may use which: every arrow between the modules of the library points down this list.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules of the library, the lowest floor first. A module may use those above it in this list, never those below.
const FLOORS: &[&str] = &[
    "count",
    "exit_code",
    "visible",
    "ids",
    "large",
    "leftover",
    "lock_mode",
    "shell",
    "sort",
    "store",
    "spool",
    "source",
    "delta",
    "format",
    "reader",
    "demo",
    "iam",
    "wall",
    "plan",
    "progress",
    "error",
    "vault",
    // Nothing but the command line may reach an attacker's client.
    "probe",
];

/// The Rust files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            files.push(path);
        }
    }
    files
}

/// The first part of every path into the crate that a text has, its unit tests left out.
fn used_by(text: &str) -> BTreeSet<String> {
    let code = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let paths = code.split("crate::").skip(1);
    let first = |path: &str| {
        let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        path.get(..end.unwrap_or(path.len()))
            .unwrap_or_default()
            .to_owned()
    };
    paths.map(first).collect()
}

/// The arrows that turn round: a module, what it uses although that stands above it, and where.
fn turned_round(uses: &BTreeMap<(String, String), PathBuf>) -> Vec<String> {
    let floor = |name: &str| FLOORS.iter().position(|floor| *floor == name);
    let is_down =
        |from: &str, to: &str| matches!((floor(from), floor(to)), (Some(a), Some(b)) if b < a);
    uses.iter()
        .filter(|((from, to), _)| from != to && !is_down(from, to))
        .map(|((from, to), file)| format!("{from} uses {to} in {}", file.display()))
        .collect()
}

#[test]
fn every_arrow_between_modules_points_down() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut uses = BTreeMap::new();
    for file in files_below(&source) {
        let below = file.strip_prefix(&source).unwrap();
        let top = below.components().next().unwrap().as_os_str();
        let module = top.to_str().unwrap().trim_end_matches(".rs").to_owned();
        let is_tests = below.ends_with("tests.rs") || below.iter().any(|part| part == "tests");
        // The command line is another crate, which names this one `deltavault`.
        if is_tests || ["cli", "main", "lib"].contains(&module.as_str()) {
            continue;
        }
        for used in used_by(&fs::read_to_string(&file).unwrap()) {
            uses.entry((module.clone(), used)).or_insert(file.clone());
        }
    }
    assert!(uses.len() > 60, "only {} arrows were found", uses.len());
    assert_eq!(turned_round(&uses), [""; 0]);
}

#[test]
fn an_arrow_that_turns_round_is_named() {
    let arrow = |from: &str, to: &str| {
        let uses = BTreeMap::from([((from.to_owned(), to.to_owned()), PathBuf::from("file.rs"))]);
        turned_round(&uses)
    };
    assert_eq!(arrow("vault", "store"), [""; 0]);
    assert_eq!(arrow("store", "wall"), ["store uses wall in file.rs"]);
    assert_eq!(arrow("plan", "unheard"), ["plan uses unheard in file.rs"]);
    let text = "use crate::ids::{A, B};\nfn f() -> crate::plan::C {}\n#[cfg(test)]\nmod tests {\nuse crate::vault;";
    assert_eq!(
        used_by(text).into_iter().collect::<Vec<_>>(),
        ["ids", "plan"]
    );
}
