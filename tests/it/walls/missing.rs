//! Walls that are missing, on `MinIO`: each is found, and nothing is lost by looking for it.

use std::path::Path;
use std::thread;

use deltavault::format::LockMode;
use deltavault::iam::{Document, Flavor, Location, Params, Role, render};

use super::{NO_MC, Session, new_bucket, rows};
use crate::support::s3::{Server, now, server};

const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}"#;

/// A wall that was taken out of a role's policy: the role, the statements that were removed, the actions that were added,
/// and the findings.
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
        // On MinIO the right to set the bucket's policy is also that to set an object's ACL.
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
    for (role, removed, added, _) in HOLES {
        let rendered = render(Document::Role(role), &params, Flavor::Minio).unwrap();
        let mut policy = rendered.policy;
        let before = policy.statement.len();
        policy
            .statement
            .retain(|it| !removed.contains(&it.sid.as_str()));
        assert_eq!(
            policy.statement.len() + removed.len(),
            before,
            "{role} {removed:?}"
        );
        let mut policy = serde_json::to_value(&policy).unwrap();
        if !added.is_empty() {
            let more = serde_json::json!({
                "Sid": "More", "Effect": "Allow", "Action": added, "Resource": "arn:aws:s3:::*"
            });
            policy["Statement"].as_array_mut().unwrap().push(more);
        }
        let Some(keys) = server.user(role.as_str(), &policy.to_string()) else {
            println!("{NO_MC}");
            return;
        };
        users.push((removed[0], keys));
    }
    session.profiles(users.iter().map(|(name, keys)| (*name, keys)));
    thread::scope(|scope| {
        for (role, removed, _, expected) in HOLES {
            let (session, vault) = (&session, &vault);
            scope.spawn(move || {
                let words = ["--json", "--vault", vault, "wall", "check", "--role"];
                let with = [role.as_str(), "--profile", removed[0]];
                let said = session.run(&[words.as_slice(), &with].concat());
                let (proven, _) = rows(&said);
                let found: Vec<&str> = proven
                    .values()
                    .filter(|row| row["finding"] == true)
                    .map(|row| row["call"].as_str().unwrap())
                    .collect();
                assert_eq!(found, expected, "{role} without {removed:?}");
                assert_eq!(said.code, 3);
            });
        }
    });
}

/// The object versions of a vault without the probes, with their `ETag`s; and the bucket's settings.
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
    let Some(admin) = server.user("full-access", EVERYTHING) else {
        println!("{NO_MC}");
        return;
    };
    session.profiles([("full-access", &admin)]);
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshot.in/lake/orders");
    let taken = session.run(&["--vault", &vault, "snapshot", table.to_str().unwrap()]);
    assert_eq!(taken.code, 0, "{}{}", taken.out, taken.talk);
    let before = everything(&server, &bucket).await;
    let words = [
        "--json", "--vault", &vault, "wall", "check", "--role", "auditor",
    ];
    let said = session.run(&[words.as_slice(), &["--profile", "full-access"]].concat());
    assert_eq!(said.code, 3, "{}{}", said.out, said.talk);
    let (proven, _) = rows(&said);
    let found: Vec<&str> = proven
        .values()
        .filter(|row| row["finding"] == true)
        .map(|row| row["call"].as_str().unwrap())
        .collect();
    // COMPLIANCE, the floor and the server itself refuse some calls to every identity; all others are found.
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
    assert!(beside.is_empty(), "not a probe by its name: {beside:?}");
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
    let most = now() + jiff::SignedDuration::from_hours(5 * 24 + 1);
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
