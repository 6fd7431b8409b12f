//! `wall check` on servers that enforce: every role with the policies that are rendered for it, and somebody who may do
//! everything. What it proves is written into the table of walls in `iam/README.md`, and compared with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use deltavault::format::LockMode;
use deltavault::iam::{Document, Flavor, Location, Params, Role, render};
use deltavault::store::s3::Keys;
use deltavault::wall::call::Call;
use serde_json::Value;

use super::iam_roles::with_sessions;
use super::messages::assert_shape;
use super::support::ministack::{self, ACCOUNT, RoleServer};
use super::support::s3::{Server, server};

const NO_MC: &str = "SKIPPED: no mc to make a user with; DELTAVAULT_TEST_MC names it";
const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}"#;

/// A machine of its own, with the keys of an owner, and of others in profiles.
struct Session {
    endpoint: String,
    keys: Keys,
    home: tempfile::TempDir,
}

struct Said {
    code: i32,
    out: String,
    talk: String,
}

impl Session {
    fn new(endpoint: &str, keys: Keys) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            keys,
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn profiles<'a>(&self, profiles: impl IntoIterator<Item = (&'a str, &'a Keys)>) {
        let text = profiles
            .into_iter()
            .fold(String::new(), |text, (name, keys)| {
                format!(
                    "{text}[{name}]\naws_access_key_id={}\naws_secret_access_key={}\n",
                    keys.id, keys.secret
                )
            });
        std::fs::write(self.file("credentials"), text).unwrap();
    }

    fn run(&self, words: &[&str]) -> Said {
        let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
            .args(words)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("AWS_SHARED_CREDENTIALS_FILE", self.file("credentials"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", &self.keys.id)
            .env("AWS_SECRET_ACCESS_KEY", &self.keys.secret)
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            talk: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn init(&self, vault: &str, mode: &str) {
        let done = self.run(&["--vault", vault, "init", "--mode", mode, "--yes"]);
        assert!(matches!(done.code, 0 | 3), "{}{}", done.out, done.talk);
    }
}

/// What a check proved of each call.
type Proven = BTreeMap<String, Value>;

/// The rows of a check, and the findings about the bucket.
fn rows(said: &Said) -> (Proven, Vec<Value>) {
    let lines = said
        .out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    for line in &lines {
        assert_shape(line);
    }
    let of = |kind: &str| {
        let lines = lines
            .iter()
            .filter(move |line| line["message_type"] == kind);
        lines.cloned().collect::<Vec<_>>()
    };
    let proven = of("wall").into_iter();
    let proven = proven.map(|row| (row["call"].as_str().unwrap().to_owned(), row));
    (proven.collect(), of("bucket_finding"))
}

/// Checks every role at once, and expects no finding.
fn check_all(session: &Session, words: impl Fn(Role) -> Vec<String> + Sync) -> Vec<Proven> {
    thread::scope(|scope| {
        let checks = Role::ALL.map(|role| {
            let words = &words;
            scope.spawn(move || {
                let words = words(role);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let said = session.run(&words);
                let (proven, _) = rows(&said);
                let wrong: Vec<_> = proven
                    .values()
                    .filter(|row| row["finding"] == true)
                    .collect();
                assert!(wrong.is_empty(), "{role}: {wrong:#?}");
                assert_eq!(said.code, 0, "{role}: {}{}", said.out, said.talk);
                assert_eq!(proven.len(), Call::ALL.len(), "{role}");
                proven
            })
        });
        checks
            .into_iter()
            .map(|check| check.join().unwrap())
            .collect()
    })
}

fn new_bucket() -> String {
    format!("dv-walls-{:012x}", rand::random::<u64>() >> 16)
}

/// Every role of a new vault on `MinIO`; none where no users can be made.
fn on_minio(server: &Server, mode: &str) -> Option<Vec<Proven>> {
    let session = Session::new(&server.endpoint, server.keys.clone());
    let vault = format!("s3://{}/v", new_bucket());
    session.init(&vault, mode);
    let params = Params {
        sources: vec![Location::parse("s3://lake/sales").unwrap()],
        plain_http: true,
        lock_mode: match mode {
            "compliance" => LockMode::Compliance,
            _ => LockMode::Governance,
        },
        ..Params::new(Location::parse(&vault).unwrap())
    };
    let mut users = Vec::new();
    for role in Role::ALL {
        let policy = render(Document::Role(role), &params, Flavor::Minio).unwrap();
        users.push((
            role.as_str(),
            server.user(role.as_str(), &policy.text().unwrap())?,
        ));
    }
    session.profiles(users.iter().map(|(name, keys)| (*name, keys)));
    Some(check_all(&session, |role| {
        let words = ["--json", "--vault", &vault, "wall", "check", "--role"];
        let words = words
            .into_iter()
            .chain([role.as_str(), "--profile", role.as_str()]);
        words.map(str::to_owned).collect()
    }))
}

/// Every role of a new vault on ministack, by assuming it.
async fn on_ministack(server: &RoleServer) -> Vec<Proven> {
    const ID: &str = "walls-7";
    let unique = format!("{:08x}", rand::random::<u32>());
    let owner = Session::new(&server.endpoint, server.root());
    let bucket = new_bucket();
    let vault = format!("s3://{bucket}/v");
    owner.init(&vault, "governance");
    let (user, keys) = server.user(&format!("walls-{unique}"));
    let params = Params {
        sources: vec![Location::parse("s3://lake/sales").unwrap()],
        account: Some(ACCOUNT.to_owned()),
        role_prefix: unique.clone(),
        break_glass: vec![format!("arn:aws:iam::{ACCOUNT}:role/glass-{unique}")],
        trusted: vec![user],
        external_id: Some(ID.to_owned()),
        plain_http: true,
        ..Params::new(Location::parse(&vault).unwrap())
    };
    let policy = |document| render(document, &params, Flavor::Aws).unwrap().policy;
    let text = |document| serde_json::to_string(&policy(document)).unwrap();
    let session = Session::new(&server.endpoint, keys);
    session.profiles([("owner", &server.root())]);
    for role in Role::ALL {
        let trust = text(Document::Trust);
        let arn = server.role(
            &format!("{unique}-{role}"),
            &trust,
            &text(Document::Role(role)),
        );
        let config = format!("[vault]\nuri = {vault:?}\nrole = {arn:?}\nexternal_id = {ID:?}\n");
        std::fs::write(session.file(&format!("{role}.toml")), config).unwrap();
    }
    let root = server.raw(&server.root()).await;
    let bound = serde_json::to_string(&with_sessions(policy(Document::BucketPolicy))).unwrap();
    let put = root.put_bucket_policy().bucket(&bucket).policy(bound);
    put.send().await.unwrap();
    check_all(&session, |role| {
        let config = format!("{role}.toml");
        let words = [
            "--json",
            "--config",
            &config,
            "wall",
            "check",
            "--role",
            role.as_str(),
        ];
        let with = ["--canary-profile", "owner", "--server", "ministack"];
        words.into_iter().chain(with).map(str::to_owned).collect()
    })
}

/// The text of one cell, and why it is not proven.
fn cell(minio: &Value, ministack: &Value) -> (String, Option<String>) {
    let outcome = |row: &Value| row["outcome"].as_str().unwrap().to_owned();
    let reason = |row: &Value| row["reason"].as_str().unwrap_or_default().to_owned();
    match (outcome(minio).as_str(), outcome(ministack).as_str()) {
        ("not-proven", "not-proven") => {
            let (first, second) = (reason(minio), reason(ministack));
            let both = if first == second {
                first
            } else {
                format!("{first}; {second}")
            };
            ("not proven here".to_owned(), Some(both))
        }
        ("not-proven", proven) => (format!("{proven} ²"), None),
        (proven, "not-proven") => (format!("{proven} ¹"), None),
        (one, other) => {
            assert_eq!(one, other, "{minio} {ministack}");
            (one.to_owned(), None)
        }
    }
}

/// The table of walls as `iam/README.md` has it.
fn table(minio: &[Proven], ministack: &[Proven]) -> String {
    let mut table = "| call |".to_owned();
    for role in Role::ALL {
        write!(table, " {role} |").unwrap();
    }
    table.push_str("\n| --- |");
    table.push_str(&" --- |".repeat(Role::ALL.len()));
    table.push('\n');
    let mut reasons: Vec<String> = Vec::new();
    for call in Call::ALL {
        write!(table, "| {} |", call.what()).unwrap();
        for (minio, ministack) in minio.iter().zip(ministack) {
            let (text, reason) = cell(&minio[call.name()], &ministack[call.name()]);
            match reason {
                None => write!(table, " {text} |").unwrap(),
                Some(reason) => {
                    let known = reasons.iter().position(|known| *known == reason);
                    let number = known.unwrap_or_else(|| {
                        reasons.push(reason);
                        reasons.len() - 1
                    });
                    let letter = char::from(b'a' + u8::try_from(number).unwrap());
                    write!(table, " {text} ({letter}) |").unwrap();
                }
            }
        }
        table.push('\n');
    }
    table.push_str("\n¹ proven by MinIO only, ² by ministack only; without a mark, by both. Not proven here:\n\n");
    for (reason, letter) in reasons.iter().zip('a'..) {
        writeln!(table, "- ({letter}) {reason}").unwrap();
    }
    table
}

const BEGIN: &str =
    "<!-- walls: written by the test walls::the_table_in_iam_is_what_the_servers_prove -->\n\n";
const END: &str = "\n<!-- walls end -->";

/// Every cell of the table is what the servers just proved. `DELTAVAULT_WRITE_WALLS=1` writes it.
#[tokio::test(flavor = "multi_thread")]
async fn the_table_in_iam_is_what_the_servers_prove() {
    let (Some(minio), Some(roles)) = (server(), ministack::server()) else {
        return;
    };
    let Some(proven) = on_minio(&minio, "compliance") else {
        println!("{NO_MC}");
        return;
    };
    let table = table(&proven, &on_ministack(&roles).await);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("iam/README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap();
    let (committed, after) = rest.split_once(END).unwrap();
    if std::env::var_os("DELTAVAULT_WRITE_WALLS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    for (line, proven) in committed.lines().zip(table.lines()) {
        assert_eq!(line, proven);
    }
    assert_eq!(committed.lines().count(), table.lines().count());
}

/// GOVERNANCE on `MinIO` is a wall against mistakes: what everybody gets around is said, and is no finding.
#[tokio::test(flavor = "multi_thread")]
async fn in_governance_every_role_on_minio_is_as_designed_but_for_its_gaps() {
    let Some(server) = server() else { return };
    let Some(proven) = on_minio(&server, "governance") else {
        println!("{NO_MC}");
        return;
    };
    for (role, proven) in Role::ALL.into_iter().zip(&proven) {
        assert_eq!(proven["unlock"]["outcome"], "not-proven", "{role}");
        assert_eq!(proven["shorten"]["outcome"], "refused", "{role}");
        assert_eq!(proven["delete-version"]["outcome"], "refused", "{role}");
        assert_eq!(proven["extend-beyond"]["outcome"], "refused", "{role}");
    }
}

/// A wall that was taken out of a policy on `MinIO`: the role, refusals that are gone, rights that came, and what of it is
/// found.
type Hole = (
    Role,
    &'static [&'static str],
    &'static [&'static str],
    &'static [&'static str],
);

const HOLES: [Hole; 6] = [
    (
        Role::Snapshotter,
        &["DenyOtherLockMode"],
        &[],
        &["put-other-mode"],
    ),
    (
        Role::Snapshotter,
        &["DenyOtherStorageClass"],
        &[],
        &["put-class"],
    ),
    (
        Role::Auditor,
        &["DenyAborts"],
        &["s3:AbortMultipartUpload"],
        &["abort"],
    ),
    (
        Role::Verifier,
        &["DenyDeleteMarkers", "DenyDeletesByOthers"],
        &["s3:DeleteObject", "s3:DeleteObjectVersion"],
        &["delete", "delete-over"],
    ),
    (
        Role::Restorer,
        &["DenyConfigurationChanges"],
        &["s3:PutBucketPolicy", "s3:PutBucketVersioning"],
        // The right to the bucket's policy is MinIO's to an object's ACL, too.
        &["set-acl", "set-policy", "set-versioning"],
    ),
    (
        Role::Pruner,
        &["DenyHoldsByOthers"],
        &["s3:PutObjectLegalHold"],
        &["hold", "release"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_that_is_taken_out_of_a_policy_is_found() {
    let Some(server) = server() else { return };
    let session = Session::new(&server.endpoint, server.keys.clone());
    let vault = format!("s3://{}/v", new_bucket());
    session.init(&vault, "compliance");
    let params = Params {
        plain_http: true,
        lock_mode: LockMode::Compliance,
        ..Params::new(Location::parse(&vault).unwrap())
    };
    let mut users = Vec::new();
    for (role, gone, came, _) in HOLES {
        let rendered = render(Document::Role(role), &params, Flavor::Minio).unwrap();
        let mut policy = rendered.policy;
        let before = policy.statement.len();
        policy
            .statement
            .retain(|it| !gone.contains(&it.sid.as_str()));
        assert_eq!(
            policy.statement.len() + gone.len(),
            before,
            "{role} {gone:?}"
        );
        let mut policy = serde_json::to_value(&policy).unwrap();
        if !came.is_empty() {
            let more = serde_json::json!({
                "Sid": "More", "Effect": "Allow", "Action": came, "Resource": "arn:aws:s3:::*"
            });
            policy["Statement"].as_array_mut().unwrap().push(more);
        }
        let Some(keys) = server.user(role.as_str(), &policy.to_string()) else {
            println!("{NO_MC}");
            return;
        };
        users.push((gone[0], keys));
    }
    session.profiles(users.iter().map(|(name, keys)| (*name, keys)));
    thread::scope(|scope| {
        for (role, gone, _, expected) in HOLES {
            let (session, vault) = (&session, &vault);
            scope.spawn(move || {
                let words = ["--json", "--vault", vault, "wall", "check", "--role"];
                let with = [role.as_str(), "--profile", gone[0]];
                let said = session.run(&[words.as_slice(), &with].concat());
                let (proven, _) = rows(&said);
                let found: Vec<&str> = proven
                    .values()
                    .filter(|row| row["finding"] == true)
                    .map(|row| row["call"].as_str().unwrap())
                    .collect();
                assert_eq!(found, expected, "{role} without {gone:?}");
                assert_eq!(said.code, 3);
            });
        }
    });
}

/// The object versions of a vault but the probes, with their tags; and the bucket's settings.
async fn everything(server: &Server, bucket: &str) -> (Vec<String>, String) {
    let raw = server.raw();
    let listed = raw.list_object_versions().bucket(bucket).send();
    let listed = listed.await.unwrap();
    assert_eq!(listed.is_truncated(), Some(false));
    let object = |it: &aws_sdk_s3::types::ObjectVersion| {
        format!("{:?} {:?} {:?}", it.key(), it.version_id(), it.e_tag())
    };
    let objects = listed.versions().iter().map(object);
    let markers = listed
        .delete_markers()
        .iter()
        .map(|it| format!("marker {:?}", it.key()));
    let objects = objects
        .chain(markers)
        .filter(|it| !it.contains("/probe/"))
        .collect();
    let locks = raw
        .get_object_lock_configuration()
        .bucket(bucket)
        .send()
        .await
        .unwrap();
    let versioning = raw
        .get_bucket_versioning()
        .bucket(bucket)
        .send()
        .await
        .unwrap();
    let policy = raw.get_bucket_policy().bucket(bucket).send().await;
    let policy = policy.ok().and_then(|it| it.policy);
    let settings = format!(
        "{:?} {:?} {policy:?}",
        locks.object_lock_configuration(),
        versioning.status()
    );
    (objects, settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_missing_wall_is_found_and_nothing_is_lost_by_it() {
    let Some(server) = server() else { return };
    let session = Session::new(&server.endpoint, server.keys.clone());
    let bucket = new_bucket();
    let vault = format!("s3://{bucket}/v");
    session.init(&vault, "compliance");
    let Some(mighty) = server.user("mighty", EVERYTHING) else {
        println!("{NO_MC}");
        return;
    };
    session.profiles([("mighty", &mighty)]);
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshot.in/lake/orders");
    let taken = session.run(&["--vault", &vault, "snapshot", table.to_str().unwrap()]);
    assert_eq!(taken.code, 0, "{}{}", taken.out, taken.talk);
    let before = everything(&server, &bucket).await;
    let words = [
        "--json", "--vault", &vault, "wall", "check", "--role", "auditor",
    ];
    let said = session.run(&[words.as_slice(), &["--profile", "mighty"]].concat());
    assert_eq!(said.code, 3, "{}{}", said.out, said.talk);
    let (proven, _) = rows(&said);
    let found: Vec<&str> = proven
        .values()
        .filter(|row| row["finding"] == true)
        .map(|row| row["call"].as_str().unwrap())
        .collect();
    // What COMPLIANCE, the floor or the server itself refuses is refused to the mightiest; everything else is found.
    let mut expected = vec![
        "abort",
        "create-blob",
        "create-elsewhere",
        "create-event",
        "create-plan",
        "create-record",
        "delete",
        "delete-bucket",
        "delete-over",
        "delete-policy",
        "extend",
        "hold",
        "put-class",
        "put-held",
        "put-other-mode",
        "read-blob",
        "release",
        "set-acl",
        "set-encryption",
        "set-lifecycle",
        "set-locks",
        "set-policy",
        "set-replication",
        "set-tags",
        "set-versioning",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    for row in proven.values().filter(|row| row["finding"] == true) {
        assert!(
            row["remedy"].as_str().unwrap().contains("iam render"),
            "{row}"
        );
    }
    let (objects, settings) = everything(&server, &bucket).await;
    assert_eq!(settings, before.1);
    let (beside, objects): (Vec<_>, Vec<_>) = objects
        .into_iter()
        .partition(|it| it.contains("/elsewhere/"));
    assert!(beside.is_empty(), "a probe by its name: {beside:?}");
    assert_eq!(objects, before.0);
    let verified = session.run(&["--vault", &vault, "verify", "--read", "all"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.talk);
    // No probe is locked for longer than the vault's floor and two days, or held.
    let raw = server.raw();
    let listed = raw
        .list_object_versions()
        .bucket(&bucket)
        .send()
        .await
        .unwrap();
    let most = super::support::s3::now() + jiff::SignedDuration::from_hours(5 * 24 + 1);
    for probe in listed.versions() {
        let key = probe.key().unwrap();
        if !key.contains("/probe/") {
            continue;
        }
        let head = raw.head_object().bucket(&bucket).key(key);
        let head = head
            .version_id(probe.version_id().unwrap())
            .send()
            .await
            .unwrap();
        let until = head.object_lock_retain_until_date.map_or(0, |it| it.secs());
        assert!(until <= most.as_second(), "{key} until {until}");
        let is_held = head.object_lock_legal_hold_status;
        assert!(is_held.is_none_or(|it| it.as_str() == "OFF"), "{key}");
    }
}

/// The bucket is judged without a role too, and its policy by statement.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_policy_without_a_statement_is_found() {
    let Some(server) = ministack::server() else {
        return;
    };
    let session = Session::new(&server.endpoint, server.root());
    session.profiles([]);
    let bucket = new_bucket();
    let vault = format!("s3://{bucket}/v");
    session.init(&vault, "governance");
    let glass = "arn:aws:iam::123456789012:role/glass";
    let params = Params {
        account: Some("123456789012".to_owned()),
        break_glass: vec![glass.to_owned()],
        plain_http: true,
        ..Params::new(Location::parse(&vault).unwrap())
    };
    let mut policy = render(Document::BucketPolicy, &params, Flavor::Aws)
        .unwrap()
        .policy;
    let root = server.raw(&server.root()).await;
    let words = [
        "--json",
        "--vault",
        &vault,
        "wall",
        "check",
        "--account",
        "123456789012",
        "--break-glass",
        glass,
    ];
    let mut told = Vec::new();
    for removed in [false, true] {
        if removed {
            policy.statement.retain(|it| it.sid != "DenyBypass");
        }
        let text = serde_json::to_string(&policy).unwrap();
        let put = root.put_bucket_policy().bucket(&bucket).policy(text);
        put.send().await.unwrap();
        let said = session.run(&words);
        let (_, findings) = rows(&said);
        let about: Vec<_> = findings
            .iter()
            .filter(|it| it["check"] == "policy")
            .collect();
        told.push((said.code, about.len()));
        if let Some(finding) = about.first() {
            assert_eq!(finding["severity"], "breach");
            assert!(
                finding["what"].as_str().unwrap().contains("DenyBypass"),
                "{finding}"
            );
        }
    }
    assert_eq!(told, [(0, 0), (3, 1)]);
}

#[test]
fn a_folder_has_no_walls() {
    let home = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let command = Command::new(env!("CARGO_BIN_EXE_deltavault"))
            .args(["--vault", "vault"])
            .args(words)
            .current_dir(home.path())
            .env_clear()
            .output();
        command.unwrap()
    };
    assert!(run(&["init"]).status.success());
    let refused = run(&["wall", "check"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("a folder has no walls"));
}
