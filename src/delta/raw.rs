//! The actions as the log has them, before they are checked: what JSON and Parquet have in common.
//!
//! Each turns into an [`Action`] or into an error that names the file; nothing is made up for what is missing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::path::{PathError, TableRoot, is_absolute};
use super::{Action, Add, CommitInfo, DeletionVector, LogError, Metadata, Spelling, vector_id};
use crate::ids::{Location, Timestamp};

/// Where an action was found, and against what its paths are resolved.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) file: &'a str,
    pub(super) root: &'a TableRoot,
}

impl Origin<'_> {
    fn resolve(&self, raw: &str) -> Result<Location, LogError> {
        self.root.resolve(raw).map_err(|source| self.path(source))
    }

    /// Resolves a path; also says whether it is an absolute one into the table's own root.
    fn resolve_spelled(&self, raw: &str) -> Result<(Location, bool), LogError> {
        let file = self.resolve(raw)?;
        let absolute = matches!(file, Location::Inside(_)) && is_absolute(raw);
        Ok((file, absolute))
    }

    fn path(&self, source: PathError) -> LogError {
        LogError::Path {
            file: self.file.to_owned(),
            source,
        }
    }

    fn size(&self, size: Option<i64>, path: &str) -> Result<u64, LogError> {
        size.and_then(|size| u64::try_from(size).ok())
            .ok_or_else(|| LogError::MissingSize {
                file: self.file.to_owned(),
                path: path.to_owned(),
            })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawAdd<'a> {
    #[serde(borrow)]
    pub(super) path: Cow<'a, str>,
    pub(super) size: Option<i64>,
    pub(super) modification_time: Option<i64>,
    #[serde(borrow)]
    pub(super) stats: Option<Cow<'a, str>>,
    // The one name in the log that is not in camel case.
    #[serde(rename = "stats_parsed")]
    pub(super) stats_parsed: Option<Object<Stats>>,
    #[serde(borrow)]
    pub(super) deletion_vector: Option<Object<RawVector<'a>>>,
}

impl RawAdd<'_> {
    pub(super) fn into_action(self, origin: Origin<'_>) -> Result<Action, LogError> {
        let path = self.path.as_ref();
        // Statistics never decide about files, so what is wrong in them is only a count that is not known.
        let rows = self
            .stats
            .and_then(|stats| serde_json::from_str::<Object<Stats>>(&stats).ok())
            .and_then(|Object(stats)| stats.rows())
            .or_else(|| self.stats_parsed.and_then(|Object(stats)| stats.rows()));
        let dv = self
            .deletion_vector
            .map(|Object(dv)| dv.into_vector(path, origin))
            .transpose()?;
        let (file, absolute) = origin.resolve_spelled(path)?;
        Ok(Action::Add {
            add: Add {
                file,
                absolute,
                size: origin.size(self.size, path)?,
                modification_time: self.modification_time.unwrap_or(0),
                rows,
                dv,
            },
            spelling: Some(Spelling::of(path)),
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Stats {
    #[serde(rename = "numRecords")]
    pub(super) num_records: Option<Value>,
}

impl Stats {
    fn rows(&self) -> Option<u64> {
        self.num_records.as_ref()?.as_u64()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawVector<'a> {
    #[serde(borrow)]
    pub(super) storage_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) path_or_inline_dv: Cow<'a, str>,
    pub(super) offset: Option<i64>,
    pub(super) size_in_bytes: Option<i64>,
    pub(super) cardinality: Option<i64>,
}

impl RawVector<'_> {
    fn id(&self) -> String {
        vector_id(&self.storage_type, &self.path_or_inline_dv, self.offset)
    }

    fn into_vector(self, path: &str, origin: Origin<'_>) -> Result<DeletionVector, LogError> {
        let number = |value: Option<i64>, field| {
            value
                .and_then(|value| u64::try_from(value).ok())
                .ok_or_else(|| LogError::BadVector {
                    file: origin.file.to_owned(),
                    path: path.to_owned(),
                    field,
                })
        };
        Ok(DeletionVector {
            cardinality: number(self.cardinality, "cardinality")?,
            file: origin
                .root
                .resolve_vector(&self.storage_type, &self.path_or_inline_dv)
                .map_err(|source| origin.path(source))?,
            id: self.id(),
            offset: match self.offset {
                None => None,
                offset => Some(number(offset, "offset")?),
            },
            size: number(self.size_in_bytes, "sizeInBytes")?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawRemove<'a> {
    #[serde(borrow)]
    pub(super) path: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) deletion_vector: Option<Object<RawVector<'a>>>,
}

impl RawRemove<'_> {
    pub(super) fn into_action(self, origin: Origin<'_>) -> Result<Action, LogError> {
        Ok(Action::Remove {
            file: origin.resolve(&self.path)?,
            dv_id: self.deletion_vector.map(|Object(dv)| dv.id()),
            spelling: Some(Spelling::of(&self.path)),
        })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct RawCdc<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    size: Option<i64>,
}

impl RawCdc<'_> {
    pub(super) fn into_action(self, origin: Origin<'_>) -> Result<Action, LogError> {
        let (file, absolute) = origin.resolve_spelled(&self.path)?;
        Ok(Action::Cdc {
            file,
            absolute,
            size: origin.size(self.size, &self.path)?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawSidecar<'a> {
    #[serde(borrow)]
    pub(super) path: Cow<'a, str>,
    pub(super) size_in_bytes: Option<i64>,
}

impl RawSidecar<'_> {
    pub(super) fn into_action(self, origin: Origin<'_>) -> Result<Action, LogError> {
        let nowhere = |path: &str, source| {
            origin.path(PathError::NotAKey {
                path: path.to_owned(),
                source,
            })
        };
        let path = percent_encoding::percent_decode_str(&self.path)
            .decode_utf8()
            .map_err(|_| {
                origin.path(PathError::NotUtf8 {
                    path: self.path.clone().into_owned(),
                })
            })?;
        // Whatever folder the path names, sidecars lie in one place; readers go by the file's name alone.
        let name = path.rsplit('/').next().unwrap_or_default();
        Ok(Action::Sidecar {
            key: format!("_delta_log/_sidecars/{name}")
                .parse()
                .map_err(|source| nowhere(&path, source))?,
            size: self.size_in_bytes.and_then(|size| u64::try_from(size).ok()),
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawMetadata {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) partition_columns: Option<Vec<String>>,
    pub(super) configuration: Option<BTreeMap<String, Option<String>>>,
}

impl RawMetadata {
    pub(super) fn into_action(self) -> Action {
        Action::Metadata(Metadata {
            id: self.id,
            name: self.name,
            partition_columns: self.partition_columns.unwrap_or_default(),
            configuration: self
                .configuration
                .unwrap_or_default()
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)))
                .collect(),
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawTxn {
    pub(super) app_id: String,
    pub(super) version: Option<i64>,
}

impl RawTxn {
    pub(super) fn into_action(self) -> Action {
        Action::Txn {
            app_id: self.app_id,
            version: self.version,
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct RawDomain {
    pub(super) domain: String,
    pub(super) configuration: Option<String>,
    pub(super) removed: Option<bool>,
}

impl RawDomain {
    pub(super) fn into_action(self) -> Action {
        let removed = self.removed.unwrap_or(false);
        Action::Domain {
            domain: self.domain,
            configuration: (!removed).then(|| self.configuration.unwrap_or_default()),
        }
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct RawCheckpointMetadata {
    pub(super) version: Option<u64>,
}

impl RawCheckpointMetadata {
    pub(super) fn into_action(self) -> Action {
        Action::CheckpointMetadata {
            version: self.version.map(crate::ids::Version),
        }
    }
}

/// Writers put what they like into a `commitInfo`, so each field is taken when it is what it should be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RawCommitInfo {
    operation: Option<Value>,
    user_name: Option<Value>,
    user_id: Option<Value>,
    timestamp: Option<Value>,
    in_commit_timestamp: Option<Value>,
}

impl RawCommitInfo {
    pub(super) fn into_action(self) -> Action {
        let text = |value: Option<Value>| Some(value?.as_str()?.to_owned());
        let time = |value: Option<Value>| Timestamp::from_millisecond(value?.as_i64()?).ok();
        Action::CommitInfo(CommitInfo {
            operation: text(self.operation),
            user: text(self.user_name).or_else(|| text(self.user_id)),
            timestamp: time(self.timestamp),
            in_commit_timestamp: time(self.in_commit_timestamp),
        })
    }
}

/// A value that must be written as a JSON object. Without it, serde would also take an array of the fields in order,
/// and a damaged line could pass for another one.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(OfObject(PhantomData))
    }
}
