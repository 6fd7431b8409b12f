//! The rendering for `MinIO` on `MinIO`: it takes every policy, each role can do its work, and is refused the rest, except
//! for what the rendering itself says is not enforced.

use std::sync::Arc;

use deltavault::format::VaultFile;
use deltavault::format::ledger::Bodies;
use deltavault::format::{LockMode, VaultKey};
use deltavault::iam::{Document, Flavor, Location, Params, Rendered, Role, render};
use deltavault::ids::Id128;
use deltavault::plan::restore::Mode;
use deltavault::store::s3::{Keys, S3Client, S3Store};
use deltavault::store::{
    Deletion, HoldStore as _, Payload, PruneStore as _, ReadStore, WriteStore as _,
};
use deltavault::vault::events::Actor;
use deltavault::vault::hold::Holder;
use deltavault::vault::prune::{Forget, Patience, Pruner};
use deltavault::vault::{self, Vault};
use deltavault::{Error, ExitCode};
use jiff::SignedDuration;

use super::support::attempts::{Ground, compare};
use super::support::s3::{self, Bucket, Server};
use super::support::s3_scene::{Scene, everything};
use super::support::verified::{ALL, NO_BYTES, verify};
use super::support::world::{request_at, restore_request_at, restorer, snapshotter, source};

const NO_MC: &str = "SKIPPED: no mc to make a user with; DELTAVAULT_TEST_MC names it";

/// What gets through on `MinIO`, in the order of the roles. Three lines are gaps of the server: the rendering says so.
const EXPECTED: &str = "
    ++++++ list the vault
    ++-+-- read a blob
    ++++++ read a record
    ++++++ read a lock
    +----- create a blob
    +----- create a record
    -----+ create an event of the holder
    ----+- create an event of the pruner
    -+---- create an event of the restorer
    ----+- create a prune plan
    ------ create beside the vault
    +----- put on top of a blob
    +----- lock a blob
    ------ lock below the floor
    ------ lock above the ceiling
    ------ lock in the other mode
    +----- shorten a lock by bypass
    -----+ hold a blob
    ----+- put a delete marker on a blob
    ------ put a delete marker on a record
    ----+- delete a version of a blob
    ----+- delete versions in a batch
    ------ delete a version of a record
    ------ delete past the lock
    ------ tag a blob
    ------ open a blob to everybody
    ------ abort an upload
    ------ remove the bucket's policy
    ------ suspend versioning
    ------ let a lifecycle rule delete
    ------ change the default lock
    ++---- read a table's data
    +++--- read a table's log
    -+---- write into a table
    ------ delete a version of a table's file
";

fn rendered(role: Role, vault: &str, sources: &[&str]) -> Rendered {
    let sources = sources.iter().map(|uri| Location::parse(uri).unwrap());
    let params = Params {
        sources: sources.collect(),
        lock_mode: LockMode::Governance,
        plain_http: true,
        ..Params::new(Location::parse(vault).unwrap())
    };
    render(Document::Role(role), &params, Flavor::Minio).unwrap()
}

fn user(server: &Server, role: Role, vault: &str, sources: &[&str]) -> Option<Keys> {
    let policy = rendered(role, vault, sources).text().unwrap();
    server.user(role.as_str(), &policy)
}

#[tokio::test]
async fn each_role_gets_through_with_what_it_needs_and_nothing_else() {
    let Some(server) = s3::server() else { return };
    let ground = Ground {
        root: server.raw(),
        vault: server.bucket(Bucket::Locked).await,
        source: server.bucket(Bucket::Versioned).await,
    };
    let vault = format!("s3://{}/lake", ground.vault);
    let tables = format!("s3://{}/sales", ground.source);
    let mut clients = Vec::new();
    for role in Role::ALL {
        let Some(keys) = user(&server, role, &vault, &[&tables]) else {
            println!("{NO_MC}");
            return;
        };
        clients.push(server.raw_as(&keys));
    }
    compare(&ground, &clients, EXPECTED).await;
}

#[test]
fn what_minio_lets_through_is_said() {
    let says = |role, sid: Option<&str>, words: &str| {
        let gaps = rendered(role, "s3://acme-vault", &["s3://acme-lake"]).not_enforced;
        let found = gaps
            .iter()
            .find(|gap| gap.sid.as_deref() == sid && gap.reason.contains(words));
        assert!(found.is_some(), "{role} {sid:?} {words}: {gaps:#?}");
    };
    // "put on top of a blob", "shorten a lock by bypass" and "put a delete marker on a blob".
    says(
        Role::Snapshotter,
        Some("DenyOverwrites"),
        "s3:ObjectCreationOperation",
    );
    says(Role::Snapshotter, None, "shorten");
    says(Role::Pruner, Some("DenyDeleteMarkers"), "hide");
    says(Role::Snapshotter, Some("DenyLocksAboveCeiling"), "extended");
    // A call of MinIO's own, which makes objects of any names and asks for no other right.
    for role in Role::ALL {
        let policy = rendered(role, "s3://acme-vault", &[]).policy;
        let fan_out = policy.statement("DenyFanOut").unwrap();
        assert_eq!(fan_out.action.as_slice(), ["s3:PutObjectFanOut"], "{role}");
    }
    // Under COMPLIANCE nobody shortens.
    let params = Params {
        lock_mode: LockMode::Compliance,
        ..Params::new(Location::parse("s3://acme-vault").unwrap())
    };
    let gaps = render(Document::Role(Role::Snapshotter), &params, Flavor::Minio).unwrap();
    assert!(
        gaps.not_enforced
            .iter()
            .all(|gap| !gap.reason.contains("shorten"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(
    clippy::too_many_lines,
    reason = "one vault, and each role at work in it"
)]
async fn each_role_does_its_work_with_its_own_keys() {
    let Some(server) = s3::server() else { return };
    let scene = Scene::set(server.clone()).await;
    let bucket = server.bucket(Bucket::Locked).await;
    let vault = format!("s3://{bucket}/lake");
    let target = scene.place("back");
    let mut clients = Vec::new();
    for role in Role::ALL {
        let Some(keys) = user(&server, role, &vault, &[&scene.live, &target]) else {
            println!("{NO_MC}");
            return;
        };
        let settings = server.settings(&server.endpoint, keys);
        clients.push(S3Client::connect(&settings).await.unwrap());
    }
    let at = |role: Role, uri: &str| {
        let client = &clients[Role::ALL.iter().position(|one| *one == role).unwrap()];
        S3Store::open(client, uri)
            .unwrap()
            .with_lock_mode(LockMode::Governance)
    };
    let direct = S3Store::open(&scene.direct, &vault).unwrap();
    let new = VaultFile {
        lock_mode: LockMode::Governance,
        ..VaultFile::new(Id128::from_bytes([7; 16]), s3::now())
    };
    vault::init(&direct, new).await.unwrap();

    let wanted = request_at(&scene.live, s3::now());
    let take = async |role| {
        let store = Arc::new(at(role, &vault));
        let live = at(role, &scene.live);
        snapshotter(store)
            .await?
            .take(&source(Arc::new(live)), &wanted)
            .await
    };
    for role in Role::ALL.into_iter().skip(1) {
        assert_denied(take(role).await.map(|_| ()), role);
    }
    let done = take(Role::Snapshotter).await.unwrap();

    for (role, plan) in [
        (Role::Snapshotter, ALL),
        (Role::Restorer, ALL),
        (Role::Auditor, NO_BYTES),
        (Role::Verifier, ALL),
        (Role::Pruner, NO_BYTES),
        (Role::Holder, NO_BYTES),
    ] {
        let store: Arc<dyn ReadStore> = Arc::new(at(role, &vault));
        let verified = verify(&Vault::open(store).await.unwrap(), plan).await;
        assert_eq!(
            verified.code(),
            ExitCode::Done,
            "{role}: {:#?}",
            verified.findings
        );
    }

    let history = |role| {
        let (store, key) = (Arc::new(at(role, &vault)), wanted.key.clone());
        async move {
            let vault = Vault::open(store).await.unwrap();
            let history = vault.history(&key, Bodies::new()).await.unwrap();
            (vault, history)
        }
    };
    let actor = || Actor {
        now: s3::now(),
        principal: "test@host".to_owned(),
        run: Id128::from_bytes(rand::random()),
        tool: "deltavault test".to_owned(),
    };
    let hold = async |role| {
        let (vault_of_role, history) = history(role).await;
        let snapshot = history.find(done.id)?.unwrap().clone();
        let holder = Holder {
            vault: vault_of_role,
            store: Arc::new(at(role, &vault)),
            temp: std::env::temp_dir(),
        };
        let held = holder.hold(&snapshot, &actor()).await?;
        assert!(held.objects > Some(0), "{held:?}");
        holder.release(&snapshot, &actor()).await
    };
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Holder) {
        assert_denied(hold(role).await.map(|_| ()), role);
    }
    hold(Role::Holder).await.unwrap();

    // What a killed run leaves behind.
    let orphan = Payload::from_bytes("an orphan");
    let orphan_key = VaultKey::blob(orphan.sha256, None).object_key().unwrap();
    at(Role::Snapshotter, &vault)
        .put_new(&orphan_key, &orphan, None)
        .await
        .unwrap();
    let prune = async |role| {
        let (vault_of_role, _) = history(role).await;
        let pruner = Pruner {
            vault: vault_of_role,
            store: Arc::new(at(role, &vault)),
            temp: std::env::temp_dir(),
            forget: Forget::These(Vec::new()),
        };
        let patience = Patience {
            grace: SignedDuration::ZERO,
            is_alone: false,
        };
        let survey = pruner.survey(patience, s3::now(), &mut |_| Ok(())).await?;
        pruner.execute(survey, &actor()).await
    };
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Pruner) {
        assert_denied(prune(role).await.map(|_| ()), role);
    }
    prune(Role::Pruner).await.unwrap();
    // A plan is to the second.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let pruned = prune(Role::Pruner).await.unwrap();
    let deleted: u64 = pruned.deleted.values().map(|it| it.objects).sum();
    assert_eq!(deleted, 1, "{pruned:?}");
    assert!(direct.attributes(&orphan_key, None).await.is_err());

    let restore = async |role| {
        let restorer = restorer(Arc::new(at(role, &vault)), Arc::new(at(role, &target))).await?;
        let request = restore_request_at(&done, Mode::To, s3::now());
        let plan = restorer.plan(&request).await?;
        restorer.execute(&request, plan).await
    };
    for role in Role::ALL.into_iter().filter(|role| *role != Role::Restorer) {
        assert_denied(restore(role).await.map(|_| ()), role);
    }
    restore(Role::Restorer).await.unwrap();
    let back = everything(Arc::new(scene.store(&target))).await;
    assert_eq!(back, scene.closure);
}

/// What keeps an object is asked for by itself, because the pruner may not read the data.
#[tokio::test]
async fn the_pruner_is_told_what_keeps_an_object_that_it_may_not_read() {
    let Some(server) = s3::server() else { return };
    let bucket = server.bucket(Bucket::Locked).await;
    let vault = format!("s3://{bucket}/lake");
    let Some(keys) = user(&server, Role::Pruner, &vault, &[]) else {
        println!("{NO_MC}");
        return;
    };
    let store = async |keys: Keys| {
        let settings = server.settings(&server.endpoint, keys);
        let client = S3Client::connect(&settings).await.unwrap();
        let store = S3Store::open(&client, &vault).unwrap();
        store.with_lock_mode(LockMode::Governance)
    };
    let (owner, pruner) = (store(server.keys.clone()).await, store(keys).await);
    let tomorrow = s3::now() + SignedDuration::from_hours(24);
    let mut targets = Vec::new();
    for (text, lock) in [("locked", Some(tomorrow)), ("held", None), ("free", None)] {
        let payload = Payload::from_bytes(text);
        let key = VaultKey::blob(payload.sha256, None).object_key().unwrap();
        let put = owner.put_new(&key, &payload, lock).await.unwrap();
        if text == "held" {
            let version = put.version.as_ref();
            owner.set_hold(&key, version, true).await.unwrap();
        }
        assert!(pruner.attributes(&key, put.version.as_ref()).await.is_err());
        targets.push((key, put.version));
    }
    let deleted = pruner.delete_versions(&targets).await.unwrap();
    assert!(
        matches!(
            deleted.as_slice(),
            [
                Deletion::Locked { until: Some(_) },
                Deletion::Held,
                Deletion::Deleted
            ]
        ),
        "{deleted:?}"
    );
    let (held, version) = &targets[1];
    owner.set_hold(held, version.as_ref(), false).await.unwrap();
}

fn assert_denied(done: Result<(), Error>, role: Role) {
    let refused = done.expect_err(role.as_str());
    let told = format!("{refused:?}");
    assert!(told.contains("Denied"), "{role}: {told}");
}

#[tokio::test]
async fn without_tls_nothing_of_the_vault_is_to_be_had_unless_it_was_asked_for() {
    let Some(server) = s3::server() else { return };
    let bucket = server.bucket(Bucket::Locked).await;
    let vault = Location::parse(&format!("s3://{bucket}/lake")).unwrap();
    for (plain_http, gets_through) in [(false, false), (true, true)] {
        let params = Params {
            plain_http,
            ..Params::new(vault.clone())
        };
        let policy = render(Document::Role(Role::Verifier), &params, Flavor::Minio).unwrap();
        let said = policy.not_enforced.iter();
        let said = said
            .filter(|gap| gap.sid.as_deref() == Some("DenyPlainHttp"))
            .count();
        assert_eq!(said, usize::from(plain_http));
        let Some(keys) = server.user("verifier", &policy.text().unwrap()) else {
            println!("{NO_MC}");
            return;
        };
        let list = server
            .raw_as(&keys)
            .list_object_versions()
            .bucket(&bucket)
            .send()
            .await;
        assert_eq!(list.is_ok(), gets_through);
    }
}
