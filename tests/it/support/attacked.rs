//! A fleet of tables in folders, of which some are healthy and the others attacked, and a vault beside them: for nights that
//! must cost the healthy ones nothing.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// Tables that nobody attacks.
pub(crate) const HEALTHY: usize = 20;

/// The most memory of a run, MiB.
pub(crate) const MEMORY: u64 = 512;

/// The longest that a command may take, over all its hostile tables.
pub(crate) const NIGHT: Duration = Duration::from_secs(10);

/// Tables in a folder, their vault, and a configuration that names them.
pub(crate) struct Fleet {
    pub(crate) folder: tempfile::TempDir,
}

/// A table in a folder.
pub(crate) struct Table(pub(crate) PathBuf);

impl Table {
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join("_delta_log").join(name)
    }

    pub(crate) fn write(&self, version: u64, bytes: impl AsRef<[u8]>) {
        fs::create_dir_all(self.log("")).unwrap();
        fs::write(self.log(&commit_name(version)), bytes).unwrap();
    }

    pub(crate) fn commit(&self, version: u64, actions: &[Value]) {
        let mut lines = String::new();
        for action in actions {
            writeln!(lines, "{action}").unwrap();
        }
        self.write(version, lines);
    }

    /// A checkpoint of the second kind, in JSON.
    pub(crate) fn checkpoint(&self, version: u64, number: u64, line: &str) {
        let top = json!({"checkpointMetadata": {"version": version}});
        let name =
            format!("{version:020}.checkpoint.{number:08x}-7026-4e79-81be-64bd76c43a11.json");
        fs::write(self.log(&name), format!("{top}\n{line}\n")).unwrap();
    }

    pub(crate) fn append(&self, version: u64) {
        let path = format!("{version}.parquet");
        let bytes = format!("{}: {version}", self.0.display());
        fs::write(self.0.join(&path), &bytes).unwrap();
        self.commit(version, &[add(&path, bytes.len() as u64)]);
    }

    pub(crate) fn begin(&self) {
        self.commit(
            0,
            &[
                json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
                json!({"metaData": {"id": "t", "format": {"provider": "parquet", "options": {}},
                    "schemaString": r#"{"type":"struct","fields":[{"name":"id","type":"long","nullable":true,"metadata":{}}]}"#, "partitionColumns": [], "configuration": {}}}),
            ],
        );
        self.append(1);
    }

    /// A checkpoint of 3 to 80 KB that unfolds to gigabytes.
    pub(crate) fn bomb(&self, version: u64, bomb: &str) {
        let bombs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/bombs");
        let from = bombs.join(format!("{bomb}.checkpoint.parquet"));
        fs::copy(from, self.log(&format!("{version:020}.checkpoint.parquet"))).unwrap();
        self.append(version);
    }

    pub(crate) fn remove(&self, version: u64) {
        fs::remove_file(self.log(&commit_name(version))).unwrap();
    }

    /// A file of this size that takes no room.
    pub(crate) fn sparse(&self, name: &str, size: u64) {
        let file = fs::File::create(self.log(name)).unwrap();
        file.set_len(size).unwrap();
    }
}

impl Fleet {
    /// Healthy tables and these; none is made yet.
    pub(crate) fn new(attacked: impl IntoIterator<Item = String>) -> Self {
        let fleet = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let mut config = "[vault]\nuri = \"vault\"\n".to_owned();
        for name in healthy().chain(attacked) {
            let table = [
                "[[tables]]",
                &format!("name = \"{name}\""),
                &format!("uri = \"lake/{name}\"\n"),
            ];
            config += &table.join("\n");
        }
        fs::write(fleet.folder.path().join("dv.toml"), config).unwrap();
        assert_eq!(fleet.run(&["init"]).0, Some(0));
        fleet
    }

    pub(crate) fn table(&self, name: &str) -> Table {
        Table(self.folder.path().join("lake").join(name))
    }

    /// How a command ends, what it prints, and its peak memory in MiB.
    pub(crate) fn run(&self, words: &[&str]) -> (Option<i32>, String, u64) {
        let out = self.folder.path().join("out");
        let file = fs::File::create(&out).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_deltavault"))
            .args(["--config", "dv.toml"])
            .args(words)
            .current_dir(self.folder.path())
            .env_clear()
            .stdin(Stdio::null())
            .stderr(file.try_clone().unwrap())
            .stdout(file)
            .spawn()
            .unwrap();
        let status = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        let code = loop {
            let lines = fs::read_to_string(&status).unwrap_or_default();
            let line = lines.lines().find(|it| it.starts_with("VmHWM"));
            let kib = line.and_then(|it| it.split_whitespace().nth(1)?.parse::<u64>().ok());
            peak = kib.map_or(peak, |kib| kib / 1024);
            if let Some(status) = child.try_wait().unwrap() {
                break status.code();
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        (code, fs::read_to_string(out).unwrap(), peak)
    }
}

/// The names of the tables that nobody attacks.
pub(crate) fn healthy() -> impl Iterator<Item = String> {
    (0..HEALTHY).map(|n| format!("healthy-{n}"))
}

/// What a run prints of this snapshot: its id and all that follows. Some names of tables end like others.
pub(crate) fn published<'a>(said: &'a str, table: &str, version: u64) -> Option<&'a str> {
    let begin = format!("{table} v{version} is snapshot ");
    let mut found = said.match_indices(&begin);
    let (at, _) = found.find(|(at, _)| *at == 0 || said[..*at].ends_with('\n'))?;
    Some(&said[at + begin.len()..])
}

/// The name of a version's commit.
pub(crate) fn commit_name(version: u64) -> String {
    format!("{version:020}.json")
}

/// An action that adds a file.
pub(crate) fn add(path: &str, size: u64) -> Value {
    json!({"add": {"path": path, "size": size, "partitionValues": {}, "modificationTime": 1, "dataChange": true}})
}
