//! Log files as a run reads them: each once, and only as it was listed.

use std::collections::HashMap;
use std::path::Path;

use super::failure::Failure;
use crate::delta::{LogError, LogFile};
use crate::error::Error;
use crate::ids::{Location, ObjectKey};
use crate::source::{Fetched, LOG_FILE_MAX, Source};
use crate::spool::Spooled;
use crate::store::Attributes;
use crate::vault::ahead::Bounds;

/// Log files read at a time, in order. Commits are small and many, and each is a request of its own.
pub(super) const LOG_FILES_AHEAD: Bounds = Bounds {
    count: 256,
    bytes: 32 * 1024 * 1024,
};

/// A log file that was already read in this run.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) attributes: Attributes,
    pub(super) spooled: Spooled,
}

pub(super) type Bodies = HashMap<ObjectKey, Body>;

/// Reads a log file that was listed; when it is another one by now, the version has to be pinned again.
pub(super) async fn read_listed(
    source: &Source,
    file: &LogFile,
    folder: &Path,
) -> Result<Fetched, Failure> {
    if file.size > LOG_FILE_MAX {
        let error = LogError::FileTooLarge {
            file: file.key.to_string(),
            size: file.size,
            limit: LOG_FILE_MAX,
        };
        return Err(Error::from(error).into());
    }
    let location = Location::Inside(file.key.clone());
    match source.fetch(&location, folder).await {
        Ok(fetched) if fetched.attributes.etag == file.etag => Ok(fetched),
        Err(error) if !error.is_not_found() => Err(error.into()),
        Ok(_) | Err(_) => Err(Failure::Moved {
            file: file.key.to_string(),
        }),
    }
}
