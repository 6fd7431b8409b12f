//! What becomes an error of the command line, and how one of ours comes back through the library.

use deltavault::Error;
use deltavault::delta::LogError;
use deltavault::delta::path::PathError;
use deltavault::error::RestoreError;
use deltavault::format::FormatError;
use deltavault::format::ledger::LedgerError;
use deltavault::iam::IamError;
use deltavault::ids::InvalidId;
use deltavault::plan::choose::ChooseError;
use deltavault::plan::retention::RetentionError;
use deltavault::sort::SortError;
use deltavault::store::StoreError;

use super::CommandError;
use crate::cli::command::{CommitError, DemoError, TurnError};

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        let Error::Caller(error) = error else {
            return Self::Library(Box::new(error));
        };
        // It went through the library.
        match error.downcast() {
            Ok(own) => *own,
            Err(other) => Self::Library(Box::new(Error::Caller(other))),
        }
    }
}

impl From<CommandError> for Error {
    fn from(error: CommandError) -> Self {
        if let CommandError::Library(error) = error {
            return *error;
        }
        Self::Caller(Box::new(error))
    }
}

/// Errors of the library's modules are the library's.
macro_rules! of_library {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Error::from(error).into()
            }
        })*
    };
}

of_library!(
    ChooseError,
    FormatError,
    InvalidId,
    LedgerError,
    LogError,
    PathError,
    RestoreError,
    RetentionError,
    SortError,
    StoreError,
);

macro_rules! boxed {
    ($($variant:ident($error:ty)),* $(,)?) => {
        $(impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self::$variant(Box::new(error))
            }
        })*
    };
}

boxed!(
    Demo(DemoError),
    Turn(TurnError),
    Iam(IamError),
    Commit(CommitError)
);
