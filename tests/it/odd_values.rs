//! Logs that no specification has and that readers open all the same: each is held, comes back byte for byte, and is
//! opened by `deltalake` before and after where that opens it.

use std::collections::BTreeSet;
use std::sync::Arc;

use deltavault::Error;
use deltavault::ExitCode;
use deltavault::ids::Version;
use deltavault::plan::restore::Mode;
use deltavault::reader::{TableStore, Verdict, judge};
use deltavault::store::ReadStore;
use deltavault::store::local::LocalStore;
use deltavault::store::memory::MemoryStore;
use deltavault::vault::Vault;
use deltavault::vault::snapshot::SnapshotDone;
use futures::TryStreamExt as _;

use super::support::fault_store::FaultStore;
use super::support::scene::{Files, assert_says, everything, take_from};
use super::support::table::Table;
use super::support::world::{files, hours_later, init, restore, restore_request, restorer, take};

mod checkpoints;

const PROTOCOL: &str = r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#;
const ADD: &str = r#"{"add":{"path":"x.parquet","partitionValues":{},"size":100,"modificationTime":1,"dataChange":true}}"#;

/// A `metaData` with more, or other, fields; of two with one name the last counts.
fn metadata(more: &str) -> String {
    let schema = r#"{\"type\":\"struct\",\"fields\":[{\"name\":\"id\",\"type\":\"long\",\"nullable\":true,\"metadata\":{}}]}"#;
    format!(
        r#"{{"metaData":{{"id":"11111111-1111-4111-8111-111111111111","format":{{"provider":"parquet","options":{{}}}},"schemaString":"{schema}","partitionColumns":[],"configuration":{{}},"createdTime":1{more}}}}}"#
    )
}

fn protocol(features: &str) -> String {
    format!(
        r#"{{"protocol":{{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":[{features}],"writerFeatures":[{features}]}}}}"#
    )
}

/// An `add` of `x.parquet` with one field in its place.
fn add_with(field: &str, value: &str) -> String {
    let mut add: serde_json::Value = serde_json::from_str(ADD).unwrap();
    add["add"].as_object_mut().unwrap().remove(field);
    let text = add.to_string();
    text.replace(r#""add":{"#, &format!(r#""add":{{"{field}":{value},"#))
}

/// A table of one commit, of which every file has 100 bytes.
#[derive(Debug, Clone)]
struct Odd {
    what: &'static str,
    log: String,
    /// The live files.
    live: Vec<&'static str>,
    /// Files of the log beside the commit.
    beside: Vec<(&'static str, Vec<u8>)>,
    deltalake_opens: bool,
}

/// A log that begins as it should and goes on so.
fn odd(what: &'static str, rest: &str) -> Odd {
    whole(what, format!("{PROTOCOL}\n{}\n{rest}\n", metadata("")))
}

fn whole(what: &'static str, log: String) -> Odd {
    Odd {
        what,
        log,
        live: vec!["x.parquet"],
        beside: Vec::new(),
        deltalake_opens: true,
    }
}

impl Odd {
    fn live(self, live: &[&'static str]) -> Self {
        let live = live.to_vec();
        Self { live, ..self }
    }

    /// `deltalake` is stricter, and need not be asked.
    fn refused_by_deltalake(self) -> Self {
        Self {
            deltalake_opens: false,
            ..self
        }
    }

    async fn put(&self, live: &MemoryStore) {
        let table = Table::open(Arc::new(live.clone()));
        let commit = "_delta_log/00000000000000000000.json";
        table.put(commit, self.log.clone().into_bytes()).await;
        for (name, bytes) in &self.beside {
            table.put(name, bytes.clone()).await;
        }
        for name in &self.live {
            table.put(name, vec![b'x'; 100]).await;
        }
    }

    /// Takes a snapshot, loses the table, and gets it back.
    async fn held_and_restored(self) -> SnapshotDone {
        let what = self.what;
        let live = MemoryStore::without_versions("s3://lake/odd");
        self.put(&live).await;
        self.opens(&live, "live").await;
        let before = everything(&live).await;
        let vault = MemoryStore::without_locks("s3://vault");
        vault.set_now(hours_later(0));
        let vault = FaultStore::new(vault);
        init(&vault).await;
        let live = FaultStore::new(live);
        let elsewhere = MemoryStore::new("s3://elsewhere");
        let done = take_from(&live, &vault, &elsewhere, 0).await;
        let done = done.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(live_files(&vault, &done).await, self.names(), "{what}");

        let back = MemoryStore::new("s3://copy/odd");
        let restorer = restorer(Arc::new(vault), Arc::new(back.clone())).await;
        let restorer = restorer.unwrap();
        let request = restore_request(&done, Mode::To, 1);
        let plan = restorer.plan(&request).await.unwrap();
        restorer.execute(&request, plan).await.unwrap();
        assert_same(what, &everything(&back).await, &before);
        self.opens(&back, "restored").await;
        done
    }

    fn names(&self) -> BTreeSet<String> {
        self.live.iter().map(ToString::to_string).collect()
    }

    async fn opens(&self, table: &MemoryStore, which: &str) {
        if !self.deltalake_opens {
            return;
        }
        let table: Arc<dyn ReadStore> = Arc::new(table.clone());
        let files = self.live.len() as u64;
        let verdict = judge(TableStore::ReadOnly(table), Version(0), files).await;
        let version = Version(0);
        let opens = Verdict::Opens {
            version,
            files: Some(files),
        };
        assert_eq!(verdict, opens, "{}: {which}", self.what);
    }

    /// Tries to take a snapshot, which must be refused with all of `says`.
    async fn refuses(self, says: &[&str]) -> Error {
        let live = MemoryStore::without_versions("s3://lake/odd");
        self.put(&live).await;
        let vault = FaultStore::new(MemoryStore::without_locks("s3://vault"));
        vault.inner().set_now(hours_later(0));
        init(&vault).await;
        let elsewhere = MemoryStore::new("s3://elsewhere");
        let taken = take_from(&FaultStore::new(live), &vault, &elsewhere, 0).await;
        let error = taken.expect_err(self.what);
        assert_says(&error, ExitCode::Failed, says);
        error
    }
}

/// The data files that a snapshot's manifest calls live.
async fn live_files(vault: &FaultStore<MemoryStore>, done: &SnapshotDone) -> BTreeSet<String> {
    let readable: Arc<dyn ReadStore> = Arc::new(vault.clone());
    let vault = Vault::open(readable).await.unwrap();
    let manifest = vault.manifest(&done.record).await.unwrap();
    let entries: Vec<_> = vault
        .entries(&manifest.data_pages)
        .try_collect()
        .await
        .unwrap();
    let live = entries.iter().filter(|entry| !entry.live.is_empty());
    live.map(|entry| entry.file.to_string()).collect()
}

fn assert_same(what: &str, found: &Files, expected: &Files) {
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected), "{what}");
    for (name, bytes) in expected {
        assert_eq!(found.get(name), Some(bytes), "{what}: {name}");
    }
}

async fn all_held(tables: impl IntoIterator<Item = Odd>) {
    for table in tables {
        Box::pin(table.held_and_restored()).await;
    }
}

#[tokio::test]
async fn features_that_are_types_under_any_of_their_names() {
    let m = metadata("");
    let of = |features| format!("{}\n{m}\n{ADD}\n", protocol(features));
    all_held([
        whole("alias", of(r#""timestampWithoutTimezone""#)),
        whole(
            "with its own name",
            of(r#""timestampNtz","timestampWithoutTimezone""#),
        ),
        whole("nanoseconds", of(r#""timestampNanos","timestampNtz""#)).refused_by_deltalake(),
        whole(
            "both",
            of(r#""timestampNanos","timestampWithoutTimezone","deletionVectors""#),
        )
        .refused_by_deltalake(),
    ])
    .await;
}

#[tokio::test]
async fn actions_wherever_they_begin_and_end() {
    let m = metadata("");
    let pretty = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let all = format!("{}\n{}\n{}", pretty(PROTOCOL), pretty(&m), pretty(ADD));
    let one_object = [PROTOCOL, &m, ADD].map(|text| text[1..text.len() - 1].to_owned());
    all_held([
        odd("the last one is pretty-printed", &pretty(ADD)),
        whole("all are pretty-printed", all.clone()),
        whole("with the line ends of DOS", all.replace('\n', "\r\n")),
        whole("with the line ends of old Macs", all.replace('\n', "\r")),
        whole(
            "indented by tabs, with empty lines",
            all.replace("  ", "\t").replace('\n', "\n\n"),
        ),
        whole("two on a line", format!("{PROTOCOL}\n{m} {ADD}\n")),
        whole("all on one line", format!("{PROTOCOL} {m}\t{ADD}")),
        whole("with nothing between them", format!("{PROTOCOL}{m}{ADD}")),
        whole(
            "all in one object",
            format!("{{{}}}", one_object.join(",\n")),
        ),
        whole(
            "blanks before and after",
            format!(" \n\n{PROTOCOL}\n{m}\n{ADD}  \n \n"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn names_with_a_colon() {
    let named = |path: &str| add_with("path", &format!("\"{path}\""));
    all_held([
        odd("a colon", &named("aa:bb.parquet")).live(&["aa:bb.parquet"]),
        odd("escaped", &named("aa%3Abb.parquet")).live(&["aa:bb.parquet"]),
        odd("behind a dot", &named("./aa:bb.parquet")).live(&["aa:bb.parquet"]),
        odd("a time", &named("part-2026-01-01T00:00:00Z.parquet"))
            .live(&["part-2026-01-01T00:00:00Z.parquet"]),
        odd("in a folder", &named("p:q=1/x:y.parquet")).live(&["p:q=1/x:y.parquet"]),
        odd("a known scheme without a slash", &named("file:x.parquet")).live(&["file:x.parquet"]),
    ])
    .await;
}

/// Names that only a folder's file system and the log's own rules judge.
#[tokio::test]
async fn names_with_a_colon_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let vault = Arc::new(LocalStore::create(&folder.path().join("vault")).unwrap());
    init(vault.as_ref()).await;
    let path = folder.path().join("odd");
    std::fs::create_dir_all(path.join("_delta_log")).unwrap();
    let log = odd("", &add_with("path", r#""aa:bb.parquet""#)).log;
    std::fs::write(path.join("_delta_log/00000000000000000000.json"), log).unwrap();
    std::fs::write(path.join("aa:bb.parquet"), [b'x'; 100]).unwrap();
    let before = files(&path);
    let done = take(vault.clone(), &path, 0).await.unwrap();
    let copy = folder.path().join("copy");
    restore(vault, &done, &copy, Mode::To).await.unwrap();
    assert_eq!(files(&copy), before);
}

#[tokio::test]
async fn sizes_in_any_spelling() {
    let size = |value| add_with("size", value);
    all_held([
        odd("100.0", &size("100.0")),
        odd("\"100\"", &size("\"100\"")),
        odd("1e2", &size("1e2")),
        odd("1.00E+2", &size("1.00E+2")),
        odd("1000e-1", &size("1000e-1")),
        odd("\"1e2\"", &size("\"1e2\"")).refused_by_deltalake(),
    ])
    .await;
    for (value, shown) in [
        ("100.5", "100.5"),
        ("-1", "-1"),
        ("true", "true"),
        ("\"many\"", "\"many\""),
        ("[100]", "[100]"),
        ("1e30", "1e30"),
    ] {
        let says = format!("json line 3 gives size of x.parquet as {shown}: not a whole number");
        odd("size", &size(value)).refuses(&[&says]).await;
    }
    let says = "json line 3 gives no size for x.parquet";
    odd("size", &size("null")).refuses(&[says]).await;
}

#[tokio::test]
async fn modification_times_of_any_kind() {
    let time = |value| add_with("modificationTime", value);
    all_held([
        odd("1e12", &time("1e12")),
        odd("a text of digits", &time("\"1000\"")),
        odd("1.0", &time("1.0")),
        odd("a word", &time("\"soon\"")).refused_by_deltalake(),
        odd("an object", &time("{}")).refused_by_deltalake(),
        odd("out of range", &time("1e400")).refused_by_deltalake(),
        odd("null", &time("null")).refused_by_deltalake(),
        odd("true", &time("true")).refused_by_deltalake(),
    ])
    .await;
}

#[tokio::test]
async fn table_metadata_of_any_kind() {
    let with = |more| format!("{PROTOCOL}\n{}\n{ADD}\n", metadata(more));
    all_held([
        whole("true and 10", with(r#","configuration":{"a":true,"b":10}"#)),
        whole("a null", with(r#","configuration":{"a":null,"b":"c"}"#)).refused_by_deltalake(),
        whole("nested", with(r#","configuration":{"a":{"b":1}}"#)).refused_by_deltalake(),
        whole("a text", with(r#","configuration":"x""#)).refused_by_deltalake(),
        whole("a list", with(r#","configuration":[1]"#)).refused_by_deltalake(),
        whole("columns as a text", with(r#","partitionColumns":"x""#)).refused_by_deltalake(),
        whole("columns of numbers", with(r#","partitionColumns":[]"#)),
        whole("name, description", with(r#","name":5,"description":true"#)),
        whole("created as a text", with(r#","createdTime":"5""#)),
        whole("created as a word", with(r#","createdTime":"once""#)).refused_by_deltalake(),
        whole("an id that is a number", with(r#","id":5"#)),
        whole(
            "an unknown field",
            with(r#","invented":{"a":[1e400,"\ud800"]}"#),
        )
        .refused_by_deltalake(),
    ])
    .await;
}

#[tokio::test]
async fn actions_that_decide_about_no_file() {
    let also = |action: &str| format!("{ADD}\n{action}");
    let mut tables = Vec::new();
    for action in [
        r#"{"txn":{"appId":"a","version":"7"}}"#,
        r#"{"txn":{"appId":"a","version":7.0,"lastUpdated":"now"}}"#,
        r#"{"txn":{"appId":7,"version":{}}}"#,
        r#"{"txn":"x"}"#,
        r#"{"domainMetadata":{"domain":"d","configuration":{"a":1},"removed":false}}"#,
        r#"{"domainMetadata":{"domain":"d","configuration":[],"removed":"false"}}"#,
        r#"{"domainMetadata":{"domain":{},"configuration":7}}"#,
        r#"{"domainMetadata":[1]}"#,
        r#"{"commitInfo":"x"}"#,
        r#"{"commitInfo":[1,2]}"#,
        r#"{"commitInfo":{"timestamp":"soon","operation":{"a":1},"userName":7,"operationParameters":5}}"#,
        r#"{"commitInfo":{"inCommitTimestamp":1e300}}"#,
        r#"{"cdc":{"path":"_change_data/c","partitionValues":{},"dataChange":false}}"#,
        r#"{"cdc":{"path":"_change_data/c","size":"many"}}"#,
        r#"{"cdc":{"path":"caf%E9","size":1}}"#,
        r#"{"cdc":{"size":1}}"#,
        r#"{"cdc":"x"}"#,
        r#"{"checkpointMetadata":{"version":"first"}}"#,
        r#"{"invented":[{"add":{"path":"y"}}]}"#,
    ] {
        // What of these deltalake's schemas refuse is another question in every version of it.
        tables.push(odd("beside", &also(action)).refused_by_deltalake());
        let plain = !action.contains("domainMetadata") && !action.contains("checkpointMetadata");
        if plain && !action.contains("commitInfo") && !action.contains("txn") {
            tables.push(odd("beside, opened by deltalake", &also(action)));
        }
    }
    for stats in [
        r#""{""#,
        r#"{"numRecords":3}"#,
        "7",
        "[]",
        r#""{\"numRecords\":\"x\"}""#,
    ] {
        let add = add_with("stats", stats);
        tables.push(odd("stats", &add).refused_by_deltalake());
    }
    for tags in [r#"{"a":1}"#, r#""x""#, "7", "null"] {
        tables.push(odd("tags", &add_with("tags", tags)).refused_by_deltalake());
        tables.push(odd("dataChange", &add_with("dataChange", tags)).refused_by_deltalake());
        tables.push(odd("baseRowId", &add_with("baseRowId", tags)).refused_by_deltalake());
    }
    all_held(tables).await;
}

#[tokio::test]
async fn removes_that_can_be_of_no_live_file() {
    let remove = |path: &str| {
        format!(
            r#"{ADD}
{{"remove":{{"path":"{path}","deletionTimestamp":1,"dataChange":true}}}}"#
        )
    };
    for path in ["caf%E9.parquet", "%FF%FE", "../../../x", "a%00b"] {
        let done = odd("remove", &remove(path)).held_and_restored().await;
        let finding = format!(
            "1 paths that are removed, or of change data, name no object and were passed over, first {path}"
        );
        assert_eq!(done.record.findings, [finding]);
    }
    // An add under such a path is a file that cannot be held.
    let says = "does not decode to UTF-8";
    odd("add", &add_with("path", r#""caf%E9.parquet""#))
        .refuses(&[says])
        .await;
}

#[tokio::test]
async fn fields_that_are_there_twice() {
    all_held([
        odd(
            "the same size",
            &ADD.replace("true}}", r#"true,"size":100}}"#),
        ),
        odd(
            "another size before",
            &ADD.replace(r#""size""#, r#""size":7,"size""#),
        ),
        odd(
            "another path before",
            &ADD.replace(r#""path""#, r#""path":"y.parquet","path""#),
        ),
        odd(
            "another add before",
            &ADD.replace(r#"{"add""#, r#"{"add":{"path":"y","size":1},"add""#),
        ),
        whole(
            "protocol",
            format!(
                "{}\n{}\n{ADD}",
                PROTOCOL.replace(r#""minR"#, r#""minReaderVersion":99,"minR"#),
                metadata(r#","id":"11111111-1111-4111-8111-111111111112""#)
            ),
        ),
    ])
    .await;
}

#[tokio::test]
async fn protocol_versions_in_any_spelling() {
    let m = metadata("");
    let of = |reader: &str, writer: &str| {
        let protocol = PROTOCOL.replace(":1,", &format!(":{reader},"));
        let protocol = protocol.replace(":2}", &format!(":{writer}}}"));
        format!("{protocol}\n{m}\n{ADD}\n")
    };
    all_held([
        whole("1.0", of("1.0", "2.0")),
        whole("texts", of("\"1\"", "\"2\"")),
        whole("exponents", of("10e-1", "0.2e1")),
        whole("a writer's version that is none", of("1", "\"new\"")).refused_by_deltalake(),
    ])
    .await;
    for (reader, says) in [
        (
            "1.5",
            "gives minReaderVersion of protocol as 1.5: not a whole number in range",
        ),
        ("\"one\"", "gives minReaderVersion of protocol as \"one\""),
        ("-1", "gives minReaderVersion of protocol as -1"),
        ("1e20", "gives minReaderVersion of protocol as 1e20"),
        ("null", "protocol.minReaderVersion is missing"),
    ] {
        whole("reader", of(reader, "2"))
            .refuses(&["json line 1", says])
            .await;
    }
}

#[tokio::test]
async fn deletion_vectors_that_are_none() {
    let vector = |storage: &str, path: &str| {
        let vector = format!(
            r#"{{"storageType":"{storage}","pathOrInlineDv":"{path}","sizeInBytes":0,"cardinality":0}}"#
        );
        let add = add_with("deletionVector", &vector);
        whole(
            "vector",
            format!(
                "{}\n{}\n{add}\n",
                protocol(r#""deletionVectors""#),
                metadata("")
            ),
        )
    };
    vector("", "").held_and_restored().await;
    let null = odd("null", &add_with("deletionVector", "null"));
    null.held_and_restored().await;
    // Where there is a path, nobody can tell what file it means.
    for (storage, path) in [("", "ab^-aqEH.-t@S}K{vb[*k^"), ("x", "")] {
        let says = format!("deletion vector storage type {storage:?} is not known");
        vector(storage, path).refuses(&["json line 3", &says]).await;
    }
}

#[tokio::test]
async fn what_no_reader_takes_stays_refused_with_line_and_byte() {
    let m = metadata("");
    let line = |bad: &str| whole("bad", format!("{PROTOCOL}\n{m}\n{bad}"));
    for (bad, says) in [
        (
            r#"{"add":{"path":"x.parquet","si"#,
            "line 3 is not an action: EOF",
        ),
        (ADD.trim_end_matches('}'), "line 3 is not an action: EOF"),
        ("[]", "line 3 is not an action: expected `{`, found `[`"),
        ("5", "line 3 is not an action"),
        ("null", "line 3 is not an action"),
        (",", "line 3 is not an action"),
        (
            "\0\0\0",
            "line 3 is not an action: expected `{`, found `\\x00`",
        ),
        (r#"{"add":NaN}"#, "line 3 is not an action: expected value"),
        ("{'add':1}", "line 3 is not an action: key must be a string"),
        (r#"{"remove":{}}"#, "line 3: remove.path is missing"),
    ] {
        line(bad)
            .refuses(&["00000000000000000000.json", says])
            .await;
    }
    let bom = whole("bom", format!("\u{feff}{PROTOCOL}\n{m}\n{ADD}"));
    bom.refuses(&["line 1 is not an action", "(byte 0)"]).await;
}

#[tokio::test]
async fn in_commit_timestamps_count_only_where_the_table_has_them() {
    let info = r#"{"commitInfo":{"inCommitTimestamp":4102444800000,"timestamp":4102444800000}}"#;
    let m = metadata("");
    let of = |writer: &str| {
        let protocol = format!(
            r#"{{"protocol":{{"minReaderVersion":1,"minWriterVersion":7,"writerFeatures":[{writer}]}}}}"#
        );
        whole("times", format!("{info}\n{protocol}\n{m}\n{ADD}\n")).refused_by_deltalake()
    };
    let told = "2100-01-01T00:00:00Z".parse().unwrap();
    for writer in [
        r#""inCommitTimestamp""#,
        r#""appendOnly","inCommitTimestamp-preview""#,
    ] {
        assert_eq!(
            of(writer).held_and_restored().await.record.commit_time,
            told
        );
    }
    for writer in ["", r#""appendOnly""#, r#""inCommitTimestampX""#] {
        let taken = of(writer).held_and_restored().await.record.commit_time;
        assert!(taken < told, "{writer}: {taken}");
    }
    let spelled = info.replace("4102444800000", r#""4102444800000.0""#);
    let log = of(r#""inCommitTimestamp""#).log.replace(info, &spelled);
    let done = whole("spelled", log)
        .refused_by_deltalake()
        .held_and_restored()
        .await;
    assert_eq!(done.record.commit_time, told);
}
