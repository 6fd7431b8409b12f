//! What networks and servers do to single calls, on a real server: a command finishes right or fails and says why,
//! nothing wrong is ever published, and a second run finishes.
//!
//! A calm run tells which kinds of calls there are. Then each kind meets each fault, in a place of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use deltavault::Error;
use deltavault::format::LockMode;
use deltavault::store::s3::S3Store;
use deltavault::store::{
    CopySource, ListedVersion, Payload, ReadStore, StoreError, StoreErrorKind, WriteStore, read_all,
};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use jiff::SignedDuration;

use super::s3_killed::deltavault;
use super::store_conformance::assert_fails;
use super::support::proxy::{Fault, S3Call};
use super::support::s3::{self, Bucket};
use super::support::s3_scene::{LARGE, Scene, everything};
use super::support::world::init_at;

use self::table::{Trial, can_meet, faults, is_load, kind_of, trials};

mod table;

/// How many trials run side by side: they mostly wait.
const TRIALS: usize = 4;

/// Runs trials side by side; what is wrong with each comes to nothing.
async fn run_trials<F>(trials: Vec<Trial>, trial: impl Fn(Trial) -> F)
where
    F: Future<Output = Result<(), String>>,
{
    let results = stream::iter(trials).map(|it| {
        let what = format!("{:?} at {:?}", it.1, it.0);
        let running = trial(it);
        async move { running.await.map_err(|wrong| format!("{what}: {wrong}")) }
    });
    let results: Vec<_> = results.buffer_unordered(TRIALS).collect().await;
    let wrong: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A run that fails must have the right to, and say why.
fn judge<T>(result: Result<T, Error>, word: Option<&str>) -> Result<Option<T>, String> {
    let error = match result {
        Ok(done) => return Ok(Some(done)),
        Err(error) => error,
    };
    let mut said = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        said = format!("{said}: {next}");
        cause = next.source();
    }
    match word {
        Some(word) if said.contains(word) => Ok(None),
        Some(_) | None => Err(said),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_meets_a_fault_is_right_or_says_why_and_the_next_one_is_right() {
    let Some(server) = s3::server() else { return };
    let scene = &Scene::set(server).await;
    let calm = scene.way().await;
    let vault = scene.new_vault().await;
    scene.snapshot(&calm.client, &vault).await.unwrap();
    let trial = async |(kind, fault, word): Trial| {
        let way = scene.way().await;
        let vault = scene.new_vault().await;
        way.proxy.nth(1, move |call| kind_of(call) == kind, fault);
        let first = scene.snapshot(&way.client, &vault).await;
        if way.proxy.faults() != 1 {
            return Err("did not come to pass".to_owned());
        }
        let done = match judge(first, word)? {
            Some(done) => done,
            None if scene.visible(&vault).await > 0 => return Err("published".to_owned()),
            None => scene.snapshot(&scene.direct, &vault).await.unwrap(),
        };
        if scene.visible(&vault).await != 1 {
            return Err("not published once".to_owned());
        }
        let wrong = scene.wrong_in(&vault, &done).await;
        wrong.map_or(Ok(()), Err)
    };
    run_trials(trials(&calm.proxy.calls()), trial).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_meets_a_fault_is_right_or_says_why_and_the_next_one_is_right() {
    let Some(server) = s3::server() else { return };
    let scene = &Scene::set(server).await;
    let calm = scene.way().await;
    let vault = &scene.new_vault().await;
    let done = &scene.snapshot(&scene.direct, vault).await.unwrap();
    let target = scene.place("restored");
    let restored = scene.restore(&calm.client, vault, done, &target).await;
    restored.unwrap();
    let trial = async |(kind, fault, word): Trial| {
        let way = scene.way().await;
        let target = scene.place("restored");
        way.proxy.nth(1, move |call| kind_of(call) == kind, fault);
        let first = scene.restore(&way.client, vault, done, &target).await;
        if way.proxy.faults() != 1 {
            return Err("did not come to pass".to_owned());
        }
        if judge(first, word)?.is_none() {
            let found = everything(Arc::new(scene.store(&target))).await;
            for (name, bytes) in found {
                if !name.starts_with("_deltavault/") && scene.closure.get(&name) != Some(&bytes) {
                    return Err(format!("{name} is wrong"));
                }
            }
            let again = scene.restore(&scene.direct, vault, done, &target).await;
            judge(again, None)?;
        }
        let found = everything(Arc::new(scene.store(&target))).await;
        if found == scene.closure {
            Ok(())
        } else {
            Err(format!("it has {:?}", found.keys()))
        }
    };
    run_trials(trials(&calm.proxy.calls()), trial).await;
}

/// The places of a vault where two must never be one: by the folder of the key.
const PLACES: [&str; 6] = [
    "blobs",
    "pages",
    "manifests",
    "ledger",
    "runs",
    "vault.json",
];

#[tokio::test]
async fn a_put_whose_answer_was_lost_is_settled_by_looking_and_never_done_twice() {
    let Some(server) = s3::server() else { return };
    let scene = &Scene::set(server).await;
    let mut settled = BTreeSet::new();
    for place in PLACES {
        for fault in [
            Fault::AnswerLost,
            Fault::DoneButRefused(425, "TooEarly"),
            Fault::DoneButRefused(499, "ClientDisconnected"),
            Fault::DoneButRefused(500, "InternalError"),
        ] {
            let what = format!("{fault:?} at {place}");
            let way = scene.way().await;
            let vault = scene.place("vault");
            let at = format!("/{place}");
            way.proxy
                .nth(1, move |call| call.is("PutObject", &at), fault);
            init_at(&S3Store::open(&way.client, &vault).unwrap(), s3::now()).await;
            let done = scene.snapshot(&way.client, &vault).await.unwrap();
            assert_eq!(way.proxy.faults(), 1, "{what}");
            let calls = way.proxy.calls();
            let first = calls
                .iter()
                .position(|it| it.is("PutObject", &format!("/{place}")));
            let key = &calls[first.unwrap()].key;
            let asked: Vec<_> = calls.iter().filter(|it| it.key == *key).collect();
            let puts = asked.iter().filter(|it| it.operation == "PutObject");
            assert_eq!(puts.count(), 2, "{what}: sent again");
            let again = asked.iter().rposition(|it| it.operation == "PutObject");
            let looked = asked
                .get(again.unwrap() + 1)
                .is_some_and(|it| it.operation == "HeadObject");
            assert!(looked, "{what}: looked at");
            settled.insert(place);
            let store = scene.store(&vault);
            let rows: Vec<_> = store.list_versions("", None).try_collect().await.unwrap();
            let keys: BTreeSet<_> = rows.iter().map(ListedVersion::key).collect();
            assert_eq!(keys.len(), rows.len(), "{what}: written once");
            assert_eq!(scene.wrong_in(&vault, &done).await, None, "{what}");
        }
    }
    assert_eq!(settled.len(), PLACES.len());
}

#[tokio::test]
async fn what_another_one_put_is_not_taken_for_ours_after_a_lost_answer() {
    let Some(server) = s3::server() else { return };
    let direct = server.store(Bucket::Versioned).await;
    let key = "tables/orders/ledger/1.json".parse().unwrap();
    let theirs = Payload::from_bytes("theirs");
    direct.put_new(&key, &theirs, None).await.unwrap();
    for ours in ["ours!!", "ours, longer"] {
        let proxy = server.proxy();
        let store = server.by_way_of(&proxy, &direct).await;
        proxy.nth(1, |call| call.operation == "PutObject", Fault::AnswerLost);
        let ours = Payload::from_bytes(ours);
        assert_fails!(
            store.put_new(&key, &ours, None).await,
            StoreErrorKind::AlreadyExists
        );
        assert_eq!(proxy.faults(), 1);
    }
}

#[tokio::test]
async fn what_lay_there_before_a_lost_answer_is_not_taken_for_ours() {
    let Some(server) = s3::server() else { return };
    let payload = Payload::from_bytes(vec![9; 100]);
    let refused = || Fault::Refused(500, "InternalError");
    let lock = s3::now() + SignedDuration::from_hours(48);
    for (bucket, lock_until) in [(Bucket::Locked, Some(lock)), (Bucket::Versioned, None)] {
        let direct = server.store(bucket).await;
        let key = "blobs/old".parse().unwrap();
        direct.put_new(&key, &payload, None).await.unwrap();
        if lock_until.is_none() {
            // Then only its age tells.
            tokio::time::sleep(Duration::from_secs(4)).await;
        }
        let proxy = server.proxy();
        let store = server.by_way_of(&proxy, &direct).await;
        let store = match lock_until {
            Some(_) => store.with_lock_mode(LockMode::Governance),
            None => store,
        };
        proxy.nth(1, |call| call.operation == "PutObject", refused());
        let taken = store.put_new(&key, &payload, lock_until).await;
        assert_fails!(taken, StoreErrorKind::AlreadyExists);
        assert_eq!(proxy.faults(), 1);
        // What comes to be in between is this put's own.
        let key = "blobs/new".parse().unwrap();
        proxy.nth(1, |call| call.operation == "PutObject", Fault::AnswerLost);
        store.put_new(&key, &payload, lock_until).await.unwrap();
        assert_eq!(proxy.faults(), 2);
    }
}

/// What a copy comes to: a failure of some kind, or none.
type Outcome = Option<fn(&StoreErrorKind) -> bool>;

/// Which calls a fault is for.
type Meets = fn(&S3Call) -> bool;

/// Parts as a source gives them.
fn parts(last: u8) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let sizes = [5 << 20, 1000];
    let parts = sizes.map(|size| Ok(Bytes::from(vec![last; size])));
    stream::iter(parts).boxed()
}

#[tokio::test]
async fn an_upload_in_parts_survives_what_a_put_survives() {
    let Some(server) = s3::server() else { return };
    let direct = server.store(Bucket::Versioned).await;
    let operations = [
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
    ];
    // How an answer is judged does not depend on the call.
    let passing = faults()
        .into_iter()
        .filter(|(fault, word)| word.is_none() && !is_load(fault));
    let trials: Vec<_> = passing
        .enumerate()
        .flat_map(|(number, (fault, _))| operations.map(|it| (number, fault.clone(), it)))
        .filter(|(_, fault, operation)| can_meet(fault, &(operation, String::new())))
        .collect();
    let trial = async |(number, fault, operation): (usize, Fault, &'static str)| {
        let what = format!("{fault:?} at {operation}");
        let proxy = server.proxy();
        let store = server.by_way_of(&proxy, &direct).await;
        proxy.nth(1, move |call| call.operation == operation, fault);
        let key = format!("copies/{operation}-{number}").parse().unwrap();
        let written = store.put_parts(&key, parts(7), None).await;
        let written = written.unwrap_or_else(|error| panic!("{what}: {:?}", error.kind));
        assert_eq!(proxy.faults(), 1, "{what}");
        let found = read_all(&direct, &key, written.version.as_ref(), u64::MAX).await;
        let (attributes, bytes) = found.unwrap();
        assert_eq!(bytes.len(), (5 << 20) + 1000, "{what}");
        assert_eq!(attributes.etag, written.etag, "{what}");
    };
    let trials = stream::iter(trials).map(trial).buffer_unordered(TRIALS);
    assert!(trials.count().await > 20);
    let taken = "copies/UploadPart-0".parse().unwrap();
    let refused = direct.put_parts(&taken, parts(8), None).await;
    assert_fails!(refused, StoreErrorKind::AlreadyExists);
}

#[tokio::test]
async fn a_copy_is_made_once_and_a_lost_answer_gives_its_key_up() {
    let Some(server) = s3::server() else { return };
    let direct = server.store(Bucket::Versioned).await;
    let payload = Payload::from_bytes(vec![1; LARGE]);
    let from = "live/a%20b/part 1.parquet".parse().unwrap();
    let written = direct.put_new(&from, &payload, None).await.unwrap();
    let lost = |kind: &StoreErrorKind| matches!(kind, StoreErrorKind::Interrupted);
    let denied = |kind: &StoreErrorKind| matches!(kind, StoreErrorKind::Denied { .. });
    let no_copies = |kind: &StoreErrorKind| matches!(kind, StoreErrorKind::Unsupported { .. });
    let gone = |kind: &StoreErrorKind| matches!(kind, StoreErrorKind::NotFound);
    let changed = |kind: &StoreErrorKind| matches!(kind, StoreErrorKind::Changed);
    let outcomes: [(Fault, Outcome, usize); 16] = [
        (Fault::Refused(503, "SlowDown"), None, 2),
        (Fault::ErrorDocument("SlowDown"), None, 2),
        (Fault::Refused(500, "InternalError"), Some(lost), 1),
        (Fault::ErrorDocument("InternalError"), Some(lost), 1),
        (Fault::DoneButRefused(500, "InternalError"), Some(lost), 1),
        (Fault::DoneButRefused(503, "Unavailable"), Some(lost), 1),
        (Fault::Refused(499, "ClientDisconnected"), Some(lost), 1),
        (Fault::Refused(400, "NeverHeardOf"), Some(lost), 1),
        (Fault::Foreign(404), Some(lost), 1),
        (Fault::AnswerLost, Some(lost), 1),
        (Fault::Silence, Some(lost), 1),
        (Fault::ErrorDocument("AccessDenied"), Some(denied), 1),
        (Fault::Refused(501, "NotImplemented"), Some(no_copies), 1),
        (Fault::Refused(403, "AccessDenied"), Some(denied), 1),
        (Fault::Refused(404, "NoSuchKey"), Some(gone), 1),
        (Fault::Refused(412, "PreconditionFailed"), Some(changed), 1),
    ];
    for (number, (fault, outcome, calls)) in outcomes.into_iter().enumerate() {
        let what = format!("{fault:?}");
        let proxy = server.proxy();
        let store = server.by_way_of(&proxy, &direct).await;
        proxy.nth(1, |call| call.operation == "CopyObject", fault);
        let key = format!("copies/{number}").parse().unwrap();
        let source = CopySource {
            address: store.copy_address(&from).unwrap(),
            version: written.version.clone(),
            etag: written.etag.clone(),
            size: payload.size,
        };
        let copied = store.copy_new(&key, &source, None).await;
        match (copied, outcome) {
            (Ok(copied), None) => {
                let version = copied.written.version.as_ref();
                let there = direct.attributes(&key, version).await.unwrap();
                assert_eq!(there.sha256, Some(payload.sha256), "{what}");
            }
            (Err(error), Some(expected)) => assert!(expected(&error.kind), "{what}: {error:?}"),
            (copied, _) => panic!("{what}: {copied:?}"),
        }
        let made = proxy.calls();
        let made = made.iter().filter(|call| call.operation == "CopyObject");
        for call in made.clone() {
            // Nothing comes along but the bytes.
            for (name, says) in [
                ("x-amz-metadata-directive", "REPLACE"),
                ("x-amz-tagging-directive", "REPLACE"),
                ("x-amz-object-annotation-directive", "EXCLUDE"),
            ] {
                let said = (name.to_owned(), says.to_owned());
                assert!(call.headers.contains(&said), "{name}: {call:?}");
            }
        }
        assert_eq!(made.count(), calls, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_expire_in_mid_run_and_a_wrong_clock_stop_it_with_a_word() {
    let Some(server) = s3::server() else { return };
    let scene = &Scene::set(server).await;
    let lasting = [
        (Fault::Refused(400, "ExpiredToken"), "the credentials"),
        (Fault::Refused(403, "RequestTimeTooSkewed"), "the clock"),
        (Fault::Refused(301, "PermanentRedirect"), "region"),
    ];
    for (fault, word) in lasting {
        for after in [0, 4, 12] {
            let way = scene.way().await;
            let vault = scene.new_vault().await;
            let count = AtomicUsize::new(0);
            way.proxy.every(
                move |_| count.fetch_add(1, Ordering::Relaxed) >= after,
                fault.clone(),
            );
            let first = scene.snapshot(&way.client, &vault).await;
            assert_eq!(
                judge(first, Some(word)).map(|done| done.is_none()),
                Ok(true)
            );
            assert_eq!(scene.visible(&vault).await, 0);
            let done = scene.snapshot(&scene.direct, &vault).await.unwrap();
            assert_eq!(scene.wrong_in(&vault, &done).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_refuses_a_clock_that_is_more_than_five_minutes_off() {
    let Some(server) = s3::server() else { return };
    let scene = Scene::set(server).await;
    for (off, refused) in [(-6, true), (6, true), (-4, false), (4, false)] {
        let vault = scene.new_vault().await;
        let machine = tempfile::tempdir().unwrap();
        let proxy = scene.server.proxy();
        proxy.every(|_| true, Fault::ClockOff(SignedDuration::from_mins(off)));
        let snapshot = ["--vault", &vault, "snapshot", &scene.live];
        let output = deltavault(&scene, proxy.url(), machine.path(), &snapshot)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(i32::from(refused)), "{text}");
        let written = everything(Arc::new(scene.store(&vault))).await;
        let published = written.keys().any(|key| key.starts_with("tables/"));
        assert_eq!(published, !refused, "{text}");
        if refused {
            assert!(text.contains("error: this machine's clock"), "{text}");
            assert!(text.contains("hint: set this machine's clock"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_says_what_failed_and_why_and_what_to_do() {
    let Some(server) = s3::server() else { return };
    let scene = Scene::set(server).await;
    let any: Meets = |_| true;
    let puts: Meets = |call| call.is("PutObject", "/blobs/");
    let data: Meets = |call| call.operation == "CopyObject" || call.is("GetObject", "/part");
    let said: [(Meets, Fault, i32, [&str; 3]); 6] = [
        (
            puts,
            Fault::Refused(403, "AccessDenied"),
            1,
            [
                "error: create s3://",
                "asked with access key",
                "hint: let the policies",
            ],
        ),
        (
            puts,
            Fault::Refused(400, "NeverHeardOf"),
            1,
            [
                "it is tried once more at the end of this run",
                "caused by: the server answered 400 NeverHeardOf: Said by the proxy (request PROXY)",
                "hint: run the same command again",
            ],
        ),
        (
            data,
            Fault::Refused(403, "InvalidObjectState"),
            13,
            [
                "5 of its files are in archive storage",
                "part-00005-orders.parquet",
                "hint: thaw them",
            ],
        ),
        (
            any,
            Fault::Refused(400, "ExpiredToken"),
            1,
            ["error: ", "the credentials do not serve", "hint: "],
        ),
        (
            any,
            Fault::Refused(403, "RequestTimeTooSkewed"),
            1,
            [
                "error: ",
                "the clock of this machine",
                "hint: set the clock",
            ],
        ),
        (
            any,
            Fault::Refused(301, "PermanentRedirect"),
            1,
            [
                "error: ",
                "the bucket is in another region",
                "hint: set `region`",
            ],
        ),
    ];
    for (meets, fault, code, words) in said {
        let vault = scene.new_vault().await;
        let machine = tempfile::tempdir().unwrap();
        let proxy = scene.server.proxy();
        proxy.every(meets, fault);
        let snapshot = ["--vault", &vault, "snapshot", &scene.live];
        let mut program = deltavault(&scene, proxy.url(), machine.path(), &snapshot);
        let output = program.output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        for word in words {
            assert!(text.contains(word), "{word:?} is not in:\n{text}");
        }
    }
}
