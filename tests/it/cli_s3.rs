//! The command line with vaults and tables on a real S3 server: the wiring, and what a tired person reads when
//! something on the way there is wrong.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use deltavault::demo::{append_night, make_table, read_rows};
use deltavault::ids::Version;
use deltavault::reader::TableStore;
use deltavault::store::s3::{Keys, S3Store};
use deltavault::store::{ReadStore, RestoreStore, WriteStore};
use futures::TryStreamExt as _;

use super::support::s3::{Bucket, Server, server};

/// A user who may read everything and write nothing.
const READER: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:GetObject","s3:GetObjectVersion","s3:ListBucket","s3:ListBucketVersions"],
    "Resource":["arn:aws:s3:::*"]}]}"#;

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    /// What it printed.
    pub(crate) out: String,
    /// What it said besides.
    pub(crate) talk: String,
}

/// A machine of its own: a home, and the server's address and keys in the environment.
pub(crate) struct Session {
    pub(crate) server: Server,
    keys: Keys,
    pub(crate) home: tempfile::TempDir,
}

impl Session {
    pub(crate) fn new() -> Option<Self> {
        let server = server()?;
        Some(Self {
            keys: server.keys.clone(),
            server,
            home: tempfile::tempdir().unwrap(),
        })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"));
        command
            .args(words)
            .current_dir(self.home.path())
            .env_clear()
            .env("HOME", self.home.path())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ENDPOINT_URL", &self.server.endpoint)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", &self.keys.id)
            .env("AWS_SECRET_ACCESS_KEY", &self.keys.secret);
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Said {
        said(&self.command(words).output().unwrap())
    }

    /// Runs it and expects it to end well.
    pub(crate) fn done(&self, words: &[&str]) -> String {
        let said = self.run(words);
        assert_eq!(said.code, 0, "{words:?}: {}{}", said.out, said.talk);
        said.out
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.home.path().join(name), text).unwrap();
    }

    pub(crate) async fn store(&self, uri: &str) -> S3Store {
        S3Store::open(&self.server.client().await, uri).unwrap()
    }

    /// A small table at a place where nothing is.
    pub(crate) async fn make_table(&self, uri: &str) -> TableStore {
        let lake = TableStore::Writable(Arc::new(self.store(uri).await));
        make_table(&lake).await.unwrap();
        lake
    }

    pub(crate) async fn drop_table(&self, uri: &str) {
        let store = self.store(uri).await;
        let files: Vec<_> = store.list("", None).try_collect().await.unwrap();
        for file in files {
            store.remove(&file.key, &file.etag).await.unwrap();
        }
    }

    /// A name that no other test has.
    pub(crate) fn bucket() -> String {
        format!("dv-cli-{:012x}", rand::random::<u64>() >> 16)
    }
}

fn said(output: &Output) -> Said {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_table_on_s3_is_kept_dropped_and_comes_back_in_place_and_elsewhere() {
    let Some(session) = Session::new() else {
        return;
    };
    let bucket = Session::bucket();
    let vault = format!("s3://{bucket}/backup/vault");
    let made = session.done(&["--vault", &vault, "init", "--no-lock"]);
    all_of(
        &made,
        &[
            &format!("made the vault {vault}"),
            "made the bucket, with versioning and Object Lock",
            "objects are not locked: this is a real backup",
            "anyone who may delete in the bucket",
        ],
    );
    let again = session.run(&["--vault", &vault, "init", "--no-lock"]);
    assert_eq!(again.code, 0);
    all_of(&again.out, &["the vault is there already", "in the bucket"]);
    let other = session.run(&["--vault", &vault, "init", "--no-lock", "--longest", "30"]);
    assert_eq!(other.code, 1);
    all_of(&other.talk, &["is a vault already", "--longest 3650"]);

    let table = format!("s3://{bucket}/lake/a b%20c/örders");
    let lake = session.make_table(&table).await;
    let rows = read_rows(&lake, None).await.unwrap();
    // Every spelling names the same table.
    let spelled = format!("s3a{}/", table.trim_start_matches("s3"));
    let taken = session.done(&["--vault", &vault, "snapshot", &spelled]);
    all_of(&taken, &["v4 is snapshot", "14 new"]);
    let taken = session.done(&["--vault", &vault, "snapshot", &table]);
    all_of(&taken, &["(#2)", "nothing changed"]);
    session.done(&["--vault", &vault, "verify", "--read", "all"]);

    session.drop_table(&table).await;
    let told = session.run(&["--vault", &vault, "restore", &table]);
    assert_eq!(told.code, 4, "{}{}", told.out, told.talk);
    all_of(
        &told.out,
        &[
            &format!("{table}  DROPPED"),
            " --yes",
            &format!("'{table}-v4'"),
        ],
    );
    let back = session.done(&["--vault", &vault, "restore", &table, "--latest", "--yes"]);
    all_of(
        &back,
        &[
            "14 put back",
            "v4 opens with deltalake",
            // What Spark calls the same place.
            &format!("LOCATION '{}'", table.replacen("s3:", "s3a:", 1)),
        ],
    );
    assert_eq!(read_rows(&lake, None).await.unwrap(), rows);

    let copy = format!("s3://{bucket}/copy");
    for to in [copy.as_str(), "folder/copy"] {
        let copied = session.done(&[
            "--vault", &vault, "restore", &table, "--latest", "--to", to, "--yes",
        ]);
        all_of(&copied, &["v4 opens with deltalake"]);
    }
    let folder = session.home.path().join("folder/copy");
    assert_eq!(read_rows(&folder, None).await.unwrap(), rows);
    // And from a folder by a vault in a folder back to S3.
    session.done(&["--vault", "vault", "init"]);
    session.done(&["--vault", "vault", "snapshot", "folder/copy"]);
    let there = format!("s3://{bucket}/from-a-folder");
    session.done(&[
        "--vault",
        "vault",
        "restore",
        "folder/copy",
        "--latest",
        "--to",
        &there,
        "--yes",
    ]);
    let lake = TableStore::Writable(Arc::new(session.store(&there).await));
    assert_eq!(read_rows(&lake, None).await.unwrap(), rows);

    append_night(
        &TableStore::Writable(Arc::new(session.store(&table).await)),
        9,
    )
    .await
    .unwrap();
    let id = session.done(&["--vault", &vault, "--json", "snapshots"]);
    let first: serde_json::Value = serde_json::from_str(id.lines().next().unwrap()).unwrap();
    let id = &first["snapshot"].as_str().unwrap()[..8];
    let diff = session.done(&["--vault", &vault, "diff", id, "live"]);
    all_of(&diff, &["v4 to live v5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn init_leaves_what_it_did_not_make_alone() {
    let Some(session) = Session::new() else {
        return;
    };
    let bucket = session.server.bucket(Bucket::Versioned).await;
    let store = session.store(&format!("s3://{bucket}/mine")).await;
    let key = "note.txt".parse().unwrap();
    let payload = deltavault::store::Payload::from_bytes("mine");
    let written = store.put_new(&key, &payload, None).await.unwrap();
    let mine = format!("s3://{bucket}/mine");
    let refused = session.run(&["--vault", &mine, "init"]);
    assert_eq!(refused.code, 1);
    all_of(
        &refused.talk,
        &[&mine, "it is not empty", "name a place that is empty"],
    );
    // What a delete marker hides is still what a vault would read.
    store.remove(&key, &written.etag).await.unwrap();
    assert_eq!(session.run(&["--vault", &mine, "init"]).code, 1);

    let beside = format!("s3://{bucket}/mine2");
    let adopted = session.done(&["--vault", &beside, "init", "--no-lock"]);
    all_of(&adopted, &["the bucket was there and is as it was"]);
    let json = session.done(&[
        "--json",
        "--vault",
        &format!("s3://{bucket}/3"),
        "init",
        "--no-lock",
    ]);
    all_of(&json, &["\"bucket\":\"adopted\"", "\"lock_mode\":\"none\""]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_and_a_table_never_lie_in_each_other() {
    let Some(session) = Session::new() else {
        return;
    };
    let bucket = session.server.bucket(Bucket::Versioned).await;
    let vault = format!("s3://{bucket}/a/vault");
    session.done(&["--vault", &vault, "init", "--no-lock"]);
    let place = |path: &str| format!("s3://{bucket}{path}");
    for (table, rule) in [
        ("", "the vault lies in it"),
        ("/a", "the vault lies in it"),
        ("/a/vault", "the vault lies in it"),
        ("/a/vault/tables", "it lies in the vault"),
    ] {
        let refused = session.run(&["--vault", &vault, "snapshot", &place(table)]);
        assert_eq!(refused.code, 2, "{table}: {}", refused.talk);
        all_of(&refused.talk, &[rule]);
    }
    // A prefix is no folder: `a/vault2` is beside `a/vault`.
    session.make_table(&place("/a/vault2")).await;
    session.done(&["--vault", &vault, "snapshot", &place("/a/vault2")]);
    for to in ["/a/vault2/x", "/a", "/a/vault/x"] {
        let to = place(to);
        let words = [
            "--vault", &vault, "restore", "a-vault2", "--latest", "--to", &to, "--yes",
        ];
        assert_eq!(session.run(&words).code, 2, "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_between_here_and_s3_is_told_with_what_to_set() {
    let Some(session) = Session::new() else {
        return;
    };
    let bucket = session.server.bucket(Bucket::Versioned).await;
    let vault = format!("s3://{bucket}/vault");
    let absent = format!("s3://{}/x", Session::bucket());
    let none = session.run(&["--vault", &vault, "snapshots"]);
    assert_eq!(none.code, 10);
    all_of(
        &none.talk,
        &["there is no vault at", &format!("--vault {vault} init")],
    );
    let absent_bucket = session.run(&["--vault", &absent, "snapshots"]);
    assert_eq!(absent_bucket.code, 10);
    all_of(
        &absent_bucket.talk,
        &["there is no bucket at", "check the spelling of"],
    );
    session.done(&["--vault", &vault, "init", "--no-lock"]);
    // A prefix with a typing error, one that is above the vault, and one below it.
    for wrong in ["/vaultt", "", "/vault/x", "/x"] {
        let wrong = format!("s3://{bucket}{wrong}");
        let refused = session.run(&["--vault", &wrong, "snapshots"]);
        assert_eq!(refused.code, 10, "{wrong}");
        all_of(
            &refused.talk,
            &[&format!("hint: there is a vault at {vault};")],
        );
    }

    for words in [
        ["snapshot", &absent].as_slice(),
        &["snapshot", &format!("s3://{bucket}/lake")],
    ] {
        let refused = session.run(&[["--vault", &vault].as_slice(), words].concat());
        assert_eq!(refused.code, 1, "{}", refused.talk);
    }
    let refused = session.run(&["--vault", &vault, "snapshot", &absent]);
    all_of(
        &refused.talk,
        &["no such bucket", "check the bucket's name"],
    );

    let with = |set: &[(&str, &str)]| {
        let mut command = session.command(&["--vault", &vault, "snapshots"]);
        command.envs(set.iter().copied());
        let refused = said(&command.output().unwrap());
        assert_eq!(refused.code, 1, "{set:?}: {}", refused.talk);
        refused.talk
    };
    let talk = with(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]);
    all_of(
        &talk,
        &[
            "http://127.0.0.1:9 cannot be reached: Connection refused",
            "AWS_ENDPOINT_URL",
        ],
    );
    let talk = with(&[("AWS_SECRET_ACCESS_KEY", "wrong")]);
    all_of(
        &talk,
        &["SignatureDoesNotMatch", "(request ", "AWS_ACCESS_KEY_ID"],
    );
    let talk = with(&[("AWS_ACCESS_KEY_ID", "nobody")]);
    all_of(&talk, &["InvalidAccessKeyId", "AWS_PROFILE"]);
    let talk = with(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")]);
    all_of(
        &talk,
        &["none were found in the environment", "AWS_PROFILE"],
    );
    assert_eq!(talk.lines().count(), 3, "{talk}");
    let talk = with(&[("AWS_CA_BUNDLE", "/not/there.pem")]);
    all_of(&talk, &["AWS_CA_BUNDLE=/not/there.pem"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_request_and_the_access_key() {
    let Some(mut session) = Session::new() else {
        return;
    };
    let bucket = session.server.bucket(Bucket::Versioned).await;
    let vault = format!("s3://{bucket}/vault");
    let table = format!("s3://{bucket}/orders");
    session.done(&["--vault", &vault, "init", "--no-lock"]);
    session.make_table(&table).await;
    let Some(reader) = session.server.user("cli-reader", READER) else {
        println!("SKIPPED: no mc to make a user with; scripts/s3-server names it");
        return;
    };
    session.keys = reader;
    session.done(&["--vault", &vault, "snapshots"]);
    let refused = session.run(&["--vault", &vault, "snapshot", &table]);
    assert_eq!(refused.code, 1, "{}", refused.talk);
    let key = format!("asked with access key {}", session.keys.id);
    all_of(
        &refused.talk,
        &[
            "permission denied: AccessDenied",
            "(request ",
            &key,
            "hint: let the policies",
        ],
    );
    // Whoever may not make buckets can be given one.
    let refused = session.run(&["--vault", &format!("s3://{}/v", Session::bucket()), "init"]);
    all_of(&refused.talk, &["create s3://dv-cli-", "AccessDenied"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn source_and_vault_have_their_own_profiles_and_a_profile_wins_over_keys_of_the_environment()
{
    let Some(mut session) = Session::new() else {
        return;
    };
    let bucket = session.server.bucket(Bucket::Versioned).await;
    session.make_table(&format!("s3://{bucket}/orders")).await;
    let good = session.keys.clone();
    session.keys.secret = "of nobody".to_owned();
    session.write(
        "credentials",
        &format!(
            "[reads]\naws_access_key_id={0}\naws_secret_access_key={1}\n\
             [keeps]\naws_access_key_id={0}\naws_secret_access_key={1}\n\
             [stale]\naws_access_key_id={0}\naws_secret_access_key=old\n",
            good.id, good.secret
        ),
    );
    let config = |source: &str, vault: &str| {
        format!(
            "[source]\n{source}\n[vault]\nuri = \"s3://{bucket}/vault\"\nendpoint = \"{}\"\n{vault}\n\
             [[tables]]\nname = \"orders\"\nuri = \"s3://{bucket}/orders\"\n",
            session.server.endpoint
        )
    };
    let run = |name: &str, words: &[&str]| {
        let mut command = session.command(&[["--config", name].as_slice(), words].concat());
        command.env(
            "AWS_SHARED_CREDENTIALS_FILE",
            session.home.path().join("credentials"),
        );
        said(&command.output().unwrap())
    };
    session.write(
        "both.toml",
        &config("profile = 'reads'", "profile = 'keeps'"),
    );
    session.write(
        "stale.toml",
        &config("profile = 'stale'", "profile = 'keeps'"),
    );
    session.write(
        "none.toml",
        &config("profile = 'none'", "profile = 'keeps'"),
    );
    session.write(
        "named.toml",
        &config("profile = 'reads'\nname = 'lake'", "profile = 'keeps'"),
    );
    let init = run("both.toml", &["init", "--no-lock"]);
    assert_eq!(init.code, 0, "{}", init.talk);
    let taken = run("both.toml", &["snapshot"]);
    assert_eq!(taken.code, 0, "{}", taken.talk);
    for stale in ["stale.toml", "none.toml"] {
        let refused = run(stale, &["snapshot"]);
        assert_eq!(refused.code, 1, "{stale}: {}", refused.out);
        all_of(
            &refused.talk,
            &[&format!("s3://{bucket}/orders"), "credentials", "`profile`"],
        );
    }
    // A source that got a name since is not taken for the one of the record.
    let refused = run("named.toml", &["restore", "orders", "--latest", "--yes"]);
    assert_eq!(refused.code, 2, "{}{}", refused.out, refused.talk);
    all_of(
        &refused.talk,
        &[&session.server.endpoint, "\"lake\"", "under [source]"],
    );
    let copied = run(
        "named.toml",
        &["restore", "orders", "--latest", "--to", "copy", "--yes"],
    );
    assert_eq!(copied.code, 0, "{}{}", copied.out, copied.talk);
    let rows = read_rows(&session.home.path().join("copy"), None)
        .await
        .unwrap();
    assert_eq!(rows.version, Version(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_plays_on_s3_and_its_last_commands_work() {
    let Some(session) = Session::new() else {
        return;
    };
    let bucket = Session::bucket();
    let vault = format!("s3://{bucket}/demo");
    let story = session.done(&["--vault", &vault, "demo"]);
    all_of(
        &story,
        &[
            "the same rows as on night 1",
            "the same rows as on night 3",
            "a data file is gone",
            &format!("s3://{bucket}/demo-orders is deleted"),
        ],
    );
    assert!(story.lines().count() <= 40, "{story}");
    let (_, commands) = story.split_once("Look around\n").unwrap();
    let mut commands: Vec<&str> = commands.lines().map(str::trim).collect();
    let remove = commands.pop().unwrap();
    all_of(remove, &[&format!("aws s3 rm --recursive {vault}/")]);
    for command in commands {
        let words: Vec<&str> = command.split(' ').skip(1).collect();
        let yes: &[&str] = if words.contains(&"restore") {
            &["--yes"]
        } else {
            &[]
        };
        assert!(
            !session.done(&[&words, yes].concat()).is_empty(),
            "{command}"
        );
    }
    // Nothing that is there is played on.
    let again = session.run(&["--vault", &vault, "demo"]);
    assert_eq!(again.code, 1);
    all_of(&again.talk, &["is not empty"]);
}

/// The endpoint that a command asks a proxy for, with some variables set.
fn asked_for(set: &[(&str, &str)]) -> String {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--vault", "s3://vault-bucket/v", "snapshots"])
        .env_clear()
        .env("HOME", home.path())
        .env("HTTPS_PROXY", url)
        .env("AWS_REGION", "eu-west-1")
        .env("AWS_ACCESS_KEY_ID", "id")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .envs(set.iter().copied())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (asked, _) = proxy.accept().unwrap();
    let mut line = String::new();
    BufReader::new(asked).read_line(&mut line).unwrap();
    command.kill().unwrap();
    command.wait().unwrap();
    line
}

#[test]
fn the_proxy_and_the_switches_for_fips_and_dual_stack_are_those_of_the_sdk() {
    let fips = ("AWS_USE_FIPS_ENDPOINT", "true");
    let dual_stack = ("AWS_USE_DUALSTACK_ENDPOINT", "true");
    for (set, host) in [
        (&[][..], "s3.eu-west-1.amazonaws.com"),
        (&[fips], "s3-fips.eu-west-1.amazonaws.com"),
        (&[dual_stack], "s3.dualstack.eu-west-1.amazonaws.com"),
        (
            &[fips, dual_stack],
            "s3-fips.dualstack.eu-west-1.amazonaws.com",
        ),
    ] {
        let asked = asked_for(set);
        let wanted = format!("CONNECT vault-bucket.{host}:443 ");
        assert!(asked.starts_with(&wanted), "{set:?}: {asked}");
    }
}

#[test]
fn folders_never_look_for_credentials() {
    let home = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
            .args(["--vault", "vault"])
            .args(words)
            .current_dir(home.path())
            .env_clear()
            .env("AWS_CA_BUNDLE", "/not/there.pem")
            .output();
        said(&output.unwrap())
    };
    assert_eq!(run(&["init"]).code, 0);
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshot.in/lake/orders");
    let taken = run(&["snapshot", small.to_str().unwrap()]);
    assert_eq!(taken.code, 0, "{}", taken.talk);
    let refused = run(&["snapshot", "s3://bucket/orders"]);
    assert_eq!(refused.code, 1);
    all_of(&refused.talk, &["AWS_CA_BUNDLE"]);
}
