//! `vault.json`: what a vault is. Written once by `init`; it holds nothing that may ever change.

use serde::{Deserialize, Serialize};

use super::{FORMAT, FormatError, check_format, check_strict, encode_json, parse_versioned};
use crate::ids::{Id128, Timestamp};
use crate::lock_mode::LockMode;

/// `vault.json` may not be more bytes than this.
pub const VAULT_FILE_LIMIT: u64 = 64 * 1024;

/// No vault may promise less than this many days: `prune` and a run under way need the room.
pub const SHORTEST_DAYS_MIN: u32 = 3;

const WHAT: &str = "vault.json";

/// The content of `vault.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VaultFile {
    /// When the vault was made.
    pub created: Timestamp,
    /// The vault format; unknown numbers are refused.
    pub format: u32,
    /// Length of a lock generation, days.
    pub generation_days: u32,
    /// The vault's id.
    pub id: Id128,
    /// Object Lock mode, chosen once.
    pub lock_mode: LockMode,
    /// The longest promise allowed, days.
    pub longest_days: u32,
    /// The shortest promise allowed, days; 3 or more.
    pub shortest_days: u32,
}

impl VaultFile {
    /// A vault without locks that allows what is usual.
    pub fn new(id: Id128, created: Timestamp) -> Self {
        Self {
            created,
            format: FORMAT,
            generation_days: 10,
            id,
            lock_mode: LockMode::None,
            longest_days: 3650,
            shortest_days: SHORTEST_DAYS_MIN,
        }
    }

    /// Encodes `vault.json`.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when it breaks a rule.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        check_format(WHAT, self.format)?;
        self.check()?;
        encode_json(WHAT, self)
    }

    /// Decodes `vault.json`.
    ///
    /// # Errors
    /// Every variant of [`FormatError`] but [`FormatError::UnknownFeature`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let vault_file: Self = parse_versioned(WHAT, bytes, VAULT_FILE_LIMIT)?;
        check_strict(WHAT, bytes, &vault_file)?;
        vault_file.check()?;
        Ok(vault_file)
    }

    fn check(&self) -> Result<(), FormatError> {
        let invalid = |rule| FormatError::Invalid { what: WHAT, rule };
        if self.generation_days == 0 {
            return Err(invalid("generation_days is 1 or more"));
        }
        if self.shortest_days < SHORTEST_DAYS_MIN {
            return Err(invalid("shortest_days is 3 or more"));
        }
        if self.longest_days < self.shortest_days {
            return Err(invalid("longest_days is shortest_days or more"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::vault_files;
    use super::*;

    proptest! {
        #[test]
        fn vault_files_come_back(vault_file in vault_files()) {
            let bytes = vault_file.encode().unwrap();
            prop_assert_eq!(VaultFile::decode(&bytes).unwrap(), vault_file);
        }

        #[test]
        fn lengths_that_contradict_are_refused(vault_file in vault_files()) {
            let short = VaultFile { shortest_days: 2, ..vault_file.clone() };
            let crossed = VaultFile { longest_days: 2, ..vault_file.clone() };
            let still = VaultFile { generation_days: 0, ..vault_file };
            for bad in [short, crossed, still] {
                prop_assert!(bad.encode().is_err());
                let bytes = encode_json(WHAT, &bad).unwrap();
                prop_assert!(VaultFile::decode(&bytes).is_err());
            }
        }
    }
}
