//! What each call of a role should come to, and where a server cannot refuse it.

use serde::Serialize;

use super::call::Call;
use crate::format::LockMode;
use crate::iam::Role;

/// What a call of a role should come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// It is the role's work.
    Allowed,
    /// It is not.
    Refused,
}

/// What a call of a role should come to.
pub fn expected(role: Role, call: Call) -> Expected {
    if call.roles().contains(&role) {
        Expected::Allowed
    } else {
        Expected::Refused
    }
}

/// A server whose gaps are known, or another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// Amazon's own.
    Aws,
    /// `MinIO`.
    Minio,
    /// `ministack`, which stands for AWS in tests.
    Ministack,
    /// Another.
    Other,
}

impl Server {
    /// The server that an answer's `Server` header names; Amazon's where no endpoint was set.
    pub fn named(header: &str, has_own_endpoint: bool) -> Self {
        let name = header.to_ascii_lowercase();
        match has_own_endpoint {
            false => Self::Aws,
            true if name.contains("minio") => Self::Minio,
            true if name.contains("ministack") => Self::Ministack,
            true => Self::Other,
        }
    }
}

/// Why a server cannot refuse a call to a role that should not make it, as measured.
///
/// Only for a call that was let through: it distinguishes a gap of the server from a missing wall.
pub fn gap(server: Server, role: Role, call: Call, mode: LockMode) -> Option<&'static str> {
    // A condition that a server lacks excuses nobody whom it should refuse without it.
    let conditions: [(&[Call], Call); 2] = [
        (&CONDITIONS_ON_PUTS, Call::CreateBlob),
        (&[Call::ExtendBeyond], Call::Extend),
    ];
    let may_without = |(calls, without): &(&[Call], Call)| {
        !calls.contains(&call) || expected(role, *without) == Expected::Allowed
    };
    if !conditions.iter().all(may_without) {
        return None;
    }
    match server {
        Server::Aws | Server::Other => None,
        Server::Minio => gap_of_minio(role, call, mode),
        Server::Ministack => gap_of_ministack(call),
    }
}

/// Puts that a policy refuses by a condition to those who may put.
const CONDITIONS_ON_PUTS: [Call; 10] = [
    Call::Overwrite,
    Call::PutUnlocked,
    Call::PutShort,
    Call::PutBeyond,
    Call::PutOtherMode,
    Call::PutHeld,
    Call::PutEventHold,
    Call::PutClass,
    Call::PutAcl,
    Call::PutTags,
];

fn gap_of_minio(role: Role, call: Call, mode: LockMode) -> Option<&'static str> {
    const GOVERNED: [Call; 4] = [
        Call::Shorten,
        Call::ShortenBypass,
        Call::Unlock,
        Call::DeleteBypass,
    ];
    if GOVERNED.contains(&call) {
        return (mode == LockMode::Governance)
            .then_some("MinIO lets any user take a lock of GOVERNANCE off by asking to bypass it");
    }
    if call == Call::Delete {
        return (role == Role::Pruner).then_some(
            "MinIO lets nobody delete an object version who may not put delete markers",
        );
    }
    of(
        &[
            (Call::Overwrite, "MinIO has no condition on If-None-Match"),
            (
                Call::PutShort,
                "MinIO asks for the days of a lock when it is extended, not when a put brings it",
            ),
            (
                Call::PutBeyond,
                "MinIO asks for the days of a lock when it is extended, not when a put brings it",
            ),
            (
                Call::PutAcl,
                "MinIO has no condition on ACLs, and keeps none",
            ),
            (
                Call::PutTags,
                "MinIO does not check the right to tags that come with a put",
            ),
        ],
        call,
    )
}

fn gap_of_ministack(call: Call) -> Option<&'static str> {
    const DAYS: &str = "ministack has no condition on the days of a lock";
    of(
        &[
            (
                Call::Overwrite,
                "ministack has no condition on If-None-Match",
            ),
            (Call::PutShort, DAYS),
            (Call::PutBeyond, DAYS),
            (Call::ExtendBeyond, DAYS),
            (
                Call::PutOtherMode,
                "ministack has no condition on the mode of a lock",
            ),
            (
                Call::PutHeld,
                "ministack does not check the right to a legal hold that comes with a put",
            ),
            (
                Call::PutClass,
                "ministack has no condition on storage classes",
            ),
            (
                Call::PutTags,
                "ministack does not check the right to tags that come with a put",
            ),
        ],
        call,
    )
}

fn of(gaps: &[(Call, &'static str)], call: Call) -> Option<&'static str> {
    let found = gaps.iter().find(|(open, _)| *open == call);
    found.map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_allowed_to_its_roles_and_to_no_other() {
        let allowed = |call| {
            let roles = Role::ALL.into_iter();
            let roles = roles.filter(|role| expected(*role, call) == Expected::Allowed);
            roles.map(Role::as_str).collect::<Vec<_>>().join(" ")
        };
        for (call, roles) in [
            (Call::CreateBlob, "snapshotter"),
            (Call::CreateRecord, "snapshotter"),
            (Call::Extend, "snapshotter"),
            (Call::CreateHolderEvent, "holder"),
            (Call::CreatePrunerEvent, "pruner"),
            (Call::CreateRestorerEvent, "restorer"),
            (Call::CreatePlan, "pruner"),
            (Call::DeleteOver, "pruner"),
            (Call::Hold, "holder"),
            (Call::Release, "holder"),
            (Call::ReadBlob, "snapshotter restorer verifier"),
            (Call::Overwrite, ""),
            (Call::DeleteVersion, ""),
            (Call::SetPolicy, ""),
        ] {
            assert_eq!(allowed(call), roles, "{call:?}");
        }
        // A new call has to be given its roles.
        let nobodys = Call::ALL
            .into_iter()
            .filter(|call| allowed(*call).is_empty());
        assert_eq!(nobodys.count(), 44);
    }

    #[test]
    fn every_call_is_in_the_table_once_with_a_name_of_its_own() {
        let mut names: Vec<_> = Call::ALL.into_iter().map(Call::name).collect();
        let mut sorted = Call::ALL.to_vec();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted, Call::ALL);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Call::ALL.len());
    }

    #[test]
    fn amazon_has_no_gaps_and_compliance_has_fewer() {
        for role in Role::ALL {
            for call in Call::ALL {
                assert_eq!(gap(Server::Aws, role, call, LockMode::Governance), None);
                if expected(role, call) == Expected::Allowed {
                    assert_eq!(gap(Server::Minio, role, call, LockMode::Governance), None);
                }
            }
        }
        let unlock = |mode| gap(Server::Minio, Role::Snapshotter, Call::Unlock, mode);
        assert!(unlock(LockMode::Governance).is_some());
        assert!(unlock(LockMode::Compliance).is_none());
        assert_eq!(Server::named("AmazonS3", false), Server::Aws);
        assert_eq!(Server::named("MinIO", true), Server::Minio);
        assert_eq!(Server::named("AmazonS3", true), Server::Other);
    }
}
