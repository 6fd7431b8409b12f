//! A hostile day: somebody has the keys of one role and tries to lose or to poison what is promised. After each attack
//! `verify` names what happened, every promised snapshot comes back exactly, and the next honest run is taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    Delete, ObjectIdentifier, ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention,
    ObjectLockRetentionMode,
};
use deltavault::Error;
use deltavault::ExitCode;
use deltavault::format::VaultFile;
use deltavault::format::{EventRole, LockMode, VaultKey};
use deltavault::iam::{self, Document, Flavor, Location, Params, Role};
use deltavault::ids::{Digest, Id128, SnapshotId};
use deltavault::plan::restore::Mode;
use deltavault::plan::verify::{ReadBytes, VerifyPlan};
use deltavault::store::RestoreStore;
use deltavault::store::memory::MemoryStore;
use deltavault::store::s3::{Keys, S3Client, S3Store};
use deltavault::vault::snapshot::SnapshotDone;
use deltavault::vault::{self, Vault};
use jiff::SignedDuration;

use crate::support::s3::{Bucket, Server, now, server};
use crate::support::s3_scene::everything;
use crate::support::table::Table;
use crate::support::verified::{Verified, verify};
use crate::support::world::{
    key_of, request_at, restore_request_at, restorer, snapshotter, source,
};

/// More than a pack may take: an object of its own.
const LARGE: usize = 1024 * 1024 + 1;

/// A vault in COMPLIANCE mode with two promised snapshots of a table, and users whose policies are the rendered ones.
struct Day {
    server: Server,
    root: S3Client,
    bucket: String,
    vault: String,
    live: String,
    table: Table,
    snapshotter: Option<Keys>,
    promised: Vec<(SnapshotDone, BTreeMap<String, Vec<u8>>)>,
}

/// One object version of the vault.
#[derive(Debug, Clone)]
struct Found {
    key: String,
    version: String,
}

impl Day {
    async fn start() -> Option<Self> {
        let server = server()?;
        let root = server.client().await;
        let bucket = server.bucket(Bucket::Locked).await;
        let vault = format!("s3://{bucket}/vault");
        let live = format!("s3://{}/orders", server.bucket(Bucket::Versioned).await);
        let new = VaultFile {
            lock_mode: LockMode::Compliance,
            ..VaultFile::new(Id128::from_bytes(rand::random()), now())
        };
        let store = S3Store::open(&root, &vault).unwrap();
        vault::init(&store.with_lock_mode(LockMode::Compliance), new)
            .await
            .unwrap();
        let place: Arc<dyn RestoreStore> = Arc::new(S3Store::open(&root, &live).unwrap());
        let mut day = Self {
            table: Table::create(place, "orders").await,
            server,
            root,
            bucket,
            vault,
            live,
            snapshotter: None,
            promised: Vec::new(),
        };
        day.snapshotter = Some(day.keys(Role::Snapshotter));
        for _ in 0..2 {
            day.table.append(1, LARGE).await;
            day.table.append(2, 100).await;
            day.night().await.unwrap();
        }
        Some(day)
    }

    /// An honest run, with the snapshotter's keys.
    async fn night(&mut self) -> Result<SnapshotDone, Error> {
        self.night_at(SignedDuration::ZERO, &[]).await
    }

    /// An honest run on a machine whose clock is wrong by `skew`.
    async fn night_at(
        &mut self,
        skew: SignedDuration,
        distrust: &[SnapshotId],
    ) -> Result<SnapshotDone, Error> {
        let client = self.connect(self.snapshotter.clone().unwrap()).await;
        let vault = S3Store::open(&client, &self.vault).unwrap();
        let snapshotter = snapshotter(Arc::new(vault.with_lock_mode(LockMode::Compliance))).await?;
        let mut request = request_at(&self.live, now() + skew);
        request.distrust = distrust.to_vec();
        let live = S3Store::open(&client, &self.live).unwrap();
        let done = snapshotter.take(&source(Arc::new(live)), &request).await?;
        let closure = self.table.closure().await;
        self.promised.push((done.clone(), closure));
        Ok(done)
    }

    /// A user with the policy that is rendered for a role.
    fn keys(&self, role: Role) -> Keys {
        let mut params = Params::new(Location::parse(&self.vault).unwrap());
        params.sources = vec![Location::parse(&self.live).unwrap()];
        params.lock_mode = LockMode::Compliance;
        // The server of the tests has no TLS, and would refuse everything.
        params.plain_http = true;
        let rendered = iam::render(Document::Role(role), &params, Flavor::Minio).unwrap();
        self.user(&role.to_string(), &rendered.text().unwrap())
    }

    /// A job that writes the table, as it always could, and has no right in the vault.
    fn writer(&self) -> Keys {
        let lake = self.live.strip_prefix("s3://").unwrap();
        let bucket = lake.split('/').next().unwrap();
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Action":["s3:*"],
                "Resource":["arn:aws:s3:::{bucket}","arn:aws:s3:::{bucket}/*"]}}]}}"#
        );
        self.user("writer", &policy)
    }

    fn user(&self, name: &str, policy: &str) -> Keys {
        let made = self.server.user(name, policy);
        made.expect("a server with users needs DELTAVAULT_TEST_MC")
    }

    async fn connect(&self, keys: Keys) -> S3Client {
        let settings = self.server.settings(&self.server.endpoint, keys);
        S3Client::connect(&settings).await.unwrap()
    }

    /// Somebody who has the keys of a role and any tool that he likes.
    fn attacker(&self, role: Role) -> Client {
        match (role, &self.snapshotter) {
            (Role::Snapshotter, Some(keys)) => self.server.raw_as(keys),
            _ => self.server.raw_as(&self.keys(role)),
        }
    }

    async fn versions(&self) -> Vec<Found> {
        let raw = self.server.raw();
        let listed = raw.list_object_versions().bucket(&self.bucket).send().await;
        let listed = listed.unwrap();
        assert_ne!(listed.is_truncated(), Some(true));
        let found = listed.versions().iter().map(|version| Found {
            key: version.key().unwrap().to_owned(),
            version: version.version_id().unwrap().to_owned(),
        });
        found.collect()
    }

    async fn verify(&self) -> Verified {
        let store = Arc::new(S3Store::open(&self.root, &self.vault).unwrap());
        let vault = Vault::open(store).await.unwrap();
        let plan = VerifyPlan {
            read: ReadBytes::All,
            subset: None,
            now: now(),
        };
        verify(&vault, plan).await
    }

    /// Every snapshot that was ever published honestly comes back byte for byte.
    async fn every_promise_holds(&self) {
        for (done, closure) in &self.promised {
            let vault = Arc::new(S3Store::open(&self.root, &self.vault).unwrap());
            let target = MemoryStore::new("s3://elsewhere/orders");
            let restorer = restorer(vault, Arc::new(target.clone())).await.unwrap();
            let request = restore_request_at(done, Mode::To, now());
            let plan = restorer.plan(&request).await.unwrap();
            restorer.execute(&request, plan).await.unwrap();
            let found = everything(Arc::new(target)).await;
            assert_eq!(
                found.keys().collect::<Vec<_>>(),
                closure.keys().collect::<Vec<_>>()
            );
            assert!(found == *closure, "other bytes come back");
        }
    }

    /// The table goes on, and so do its nights.
    async fn next_night_is_taken(&mut self) -> SnapshotDone {
        self.table.append(1, 300).await;
        let done = self.night().await.unwrap();
        self.every_promise_holds().await;
        done
    }

    /// Nothing happened that anybody could see.
    async fn nothing_happened(&self, why: &str) {
        let found = self.verify().await;
        assert_eq!(found.findings, [], "{why}");
        self.every_promise_holds().await;
    }
}

/// How many calls to delete something were taken for a success.
#[derive(Debug, Default, PartialEq, Eq)]
struct Deleted {
    /// Delete markers.
    hidden: Vec<String>,
    /// Object versions.
    gone: usize,
}

/// Tries to delete everything in every way.
async fn delete_everything(raw: &Client, bucket: &str, found: &[Found]) -> Deleted {
    let mut deleted = Deleted::default();
    for object in found {
        let call = raw.delete_object().bucket(bucket).key(&object.key);
        let version = call.clone().version_id(&object.version);
        let bypass = version.clone().bypass_governance_retention(true);
        if call.send().await.is_ok() {
            deleted.hidden.push(object.key.clone());
        }
        deleted.gone += usize::from(version.send().await.is_ok());
        deleted.gone += usize::from(bypass.send().await.is_ok());
    }
    let ids = found.iter().map(|object| {
        ObjectIdentifier::builder()
            .key(&object.key)
            .version_id(&object.version)
            .build()
            .unwrap()
    });
    let all = Delete::builder().set_objects(Some(ids.collect()));
    let all = all.build().unwrap();
    let batch = raw.delete_objects().bucket(bucket).delete(all).send().await;
    deleted.gone += batch.map_or(0, |batch| batch.deleted().len());
    deleted
}

/// Puts garbage on top of everything; returns the keys where that was taken.
async fn plant_on_top(raw: &Client, bucket: &str, found: &[Found]) -> Vec<String> {
    let mut planted = Vec::new();
    for object in found {
        let put = raw.put_object().bucket(bucket).key(&object.key);
        let put = put.body(ByteStream::from_static(b"{\"planted\":true}"));
        if put.send().await.is_ok() {
            planted.push(object.key.clone());
        }
    }
    planted
}

/// Locks everything until a time; returns how often that was taken.
async fn lock_all(
    raw: &Client,
    bucket: &str,
    found: &[Found],
    until: DateTime,
    bypass: bool,
) -> usize {
    let mut done = 0;
    for mode in [
        ObjectLockRetentionMode::Compliance,
        ObjectLockRetentionMode::Governance,
    ] {
        for object in found {
            let retention = ObjectLockRetention::builder()
                .mode(mode.clone())
                .retain_until_date(until)
                .build();
            let call = raw
                .put_object_retention()
                .bucket(bucket)
                .key(&object.key)
                .version_id(&object.version)
                .set_bypass_governance_retention(bypass.then_some(true))
                .retention(retention);
            done += usize::from(call.send().await.is_ok());
        }
    }
    done
}

fn seconds(time: deltavault::ids::Timestamp) -> DateTime {
    DateTime::from_secs(time.as_second())
}

fn years(years: i64) -> DateTime {
    seconds(now() + SignedDuration::from_hours(years * 365 * 24))
}

/// The key of an object of the vault, in its bucket.
fn in_bucket(key: &VaultKey) -> String {
    format!("vault/{key}")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_snapshotters_keys_deletes_and_unlocks_nothing() {
    let Some(mut day) = Day::start().await else {
        return;
    };
    let raw = day.attacker(Role::Snapshotter);
    let found = day.versions().await;
    let deleted = delete_everything(&raw, &day.bucket, &found).await;
    assert_eq!(deleted, Deleted::default());
    let tomorrow = seconds(now() + SignedDuration::from_hours(24));
    let shortened = lock_all(&raw, &day.bucket, &found, tomorrow, true).await;
    assert_eq!(shortened, 0, "a lock became shorter");
    for object in &found {
        let call = raw.put_object_legal_hold().bucket(&day.bucket);
        let call = call.key(&object.key).version_id(&object.version);
        let on = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::On);
        assert!(call.legal_hold(on.build()).send().await.is_err());
    }
    day.nothing_happened("everything was refused").await;
    day.next_night_is_taken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_planted_on_top_of_every_object_is_named_and_never_read() {
    let Some(mut day) = Day::start().await else {
        return;
    };
    let raw = day.attacker(Role::Snapshotter);
    let found = day.versions().await;
    // The condition that would refuse this is one that this server's policies lack.
    let planted = plant_on_top(&raw, &day.bucket, &found).await;
    assert!(planted.len() > 5, "{planted:?}");
    let said = day.verify().await;
    for key in &planted {
        let key = key.strip_prefix("vault/").unwrap();
        assert!(said.is_about(key), "nothing about {key}");
    }
    assert_eq!(said.code(), ExitCode::Findings, "{:#?}", said.findings);
    day.every_promise_holds().await;
    day.next_night_is_taken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poisoned_record_is_named_distrusted_and_built_on_by_nobody() {
    let Some(mut day) = Day::start().await else {
        return;
    };
    let (honest, _) = day.promised.last().unwrap().clone();
    let raw = day.attacker(Role::Snapshotter);
    // Well-formed in every respect, but its manifest is another table's idea of this one.
    let mut record = honest.record.clone();
    record.seq += 1;
    record.previous = Some(deltavault::format::record::Previous {
        seq: honest.record.seq,
        sha256: honest.id.0,
    });
    record.version.0 += 1;
    record.totals.files += 1;
    record.totals.bytes += 5;
    let bytes = record.encode().unwrap();
    let poisoned = SnapshotId(Digest::of(&bytes));
    let slot = VaultKey::Record {
        table: key_of(&day.live),
        seq: record.seq,
    };
    let put = raw.put_object().bucket(&day.bucket).key(in_bucket(&slot));
    put.if_none_match("*")
        .body(bytes.into())
        .send()
        .await
        .unwrap();

    let said = day.verify().await;
    let about_it = said
        .findings
        .iter()
        .filter(|it| it.snapshots.contains(&poisoned));
    assert!(about_it.count() > 0, "{:#?}", said.findings);
    day.every_promise_holds().await;
    day.table.append(1, 300).await;
    let next = day
        .night_at(SignedDuration::ZERO, &[poisoned])
        .await
        .unwrap();
    assert_eq!(
        next.record.base,
        Some(honest.id),
        "it builds on the last honest one"
    );
    day.every_promise_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_far_slots_block_no_night_and_are_named() {
    let Some(mut day) = Day::start().await else {
        return;
    };
    let raw = day.attacker(Role::Snapshotter);
    let table = key_of(&day.live);
    let slot = |seq| VaultKey::Record {
        table: table.clone(),
        seq,
    };
    let next = day.promised.last().unwrap().0.record.seq + 1;
    for seq in [next, next + 1, 1_000_000_000] {
        let put = raw
            .put_object()
            .bucket(&day.bucket)
            .key(in_bucket(&slot(seq)));
        let body = ByteStream::from_static(b"garbage");
        put.if_none_match("*").body(body).send().await.unwrap();
    }
    let said = day.verify().await;
    for seq in [next, next + 1, 1_000_000_000] {
        let about = |finding: &&deltavault::plan::verify::Finding| {
            finding.object == slot(seq).to_string() || finding.what.contains(&seq.to_string())
        };
        assert!(
            said.findings.iter().any(|it| about(&it)),
            "{seq}: {:#?}",
            said.findings
        );
    }
    day.every_promise_holds().await;
    let done = day.next_night_is_taken().await;
    assert_eq!(done.record.seq, next + 2, "the next free slot");
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_under_the_names_that_a_night_will_want_does_not_get_into_it() {
    let Some(mut day) = Day::start().await else {
        return;
    };
    let raw = day.attacker(Role::Snapshotter);
    day.table.append(1, LARGE).await;
    // A file above a pack's limit is a blob under its own SHA-256, which whoever reads the table can tell beforehand.
    let closure = day.table.closure().await;
    let held = &day.promised.last().unwrap().1;
    let fresh = closure.iter().filter(|(name, _)| !held.contains_key(*name));
    let mut planted = 0;
    for (_, bytes) in fresh {
        let key = VaultKey::blob(Digest::of(bytes), None);
        let put = raw.put_object().bucket(&day.bucket).key(in_bucket(&key));
        let body = ByteStream::from_static(b"garbage");
        put.if_none_match("*").body(body).send().await.unwrap();
        planted += 1;
    }
    assert!(planted > 0);
    day.night().await.unwrap();
    day.every_promise_holds().await;
    let said = day.verify().await;
    let objects = said.report.unreferenced.unwrap();
    assert!(objects >= planted, "{:#?}", said.report);
    assert!(said.code() <= ExitCode::Findings, "{:#?}", said.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_of_a_hundred_years_are_named_and_lose_nothing() {
    let Some(mut day) = Day::start().await else {
        return;
    };
    let raw = day.attacker(Role::Snapshotter);
    let found = day.versions().await;
    let locked = lock_all(&raw, &day.bucket, &found, years(100), false).await;
    assert_eq!(locked, 0, "beyond the ceiling");
    // Where a server's policies know no ceiling, as for who has all rights here.
    let root = day.server.raw();
    let locked = lock_all(&root, &day.bucket, &found, years(100), false).await;
    assert!(locked > 5);
    let said = day.verify().await;
    let says = "locked for longer than this vault allows";
    let told = said.findings.iter().filter(|it| it.what.contains(says));
    assert_eq!(told.count(), 1, "{:#?}", said.findings);
    assert_eq!(said.code(), ExitCode::Findings);
    day.every_promise_holds().await;
    day.next_night_is_taken().await;
}

/// The server itself refuses calls that are signed by a clock that lies, and the command line one that is five minutes
/// off. Whoever gets past both takes a snapshot whose own promise is wrong, and nothing else is.
#[tokio::test(flavor = "multi_thread")]
async fn night_by_a_clock_that_lies_changes_no_promise_but_its_own() {
    let Some(mut day) = Day::start().await else {
        return;
    };
    let honest = day.promised.len();
    for days in [-400, -1, 1, 400] {
        day.table.append(1, 300).await;
        let skew = SignedDuration::from_hours(24 * days);
        let taken = day.night_at(skew, &[]).await;
        // Its locks would be over before they began.
        assert_eq!(taken.is_err(), days == -400, "{days} days: {taken:?}");
    }
    for (done, _) in &day.promised[..honest] {
        assert!(done.record.promise > now() + SignedDuration::from_hours(29 * 24));
    }
    let said = day.verify().await;
    assert_ne!(said.code(), ExitCode::Damage, "{:#?}", said.findings);
    day.every_promise_holds().await;
    day.next_night_is_taken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_restorers_keys_destroys_the_table_and_nothing_of_the_vault() {
    let Some(day) = Day::start().await else {
        return;
    };
    let raw = day.attacker(Role::Restorer);
    let found = day.versions().await;
    let deleted = delete_everything(&raw, &day.bucket, &found).await;
    assert_eq!(deleted, Deleted::default());
    assert_eq!(lock_all(&raw, &day.bucket, &found, years(1), true).await, 0);
    let planted = plant_on_top(&raw, &day.bucket, &found).await;
    assert_eq!(planted, Vec::<String>::new());
    // Events he may create, and garbage too.
    let event = VaultKey::Event {
        table: key_of(&day.live),
        role: EventRole::Restorer,
        seq: 1,
    };
    let put = raw.put_object().bucket(&day.bucket).key(in_bucket(&event));
    let body = ByteStream::from_static(b"garbage");
    put.if_none_match("*").body(body).send().await.unwrap();
    day.table.drop_all().await;
    let said = day.verify().await;
    assert!(said.is_about(&event), "{:#?}", said.findings);
    assert_eq!(said.code(), ExitCode::Findings);
    day.every_promise_holds().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_writes_the_table_cannot_even_see_the_vault() {
    let Some(day) = Day::start().await else {
        return;
    };
    let raw = day.server.raw_as(&day.writer());
    let found = day.versions().await;
    let deleted = delete_everything(&raw, &day.bucket, &found).await;
    assert_eq!(deleted, Deleted::default());
    assert_eq!(lock_all(&raw, &day.bucket, &found, years(1), true).await, 0);
    let planted = plant_on_top(&raw, &day.bucket, &found).await;
    assert_eq!(planted, Vec::<String>::new());
    let listed = raw.list_object_versions().bucket(&day.bucket).send().await;
    assert!(listed.is_err());
    for object in &found {
        let get = raw.get_object().bucket(&day.bucket).key(&object.key);
        assert!(get.send().await.is_err(), "{}", object.key);
    }
    day.table.drop_all().await;
    day.nothing_happened("the table is gone, and that is all")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_pruners_keys_deletes_nothing_that_is_locked_whatever_the_plans_say() {
    let Some(mut day) = Day::start().await else {
        return;
    };
    let raw = day.attacker(Role::Pruner);
    let found = day.versions().await;
    let deleted = delete_everything(&raw, &day.bucket, &found).await;
    assert_eq!(deleted.gone, 0);
    // This server cannot refuse a marker to who may delete versions.
    assert!(deleted.hidden.len() > 5);
    assert_eq!(lock_all(&raw, &day.bucket, &found, years(1), true).await, 0);
    let planted = plant_on_top(&raw, &day.bucket, &found).await;
    assert_eq!(planted, Vec::<String>::new());
    let said = day.verify().await;
    for key in &deleted.hidden {
        let key = key.strip_prefix("vault/").unwrap();
        assert!(said.about(key).what.contains("delete marker"), "{key}");
    }
    assert_eq!(said.findings.len(), deleted.hidden.len());
    assert_eq!(said.code(), ExitCode::Findings);
    day.every_promise_holds().await;
    day.next_night_is_taken().await;
}
