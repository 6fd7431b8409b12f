//! How objects are locked.

use serde::{Deserialize, Serialize};

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
