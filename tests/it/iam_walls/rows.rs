//! The calls of the table, each with the authorisations that S3 asks for and the conditions that it then knows.

use std::collections::BTreeMap;

use super::{BREAK_GLASS, Court, KEY, Row, SOURCE_KEY, TRUSTED};

const VAULT: &str = "arn:aws:s3:::acme-vault";
const SOURCE: &str = "arn:aws:s3:::acme-lake";
const REPLICATION: &str = "arn:aws:iam::111122223333:role/deltavault-replication";

/// A key in each place of the vault, and one beside it.
const PLACES: [&str; 15] = [
    "blobs/aa/x",
    "copies/aa/x",
    "manifests/aa/x",
    "pages/aa/x",
    "runs/t/1/r-0",
    "sets/s.json",
    "prune/p.json",
    "tables/t/ledger/1.json",
    "tables/t/events/holder/1.json",
    "tables/t/events/pruner/1.json",
    "tables/t/events/restorer/1.json",
    "tables/t/events/1.json",
    "tables/t/other",
    "vault.json",
    "../beside",
];

type Keys<'a> = &'a [(&'a str, &'a str)];

const CONDITIONAL: Keys<'static> = &[
    ("s3:ObjectCreationOperation", "true"),
    ("s3:if-none-match", "*"),
];
const UNCONDITIONAL: Keys<'static> = &[("s3:ObjectCreationOperation", "true")];
const OF_PARTS: Keys<'static> = &[("s3:ObjectCreationOperation", "false")];

fn keys(lists: &[Keys<'_>]) -> BTreeMap<String, String> {
    let usual: Keys<'_> = &[
        ("aws:SecureTransport", "true"),
        ("aws:SourceVpce", "vpce-1"),
        ("aws:PrincipalOrgID", "o-acme"),
    ];
    let given = [usual].into_iter().chain(lists.iter().copied()).flatten();
    let mut keys: BTreeMap<_, _> = given
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    // What a call does not have.
    keys.retain(|_, value| !value.is_empty());
    keys
}

struct Rows(Vec<Row>);

impl Rows {
    fn add(
        &mut self,
        court: Court,
        name: String,
        actions: &[&str],
        resource: &str,
        on: &[Keys<'_>],
    ) {
        let ask = |action: &&str| ((*action).to_owned(), resource.to_owned(), keys(on));
        self.0.push(Row {
            name,
            court,
            asks: actions.iter().map(ask).collect(),
        });
    }

    /// A call on an object of the vault.
    fn object(&mut self, what: &str, actions: &[&str], place: &str, on: &[Keys<'_>]) {
        let resource = match place.strip_prefix("../") {
            Some(beside) => format!("{VAULT}/{beside}"),
            None => format!("{VAULT}/lake/{place}"),
        };
        let what = if what.is_empty() {
            actions.join(" and ")
        } else {
            what.to_owned()
        };
        self.add(
            Court::Vault,
            format!("{what} {place}"),
            actions,
            &resource,
            on,
        );
    }
}

/// The headers of a lock, as conditions.
fn lock<'a>(days: &'a str, mode: &'a str) -> [(&'a str, &'a str); 2] {
    [
        ("s3:object-lock-remaining-retention-days", days),
        ("s3:object-lock-mode", mode),
    ]
}

const PUT_LOCKED: [&str; 2] = ["s3:PutObject", "s3:PutObjectRetention"];

/// Every row.
pub(super) fn all() -> Vec<Row> {
    let mut rows = Rows(Vec::new());
    reads(&mut rows);
    creates(&mut rows);
    locks(&mut rows);
    headers(&mut rows);
    changes(&mut rows);
    source(&mut rows);
    kms_keys(&mut rows);
    organisation(&mut rows);
    trust(&mut rows);
    rows.0
}

fn reads(rows: &mut Rows) {
    for action in ["s3:ListBucket", "s3:ListBucketVersions"] {
        rows.add(Court::Vault, action.to_owned(), &[action], VAULT, &[]);
    }
    for what in [
        "BucketLocation",
        "BucketVersioning",
        "BucketObjectLockConfiguration",
        "BucketPolicy",
        "BucketPolicyStatus",
        "BucketPublicAccessBlock",
        "BucketOwnershipControls",
        "EncryptionConfiguration",
        "LifecycleConfiguration",
        "ReplicationConfiguration",
        "BucketLogging",
        "BucketNotification",
        "BucketWebsite",
    ] {
        let action = format!("s3:Get{what}");
        rows.add(Court::Vault, action.clone(), &[&action], VAULT, &[]);
    }
    for place in PLACES {
        for action in [
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:GetObjectRetention",
            "s3:GetObjectLegalHold",
        ] {
            rows.object("", &[action], place, &[]);
        }
    }
    let plain: Keys<'_> = &[("aws:SecureTransport", "false")];
    rows.object(
        "over plain HTTP s3:GetObject",
        &["s3:GetObject"],
        "vault.json",
        &[plain],
    );
    rows.add(
        Court::Vault,
        "over plain HTTP s3:ListBucket".to_owned(),
        &["s3:ListBucket"],
        VAULT,
        &[plain],
    );
    let access_point = "arn:aws:s3:eu-west-1:111122223333:accesspoint/side-door";
    let replicator: Keys<'_> = &[("caller", REPLICATION)];
    let by_access_point: Keys<'_> = &[("s3:DataAccessPointArn", access_point)];
    let by_another_endpoint: Keys<'_> = &[("aws:SourceVpce", "vpce-2")];
    let by_internet: Keys<'_> = &[("aws:SourceVpce", "")];
    let of_another: Keys<'_> = &[("aws:PrincipalOrgID", "o-other")];
    let of_none: Keys<'_> = &[("aws:PrincipalOrgID", "")];
    for (how, with) in [
        ("through an access point", by_access_point),
        ("through another VPC endpoint", by_another_endpoint),
        ("over the internet", by_internet),
        ("from another organisation", of_another),
        ("from no organisation", of_none),
    ] {
        let what = format!("{how} s3:GetObject");
        rows.object(&what, &["s3:GetObject"], "vault.json", &[with]);
        rows.add(
            Court::Vault,
            format!("{how} s3:ListBucket"),
            &["s3:ListBucket"],
            VAULT,
            &[with],
        );
    }
    rows.object(
        "as the vault's own replication, over the internet, s3:ReplicateObject",
        &["s3:ReplicateObject"],
        "blobs/aa/x",
        &[replicator, by_internet],
    );
}

fn creates(rows: &mut Rows) {
    for place in PLACES {
        let put: &[&str] = &["s3:PutObject"];
        rows.object("create", put, place, &[CONDITIONAL]);
        rows.object(
            "create locked",
            &PUT_LOCKED,
            place,
            &[CONDITIONAL, &lock("40", "GOVERNANCE")],
        );
        rows.object("put on top of", put, place, &[UNCONDITIONAL]);
    }
    for place in ["blobs/aa/x", "copies/aa/x", "tables/t/events/holder/1.json"] {
        let put: &[&str] = &["s3:PutObject"];
        rows.object(
            "begin an upload of",
            &PUT_LOCKED,
            place,
            &[OF_PARTS, &lock("40", "GOVERNANCE")],
        );
        rows.object("send a part of", put, place, &[OF_PARTS]);
        rows.object("complete", put, place, &[CONDITIONAL]);
        rows.object("complete on top of", put, place, &[UNCONDITIONAL]);
        rows.object("", &["s3:AbortMultipartUpload"], place, &[]);
    }
}

fn locks(rows: &mut Rows) {
    for place in PLACES {
        rows.object(
            "lock",
            &["s3:PutObjectRetention"],
            place,
            &[&lock("40", "GOVERNANCE")],
        );
        rows.object("", &["s3:PutObjectLegalHold"], place, &[]);
    }
    for place in ["blobs/aa/x", "tables/t/events/holder/1.json"] {
        // The floor is 7 days, the ceiling 400, 10 and 1.
        for days in ["1", "6", "7", "411", "412", "36500"] {
            let lock = lock(days, "GOVERNANCE");
            rows.object(
                &format!("create locked for {days} days"),
                &PUT_LOCKED,
                place,
                &[CONDITIONAL, &lock],
            );
            rows.object(
                &format!("lock for {days} days"),
                &["s3:PutObjectRetention"],
                place,
                &[&lock],
            );
        }
        // The header alone, as if S3 did not ask for the right to lock.
        for days in ["6", "412"] {
            let lock = lock(days, "GOVERNANCE");
            rows.object(
                &format!("put alone, locked for {days} days"),
                &["s3:PutObject"],
                place,
                &[CONDITIONAL, &lock],
            );
        }
        let event_hold: Keys<'_> = &[("s3:object-lock-event-hold", "ON")];
        let held = [&lock("40", "GOVERNANCE")[..], event_hold];
        rows.object(
            "put alone, with an event hold",
            &["s3:PutObject"],
            place,
            &[&[CONDITIONAL], &held[..]].concat(),
        );
        rows.object(
            "lock with an event hold",
            &["s3:PutObjectRetention"],
            place,
            &held,
        );
        let other = lock("40", "COMPLIANCE");
        rows.object(
            "put alone, in the other mode",
            &["s3:PutObject"],
            place,
            &[CONDITIONAL, &other],
        );
        rows.object(
            "lock in the other mode",
            &["s3:PutObjectRetention"],
            place,
            &[&other],
        );
        // A removal of the lock sends neither days nor mode, and needs the bypass.
        let unlock = ["s3:PutObjectRetention", "s3:BypassGovernanceRetention"];
        rows.object("unlock", &unlock, place, &[]);
    }
}

fn headers(rows: &mut Rows) {
    const SSE: &str = "s3:x-amz-server-side-encryption";
    const SSE_KEY: &str = "s3:x-amz-server-side-encryption-aws-kms-key-id";
    let other_key: Keys<'_> = &[(SSE_KEY, "arn:aws:kms:eu-west-1:999999999999:key/other")];
    let cases: [(&str, Keys<'_>); 11] = [
        ("encrypted by S3", &[(SSE, "AES256")]),
        ("encrypted by KMS", &[(SSE, "aws:kms")]),
        (
            "encrypted by KMS with the vault's key",
            &[(SSE, "aws:kms"), (SSE_KEY, KEY)],
        ),
        ("encrypted twice by KMS", &[(SSE, "aws:kms:dsse")]),
        ("with the vault's key", &[(SSE_KEY, KEY)]),
        ("with another key", other_key),
        (
            "with the caller's own key",
            &[(
                "s3:x-amz-server-side-encryption-customer-algorithm",
                "AES256",
            )],
        ),
        ("with an ACL", &[("s3:x-amz-acl", "public-read")]),
        ("in STANDARD", &[("s3:x-amz-storage-class", "STANDARD")]),
        (
            "in DEEP_ARCHIVE",
            &[("s3:x-amz-storage-class", "DEEP_ARCHIVE")],
        ),
        ("over plain HTTP", &[("aws:SecureTransport", "false")]),
    ];
    for (what, with) in cases {
        rows.object(
            &format!("create {what}"),
            &["s3:PutObject"],
            "blobs/aa/x",
            &[CONDITIONAL, with],
        );
    }
}

fn changes(rows: &mut Rows) {
    for place in PLACES {
        rows.object("", &["s3:DeleteObject"], place, &[]);
        rows.object("", &["s3:DeleteObjectVersion"], place, &[]);
    }
    let bypass = ["s3:DeleteObjectVersion", "s3:BypassGovernanceRetention"];
    rows.object("delete past its lock", &bypass, "blobs/aa/x", &[]);
    for action in [
        "s3:ReplicateObject",
        "s3:ReplicateTags",
        "s3:ObjectOwnerOverrideToBucketOwner",
    ] {
        rows.object("", &[action], "blobs/aa/x", &[]);
        let own = format!("as the vault's own replication {action}");
        rows.object(&own, &[action], "blobs/aa/x", &[&[("caller", REPLICATION)]]);
    }
    for action in [
        "s3:ReplicateDelete",
        "s3:PutObjectAcl",
        "s3:PutObjectVersionAcl",
        "s3:PutObjectTagging",
        "s3:PutObjectVersionTagging",
        "s3:DeleteObjectTagging",
        "s3:DeleteObjectVersionTagging",
        "s3:PutObjectAnnotation",
        "s3:PutObjectVersionAnnotation",
        "s3:DeleteObjectAnnotation",
        "s3:UpdateObjectEncryption",
    ] {
        rows.object("", &[action], "blobs/aa/x", &[]);
    }
    for action in CONFIGURATION {
        rows.add(Court::Vault, action.to_owned(), &[action], VAULT, &[]);
    }
}

const CONFIGURATION: [&str; 23] = [
    "s3:DeleteBucket",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
    "s3:PutBucketVersioning",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutLifecycleConfiguration",
    "s3:PutReplicationConfiguration",
    "s3:PutEncryptionConfiguration",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketOwnershipControls",
    "s3:PutBucketAcl",
    "s3:PutBucketRequestPayment",
    "s3:PutBucketAbac",
    "s3:PutIntelligentTieringConfiguration",
    "s3:PutInventoryConfiguration",
    "s3:PutAnalyticsConfiguration",
    "s3:PutMetricsConfiguration",
    "s3:PutBucketLogging",
    "s3:PutBucketNotification",
    "s3:PutBucketWebsite",
    "s3:DeleteBucketWebsite",
    "s3:PutBucketCORS",
    "s3:PutAccelerateConfiguration",
];

fn source(rows: &mut Rows) {
    let mut on_bucket = |action: &str, prefix: &str| {
        let name = format!("source: {action} {prefix}");
        rows.add(
            Court::Source,
            name,
            &[action],
            SOURCE,
            &[&[("s3:prefix", prefix)]],
        );
    };
    for action in ["s3:ListBucket", "s3:ListBucketVersions"] {
        for prefix in [
            "sales/_delta_log/",
            "sales/orders/_delta_log/",
            "sales/orders/",
            "hr/_delta_log/",
        ] {
            on_bucket(action, prefix);
        }
    }
    for (court, by) in [(Court::Own, "own"), (Court::Grant, "grant")] {
        for prefix in ["sales/_delta_log/", "sales/orders/"] {
            let name = format!("{by}: s3:ListBucket {prefix}");
            rows.add(
                court,
                name,
                &["s3:ListBucket"],
                SOURCE,
                &[&[("s3:prefix", prefix)]],
            );
        }
    }
    for key in [
        "sales/part-0.parquet",
        "sales/_delta_log/0.json",
        "sales/orders/_delta_log/0.json",
        "sales/orders/part-0.parquet",
        "hr/_delta_log/0.json",
    ] {
        for action in [
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:PutObject",
            "s3:DeleteObject",
            "s3:DeleteObjectVersion",
            "s3:AbortMultipartUpload",
        ] {
            let name = format!("source: {action} {key}");
            rows.add(
                Court::Source,
                name,
                &[action],
                &format!("{SOURCE}/{key}"),
                &[],
            );
        }
    }
}

fn kms_keys(rows: &mut Rows) {
    let by_s3: Keys<'_> = &[("kms:ViaService", "s3.eu-west-1.amazonaws.com")];
    for action in ["kms:Decrypt", "kms:GenerateDataKey"] {
        rows.add(
            Court::Key,
            format!("key: {action} by way of S3"),
            &[action],
            KEY,
            &[by_s3],
        );
        rows.add(Court::Key, format!("key: {action}"), &[action], KEY, &[]);
        for (whose, key) in [("vault", KEY), ("source", SOURCE_KEY)] {
            rows.add(
                Court::Own,
                format!("own: {action} with the {whose}'s key"),
                &[action],
                key,
                &[],
            );
        }
    }
    for action in [
        "kms:CreateGrant",
        "kms:DescribeKey",
        "kms:EnableKey",
        "kms:EnableKeyRotation",
        "kms:GetKeyPolicy",
        "kms:GetKeyRotationStatus",
        "kms:ListGrants",
        "kms:ListKeyPolicies",
        "kms:ListResourceTags",
        "kms:PutKeyPolicy",
        "kms:RevokeGrant",
        "kms:TagResource",
        "kms:UntagResource",
        "kms:UpdateKeyDescription",
        "kms:CancelKeyDeletion",
        "kms:ScheduleKeyDeletion",
        "kms:DisableKey",
        "kms:DeleteImportedKeyMaterial",
    ] {
        rows.add(Court::Key, format!("key: {action}"), &[action], KEY, &[]);
    }
}

fn organisation(rows: &mut Rows) {
    let mut add = |action: &str, resource: &str| {
        let last = resource.rsplit([':', '/']).next().unwrap();
        let name = format!("organisation: {action} {last}");
        rows.add(Court::Organisation, name, &[action], resource, &[]);
    };
    for action in [
        "kms:ScheduleKeyDeletion",
        "kms:DisableKey",
        "kms:DeleteImportedKeyMaterial",
        "kms:PutKeyPolicy",
    ] {
        add(action, KEY);
    }
    for action in CONFIGURATION {
        add(action, VAULT);
        add(action, SOURCE);
    }
    for action in ["s3:DeleteObject", "s3:BypassGovernanceRetention"] {
        add(action, &format!("{VAULT}/lake/blobs/aa/x"));
    }
    let role = |role: &str| format!("arn:aws:iam::111122223333:role/deltavault-{role}");
    for action in [
        "iam:CreateRole",
        "iam:AttachRolePolicy",
        "iam:DeleteRolePolicy",
        "iam:DetachRolePolicy",
        "iam:PutRolePolicy",
        "iam:UpdateAssumeRolePolicy",
        "iam:PutRolePermissionsBoundary",
        "iam:DeleteRolePermissionsBoundary",
        "iam:DeleteRole",
        "iam:UpdateRole",
    ] {
        add(action, &role("pruner"));
        add(action, BREAK_GLASS);
    }
    for other in [
        "snapshotter",
        "restorer",
        "auditor",
        "verifier",
        "holder",
        "replication",
        "trail",
    ] {
        add("iam:PutRolePolicy", &role(other));
    }
    add("iam:PutRolePolicy", "arn:aws:iam::111122223333:role/other");
    for action in [
        "StopLogging",
        "DeleteTrail",
        "UpdateTrail",
        "PutEventSelectors",
    ] {
        let trail = "arn:aws:cloudtrail:eu-west-1:111122223333:trail/deltavault-acme";
        add(&format!("cloudtrail:{action}"), trail);
    }
    for action in [
        "CreateAccessPoint",
        "PutAccessPointPolicy",
        "CreateMultiRegionAccessPoint",
        "CreateAccessGrantsInstance",
        "CreateAccessGrantsLocation",
        "CreateAccessGrant",
        "PutAccountPublicAccessBlock",
    ] {
        add(&format!("s3:{action}"), "*");
    }
    for action in [
        "DeleteLogGroup",
        "DeleteLogStream",
        "DeleteMetricFilter",
        "PutRetentionPolicy",
    ] {
        let group = "arn:aws:logs:eu-west-1:111122223333:log-group:/deltavault/deltavault-acme";
        add(&format!("logs:{action}"), group);
    }
    for action in ["DeleteAlarms", "DisableAlarmActions", "PutMetricAlarm"] {
        let alarm = "arn:aws:cloudwatch:eu-west-1:111122223333:alarm:deltavault-acme-silence";
        add(&format!("cloudwatch:{action}"), alarm);
    }
    add("organizations:LeaveOrganization", "*");
    add("account:CloseAccount", "*");
}

fn trust(rows: &mut Rows) {
    let id = "sts:ExternalId";
    let cases: [(&str, Keys<'_>); 4] = [
        ("by who is trusted", &[("caller", TRUSTED), (id, "acme-7")]),
        ("with another id", &[("caller", TRUSTED), (id, "acme-8")]),
        ("without an id", &[("caller", TRUSTED)]),
        ("by another", &[("caller", BREAK_GLASS), (id, "acme-7")]),
    ];
    for (who, with) in cases {
        let name = format!("sts:AssumeRole {who}");
        rows.add(Court::Trust, name, &["sts:AssumeRole"], "*", &[with]);
    }
}
