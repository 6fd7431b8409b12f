//! One of our stores as `deltalake` uses it, which then needs no credentials and no client of its own.
//!
//! Keys are passed on literally: `deltalake` has already decoded the paths of the log. A listing is collected before it
//! is passed on, so this serves logs and small tables.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use deltalake::logstore::object_store::{
    self as foreign, CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, path::Path,
};
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};

use crate::delta::nesting::{Nesting, TOO_DEEP};
use crate::ids::{ObjectKey, ObjectVersion};
use crate::source::LOG_PREFIX;
use crate::store::{Attributes, Payload, ReadStore, RestoreStore, StoreError, StoreErrorKind};

/// How it names itself in errors.
const NAME: &str = "deltavault";

/// How often a table is listed. `deltalake` looks for a checkpoint by a listing of each thousand versions, from the newest
/// one down: a file named as version 2^63 would take it years.
const LISTINGS_MAX: usize = 1000;

/// The most bytes of one read, for which `deltalake` takes memory at once.
const READ_MAX: u64 = 256 * 1024 * 1024;

/// A store that `deltalake` may use.
#[derive(Debug, Clone)]
pub(super) struct SharedStore {
    read: Arc<dyn ReadStore>,
    write: Option<Arc<dyn RestoreStore>>,
    /// Listings so far.
    listings: Arc<AtomicUsize>,
}

impl SharedStore {
    /// For reading only.
    pub(super) fn read_only(store: Arc<dyn ReadStore>) -> Self {
        Self {
            read: store,
            write: None,
            listings: Arc::default(),
        }
    }

    /// For writing, too.
    pub(super) fn writable(store: Arc<dyn RestoreStore>) -> Self {
        Self {
            read: Arc::<dyn RestoreStore>::clone(&store),
            write: Some(store),
            listings: Arc::default(),
        }
    }

    fn writer(&self) -> Result<&dyn RestoreStore, Error> {
        self.write.as_deref().ok_or_else(|| not_supported("write"))
    }

    async fn get(&self, location: &Path, options: GetOptions) -> foreign::Result<GetResult> {
        let key = key_of(location)?;
        let version = options.version.clone().map(ObjectVersion);
        let failed = |error| to_foreign(location, error);
        if let (Some(GetRange::Bounded(range)), false) = (&options.range, options.head) {
            match self.get_range(&key, version.as_ref(), range.clone()).await {
                // The range may reach past the end and then means what there is.
                Err(error) if matches!(error.kind, StoreErrorKind::InvalidRange) => {}
                read => return checked(&options, location, read.map_err(failed)?),
            }
        }
        let found = self.read.attributes(&key, version.as_ref()).await;
        let found = found.map_err(failed)?;
        let range = match &options.range {
            None => 0..found.size,
            Some(range) => range.as_range(found.size).map_err(generic)?,
        };
        if options.head {
            let read = (found, range, stream::empty().boxed());
            return checked(&options, location, read);
        }
        let read = self.get_range(&key, version.as_ref(), range).await;
        checked(&options, location, read.map_err(failed)?)
    }

    async fn get_range(
        &self,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        range: Range<u64>,
    ) -> Result<Read, StoreError> {
        let (size, limit) = (range.end.saturating_sub(range.start), READ_MAX);
        if size > limit {
            let kind = StoreErrorKind::TooLarge { size, limit };
            return Err(StoreError::below(
                "read",
                self.read.uri(),
                key.as_str(),
                kind,
            ));
        }
        let reader = self.read.open(key, version, Some(range.clone())).await?;
        Ok((reader.attributes, range, reader.body))
    }

    async fn listed(
        self,
        prefix: String,
        after: Option<String>,
    ) -> foreign::Result<Vec<foreign::Result<ObjectMeta>>> {
        if self.listings.fetch_add(1, Ordering::Relaxed) >= LISTINGS_MAX {
            let reason = format!("it was listed {LISTINGS_MAX} times, and its log does not begin");
            let kind = StoreErrorKind::Unsupported { reason };
            return Err(generic(StoreError::below(
                "list",
                self.read.uri(),
                &prefix,
                kind,
            )));
        }
        let listing = self.read.list(&prefix, after.as_deref());
        let rows = listing.map_ok(|found| meta(&found)).try_collect().await;
        rows.map_err(generic)
    }

    fn list_from(
        &self,
        prefix: Option<&Path>,
        after: Option<&Path>,
    ) -> BoxStream<'static, foreign::Result<ObjectMeta>> {
        let after = after.map(|after| after.as_ref().to_owned());
        stream::once(self.clone().listed(below(prefix), after))
            .map_ok(stream::iter)
            .try_flatten()
            .boxed()
    }

    async fn delete(&self, location: &Path) -> foreign::Result<()> {
        let key = key_of(location)?;
        let failed = |error| to_foreign(location, error);
        let store = self.writer()?;
        let found = store.attributes(&key, None).await.map_err(failed)?;
        store.remove(&key, &found.etag).await.map_err(failed)
    }
}

/// An object's attributes, and a part of it that is on its way.
type Read = (
    Attributes,
    Range<u64>,
    BoxStream<'static, Result<bytes::Bytes, StoreError>>,
);

fn checked(options: &GetOptions, location: &Path, read: Read) -> foreign::Result<GetResult> {
    let (found, range, body) = read;
    let meta = ObjectMeta {
        location: location.clone(),
        ..meta(&found)?
    };
    options.check_preconditions(&meta)?;
    Ok(GetResult {
        // `deltalake` polls on after the end.
        payload: GetResultPayload::Stream(flat(&found.key, body.map_err(generic)).fuse().boxed()),
        meta,
        range,
        attributes: foreign::Attributes::default(),
    })
}

/// The bytes of an object, which end in an error where they are JSON that is nested too deep: `deltalake` calls itself for each
/// level, and nothing catches a stack that overflows. It reads each file of a log whole.
fn flat(
    key: &ObjectKey,
    body: impl Stream<Item = foreign::Result<bytes::Bytes>> + Send + 'static,
) -> impl Stream<Item = foreign::Result<bytes::Bytes>> + Send + 'static {
    let name = key.to_string();
    let is_json = name.starts_with(LOG_PREFIX) && !name.ends_with(".parquet");
    let mut nesting = is_json.then(Nesting::default);
    body.map(move |bytes| {
        let bytes = bytes?;
        if nesting.as_mut().is_some_and(|it| it.take(&bytes)) {
            return Err(generic(io::Error::other(format!("{name}: {TOO_DEEP}"))));
        }
        Ok(bytes)
    })
}

/// A prefix of whole segments.
fn below(prefix: Option<&Path>) -> String {
    match prefix.map(AsRef::as_ref) {
        None | Some("") => String::new(),
        Some(prefix) => format!("{prefix}/"),
    }
}

fn key_of(location: &Path) -> foreign::Result<ObjectKey> {
    location.as_ref().parse().map_err(generic)
}

fn meta(found: &Attributes) -> foreign::Result<ObjectMeta> {
    Ok(ObjectMeta {
        location: Path::parse(found.key.as_str())?,
        last_modified: SystemTime::from(found.last_modified).into(),
        size: found.size,
        e_tag: Some(found.etag.0.clone()),
        version: found.version.as_ref().map(|version| version.0.clone()),
    })
}

fn generic(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Generic {
        store: NAME,
        source: Box::new(error),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only these mean something to `deltalake`"
)]
fn to_foreign(location: &Path, error: StoreError) -> Error {
    let path = location.to_string();
    match error.kind {
        StoreErrorKind::NotFound => Error::NotFound {
            path,
            source: Box::new(error),
        },
        StoreErrorKind::AlreadyExists => Error::AlreadyExists {
            path,
            source: Box::new(error),
        },
        StoreErrorKind::Changed => Error::Precondition {
            path,
            source: Box::new(error),
        },
        StoreErrorKind::Denied { .. } => Error::PermissionDenied {
            path,
            source: Box::new(error),
        },
        _ => generic(error),
    }
}

fn not_supported(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: NAME.to_owned(),
    }
}

impl fmt::Display for SharedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NAME}({})", self.read.uri())
    }
}

#[async_trait]
impl ObjectStore for SharedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> foreign::Result<PutResult> {
        let key = key_of(location)?;
        let store = self.writer()?;
        let payload = Payload::from_bytes(bytes::Bytes::from(payload));
        let failed = |error| to_foreign(location, error);
        let written = match (store.put_new(&key, &payload, None).await, options.mode) {
            (Err(error), PutMode::Overwrite)
                if matches!(error.kind, StoreErrorKind::AlreadyExists) =>
            {
                let found = store.attributes(&key, None).await.map_err(failed)?;
                store.replace(&key, &payload, &found.etag).await
            }
            (_, PutMode::Update(_)) => return Err(not_supported("update")),
            (written, PutMode::Overwrite | PutMode::Create) => written,
        };
        let written = written.map_err(failed)?;
        Ok(PutResult {
            e_tag: Some(written.etag.0),
            version: written.version.map(|version| version.0),
        })
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> foreign::Result<Box<dyn MultipartUpload>> {
        Err(not_supported("write in parts"))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> foreign::Result<GetResult> {
        self.get(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, foreign::Result<Path>>,
    ) -> BoxStream<'static, foreign::Result<Path>> {
        let shared = self.clone();
        locations
            .and_then(move |location| {
                let shared = shared.clone();
                async move { shared.delete(&location).await.map(|()| location) }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, foreign::Result<ObjectMeta>> {
        self.list_from(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, foreign::Result<ObjectMeta>> {
        self.list_from(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> foreign::Result<ListResult> {
        let start = below(prefix);
        let mut found = ListResult {
            common_prefixes: Vec::new(),
            objects: Vec::new(),
        };
        let mut folders = BTreeSet::new();
        let mut listing = self.list_from(prefix, None);
        while let Some(object) = listing.try_next().await? {
            let key = object.location.as_ref();
            match key
                .strip_prefix(&start)
                .and_then(|rest| rest.split_once('/'))
            {
                Some((folder, _)) => {
                    folders.insert(format!("{start}{folder}"));
                }
                None => found.objects.push(object),
            }
        }
        for folder in folders {
            found.common_prefixes.push(Path::parse(folder)?);
        }
        Ok(found)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> foreign::Result<()> {
        Err(not_supported("copy"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::{append_night, make_table, read_rows, update_region, vacuum_now};
    use crate::ids::Version;
    use crate::reader::{TableStore, Verdict, judge};
    use crate::store::WriteStore as _;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_table_lives_in_a_store_as_it_does_in_a_folder() {
        let store = Arc::new(MemoryStore::new("s3://bucket/orders"));
        let table = TableStore::Writable(Arc::<MemoryStore>::clone(&store));
        let made = make_table(&table).await.unwrap();
        let rows = read_rows(&table, None).await.unwrap();
        assert_eq!(rows.checksum, "2c93e49ec42219a299d05650fd73a081");

        append_night(&table, 4).await.unwrap();
        update_region(&table, "south").await.unwrap();
        let vacuumed = vacuum_now(&table).await.unwrap();
        assert_eq!(vacuumed.deleted.len(), 7, "{:?}", vacuumed.deleted);
        assert!(read_rows(&table, Some(made)).await.is_err());
        assert_eq!(read_rows(&table, None).await.unwrap().count, 12_000);
        for gone in vacuumed.deleted {
            let key: ObjectKey = gone.parse().unwrap();
            assert!(store.attributes(&key, None).await.is_err(), "{gone}");
        }
        let judged = judge(&TableStore::ReadOnly(store), vacuumed.version, 7).await;
        let version = vacuumed.version;
        let files = Some(7);
        assert_eq!(judged, Verdict::Opens { version, files });
    }

    #[tokio::test]
    async fn a_read_only_store_is_not_written_to() {
        let store = Arc::new(MemoryStore::new("s3://bucket/orders"));
        let table = TableStore::ReadOnly(Arc::<MemoryStore>::clone(&store));
        make_table(&table).await.unwrap_err();
        let listed: Vec<_> = store.list("", None).try_collect().await.unwrap();
        assert!(listed.is_empty(), "{listed:?}");
        let judged = judge(&table, Version(0), 0).await;
        assert!(matches!(judged, Verdict::Refuses { .. }), "{judged:?}");
    }

    #[tokio::test]
    async fn ranges_and_folders_are_found_as_deltalake_asks_for_them() {
        let store = Arc::new(MemoryStore::new("s3://bucket/orders"));
        for key in ["a/b/c d%20", "a/bc", "ab"] {
            let payload = Payload::from_bytes(key.as_bytes().to_vec());
            let key = key.parse().unwrap();
            store.put_new(&key, &payload, None).await.unwrap();
        }
        let shared = SharedStore::read_only(store);
        let names = |paths: Vec<Path>| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = shared
            .list_with_delimiter(Some(&Path::from("a")))
            .await
            .unwrap();
        assert_eq!(names(found.common_prefixes), ["a/b"]);
        let objects = found.objects.into_iter().map(|object| object.location);
        assert_eq!(names(objects.collect()), ["a/bc"]);
        let after = Path::from("a/bc");
        let later = shared
            .list_with_offset(None, &after)
            .map_ok(|object| object.location);
        assert_eq!(names(later.try_collect().await.unwrap()), ["ab"]);

        let odd = Path::parse("a/b/c d%20").unwrap();
        for (range, expected) in [
            (GetRange::Bounded(2..4), "b/"),
            (GetRange::Bounded(8..99), "20"),
            (GetRange::Offset(5), " d%20"),
            (GetRange::Suffix(3), "%20"),
        ] {
            let options = GetOptions {
                range: Some(range.clone()),
                ..GetOptions::default()
            };
            let read = shared.get_opts(&odd, options).await.unwrap();
            assert_eq!(read.bytes().await.unwrap(), expected, "{range:?}");
        }
        let absent = shared
            .get_opts(&Path::from("x"), GetOptions::default())
            .await;
        assert!(matches!(absent, Err(Error::NotFound { .. })));
    }
}
