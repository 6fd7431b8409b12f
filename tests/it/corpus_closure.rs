//! Every version of every table of the corpus, planned from its log: the closure must be what a second implementation
//! found, and what that one refused must be refused here for the same reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "clippy knows only test functions as tests, not the functions that they share"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use deltavault::delta::checkpoint::{Coverage, Wants, read_parquet};
use deltavault::delta::commit::read_commit;
use deltavault::delta::path::TableRoot;
use deltavault::delta::replay::{LiveFile, Replay, ReplayFindings, TableState};
use deltavault::delta::segment::{LogListing, Segment};
use deltavault::delta::{Action, CheckpointFormat, LogError, LogFile, LogFileKind, check_protocol};
use deltavault::ids::{Location, ObjectKey, Version};
use serde_json::{Value, json};

use crate::support::corpus::{self, CorpusTable};

/// Tables whose newest version is refused although it can be read: the truth takes `…9999.json` behind a hole of
/// thousands of versions for the tip, as every reader does, and a backup asks its owner first. Asked for by number the
/// version is planned like any other, which is what the rest of the comparison does.
const FAR_FUTURE: &[&str] = &["rserr--table_i"];

#[test]
fn every_version_of_every_table_has_the_closure_of_the_truth() {
    let Some(tables) = corpus::tables("corpus closure") else {
        return;
    };
    let mut wrong = Mismatches::default();
    let mut versions = 0;
    for table in &tables {
        wrong.table.clone_from(&table.name);
        versions += check_table(table, &mut wrong);
    }
    println!("{} tables, {versions} versions", tables.len());
    assert!(wrong.found.is_empty(), "\n{}", wrong.found.join("\n"));
}

#[test]
fn history_of_every_table_has_the_live_set_of_each_of_its_versions() {
    let Some(tables) = corpus::tables("corpus history") else {
        return;
    };
    let mut wrong = Mismatches::default();
    for table in &tables {
        wrong.table.clone_from(&table.name);
        let listing = LogListing::new(table.list_log());
        let Some(newest) = listing.versions().last().copied() else {
            continue;
        };
        // From the oldest state that leads up to the newest version without a hole.
        let Some(segment) = listing.candidates(newest).ok().and_then(Iterator::last) else {
            continue;
        };
        let oldest = segment
            .checkpoint
            .as_ref()
            .map_or(Version(0), |checkpoint| checkpoint.version);
        let Ok(closure) = plan(table, &listing, &segment, true) else {
            continue;
        };
        for (version, truth) in per_version(&table.truth) {
            if version < oldest {
                continue;
            }
            let live: Vec<_> = closure
                .files
                .iter()
                .filter(|file| {
                    file.from <= version && file.until.is_none_or(|until| version < until)
                })
                .cloned()
                .collect();
            wrong.compare(
                &format!("history at {version}"),
                &json!(corpus::live_digest(&live)),
                &truth["live_digest"],
            );
        }
    }
    assert!(wrong.found.is_empty(), "\n{}", wrong.found.join("\n"));
}

#[test]
fn spellings_that_differ_are_reconciled_and_counted() {
    let Some(tables) = corpus::tables("corpus spellings") else {
        return;
    };
    let respelled: Vec<_> = tables
        .iter()
        .filter_map(|table| {
            let listing = LogListing::new(table.list_log());
            let newest = listing.versions().last().copied()?;
            let closure = rebuild(table, &listing, newest).ok()?;
            let ReplayFindings { respelled, .. } = closure.findings;
            (respelled > 0).then(|| format!("{} {respelled}", table.name))
        })
        .collect();
    assert_eq!(
        respelled,
        [
            "golden--canonicalized-paths-normal-a 1",
            "golden--canonicalized-paths-normal-b 1",
            "golden--canonicalized-paths-special-a 1",
            "golden--canonicalized-paths-special-b 1",
            "krgold--canonicalized-paths-normal-a 1",
            "krgold--canonicalized-paths-normal-b 1",
            "krgold--canonicalized-paths-special-a 1",
            "krgold--canonicalized-paths-special-b 1",
        ]
    );
}

#[derive(Default)]
struct Mismatches {
    table: String,
    found: Vec<String>,
}

impl Mismatches {
    fn compare(&mut self, what: &str, ours: &Value, truth: &Value) {
        if ours != truth {
            self.found
                .push(format!("{}: {what}: {ours} is not {truth}", self.table));
        }
    }
}

/// What planning a version comes to.
struct Closure {
    needed: BTreeSet<String>,
    files: Vec<LiveFile>,
    cdc: Vec<(Version, Location, Option<u64>)>,
    state: TableState,
    findings: ReplayFindings,
}

fn check_table(table: &CorpusTable, wrong: &mut Mismatches) -> usize {
    let truth = &table.truth;
    let listing = LogListing::new(table.list_log());
    let newest = match listing.newest() {
        newest if FAR_FUTURE.contains(&table.name.as_str()) => match newest {
            Err(LogError::FarFuture { version, .. }) => Ok(version),
            other => panic!("{} is not refused: {other:?}", table.name),
        },
        newest => newest,
    };
    let whole = newest.and_then(|newest| {
        wrong.compare("newest version", &json!(newest), &truth["latest_version"]);
        let closure = rebuild(table, &listing, newest)?;
        let (protocol, _) = closure.state.required(newest)?;
        let gate = check_protocol(protocol);
        Ok((newest, closure, gate))
    });
    match whole {
        Err(error) => {
            let kind = match error {
                LogError::NoLog { .. } => "no_log",
                LogError::Gap { .. } | LogError::TornCheckpoint { .. } => "gap",
                LogError::NoProtocol { .. } => "no_protocol",
                LogError::NoMetadata { .. } => "no_metadata",
                _ => "another",
            };
            wrong.compare(
                &format!("refusal ({error})"),
                &json!(kind),
                &truth["error_kind"],
            );
        }
        Ok((newest, closure, gate)) => {
            let refusal = gate.err().map(|error| {
                let LogError::UnknownReaderFeature { features } = error else {
                    panic!("{}: {error}", table.name);
                };
                let words = truth["error"].as_str().unwrap_or_default();
                assert!(
                    features.iter().all(|feature| words.contains(feature)),
                    "{words}"
                );
                "unknown_protocol"
            });
            wrong.compare("refusal", &json!(refusal), &truth["error_kind"]);
            compare_closure(newest, &closure, truth, wrong);
            compare_state(newest, &closure, truth, wrong);
            compare_log(newest, &closure, &listing, truth, wrong);
        }
    }
    let versions = per_version(truth);
    for (version, truth) in &versions {
        match rebuild(table, &listing, *version) {
            Ok(closure) => compare_closure(*version, &closure, truth, wrong),
            Err(error) => wrong
                .found
                .push(format!("{} at {version}: {error}", table.name)),
        }
    }
    // A version that the truth could not rebuild must not be rebuilt here either; where the newest version is in error
    // the truth says nothing of the others.
    for version in listing.versions() {
        if truth["status"] != "error"
            && versions.iter().all(|(known, _)| *known != version)
            && let Ok(closure) = rebuild(table, &listing, version)
            && closure.state.required(version).is_ok()
        {
            wrong.found.push(format!(
                "{} at {version}: planned, the truth has none",
                table.name
            ));
        }
    }
    versions.len()
}

fn per_version(truth: &Value) -> Vec<(Version, Value)> {
    let versions = truth["per_version"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    versions
        .into_iter()
        .map(|(version, truth)| (Version(version.parse().unwrap()), truth))
        .collect()
}

fn compare_closure(version: Version, closure: &Closure, truth: &Value, wrong: &mut Mismatches) {
    let adds = || closure.files.iter().map(|file| &file.add);
    let rows: Option<u64> = adds()
        .map(|add| Some(add.rows? - add.dv.as_ref().map_or(0, |dv| dv.cardinality)))
        .sum();
    for (what, ours) in [
        ("live_digest", json!(corpus::live_digest(&closure.files))),
        ("log_files_needed", json!(closure.needed)),
        ("num_files", json!(closure.files.len())),
        (
            "num_dvs",
            json!(adds().filter(|add| add.dv.is_some()).count()),
        ),
        (
            "total_bytes",
            json!(adds().map(|add| add.size).sum::<u64>()),
        ),
        ("rows", json!(rows)),
    ] {
        wrong.compare(&format!("{what} at {version}"), &ours, &truth[what]);
    }
    let in_order = closure.files.is_sorted_by_key(|file| {
        let dv_id = file.add.dv.as_ref().map(|dv| dv.id.clone());
        (file.add.file.clone(), dv_id)
    });
    assert!(in_order, "{version}");
}

fn compare_state(version: Version, closure: &Closure, truth: &Value, wrong: &mut Mismatches) {
    let (protocol, metadata) = closure.state.required(version).unwrap();
    let sorted = |features: &[String]| features.iter().cloned().collect::<BTreeSet<_>>();
    let in_commit_timestamp = closure
        .state
        .commit_info
        .as_ref()
        .filter(|(of, _)| *of == version)
        .and_then(|(_, info)| Some(info.in_commit_timestamp?.as_millisecond()));
    let cdc: Vec<_> = closure
        .cdc
        .iter()
        .map(|(version, file, size)| json!([version, file.as_str(), size]))
        .collect();
    let true_cdc: Vec<_> = truth["cdf_files"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cdc| {
            let file = cdc["key"].as_str().or(cdc["uri"].as_str());
            json!([cdc["version"], file, cdc["size"]])
        })
        // The truth lists the change data of all commits, the plan that of the commits it read.
        .filter(|cdc| {
            closure
                .needed
                .contains(&format!("_delta_log/{:020}.json", cdc[0].as_u64().unwrap()))
        })
        .collect();
    let true_protocol = &truth["protocol"];
    for (what, ours, truth) in [
        (
            "reader",
            json!(protocol.min_reader_version),
            &true_protocol["reader"],
        ),
        (
            "writer",
            json!(protocol.min_writer_version),
            &true_protocol["writer"],
        ),
        (
            "reader features",
            json!(sorted(&protocol.reader_features)),
            &true_protocol["reader_features"],
        ),
        (
            "writer features",
            json!(sorted(&protocol.writer_features)),
            &true_protocol["writer_features"],
        ),
        ("metadata_id", json!(metadata.id), &truth["metadata_id"]),
        (
            "partition_columns",
            json!(metadata.partition_columns),
            &truth["partition_columns"],
        ),
        (
            "configuration",
            json!(metadata.configuration),
            &truth["configuration"],
        ),
        ("txn", json!(closure.state.txns), &truth["txn"]),
        ("domains", json!(closure.state.domains), &truth["domains"]),
        (
            "in_commit_timestamp",
            json!(in_commit_timestamp),
            &truth["in_commit_timestamp"],
        ),
        ("change data", json!(cdc), &json!(true_cdc)),
    ] {
        wrong.compare(what, &ours, truth);
    }
}

/// What a backup keeps of the log, needed or not.
fn compare_log(
    version: Version,
    closure: &Closure,
    listing: &LogListing,
    truth: &Value,
    wrong: &mut Mismatches,
) {
    let incomplete = strings(&truth["incomplete_multipart"]);
    let held: BTreeSet<_> = listing
        .held(version)
        .filter(|file| file.kind != LogFileKind::Other)
        .map(|file| file.key.to_string())
        .filter(|key| !closure.needed.contains(key) && !incomplete.contains(key))
        .collect();
    wrong.compare(
        "log_files_optional",
        &json!(held),
        &truth["log_files_optional"],
    );
    for part in incomplete {
        let of_version = listing
            .files()
            .find(|file| file.key.as_str() == part)
            .unwrap()
            .version;
        let is_held = listing.held(version).any(|file| file.key.as_str() == part);
        assert_eq!(is_held, of_version <= Some(version), "{part}");
    }
}

fn strings(value: &Value) -> BTreeSet<String> {
    let values = value.as_array().unwrap().iter();
    values
        .map(|value| value.as_str().unwrap().to_owned())
        .collect()
}

/// Tries the ways to a version, best first, as long as only a checkpoint is to blame.
fn rebuild(
    table: &CorpusTable,
    listing: &LogListing,
    version: Version,
) -> Result<Closure, LogError> {
    let mut refusal = None;
    for segment in listing.candidates(version)? {
        match plan(table, listing, &segment, false) {
            Err(error) if error.is_about_content() => refusal = refusal.or(Some(error)),
            result => return result,
        }
    }
    Err(refusal.unwrap())
}

fn plan(
    table: &CorpusTable,
    listing: &LogListing,
    segment: &Segment,
    history: bool,
) -> Result<Closure, LogError> {
    // The truth was made without a root, so no absolute path may be found to be inside.
    let root = TableRoot::new("file:///no/such/root").unwrap();
    let spill = tempfile::tempdir().unwrap();
    let mut replay = Replay::new(spill.path())?;
    let mut needed: BTreeSet<String> = segment.files().map(|file| file.key.to_string()).collect();
    if let Some(checkpoint) = &segment.checkpoint {
        let mut sidecars = Vec::new();
        let mut coverage = Coverage::default();
        for file in &checkpoint.files {
            let of_file = read_actions(table, file, &root, &mut |action| match action {
                Action::Sidecar { key, .. } => {
                    sidecars.push(key);
                    Ok(())
                }
                action => replay.start(checkpoint.version, action),
            })?;
            coverage = coverage.and(of_file);
        }
        coverage.check(checkpoint.files[0].name())?;
        for key in sidecars {
            let file = listing
                .sidecar(&key)
                .ok_or_else(|| LogError::MissingSidecar {
                    file: key.to_string(),
                })?;
            needed.insert(key.to_string());
            let coverage = read_actions(table, file, &root, &mut |action| {
                replay.start(checkpoint.version, action)
            })?;
            coverage.check(file.name())?;
        }
    }
    let mut cdc = Vec::new();
    for file in &segment.commits {
        let version = file.version.unwrap();
        let _: Coverage = read_actions(table, file, &root, &mut |action| match action {
            Action::Cdc { file, size, .. } => {
                cdc.push((version, file, size));
                Ok(())
            }
            action => replay.commit(version, action),
        })?;
    }
    if let Some(tip) = segment.tip.iter().find(|_| segment.commits.is_empty()) {
        let _: Coverage = read_actions(table, tip, &root, &mut |action| {
            if let Action::Cdc { file, size, .. } = action {
                cdc.push((segment.version, file, size));
            } else {
                replay.tip(segment.version, action);
            }
            Ok(())
        })?;
    }
    let (state, mut live) = if history {
        replay.finish_with_history()?
    } else {
        replay.finish()?
    };
    let mut files = live.by_ref().collect::<Result<Vec<LiveFile>, _>>()?;
    // The truth compares what paths stand for: in these tables the newest commit removed them.
    for file in files.iter_mut().filter(|file| file.by_text) {
        file.until = Some(segment.version);
    }
    files.retain(|file| history || !file.by_text);
    Ok(Closure {
        needed,
        files,
        cdc,
        state,
        findings: live.findings().clone(),
    })
}

fn read_actions(
    table: &CorpusTable,
    file: &LogFile,
    root: &TableRoot,
    sink: &mut dyn FnMut(Action) -> Result<(), LogError>,
) -> Result<Coverage, LogError> {
    let bytes = open(&table.path, &file.key);
    match file.format().unwrap() {
        CheckpointFormat::Json => {
            read_commit(BufReader::new(bytes), file.name(), root, sink)?;
            Ok(Coverage::JSON)
        }
        CheckpointFormat::Parquet => read_parquet(bytes, file.name(), root, Wants::State, sink),
    }
}

fn open(root: &Path, key: &ObjectKey) -> File {
    File::open(root.join(key.as_str())).unwrap()
}
