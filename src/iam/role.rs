//! The roles of a vault, each with no more rights than its work needs.

use std::fmt;
use std::str::FromStr;

/// A role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Takes snapshots: creates locked objects and records; deletes nothing.
    Snapshotter,
    /// Restores tables; the only role that writes to a source.
    Restorer,
    /// Proves what is kept and locked, without reading the data of a table.
    Auditor,
    /// Reads everything in the vault.
    Verifier,
    /// Deletes, by object version, what no snapshot needs and no lock keeps.
    Pruner,
    /// Puts legal holds on snapshots, and takes them off.
    Holder,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [
        Self::Snapshotter,
        Self::Restorer,
        Self::Auditor,
        Self::Verifier,
        Self::Pruner,
        Self::Holder,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Snapshotter => "snapshotter",
            Self::Restorer => "restorer",
            Self::Auditor => "auditor",
            Self::Verifier => "verifier",
            Self::Pruner => "pruner",
            Self::Holder => "holder",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|role| role.as_str() == text);
        named.ok_or_else(|| {
            let all = Self::ALL.map(Self::as_str).join(", ");
            format!("the roles are {all}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_found_by_its_name_alone() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert!("Pruner".parse::<Role>().unwrap_err().contains("pruner"));
    }
}
