//! Calls on a bucket's configuration, each with the very setting that is there: let through, it changes nothing.
//!
//! A setting that is absent is sent in a form that no server takes, so that the answer shows the right to set it alone.

use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketLoggingStatus, BucketVersioningStatus,
    InventoryConfiguration, InventoryDestination, InventoryFormat, InventoryFrequency,
    InventoryIncludedObjectVersions, InventoryS3BucketDestination, InventorySchedule,
    NotificationConfiguration, ObjectLockConfiguration, OwnershipControls,
    PublicAccessBlockConfiguration, ReplicationConfiguration, ServerSideEncryptionConfiguration,
    VersioningConfiguration, WebsiteConfiguration,
};

use super::{Answer, Probed, Prober, known};
use crate::store::StoreError;
use crate::wall::state::Asked;

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
    Inventory,
    Logging,
    Notification,
    Website,
    DeleteBucket,
}

/// A bucket's configuration as the SDK has it, to be sent again.
#[derive(Debug, Clone)]
pub(in crate::probe) struct Settings {
    policy: Asked<String>,
    lifecycle: Asked<BucketLifecycleConfiguration>,
    versioning: Asked<BucketVersioningStatus>,
    encryption: Asked<ServerSideEncryptionConfiguration>,
    replication: Asked<ReplicationConfiguration>,
    locks: Asked<ObjectLockConfiguration>,
    public_access: Asked<PublicAccessBlockConfiguration>,
    ownership: Asked<OwnershipControls>,
    logging: Asked<BucketLoggingStatus>,
    notification: Asked<NotificationConfiguration>,
    website: Asked<WebsiteConfiguration>,
}

/// The value to send: the one that is set, or `unset` where nothing is; `Err` says why there is none.
fn value<T: Clone>(setting: &Asked<T>, unset: Option<T>) -> Result<T, String> {
    match setting {
        Asked::Known(value) => Ok(value.clone()),
        Asked::Absent => unset.ok_or_else(|| "nothing is set that could be sent again".to_owned()),
        Asked::NotOffered => Err("the server has no such call".to_owned()),
        Asked::Refused(why) => Err(format!(
            "what is set cannot be read, to be sent again: {why}"
        )),
    }
}

/// An inventory that no server takes: it has another id than the call, and goes nowhere.
fn no_inventory() -> Option<InventoryConfiguration> {
    let bucket = InventoryS3BucketDestination::builder()
        .bucket("arn:aws:s3:::")
        .format(InventoryFormat::Csv)
        .build()
        .ok()?;
    let destination = InventoryDestination::builder().s3_bucket_destination(bucket);
    let schedule = InventorySchedule::builder().frequency(InventoryFrequency::Weekly);
    let inventory = InventoryConfiguration::builder()
        .id("another")
        .is_enabled(false)
        .included_object_versions(InventoryIncludedObjectVersions::Current)
        .destination(destination.build())
        .schedule(schedule.build().ok()?);
    inventory.build().ok()
}

impl Prober {
    /// Reads all settings.
    pub(in crate::probe) async fn settings(&self) -> Result<Settings, StoreError> {
        let (client, bucket) = (&self.client, self.bucket.as_str());
        let (
            policy,
            lifecycle,
            versioning,
            encryption,
            replication,
            locks,
            public,
            owner,
            logging,
            notification,
            website,
        ) = futures::join!(
            setting!(client, bucket, get_bucket_policy),
            setting!(client, bucket, get_bucket_lifecycle_configuration),
            setting!(client, bucket, get_bucket_versioning),
            setting!(client, bucket, get_bucket_encryption),
            setting!(client, bucket, get_bucket_replication),
            setting!(client, bucket, get_object_lock_configuration),
            setting!(client, bucket, get_public_access_block),
            setting!(client, bucket, get_bucket_ownership_controls),
            setting!(client, bucket, get_bucket_logging),
            setting!(client, bucket, get_bucket_notification_configuration),
            setting!(client, bucket, get_bucket_website),
        );
        let read = || {
            Ok(Settings {
                policy: known(policy?, |it| it.policy),
                lifecycle: known(lifecycle?, |it| {
                    let rules = BucketLifecycleConfiguration::builder().set_rules(it.rules);
                    rules.build().ok()
                }),
                versioning: known(versioning?, |it| it.status),
                encryption: known(encryption?, |it| it.server_side_encryption_configuration),
                replication: known(replication?, |it| it.replication_configuration),
                locks: known(locks?, |it| it.object_lock_configuration),
                public_access: known(public?, |it| it.public_access_block_configuration),
                ownership: known(owner?, |it| it.ownership_controls),
                logging: known(logging?, |it| {
                    let log = BucketLoggingStatus::builder();
                    Some(log.set_logging_enabled(it.logging_enabled).build())
                }),
                notification: known(notification?, |it| {
                    let all = NotificationConfiguration::builder()
                        .set_topic_configurations(it.topic_configurations)
                        .set_queue_configurations(it.queue_configurations)
                        .set_lambda_function_configurations(it.lambda_function_configurations)
                        .set_event_bridge_configuration(it.event_bridge_configuration);
                    Some(all.build())
                }),
                website: known(website?, |it| {
                    let site = WebsiteConfiguration::builder()
                        .set_error_document(it.error_document)
                        .set_index_document(it.index_document)
                        .set_redirect_all_requests_to(it.redirect_all_requests_to)
                        .set_routing_rules(it.routing_rules);
                    Some(site.build())
                }),
            })
        };
        read().map_err(|kind| self.unanswered("", kind))
    }

    /// Whether the bucket's configuration may be read: one setting that every server has.
    pub(in crate::probe) async fn read_versioning(&self) -> Answer<()> {
        send!(self, "", self.s3().get_bucket_versioning(), drop)
    }

    /// Sends a setting again as it is, or, where it is absent, in a form that no server takes. An inner `Err` is the reason
    /// why the call was not made.
    pub(in crate::probe) async fn set_again(
        &self,
        what: Config,
        settings: &Settings,
    ) -> Result<Result<Probed<()>, String>, StoreError> {
        let s3 = self.s3();
        macro_rules! again {
            ($setting:ident or $unset:expr, $request:expr) => {{
                let value = match value(&settings.$setting, $unset) {
                    Ok(value) => value,
                    Err(why) => return Ok(Err(why)),
                };
                send!(self, "", $request(value), drop)
            }};
        }
        let answer = match what {
            Config::Policy => again!(policy or Some(NO_POLICY.to_owned()), |it: String| {
                s3.put_bucket_policy().policy(it)
            }),
            Config::DeletePolicy if settings.policy == Asked::Absent => {
                send!(self, "", s3.delete_bucket_policy(), drop)
            }
            Config::DeletePolicy => {
                let damage =
                    |_| "there is a policy, and deleting it would be the damage".to_owned();
                return Ok(Err(
                    value(&settings.policy, None).map_or_else(|why| why, damage)
                ));
            }
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
            Config::Logging => again!(logging or None, |it| {
                s3.put_bucket_logging().bucket_logging_status(it)
            }),
            Config::Notification => again!(notification or None, |it| {
                let request = s3.put_bucket_notification_configuration();
                let request = request.skip_destination_validation(true);
                request.notification_configuration(it)
            }),
            Config::Website => {
                let none = WebsiteConfiguration::builder().build();
                again!(website or Some(none), |it| {
                    s3.put_bucket_website().website_configuration(it)
                })
            }
            Config::Inventory => {
                let Some(inventory) = no_inventory() else {
                    return Ok(Err("the call cannot be spelled".to_owned()));
                };
                let request = s3.put_bucket_inventory_configuration().id("probe");
                send!(self, "", request.inventory_configuration(inventory), drop)
            }
            // Refused by every server for what is in it.
            Config::DeleteBucket => send!(self, "", s3.delete_bucket(), drop),
        };
        answer.map(Ok)
    }
}
