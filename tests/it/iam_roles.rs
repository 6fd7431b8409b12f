//! The rendering for AWS on a server that has roles, trust policies and bucket policies with principals: ministack.
//!
//! Two things differ from AWS there, and are bent to it here: calls come without TLS, and `aws:PrincipalArn` names the
//! session of a role where AWS names the role. The conditions that it lacks are proved by the evaluator alone; the lines
//! of the table that show it say so.

use deltavault::iam::{Document, Flavor, Location, OneOrMany, Params, Policy, Role, render};
use deltavault::store::s3::{S3Client, S3Store};
use deltavault::store::{
    Deletion, Payload, PruneStore as _, ReadStore as _, StoreErrorKind, WriteStore as _,
};

use super::store_conformance::key;
use super::support::attempts::{Ground, compare};
use super::support::ministack::{self, ACCOUNT, RoleServer};

/// What gets through, in the order of the roles. The server has no condition on what is put on top of what, nor on a
/// lock's days and mode; and a batch of deletions asks it for the right to put delete markers, which nobody has.
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
    +----- lock below the floor
    +----- lock above the ceiling
    +----- lock in the other mode
    ------ shorten a lock by bypass
    -----+ hold a blob
    ------ put a delete marker on a blob
    ------ put a delete marker on a record
    ----+- delete a version of a blob
    ------ delete versions in a batch
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

/// What an administrator gets through with, whom nothing but the bucket's policy binds; and who may break the glass.
const ADMINISTRATORS: &str = "
    ++ list the vault
    -+ read a blob
    -+ read a record
    ++ read a lock
    -- create a blob
    -- create a record
    -- create an event of the holder
    -- create an event of the pruner
    -- create an event of the restorer
    -- create a prune plan
    -- create beside the vault
    -- put on top of a blob
    -- lock a blob
    -- lock below the floor
    -- lock above the ceiling
    -- lock in the other mode
    -- shorten a lock by bypass
    -- hold a blob
    -- put a delete marker on a blob
    -- put a delete marker on a record
    -- delete a version of a blob
    -- delete versions in a batch
    -- delete a version of a record
    -- delete past the lock
    -- tag a blob
    -- open a blob to everybody
    -- abort an upload
    -+ remove the bucket's policy
    -+ suspend versioning
    -+ let a lifecycle rule delete
    -- change the default lock
    ++ read a table's data
    ++ read a table's log
    ++ write into a table
    ++ delete a version of a table's file
";

const ID: &str = "acme-7";
const ADMIN: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"All","Effect":"Allow",
    "Action":"*","Resource":"*"}]}"#;

struct Stage {
    server: RoleServer,
    params: Params,
    ground: Ground,
    keys: deltavault::store::s3::Keys,
}

impl Stage {
    /// A vault and a source with their policies, and the roles.
    async fn set(server: RoleServer, plain_http: bool) -> Self {
        let unique = format!("{:08x}", rand::random::<u32>());
        let (user, keys) = server.user(&format!("runner-{unique}"));
        let vault = format!("vault-{unique}");
        let source = format!("lake-{unique}");
        let break_glass = format!("arn:aws:iam::{ACCOUNT}:role/glass-{unique}");
        let params = Params {
            sources: vec![Location::parse(&format!("s3://{source}/sales")).unwrap()],
            account: Some(ACCOUNT.to_owned()),
            role_prefix: unique.clone(),
            break_glass: vec![break_glass],
            trusted: vec![user],
            external_id: Some(ID.to_owned()),
            plain_http,
            ..Params::new(Location::parse(&format!("s3://{vault}/lake")).unwrap())
        };
        let text = |document| {
            let rendered = render(document, &params, Flavor::Aws).unwrap();
            rendered.text().unwrap()
        };
        let trust = text(Document::Trust);
        for role in Role::ALL {
            server.role(
                &format!("{unique}-{role}"),
                &trust,
                &text(Document::Role(role)),
            );
        }
        server.role(&format!("admin-{unique}"), &trust, ADMIN);
        server.role(&format!("glass-{unique}"), &trust, ADMIN);
        let root = server.raw(&server.root()).await;
        let made = root
            .create_bucket()
            .bucket(&vault)
            .object_lock_enabled_for_bucket(true);
        made.send().await.unwrap();
        let made = root
            .create_bucket()
            .bucket(&source)
            .object_lock_enabled_for_bucket(true);
        made.send().await.unwrap();
        let bucket = render(Document::BucketPolicy, &params, Flavor::Aws)
            .unwrap()
            .policy;
        let bucket = serde_json::to_string(&with_sessions(bucket)).unwrap();
        root.put_bucket_policy()
            .bucket(&vault)
            .policy(bucket)
            .send()
            .await
            .unwrap();
        let ground = Ground {
            root,
            vault,
            source,
        };
        Self {
            server,
            params,
            ground,
            keys,
        }
    }

    async fn client(&self, name: &str) -> aws_sdk_s3::Client {
        self.server.raw_in(&self.keys, &arn(name), ID).await
    }

    /// A part of the names that are this stage's own.
    fn unique(&self) -> &str {
        &self.params.role_prefix
    }
}

fn arn(role: &str) -> String {
    format!("arn:aws:iam::{ACCOUNT}:role/{role}")
}

/// One column of a table.
fn column(table: &str, column: usize) -> String {
    let lines = table.lines().map(str::trim).filter(|it| !it.is_empty());
    let lines = lines.map(|line| {
        let (cells, attempt) = line.split_once(' ').unwrap();
        format!("{} {attempt}\n", cells.chars().nth(column).unwrap())
    });
    lines.collect()
}

/// Adds to every exempt role its sessions.
pub(crate) fn with_sessions(mut policy: Policy) -> Policy {
    for statement in &mut policy.statement {
        let Some(keys) = statement.condition.get_mut("ArnNotLike") else {
            continue;
        };
        for arns in keys.values_mut() {
            let mut all = arns.as_slice().to_vec();
            for arn in arns.as_slice() {
                let role = arn.rsplit('/').next().unwrap();
                all.push(format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}/*"));
            }
            *arns = OneOrMany::Many(all);
        }
    }
    policy
}

#[tokio::test]
async fn each_role_gets_through_with_what_it_needs_and_nothing_else() {
    let Some(server) = ministack::server() else {
        return;
    };
    let stage = Stage::set(server, true).await;
    let mut clients = Vec::new();
    for role in Role::ALL {
        clients.push(stage.client(&format!("{}-{role}", stage.unique())).await);
    }
    compare(&stage.ground, &clients, EXPECTED).await;
}

#[tokio::test]
async fn the_bucket_binds_administrators_and_its_configuration_is_behind_the_glass() {
    let Some(server) = ministack::server() else {
        return;
    };
    let stage = Stage::set(server, true).await;
    let admin = stage.client(&format!("admin-{}", stage.unique())).await;
    let glass = stage.client(&format!("glass-{}", stage.unique())).await;
    // The second one takes the bucket's policy away.
    compare(&stage.ground, &[admin], &column(ADMINISTRATORS, 0)).await;
    compare(&stage.ground, &[glass], &column(ADMINISTRATORS, 1)).await;
}

#[tokio::test]
async fn a_role_is_taken_on_with_its_external_id_and_by_who_is_trusted_only() {
    let Some(server) = ministack::server() else {
        return;
    };
    let stage = Stage::set(server.clone(), true).await;
    let role = arn(&format!("{}-snapshotter", stage.unique()));
    let (_, stranger) = server.user(&format!("stranger-{}", stage.unique()));
    let vault = format!("s3://{}/lake", stage.ground.vault);
    for (keys, id, gets_in) in [
        (&stage.keys, Some(ID), true),
        (&stage.keys, Some("acme-8"), false),
        (&stage.keys, None, false),
        (&stranger, Some(ID), false),
    ] {
        let settings = server.settings(keys, &role, id);
        let client = S3Client::connect(&settings).await.unwrap();
        let store = S3Store::open(&client, &vault).unwrap();
        let name = key(&format!("blobs/aa/{:016x}", rand::random::<u64>()));
        let put = store.put_new(&name, &Payload::from_bytes("x"), None).await;
        assert_eq!(put.is_ok(), gets_in, "{id:?}: {put:?}");
        if gets_in {
            store.attributes(&name, None).await.unwrap();
            let beside = key("prune/x.json");
            let refused = store
                .put_new(&beside, &Payload::from_bytes("x"), None)
                .await;
            let refused = refused.unwrap_err().kind;
            assert!(
                matches!(refused, StoreErrorKind::Denied { .. }),
                "{refused:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_pruner_s_deletions_get_through_where_batches_want_a_right_that_nobody_has() {
    let Some(server) = ministack::server() else {
        return;
    };
    let stage = Stage::set(server.clone(), true).await;
    let vault = format!("s3://{}/lake", stage.ground.vault);
    let store = async |role: &str| {
        let role = arn(&format!("{}-{role}", stage.unique()));
        let settings = server.settings(&stage.keys, &role, Some(ID));
        let client = S3Client::connect(&settings).await.unwrap();
        S3Store::open(&client, &vault).unwrap()
    };
    let (snapshotter, pruner) = (store("snapshotter").await, store("pruner").await);
    let name = key(&format!("blobs/aa/{:016x}", rand::random::<u64>()));
    let payload = Payload::from_bytes("x");
    let put = snapshotter.put_new(&name, &payload, None).await.unwrap();
    let version = put.version;
    for (who, expected) in [(&snapshotter, false), (&pruner, true)] {
        let targets = [(name.clone(), version.clone())];
        let deleted = who.delete_versions(&targets).await.unwrap();
        let is_gone = deleted == [Deletion::Deleted];
        assert_eq!(is_gone, expected, "{deleted:?}");
    }
    let gone = snapshotter.attributes(&name, version.as_ref()).await;
    assert!(gone.unwrap_err().is_not_found());
}

#[tokio::test]
async fn without_tls_the_bucket_refuses_everybody() {
    let Some(server) = ministack::server() else {
        return;
    };
    let stage = Stage::set(server, false).await;
    for name in ["admin", "glass"] {
        let client = stage.client(&format!("{name}-{}", stage.unique())).await;
        assert!(!stage.ground.lets(&client, "list the vault").await);
        assert!(!stage.ground.lets(&client, "read a blob").await);
    }
}
