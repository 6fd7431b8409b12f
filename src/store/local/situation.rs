//! Maps errors of the operating system to situations of the store; nothing else reads errno.

use std::io;

use rustix::io::Errno;

use crate::store::StoreErrorKind;

impl From<io::Error> for StoreErrorKind {
    fn from(error: io::Error) -> Self {
        let detail = error.to_string();
        let Some(errno) = Errno::from_io_error(&error) else {
            return Self::Io { detail };
        };
        match errno {
            // A file in the place of a folder means, like an absent folder, that the object is not there. A put checks
            // its folders first and reports more.
            Errno::NOENT | Errno::NOTDIR | Errno::ISDIR => Self::NotFound,
            Errno::EXIST => Self::AlreadyExists,
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace,
            Errno::ROFS => Self::ReadOnly,
            Errno::ACCESS | Errno::PERM => Self::Denied { detail },
            Errno::NAMETOOLONG => Self::InvalidKey {
                reason: "it, or a part of it, is too long for this file system",
            },
            Errno::ILSEQ => Self::InvalidKey {
                reason: "this file system cannot spell it",
            },
            Errno::LOOP => Self::InvalidKey {
                reason: "symbolic links lead in a circle",
            },
            Errno::FBIG | Errno::NOSYS | Errno::OPNOTSUPP => Self::Unsupported { reason: detail },
            Errno::INTR => Self::Interrupted,
            _ => Self::Io { detail },
        }
    }
}

impl From<Errno> for StoreErrorKind {
    fn from(errno: Errno) -> Self {
        io::Error::from(errno).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_becomes_the_situation_a_caller_can_act_on() {
        let cases = [
            (Errno::NOENT, "no such object"),
            (Errno::NOTDIR, "no such object"),
            (Errno::EXIST, "the object exists already"),
            (Errno::NOSPC, "no space left on the device"),
            (Errno::DQUOT, "no space left on the device"),
            (Errno::ROFS, "the store is read-only"),
            (Errno::INTR, "interrupted before an answer came"),
        ];
        for (errno, said) in cases {
            assert_eq!(StoreErrorKind::from(errno).to_string(), said, "{errno:?}");
        }
        let denied = StoreErrorKind::from(Errno::ACCESS).to_string();
        assert!(denied.starts_with("permission denied: "), "{denied}");
        assert!(matches!(
            StoreErrorKind::from(Errno::IO),
            StoreErrorKind::Io { .. }
        ));
    }
}
