//! Where a path of the log points: percent-decoding, the spellings of one object, and the table's own root.
//!
//! A path in the log is a URI reference and is decoded exactly once; `+` stays `+`. One object has one [`Location`]
//! whatever its spelling: `s3`, `s3a` and `s3n` are one scheme, `/x`, `file:/x` and `file:///x` one file, and an
//! absolute URI below the table's own root is the same as the relative path.
//!
//! A colon alone makes no URI. By RFC 3986 `aa:bb.parquet` has the scheme `aa`, and a writer should spell such a name
//! `aa%3Abb.parquet` or `./aa:bb.parquet`; but Spark lets it pass (`DeltaTableUtils.safeConcatPaths`, delta PR#3153) and
//! `deltalake` lists it as a file of the table. So a path is absolute when it begins with `/`, with `scheme://`, or with
//! `scheme:/` where the scheme is one of [`SCHEMES`]; every other one is relative to the table's root. The kernels take
//! `aa:bb.parquet` for a URI and cannot read the file; no reader finds another file under such a path.
//!
//! `Inside` is a promise: the key has no segment that is empty, `.` or `..`, so it can be put below any other root. A
//! path that climbs out of the root with `..` resolves to the `Outside` URI that it reaches, never to a key; whether
//! to read such a file is the caller's policy. One that climbs past the bucket or the file system's root is an error.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::ids::{InvalidId, Location};
use crate::visible::shortened;

/// How many characters of a path a message shows.
pub(super) const SHOWN: usize = 300;

/// A path or vector name of the log that points nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// The decoded path is not UTF-8.
    #[error("path {:?} does not decode to UTF-8", shortened(path, SHOWN))]
    NotUtf8 {
        /// The path as the log spells it.
        path: String,
    },
    /// The path is not a key: empty, too long, or with a NUL.
    #[error("path {:?} is not an object's name", shortened(path, SHOWN))]
    NotAKey {
        /// The path as the log spells it.
        path: String,
        /// The rule it breaks.
        #[source]
        source: InvalidId,
    },
    /// The path names a file of the log, or of a restore's own folder.
    #[error("path {:?} is in a folder that holds no data", shortened(path, SHOWN))]
    Reserved {
        /// The path as the log spells it.
        path: String,
    },
    /// The path climbs past the bucket or the file system's root.
    #[error(
        "path {:?} climbs out of its bucket or file system",
        shortened(path, SHOWN)
    )]
    ClimbsOut {
        /// The path as the log spells it.
        path: String,
    },
    /// A table's root is neither an absolute URI nor an absolute path.
    #[error("table root {uri:?} is not absolute")]
    RelativeRoot {
        /// The root.
        uri: String,
    },
    /// A deletion vector's file is not named by a UUID in Z85.
    #[error(
        "deletion vector {:?} does not end in a UUID in Z85",
        shortened(text, SHOWN)
    )]
    VectorName {
        /// `pathOrInlineDv`.
        text: String,
    },
    /// A deletion vector is stored in a way that is not known.
    #[error(
        "deletion vector storage type {:?} is not known",
        shortened(storage, SHOWN)
    )]
    VectorStorage {
        /// `storageType`.
        storage: String,
    },
}

/// Schemes under which tables are kept, by Hadoop's file systems and by the object stores of other readers.
pub const SCHEMES: &[&str] = &[
    "abfs", "abfss", "adl", "adls", "alluxio", "az", "azure", "bos", "cos", "cosn", "dbfs", "file",
    "ftp", "gcs", "gs", "har", "hdfs", "http", "https", "jfs", "local", "memory", "o3fs", "obs",
    "oci", "ofs", "oss", "r2", "s3", "s3a", "s3n", "sftp", "swebhdfs", "swift", "tos", "viewfs",
    "wasb", "wasbs", "webhdfs",
];

/// Whether a path of the log is absolute: readers go where it says, wherever the log itself lies.
pub fn is_absolute(raw: &str) -> bool {
    Uri::of_log(raw).is_some()
}

/// The root of a table, against which the paths of its log are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRoot(Uri<'static>);

impl TableRoot {
    /// Takes the root as a store gives it: **literal**, nothing percent-encoded, with or without a trailing slash.
    /// `s3a` and `s3n` are `s3`; a plain absolute path is a `file` URI.
    ///
    /// # Errors
    /// [`PathError::RelativeRoot`].
    pub fn new(uri: &str) -> Result<Self, PathError> {
        let mut root = Uri::split(uri).ok_or_else(|| PathError::RelativeRoot {
            uri: uri.to_owned(),
        })?;
        root.path = Cow::Owned(root.path.trim_end_matches('/').to_owned());
        Ok(Self(root.into_owned()))
    }

    /// Where a path of an `add`, a `remove`, a `cdc` or a deletion vector of storage type `p` points.
    ///
    /// # Errors
    /// When it points nowhere; see [`PathError`].
    pub fn resolve(&self, raw: &str) -> Result<Location, PathError> {
        let decode = |text| {
            percent_decode_str(text)
                .decode_utf8()
                .map_err(|_| PathError::NotUtf8 {
                    path: raw.to_owned(),
                })
        };
        let Some(uri) = Uri::of_log(raw) else {
            return self.relative(&decode(raw)?, raw);
        };
        let path = decode(&uri.path)?;
        let path = without_dots(&path).ok_or_else(|| PathError::ClimbsOut {
            path: raw.to_owned(),
        })?;
        self.absolute(&uri.authority, &path, raw)
    }

    /// Where the file of a deletion vector is; `None` for an inline one, whose text is not looked at.
    ///
    /// # Errors
    /// [`PathError::VectorName`], [`PathError::VectorStorage`], and as [`TableRoot::resolve`].
    pub fn resolve_vector(
        &self,
        storage: &str,
        path_or_inline: &str,
    ) -> Result<Option<Location>, PathError> {
        match storage {
            "i" => Ok(None),
            "p" => self.resolve(path_or_inline).map(Some),
            "u" => {
                let name = vector_file(path_or_inline).ok_or_else(|| PathError::VectorName {
                    text: path_or_inline.to_owned(),
                })?;
                // The prefix is a folder's literal name, not a URI: it is not decoded.
                self.relative(&name, path_or_inline).map(Some)
            }
            _ => Err(PathError::VectorStorage {
                storage: storage.to_owned(),
            }),
        }
    }

    fn relative(&self, path: &str, raw: &str) -> Result<Location, PathError> {
        let mut climbs = 0_usize;
        let mut segments = Vec::new();
        for segment in path.split('/') {
            match segment {
                "" | "." => {}
                ".." => climbs += usize::from(segments.pop().is_none()),
                segment => segments.push(segment),
            }
        }
        if climbs == 0 {
            return inside(&segments, raw);
        }
        let mut above = self.0.path.as_ref();
        for _ in 0..climbs {
            (above, _) = above.rsplit_once('/').ok_or_else(|| PathError::ClimbsOut {
                path: raw.to_owned(),
            })?;
        }
        let path = format!("{above}/{}", segments.join("/"));
        self.absolute(&self.0.authority, &path, raw)
    }

    fn absolute(&self, authority: &str, path: &str, raw: &str) -> Result<Location, PathError> {
        let below = (authority == self.0.authority)
            .then(|| path.strip_prefix(self.0.path.as_ref())?.strip_prefix('/'))
            .flatten();
        match below {
            Some(below) => {
                let segments: Vec<_> = below.split('/').filter(|part| !part.is_empty()).collect();
                inside(&segments, raw)
            }
            None => Ok(Location::Outside(format!("{authority}{path}"))),
        }
    }
}

/// An absolute URI: everything that is not the path (`s3://bucket`, `file:`), and the path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Uri<'a> {
    authority: Cow<'a, str>,
    path: Cow<'a, str>,
}

impl<'a> Uri<'a> {
    /// What a path of the log is; `None` for a relative one.
    fn of_log(raw: &'a str) -> Option<Self> {
        let uri = Self::split(raw)?;
        let is_known = |scheme: &str| {
            let known = SCHEMES.iter();
            known
                .copied()
                .any(|known| known.eq_ignore_ascii_case(scheme))
        };
        let is_uri = raw.starts_with('/')
            || raw.split_once(':').is_some_and(|(scheme, rest)| {
                rest.starts_with("//") || (rest.starts_with('/') && is_known(scheme))
            });
        is_uri.then_some(uri)
    }

    /// What an absolute URI or path is made of; `None` where there is neither a scheme nor a leading slash.
    fn split(raw: &'a str) -> Option<Self> {
        if raw.starts_with('/') {
            return Some(Self {
                authority: Cow::Borrowed("file:"),
                path: Cow::Borrowed(raw),
            });
        }
        let (scheme, rest) = raw.split_once(':')?;
        let mut letters = scheme.chars();
        if !letters.next()?.is_ascii_alphabetic()
            || !letters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '.' | '-'))
        {
            return None;
        }
        let scheme = match scheme.to_ascii_lowercase() {
            alias if alias == "s3a" || alias == "s3n" => "s3".to_owned(),
            scheme => scheme,
        };
        let Some(rest) = rest.strip_prefix("//") else {
            return Some(Self {
                authority: Cow::Owned(format!("{scheme}:")),
                path: Cow::Borrowed(rest),
            });
        };
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Some(Self {
            authority: Cow::Owned(match host {
                "" => format!("{scheme}:"),
                host => format!("{scheme}://{host}"),
            }),
            path: Cow::Borrowed(if path.is_empty() { "/" } else { path }),
        })
    }

    fn into_owned(self) -> Uri<'static> {
        Uri {
            authority: Cow::Owned(self.authority.into_owned()),
            path: Cow::Owned(self.path.into_owned()),
        }
    }
}

/// Folders of a table that hold no file of its data: the log, and what a restore keeps for itself.
const RESERVED: [&str; 2] = ["_delta_log", "_deltavault"];

fn inside(segments: &[&str], raw: &str) -> Result<Location, PathError> {
    if segments
        .first()
        .is_some_and(|first| RESERVED.contains(first))
    {
        return Err(PathError::Reserved {
            path: raw.to_owned(),
        });
    }
    segments
        .join("/")
        .parse()
        .map(Location::Inside)
        .map_err(|source| PathError::NotAKey {
            path: raw.to_owned(),
            source,
        })
}

/// Resolves `.` and `..` in an absolute path and leaves empty segments, which S3 tells apart, alone. `None` when it
/// climbs past the start.
fn without_dots(path: &str) -> Option<Cow<'_, str>> {
    if !path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Some(Cow::Borrowed(path));
    }
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "." => {}
            // The first segment is the empty one before the leading slash, which is not to be climbed over.
            ".." if segments.len() < 2 => return None,
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    Some(Cow::Owned(segments.join("/")))
}

/// The alphabet of `ZeroMQ`'s Z85, <https://rfc.zeromq.org/spec/32/>.
const Z85: &str =
    "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// Characters that 16 bytes take in Z85.
const ENCODED_UUID: usize = 20;

/// The path of a vector's file: a prefix, which is a folder, and the UUID that ends the text.
fn vector_file(text: &str) -> Option<String> {
    let (prefix, encoded) = text.split_at_checked(text.len().checked_sub(ENCODED_UUID)?)?;
    let mut bytes = [0; 16];
    for (out, digits) in bytes
        .chunks_exact_mut(4)
        .zip(encoded.as_bytes().chunks_exact(5))
    {
        let mut word = 0_u32;
        for &digit in digits {
            let value = Z85.bytes().position(|letter| letter == digit)?;
            word = word
                .checked_mul(85)?
                .checked_add(u32::try_from(value).ok()?)?;
        }
        out.copy_from_slice(&word.to_be_bytes());
    }
    let uuid = uuid::Uuid::from_bytes(bytes);
    Some(match prefix {
        "" => format!("deletion_vector_{uuid}.bin"),
        prefix => format!("{prefix}/deletion_vector_{uuid}.bin"),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn root(uri: &str) -> TableRoot {
        TableRoot::new(uri).unwrap()
    }

    fn key(text: &str) -> Location {
        Location::Inside(text.parse().unwrap())
    }

    fn uri(text: &str) -> Location {
        Location::Outside(text.to_owned())
    }

    #[test]
    fn relative_paths_are_decoded_once_and_tidied() {
        let root = root("s3://lake/t");
        for (raw, expected) in [
            ("a.parquet", "a.parquet"),
            ("p=%252521/a+b%20c.parquet", "p=%2521/a+b c.parquet"),
            ("p=%C3%A4%2F%E4%BD%A0/a", "p=ä/你/a"),
            ("p=ä/a", "p=ä/a"),
            ("100%/%zz/a", "100%/%zz/a"),
            ("a//b/./c/../d/", "a/b/d"),
            ("ts=2020-01-01 00:00:00/a", "ts=2020-01-01 00:00:00/a"),
        ] {
            assert_eq!(root.resolve(raw).unwrap(), key(expected), "{raw}");
        }
    }

    #[test]
    fn a_colon_makes_a_uri_only_with_slashes_or_a_known_scheme() {
        let root = root("s3://lake/t");
        for (raw, expected) in [
            ("aa:bb.parquet", "aa:bb.parquet"),
            ("aa%3Abb.parquet", "aa:bb.parquet"),
            ("./aa:bb.parquet", "aa:bb.parquet"),
            ("p:q/aa:bb/c:d.parquet", "p:q/aa:bb/c:d.parquet"),
            ("aa:/bb.parquet", "aa:/bb.parquet"),
            ("aa:%2F%2Fbb.parquet", "aa:/bb.parquet"),
            ("p-2026-01-01T00:00:00Z", "p-2026-01-01T00:00:00Z"),
            ("a+b.c-d:e", "a+b.c-d:e"),
            ("file:bb.parquet", "file:bb.parquet"),
            ("s3:", "s3:"),
            ("aa:", "aa:"),
            ("aa:../b", "aa:../b"),
            (":b", ":b"),
        ] {
            assert_eq!(root.resolve(raw).unwrap(), key(expected), "{raw}");
            assert!(!is_absolute(raw), "{raw}");
        }
        for (raw, expected) in [
            ("file:/x", "file:/x"),
            ("FILE:///x", "file:/x"),
            ("dbfs:/mnt/x", "dbfs:/mnt/x"),
            ("hdfs:/x", "hdfs:/x"),
            ("abfss://c@a.dfs.net/x", "abfss://c@a.dfs.net/x"),
            ("invented://host/x", "invented://host/x"),
            ("s3a://lake/other/x", "s3://lake/other/x"),
        ] {
            assert_eq!(root.resolve(raw).unwrap(), uri(expected), "{raw}");
            assert!(is_absolute(raw), "{raw}");
        }
        assert_eq!(
            root.resolve_vector("p", "aa:bb.bin").unwrap(),
            Some(key("aa:bb.bin"))
        );
    }

    #[test]
    fn one_object_has_one_location_whatever_its_spelling() {
        let lake = root("s3a://lake/t/");
        for raw in [
            "x y",
            "x%20y",
            "./x%20y",
            "s3://lake/t/x y",
            "s3a://lake/t/x%20y",
            "S3N://lake/t//x%20y",
            "s3://lake/u/../t/x y",
            "../t/x y",
        ] {
            assert_eq!(lake.resolve(raw).unwrap(), key("x y"), "{raw}");
        }
        for raw in [
            "s3://lake/tt/x",
            "s3n://lake/tt/x",
            "../tt/x",
            "s3a://lake/t/../tt/./x",
        ] {
            assert_eq!(lake.resolve(raw).unwrap(), uri("s3://lake/tt/x"), "{raw}");
        }
        let disk = root("file:///data/t");
        for raw in [
            "/other/x%20y",
            "file:/other/x y",
            "file:///other/x%20y",
            "../../other/x y",
        ] {
            assert_eq!(disk.resolve(raw).unwrap(), uri("file:/other/x y"), "{raw}");
        }
        assert_eq!(root("/data/t").resolve("file:/data/t/x").unwrap(), key("x"));
        assert_eq!(root("s3://lake").resolve("s3a://lake/x").unwrap(), key("x"));
        for other in ["abfss://c@a.net/x", "file://host/data/t/x"] {
            assert_eq!(disk.resolve(other).unwrap(), uri(other));
        }
    }

    #[test]
    fn roots_are_literal_and_paths_are_not() {
        let root = root("file:///data/50%25");
        assert_eq!(root.resolve("/data/50%2525/x").unwrap(), key("x"));
        assert_eq!(
            root.resolve("/data/50%25/x").unwrap(),
            uri("file:/data/50%/x")
        );
        assert!(matches!(
            TableRoot::new("t"),
            Err(PathError::RelativeRoot { .. })
        ));
    }

    #[test]
    fn path_that_climbs_reaches_outside_and_no_further_than_the_bucket() {
        let root = root("s3://lake/a/t");
        assert_eq!(root.resolve("../../x").unwrap(), uri("s3://lake/x"));
        assert_eq!(root.resolve("%2e%2e/x").unwrap(), uri("s3://lake/a/x"));
        for raw in [
            "../../../x",
            "s3://lake/../x",
            "s3://lake/a/../../x",
            "/../x",
        ] {
            let error = root.resolve(raw).unwrap_err();
            assert!(
                matches!(error, PathError::ClimbsOut { .. }),
                "{raw}: {error}"
            );
        }
    }

    #[test]
    fn paths_that_name_nothing_are_refused() {
        let root = root("s3://lake/t");
        for raw in ["", ".", "a/..", "%00", "s3://lake/t/", &"x".repeat(1025)] {
            let error = root.resolve(raw).unwrap_err();
            assert!(matches!(error, PathError::NotAKey { .. }), "{raw}: {error}");
        }
        let error = root.resolve("%ff").unwrap_err();
        assert!(matches!(error, PathError::NotUtf8 { .. }), "{error}");
    }

    #[test]
    fn vectors_are_found_by_storage_type() {
        let root = root("s3://lake/t");
        // The example of the protocol's section on deletion vectors.
        let file = "deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin";
        let found = |storage: &str, text: &str| root.resolve_vector(storage, text).unwrap();
        for (prefix, expected) in [
            ("", key(file)),
            ("ab", key(&format!("ab/{file}"))),
            ("a%20b", key(&format!("a%20b/{file}"))),
            ("..", uri(&format!("s3://lake/{file}"))),
        ] {
            let text = format!("{prefix}^-aqEH.-t@S}}K{{vb[*k^");
            assert_eq!(found("u", &text), Some(expected));
        }
        assert_eq!(found("p", "s3://lake/t/dv%20.bin"), Some(key("dv .bin")));
        assert_eq!(found("i", "not Z85 at all \u{1f4a5}"), None);
    }

    #[test]
    fn vectors_without_a_uuid_or_of_unknown_storage_are_refused() {
        let root = root("s3://lake/t");
        for text in [
            "",
            "short",
            "^-aqEH.-t@S}K{vb[*k\"",
            "%%%%%%%%%%%%%%%%%%%%",
            "ä-aqEH.-t@S}K{vb[*k",
        ] {
            let error = root.resolve_vector("u", text).unwrap_err();
            assert!(
                matches!(error, PathError::VectorName { .. }),
                "{text}: {error}"
            );
        }
        let error = root.resolve_vector("x", "a").unwrap_err();
        assert!(matches!(error, PathError::VectorStorage { .. }), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_is_inside_stays_inside(raw in "(/|s3://lake/t/|s3:)?([a-z.%2eEfF/ä+: ]|\\.\\./){0,24}") {
            if let Ok(Location::Inside(key)) = root("s3://lake/t").resolve(&raw) {
                prop_assert!(!key.has_odd_segment(), "{raw:?} became {key:?}");
            }
        }

        #[test]
        fn encoded_keys_come_back(segments in prop::collection::vec("[^/\0]{1,12}", 1..4)) {
            prop_assume!(segments.iter().all(|segment| segment != "." && segment != ".."));
            let name = segments.join("/");
            let encode = percent_encoding::utf8_percent_encode(&name, percent_encoding::NON_ALPHANUMERIC);
            let encoded = encode.to_string().replace("%2F", "/");
            prop_assert_eq!(root("s3://lake/t").resolve(&encoded).unwrap(), key(&name));
            prop_assert_eq!(root("s3://lake/t").resolve(&format!("s3a://lake/t/{encoded}")).unwrap(), key(&name));
        }
    }
}
