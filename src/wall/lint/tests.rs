//! Tables of buckets and their findings.

use super::*;
use crate::format::LockMode::{Compliance, Governance};
use crate::wall::state::Asked::{Absent, Known, NotOffered};
use crate::wall::state::{DefaultRetention, ReplicationRule};

const GOVERNED: Expected<'_> = Expected {
    bucket: "vault",
    prefix: "lake/",
    endpoint: None,
    lock_mode: Governance,
    shortest_days: 3,
    policy: None,
};

type Case = (&'static str, BucketState, Vec<(Severity, &'static str)>);

/// A line has a name, what differs from a good bucket, and the findings.
macro_rules! cases {
    ($($name:literal: $($field:ident = $value:expr),+ => [$($severity:ident $check:literal),*];)+) => {
        vec![$((
            $name,
            {
                let mut state = good();
                $(state.$field = $value;)+
                state
            },
            vec![$((Severity::$severity, $check)),*],
        ),)+]
    };
}

/// A bucket as `init` makes it on Amazon.
fn good() -> BucketState {
    BucketState {
        versioning: Known(Versioning::Enabled),
        object_lock: locked(Governance, 3),
        public_access: Known(PublicAccess::BLOCKED),
        ownership: Known("BucketOwnerEnforced".to_owned()),
        encryption: encrypted(None),
        lifecycle: Known(vec![sweeping()]),
        ..BucketState::default()
    }
}

fn retention(mode: LockMode, days: u32) -> DefaultRetention {
    DefaultRetention {
        mode,
        days,
        event_hold: false,
    }
}

fn locked(mode: LockMode, days: u32) -> Asked<ObjectLock> {
    let default = Some(retention(mode, days));
    Known(ObjectLock { default })
}

fn event_hold() -> Asked<ObjectLock> {
    let mut default = retention(Governance, 3);
    default.event_hold = true;
    Known(ObjectLock {
        default: Some(default),
    })
}

fn encrypted(key: Option<&str>) -> Asked<Encryption> {
    Known(Encryption {
        algorithm: key.map_or("AES256", |_| "aws:kms").to_owned(),
        key: key.map(str::to_owned),
    })
}

fn sweeping() -> LifecycleRule {
    LifecycleRule {
        id: "unfinished-uploads".to_owned(),
        enabled: true,
        aborts_uploads_after: Some(7),
        ..LifecycleRule::default()
    }
}

fn sweeps_only(prefix: &str) -> Asked<Vec<LifecycleRule>> {
    Known(vec![LifecycleRule {
        prefix: prefix.to_owned(),
        ..sweeping()
    }])
}

/// A further rule for a prefix.
fn rule(prefix: &str, set: impl FnOnce(&mut LifecycleRule)) -> Asked<Vec<LifecycleRule>> {
    let mut rule = LifecycleRule {
        id: "tidy".to_owned(),
        enabled: true,
        prefix: prefix.to_owned(),
        ..LifecycleRule::default()
    };
    set(&mut rule);
    Known(vec![sweeping(), rule])
}

fn moves_to(class: &str) -> Asked<Vec<LifecycleRule>> {
    rule("", |it| it.transitions = vec![class.to_owned()])
}

fn copies() -> Asked<Vec<ReplicationRule>> {
    Known(vec![ReplicationRule {
        id: "second".to_owned(),
        enabled: true,
        destination: "arn:aws:s3:::second".to_owned(),
        delete_markers: true,
    }])
}

fn refused<T>() -> Asked<T> {
    Asked::Refused("AccessDenied".to_owned())
}

fn findings(state: &BucketState, expected: &Expected<'_>) -> Vec<(Severity, &'static str)> {
    let findings = lint(state, expected);
    for finding in &findings {
        assert!(!finding.what.is_empty() && !finding.remedy.is_empty());
    }
    let both = |finding: &Finding| (finding.severity, finding.check);
    findings.iter().map(both).collect()
}

#[test]
fn a_bucket_as_it_should_be_has_no_findings() {
    assert_eq!(lint(&good(), &GOVERNED), []);
}

#[test]
fn each_setting_that_is_wrong_is_reported_by_its_name_and_weight() {
    let half_public = PublicAccess {
        restrict: false,
        ..PublicAccess::BLOCKED
    };
    let cases: Vec<Case> = cases! {
        "no lock": object_lock = Absent => [Breach "object-lock"];
        "a server without locks": object_lock = NotOffered => [Breach "object-lock"];
        "lock unread": object_lock = refused() => [Warning "object-lock"];
        "no default": object_lock = Known(ObjectLock { default: None }) => [Warning "default-retention"];
        "shorter than the floor": object_lock = locked(Governance, 2) => [Warning "default-retention"];
        "longer than the floor": object_lock = locked(Governance, 4) => [Note "default-retention"];
        "an event hold on everything": object_lock = event_hold() => [Warning "default-retention"];
        "another mode": object_lock = locked(Compliance, 3) => [Warning "default-retention"];
        "suspended": versioning = Known(Versioning::Suspended) => [Breach "versioning"];
        "never versioned": versioning = Absent => [Breach "versioning"];
        "public": public_access = Absent => [Warning "public-access"];
        "half public": public_access = Known(half_public) => [Warning "public-access"];
        "not a thing of this server": public_access = NotOffered, ownership = NotOffered, encryption = NotOffered => [];
        "ACLs": ownership = Known("ObjectWriter".to_owned()) => [Warning "ownership"];
        "not encrypted": encryption = Absent => [Warning "encryption"];
        "a key of one's own": encryption = encrypted(Some("arn:aws:kms:…")) => [Note "encryption"];
        "nothing sweeps": lifecycle = Absent => [Warning "unfinished-uploads"];
        "sweeps beside the vault": lifecycle = sweeps_only("other/") => [Warning "unfinished-uploads"];
        "sweeps some of the vault": lifecycle = sweeps_only("lake/blobs/") => [Warning "unfinished-uploads"];
        "expires": lifecycle = rule("", |it| it.expires = true) => [Warning "lifecycle"];
        "expires for good": lifecycle = rule("lake/blobs/", |it| it.expires_noncurrent = true) => [Breach "lifecycle"];
        "a rule that is off": lifecycle = rule("", |it| (it.expires, it.enabled) = (true, false)) => [];
        "a rule for others":
            lifecycle = rule("lake2/", |it| (it.expires, it.expires_noncurrent) = (true, true)) => [];
        "archives": lifecycle = moves_to("DEEP_ARCHIVE") => [Warning "lifecycle"];
        "cools": lifecycle = moves_to("STANDARD_IA") => [];
        "copies": replication = copies() => [Note "replication"];
        "nothing may be read":
            versioning = refused(), object_lock = refused(), public_access = refused(), ownership = refused(),
            encryption = refused(), lifecycle = refused(), replication = refused(), policy = refused(),
            location = refused() => [
                Warning "object-lock", Warning "versioning", Warning "public-access", Warning "ownership",
                Warning "encryption", Warning "lifecycle", Warning "replication"
            ];
    };
    for (name, state, expected) in cases {
        assert_eq!(findings(&state, &GOVERNED), expected, "{name}");
    }
}

#[test]
fn a_vault_without_locks_learns_what_its_bucket_lacks_and_does() {
    let without = Expected {
        lock_mode: LockMode::None,
        ..GOVERNED
    };
    let none = BucketState {
        object_lock: Absent,
        ..good()
    };
    assert_eq!(
        findings(&none, &without),
        [(Severity::Warning, "object-lock")]
    );
    assert_eq!(
        findings(&good(), &without),
        [
            (Severity::Warning, "object-lock"),
            (Severity::Note, "default-retention")
        ]
    );
}

#[test]
fn remedies_are_commands_for_this_bucket_and_server() {
    let remedy = |state: &BucketState, expected: &Expected<'_>| {
        lint(state, expected).into_iter().next().unwrap().remedy
    };
    let none = BucketState {
        object_lock: Absent,
        ..good()
    };
    assert_eq!(
        remedy(&none, &GOVERNED),
        "aws s3api put-bucket-versioning --bucket vault --versioning-configuration Status=Enabled and then aws s3api \
         put-object-lock-configuration --bucket vault --object-lock-configuration \
         '{\"ObjectLockEnabled\":\"Enabled\",\"Rule\":{\"DefaultRetention\":{\"Mode\":\"GOVERNANCE\",\"Days\":3}}}'"
    );
    let minio = Expected {
        endpoint: Some("http://127.0.0.1:9000"),
        ..GOVERNED
    };
    assert!(remedy(&none, &minio).starts_with("name a bucket that is not there yet"));
    let suspended = BucketState {
        versioning: Known(Versioning::Suspended),
        ..good()
    };
    assert_eq!(
        remedy(&suspended, &minio),
        "aws s3api put-bucket-versioning --bucket vault --versioning-configuration Status=Enabled --endpoint-url \
         http://127.0.0.1:9000"
    );
}

#[test]
fn the_policy_is_compared_where_one_is_expected() {
    let rendered = serde_json::json!({"Statement": [
        {"Sid": "DenyDelete", "Effect": "Deny", "Action": "s3:DeleteObject"},
    ]});
    let expected = Expected {
        policy: Some(&rendered),
        ..GOVERNED
    };
    assert_eq!(findings(&good(), &expected), [(Severity::Breach, "policy")]);
    let there = BucketState {
        policy: Known(rendered.clone()),
        ..good()
    };
    assert_eq!(findings(&there, &expected), []);
}
