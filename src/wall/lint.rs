//! Finds what in a bucket's configuration could cost a vault its immutability, with remedies.
//!
//! A setting that a server does not have is not a finding, unless the vault's locks depend on it. A setting that may not be
//! read is one, because nothing is known about it.

use serde::Serialize;
use serde_json::Value;

use super::policy;
use super::state::{
    Asked, BucketState, Encryption, LifecycleRule, ObjectLock, PublicAccess, Versioning,
};
use crate::format::LockMode;

/// What a vault needs of its bucket.
#[derive(Debug, Clone, Copy)]
pub struct Expected<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// What the vault's keys begin with: empty, or ending in a slash.
    pub prefix: &'a str,
    /// The endpoint of another server than AWS.
    pub endpoint: Option<&'a str>,
    /// How the vault's objects are locked.
    pub lock_mode: LockMode,
    /// The floor of every lock: the vault's shortest promise, days.
    pub shortest_days: u32,
    /// The bucket policy as `iam render` prints it; without one, policies are not compared.
    pub policy: Option<&'a Value>,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing to do.
    Note,
    /// Weaker than it should be.
    Warning,
    /// A wall is missing: what the vault promised to keep can be lost.
    Breach,
}

/// Something about a bucket that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The setting, by a stable name for scripts.
    pub check: &'static str,
    /// The problem.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// The storage classes whose objects must be thawed for hours before they can be read.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];
/// After how many days the rule in the remedy drops an unfinished upload.
const UPLOAD_DAYS: u32 = 7;

/// Judges a bucket, the worst first.
pub fn lint(state: &BucketState, expected: &Expected<'_>) -> Vec<Finding> {
    let mut lint = Lint {
        expected,
        findings: Vec::new(),
    };
    lint.object_lock(&state.object_lock);
    lint.versioning(&state.versioning);
    lint.public_access(&state.public_access);
    lint.ownership(&state.ownership);
    lint.encryption(&state.encryption);
    lint.lifecycle(&state.lifecycle, &state.versioning);
    lint.replication(state);
    lint.policy(&state.policy);
    let mut findings = lint.findings;
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    findings
}

struct Lint<'a> {
    expected: &'a Expected<'a>,
    findings: Vec<Finding>,
}

impl Lint<'_> {
    fn add(
        &mut self,
        severity: Severity,
        check: &'static str,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.findings.push(Finding {
            severity,
            check,
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    /// A setting that may not be read.
    fn unread(&mut self, check: &'static str, action: &str, why: &str) {
        self.add(
            Severity::Warning,
            check,
            format!("it may not be read: {why}"),
            format!("let this identity {action}, or ask with another one: AWS_PROFILE"),
        );
    }

    /// A command of the AWS CLI for this bucket.
    fn aws(&self, call: &str, rest: &str) -> String {
        aws(self.expected, call, rest)
    }

    fn object_lock(&mut self, found: &Asked<ObjectLock>) {
        const CHECK: &str = "object-lock";
        let Expected {
            lock_mode,
            shortest_days: floor,
            ..
        } = *self.expected;
        let is_locked = lock_mode != LockMode::None;
        let severity = if is_locked {
            Severity::Breach
        } else {
            Severity::Warning
        };
        let default = match found {
            Asked::Known(lock) => lock.default,
            Asked::Absent => {
                let what =
                    "the bucket has no Object Lock: whoever may delete in it can delete the vault";
                self.add(severity, CHECK, what, enable_lock(self.expected));
                return;
            }
            Asked::NotOffered => {
                let what =
                    "this server has no Object Lock: whoever may delete can delete the vault";
                let remedy = "keep the vault on a server with Object Lock";
                self.add(severity, CHECK, what, remedy);
                return;
            }
            Asked::Refused(why) => {
                self.unread(CHECK, "s3:GetBucketObjectLockConfiguration", why);
                return;
            }
        };
        let remedy = set_default_retention(self.expected);
        match (default, is_locked) {
            (None, false) => self.no_locks(),
            (None, true) => self.add(
                Severity::Warning,
                "default-retention",
                "the bucket has no default retention: what is put without a lock, as parts of large uploads \
                 are, can be deleted at once",
                remedy,
            ),
            (Some(default), false) => {
                self.no_locks();
                self.add(
                    Severity::Note,
                    "default-retention",
                    format!(
                        "the bucket locks every new object for {} days, also those of a vault without locks",
                        default.days
                    ),
                    "nothing, if that is meant",
                );
            }
            (Some(default), true) => {
                if default.mode != lock_mode {
                    let what = format!(
                        "the default retention has mode {}, the vault has {}",
                        spelled(default.mode),
                        spelled(lock_mode)
                    );
                    self.add(Severity::Warning, "default-retention", what, remedy.clone());
                }
                if default.event_hold {
                    let what = "the default retention holds each new object until somebody releases it: prune can \
                                never collect what is put without a lock";
                    self.add(Severity::Warning, "default-retention", what, remedy.clone());
                }
                if default.days < floor {
                    let what = format!(
                        "the default retention is {} days, the vault's shortest promise {floor}",
                        default.days
                    );
                    self.add(Severity::Warning, "default-retention", what, remedy);
                } else if default.days > floor {
                    let what = format!(
                        "the default retention is {} days, longer than the vault's shortest promise of {floor}",
                        default.days
                    );
                    let remedy = "nothing, if that is meant: everything is kept and paid for at least that long";
                    self.add(Severity::Note, "default-retention", what, remedy);
                }
            }
        }
    }

    fn no_locks(&mut self) {
        self.add(
            Severity::Warning,
            "object-lock",
            "the vault was made without locks: whoever may delete in the bucket can delete it",
            "make another vault that locks, `deltavault init --mode governance` or `compliance`, and take the snapshots into \
             that",
        );
    }

    fn versioning(&mut self, found: &Asked<Versioning>) {
        const CHECK: &str = "versioning";
        let what = match found {
            Asked::Known(Versioning::Enabled) => return,
            Asked::Known(Versioning::Suspended) => {
                "versioning is suspended: what is put under a name replaces what was there"
            }
            Asked::Absent | Asked::NotOffered => {
                "the bucket keeps no object versions: what is put under a name replaces what was there"
            }
            Asked::Refused(why) => {
                self.unread(CHECK, "s3:GetBucketVersioning", why);
                return;
            }
        };
        let remedy = self.aws(
            "put-bucket-versioning",
            "--versioning-configuration Status=Enabled",
        );
        self.add(Severity::Breach, CHECK, what, remedy);
    }

    fn public_access(&mut self, found: &Asked<PublicAccess>) {
        const CHECK: &str = "public-access";
        match found {
            Asked::Known(access) if *access == PublicAccess::BLOCKED => return,
            Asked::NotOffered => return,
            Asked::Refused(why) => {
                self.unread(CHECK, "s3:GetBucketPublicAccessBlock", why);
                return;
            }
            Asked::Known(_) | Asked::Absent => {}
        }
        let remedy = self.aws(
            "put-public-access-block",
            "--public-access-block-configuration \
             BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true",
        );
        let what = "public access is not blocked: one policy or ACL opens the vault to everybody";
        self.add(Severity::Warning, CHECK, what, remedy);
    }

    fn ownership(&mut self, found: &Asked<String>) {
        const CHECK: &str = "ownership";
        let what = match found {
            Asked::Known(rule) if rule == "BucketOwnerEnforced" => return,
            Asked::NotOffered => return,
            Asked::Known(rule) => {
                format!("ACLs are in force ({rule}): uploaders can keep their objects to themselves or give them away")
            }
            Asked::Absent => {
                "ACLs are in force: uploaders can keep their objects to themselves or give them away".into()
            }
            Asked::Refused(why) => {
                self.unread(CHECK, "s3:GetBucketOwnershipControls", why);
                return;
            }
        };
        let remedy = self.aws(
            "put-bucket-ownership-controls",
            "--ownership-controls 'Rules=[{ObjectOwnership=BucketOwnerEnforced}]'",
        );
        self.add(Severity::Warning, CHECK, what, remedy);
    }

    fn encryption(&mut self, found: &Asked<Encryption>) {
        const CHECK: &str = "encryption";
        match found {
            Asked::Known(Encryption { key: Some(key), .. }) => self.add(
                Severity::Note,
                CHECK,
                format!("objects are encrypted with the key {key}: without it no lock keeps them readable"),
                "deny kms:ScheduleKeyDeletion and kms:DisableKey on it to everybody",
            ),
            Asked::Known(_) | Asked::NotOffered => {}
            Asked::Refused(why) => self.unread(CHECK, "s3:GetEncryptionConfiguration", why),
            Asked::Absent => {
                let rule = r#"{"Rules":[{"ApplyServerSideEncryptionByDefault":{"SSEAlgorithm":"AES256"}}]}"#;
                let rest = format!("--server-side-encryption-configuration '{rule}'");
                let remedy = self.aws("put-bucket-encryption", &rest);
                let what = "objects are not encrypted by default";
                // Amazon encrypts in any case; another server may need a key service first.
                let severity = match self.expected.endpoint {
                    Some(_) => Severity::Note,
                    None => Severity::Warning,
                };
                self.add(severity, CHECK, what, remedy);
            }
        }
    }

    fn lifecycle(&mut self, found: &Asked<Vec<LifecycleRule>>, versioning: &Asked<Versioning>) {
        const CHECK: &str = "lifecycle";
        let nothing = Vec::new();
        let rules = match found {
            Asked::Known(rules) => rules,
            Asked::Absent | Asked::NotOffered => &nothing,
            Asked::Refused(why) => {
                self.unread(CHECK, "s3:GetLifecycleConfiguration", why);
                return;
            }
        };
        let prefix = self.expected.prefix;
        let overlaps = |rule: &&LifecycleRule| {
            rule.enabled && (prefix.starts_with(&rule.prefix) || rule.prefix.starts_with(prefix))
        };
        for rule in rules.iter().filter(overlaps) {
            let remedy = format!(
                "take the vault out of the rule {:?}: {}",
                rule.id,
                self.aws("put-bucket-lifecycle-configuration", "…")
            );
            if rule.expires_noncurrent {
                let what = format!(
                    "the lifecycle rule {:?} deletes object versions once their lock is over, retained ones too",
                    rule.id
                );
                self.add(Severity::Breach, CHECK, what, remedy.clone());
            }
            if rule.expires {
                let (severity, what) = match versioning.known() {
                    Some(Versioning::Enabled) => (
                        Severity::Warning,
                        "puts delete markers on the vault's objects",
                    ),
                    Some(Versioning::Suspended) | None => {
                        (Severity::Breach, "deletes the vault's objects")
                    }
                };
                let what = format!("the lifecycle rule {:?} {what}", rule.id);
                self.add(severity, CHECK, what, remedy.clone());
            }
            if let Some(class) =
                (rule.transitions.iter()).find(|to| ARCHIVES.contains(&to.as_str()))
            {
                let what = format!(
                    "the lifecycle rule {:?} moves objects into {class}, where they cannot be read",
                    rule.id
                );
                self.add(Severity::Warning, CHECK, what, remedy);
            }
        }
        let sweeps = |rule: &LifecycleRule| {
            rule.enabled
                && !rule.narrowed
                && prefix.starts_with(&rule.prefix)
                && rule.aborts_uploads_after.is_some()
        };
        if !rules.iter().any(sweeps) {
            let rule = format!(
                r#"{{"Rules":[{{"ID":"unfinished-uploads","Status":"Enabled","Filter":{{"Prefix":"{prefix}"}},"AbortIncompleteMultipartUpload":{{"DaysAfterInitiation":{UPLOAD_DAYS}}}}}]}}"#
            );
            let severity = match self.expected.endpoint {
                // Many servers drop uploads by a setting of their own, and some refuse such a rule.
                Some(_) => Severity::Note,
                None => Severity::Warning,
            };
            let rest = format!("--lifecycle-configuration '{rule}'");
            let remedy = self.aws("put-bucket-lifecycle-configuration", &rest);
            let what = "no lifecycle rule drops unfinished uploads: their parts are kept and paid for, unseen";
            self.add(severity, "unfinished-uploads", what, remedy);
        }
    }

    fn replication(&mut self, state: &BucketState) {
        const CHECK: &str = "replication";
        match &state.replication {
            Asked::Absent | Asked::NotOffered => {}
            Asked::Refused(why) => self.unread(CHECK, "s3:GetReplicationConfiguration", why),
            Asked::Known(rules) => {
                for rule in rules.iter().filter(|rule| rule.enabled) {
                    let markers = if rule.delete_markers {
                        ", delete markers included"
                    } else {
                        ""
                    };
                    let what = format!(
                        "the rule {:?} copies objects to {}{markers}: what is read there is as open as that bucket is",
                        rule.id, rule.destination
                    );
                    let remedy = "check that bucket as this one: locks, policy, public access";
                    self.add(Severity::Note, CHECK, what, remedy);
                }
            }
        }
    }

    fn policy(&mut self, found: &Asked<Value>) {
        const CHECK: &str = "policy";
        let Some(expected) = self.expected.policy else {
            return;
        };
        let nothing = Value::Null;
        let found = match found {
            Asked::Known(found) => found,
            Asked::Absent => &nothing,
            Asked::NotOffered => return,
            Asked::Refused(why) => {
                self.unread(CHECK, "s3:GetBucketPolicy", why);
                return;
            }
        };
        let remedy = self.aws("put-bucket-policy", "--policy file://bucket-policy.json");
        for difference in policy::compare(expected, found) {
            let severity = match difference {
                policy::Difference::Missing(_)
                | policy::Difference::Changed(_)
                | policy::Difference::AlsoAllows(_) => Severity::Breach,
                policy::Difference::AlsoDenies(_) => Severity::Note,
            };
            let remedy = format!("put the policy that `deltavault iam render` prints: {remedy}");
            self.add(severity, CHECK, difference.to_string(), remedy);
        }
    }
}

/// How a mode is spelled where S3 is spoken.
pub fn spelled(mode: LockMode) -> &'static str {
    match mode {
        LockMode::None => "none",
        LockMode::Governance => "GOVERNANCE",
        LockMode::Compliance => "COMPLIANCE",
    }
}

fn aws(expected: &Expected<'_>, call: &str, rest: &str) -> String {
    let bucket = expected.bucket;
    let endpoint = match expected.endpoint {
        Some(endpoint) => format!(" --endpoint-url {endpoint}"),
        None => String::new(),
    };
    format!("aws s3api {call} --bucket {bucket} {rest}{endpoint}")
}

/// How a bucket that was made without Object Lock gets it.
///
/// Amazon enables it on an existing bucket with versioning ("Configuring S3 Object Lock", User Guide), for objects that are
/// put from then on, and nobody can disable it again. Other servers enable it for new buckets only.
pub fn enable_lock(expected: &Expected<'_>) -> String {
    let set = set_default_retention(expected);
    match expected.endpoint {
        None => format!(
            "{} and then {set}",
            aws(
                expected,
                "put-bucket-versioning",
                "--versioning-configuration Status=Enabled"
            )
        ),
        Some(_) => format!(
            "name a bucket that is not there yet: `init` makes it with Object Lock. Some servers take {set}"
        ),
    }
}

fn set_default_retention(expected: &Expected<'_>) -> String {
    let mode = match expected.lock_mode {
        LockMode::None => LockMode::Governance,
        mode @ (LockMode::Governance | LockMode::Compliance) => mode,
    };
    let rule = format!(
        r#"{{"ObjectLockEnabled":"Enabled","Rule":{{"DefaultRetention":{{"Mode":"{}","Days":{}}}}}}}"#,
        spelled(mode),
        expected.shortest_days
    );
    let rest = format!("--object-lock-configuration '{rule}'");
    aws(expected, "put-object-lock-configuration", &rest)
}

#[cfg(test)]
mod tests;
