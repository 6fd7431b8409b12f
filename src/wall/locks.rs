//! Judges a server's locks by what became of two objects that were locked for the test.

use super::lint::{Finding, Severity, spelled};
use crate::format::LockMode;
use crate::ids::Timestamp;

/// What became of the objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockProbe {
    /// The mode that was asked for.
    pub mode: LockMode,
    /// Whether the object that was put with a lock has it.
    pub put: Locked,
    /// Whether a copy that the server made with a lock has it.
    pub copy: Locked,
    /// The locked object version could be deleted.
    pub deleted: bool,
    /// The lock could be made shorter.
    pub shortened: bool,
    /// The lock could be made shorter by asking for GOVERNANCE to be bypassed.
    pub bypassed: bool,
    /// What could not be taken away again, and until when it is locked.
    pub left: Vec<(String, Timestamp)>,
}

/// The result of asking for a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locked {
    /// It is locked as asked.
    Yes,
    /// The object is there, and not locked as asked.
    Ignored,
    /// The call was refused; what the server said.
    Refused(String),
    /// It was not asked for.
    NotTried,
}

/// What a server's locks are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strength {
    /// They hold.
    Holds,
    /// They hold against everyone who may not bypass GOVERNANCE, if the server asks for that right, which is not known.
    Bypassable,
    /// There are none, or they protect nothing.
    None,
}

impl LockProbe {
    /// A probe that was not made, of a vault without locks.
    pub fn untried() -> Self {
        Self {
            mode: LockMode::None,
            put: Locked::NotTried,
            copy: Locked::NotTried,
            deleted: false,
            shortened: false,
            bypassed: false,
            left: Vec::new(),
        }
    }
}

/// The strength of the locks, and the findings; `on_aws` where the server is Amazon's.
///
/// Amazon asks for `s3:BypassGovernanceRetention` besides the right to change a lock. `MinIO` does not: there, anyone who
/// may extend a lock of GOVERNANCE may also shorten it, and any user, also one without a policy, can remove it by setting
/// an empty one and asking for the bypass. With an owner's keys the two look the same, so the worse is assumed of every
/// server but Amazon's.
pub fn judge(probe: &LockProbe, on_aws: bool) -> (Strength, Vec<Finding>) {
    let mut findings = Vec::new();
    let mut add = |severity, what: String, remedy: &str| {
        findings.push(Finding {
            severity,
            check: "lock-probe",
            what,
            remedy: remedy.to_owned(),
        });
    };
    let mode = spelled(probe.mode);
    let none = match &probe.put {
        Locked::NotTried => return (Strength::None, findings),
        Locked::Refused(why) => Some(format!(
            "a put with a lock of mode {mode} is refused: {why}"
        )),
        Locked::Ignored => Some("a lock is asked for, and the object is not locked".to_owned()),
        Locked::Yes if probe.deleted => Some("a locked object version can be deleted".to_owned()),
        Locked::Yes if probe.shortened => Some(format!("a lock of mode {mode} can be shortened")),
        Locked::Yes if probe.bypassed && probe.mode == LockMode::Compliance => {
            Some("a lock of mode COMPLIANCE can be shortened".to_owned())
        }
        Locked::Yes => None,
    };
    if let Some(what) = none {
        add(
            Severity::Breach,
            what,
            "name a bucket with Object Lock, on a server that keeps it; without locks: --no-lock",
        );
        return (Strength::None, findings);
    }
    match &probe.copy {
        Locked::Yes | Locked::NotTried => {}
        Locked::Ignored => add(
            Severity::Warning,
            "a copy that the server makes does not get the lock that is asked for".to_owned(),
            "use a server whose copies are locked at once: here each is only locked by a further call",
        ),
        Locked::Refused(why) => add(
            Severity::Warning,
            format!("a copy with a lock is refused: {why}"),
            "let this identity s3:GetObject and s3:PutObject with s3:PutObjectRetention under the vault's prefix",
        ),
    }
    let strength = if probe.bypassed && !on_aws {
        add(
            Severity::Warning,
            "GOVERNANCE can be shortened here by whoever may extend it: the server may not ask for \
             s3:BypassGovernanceRetention (MinIO does not, and lets any user take such a lock off)"
                .to_owned(),
            "COMPLIANCE holds here: --mode compliance",
        );
        Strength::Bypassable
    } else {
        if probe.bypassed {
            add(
                Severity::Note,
                "this identity may bypass GOVERNANCE".to_owned(),
                "let none of the roles have s3:BypassGovernanceRetention: `deltavault wall check --role ROLE`",
            );
        }
        Strength::Holds
    };
    for (key, until) in &probe.left {
        let until = until.strftime("%Y-%m-%d %H:%MZ");
        add(
            Severity::Note,
            format!("the probe {key} stays, locked until {until}"),
            "nothing: a vault ignores it",
        );
    }
    (strength, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(mode: LockMode) -> LockProbe {
        LockProbe {
            mode,
            put: Locked::Yes,
            copy: Locked::Yes,
            ..LockProbe::untried()
        }
    }

    /// A line has a name, the mode, what differs from a sound probe, whether Amazon was asked, the strength of the locks,
    /// and the worst finding.
    macro_rules! cases {
        ($($name:literal: $mode:ident $($field:ident = $value:expr),*;
            on_aws = $on_aws:literal => $strength:ident $worst:expr;)+) => {
            [$(($name, LockProbe { $($field: $value,)* ..sound($mode) }, $on_aws, Strength::$strength, $worst),)+]
        };
    }

    #[test]
    fn locks_are_worth_what_became_of_the_objects() {
        use LockMode::{Compliance, Governance};
        use Locked::Ignored;
        use Severity::{Breach, Note, Warning};
        let refused = || Locked::Refused("InvalidRequest".to_owned());
        let left = || vec![("blobs/probe/x".to_owned(), Timestamp::UNIX_EPOCH)];
        let cases = cases! {
            "sound": Governance; on_aws = false => Holds None;
            "sound": Compliance; on_aws = true => Holds None;
            "ignored": Governance put = Ignored; on_aws = true => None Some(Breach);
            "refused": Governance put = refused(); on_aws = true => None Some(Breach);
            "deletable": Compliance deleted = true; on_aws = true => None Some(Breach);
            "shortened": Governance shortened = true; on_aws = true => None Some(Breach);
            "compliance bypassed": Compliance bypassed = true; on_aws = true => None Some(Breach);
            "an owner on Amazon": Governance bypassed = true; on_aws = true => Holds Some(Note);
            "an owner elsewhere": Governance bypassed = true; on_aws = false => Bypassable Some(Warning);
            "copies unlocked": Governance copy = Ignored; on_aws = false => Holds Some(Warning);
            "something stays": Compliance left = left(); on_aws = false => Holds Some(Note);
        };
        let untried = ("untried", LockProbe::untried(), true, Strength::None, None);
        for (name, probe, on_aws, strength, worst) in cases.into_iter().chain([untried]) {
            let (found, findings) = judge(&probe, on_aws);
            assert_eq!(found, strength, "{name}");
            let severities = findings.iter().map(|finding| finding.severity);
            assert_eq!(severities.max(), worst, "{name}");
        }
    }
}
