//! The values for the templates.

use super::role::Role;
use super::{Document, IamError};
use crate::format::{LockMode, VaultFile};

/// A place on S3: a bucket and a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    bucket: String,
    /// Empty, or ending in a slash.
    prefix: String,
}

impl Location {
    /// The place at `s3://bucket` or `s3://bucket/prefix`.
    ///
    /// # Errors
    /// [`IamError::Unusable`] for another URI, and for a prefix that would mean something else in a policy.
    pub fn parse(uri: &str) -> Result<Self, IamError> {
        let unusable = |rule| IamError::Unusable {
            value: uri.to_owned(),
            rule,
        };
        let place = uri
            .strip_prefix("s3://")
            .ok_or_else(|| unusable("only s3:// has walls of IAM"))?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        let prefix = prefix.trim_end_matches('/');
        if prefix.contains(['*', '?', '$']) {
            return Err(unusable("`*`, `?` and `$` are patterns there"));
        }
        if uri.contains(['"', '\\']) || uri.contains(char::is_control) {
            return Err(unusable(
                "quotes, backslashes and control characters do not survive",
            ));
        }
        if bucket.is_empty() {
            return Err(unusable("a place on S3 is spelled s3://bucket/prefix"));
        }
        let is_plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
        };
        if !bucket.bytes().all(is_plain) {
            return Err(unusable(
                "a bucket's name has lower-case letters, digits, dots and hyphens; `*` would be every bucket",
            ));
        }
        let prefix = if prefix.is_empty() {
            String::new()
        } else {
            format!("{prefix}/")
        };
        Ok(Self {
            bucket: bucket.to_owned(),
            prefix,
        })
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// What its keys begin with: empty, or ending in a slash.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
}

/// Everything that a document may need.
#[derive(Debug, Clone)]
pub struct Params {
    /// `aws`, `aws-cn` or `aws-us-gov`.
    pub partition: String,
    /// The vault.
    pub vault: Location,
    /// The tables, or folders of tables, that are backed up.
    pub sources: Vec<Location>,
    /// How the vault's objects are locked.
    pub lock_mode: LockMode,
    /// The fewest days that a lock may be set for: the vault's shortest promise.
    pub floor_days: u32,
    /// The most days that a lock may be set for: the longest promise, a generation and a day.
    pub ceiling_days: u32,
    /// The storage classes that objects may have.
    pub storage_classes: Vec<String>,
    /// The vault's own KMS key, by ARN; without it, S3's own encryption is the only one.
    pub kms_key: Option<String>,
    /// The keys that the sources are encrypted with, by ARN.
    pub source_kms_keys: Vec<String>,
    /// The account that the roles are in, twelve digits.
    pub account: Option<String>,
    /// The beginning of the roles' names, before a hyphen and the role.
    pub role_prefix: String,
    /// Who may change the bucket's configuration, by ARN.
    pub break_glass: Vec<String>,
    /// Who may assume the roles, by ARN.
    pub trusted: Vec<String>,
    /// The external id that is needed to assume a role.
    pub external_id: Option<String>,
    /// The VPC endpoints that calls have to come through, by id; any way where empty.
    pub vpc_endpoints: Vec<String>,
    /// The organisations that callers have to belong to, by id; any where empty.
    pub org_ids: Vec<String>,
    /// Whether calls without TLS are let through, for a server in a closed network.
    pub plain_http: bool,
}

impl Params {
    /// The default shortest promise, days.
    pub const SHORTEST_DAYS: u32 = 3;
    /// The default longest promise, days.
    pub const LONGEST_DAYS: u32 = 3650;
    /// The default length of lock generations, days.
    pub const GENERATION_DAYS: u32 = 10;

    /// The defaults, for a vault that does not exist yet.
    pub fn new(vault: Location) -> Self {
        let mut params = Self {
            partition: "aws".to_owned(),
            vault,
            sources: Vec::new(),
            lock_mode: LockMode::Governance,
            floor_days: 0,
            ceiling_days: 0,
            storage_classes: vec!["STANDARD".to_owned()],
            kms_key: None,
            source_kms_keys: Vec::new(),
            account: None,
            role_prefix: "deltavault".to_owned(),
            break_glass: Vec::new(),
            trusted: Vec::new(),
            external_id: None,
            vpc_endpoints: Vec::new(),
            org_ids: Vec::new(),
            plain_http: false,
        };
        params.set_days(
            Self::SHORTEST_DAYS,
            Self::LONGEST_DAYS,
            Self::GENERATION_DAYS,
        );
        params
    }

    /// Takes floor, ceiling and mode from a vault.
    pub fn set_vault_file(&mut self, file: &VaultFile) {
        self.lock_mode = file.lock_mode;
        self.set_days(file.shortest_days, file.longest_days, file.generation_days);
    }

    /// Takes floor and ceiling from the lengths of promises and of a lock generation.
    pub fn set_days(&mut self, shortest: u32, longest: u32, generation: u32) {
        self.floor_days = shortest;
        // A lock ends at the table's next boundary after the promise; the day allows for rounding.
        self.ceiling_days = longest.saturating_add(generation).saturating_add(1);
    }

    /// The mode as S3 spells it; a vault without locks takes none.
    pub fn lock_mode_name(&self) -> &'static str {
        match self.lock_mode {
            LockMode::None => "NONE",
            LockMode::Governance => "GOVERNANCE",
            LockMode::Compliance => "COMPLIANCE",
        }
    }

    /// A role's ARN.
    ///
    /// # Errors
    /// [`IamError::Missing`] without an account.
    pub fn role_arn(&self, role: Role, document: Document) -> Result<String, IamError> {
        self.arn(role.as_str(), document)
    }

    /// The ARN of a role by the part of its name after the prefix.
    pub(super) fn arn(&self, role: &str, document: Document) -> Result<String, IamError> {
        let account = self.account(document)?;
        let Self {
            partition,
            role_prefix,
            ..
        } = self;
        Ok(format!(
            "arn:{partition}:iam::{account}:role/{role_prefix}-{role}"
        ))
    }

    pub(super) fn account(&self, document: Document) -> Result<&str, IamError> {
        self.account.as_deref().ok_or(IamError::Missing {
            document,
            needed: "--account DIGITS",
        })
    }

    /// Refuses values that would have another meaning inside a document.
    pub(super) fn check(&self) -> Result<(), IamError> {
        let mut texts: Vec<&str> = vec![&self.partition, &self.role_prefix];
        texts.extend(self.kms_key.as_deref());
        texts.extend(self.account.as_deref());
        texts.extend(self.external_id.as_deref());
        let lists = [
            &self.source_kms_keys,
            &self.break_glass,
            &self.trusted,
            &self.storage_classes,
            &self.vpc_endpoints,
            &self.org_ids,
        ];
        texts.extend(lists.into_iter().flatten().map(String::as_str));
        for text in texts {
            let unusable = |rule| IamError::Unusable {
                value: text.to_owned(),
                rule,
            };
            if text.is_empty() {
                return Err(unusable("it is empty"));
            }
            if text.contains(['*', '?', '$', '"', '\\']) || text.contains(char::is_control) {
                // A break-glass principal of `*` would open every wall.
                return Err(unusable(
                    "patterns, quotes and control characters are not taken",
                ));
            }
        }
        let digits = |text: &String| text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
        if let Some(account) = self.account.as_ref().filter(|text| !digits(text)) {
            return Err(IamError::Unusable {
                value: account.clone(),
                rule: "an account is twelve digits",
            });
        }
        if let Some(source) = self
            .sources
            .iter()
            .find(|source| source.bucket == self.vault.bucket)
        {
            return Err(IamError::Unusable {
                value: format!("s3://{}/{}", source.bucket, source.prefix),
                rule: "a source in the vault's own bucket would let a role write into the vault",
            });
        }
        let ids = [
            (
                &self.vpc_endpoints,
                "vpce-",
                "the id of a VPC endpoint begins with vpce-",
            ),
            (
                &self.org_ids,
                "o-",
                "the id of an organisation begins with o-",
            ),
        ];
        for (ids, start, rule) in ids {
            if let Some(other) = ids.iter().find(|id| !id.starts_with(start)) {
                return Err(IamError::Unusable {
                    value: other.clone(),
                    rule,
                });
            }
        }
        let arns = self.break_glass.iter().chain(&self.trusted);
        let arns = arns.chain(&self.kms_key).chain(&self.source_kms_keys);
        if let Some(other) = arns.into_iter().find(|text| !text.starts_with("arn:")) {
            return Err(IamError::Unusable {
                value: other.clone(),
                rule: "an ARN is wanted",
            });
        }
        Ok(())
    }
}
