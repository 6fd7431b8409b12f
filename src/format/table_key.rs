//! Which table a part of the vault is about: the normalised URI of a table and the key made from it.
//!
//! Both rules are frozen: two tools that spell the same table differently would keep two ledgers for it. What
//! needs a file system (following links to the real path) is the caller's; nothing here looks anywhere.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::record::TableIdentity;
use crate::ids::{Digest, Id128, InvalidId};

/// The slug is cut after this many bytes.
const SLUG_LIMIT: usize = 48;

/// How many characters a name made from a URI may have.
const NAME_LIMIT: usize = 100;

/// The slug of a URI that has no character a slug can keep.
const EMPTY_SLUG: &str = "table";

/// The normalised URI of a table: `s3://bucket/key` or `file:///real/path`, without a trailing slash.
///
/// `s3a` and `s3n` are `s3`. S3 keys are literal: nothing is decoded, doubled slashes inside stay. A local path
/// is absolute and real (no empty, `.` or `..` segment) and as literal as a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableUri(String);

impl TableUri {
    /// The URI as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a table that nobody named, for people: the last two segments of the URI (a bucket counts as one)
    /// joined by `-`, with their letters as they are. Each run of characters that a shell or a terminal takes for
    /// something else (blanks, quotes, brackets, control characters) is made one `-`, and so is each run of `-`; it is
    /// cut after 100 characters.
    pub fn name(&self) -> String {
        let mut name = String::new();
        for character in self.last_two().chars() {
            if character != '-' && is_name_character(character) {
                name.push(character);
            } else if !name.is_empty() && !name.ends_with('-') {
                name.push('-');
            }
        }
        let name: String = name
            .trim_start_matches(['-', '~'])
            .chars()
            .take(NAME_LIMIT)
            .collect();
        let name = name.trim_end_matches('-');
        if name.is_empty() { EMPTY_SLUG } else { name }.to_owned()
    }

    /// The last two segments, joined by `-`.
    fn last_two(&self) -> String {
        let path = self.0.split_once("://").map_or("", |(_, path)| path);
        let mut last_two: Vec<&str> = path
            .rsplit('/')
            .filter(|segment| !segment.is_empty())
            .take(2)
            .collect();
        last_two.reverse();
        last_two.join("-")
    }

    /// The readable half of the table's key. Keys are ASCII, so that they are spelled alike wherever a vault goes;
    /// people are shown [`TableUri::name`].
    ///
    /// The last two segments (a bucket counts as one) joined by `-`; ASCII letters lower-cased; each run of
    /// characters other than `a-z`, `0-9` and `_` made one `-`; cut after 48 bytes; `-` at the ends removed;
    /// `table` when nothing is left.
    pub fn slug(&self) -> String {
        let mut slug = String::new();
        for character in self.last_two().chars() {
            if is_slug_word(character.to_ascii_lowercase()) {
                slug.push(character.to_ascii_lowercase());
            } else if !slug.is_empty() && !slug.ends_with('-') {
                slug.push('-');
            }
        }
        slug.truncate(SLUG_LIMIT);
        let slug = slug.trim_end_matches('-');
        if slug.is_empty() { EMPTY_SLUG } else { slug }.to_owned()
    }
}

/// Letters, marks and digits of every script, and the signs that mean nothing to a shell. No character that changes the
/// direction of a line or that cannot be seen.
fn is_name_character(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric()
            || matches!(character, '_' | '-' | '%' | '+' | '=' | '@');
    }
    let unseen = matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    !(character.is_control() || character.is_whitespace() || unseen)
}

fn is_slug_word(character: char) -> bool {
    matches!(character, 'a'..='z' | '0'..='9' | '_')
}

impl fmt::Display for TableUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TableUri {
    type Err = InvalidId;

    /// Normalises `text`; a path without a scheme is refused, because only a file system knows its real path.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = |rule| InvalidId::new("table URI", text, rule);
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| invalid("begins with s3://, s3a://, s3n:// or file://"))?;
        if text.contains('\0') {
            return Err(invalid("no NUL"));
        }
        match scheme.to_ascii_lowercase().as_str() {
            "s3" | "s3a" | "s3n" => {
                let rest = rest
                    .strip_prefix("//")
                    .ok_or_else(|| invalid("s3://bucket/key"))?;
                let rest = rest.trim_end_matches('/');
                if rest.is_empty() || rest.starts_with('/') {
                    return Err(invalid("names a bucket"));
                }
                Ok(Self(format!("s3://{rest}")))
            }
            "file" => {
                // `file:/path` is how Hadoop spells what others spell `file:///path`.
                let path = match rest.strip_prefix("//") {
                    Some(path) if path.starts_with('/') => path,
                    Some(_) => return Err(invalid("no host in a file URI")),
                    None => rest,
                };
                let path = path.trim_end_matches('/');
                let mut segments = path.split('/');
                let rooted = segments.next() == Some("") && !path.is_empty();
                if !rooted || segments.any(|segment| matches!(segment, "" | "." | "..")) {
                    return Err(invalid(
                        "an absolute real path, no empty, `.` or `..` segment",
                    ));
                }
                Ok(Self(format!("file://{path}")))
            }
            _ => Err(invalid("begins with s3://, s3a://, s3n:// or file://")),
        }
    }
}

/// Names one table inside a vault: `<slug>-<32 hex>`. Only the hex digits identify; the slug is for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey {
    slug: String,
    hash: Id128,
}

impl TableKey {
    /// Makes the key of the table at `uri` in the source `source_id`: the configured name of the source, else
    /// its custom endpoint, else `aws`, or `local` for folders.
    ///
    /// # Errors
    /// When the source id is empty or has a line feed, which would make two tables hash alike.
    pub fn of(source_id: &str, uri: &TableUri) -> Result<Self, InvalidId> {
        if source_id.is_empty() || source_id.contains('\n') {
            let rule = "not empty, no line feed";
            return Err(InvalidId::new("source id", source_id, rule));
        }
        let mut hasher = Sha256::new();
        hasher.update(source_id.as_bytes());
        hasher.update(b"\n");
        hasher.update(uri.as_str().as_bytes());
        let digest = Digest::from_hasher(hasher);
        let [high, _low] = split(digest.as_bytes());
        Ok(Self {
            slug: uri.slug(),
            hash: Id128::from_bytes(high),
        })
    }

    /// Whether this is the key of the table at `uri` in the source `source_id`, as a record names them.
    pub fn is_made_from(&self, source_id: &str, uri: &str) -> bool {
        let uri = uri.parse::<TableUri>();
        uri.and_then(|uri| Self::of(source_id, &uri))
            .is_ok_and(|key| key.hash == self.hash)
    }

    /// Whether this is the key of a table, both halves.
    pub fn is_of(&self, table: &TableIdentity) -> bool {
        let uri = table.uri.parse::<TableUri>();
        uri.and_then(|uri| Self::of(&table.source, &uri))
            .is_ok_and(|key| key == *self)
    }

    /// The readable half.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// The identifying half: the first 128 bits of SHA-256(source id LF URI).
    pub fn hash(&self) -> Id128 {
        self.hash
    }
}

/// Splits 32 bytes into two halves.
fn split(bytes: &[u8; 32]) -> [[u8; 16]; 2] {
    let mut halves = [[0; 16]; 2];
    for (to, from) in halves.iter_mut().flatten().zip(bytes) {
        *to = *from;
    }
    halves
}

impl fmt::Display for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.slug, self.hash)
    }
}

impl FromStr for TableKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("table key", text, "<slug>-<32 lower-case hex digits>");
        let (slug, hash) = text.rsplit_once('-').ok_or_else(invalid)?;
        let is_slug = !slug.is_empty()
            && slug.len() <= SLUG_LIMIT
            && !slug.starts_with('-')
            && !slug.ends_with('-')
            && slug.chars().all(|c| is_slug_word(c) || c == '-');
        if !is_slug {
            return Err(invalid());
        }
        Ok(Self {
            slug: slug.to_owned(),
            hash: hash.parse().map_err(|_| invalid())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_normalised_by_the_frozen_rule() {
        for (given, normal) in [
            ("s3://b/a/t", "s3://b/a/t"),
            ("s3a://b/a/t///", "s3://b/a/t"),
            ("S3N://b/a/t/", "s3://b/a/t"),
            ("s3://b/", "s3://b"),
            ("s3://b/a//t%20x/ü?#", "s3://b/a//t%20x/ü?#"),
            ("file:///srv/a t/", "file:///srv/a t"),
            ("file:/srv/t", "file:///srv/t"),
            ("file:///srv/a%20t", "file:///srv/a%20t"),
        ] {
            assert_eq!(
                given.parse::<TableUri>().unwrap().as_str(),
                normal,
                "{given}"
            );
        }
    }

    #[test]
    fn uris_that_could_mean_two_things_are_refused() {
        for bad in [
            "",
            "/srv/t",
            "srv/t",
            "s3:/b/t",
            "s3://",
            "s3:///t",
            "file://host/t",
            "file:///",
            "file:t",
            "file:",
            "file:////srv",
            "file:///srv/../t",
            "file:///srv/./t",
            "gs://b/t",
            "s3://b/\0",
        ] {
            assert!(bad.parse::<TableUri>().is_err(), "{bad}");
        }
    }

    #[test]
    fn slugs_come_from_the_last_two_segments() {
        let long = format!("s3://b/{}/t", "x".repeat(60));
        for (uri, slug) in [
            ("s3://lake/sales/Orders_2024", "sales-orders_2024"),
            ("s3://lake/orders", "lake-orders"),
            ("s3://lake", "lake"),
            ("s3://lake/a//b", "a-b"),
            ("file:///srv/Größe/t.v1", "gr-e-t-v1"),
            ("file:///ü/ß", "table"),
            ("s3://b/-a-/--", "a"),
            (long.as_str(), &"x".repeat(48)),
        ] {
            assert_eq!(uri.parse::<TableUri>().unwrap().slug(), slug, "{uri}");
        }
    }

    #[test]
    fn names_keep_the_letters_of_the_last_two_segments() {
        let long = format!("s3://b/{}/t", "ü".repeat(200));
        for (uri, name) in [
            ("s3://lake/odd/ünï/漢", "ünï-漢"),
            ("s3://lake/pct%20dir/t", "pct%20dir-t"),
            ("s3://lake/sales/Orders_2024", "sales-Orders_2024"),
            ("file:///srv/Größe/t.v1", "Größe-t-v1"),
            // As macOS writes ü: a letter and a mark.
            ("file:///srv/gru\u{308}n/t", "gru\u{308}n-t"),
            ("s3://lake/заказы/2026", "заказы-2026"),
            ("s3://lake/a b\t'c'/$(d)", "a-b-c-d"),
            ("s3://lake/~x/--y", "x-y"),
            ("s3://lake/a\u{202e}b/c\u{1b}[2J", "a-b-c-2J"),
            ("s3://lake/👍/t", "👍-t"),
            ("s3://b/ /..", "table"),
            ("s3://lake", "lake"),
            (long.as_str(), &"ü".repeat(100)),
        ] {
            assert_eq!(uri.parse::<TableUri>().unwrap().name(), name, "{uri}");
        }
    }

    #[test]
    fn table_key_is_the_hash_of_source_and_uri() {
        let uri: TableUri = "s3a://lake/sales/orders/".parse().unwrap();
        let key = TableKey::of("aws", &uri).unwrap();
        // printf 'aws\ns3://lake/sales/orders' | sha256sum | head -c 32
        assert_eq!(
            key.to_string(),
            "sales-orders-154fbe1bf699f4878103dd57c6d81140"
        );
        assert_eq!(key.to_string().parse::<TableKey>().unwrap(), key);
        assert_ne!(TableKey::of("minio", &uri).unwrap().hash(), key.hash());
        assert!(TableKey::of("", &uri).is_err());
        assert!(TableKey::of("a\nb", &uri).is_err());
    }

    #[test]
    fn table_keys_parse_only_in_their_one_spelling() {
        let hex = "1f8fb2bf7bda65c73ba5c9b6e2fca0b5";
        for bad in [
            hex.to_owned(),
            format!("-{hex}"),
            format!("a--{hex}"),
            format!("A-{hex}"),
            format!("a.b-{hex}"),
            format!("a-{}", hex.to_uppercase()),
            format!("{}-{hex}", "a".repeat(49)),
        ] {
            assert!(bad.parse::<TableKey>().is_err(), "{bad}");
        }
    }
}
