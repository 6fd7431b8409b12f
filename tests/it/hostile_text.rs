//! What a table's writer writes must not reach the terminal as it is: file names, operations, user names, the table's own
//! name, in every text and every error. JSON lines keep it, escaped as JSON escapes.

use std::path::Path;
use std::process::Command;

use deltavault::visible::visible;
use serde_json::{Value, json};

use crate::support::world::copy_folder;

/// One of each kind that a terminal obeys, or that deceives whoever reads.
const HOSTILE: [&str; 10] = [
    "\u{1b}[2J\u{1b}[H",
    "\u{1b}]0;owned\u{7}",
    "\nforged row",
    "\rforged row",
    "\tforged row",
    "\u{9b}31m",
    "\u{85}forged row",
    "\u{202e}gpj",
    "\u{200b}\u{feff}",
    "\u{2028}forged row",
];

/// A table whose every name and word is hostile, and a vault.
struct Lake {
    folder: tempfile::TempDir,
    table: String,
    file: String,
    word: &'static str,
}

impl Lake {
    fn with(word: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshot.in/vault");
        copy_folder(&from, &folder.path().join("vault"));
        // A URI with a control character is refused.
        let table = if word.contains(char::is_control) {
            "lake/tt".to_owned()
        } else {
            format!("lake/t{word}t")
        };
        let file = format!("a{word}b.parquet");
        let lake = Self {
            folder,
            table,
            file,
            word,
        };
        let log = lake.path().join(&lake.table).join("_delta_log");
        std::fs::create_dir_all(&log).unwrap();
        std::fs::write(lake.path().join(&lake.table).join(&lake.file), "12345678").unwrap();
        let said = format!("WRITE{word}said");
        let path = encoded(&lake.file);
        let actions = [
            json!({"commitInfo": {"timestamp": 1, "operation": said, "userName": said}}),
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {
                "id": format!("id{word}"), "format": {"provider": "parquet", "options": {}},
                "schemaString": "{\"type\":\"struct\",\"fields\":[]}", "partitionColumns": [],
                "configuration": {}, "createdTime": 1,
            }}),
            json!({"add": {
                "path": path, "partitionValues": {}, "size": 8, "modificationTime": 1,
                "dataChange": true,
            }}),
        ];
        let lines: Vec<_> = actions.iter().map(Value::to_string).collect();
        std::fs::write(log.join("00000000000000000000.json"), lines.join("\n")).unwrap();
        let config = format!(
            "[[tables]]\nname = {}\nuri = {}\n",
            toml_text(&format!("n{word}n")),
            toml_text(lake.path().join(&lake.table).to_str().unwrap())
        );
        std::fs::write(lake.path().join("dv.toml"), config).unwrap();
        lake
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command, and returns its code and stdout after looking for anything raw in all that was printed.
    fn run(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
            .args(["--vault", "vault"])
            .args(words)
            .current_dir(self.path())
            .env_clear()
            .output()
            .unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        for line in stdout.split('\n').chain(stderr.split('\n')) {
            assert_eq!(visible(line), line, "{words:?} shows something raw");
            assert!(!line.starts_with("forged"), "{words:?}: {line}");
        }
        (output.status.code(), stdout, stderr)
    }
}

/// As the log spells a path.
fn encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::CONTROLS).to_string()
}

fn toml_text(text: &str) -> String {
    let spelled = text.chars().map(|c| match c {
        ' '..='~' => c.to_string(),
        c => format!("\\U{:08x}", u32::from(c)),
    });
    format!("\"{}\"", spelled.collect::<String>())
}

#[test]
fn no_text_and_no_error_shows_anything_raw() {
    for word in HOSTILE {
        let lake = Lake::with(word);
        let spelled = visible(word).into_owned();
        let table = lake.table.as_str();
        let (code, taken, _) = lake.run(&["-v", "snapshot", table, "--json"]);
        assert_eq!(code, Some(0), "{taken}");
        let taken: Value = serde_json::from_str(taken.lines().next().unwrap()).unwrap();
        let id = taken["snapshot"].as_str().unwrap().to_owned();
        let name = taken["table"].as_str().unwrap().to_owned();

        for look in ["snapshots", "show", "ls"] {
            let words = match look {
                "snapshots" => vec![look],
                _ => vec![look, &id],
            };
            let (code, shown, _) = lake.run(&words);
            assert_eq!(code, Some(0), "{look}");
            assert!(shown.contains(&spelled), "{look} shows it spelled: {shown}");
        }
        let (_, rows, _) = lake.run(&["snapshots", "--json"]);
        let row: Value = serde_json::from_str(&rows).unwrap();
        assert_eq!(row["operation"], format!("WRITE{word}said"), "as it is");
        let (_, rows, _) = lake.run(&["ls", &id, "--json"]);
        let paths = rows
            .lines()
            .map(|row| serde_json::from_str::<Value>(row).unwrap());
        assert!(
            paths.into_iter().any(|row| row["path"] == lake.file),
            "as it is"
        );

        // Whatever comes of it, nothing raw may be printed.
        std::fs::remove_file(lake.path().join(table).join(&lake.file)).unwrap();
        let commands: [&[&str]; 15] = [
            &["snapshot", &format!("lake/t{word}t")],
            &["-v", "snapshot", table],
            &["-vvv", "snapshot", table, "--dry-run"],
            &["--config", "dv.toml", "snapshot"],
            &["--config", "dv.toml", "snapshot", "--class", lake.word],
            &["diff", &id, "live"],
            &["restore", table],
            &["restore", table, "--latest", "--to", &format!("copy{word}")],
            &["restore", &name, "--latest", "--dry-run", "-v"],
            &["verify", "-v", "--read", "all"],
            &["verify", lake.word],
            &["snapshots", lake.word],
            &["prune", "--dry-run", "-v"],
            &["hold", &id],
            &["retire", table],
        ];
        for words in commands {
            lake.run(words);
        }
        // A first snapshot of a table that is not whole names the file.
        copy_folder(&lake.path().join(table), &lake.path().join("lake/first"));
        let (code, _, said) = lake.run(&["snapshot", "lake/first"]);
        assert_eq!(code, Some(1), "{said}");
        assert!(
            said.contains(&format!("first a{spelled}b.parquet")),
            "{said}"
        );
    }
}

#[test]
fn an_argument_that_is_refused_and_a_folder_that_is_proposed_are_not_shown_raw() {
    for word in HOSTILE {
        let lake = Lake::with(word);
        let flag = format!("--x{word}=1");
        let text = format!("x{word}");
        let commands: [&[&str]; 10] = [
            &[&text],
            &[&flag],
            &["snapshot", &flag],
            &["snapshot", "--trigger", &text],
            &["snapshot", "--max-bytes", &text],
            &["snapshots", "--latest", &text],
            &["verify", "--subset", &text],
            &["prune", "--grace", &text],
            &["prune", "--forget", &text],
            &["man", &text],
        ];
        for words in commands {
            let (code, _, said) = lake.run(words);
            assert_eq!(code, Some(2), "{words:?}: {said}");
            assert!(said.contains(&*visible(word)), "{words:?}: {said}");
            let (code, row, _) = lake.run(&[words, &["--json"]].concat());
            assert_eq!(code, Some(2), "{words:?}: {row}");
            let row: Value = serde_json::from_str(&row).unwrap();
            let message = row["message"].as_str().unwrap();
            assert_eq!(visible(message), message);
        }
        std::fs::create_dir_all(lake.path().join("lake").join(format!("f{word}"))).unwrap();
        std::fs::create_dir_all(lake.path().join("lake/fine")).unwrap();
        let words = ["--vault", "vault", "snapshot", "lake/f"];
        let proposed = crate::completions::proposed(lake.path(), &words);
        assert_eq!(proposed.trim_end_matches('/'), "lake/fine");
    }
}
