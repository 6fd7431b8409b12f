//! Tables of buckets and what is to be said of them.

use super::*;
use crate::wall::state::{DefaultRetention, ReplicationRule};

const GOVERNED: Expected<'_> = Expected {
    bucket: "vault",
    prefix: "lake/",
    endpoint: None,
    lock_mode: LockMode::Governance,
    shortest_days: 3,
    policy: None,
};

type Case = (&'static str, BucketState, Vec<(Severity, &'static str)>);

/// A bucket as `init` makes it on Amazon.
fn good() -> BucketState {
    BucketState {
        versioning: Asked::Known(Versioning::Enabled),
        object_lock: locked(LockMode::Governance, 3),
        public_access: Asked::Known(PublicAccess::BLOCKED),
        ownership: Asked::Known("BucketOwnerEnforced".to_owned()),
        encryption: Asked::Known(Encryption {
            algorithm: "AES256".to_owned(),
            key: None,
        }),
        lifecycle: Asked::Known(vec![sweeping()]),
        ..BucketState::default()
    }
}

fn locked(mode: LockMode, days: u32) -> Asked<ObjectLock> {
    Asked::Known(ObjectLock {
        default: Some(DefaultRetention {
            mode,
            days,
            event_hold: false,
        }),
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

fn rule(id: &str, prefix: &str) -> LifecycleRule {
    LifecycleRule {
        id: id.to_owned(),
        enabled: true,
        prefix: prefix.to_owned(),
        ..LifecycleRule::default()
    }
}

fn with(rule: LifecycleRule) -> BucketState {
    BucketState {
        lifecycle: Asked::Known(vec![sweeping(), rule]),
        ..good()
    }
}

fn told(state: &BucketState, expected: &Expected<'_>) -> Vec<(Severity, &'static str)> {
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
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_setting_that_is_wrong_is_told_by_its_name_and_weight() {
    use Severity::{Breach, Note, Warning};
    fn refused<T>() -> Asked<T> {
        Asked::Refused("AccessDenied".to_owned())
    }
    let cases: Vec<Case> = vec![
        (
            "no lock",
            BucketState {
                object_lock: Asked::Absent,
                ..good()
            },
            vec![(Breach, "object-lock")],
        ),
        (
            "a server without locks",
            BucketState {
                object_lock: Asked::NotOffered,
                ..good()
            },
            vec![(Breach, "object-lock")],
        ),
        (
            "lock unread",
            BucketState {
                object_lock: refused(),
                ..good()
            },
            vec![(Warning, "object-lock")],
        ),
        (
            "no default",
            BucketState {
                object_lock: Asked::Known(ObjectLock { default: None }),
                ..good()
            },
            vec![(Warning, "default-retention")],
        ),
        (
            "shorter than the floor",
            BucketState {
                object_lock: locked(LockMode::Governance, 2),
                ..good()
            },
            vec![(Warning, "default-retention")],
        ),
        (
            "longer than the floor",
            BucketState {
                object_lock: locked(LockMode::Governance, 4),
                ..good()
            },
            vec![(Note, "default-retention")],
        ),
        (
            "an event hold on everything",
            BucketState {
                object_lock: Asked::Known(ObjectLock {
                    default: Some(DefaultRetention {
                        mode: LockMode::Governance,
                        days: 3,
                        event_hold: true,
                    }),
                }),
                ..good()
            },
            vec![(Warning, "default-retention")],
        ),
        (
            "another mode",
            BucketState {
                object_lock: locked(LockMode::Compliance, 3),
                ..good()
            },
            vec![(Warning, "default-retention")],
        ),
        (
            "suspended",
            BucketState {
                versioning: Asked::Known(Versioning::Suspended),
                ..good()
            },
            vec![(Breach, "versioning")],
        ),
        (
            "never versioned",
            BucketState {
                versioning: Asked::Absent,
                ..good()
            },
            vec![(Breach, "versioning")],
        ),
        (
            "public",
            BucketState {
                public_access: Asked::Absent,
                ..good()
            },
            vec![(Warning, "public-access")],
        ),
        (
            "half public",
            BucketState {
                public_access: Asked::Known(PublicAccess {
                    restrict: false,
                    ..PublicAccess::BLOCKED
                }),
                ..good()
            },
            vec![(Warning, "public-access")],
        ),
        (
            "not a thing of this server",
            BucketState {
                public_access: Asked::NotOffered,
                ownership: Asked::NotOffered,
                encryption: Asked::NotOffered,
                ..good()
            },
            vec![],
        ),
        (
            "ACLs",
            BucketState {
                ownership: Asked::Known("ObjectWriter".to_owned()),
                ..good()
            },
            vec![(Warning, "ownership")],
        ),
        (
            "not encrypted",
            BucketState {
                encryption: Asked::Absent,
                ..good()
            },
            vec![(Warning, "encryption")],
        ),
        (
            "a key of one's own",
            BucketState {
                encryption: Asked::Known(Encryption {
                    algorithm: "aws:kms".to_owned(),
                    key: Some("arn:aws:kms:…".to_owned()),
                }),
                ..good()
            },
            vec![(Note, "encryption")],
        ),
        (
            "nothing sweeps",
            BucketState {
                lifecycle: Asked::Absent,
                ..good()
            },
            vec![(Warning, "unfinished-uploads")],
        ),
        (
            "sweeps beside the vault",
            BucketState {
                lifecycle: Asked::Known(vec![LifecycleRule {
                    prefix: "other/".to_owned(),
                    ..sweeping()
                }]),
                ..good()
            },
            vec![(Warning, "unfinished-uploads")],
        ),
        (
            "sweeps some of the vault",
            BucketState {
                lifecycle: Asked::Known(vec![LifecycleRule {
                    prefix: "lake/blobs/".to_owned(),
                    ..sweeping()
                }]),
                ..good()
            },
            vec![(Warning, "unfinished-uploads")],
        ),
        (
            "expires",
            with(LifecycleRule {
                expires: true,
                ..rule("tidy", "")
            }),
            vec![(Warning, "lifecycle")],
        ),
        (
            "expires for good",
            with(LifecycleRule {
                expires_noncurrent: true,
                ..rule("tidy", "lake/blobs/")
            }),
            vec![(Breach, "lifecycle")],
        ),
        (
            "a rule that is off",
            with(LifecycleRule {
                expires: true,
                enabled: false,
                ..rule("tidy", "")
            }),
            vec![],
        ),
        (
            "a rule for others",
            with(LifecycleRule {
                expires: true,
                expires_noncurrent: true,
                ..rule("tidy", "lake2/")
            }),
            vec![],
        ),
        (
            "archives",
            with(LifecycleRule {
                transitions: vec!["DEEP_ARCHIVE".to_owned()],
                ..rule("cold", "")
            }),
            vec![(Warning, "lifecycle")],
        ),
        (
            "cools",
            with(LifecycleRule {
                transitions: vec!["STANDARD_IA".to_owned()],
                ..rule("cool", "")
            }),
            vec![],
        ),
        (
            "copies",
            BucketState {
                replication: Asked::Known(vec![ReplicationRule {
                    id: "second".to_owned(),
                    enabled: true,
                    destination: "arn:aws:s3:::second".to_owned(),
                    delete_markers: true,
                }]),
                ..good()
            },
            vec![(Note, "replication")],
        ),
        (
            "nothing may be read",
            BucketState {
                versioning: refused(),
                object_lock: refused(),
                public_access: refused(),
                ownership: refused(),
                encryption: refused(),
                lifecycle: refused(),
                replication: refused(),
                policy: refused(),
                location: refused(),
            },
            vec![
                (Warning, "object-lock"),
                (Warning, "versioning"),
                (Warning, "public-access"),
                (Warning, "ownership"),
                (Warning, "encryption"),
                (Warning, "lifecycle"),
                (Warning, "replication"),
            ],
        ),
    ];
    for (name, state, expected) in cases {
        assert_eq!(told(&state, &GOVERNED), expected, "{name}");
    }
}

#[test]
fn a_vault_without_locks_is_told_what_its_bucket_lacks_and_does() {
    let without = Expected {
        lock_mode: LockMode::None,
        ..GOVERNED
    };
    let none = BucketState {
        object_lock: Asked::Absent,
        ..good()
    };
    assert_eq!(told(&none, &without), [(Severity::Warning, "object-lock")]);
    assert_eq!(
        told(&good(), &without),
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
        object_lock: Asked::Absent,
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
        versioning: Asked::Known(Versioning::Suspended),
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
    assert_eq!(told(&good(), &expected), [(Severity::Breach, "policy")]);
    let there = BucketState {
        policy: Asked::Known(rendered.clone()),
        ..good()
    };
    assert_eq!(told(&there, &expected), []);
}
