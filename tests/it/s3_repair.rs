//! `verify --repair` on a real server with Object Lock: what is put is locked there, and nothing that lies there is
//! written over.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
};
use deltavault::format::ledger::Bodies;
use deltavault::ids::Timestamp;
use deltavault::store::{ReadStore, read_all};
use deltavault::vault::Vault;
use futures::TryStreamExt as _;
use jiff::SignedDuration;

use crate::cli_s3::Session;
use crate::support::s3::now;

/// Object versions of a bucket, with their tags.
type Objects = BTreeMap<(String, String), String>;

/// A vault with locks that whoever may bypass them can shorten, and one snapshot in it.
struct Locked {
    session: Session,
    raw: Client,
    bucket: String,
    vault: String,
    table: String,
    id: String,
    promise: Timestamp,
}

impl Locked {
    async fn set() -> Option<Self> {
        let session = Session::new()?;
        let bucket = Session::bucket();
        let vault = format!("s3://{bucket}/vault");
        let table = format!("s3://{bucket}/lake/orders");
        session.done(&["--vault", &vault, "init", "--mode", "governance", "--yes"]);
        session.make_table(&table).await;
        session.done(&["--vault", &vault, "snapshot", &table]);
        let store: Arc<dyn ReadStore> = Arc::new(session.store(&vault).await);
        let open = Vault::open(store).await.unwrap();
        let key = open.tables().await.unwrap().remove(0);
        let history = open.history(&key, Bodies::new()).await.unwrap();
        let snapshot = &history.snapshots[0];
        Some(Self {
            raw: session.server.raw(),
            session,
            bucket,
            vault,
            table,
            id: snapshot.id.short(),
            promise: snapshot.record.promise,
        })
    }

    /// The vault's object versions.
    async fn objects(&self) -> Objects {
        let call = self.raw.list_object_versions().bucket(&self.bucket);
        let listed = call.prefix("vault/").send().await.unwrap();
        assert_eq!(listed.is_truncated, Some(false));
        assert!(listed.delete_markers().is_empty());
        let versions = listed.versions().iter();
        let text = |text: Option<&str>| text.unwrap().to_owned();
        versions
            .map(|it| ((text(it.key()), text(it.version_id())), text(it.e_tag())))
            .collect()
    }

    /// Deletes for good what the lock keeps from everybody else.
    async fn lose(&self, (key, version): &(String, String)) {
        let call = self.raw.delete_object().bucket(&self.bucket).key(key);
        let call = call.version_id(version).bypass_governance_retention(true);
        call.send().await.unwrap();
    }

    /// Puts other bytes under a key, with a lock that nobody can shorten.
    async fn plant(&self, key: &str) {
        let until = now() + SignedDuration::from_hours(24);
        let call = self.raw.put_object().bucket(&self.bucket).key(key);
        call.body(ByteStream::from_static(b"planted"))
            .object_lock_mode(ObjectLockMode::Compliance)
            .object_lock_retain_until_date(DateTime::from_secs(until.as_second()))
            .send()
            .await
            .unwrap();
    }

    /// Copies the vault into a folder.
    async fn replica(&self) {
        let store = self.session.store(&self.vault).await;
        let objects: Vec<_> = store.list("", None).try_collect().await.unwrap();
        for object in objects {
            let (_, bytes) = read_all(&store, &object.key, None, 64 << 20).await.unwrap();
            let path = self.session.home.path().join("replica");
            let path = path.join(object.key.as_str());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    async fn locked_until(&self, (key, version): &(String, String)) -> Timestamp {
        let call = self.raw.get_object_retention().bucket(&self.bucket);
        let got = call.key(key).version_id(version).send().await.unwrap();
        let retention = got.retention.unwrap();
        assert_eq!(retention.mode, Some(ObjectLockRetentionMode::Governance));
        let until = retention.retain_until_date.unwrap();
        Timestamp::from_second(until.secs()).unwrap()
    }

    async fn shorten(&self, (key, version): &(String, String)) {
        let until = now() + SignedDuration::from_hours(24);
        let retention = ObjectLockRetention::builder()
            .mode(ObjectLockRetentionMode::Governance)
            .retain_until_date(DateTime::from_secs(until.as_second()));
        let call = self.raw.put_object_retention().bucket(&self.bucket);
        call.key(key)
            .version_id(version)
            .bypass_governance_retention(true)
            .retention(retention.build())
            .send()
            .await
            .unwrap();
    }

    async fn is_held(&self, (key, version): &(String, String)) -> bool {
        let call = self.raw.get_object_legal_hold().bucket(&self.bucket);
        let got = call.key(key).version_id(version).send().await;
        let hold = got.ok().and_then(|got| got.legal_hold?.status);
        hold == Some(ObjectLockLegalHoldStatus::On)
    }

    /// The first object version under a prefix of the vault.
    async fn first(&self, prefix: &str) -> Option<(String, String)> {
        let prefix = format!("vault/{prefix}");
        let objects = self.objects().await.into_keys();
        let mut below = objects.filter(|(key, _)| key.starts_with(&prefix));
        below.next()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_is_locked_by_the_server_and_nothing_that_lies_there_is_touched() {
    for prefix in ["blobs/", "pages/", "manifests/"] {
        for planted in [false, true] {
            let Some(locked) = Locked::set().await else {
                return;
            };
            let run = |words: &[&str]| {
                let vault = ["--vault", &locked.vault];
                locked.session.run(&[&vault[..], words].concat())
            };
            locked.replica().await;
            let lost = locked.first(prefix).await.unwrap();
            locked.lose(&lost).await;
            if planted {
                locked.plant(&lost.0).await;
            }
            let case = format!("{prefix} {planted}");
            let found = run(&["verify"]);
            assert_eq!(found.code, 12, "{case}: {found:?}");
            // Refused before anything is written.
            let before = locked.objects().await;
            let asked = run(&["verify", "--repair", "--from", "replica"]);
            assert_eq!(asked.code, 4, "{case}: {asked:?}");
            assert_eq!(locked.objects().await, before, "{case}");
            // From the table while it is there; its log and what the vault says of it only from the replica.
            let mut words = vec!["verify", "--repair", "--yes"];
            if prefix == "blobs/" {
                let said = run(&[&words[..], &["--json"]].concat());
                assert!(said.out.contains(&locked.table), "{case}: {said:?}");
            }
            words.extend(["--from", "replica"]);
            let done = run(&words);
            // What somebody planted stays a finding.
            let code = if planted { 3 } else { 0 };
            assert_eq!(done.code, code, "{case}: {done:?}");
            // With its lock at once, not by a second look.
            assert!(!done.out.contains("locked for longer"), "{case}: {done:?}");
            let sound = run(&["verify", "--read", "all"]);
            assert_eq!(sound.code, code, "{case}: {sound:?}");

            // Every version that lay there is there still, and no key has one more.
            let after = locked.objects().await;
            for (place, etag) in &before {
                assert_eq!(after.get(place), Some(etag), "{case}");
            }
            let put: Vec<_> = after
                .keys()
                .filter(|it| !before.contains_key(*it))
                .collect();
            let [put] = put[..] else {
                panic!("{case}: {put:?}");
            };
            assert!(
                put.0.starts_with(&format!("{}.", lost.0)),
                "{case}: {put:?}"
            );
            assert!(before.keys().all(|(key, _)| *key != put.0), "{case}");
            assert!(locked.locked_until(put).await >= locked.promise, "{case}");

            // A hold covers it, and a release lets it go.
            let held = run(&["hold", &locked.id]);
            assert_eq!(held.code, 0, "{case}: {held:?}");
            assert!(locked.is_held(put).await, "{case}");
            assert_eq!(run(&["release", &locked.id]).code, 0, "{case}");
            assert!(!locked.is_held(put).await, "{case}");
            let pruned = run(&["prune", "--yes"]);
            assert!([0, 3].contains(&pruned.code), "{case}: {pruned:?}");
            assert!(locked.objects().await.contains_key(put), "{case}");

            // Somebody shortens its lock: the next repair extends it, and puts nothing.
            locked.shorten(put).await;
            let found = run(&["verify"]);
            assert_eq!(found.code, 12, "{case}: {found:?}");
            assert!(
                found.out.contains("less than is promised"),
                "{case}: {found:?}"
            );
            let before = locked.objects().await;
            let done = run(&["verify", "--repair", "--yes"]);
            assert_eq!(done.code, code, "{case}: {done:?}");
            assert!(done.out.contains("locked for longer"), "{case}: {done:?}");
            assert!(locked.locked_until(put).await >= locked.promise, "{case}");
            assert_eq!(locked.objects().await, before, "{case}");
        }
    }
}
