//! Walls that are missing, on `MinIO`: each is found, and nothing is lost by looking for it.

use std::path::Path;
use std::thread;

use deltavault::format::LockMode;
use deltavault::iam::{Document, Flavor, Location, Params, Role, render};

use super::{NO_MC, Session, new_bucket, rows};
use crate::support::s3::{Server, now, server};

const EVERYTHING: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow",
    "Action":["s3:*"],"Resource":["arn:aws:s3:::*"]}]}"#;

/// A wall with a hole: what is taken out of a role's policy, what one statement adds to it, and what is found.
struct Hole {
    role: Role,
    /// The statements that are taken out.
    without: &'static [&'static str],
    /// The actions that are added.
    with: &'static [&'static str],
    /// What they are added on, below the vault, or the bucket itself.
    on: &'static str,
    found: &'static [&'static str],
}

/// A line has the role, the statements without which its policy is, the actions that are added and on what, and the findings.
macro_rules! holes {
    ($($role:ident without $without:expr, with $with:expr, on $on:literal => $found:expr;)+) => {
        &[$(Hole { role: Role::$role, without: &$without, with: &$with, on: $on, found: &$found },)+]
    };
}

const NO_STATEMENT: [&str; 0] = [];
/// What refuses a put by its place.
const BY_PLACE: [&str; 5] = [
    "DenyObjectsByOthers",
    "DenyHolderEventsByOthers",
    "DenyPrunerEventsByOthers",
    "DenyRestorerEventsByOthers",
    "DenyPrunePlansByOthers",
];
const PUT: [&str; 1] = ["s3:PutObject"];

const HOLES: &[Hole] = holes! {
    Snapshotter without ["DenyOtherLockMode"], with [], on "*" => ["put-other-mode"];
    Snapshotter without ["DenyOtherStorageClass"], with [], on "*" => ["put-class"];
    Auditor without ["DenyAborts"], with ["s3:AbortMultipartUpload"], on "*" => ["abort"];
    Verifier without ["DenyDeleteMarkers", "DenyDeletesByOthers", "DenyDeletesOutsideWhatIsPruned"],
        with ["s3:DeleteObject", "s3:DeleteObjectVersion"], on "*"
        => ["delete", "delete-over", "delete-record", "hide-record"];
    // On MinIO the right to set the bucket's policy is also that to set an object's ACL.
    Restorer without ["DenyConfigurationChanges"],
        with ["s3:PutBucketPolicy", "s3:PutBucketVersioning", "s3:PutBucketNotification"], on "bucket"
        => ["set-acl", "set-notification", "set-policy", "set-versioning"];
    Pruner without ["DenyHoldsByOthers"], with ["s3:PutObjectLegalHold"], on "*" => ["hold", "release"];
    // The forgers: with a right to put that is not theirs, and none to lock.
    Auditor without BY_PLACE, with PUT, on "*" => [
        "create-blob", "create-elsewhere", "create-holder-event", "create-journal", "create-page", "create-plan",
        "create-pruner-event", "create-record", "create-restorer-event", "forge-record", "overwrite", "put-unlocked",
        "replace-vault-file",
    ];
    Restorer without ["DenyObjectsByOthers"], with PUT, on "tables/*/ledger/*"
        => ["create-record", "forge-record"];
    // Each role that writes events has a chain of its own, and none of the others'.
    Verifier without ["DenyHolderEventsByOthers"], with PUT, on "tables/*/events/*" => ["create-holder-event"];
    Holder without ["DenyPrunerEventsByOthers"], with PUT, on "tables/*/events/*" => ["create-pruner-event"];
    Pruner without ["DenyRestorerEventsByOthers"], with PUT, on "tables/*/events/*" => ["create-restorer-event"];
    Restorer without ["DenyHolderEventsByOthers"], with PUT, on "tables/*/events/*" => ["create-holder-event"];
    Holder without ["DenyObjectsByOthers"], with PUT, on "manifests/*" => ["create-page"];
    Pruner without ["DenyObjectsByOthers"], with PUT, on "sets/*" => ["create-journal"];
    Snapshotter without ["DenyPrunePlansByOthers"], with PUT, on "prune/*" => ["create-plan"];
    Auditor without ["DenyObjectsByOthers"], with PUT, on "copies/*" => ["create-blob"];
    Snapshotter without ["DenyReplicationIn"], with ["s3:ReplicateObject"], on "*" => ["replicate-in"];
    Auditor without ["DenyObjectsByOthers"], with ["s3:PutObjectRetention"], on "tables/*/ledger/*"
        => ["extend"];
    Verifier without ["DenyHoldsByOthers"], with ["s3:PutObjectLegalHold"], on "tables/*/ledger/*"
        => ["hold"];
    Pruner without ["DenyDeletesOutsideWhatIsPruned"], with ["s3:DeleteObject", "s3:DeleteObjectVersion"],
        on "tables/*" => ["delete-record", "hide-record"];
    Holder without ["DenyDataReadsByOthers"], with ["s3:GetObject"], on "copies/*" => ["read-blob"];
    Restorer without ["DenyTags"], with ["s3:PutObjectTagging"], on "tables/*" => ["set-tags"];
    Snapshotter without NO_STATEMENT, with PUT, on "vault.json" => ["replace-vault-file"];
    Verifier without ["DenyDeleteMarkers", "DenyDeletesByOthers"],
        with ["s3:DeleteObject", "s3:DeleteObjectVersion"], on "manifests/*" => ["delete", "delete-over"];
    Pruner without ["DenyObjectsByOthers"], with ["s3:PutObjectRetention"], on "pages/*" => ["extend"];
    Restorer without ["DenyHoldsByOthers"], with ["s3:PutObjectLegalHold"], on "copies/*" => ["hold"];
    Auditor without NO_STATEMENT, with ["s3:GetObject"], on "runs/*" => ["read-journal"];
    // What the policy of `iam render` refuses stays refused, whatever else is allowed.
    Auditor without NO_STATEMENT, with ["s3:PutObject", "s3:PutObjectRetention", "s3:DeleteObjectVersion"], on "*"
        => [];
};

#[tokio::test(flavor = "multi_thread")]
async fn a_wall_that_is_taken_out_of_a_policy_is_found() {
    let Some(server) = server() else { return };
    let session = Session::new(&server.endpoint, server.keys.clone());
    let bucket = new_bucket();
    let vault = format!("s3://{bucket}/v");
    session.init(&vault, "compliance");
    let params = Params {
        plain_http: true,
        lock_mode: LockMode::Compliance,
        ..Params::new(Location::parse(&vault).unwrap())
    };
    let mut users = Vec::new();
    for (number, hole) in HOLES.iter().enumerate() {
        let rendered = render(Document::Role(hole.role), &params, Flavor::Minio).unwrap();
        let mut policy = rendered.policy;
        let is_out = |sid: &str| hole.without.contains(&sid);
        let before = policy.statement.len();
        policy.statement.retain(|it| !is_out(&it.sid));
        assert!(
            policy.statement.len() < before || hole.without.is_empty(),
            "{} {:?}",
            hole.role,
            hole.without
        );
        let mut policy = serde_json::to_value(&policy).unwrap();
        if !hole.with.is_empty() {
            let on = match hole.on {
                "bucket" => format!("arn:aws:s3:::{bucket}"),
                place => format!("arn:aws:s3:::{bucket}/v/{place}"),
            };
            let more = serde_json::json!({
                "Sid": "More", "Effect": "Allow", "Action": hole.with, "Resource": on
            });
            policy["Statement"].as_array_mut().unwrap().push(more);
        }
        let Some(keys) = server.user(hole.role.as_str(), &policy.to_string()) else {
            println!("{NO_MC}");
            return;
        };
        users.push((format!("hole-{number}"), keys));
    }
    session.profiles(users.iter().map(|(name, keys)| (name.as_str(), keys)));
    let holes: Vec<_> = HOLES.iter().zip(&users).collect();
    thread::scope(|scope| {
        for some in holes.chunks(holes.len().div_ceil(8)) {
            let (session, vault) = (&session, &vault);
            scope.spawn(move || {
                for (hole, (profile, _)) in some {
                    let words = ["--json", "--vault", vault, "wall", "check", "--role"];
                    let with = [hole.role.as_str(), "--profile", profile];
                    let said = session.run(&[words.as_slice(), &with].concat());
                    let (proven, _) = rows(&said);
                    let found: Vec<&str> = proven
                        .values()
                        .filter(|row| row["finding"] == true)
                        .map(|row| row["call"].as_str().unwrap())
                        .collect();
                    let what = format!("{} with {:?} on {}", hole.role, hole.with, hole.on);
                    assert_eq!(found, hole.found, "{what}");
                    assert_eq!(
                        said.code,
                        if hole.found.is_empty() { 0 } else { 3 },
                        "{what}"
                    );
                }
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

/// What is found where an auditor may do everything. COMPLIANCE, the floor and the server itself refuse some calls to every
/// identity; all others are found.
const FOUND_OF_AN_ADMINISTRATOR: [&str; 42] = [
    "abort",
    "create-blob",
    "create-elsewhere",
    "create-holder-event",
    "create-journal",
    "create-page",
    "create-plan",
    "create-pruner-event",
    "create-record",
    "create-restorer-event",
    "delete",
    "delete-bucket",
    "delete-over",
    "delete-policy",
    "delete-record",
    "extend",
    "forge-record",
    "hide-record",
    "hold",
    "overwrite",
    "put-acl",
    "put-beyond",
    "put-class",
    "put-held",
    "put-other-mode",
    "put-short",
    "put-tags",
    "put-unlocked",
    "read-blob",
    "read-journal",
    "release",
    "replace-vault-file",
    "replicate-in",
    "set-acl",
    "set-encryption",
    "set-lifecycle",
    "set-locks",
    "set-notification",
    "set-policy",
    "set-replication",
    "set-tags",
    "set-versioning",
];

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
    let mut expected = FOUND_OF_AN_ADMINISTRATOR.to_vec();
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
