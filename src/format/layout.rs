//! The keys of the vault: each is spelled and parsed here and nowhere else.
//!
//! A key has one spelling. What parses prints again as the same text, so a name that only resembles one of the
//! vault's (upper-case digits, a seq of 19 digits, a shard that is not the digest's) is a stranger.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::FormatError;
use super::event::EventRole;
use super::table_key::TableKey;
use crate::ids::{Digest, Id128, InvalidId, ObjectKey, Timestamp};

/// The prefix under which every table has its folder.
pub const TABLES_PREFIX: &str = "tables/";
/// The prefix of files and packs.
pub const BLOBS_PREFIX: &str = "blobs/";
/// The prefix of pages.
pub const PAGES_PREFIX: &str = "pages/";
/// The prefix of manifests.
pub const MANIFESTS_PREFIX: &str = "manifests/";
/// The prefix of copies.
pub const COPIES_PREFIX: &str = "copies/";
/// The prefix of journals.
pub const RUNS_PREFIX: &str = "runs/";
/// Where a probe lies as a record would.
pub const PROBE_LEDGER: &str = "tables/probe/ledger/";
/// Where a probe lies as an event of the holder would.
pub const PROBE_HOLDER_EVENTS: &str = "tables/probe/events/holder/";
/// Where a probe lies as an event of the pruner would.
pub const PROBE_PRUNER_EVENTS: &str = "tables/probe/events/pruner/";
/// Where a probe lies as an event of the restorer would.
pub const PROBE_RESTORER_EVENTS: &str = "tables/probe/events/restorer/";
/// The prefix of the sets.
pub const SETS_PREFIX: &str = "sets/";
/// The prefix of the prune plans.
pub const PRUNE_PREFIX: &str = "prune/";

/// The folder of the probes, below each of the vault's prefixes.
const PROBES: &str = "probe";

/// What manifests, pages and files lie under, in the order of their keys.
pub const OBJECT_PREFIXES: [&str; 4] =
    [BLOBS_PREFIX, COPIES_PREFIX, MANIFESTS_PREFIX, PAGES_PREFIX];

/// What a prune deletes, in the order in which it does: from what leads to something to what that leads to.
pub const PRUNED_PREFIXES: [&str; 5] = [
    MANIFESTS_PREFIX,
    PAGES_PREFIX,
    COPIES_PREFIX,
    BLOBS_PREFIX,
    RUNS_PREFIX,
];

/// The time in the name of a set, always UTC.
const SET_TIME: &str = "%Y%m%dT%H%M%SZ";

/// The objects that are named by the SHA-256 of their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// Files and packs.
    Blobs,
    /// Manifest pages.
    Pages,
    /// Manifests.
    Manifests,
}

impl Area {
    fn as_str(self) -> &'static str {
        match self {
            Self::Blobs => "blobs",
            Self::Pages => "pages",
            Self::Manifests => "manifests",
        }
    }
}

/// Eight random hex digits that set a name apart from one that somebody else's bytes occupy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Suffix([u8; 4]);

impl Suffix {
    /// Makes a suffix from 4 bytes that the caller drew.
    pub fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Suffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// The key of one object of a vault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VaultKey {
    /// `vault.json`.
    VaultFile,
    /// `blobs/<2 hex>/<sha256>[.x]`, `pages/…`, `manifests/…`.
    Content {
        /// Which of the three.
        area: Area,
        /// The bytes' own SHA-256.
        sha256: Digest,
        /// Set where the plain name was occupied.
        suffix: Option<Suffix>,
    },
    /// `copies/<2 hex>/<32 random hex>`.
    Copy(Id128),
    /// `tables/<table>/ledger/<20-digit seq>.json`.
    Record {
        /// The table.
        table: TableKey,
        /// The slot, from 1.
        seq: u64,
    },
    /// `tables/<table>/events/<role>/<20-digit seq>.json`.
    Event {
        /// The table.
        table: TableKey,
        /// The role whose chain it is in.
        role: EventRole,
        /// The slot, from 1.
        seq: u64,
    },
    /// `tables/<table>/ledger/<20-digit seq>-<sha256>`, empty: seals the record of that slot.
    RecordSeal {
        /// The table.
        table: TableKey,
        /// The slot, from 1.
        seq: u64,
        /// The SHA-256 of the record.
        sha256: Digest,
    },
    /// `tables/<table>/events/<role>/<20-digit seq>-<sha256>`, empty: seals the event of that slot.
    EventSeal {
        /// The table.
        table: TableKey,
        /// The role whose chain it is in.
        role: EventRole,
        /// The slot, from 1.
        seq: u64,
        /// The SHA-256 of the event.
        sha256: Digest,
    },
    /// `runs/<32 hex of the table>/<20-digit next seq>/<run id>-<n>.jsonl.zst`.
    Journal {
        /// The identifying half of the table's key.
        table: Id128,
        /// The slot that the run meant to publish in.
        next_seq: u64,
        /// The run.
        run: Id128,
        /// Which of the run's journals; any number, each once.
        n: u32,
    },
    /// `prune/<id>.json`.
    PrunePlan(Id128),
    /// `sets/<time>-<id>.json`.
    Set {
        /// When the run began; only whole seconds are kept.
        taken_at: Timestamp,
        /// The set.
        id: Id128,
    },
}

impl VaultKey {
    /// A blob's key.
    pub fn blob(sha256: Digest, suffix: Option<Suffix>) -> Self {
        let area = Area::Blobs;
        Self::Content {
            area,
            sha256,
            suffix,
        }
    }

    /// A page's key.
    pub fn page(sha256: Digest, suffix: Option<Suffix>) -> Self {
        let area = Area::Pages;
        Self::Content {
            area,
            sha256,
            suffix,
        }
    }

    /// A manifest's key.
    pub fn manifest(sha256: Digest, suffix: Option<Suffix>) -> Self {
        let area = Area::Manifests;
        Self::Content {
            area,
            sha256,
            suffix,
        }
    }

    /// The key as a store takes it.
    ///
    /// # Errors
    /// [`FormatError::Invalid`]; none of the spellings above can be too long or begin with a slash.
    pub fn object_key(&self) -> Result<ObjectKey, FormatError> {
        self.to_string()
            .parse()
            .map_err(|error: InvalidId| FormatError::Invalid {
                what: "vault key",
                rule: error.rule,
            })
    }

    /// Parses a key from a listing; `None` for one that the vault does not have.
    pub fn parse(text: &str) -> Option<Self> {
        let segments: Vec<&str> = text.split('/').collect();
        let key = match *segments.as_slice() {
            ["vault.json"] => Self::VaultFile,
            ["blobs", _, name] => parse_content(Area::Blobs, name)?,
            ["pages", _, name] => parse_content(Area::Pages, name)?,
            ["manifests", _, name] => parse_content(Area::Manifests, name)?,
            ["copies", _, name] => Self::Copy(name.parse().ok()?),
            ["tables", table, "ledger", name] => {
                let table = table.parse().ok()?;
                match parse_slot(name)? {
                    (seq, None) => Self::Record { table, seq },
                    (seq, Some(sha256)) => Self::RecordSeal { table, seq, sha256 },
                }
            }
            ["tables", table, "events", role, name] => {
                let table = table.parse().ok()?;
                let role = role.parse().ok()?;
                match parse_slot(name)? {
                    (seq, None) => Self::Event { table, role, seq },
                    (seq, Some(sha256)) => Self::EventSeal {
                        table,
                        role,
                        seq,
                        sha256,
                    },
                }
            }
            ["runs", table, next_seq, name] => {
                let (run, n) = name.strip_suffix(".jsonl.zst")?.rsplit_once('-')?;
                Self::Journal {
                    table: table.parse().ok()?,
                    next_seq: parse_seq(next_seq)?,
                    run: run.parse().ok()?,
                    n: n.parse().ok()?,
                }
            }
            ["prune", name] => Self::PrunePlan(name.strip_suffix(".json")?.parse().ok()?),
            ["sets", name] => {
                let (time, id) = name.strip_suffix(".json")?.rsplit_once('-')?;
                let time = DateTime::strptime(SET_TIME, time).ok()?;
                Self::Set {
                    taken_at: time.to_zoned(TimeZone::UTC).ok()?.timestamp(),
                    id: id.parse().ok()?,
                }
            }
            _ => return None,
        };
        // One spelling a key: covers the shard, leading zeros, signs and whatever the parsers forgive.
        (key.to_string() == text).then_some(key)
    }
}

fn parse_content(area: Area, name: &str) -> Option<VaultKey> {
    let (sha256, suffix) = match name.split_once('.') {
        Some((sha256, suffix)) => {
            let bits = u32::from_str_radix(suffix, 16).ok()?;
            (sha256, Some(Suffix(bits.to_be_bytes())))
        }
        None => (name, None),
    };
    Some(VaultKey::Content {
        area,
        sha256: sha256.parse().ok()?,
        suffix,
    })
}

/// The name of a slot, or of the seal of one.
fn parse_slot(name: &str) -> Option<(u64, Option<Digest>)> {
    if let Some(seq) = name.strip_suffix(".json") {
        return Some((parse_seq(seq)?, None));
    }
    let (seq, sha256) = name.split_once('-')?;
    Some((parse_seq(seq)?, Some(sha256.parse().ok()?)))
}

fn parse_seq(digits: &str) -> Option<u64> {
    digits.parse().ok().filter(|seq| *seq > 0)
}

impl fmt::Display for VaultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VaultFile => f.write_str("vault.json"),
            Self::Content {
                area,
                sha256,
                suffix,
            } => {
                f.write_str(&content_prefix(*area, *sha256))?;
                suffix.map_or(Ok(()), |suffix| write!(f, ".{suffix}"))
            }
            Self::Copy(id) => {
                let name = id.to_string();
                write!(
                    f,
                    "{COPIES_PREFIX}{}/{name}",
                    name.get(..2).unwrap_or_default()
                )
            }
            Self::Record { table, seq } => write!(f, "{}{seq:020}.json", ledger_prefix(table)),
            Self::Event { table, role, seq } => {
                write!(f, "{}{seq:020}.json", role_events_prefix(table, *role))
            }
            Self::RecordSeal { table, seq, sha256 } => {
                write!(f, "{}{seq:020}-{sha256}", ledger_prefix(table))
            }
            Self::EventSeal {
                table,
                role,
                seq,
                sha256,
            } => {
                write!(f, "{}{seq:020}-{sha256}", role_events_prefix(table, *role))
            }
            Self::Journal {
                table,
                next_seq,
                run,
                n,
            } => write!(f, "{RUNS_PREFIX}{table}/{next_seq:020}/{run}-{n}.jsonl.zst"),
            Self::PrunePlan(id) => write!(f, "{PRUNE_PREFIX}{id}.json"),
            Self::Set { taken_at, id } => {
                write!(f, "{SETS_PREFIX}{}-{id}.json", taken_at.strftime(SET_TIME))
            }
        }
    }
}

/// The key of a probe below one of the vault's prefixes, `blobs/` and the like.
///
/// Probes are put to see what a server and its policies do with them, where they do it with what counts. No key of the
/// vault is spelled so.
pub fn probe_key(prefix: &str, id: Id128) -> String {
    if prefix.starts_with(TABLES_PREFIX) {
        return format!("{prefix}{id}");
    }
    format!("{prefix}{PROBES}/{id}")
}

/// Whether a key is that of a probe.
pub fn is_probe(key: &str) -> bool {
    let segments: Vec<&str> = key.split('/').collect();
    let (area, id) = match *segments.as_slice() {
        [area, PROBES, id] => (area, id),
        ["tables", PROBES, "ledger", id] => ("tables", id),
        ["tables", PROBES, "events", role, id] if role.parse::<EventRole>().is_ok() => {
            ("tables", id)
        }
        _ => return false,
    };
    let areas = [
        "blobs",
        "copies",
        "manifests",
        "pages",
        "prune",
        "runs",
        "sets",
        "tables",
    ];
    areas.contains(&area)
        && id
            .parse::<Id128>()
            .is_ok_and(|parsed| parsed.to_string() == id)
}

/// What every key for bytes with that SHA-256 begins with, whatever its suffix.
pub fn content_prefix(area: Area, sha256: Digest) -> String {
    format!("{}{sha256}", content_folder(area, sha256))
}

/// The prefix of everything in an area whose SHA-256 begins with the same byte.
pub fn content_folder(area: Area, sha256: Digest) -> String {
    let [first, ..] = sha256.as_bytes();
    format!("{}/{first:02x}/", area.as_str())
}

/// The prefix of a table's records.
pub fn ledger_prefix(table: &TableKey) -> String {
    format!("{TABLES_PREFIX}{table}/ledger/")
}

/// The prefix of a table's events, of every role.
pub fn events_prefix(table: &TableKey) -> String {
    format!("{TABLES_PREFIX}{table}/events/")
}

/// The prefix of the events in one role's chain.
pub fn role_events_prefix(table: &TableKey, role: EventRole) -> String {
    format!("{}{role}/", events_prefix(table))
}

/// The prefix of a table's journals.
pub fn journals_prefix(table: &TableKey) -> String {
    format!("{RUNS_PREFIX}{}/", table.hash())
}

/// What to list a table's journals after so that only those at or above `seq` come.
pub fn journals_start_after(table: &TableKey, seq: u64) -> String {
    format!("{RUNS_PREFIX}{}/{seq:020}", table.hash())
}

/// The table that a key below [`TABLES_PREFIX`] belongs to, whatever the rest of the key says.
pub fn table_of(key: &str) -> Option<TableKey> {
    let (table, _) = key.strip_prefix(TABLES_PREFIX)?.split_once('/')?;
    TableKey::from_str(table).ok()
}

/// What to list tables after so that the rest of `table`'s objects are skipped. `0` is the byte after `/`.
pub fn tables_start_after(table: &TableKey) -> String {
    format!("{TABLES_PREFIX}{table}0")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "1f8fb2bf7bda65c73ba5c9b6e2fca0b5";
    const SHA: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    #[test]
    fn every_key_prints_as_it_was_parsed() {
        for text in [
            "vault.json".to_owned(),
            format!("blobs/2c/{SHA}"),
            format!("blobs/2c/{SHA}.00c0ffee"),
            format!("pages/2c/{SHA}"),
            format!("manifests/2c/{SHA}.ffffffff"),
            format!("copies/1f/{HEX}"),
            format!("tables/sales-orders-{HEX}/ledger/00000000000000000001.json"),
            format!("tables/sales-orders-{HEX}/events/holder/18446744073709551615.json"),
            format!("tables/sales-orders-{HEX}/events/pruner/00000000000000000001.json"),
            format!("tables/sales-orders-{HEX}/events/restorer/00000000000000000001.json"),
            format!("tables/sales-orders-{HEX}/ledger/00000000000000000001-{SHA}"),
            format!("tables/sales-orders-{HEX}/events/holder/00000000000000000001-{SHA}"),
            format!("tables/sales-orders-{HEX}/events/pruner/00000000000000000001-{SHA}"),
            format!("tables/sales-orders-{HEX}/events/restorer/00000000000000000001-{SHA}"),
            format!("runs/{HEX}/00000000000000000012/{HEX}-0.jsonl.zst"),
            format!("runs/{HEX}/00000000000000000012/{HEX}-4294967295.jsonl.zst"),
            format!("prune/{HEX}.json"),
            format!("sets/20260131T235959Z-{HEX}.json"),
        ] {
            let key = VaultKey::parse(&text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(key.to_string(), text);
            assert_eq!(key.object_key().unwrap().as_str(), text);
        }
    }

    #[test]
    fn names_that_only_resemble_keys_are_strangers() {
        for text in [
            String::new(),
            "vault.json/".to_owned(),
            format!("blobs/2d/{SHA}"),
            format!("blobs/2C/{}", SHA.to_uppercase()),
            format!("blobs/2c/{SHA}.c0ffee"),
            format!("blobs/2c/{SHA}.00C0FFEE"),
            format!("blobs/2c/{SHA}.+0c0ffee"),
            format!("blobs/2c/{SHA}.00c0ffee.00c0ffee"),
            format!("blobs/{SHA}"),
            format!("copies/1e/{HEX}"),
            format!("tables/x-{HEX}/ledger/00000000000000000000.json"),
            format!("tables/x-{HEX}/ledger/0000000000000000001.json"),
            format!("tables/x-{HEX}/ledger/+0000000000000000001.json"),
            format!("tables/x-{HEX}/ledger/99999999999999999999.json"),
            format!("tables/x-{HEX}/ledger/00000000000000000001.json.tmp"),
            format!("tables/x-{HEX}/ledger/sub/00000000000000000001.json"),
            format!("tables/x-{HEX}/ledger/00000000000000000000-{SHA}"),
            format!("tables/x-{HEX}/ledger/00000000000000000001-{SHA}.json"),
            format!("tables/x-{HEX}/ledger/00000000000000000001-{HEX}"),
            format!("tables/x-{HEX}/events/00000000000000000001.json"),
            format!("tables/x-{HEX}/events/auditor/00000000000000000001.json"),
            format!("tables/x-{HEX}/events/Holder/00000000000000000001-{SHA}"),
            format!("tables/x-{HEX}/ledger/holder/00000000000000000001.json"),
            format!("runs/{HEX}/00000000000000000012/{HEX}-01.jsonl.zst"),
            format!("runs/{HEX}/00000000000000000012/{HEX}.jsonl.zst"),
            format!("sets/20260231T235959Z-{HEX}.json"),
            format!("sets/2026-01-31T23:59:59Z-{HEX}.json"),
        ] {
            assert_eq!(VaultKey::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_probe_is_no_key_of_the_vault_and_is_told_from_strangers() {
        let id: Id128 = HEX.parse().unwrap();
        for prefix in [
            "blobs/",
            "copies/",
            "manifests/",
            "pages/",
            PRUNE_PREFIX,
            "runs/",
            SETS_PREFIX,
            PROBE_LEDGER,
            PROBE_HOLDER_EVENTS,
            PROBE_PRUNER_EVENTS,
            PROBE_RESTORER_EVENTS,
        ] {
            let key = probe_key(prefix, id);
            assert!(is_probe(&key), "{key}");
            assert_eq!(VaultKey::parse(&key), None, "{key}");
            assert_eq!(table_of(&key), None, "{key}");
        }
        assert_eq!(
            probe_key(PROBE_LEDGER, id),
            format!("tables/probe/ledger/{HEX}")
        );
        for stranger in [
            "blobs/probe/x".to_owned(),
            format!("blobs/probe/{}", HEX.to_uppercase()),
            format!("other/probe/{HEX}"),
            format!("blobs/probe/x/{HEX}"),
            format!("tables/probe/events/{HEX}"),
            format!("tables/probe/events/auditor/{HEX}"),
        ] {
            assert!(!is_probe(&stranger), "{stranger}");
        }
    }

    #[test]
    fn journals_at_the_heads_own_seq_are_still_listed() {
        let table: TableKey = format!("t-{HEX}").parse().unwrap();
        let after = journals_start_after(&table, 7);
        let journal = |next_seq| {
            let run = table.hash();
            VaultKey::Journal {
                table: table.hash(),
                next_seq,
                run,
                n: 0,
            }
            .to_string()
        };
        assert!(journal(6) < after && after < journal(7));
        assert!(journal(7).starts_with(&journals_prefix(&table)));
    }

    #[test]
    fn tables_are_found_one_listing_step_each() {
        let table: TableKey = format!("t-{HEX}").parse().unwrap();
        let key = VaultKey::Record {
            table: table.clone(),
            seq: 1,
        }
        .to_string();
        assert_eq!(table_of(&key), Some(table.clone()));
        assert!(key < tables_start_after(&table));
        assert_eq!(table_of("tables/junk/x"), None);
    }

    #[test]
    fn set_names_sort_by_time_and_drop_fractions() {
        let id: Id128 = HEX.parse().unwrap();
        let taken_at = "2026-01-31T23:59:59.75Z".parse().unwrap();
        let key = VaultKey::Set { taken_at, id }.to_string();
        assert_eq!(key, format!("sets/20260131T235959Z-{HEX}.json"));
    }
}
