//! The pages for people: every link leads to a file, every command that they print has the flags that they give it, and
//! `docs/commands.md` knows every command and exit code.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use deltavault::ExitCode;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages, with their text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages: Vec<PathBuf> = [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "iam/README.md",
        "src/README.md",
        "tests/README.md",
        "tests/s3-servers.md",
    ]
    .map(|page| root().join(page))
    .into();
    let docs = fs::read_dir(root().join("docs")).unwrap();
    pages.extend(docs.map(|entry| entry.unwrap().path()));
    let text = |page: PathBuf| {
        let text = fs::read_to_string(&page).unwrap();
        (page, text)
    };
    pages.into_iter().map(text).collect()
}

/// What `deltavault` with these words prints as its help.
fn help(words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
    let output = command.args(words).arg("--help").output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands that a help text lists, in groups, before its options.
fn commands(help: &str) -> BTreeSet<String> {
    let listed = help.split("\nOptions:\n").next().unwrap_or_default();
    listed
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_link_leads_to_a_file() {
    let mut count = 0;
    for (page, text) in pages() {
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let file = link.split('#').next().unwrap();
            let file = page.parent().unwrap().join(file);
            assert!(file.exists(), "{}: {link}", page.display());
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

/// The words after `deltavault` in a code span or a line of a code block, without what is redirected or piped on.
fn typed(text: &str) -> Vec<Vec<&str>> {
    let lines = text
        .lines()
        .flat_map(|line| line.split(['`', ';', '|', '>']));
    let calls = lines.filter_map(|code| {
        let (before, words) = code.split_once("deltavault ")?;
        let starts = before.trim_end();
        let is_typed = starts.is_empty()
            || starts.ends_with('$')
            || starts.ends_with('*')
            || starts.ends_with(char::is_numeric);
        is_typed.then(|| words.split_whitespace().collect())
    });
    calls.collect()
}

#[test]
fn every_command_that_is_shown_has_its_flags() {
    let all = commands(&help(&[]));
    let mut helps: BTreeMap<Vec<&str>, String> = BTreeMap::new();
    let pages = pages();
    for (page, words) in pages
        .iter()
        .flat_map(|(page, text)| typed(text).into_iter().map(move |words| (page, words)))
    {
        let Some(at) = words.iter().position(|word| all.contains(*word)) else {
            continue;
        };
        let mut command = vec![words[at]];
        if matches!(words[at], "iam" | "wall" | "index") {
            command.extend(words.get(at + 1));
        }
        let help = helps
            .entry(command.clone())
            .or_insert_with(|| help(&command));
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_there = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            assert!(
                is_there.into_iter().any(|word| word == flag),
                "{}: {command:?} has no {flag}",
                page.display()
            );
        }
    }
    assert!(helps.len() > 10, "{:?}", helps.keys());
}

#[test]
fn the_page_of_commands_knows_every_command_and_exit_code() {
    use ExitCode as E;
    let page = fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let (first, _) = page.split_once("## JSON").unwrap();
    for command in commands(&help(&[])) {
        let (alone, with) = (format!("`{command}`"), format!("`{command} "));
        let mut rows = first.lines().filter(|line| line.starts_with("| `"));
        let is_named = rows.any(|row| row.contains(&alone) || row.contains(&with));
        assert!(is_named, "{command}");
    }
    let codes = [
        E::Done,
        E::Failed,
        E::Usage,
        E::Findings,
        E::OwnerMustChoose,
        E::SomeFailed,
        E::NoVault,
        E::AnotherWriterWon,
        E::Damage,
        E::ThawPending,
        E::Interrupted,
    ];
    for code in codes.map(E::number) {
        assert!(page.contains(&format!("\n| {code} | ")), "{code}");
    }
}
