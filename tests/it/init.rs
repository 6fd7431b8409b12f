//! `init` on a real server: what it makes, what it adopts and says of it, what it refuses, and that a snapshot is locked
//! in the vault that it made.

use std::process::{Command, Output};

use aws_sdk_s3::types::{ObjectLockMode, ObjectLockRetentionMode};
use deltavault::demo::make_table;
use deltavault::format::LockMode;
use deltavault::reader::TableStore;
use deltavault::store::s3::S3Store;
use jiff::SignedDuration;
use std::sync::Arc;

use super::support::s3::{Bucket, Server, now, server};

struct Said {
    code: i32,
    out: String,
    talk: String,
}

fn run(server: &Server, words: &[&str]) -> Said {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(words)
        .env_clear()
        .env("HOME", "/nowhere")
        .env("AWS_ENDPOINT_URL", &server.endpoint)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", &server.keys.id)
        .env("AWS_SECRET_ACCESS_KEY", &server.keys.secret)
        .output()
        .unwrap();
    Said {
        code: output.status.code().unwrap(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        talk: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn all_of(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}

fn new_bucket() -> String {
    format!("dv-init-{:012x}", rand::random::<u64>() >> 16)
}

/// How many object versions and delete markers there are.
async fn objects(server: &Server, bucket: &str) -> usize {
    let listed = server.raw().list_object_versions().bucket(bucket).send();
    let listed = listed.await.unwrap();
    listed.versions().len() + listed.delete_markers().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn governance_that_can_be_shortened_is_the_owner_s_choice() {
    let Some(server) = server() else { return };
    let bucket = new_bucket();
    let vault = format!("s3://{bucket}/v");
    let refused = run(&server, &["--vault", &vault, "init"]);
    assert_eq!(refused.code, 4, "{}{}", refused.out, refused.talk);
    all_of(
        &refused.talk,
        &[
            "GOVERNANCE can be shortened here by whoever may extend it",
            "--mode compliance",
            "--mode governance --yes",
        ],
    );
    assert_eq!(objects(&server, &bucket).await, 0, "the probes are gone");
    // Nothing was chosen: the same place can be made a vault with either.
    let made = run(
        &server,
        &["--vault", &vault, "init", "--mode", "governance", "--yes"],
    );
    assert_eq!(made.code, 0, "{}{}", made.out, made.talk);
    all_of(
        &made.out,
        &[
            "made the vault",
            "the bucket was there with nothing in it",
            "mode governance, for 3 days at least",
        ],
    );
    let raw = server.raw();
    let config = raw.get_object_lock_configuration().bucket(&bucket).send();
    let config = config.await.unwrap().object_lock_configuration.unwrap();
    let default = config.rule.unwrap().default_retention.unwrap();
    assert_eq!(default.mode, Some(ObjectLockRetentionMode::Governance));
    assert_eq!(default.days, Some(3));
    let head = raw.head_object().bucket(&bucket).key("v/vault.json");
    let head = head.send().await.unwrap();
    assert_eq!(head.object_lock_mode, Some(ObjectLockMode::Governance));
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_that_a_first_try_set_up_for_governance_is_compliance_when_that_is_chosen() {
    let Some(server) = server() else { return };
    let bucket = new_bucket();
    let vault = format!("s3://{bucket}/v");
    assert_eq!(run(&server, &["--vault", &vault, "init"]).code, 4);
    let words = ["--vault", &vault, "init", "--mode", "compliance", "--yes"];
    let made = run(&server, &words);
    assert_eq!(made.code, 0, "{}{}", made.out, made.talk);
    let raw = server.raw();
    let config = raw.get_object_lock_configuration().bucket(&bucket).send();
    let config = config.await.unwrap().object_lock_configuration.unwrap();
    let default = config.rule.unwrap().default_retention.unwrap();
    assert_eq!(default.mode, Some(ObjectLockRetentionMode::Compliance));
}

#[tokio::test(flavor = "multi_thread")]
async fn compliance_asks_for_a_yes_and_locks_every_object_of_a_snapshot() {
    let Some(server) = server() else { return };
    let bucket = new_bucket();
    let vault = format!("s3://{bucket}/v");
    let words = ["--vault", vault.as_str(), "init", "--mode", "compliance"];
    let asked = run(&server, &words);
    assert_eq!(asked.code, 4, "{}{}", asked.out, asked.talk);
    all_of(
        &asked.out,
        &[
            "COMPLIANCE can never be undone",
            "neither root nor AWS Support",
        ],
    );
    all_of(&asked.talk, &["not confirmed: ", "--yes"]);
    let gone = server.raw().head_bucket().bucket(&bucket).send().await;
    assert!(gone.is_err(), "nothing was made before the yes");

    let more = [
        "--yes",
        "--shortest",
        "4",
        "--longest",
        "400",
        "--generation",
        "7",
    ];
    let made = run(&server, &[words.as_slice(), &more].concat());
    assert_eq!(made.code, 0, "{}{}", made.out, made.talk);
    all_of(
        &made.out,
        &["made the bucket", "mode compliance, for 4 days at least"],
    );
    let object = server
        .raw()
        .get_object()
        .bucket(&bucket)
        .key("v/vault.json");
    let bytes = object.send().await.unwrap().body.collect().await.unwrap();
    let file = deltavault::format::VaultFile::decode(&bytes.into_bytes()).unwrap();
    assert_eq!(
        (
            file.lock_mode,
            file.shortest_days,
            file.longest_days,
            file.generation_days
        ),
        (LockMode::Compliance, 4, 400, 7)
    );

    let table = format!("s3://{}/orders", server.bucket(Bucket::Versioned).await);
    let store = S3Store::open(&server.client().await, &table).unwrap();
    make_table(&TableStore::Writable(Arc::new(store)))
        .await
        .unwrap();
    let taken = run(&server, &["--vault", &vault, "snapshot", &table]);
    assert_eq!(taken.code, 0, "{}{}", taken.out, taken.talk);
    assert!(!taken.talk.contains("no locks"), "{}", taken.talk);
    // Everything that a snapshot references, and its record, is locked at least as long as it is promised.
    let promised = now() + SignedDuration::from_hours(30 * 24 - 1);
    let raw = server.raw();
    let listed = raw.list_object_versions().bucket(&bucket).prefix("v/");
    let listed = listed.send().await.unwrap();
    let mut seen = 0;
    for object in listed.versions() {
        let key = object.key().unwrap();
        let head = raw.head_object().bucket(&bucket).key(key);
        let head = head.version_id(object.version_id().unwrap());
        let head = head.send().await.unwrap();
        assert_eq!(
            head.object_lock_mode,
            Some(ObjectLockMode::Compliance),
            "{key}"
        );
        let until = head.object_lock_retain_until_date.unwrap().secs();
        if ["v/blobs/", "v/pages/", "v/manifests/", "v/tables/"]
            .iter()
            .any(|area| key.starts_with(area))
            && !key.contains("/probe/")
        {
            seen += 1;
            assert!(until >= promised.as_second(), "{key} until {until}");
        }
    }
    assert!(seen >= 5, "{seen}");
    let verified = run(&server, &["--vault", &vault, "verify", "--read", "all"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.talk);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_can_never_be_immutable_is_refused_unless_told() {
    let Some(server) = server() else { return };
    for kind in [Bucket::Versioned, Bucket::Plain] {
        let bucket = server.bucket(kind).await;
        let vault = format!("s3://{bucket}/v");
        for mode in [&[][..], &["--mode", "compliance", "--yes"]] {
            let refused = run(
                &server,
                &[["--vault", &vault, "init"].as_slice(), mode].concat(),
            );
            assert_eq!(refused.code, 4, "{}{}", refused.out, refused.talk);
            all_of(
                &refused.talk,
                &[
                    "cannot hold an immutable vault",
                    "no Object Lock",
                    "put-object-lock-configuration",
                    "`--no-lock`",
                ],
            );
        }
        assert_eq!(objects(&server, &bucket).await, 0);
        let made = run(&server, &["--vault", &vault, "init", "--no-lock"]);
        // An unversioned bucket overwrites what is there: that is worth more than a note.
        let code = if kind == Bucket::Plain { 3 } else { 0 };
        assert_eq!(made.code, code, "{}{}", made.out, made.talk);
        all_of(
            &made.out,
            &["objects are not locked: this is a real backup"],
        );
        let verified = run(&server, &["--vault", &vault, "verify"]);
        assert_eq!(verified.code, 0, "{}{}", verified.out, verified.talk);
        all_of(
            &verified.talk,
            &["objects are not locked: anyone who may delete in the bucket"],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adopted_bucket_stays_as_it_is_and_is_told_what_it_lacks() {
    let Some(server) = server() else { return };
    let bucket = server.bucket(Bucket::Locked).await;
    let raw = server.raw();
    let note = raw.put_object().bucket(&bucket).key("mine.txt");
    note.send().await.unwrap();
    let vault = format!("s3://{bucket}/v");
    let made = run(
        &server,
        &[
            "--json",
            "--vault",
            &vault,
            "init",
            "--mode",
            "compliance",
            "--yes",
        ],
    );
    assert_eq!(made.code, 3, "{}{}", made.out, made.talk);
    all_of(
        &made.out,
        &[
            "\"bucket\":\"adopted\"",
            "\"lock_mode\":\"compliance\"",
            "\"check\":\"default-retention\"",
            "put-object-lock-configuration",
        ],
    );
    let config = raw.get_object_lock_configuration().bucket(&bucket).send();
    let config = config.await.unwrap().object_lock_configuration.unwrap();
    assert_eq!(config.rule, None, "what others may rely on is not changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demo_leaves_nothing_locked_behind() {
    let Some(server) = server() else { return };
    let bucket = server.bucket(Bucket::Locked).await;
    let vault = format!("s3://{bucket}/v");
    let made = run(
        &server,
        &["--vault", &vault, "init", "--mode", "compliance", "--yes"],
    );
    assert_eq!(made.code, 0, "{}{}", made.out, made.talk);
    let demo = format!("s3://{bucket}/demo");
    let refused = run(&server, &["--vault", &demo, "demo"]);
    assert_eq!(refused.code, 2, "{}{}", refused.out, refused.talk);
    all_of(&refused.talk, &["locks every new object for days"]);
}

#[test]
fn flags_that_cannot_be_meant_are_usage() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_deltavault"))
            .args(["--vault", "vault"])
            .args(words)
            .current_dir(folder.path())
            .env_clear()
            .output()
            .unwrap()
    };
    for (words, told) in [
        (
            &["init", "--mode", "compliance", "--yes"][..],
            "a folder has no locks",
        ),
        (
            &["init", "--shortest", "20", "--longest", "10"],
            "less than --shortest",
        ),
        (&["init", "--shortest", "2"], "3..=36500"),
        (
            &["init", "--no-lock", "--mode", "governance"],
            "cannot be used with",
        ),
    ] {
        let refused = run(words);
        assert_eq!(refused.status.code(), Some(2), "{words:?}");
        let talk = String::from_utf8_lossy(&refused.stderr);
        assert!(talk.contains(told), "{words:?}: {talk}");
    }
    assert!(!folder.path().join("vault").exists());
    assert_eq!(run(&["init", "--longest", "100"]).status.code(), Some(0));
    let file = std::fs::read_to_string(folder.path().join("vault/vault.json")).unwrap();
    assert!(file.contains("\"longest_days\":100"), "{file}");
}
