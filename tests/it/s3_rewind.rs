//! A rewind and its undo in a bucket: the restorer's keys change the table, the snapshotter's take the safety snapshot, and
//! neither can do the other's work.

use std::process::Command;

use deltavault::demo::append_night;
use deltavault::format::LockMode;
use deltavault::iam::{Document, Flavor, Location, Params, Role, render};
use deltavault::store::s3::Keys;

use super::cli_s3::Session;
use super::support::s3::Bucket;
use super::support::s3_scene::everything;

/// What came of a command: its code, and all that it printed.
fn run(session: &Session, config: &str, words: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_deltavault"))
        .args(["--config", config])
        .args(words)
        .current_dir(session.home.path())
        .env_clear()
        .env("HOME", session.home.path())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env(
            "AWS_SHARED_CREDENTIALS_FILE",
            session.home.path().join("credentials"),
        )
        .env("AWS_ENDPOINT_URL", &session.server.endpoint)
        .env("AWS_REGION", "us-east-1")
        .env("DELTAVAULT_NOW", super::support::s3::now().to_string())
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let talk = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), format!("{stdout}{talk}"))
}

/// Makes a user of a role.
fn user(session: &Session, role: Role, vault: &str, source: &str) -> Option<Keys> {
    let params = Params {
        sources: vec![Location::parse(source).unwrap()],
        lock_mode: LockMode::Governance,
        plain_http: true,
        ..Params::new(Location::parse(vault).unwrap())
    };
    let policy = render(Document::Role(role), &params, Flavor::Minio).unwrap();
    session.server.user(role.as_str(), &policy.text().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_in_a_bucket_takes_its_safety_snapshot_with_the_snapshotters_keys() {
    let Some(session) = Session::new() else {
        return;
    };
    let lake = session.server.bucket(Bucket::Versioned).await;
    let (table, tables) = (
        format!("s3://{lake}/sales/orders"),
        format!("s3://{lake}/sales"),
    );
    let vault = format!("s3://{}/lake", Session::bucket());
    let rows = session.make_table(&table).await;
    let init = ["--vault", &vault, "init", "--mode", "governance", "--yes"];
    let made = session.run(&init);
    assert!(matches!(made.code, 0 | 3), "{}{}", made.out, made.talk);
    session.done(&["--vault", &vault, "snapshot", &table]);
    for night in [5, 6] {
        append_night(rows.clone(), night).await.unwrap();
    }
    let keys =
        [Role::Restorer, Role::Snapshotter].map(|role| user(&session, role, &vault, &tables));
    let [Some(restorer), Some(snapshotter)] = keys else {
        println!("SKIPPED: no mc to make users with; DELTAVAULT_TEST_MC names it");
        return;
    };
    let profile = |name: &str, keys: &Keys| {
        format!(
            "[{name}]\naws_access_key_id={}\naws_secret_access_key={}\n",
            keys.id, keys.secret
        )
    };
    let write = |name: &str, text: String| {
        std::fs::write(session.home.path().join(name), text).unwrap();
    };
    let both = profile("restores", &restorer) + &profile("keeps", &snapshotter);
    write("credentials", both);
    let config = |more: &str| {
        format!(
            "[source]\nprofile = \"restores\"\n[vault]\nuri = \"{vault}\"\nprofile = \"restores\"\n{more}\n\
             [[tables]]\nname = \"orders\"\nuri = \"{table}\"\n"
        )
    };
    write("without.toml", config(""));
    write("wrong.toml", config("snapshot_profile = \"restores\""));
    write("with.toml", config("snapshot_profile = \"keeps\""));
    let store = || async { everything(std::sync::Arc::new(session.store(&table).await)).await };
    let before = store().await;
    let words = ["restore", "orders", "--latest", "--rewind", "--yes"];

    let (code, said) = run(&session, "without.toml", &words);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("snapshot_profile"), "{said}");
    let (code, said) = run(&session, "wrong.toml", &words);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("AccessDenied"), "{said}");
    assert_eq!(store().await, before);

    let (code, said) = run(&session, "with.toml", &words);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("REMOVED 2 files of the log"), "{said}");
    let back = store().await;
    assert!(
        !back
            .keys()
            .any(|name| name.ends_with("00000000000000000006.json")),
        "{said}"
    );
    let (code, said) = run(&session, "with.toml", &["undo", "orders", "--yes"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(store().await, before);
    let (code, said) = run(&session, "with.toml", &["verify", "orders"]);
    assert_eq!(code, 0, "{said}");
}
