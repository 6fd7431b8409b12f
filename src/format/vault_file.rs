//! `vault.json`: what a vault is. Written once by `init`; it holds nothing that may ever change.

use serde::{Deserialize, Serialize};

use crate::ids::{Id128, Timestamp};

/// How the vault's objects are locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockMode {
    /// No Object Lock: a folder, or a bucket that was adopted without. A backup, not a wall.
    None,
    /// Object Lock, GOVERNANCE mode.
    Governance,
    /// Object Lock, COMPLIANCE mode.
    Compliance,
}

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
