//! How a process ends.

/// How a process ends. The order is the precedence: where several apply, the greatest wins, so
/// `codes.max()` is the code of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ExitCode {
    /// 0: done.
    #[default]
    Done,
    /// 3: done, with findings, or an RPO was missed.
    Findings,
    /// 4: nothing was done; the owner must choose.
    OwnerMustChoose,
    /// 5: some tables failed or a budget ran out, the rest is done.
    SomeFailed,
    /// 11: another writer won.
    AnotherWriterWon,
    /// 13: objects are in archive storage and still thawing.
    ThawPending,
    /// 10: there is no vault there.
    NoVault,
    /// 1: failed.
    Failed,
    /// 12: something in the vault is damaged.
    Damage,
    /// 2: the command line or the configuration is wrong; nothing was tried.
    Usage,
    /// 130: interrupted.
    Interrupted,
}

impl ExitCode {
    /// [`ExitCode::Findings`] where there is one, else [`ExitCode::Done`].
    pub fn findings_if(there_are: bool) -> Self {
        if there_are {
            Self::Findings
        } else {
            Self::Done
        }
    }

    /// The number that the process returns.
    pub fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Findings => 3,
            Self::OwnerMustChoose => 4,
            Self::SomeFailed => 5,
            Self::NoVault => 10,
            Self::AnotherWriterWon => 11,
            Self::Damage => 12,
            Self::ThawPending => 13,
            Self::Interrupted => 130,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_several_codes_apply_the_documented_one_wins() {
        use ExitCode as E;
        let documented = [
            E::Damage,
            E::Failed,
            E::NoVault,
            E::ThawPending,
            E::AnotherWriterWon,
            E::SomeFailed,
            E::OwnerMustChoose,
            E::Findings,
        ];
        for pair in documented.windows(2) {
            assert_eq!(pair[0].max(pair[1]), pair[0]);
        }
        assert_eq!(documented.map(E::number), [12, 1, 10, 13, 11, 5, 4, 3]);
    }
}
