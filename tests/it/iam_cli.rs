//! `iam render` as a command: the document alone on stdout, what it leaves open on stderr, and what it needs to know from
//! the vault, or from flags where there is none.

use std::process::{Command, Output};

use deltavault::format::LockMode;
use deltavault::format::VaultFile;
use deltavault::iam::Policy;
use deltavault::ids::Id128;
use deltavault::vault;

use super::support::s3::{self, Bucket};

const MADE_UP: &str = "s3://acme-vault/lake";

fn render(vault: &str, words: &[&str], env: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", vault, "iam", "render"])
        .args(words)
        .env_clear()
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

fn policy(output: &Output) -> Policy {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

const BUCKET_POLICY: [&str; 6] = [
    "--document",
    "bucket-policy",
    "--account",
    "111122223333",
    "--break-glass",
    "arn:aws:iam::111122223333:role/break-glass",
];

/// What the bucket policy says of a lock: floor, ceiling and mode.
fn lock(policy: &Policy) -> [String; 3] {
    let value = |sid: &str, operator: &str| {
        let condition = &policy.statement(sid).unwrap().condition[operator];
        condition.values().next().unwrap().as_slice()[0].clone()
    };
    [
        value("DenyLocksBelowFloor", "NumericLessThan"),
        value("DenyLocksAboveCeiling", "NumericGreaterThan"),
        value("DenyOtherLockMode", "StringNotEquals"),
    ]
}

#[test]
fn nothing_but_flags_is_needed_and_stdout_is_the_document_alone() {
    let role = ["--role", "snapshotter", "--source", "s3://acme-lake/sales"];
    let output = render(MADE_UP, &role, &[]);
    let written = policy(&output);
    assert!(written.statement("CreateObjects").is_some());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    let told = [
        "--shortest",
        "7",
        "--longest",
        "400",
        "--generation",
        "5",
        "--mode",
        "compliance",
    ];
    let output = render(MADE_UP, &[&BUCKET_POLICY[..], &told].concat(), &[]);
    assert_eq!(lock(&policy(&output)), ["7", "406", "COMPLIANCE"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn what_minio_does_not_enforce_is_told_on_stderr_and_as_rows() {
    let words = [
        "--role",
        "pruner",
        "--flavor",
        "minio",
        "--mode",
        "governance",
    ];
    let output = render(MADE_UP, &words, &[]);
    policy(&output);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("not enforced: DenyOverwrites: "), "{said}");
    assert!(said.contains("choose COMPLIANCE"), "{said}");

    let output = render(MADE_UP, &[&words[..], &["--json"]].concat(), &[]);
    assert_eq!(output.status.code(), Some(0));
    let lines = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows[0]["message_type"], "policy");
    assert_eq!(rows[0]["document"], "policy of the pruner");
    assert!(rows[0]["policy"]["Statement"].is_array());
    assert!(
        rows[1..]
            .iter()
            .all(|row| row["message_type"] == "not_enforced")
    );
    assert_eq!(rows.len() - 1, said.lines().count());
}

#[test]
fn what_cannot_be_rendered_is_a_usage_error_that_names_the_flag() {
    let refused = |vault: &str, words: &[&str], says: &str| {
        let output = render(vault, words, &[]);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {output:?}");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(says), "{said}");
    };
    refused(MADE_UP, &["--document", "scp"], "hint: add --");
    refused(
        MADE_UP,
        &["--document", "trust", "--trust", "arn:aws:iam::1:role/a"],
        "--external-id",
    );
    refused(
        MADE_UP,
        &[
            "--document",
            "bucket-policy",
            "--flavor",
            "minio",
            "--mode",
            "governance",
        ],
        "--role",
    );
    refused(MADE_UP, &["--role", "owner"], "the roles are snapshotter");
    for (source, says) in [
        (MADE_UP, "the vault's own bucket"),
        ("s3://acme-vault/lake/blobs", "the vault's own bucket"),
        ("s3://*", "hyphens"),
        ("s3://*/sales", "hyphens"),
        ("s3://acme-lake/*", "patterns"),
    ] {
        refused(MADE_UP, &["--role", "restorer", "--source", source], says);
    }
    refused(MADE_UP, &[], "--role");
    refused(
        "/backup/vault",
        &["--role", "pruner"],
        "only s3:// has walls",
    );
}

#[tokio::test]
async fn floor_ceiling_and_mode_are_those_of_the_vault() {
    let Some(server) = s3::server() else { return };
    let store = server.store(Bucket::Locked).await;
    let new = VaultFile {
        lock_mode: LockMode::Compliance,
        generation_days: 4,
        shortest_days: 9,
        longest_days: 90,
        ..VaultFile::new(Id128::from_bytes([7; 16]), s3::now())
    };
    vault::init(&store, new).await.unwrap();
    let uri = deltavault::store::ReadStore::uri(&store).to_owned();
    let env = [
        ("AWS_ENDPOINT_URL", server.endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", &server.keys.id),
        ("AWS_SECRET_ACCESS_KEY", &server.keys.secret),
        ("AWS_REGION", "us-east-1"),
    ];
    let output = render(&uri, &BUCKET_POLICY, &env);
    assert_eq!(lock(&policy(&output)), ["9", "95", "COMPLIANCE"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");

    // Where there is no vault yet, what init would write is taken, and said.
    let output = render(&format!("{uri}-not-yet"), &BUCKET_POLICY, &env);
    assert_eq!(lock(&policy(&output)), ["3", "3661", "GOVERNANCE"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("the vault was not asked"), "{said}");
}
