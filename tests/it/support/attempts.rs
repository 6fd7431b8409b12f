//! What somebody may try on a vault and its source, one call each, judged by what is left of it.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, DefaultRetention, Delete,
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, ObjectCannedAcl,
    ObjectIdentifier, ObjectLockConfiguration, ObjectLockEnabled, ObjectLockLegalHold,
    ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
    ObjectLockRule, Tag, Tagging, VersioningConfiguration,
};

use super::s3;

/// A vault at `lake/` in one bucket, tables at `sales/` in another.
pub(crate) struct Ground {
    /// Who may do everything.
    pub(crate) root: Client,
    pub(crate) vault: String,
    pub(crate) source: String,
}

/// Every attempt.
pub(crate) const ATTEMPTS: [&str; 35] = [
    "list the vault",
    "read a blob",
    "read a record",
    "read a lock",
    "create a blob",
    "create a record",
    "create an event of the holder",
    "create an event of the pruner",
    "create an event of the restorer",
    "create a prune plan",
    "create beside the vault",
    "put on top of a blob",
    "lock a blob",
    "lock below the floor",
    "lock above the ceiling",
    "lock in the other mode",
    "shorten a lock by bypass",
    "hold a blob",
    "put a delete marker on a blob",
    "put a delete marker on a record",
    "delete a version of a blob",
    "delete versions in a batch",
    "delete a version of a record",
    "delete past the lock",
    "tag a blob",
    "open a blob to everybody",
    "abort an upload",
    "remove the bucket's policy",
    "suspend versioning",
    "let a lifecycle rule delete",
    "change the default lock",
    "read a table's data",
    "read a table's log",
    "write into a table",
    "delete a version of a table's file",
];

impl Ground {
    async fn put(&self, bucket: &str, key: &str) -> String {
        let put = self.root.put_object().bucket(bucket).key(key);
        let put = put
            .body(ByteStream::from_static(b"x"))
            .send()
            .await
            .unwrap();
        put.version_id().unwrap_or_default().to_owned()
    }

    async fn is_there(&self, bucket: &str, key: &str, version: &str) -> bool {
        let head = self.root.head_object().bucket(bucket).key(key);
        head.version_id(version).send().await.is_ok()
    }

    /// Whether the newest version of a key is a delete marker.
    async fn is_hidden(&self, bucket: &str, key: &str) -> bool {
        self.root
            .head_object()
            .bucket(bucket)
            .key(key)
            .send()
            .await
            .is_err()
    }

    /// When a lock ends.
    async fn locked_until(&self, key: &str, version: &str) -> Option<DateTime> {
        let head = self.root.head_object().bucket(&self.vault).key(key);
        let head = head.version_id(version).send().await.unwrap();
        head.object_lock_retain_until_date().copied()
    }

    /// Whether somebody gets through with an attempt.
    #[allow(clippy::too_many_lines, reason = "one arm an attempt")]
    pub(crate) async fn lets(&self, who: &Client, attempt: &str) -> bool {
        let Self {
            root,
            vault,
            source,
        } = self;
        let unique = format!("{:016x}", rand::random::<u64>());
        let blob = format!("lake/blobs/aa/{unique}");
        let record = format!("lake/tables/t/ledger/{unique}.json");
        let event = |role: &str| format!("lake/tables/t/events/{role}/{unique}.json");
        let create = async |key: String| {
            let put = who.put_object().bucket(vault).key(key).if_none_match("*");
            put.body(ByteStream::from_static(b"x")).send().await.is_ok()
        };
        let read = async |bucket: &str, key: &str| {
            let version = self.put(bucket, key).await;
            let get = who.get_object().bucket(bucket).key(key);
            get.version_id(version).send().await.is_ok()
        };
        let lock = async |days: i64, mode: &str, bypass: Option<bool>, at_first: Option<i64>| {
            let put = root.put_object().bucket(vault).key(&blob);
            let put = match at_first {
                Some(days) => put
                    .object_lock_mode(ObjectLockMode::from(mode))
                    .object_lock_retain_until_date(after(days)),
                None => put,
            };
            let put = put
                .body(ByteStream::from_static(b"x"))
                .send()
                .await
                .unwrap();
            let version = put.version_id().unwrap();
            let before = self.locked_until(&blob, version).await;
            let retention = ObjectLockRetention::builder()
                .mode(ObjectLockRetentionMode::from(mode))
                .retain_until_date(after(days))
                .build();
            let call = who
                .put_object_retention()
                .bucket(vault)
                .key(&blob)
                .version_id(version);
            let call = call
                .retention(retention)
                .set_bypass_governance_retention(bypass);
            call.send().await.ok();
            self.locked_until(&blob, version).await != before
        };
        match attempt {
            "list the vault" => {
                let list = who.list_object_versions().bucket(vault).prefix("lake/");
                list.send().await.is_ok()
            }
            "read a blob" => read(vault, &blob).await,
            "read a record" => read(vault, &record).await,
            "read a lock" => {
                let version = lock_as_root(root, vault, &blob).await;
                let get = who.get_object_retention().bucket(vault).key(&blob);
                get.version_id(version).send().await.is_ok()
            }
            "create a blob" => create(blob).await,
            "create a record" => create(record).await,
            "create an event of the holder" => create(event("holder")).await,
            "create an event of the pruner" => create(event("pruner")).await,
            "create an event of the restorer" => create(event("restorer")).await,
            "create a prune plan" => create(format!("lake/prune/{unique}.json")).await,
            "create beside the vault" => create(format!("beside/{unique}")).await,
            "put on top of a blob" => {
                self.put(vault, &blob).await;
                let put = who.put_object().bucket(vault).key(&blob);
                put.body(ByteStream::from_static(b"y")).send().await.is_ok()
            }
            "lock a blob" => lock(30, "GOVERNANCE", None, None).await,
            "lock below the floor" => lock(1, "GOVERNANCE", None, None).await,
            "lock above the ceiling" => lock(36_500, "GOVERNANCE", None, None).await,
            "lock in the other mode" => lock(30, "COMPLIANCE", None, None).await,
            "shorten a lock by bypass" => lock(20, "GOVERNANCE", Some(true), Some(60)).await,
            "hold a blob" => {
                let version = self.put(vault, &blob).await;
                let hold = ObjectLockLegalHold::builder()
                    .status(ObjectLockLegalHoldStatus::On)
                    .build();
                let call = who.put_object_legal_hold().bucket(vault).key(&blob);
                call.version_id(version)
                    .legal_hold(hold)
                    .send()
                    .await
                    .is_ok()
            }
            "put a delete marker on a blob" => {
                self.put(vault, &blob).await;
                who.delete_object()
                    .bucket(vault)
                    .key(&blob)
                    .send()
                    .await
                    .ok();
                self.is_hidden(vault, &blob).await
            }
            "put a delete marker on a record" => {
                self.put(vault, &record).await;
                who.delete_object()
                    .bucket(vault)
                    .key(&record)
                    .send()
                    .await
                    .ok();
                self.is_hidden(vault, &record).await
            }
            "delete a version of a blob" => self.deletes(who, vault, &blob).await,
            "delete a version of a record" => self.deletes(who, vault, &record).await,
            "delete versions in a batch" => {
                let version = self.put(vault, &blob).await;
                let object = ObjectIdentifier::builder().key(&blob).version_id(&version);
                let delete = Delete::builder().objects(object.build().unwrap());
                let call = who.delete_objects().bucket(vault);
                call.delete(delete.build().unwrap()).send().await.ok();
                !self.is_there(vault, &blob, &version).await
            }
            "delete past the lock" => {
                let version = lock_as_root(root, vault, &blob).await;
                let call = who
                    .delete_object()
                    .bucket(vault)
                    .key(&blob)
                    .version_id(&version);
                call.bypass_governance_retention(true).send().await.ok();
                !self.is_there(vault, &blob, &version).await
            }
            "tag a blob" => {
                let version = self.put(vault, &blob).await;
                let tag = Tag::builder().key("a").value("b").build().unwrap();
                let tags = Tagging::builder().tag_set(tag).build().unwrap();
                let call = who.put_object_tagging().bucket(vault).key(&blob);
                call.version_id(version).tagging(tags).send().await.is_ok()
            }
            "open a blob to everybody" => {
                self.put(vault, &blob).await;
                let call = who.put_object_acl().bucket(vault).key(&blob);
                call.acl(ObjectCannedAcl::PublicRead).send().await.is_ok()
            }
            "abort an upload" => {
                let begun = root
                    .create_multipart_upload()
                    .bucket(vault)
                    .key(&blob)
                    .send()
                    .await;
                let id = begun.unwrap().upload_id().unwrap().to_owned();
                let call = who
                    .abort_multipart_upload()
                    .bucket(vault)
                    .key(&blob)
                    .upload_id(&id);
                call.send().await.ok();
                root.list_parts()
                    .bucket(vault)
                    .key(&blob)
                    .upload_id(&id)
                    .send()
                    .await
                    .is_err()
            }
            "remove the bucket's policy" => who
                .delete_bucket_policy()
                .bucket(vault)
                .send()
                .await
                .is_ok(),
            "suspend versioning" => {
                let suspended = VersioningConfiguration::builder()
                    .status(BucketVersioningStatus::Suspended)
                    .build();
                let call = who.put_bucket_versioning().bucket(vault);
                call.versioning_configuration(suspended)
                    .send()
                    .await
                    .is_ok()
            }
            "let a lifecycle rule delete" => {
                let rule = LifecycleRule::builder()
                    .id("all")
                    .status(ExpirationStatus::Enabled)
                    .filter(LifecycleRuleFilter::builder().prefix("").build())
                    .expiration(LifecycleExpiration::builder().days(1).build())
                    .build()
                    .unwrap();
                let rules = BucketLifecycleConfiguration::builder()
                    .rules(rule)
                    .build()
                    .unwrap();
                let call = who.put_bucket_lifecycle_configuration().bucket(vault);
                call.lifecycle_configuration(rules).send().await.is_ok()
            }
            "change the default lock" => {
                let days = DefaultRetention::builder()
                    .days(1)
                    .mode(ObjectLockRetentionMode::Governance)
                    .build();
                let rule = ObjectLockRule::builder().default_retention(days).build();
                let lock = ObjectLockConfiguration::builder()
                    .object_lock_enabled(ObjectLockEnabled::Enabled)
                    .rule(rule)
                    .build();
                let call = who.put_object_lock_configuration().bucket(vault);
                call.object_lock_configuration(lock).send().await.is_ok()
            }
            "read a table's data" => read(source, &format!("sales/{unique}.parquet")).await,
            "read a table's log" => read(source, &format!("sales/_delta_log/{unique}")).await,
            "write into a table" => {
                let put = who
                    .put_object()
                    .bucket(source)
                    .key(format!("sales/{unique}"));
                put.body(ByteStream::from_static(b"x")).send().await.is_ok()
            }
            "delete a version of a table's file" => {
                self.deletes(who, source, &format!("sales/{unique}")).await
            }
            other => panic!("nobody knows how to {other}"),
        }
    }

    async fn deletes(&self, who: &Client, bucket: &str, key: &str) -> bool {
        let version = self.put(bucket, key).await;
        let call = who.delete_object().bucket(bucket).key(key);
        call.version_id(&version).send().await.ok();
        !self.is_there(bucket, key, &version).await
    }
}

async fn lock_as_root(root: &Client, bucket: &str, key: &str) -> String {
    let put = root.put_object().bucket(bucket).key(key);
    let put = put
        .object_lock_mode(ObjectLockMode::Governance)
        .object_lock_retain_until_date(after(30))
        .body(ByteStream::from_static(b"x"));
    put.send().await.unwrap().version_id().unwrap().to_owned()
}

fn after(days: i64) -> DateTime {
    DateTime::from_secs(s3::now().as_second() + days * 86_400)
}

/// Compares what each of several got through with, a line an attempt: `+` and `-` in their order, then the attempt.
pub(crate) async fn compare(ground: &Ground, who: &[Client], expected: &str) {
    let mut found = Vec::new();
    for attempt in ATTEMPTS {
        let mut line = String::new();
        for client in who {
            let lets = ground.lets(client, attempt).await;
            line.push(if lets { '+' } else { '-' });
        }
        found.push(format!("{line} {attempt}"));
    }
    let expected: Vec<_> = expected
        .lines()
        .map(str::trim)
        .filter(|it| !it.is_empty())
        .collect();
    assert_eq!(found, expected);
}
