//! `wall check` on servers that enforce policies: every role with the policies that are rendered for it. The results are
//! compared with the table of walls in `iam/README.md`, or written into it. `walls/missing.rs` has the gaps.

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

mod missing;

const NO_MC: &str = "SKIPPED: no mc to make a user with; DELTAVAULT_TEST_MC names it";

/// A home folder with the keys of an owner in the environment, and other keys in profiles.
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

/// The rows of a check by call, and the findings about the bucket.
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
                assert_controlled(role, &proven);
                proven
            })
        });
        checks
            .into_iter()
            .map(|check| check.join().unwrap())
            .collect()
    })
}

/// What nobody who may is asked for, not even as a control.
const WITHOUT_CONTROL: [&str; 2] = ["delete-bucket", "delete-policy"];

/// Every refusal is shown to be one: somebody else is let through with the same call.
fn assert_controlled(role: Role, proven: &Proven) {
    for (call, row) in proven {
        let is_refused = row["outcome"] == "refused";
        // Where the server said that it is done, what was seen afterwards is the proof.
        if !is_refused || row["said"] == "done" || WITHOUT_CONTROL.contains(&call.as_str()) {
            continue;
        }
        assert_eq!(row["control"], "let-through", "{role}: {row}");
    }
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

/// A new vault on ministack: a session of who may assume its roles, and what its policies were made of. Profiles are called
/// like the roles, and `owner`.
struct Roles {
    session: Session,
    bucket: String,
    params: Params,
}

impl Roles {
    /// With the roles of `iam render`, and further rights of each.
    async fn of(server: &RoleServer, more: Option<&Value>) -> Self {
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
        let policy = |document| {
            let rendered = render(document, &params, Flavor::Aws).unwrap();
            serde_json::to_value(rendered.policy).unwrap()
        };
        let session = Session::new(&server.endpoint, keys);
        session.profiles([("owner", &server.root()), ("runner", &session.keys)]);
        let mut profiles = String::new();
        for role in Role::ALL {
            let trust = policy(Document::Trust).to_string();
            let mut own = policy(Document::Role(role));
            let statements = own["Statement"].as_array_mut().unwrap();
            statements.extend(more.cloned());
            let arn = server.role(&format!("{unique}-{role}"), &trust, &own.to_string());
            let config =
                format!("[vault]\nuri = {vault:?}\nrole = {arn:?}\nexternal_id = {ID:?}\n");
            std::fs::write(session.file(&format!("{role}.toml")), config).unwrap();
            write!(
                profiles,
                "[profile {role}]\nrole_arn = {arn}\nsource_profile = runner\nexternal_id = {ID}\n"
            )
            .unwrap();
        }
        std::fs::create_dir(session.file(".aws")).unwrap();
        std::fs::write(session.file(".aws/config"), profiles).unwrap();
        let roles = Self {
            session,
            bucket,
            params,
        };
        roles.bind(server, &[]).await;
        roles
    }

    /// Puts the bucket's policy, without some statements.
    async fn bind(&self, server: &RoleServer, without: &[&str]) {
        let rendered = render(Document::BucketPolicy, &self.params, Flavor::Aws).unwrap();
        let mut policy = with_sessions(rendered.policy);
        policy
            .statement
            .retain(|it| !without.contains(&it.sid.as_str()));
        let root = server.raw(&server.root()).await;
        let text = serde_json::to_string(&policy).unwrap();
        let put = root.put_bucket_policy().bucket(&self.bucket).policy(text);
        put.send().await.unwrap();
    }

    fn words(role: Role, canaries: &str) -> Vec<String> {
        let config = format!("{role}.toml");
        let words = ["--json", "--config", &config, "wall", "check", "--role"];
        let with = ["--canary-profile", canaries, "--server", "ministack"];
        let words = words.into_iter().chain([role.as_str()]).chain(with);
        words.map(str::to_owned).collect()
    }

    fn check(&self, role: Role, canaries: &str, more: &[&str]) -> (i32, Proven) {
        let words = Self::words(role, canaries);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let said = self.session.run(&[words.as_slice(), more].concat());
        let (proven, _) = rows(&said);
        assert_eq!(proven.len(), Call::ALL.len(), "{}{}", said.out, said.talk);
        (said.code, proven)
    }
}

/// Every role of a new vault on ministack, by assuming it.
async fn on_ministack(server: &RoleServer) -> Vec<Proven> {
    let roles = Roles::of(server, None).await;
    check_all(&roles.session, |role| Roles::words(role, "owner"))
}

fn found(proven: &Proven) -> Vec<&str> {
    let found = proven.iter().filter(|(_, row)| row["finding"] == true);
    found.map(|(call, _)| call.as_str()).collect()
}

/// Where the bucket has its policy, nobody makes canaries but the snapshotter, and nobody is a control for every call.
#[tokio::test(flavor = "multi_thread")]
async fn the_roles_make_each_other_s_canaries_and_controls() {
    let Some(server) = ministack::server() else {
        return;
    };
    let roles = Roles::of(&server, None).await;
    let others = ["holder", "pruner", "restorer"].map(|name| ["--control-profile", name]);
    let (code, proven) = roles.check(Role::Auditor, "snapshotter", others.as_flattened());
    assert_eq!((code, found(&proven)), (0, vec![]));
    for call in [
        "create-blob",
        "create-page",
        "create-record",
        "create-journal",
        "create-holder-event",
        "create-pruner-event",
        "create-restorer-event",
        "create-plan",
        "forge-record",
        "read-blob",
        "extend",
        "hold",
        "release",
        "delete-over",
        "delete-version",
        "shorten",
    ] {
        let row = &proven[call];
        assert_eq!(row["outcome"], "refused", "{row}");
        assert_eq!(row["control"], "let-through", "{row}");
    }
    // Who cannot make a canary proves nothing, and says so.
    let words = Roles::words(Role::Auditor, "verifier");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let said = roles.session.run(&words);
    assert_eq!(said.code, 3);
    let (unproven, findings) = rows(&said);
    assert_eq!(found(&unproven), Vec::<&str>::new());
    let finding = findings.iter().find(|it| it["check"] == "canary").unwrap();
    assert!(
        finding["remedy"]
            .as_str()
            .unwrap()
            .contains("--canary-profile")
    );
    // The bucket refuses these to everybody, in the words of a policy.
    for call in ["create-elsewhere", "set-tags", "set-policy"] {
        let row = &proven[call];
        assert_eq!(row["outcome"], "refused", "{row}");
        assert_eq!(row["control"], "refused", "{row}");
    }
}

/// The bucket's policy refuses what a role's own policy allows by mistake; without it, the check finds a forger.
#[tokio::test(flavor = "multi_thread")]
async fn a_stray_permission_is_refused_by_the_bucket_and_found_where_it_is_not() {
    let Some(server) = ministack::server() else {
        return;
    };
    let stray = serde_json::json!({
        "Sid": "Stray", "Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"
    });
    let roles = Roles::of(&server, Some(&stray)).await;
    for role in [Role::Auditor, Role::Restorer, Role::Verifier] {
        let (code, proven) = roles.check(role, "owner", &[]);
        assert_eq!((code, found(&proven)), (0, vec![]), "{role}");
    }
    let by_place = [
        "DenyObjectsByOthers",
        "DenyHolderEventsByOthers",
        "DenyPrunerEventsByOthers",
        "DenyRestorerEventsByOthers",
    ];
    roles.bind(&server, &by_place).await;
    for role in [Role::Auditor, Role::Restorer, Role::Verifier] {
        let (code, proven) = roles.check(role, "owner", &[]);
        assert_eq!(code, 3, "{role}");
        let found = found(&proven);
        for call in ["create-record", "forge-record", "put-unlocked"] {
            assert!(found.contains(&call), "{role}: {call}: {found:?}");
        }
        assert!(!found.contains(&"create-plan"), "{role}");
        for (call, of) in [
            ("create-holder-event", Role::Holder),
            ("create-pruner-event", Role::Pruner),
            ("create-restorer-event", Role::Restorer),
        ] {
            assert_eq!(found.contains(&call), role != of, "{role}: {call}");
        }
    }
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

/// GOVERNANCE on `MinIO` guards against mistakes: what every identity can get around is reported as not proven.
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
