//! Variables of the module that are refused, and those that have to be taken.

use serde_json::{Value, json};

use super::{BREAK_GLASS, KEY, RUNNER};

/// A variable that would open a wall, or that no wall can be made of, and a part of what is said about it.
pub(super) fn refused() -> Vec<(Value, &'static str)> {
    let trust = |arn: &str| json!({"trusted_arns": {"pruner": [arn]}});
    let source =
        |bucket: &str, prefix: &str| json!({"sources": [{"bucket": bucket, "prefix": prefix}]});
    let account = "arn:aws:iam::444455556666:root";
    let all_roles = "arn:aws:iam::444455556666:role/*";
    vec![
        (json!({"bucket": "*"}), "3 to 63"),
        (json!({"bucket": "x".repeat(58)}), "57 characters"),
        (json!({"prefix": "la*ke"}), "patterns"),
        (json!({"lock_mode": "NONE"}), "GOVERNANCE and COMPLIANCE"),
        (
            json!({"lock_mode": "compliance"}),
            "GOVERNANCE and COMPLIANCE",
        ),
        (json!({"shortest_days": 2}), "less than 3"),
        (json!({"shortest_days": 3.5}), "whole"),
        (json!({"longest_days": 1}), "not shorter"),
        (
            json!({"shortest_days": 30, "longest_days": 29}),
            "not shorter",
        ),
        (json!({"longest_days": 3651}), "3650"),
        (json!({"generation_days": 0}), "1 to 365"),
        (json!({"storage_classes": ["DEEP_ARCHIVE"]}), "not readable"),
        (
            json!({"storage_classes": ["STANDARD", "GLACIER"]}),
            "not readable",
        ),
        (json!({"storage_classes": []}), "not readable"),
        (json!({"kms_key_arn": "*"}), "whole ARN"),
        (json!({"kms_key_arn": "alias/vault"}), "whole ARN"),
        (json!({"source_kms_key_arns": ["*"]}), "whole ARN"),
        (
            json!({"kms_key_arn": KEY, "source_kms_key_arns": [KEY]}),
            "vault's own",
        ),
        (source("*", ""), "whole name"),
        (source("acme-lake", "a*"), "without *"),
        (source("acme-vault", "other"), "not sources"),
        (source("acme-vault-trail", ""), "not sources"),
        (
            json!({"replica_bucket": "acme-lake", "sources": [{"bucket": "acme-lake"}]}),
            "not sources",
        ),
        (json!({"role_prefix": "*"}), "1 to 40"),
        (json!({"role_prefix": ""}), "1 to 40"),
        (trust("*"), "anybody"),
        (trust(account), "anybody"),
        (trust(all_roles), "anybody"),
        (
            json!({"trusted_arns": {"owner": [RUNNER]}}),
            "The roles are",
        ),
        (json!({"trusted_arns": {"pruner": []}}), "The roles are"),
        (trust(BREAK_GLASS), "one stolen identity"),
        (json!({"external_id": ""}), "2 to 1224"),
        (json!({"external_id": "a*"}), "2 to 1224"),
        (json!({"session_hours": 0}), "1 to 12"),
        (json!({"session_hours": 13}), "1 to 12"),
        (json!({"break_glass_arns": []}), "at least one"),
        (json!({"break_glass_arns": ["*"]}), "at least one"),
        (json!({"break_glass_arns": [account]}), "at least one"),
        (json!({"vpc_endpoint_ids": ["*"]}), "VPC endpoint"),
        (json!({"org_ids": ["acme"]}), "organisation"),
        (json!({"replica_bucket": "acme-vault"}), "another bucket"),
        (
            json!({"replica_bucket": "acme-vault-trail"}),
            "another bucket",
        ),
        (json!({"replica_bucket": "*"}), "3 to 63"),
        (
            json!({"replica_trusted_arns": [RUNNER]}),
            "nothing to restore",
        ),
        (
            json!({"replica_bucket": "acme-replica", "replica_trusted_arns": ["*"]}),
            "anybody",
        ),
        (
            json!({"replica_bucket": "acme-replica", "replica_trusted_arns": [BREAK_GLASS]}),
            "one stolen identity",
        ),
        (json!({"trail_days": 1}), "30 to 3650"),
        (json!({"silence_hours": 169}), "1 to 168"),
        (json!({"alarm_topic_arns": []}), "go nowhere"),
        (json!({"alarm_topic_arns": ["*"]}), "whole ARN"),
    ]
}

/// What is right, and has to stay so.
pub(super) fn taken() -> Vec<Value> {
    vec![
        json!({}),
        json!({"lock_mode": "COMPLIANCE", "shortest_days": 7, "longest_days": 3650}),
        json!({"trail": false, "alarm_topic_arns": [], "bucket": "x".repeat(63)}),
        json!({"sources": [{"bucket": "acme-lake"}, {"bucket": "acme.lake-2", "prefix": "a b/ü"}]}),
        json!({
            "replica_bucket": "acme-replica", "replica_trusted_arns": [RUNNER], "session_hours": 12,
            "kms_key_arn": KEY, "org_ids": ["o-a1b2c3d4e5"], "vpc_endpoint_ids": ["vpce-0a1b2c3d4e5f67890"],
        }),
    ]
}
