//! Scratch space of one run: bytes between being read from a table and being placed in the vault.
//!
//! A [`Scratch`] is a folder that goes away with the run; nothing in it is ever needed again after a crash, and [`sweep`]
//! removes those of killed runs. Nobody else may enter it, whatever the umask. A
//! [`Spool`] is one file in it that holds many log files one after another, so that a log of 100,000 commits
//! costs neither memory nor 100,000 temporary files.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};
use std::marker::PhantomData;
use std::os::unix::fs::{FileExt, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::reader::{ChunkReader, Length};
use futures::StreamExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt;

use crate::ids::Digest;
use crate::leftover;
use crate::sort::is_disk_full;
use crate::store::{ObjectReader, Payload, PayloadData, StoreError, StoreErrorKind};

/// Files above this many bytes wait in a temporary file instead of in memory.
///
/// Bounds a run's memory together with the number of files in flight.
pub const IN_MEMORY_LIMIT: u64 = 8 * 1024 * 1024;

/// How the names of scratch folders begin.
const SCRATCH: &str = "deltavault-scratch-";

/// The file in a scratch folder that is locked while a process uses it.
const IN_USE: &str = ".in-use";

/// How often a scratch folder is made again that another process took for abandoned before it was locked.
const ATTEMPTS: u32 = 5;

/// A temporary folder that is removed when the run ends.
#[derive(Debug)]
pub struct Scratch {
    // Dropped before the lock, so that nobody else sweeps it at the same time.
    dir: tempfile::TempDir,
    _in_use: Option<File>,
}

impl Scratch {
    /// Makes a new folder below `parent` that only its owner may enter.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create(parent: &Path) -> io::Result<Self> {
        let mut made = Self::try_create(parent);
        for _ in 1..ATTEMPTS {
            match &made {
                Err(error) if error.kind() == io::ErrorKind::NotFound && parent.is_dir() => {
                    made = Self::try_create(parent);
                }
                _ => break,
            }
        }
        made
    }

    fn try_create(parent: &Path) -> io::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(&format!("{SCRATCH}{}-", leftover::machine()))
            .permissions(Permissions::from_mode(0o700))
            .tempdir_in(parent)?;
        let path = dir.path().join(IN_USE);
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let in_use = if leftover::hold(&file)? {
            Some(file)
        } else {
            // Without a lock nobody may take it for abandoned.
            fs::remove_file(&path)?;
            None
        };
        Ok(Self {
            dir,
            _in_use: in_use,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the scratch folders below `parent` that killed runs of this user left on this machine. What cannot be removed
/// stays.
pub fn sweep(parent: &Path) {
    let Ok(now) = Scratch::create(parent).and_then(|own| fs::metadata(own.path())?.modified())
    else {
        return;
    };
    let begins = format!("{SCRATCH}{}-", leftover::machine());
    for folder in leftover::named(parent, &begins) {
        if let Some(claimed) = leftover::claim(&folder.join(IN_USE), now) {
            tracing::info!(folder = %folder.display(), "what a killed run left is removed");
            fs::remove_dir_all(&folder).ok();
            drop(claimed);
        }
    }
}

/// One file with many bodies in it.
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
    end: u64,
}

/// Where one body lies in a spool, and its digest.
#[derive(Debug, Clone)]
pub struct Spooled {
    file: Arc<File>,
    offset: u64,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the body.
    pub sha256: Digest,
}

impl Spool {
    /// Opens a spool in `scratch`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create(scratch: &Scratch) -> io::Result<Self> {
        Ok(Self {
            file: Arc::new(tempfile::tempfile_in(scratch.path())?),
            end: 0,
        })
    }

    /// Takes in a payload's bytes.
    ///
    /// # Errors
    /// What the operating system says, a full disk above all.
    pub fn append(&mut self, payload: &Payload) -> io::Result<Spooled> {
        let offset = self.end;
        match &payload.data {
            PayloadData::Bytes(bytes) => self.file.write_all_at(bytes, offset)?,
            PayloadData::File(path) => {
                let mut end = self.file.as_ref();
                end.seek(SeekFrom::Start(offset))?;
                io::copy(&mut File::open(path.as_ref())?, &mut end)?;
            }
        }
        self.end += payload.size;
        Ok(Spooled {
            file: Arc::clone(&self.file),
            offset,
            size: payload.size,
            sha256: payload.sha256,
        })
    }
}

impl Spooled {
    /// Reads the body as a stream.
    pub fn reader(&self) -> impl Read + Send + use<> {
        At {
            file: Arc::clone(&self.file),
            next: self.offset,
            end: self.offset + self.size,
        }
    }

    /// Makes the body a payload again: in memory up to `limit` bytes, else in a file of its own in `folder`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn payload(&self, limit: u64, folder: &Path) -> io::Result<Payload> {
        let data = if self.size <= limit {
            let mut bytes = Vec::new();
            self.reader().read_to_end(&mut bytes)?;
            PayloadData::Bytes(bytes.into())
        } else {
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            io::copy(&mut self.reader(), file.as_file_mut())?;
            PayloadData::File(Arc::new(file.into_temp_path()))
        };
        Ok(Payload {
            sha256: self.sha256,
            size: self.size,
            data,
        })
    }
}

/// Rows that wait on disk and come back as they went in.
#[derive(Debug)]
pub struct Rows<T> {
    file: BufWriter<File>,
    pushed: u64,
    row: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Rows<T> {
    /// Opens a file for them in `scratch`.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn create(scratch: &Scratch) -> io::Result<Self> {
        Ok(Self {
            file: BufWriter::new(tempfile::tempfile_in(scratch.path())?),
            pushed: 0,
            row: PhantomData,
        })
    }

    /// Takes in a row.
    ///
    /// # Errors
    /// What the operating system says, a full disk above all.
    pub fn push(&mut self, row: &T) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, row)?;
        self.pushed += 1;
        self.file.write_all(b"\n")
    }

    /// Reads the rows, exactly as many as were pushed.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(self) -> io::Result<impl Iterator<Item = io::Result<T>>> {
        let mut file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        let mut left = self.pushed;
        let mut rows = serde_json::Deserializer::from_reader(BufReader::new(file)).into_iter();
        Ok(std::iter::from_fn(move || match rows.next() {
            Some(row) => {
                left = left.saturating_sub(1);
                Some(row.map_err(io::Error::from))
            }
            None if left > 0 => {
                left = 0;
                Some(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            None => None,
        }))
    }
}

/// Reads an object to its end, hashing it on the way: in memory up to `limit` bytes, else into `folder`.
pub(crate) async fn collect(
    mut reader: ObjectReader,
    limit: u64,
    folder: &Path,
    uri: impl Fn() -> String,
) -> Result<Payload, StoreError> {
    let expected = reader.attributes.size;
    let failed_by = |kind| StoreError {
        action: "read",
        uri: uri(),
        kind,
    };
    let failed = |detail| failed_by(StoreErrorKind::Io { detail });
    let spooling = |error: io::Error| {
        if is_disk_full(&error) {
            failed_by(StoreErrorKind::NoScratchSpace)
        } else {
            failed(format!("temporary copy: {error}"))
        }
    };
    let mut hasher = Sha256::new();
    let mut size = 0_u64;
    let mut memory = Memory::new(expected.min(limit));
    let mut file = if expected > limit {
        let (file, path) = tempfile::NamedTempFile::new_in(folder)
            .map_err(spooling)?
            .into_parts();
        Some((tokio::fs::File::from_std(file), path))
    } else {
        None
    };
    while let Some(chunk) = reader.body.next().await {
        let chunk = chunk?;
        size += chunk.len() as u64;
        if size > expected {
            return Err(failed(format!(
                "the object has {expected} bytes, but more were sent"
            )));
        }
        hasher.update(&chunk);
        match &mut file {
            Some((file, _)) => file.write_all(&chunk).await.map_err(spooling)?,
            None => memory.push(chunk),
        }
    }
    if size < expected {
        return Err(failed(format!(
            "the object has {expected} bytes, but only {size} were sent"
        )));
    }
    let data = match file {
        Some((mut file, path)) => {
            file.flush().await.map_err(spooling)?;
            PayloadData::File(Arc::new(path))
        }
        None => PayloadData::Bytes(memory.into_bytes()),
    };
    Ok(Payload {
        sha256: Digest::from_hasher(hasher),
        size,
        data,
    })
}

/// A body in memory; one that comes in a single chunk is not copied.
struct Memory {
    capacity: usize,
    /// The first chunk, while it is the only one.
    first: Option<Bytes>,
    whole: BytesMut,
}

impl Memory {
    fn new(expected: u64) -> Self {
        Self {
            capacity: usize::try_from(expected).unwrap_or_default(),
            first: None,
            whole: BytesMut::new(),
        }
    }

    fn push(&mut self, chunk: Bytes) {
        if self.first.is_none() && self.whole.is_empty() {
            self.first = Some(chunk);
            return;
        }
        if let Some(first) = self.first.take() {
            self.whole.reserve(self.capacity);
            self.whole.extend_from_slice(&first);
        }
        self.whole.extend_from_slice(&chunk);
    }

    fn into_bytes(self) -> Bytes {
        self.first.unwrap_or_else(|| self.whole.freeze())
    }
}

struct At {
    file: Arc<File>,
    next: u64,
    end: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.next)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(part) = buffer.get_mut(..left) else {
            return Ok(0);
        };
        let n = self.file.read_at(part, self.next)?;
        self.next += n as u64;
        Ok(n)
    }
}

impl Length for Spooled {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for Spooled {
    type T = BufReader<Box<dyn Read + Send>>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        if start > self.size {
            return Err(ParquetError::EOF(format!(
                "offset {start} is past the end, {}",
                self.size
            )));
        }
        let reader = At {
            file: Arc::clone(&self.file),
            next: self.offset + start,
            end: self.offset + self.size,
        };
        Ok(BufReader::new(Box::new(reader)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start
            .checked_add(length as u64)
            .filter(|end| *end <= self.size);
        if end.is_none() {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} of {}",
                self.size
            )));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, self.offset + start)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn nobody_else_may_enter_a_scratch_folder_or_read_a_file_in_it() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(scratch.path()), 0o700);
        let mut spool = Spool::create(&scratch).unwrap();
        let body = spool.append(&Payload::from_bytes("body")).unwrap();
        let copy = body.payload(0, scratch.path()).unwrap();
        assert!(matches!(copy.data, PayloadData::File(_)));
        let files: Vec<_> = fs::read_dir(scratch.path()).unwrap().flatten().collect();
        assert_eq!(files.len(), 2, "the copy and the lock");
        for file in files {
            assert_eq!(mode(&file.path()), 0o600, "{}", file.path().display());
        }
    }

    /// A scratch folder of which the process was killed long ago.
    fn abandoned(parent: &Path) -> PathBuf {
        let Scratch {
            dir,
            _in_use: in_use,
        } = Scratch::create(parent).unwrap();
        fs::write(dir.path().join("body"), "bytes").unwrap();
        let file = in_use.unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        dir.keep()
    }

    #[test]
    fn what_killed_runs_left_is_swept_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path();
        let gone = abandoned(parent);
        let living = Scratch::create(parent).unwrap();
        let lock = File::open(living.path().join(IN_USE)).unwrap();
        lock.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        let Scratch {
            dir: young,
            _in_use: unlocked,
        } = Scratch::create(parent).unwrap();
        drop(unlocked);
        let young = young.keep();
        // Of another machine, of no machine, not a scratch folder at all.
        let name = gone.file_name().unwrap().to_str().unwrap();
        let kept = [
            parent.join(name.replace(leftover::machine(), "0123456789abcdef")),
            parent.join("deltavault-demo-x"),
            parent.join(format!("{SCRATCH}{}-no-lock", leftover::machine())),
        ];
        for (at, folder) in kept.iter().enumerate() {
            fs::rename(abandoned(parent), folder).unwrap();
            if at == 2 {
                fs::remove_file(folder.join(IN_USE)).unwrap();
            }
        }
        sweep(parent);
        assert!(!gone.exists());
        assert!(living.path().exists(), "a process uses it");
        assert!(young.exists(), "too young");
        for folder in kept {
            assert!(folder.join("body").exists(), "{}", folder.display());
        }
    }

    #[test]
    fn bodies_come_back_as_they_went_in() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let mut spool = Spool::create(&scratch).unwrap();
        let first = spool.append(&Payload::from_bytes("one")).unwrap();
        let second = spool.append(&Payload::from_bytes("second")).unwrap();
        let third = spool
            .append(&second.payload(2, scratch.path()).unwrap())
            .unwrap();
        let mut text = String::new();
        first.reader().read_to_string(&mut text).unwrap();
        third.reader().read_to_string(&mut text).unwrap();
        assert_eq!(text, "onesecond");
        assert_eq!(second.get_bytes(3, 3).unwrap(), "ond");
        assert!(
            second.get_bytes(4, 3).is_err(),
            "must not read into the next body"
        );
        assert_eq!(second.sha256, third.sha256);
    }

    #[test]
    fn rows_come_back_as_they_went_in_and_a_lost_one_is_an_error() {
        let scratch = Scratch::create(&std::env::temp_dir()).unwrap();
        let rows = |count: u64| {
            let mut rows = Rows::create(&scratch).unwrap();
            (0..count).for_each(|row| rows.push(&(row, "text".to_owned())).unwrap());
            rows
        };
        let read: io::Result<Vec<_>> = rows(1000).read().unwrap().collect();
        assert_eq!(read.unwrap().last(), Some(&(999, "text".to_owned())));
        let mut cut = rows(3);
        cut.file.flush().unwrap();
        cut.file.get_ref().set_len(11).unwrap();
        let read: Vec<_> = cut.read().unwrap().collect();
        assert_eq!(read.len(), 2);
        assert!(read[1].is_err());
    }
}
