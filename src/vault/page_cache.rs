//! Manifest pages kept on this machine, so that a night need not fetch again what the last one wrote.
//!
//! Never needed and never believed: a page is named by its SHA-256, and what a folder holds under that name serves
//! only when its bytes have it. So a poisoned, stale or half-written folder changes no result, only how many requests
//! it takes; one that cannot be read or written is as good as none. It may be deleted at any moment, and several
//! processes may use it at once.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;

use crate::ids::Digest;

/// A folder of pages holds at most this many bytes after it was [trimmed](PageCache::trim): the pages of some ten
/// million files.
pub const PAGE_CACHE_LIMIT: u64 = 1024 * 1024 * 1024;

/// A folder of pages.
#[derive(Debug, Clone)]
pub struct PageCache {
    folder: PathBuf,
    limit: u64,
}

impl PageCache {
    /// Keeps pages in `folder`, which is made when the first page comes.
    pub fn new(folder: PathBuf) -> Self {
        Self::with_limit(folder, PAGE_CACHE_LIMIT)
    }

    /// As [`PageCache::new`], of another size.
    pub fn with_limit(folder: PathBuf, limit: u64) -> Self {
        Self { folder, limit }
    }

    /// The page of that SHA-256, if it is here; bytes that are not it are removed.
    pub(crate) fn read(&self, sha256: Digest, size: u64) -> Option<Bytes> {
        let path = self.path(sha256);
        // A planted pipe would block, a planted giant would not fit in memory.
        let is_right = fs::metadata(&path).ok()?;
        let bytes = if is_right.is_file() && is_right.len() == size {
            fs::read(&path).ok()?
        } else {
            Vec::new()
        };
        if Digest::of(&bytes) == sha256 {
            return Some(bytes.into());
        }
        tracing::info!(path = %path.display(), "a page kept on this machine is not what its name says");
        // Where it cannot be removed, it is not believed the next time either.
        fs::remove_file(&path).ok();
        None
    }

    /// Takes in a page; whether it could.
    pub(crate) fn keep(&self, sha256: Digest, bytes: &[u8]) -> bool {
        let kept = self.write(&self.path(sha256), bytes);
        if let Err(error) = &kept {
            tracing::debug!(%error, folder = %self.folder.display(), "a page is not kept on this machine");
        }
        kept.is_ok()
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.folder);
        // What a vault holds of private tables is not everybody's to read, whatever the umask.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        // Whole or not at all, for the others that read it; whether it outlasts a power cut does not matter.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        io::Write::write_all(&mut file, bytes)?;
        file.persist(path)?;
        Ok(())
    }

    fn path(&self, sha256: Digest) -> PathBuf {
        let name = sha256.to_string();
        self.folder.join(name.get(..2).unwrap_or("")).join(name)
    }

    /// Removes what was written longest ago until the folder is well below its limit.
    pub fn trim(&self) {
        let mut files = self.files();
        let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
        if total <= self.limit {
            return;
        }
        files.sort();
        for (_, size, path) in files {
            // A quarter is left free, so that not every run has to trim.
            if total <= self.limit - self.limit / 4 {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total = total.saturating_sub(size);
            }
        }
    }

    /// Every file with its time and size. What cannot be looked at is passed over.
    fn files(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
        let mut files = Vec::new();
        for folder in entries(&self.folder) {
            for file in entries(&folder.path()) {
                if let Ok(found) = file.metadata()
                    && found.is_file()
                {
                    let written = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                    files.push((written, found.len(), file.path()));
                }
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn body(number: u8) -> (Digest, Vec<u8>) {
        let bytes = vec![number; 1000];
        (Digest::of(&bytes), bytes)
    }

    #[test]
    fn a_page_comes_back_and_nothing_else_is_taken_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PageCache::new(folder.path().join("not/yet"));
        let (digest, bytes) = body(1);
        assert_eq!(cache.read(digest, 1000), None);
        assert!(cache.keep(digest, &bytes));
        assert_eq!(cache.read(digest, 1000).unwrap(), bytes);
        let path = cache.path(digest);
        for wrong in [&bytes[..999], &[2; 1000], &[2; 2000], b""] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(cache.read(digest, 1000), None);
            assert!(!path.exists(), "what is wrong goes");
            assert!(cache.keep(digest, &bytes));
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_eq!(cache.read(digest, 1000), None);
        assert!(!cache.keep(digest, &bytes));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_as_good_as_none() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let cache = PageCache::new(file.path().join("below-a-file"));
        let (digest, bytes) = body(1);
        assert!(!cache.keep(digest, &bytes));
        assert_eq!(cache.read(digest, 1000), None);
        cache.trim();
    }

    #[test]
    fn what_was_written_longest_ago_goes_first_once_there_is_too_much() {
        let folder = tempfile::tempdir().unwrap();
        let cache = PageCache::with_limit(folder.path().to_owned(), 4000);
        for number in 0..4 {
            let (digest, bytes) = body(number);
            assert!(cache.keep(digest, &bytes));
            let age = Duration::from_secs(100 - u64::from(number));
            let file = fs::File::open(cache.path(digest)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000) - age)
                .unwrap();
        }
        cache.trim();
        let there = |number| cache.read(body(number).0, 1000).is_some();
        assert!((0..4).all(there), "at the limit nothing goes");
        let (digest, bytes) = body(4);
        cache.keep(digest, &bytes);
        cache.trim();
        assert_eq!(
            (0..5).map(there).collect::<Vec<_>>(),
            [false, false, true, true, true]
        );
    }
}
