//! A prune plan: what one reading of the vault found to be of no use, for a later run to delete if it finds the same.

use serde::{Deserialize, Serialize};

use super::{FORMAT, FormatError, check_strict_lists, encode_limited, parse_versioned};
use crate::ids::{Id128, ObjectKey, ObjectVersion, SnapshotId, Timestamp};

/// A plan may have this many rows.
pub const PLAN_ROWS: usize = 10_000;

/// A plan's bytes may not be more than this.
pub const PLAN_LIMIT: u64 = 64 * 1024 * 1024;

const WHAT: &str = "prune plan";

/// What one run marked, or which plans it was about to carry out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrunePlan {
    /// When it was made.
    pub created: Timestamp,
    /// The format of this object.
    pub format: u32,
    /// Who made it: user and host, or the caller's ARN.
    pub principal: String,
    /// What may be deleted later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<PlanRow>,
    /// The run that made it.
    pub run: Id128,
    /// The plans that this run was about to carry out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sweeps: Vec<Id128>,
    /// The tool and its version.
    pub tool: String,
}

/// One object version that nothing needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlanRow {
    /// Its key.
    pub key: ObjectKey,
    /// Its version, where the store keeps versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<ObjectVersion>,
    /// Until when it is locked, as far as that was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
    /// Why nothing needs it.
    pub reason: GarbageReason,
    /// Bytes.
    pub size: u64,
}

/// Why nothing needs an object version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GarbageReason {
    /// Only snapshots that are not kept needed it; this is one of them.
    Expired(SnapshotId),
    /// No snapshot names it: left by a run that was not published, or by one whose manifest is gone already.
    Orphan,
    /// The journal of a run that nobody can go on with.
    Journal,
    /// It was put on top of another version of its key.
    Planted,
}

impl PrunePlan {
    /// Encodes the plan.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        encode_limited(WHAT, self, PLAN_LIMIT)
    }

    /// Decodes a plan.
    ///
    /// # Errors
    /// Every variant of [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let plan: Self = parse_versioned(WHAT, bytes, PLAN_LIMIT)?;
        let rest = Self {
            principal: plan.principal.clone(),
            rows: Vec::new(),
            sweeps: plan.sweeps.clone(),
            tool: plan.tool.clone(),
            ..plan
        };
        let row = |at: usize| serde_json::to_value(plan.rows.get(at)?).ok();
        check_strict_lists(WHAT, bytes, (&plan, &rest), &[("rows", &row)])?;
        Ok(plan)
    }

    /// A plan without rows.
    pub fn new(created: Timestamp, run: Id128, principal: String, tool: String) -> Self {
        Self {
            created,
            format: FORMAT,
            principal,
            rows: Vec::new(),
            run,
            sweeps: Vec::new(),
            tool,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Digest;

    fn plan() -> PrunePlan {
        let row = |reason, version: Option<&str>| PlanRow {
            key: "copies/c0/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"
                .parse()
                .unwrap(),
            version: version.map(|version| ObjectVersion(version.to_owned())),
            locked_until: version.map(|_| "2026-03-01T00:00:00Z".parse().unwrap()),
            reason,
            size: 21,
        };
        let (now, run) = ("2026-02-01T00:00:00Z", Id128::from_bytes([6; 16]));
        let mut plan = PrunePlan::new(now.parse().unwrap(), run, "p".into(), "t 1".into());
        plan.rows = vec![
            row(
                GarbageReason::Expired(SnapshotId(Digest::of(b"\x01"))),
                Some("v"),
            ),
            row(GarbageReason::Orphan, None),
            row(GarbageReason::Journal, None),
            row(GarbageReason::Planted, Some("w")),
        ];
        plan
    }

    #[test]
    fn a_plan_s_bytes_are_frozen_and_come_back() {
        let mut plan = plan();
        let bytes = plan.encode().unwrap();
        assert_eq!(PrunePlan::decode(&bytes).unwrap(), plan);
        plan.rows.truncate(1);
        plan.sweeps = vec![Id128::from_bytes([7; 16])];
        assert_eq!(
            String::from_utf8(plan.encode().unwrap()).unwrap(),
            r#"{"created":"2026-02-01T00:00:00Z","format":1,"principal":"p","rows":[{"key":"copies/c0/c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0","locked_until":"2026-03-01T00:00:00Z","reason":{"expired":"4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7cce23c7785459a"},"size":21,"version":"v"}],"run":"06060606060606060606060606060606","sweeps":["07070707070707070707070707070707"],"tool":"t 1"}"#
        );
    }

    #[test]
    fn the_largest_plan_stays_far_below_its_limit() {
        let mut plan = plan();
        let row = PlanRow {
            key: "k".repeat(120).parse().unwrap(),
            version: Some(ObjectVersion("v".repeat(100))),
            ..plan.rows[0].clone()
        };
        plan.rows = vec![row; PLAN_ROWS];
        assert!((plan.encode().unwrap().len() as u64) < PLAN_LIMIT / 8);
    }
}
