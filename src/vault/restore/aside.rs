//! Where a wrong file goes before it is replaced.
//!
//! Its name there is made from its own, and S3 gives a key 1,024 bytes: a file whose key leaves no room for more is put
//! under a short name, which is reported. The short name has 36 bytes, as many as the shortest name of a commit: below a
//! root that can hold a table, it always fits.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{OWN_PREFIX, Restorer};
use crate::error::{Error, RestoreError};
use crate::ids::{Digest, InvalidId, Location, ObjectKey};
use crate::source::Fetched;
use crate::store::Payload;

/// The bytes that S3 gives a key, the prefix of the root included.
const KEY_LIMIT: usize = 1024;

/// Digits of a short name.
const SHORT_DIGITS: usize = 18;

/// What is set aside goes by way of the temporary folder. A file of more bytes, in the place of one that has fewer, is no file of
/// a table: as a rule it takes no room where it lies, and all there is anywhere else.
const KEPT_AT_MOST: u64 = 8 << 30;

impl Restorer {
    /// Reads a wrong file that is to be set aside, in whose place `right` bytes belong.
    ///
    /// # Errors
    /// [`RestoreError::TooLargeToKeep`], and what the store says.
    pub(super) async fn fetch_to_keep(
        &self,
        key: &ObjectKey,
        right: u64,
        folder: &Path,
    ) -> Result<Fetched, Error> {
        let size = self.target.attributes(key, None).await?.size;
        if size > KEPT_AT_MOST.max(right.saturating_mul(2)) {
            let uri = format!("{}/{key}", self.target.uri());
            return Err(RestoreError::TooLargeToKeep { uri, size }.into());
        }
        let place = Location::Inside(key.clone());
        Ok(self.as_source().fetch(&place, folder).await?)
    }

    /// Puts the bytes of a wrong file where its owner finds them.
    pub(super) async fn set_aside(
        &self,
        key: &ObjectKey,
        wrong: &Payload,
        folder: &Path,
    ) -> Result<(), Error> {
        let (aside, is_short) = name_aside(self.target.uri(), key, wrong.sha256)?;
        if let Err(error) = self.target.put_new(&aside, wrong, None).await {
            let place = Location::Inside(aside.clone());
            self.is_there_already(error, &place, wrong, folder).await?;
        }
        if is_short {
            let (uri, name) = (self.target.uri(), key.as_str().escape_default());
            self.progress
                .note(&format!("{name} was set aside as {uri}/{aside}"));
        }
        Ok(())
    }
}

/// The name under which a wrong file is set aside below a root, and whether it is a short one. It is made from the
/// content too, so that a second wrong file of the same name finds a place of its own. The root's URI stands for its
/// prefix, and is a little longer.
fn name_aside(
    root: &str,
    key: &ObjectKey,
    content: Digest,
) -> Result<(ObjectKey, bool), InvalidId> {
    let readable = format!("{OWN_PREFIX}aside/{}/{key}", content.short());
    if root.len() + 1 + readable.len() <= KEY_LIMIT {
        return Ok((readable.parse()?, false));
    }
    let mut hasher = Sha256::new();
    hasher.update(content.as_bytes());
    hasher.update(key.as_str().as_bytes());
    let digits = Digest::from_hasher(hasher).to_string();
    let digits: String = digits.chars().take(SHORT_DIGITS).collect();
    Ok((format!("{OWN_PREFIX}aside/{digits}").parse()?, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_no_room_is_replaced_by_a_short_one_and_no_two_are_alike() {
        let content = Digest::of(b"wrong");
        let name = |root: &str, length: usize| {
            let key: ObjectKey = "k".repeat(length).parse().unwrap();
            name_aside(root, &key, content).unwrap()
        };
        let root = "s3://bucket/table";
        let longest_key = KEY_LIMIT - root.len() - 1 - "_deltavault/aside/12345678/".len();
        let (longest, is_short) = name(root, longest_key);
        assert_eq!(root.len() + 1 + longest.as_str().len(), KEY_LIMIT);
        assert!(!is_short && longest.as_str().ends_with("kkkk"));
        let (short, is_short) = name(root, longest_key + 1);
        assert!(is_short && !short.as_str().contains('k'), "{short}");
    }

    #[test]
    fn a_short_name_fits_wherever_a_commit_does() {
        let commit = "_delta_log/00000000000000000000.json".len();
        let key: ObjectKey = "k".repeat(1024).parse().unwrap();
        let short = |key: &ObjectKey, content: &[u8]| {
            let root = format!("s3://b/{}", "p".repeat(1024 - commit - 7));
            let (aside, is_short) = name_aside(&root, key, Digest::of(content)).unwrap();
            assert!(is_short && aside.as_str().len() <= commit, "{aside}");
            aside
        };
        let other: ObjectKey = "o".repeat(1024).parse().unwrap();
        assert_ne!(short(&key, b"1"), short(&key, b"2"));
        assert_ne!(short(&key, b"1"), short(&other, b"1"));
        assert_eq!(short(&key, b"1"), short(&key, b"1"));
    }
}
