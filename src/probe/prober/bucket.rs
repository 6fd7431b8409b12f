//! Calls on a bucket's configuration, each with the very setting that is there: let through, it changes nothing.
//!
//! What is not set is sent in a form that no server takes, so that only the right to send it is found out.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, ObjectLockConfiguration,
    OwnershipControls, PublicAccessBlockConfiguration, ReplicationConfiguration,
    ServerSideEncryptionConfiguration, VersioningConfiguration,
};

use super::{Answer, Probed, Prober};
use crate::store::StoreError;
use crate::store::s3::ask::{Answered, ask};

/// A policy that no server takes.
const NO_POLICY: &str = "{}";

/// A setting of the bucket, or the bucket itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum Config {
    Policy,
    DeletePolicy,
    Lifecycle,
    Versioning,
    Encryption,
    Replication,
    Locks,
    PublicAccess,
    Ownership,
    DeleteBucket,
}

/// A bucket's configuration as the SDK has it, to be sent again.
#[derive(Debug, Clone)]
pub(in crate::probe) struct Settings {
    policy: Setting<String>,
    lifecycle: Setting<BucketLifecycleConfiguration>,
    versioning: Setting<BucketVersioningStatus>,
    encryption: Setting<ServerSideEncryptionConfiguration>,
    replication: Setting<ReplicationConfiguration>,
    locks: Setting<ObjectLockConfiguration>,
    public_access: Setting<PublicAccessBlockConfiguration>,
    ownership: Setting<OwnershipControls>,
}

#[derive(Debug, Clone)]
enum Setting<T> {
    /// It is set so.
    Is(T),
    /// Nothing is set.
    Unset,
    /// It cannot be known; why.
    Unknown(String),
}

impl<T> Setting<T> {
    fn read<A>(answer: Answered<A>, read: impl FnOnce(A) -> Option<T>) -> Self {
        match answer {
            Ok(answer) => read(answer).map_or(Self::Unset, Self::Is),
            Err(refusal) if refusal.is_not_offered() => {
                Self::Unknown("the server has no such call".to_owned())
            }
            Err(refusal) if refusal.status == 404 => Self::Unset,
            Err(refusal) => Self::Unknown(format!(
                "what is set cannot be read, to be sent again: {}",
                refusal.told()
            )),
        }
    }
}

impl Prober {
    /// Reads everything that is set.
    pub(in crate::probe) async fn settings(&self) -> Result<Settings, StoreError> {
        let (client, bucket) = (&self.client, self.bucket.as_str());
        let s3 = client.s3();
        let (policy, lifecycle, versioning, encryption, replication, locks, public, owner) = futures::join!(
            ask(client, || s3.get_bucket_policy().bucket(bucket).send()),
            ask(client, || s3
                .get_bucket_lifecycle_configuration()
                .bucket(bucket)
                .send()),
            ask(client, || s3.get_bucket_versioning().bucket(bucket).send()),
            ask(client, || s3.get_bucket_encryption().bucket(bucket).send()),
            ask(client, || s3.get_bucket_replication().bucket(bucket).send()),
            ask(client, || s3
                .get_object_lock_configuration()
                .bucket(bucket)
                .send()),
            ask(client, || s3
                .get_public_access_block()
                .bucket(bucket)
                .send()),
            ask(client, || s3
                .get_bucket_ownership_controls()
                .bucket(bucket)
                .send()),
        );
        let read = || {
            Ok(Settings {
                policy: Setting::read(policy?, |it| it.policy),
                lifecycle: Setting::read(lifecycle?, |it| {
                    let rules = BucketLifecycleConfiguration::builder().set_rules(it.rules);
                    rules.build().ok()
                }),
                versioning: Setting::read(versioning?, |it| it.status),
                encryption: Setting::read(encryption?, |it| {
                    it.server_side_encryption_configuration
                }),
                replication: Setting::read(replication?, |it| it.replication_configuration),
                locks: Setting::read(locks?, |it| it.object_lock_configuration),
                public_access: Setting::read(public?, |it| it.public_access_block_configuration),
                ownership: Setting::read(owner?, |it| it.ownership_controls),
            })
        };
        read().map_err(|kind| self.unanswered("", kind))
    }

    /// Whether the bucket's configuration may be read: one setting that every server has.
    pub(in crate::probe) async fn read_versioning(&self) -> Answer<()> {
        send!(self, "", self.s3().get_bucket_versioning(), drop)
    }

    /// Sends what is set again, or, where nothing is, what no server takes. `Err` in the answer's place is why a call was
    /// not made.
    pub(in crate::probe) async fn set_again(
        &self,
        what: Config,
        settings: &Settings,
    ) -> Result<Result<Probed<()>, String>, StoreError> {
        let s3 = self.s3();
        macro_rules! again {
            ($setting:ident or $unset:expr, $request:expr) => {{
                let value = match &settings.$setting {
                    Setting::Is(value) => Some(value.clone()),
                    Setting::Unset => $unset,
                    Setting::Unknown(why) => return Ok(Err(why.clone())),
                };
                let Some(value) = value else {
                    return Ok(Err("nothing is set that could be sent again".to_owned()));
                };
                send!(self, "", $request(value), drop)
            }};
        }
        let answer = match what {
            Config::Policy => again!(policy or Some(NO_POLICY.to_owned()), |it: String| {
                s3.put_bucket_policy().policy(it)
            }),
            Config::DeletePolicy => match &settings.policy {
                Setting::Unset => send!(self, "", s3.delete_bucket_policy(), drop),
                Setting::Is(_) => {
                    let why = "there is a policy, and deleting it would be the damage";
                    return Ok(Err(why.to_owned()));
                }
                Setting::Unknown(why) => return Ok(Err(why.clone())),
            },
            Config::Lifecycle => {
                let none = BucketLifecycleConfiguration::builder().set_rules(Some(Vec::new()));
                again!(lifecycle or none.build().ok(), |it| {
                    let request = s3.put_bucket_lifecycle_configuration();
                    request.lifecycle_configuration(it)
                })
            }
            Config::Versioning => again!(versioning or None, |it| {
                let status = VersioningConfiguration::builder().status(it).build();
                s3.put_bucket_versioning().versioning_configuration(status)
            }),
            Config::Encryption => {
                let none = ServerSideEncryptionConfiguration::builder().set_rules(Some(Vec::new()));
                again!(encryption or none.build().ok(), |it| {
                    let request = s3.put_bucket_encryption();
                    request.server_side_encryption_configuration(it)
                })
            }
            Config::Replication => {
                let none = ReplicationConfiguration::builder().role("");
                let none = none.set_rules(Some(Vec::new()));
                again!(replication or none.build().ok(), |it| {
                    s3.put_bucket_replication().replication_configuration(it)
                })
            }
            Config::Locks => {
                let none = ObjectLockConfiguration::builder().build();
                again!(locks or Some(none), |it| {
                    let request = s3.put_object_lock_configuration();
                    request.object_lock_configuration(it)
                })
            }
            Config::PublicAccess => again!(public_access or None, |it| {
                let request = s3.put_public_access_block();
                request.public_access_block_configuration(it)
            }),
            Config::Ownership => {
                let none = OwnershipControls::builder().set_rules(Some(Vec::new()));
                again!(ownership or none.build().ok(), |it| {
                    s3.put_bucket_ownership_controls().ownership_controls(it)
                })
            }
            // Refused by every server for what is in it.
            Config::DeleteBucket => send!(self, "", s3.delete_bucket(), drop),
        };
        answer.map(Ok)
    }
}
