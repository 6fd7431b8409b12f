//! A SNAPSHOT as people name it: by digits of its id, or by its table and which one of the table's it is.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use super::args::{SnapshotPrefix, parse_version};

/// A SNAPSHOT as it was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SnapshotName {
    /// The first digits of an id; where they are decimal, perhaps a version.
    Digits(SnapshotPrefix),
    /// One of a table's snapshots.
    Of {
        /// The table, where one is named.
        table: Option<String>,
        /// Which of its snapshots.
        pick: Pick,
    },
}

/// Which of a table's snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pick {
    /// The newest, or the one that lies so many before it.
    Latest(usize),
    /// The one that holds a version.
    Version(u64),
}

impl Pick {
    fn parse(text: &str) -> Option<Self> {
        if text == "latest" {
            return Some(Self::Latest(0));
        }
        match text.strip_prefix("latest~") {
            Some(back) => parse_back(back).map(Self::Latest),
            None => parse_version(text).ok().map(Self::Version),
        }
    }
}

impl fmt::Display for Pick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest(0) => f.write_str("latest"),
            Self::Latest(back) => write!(f, "latest~{back}"),
            Self::Version(version) => write!(f, "v{version}"),
        }
    }
}

impl FromStr for SnapshotName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let of = |table: &str, pick| Self::Of {
            table: Some(table.to_owned()),
            pick,
        };
        if let Ok(digits) = text.parse() {
            return Ok(Self::Digits(digits));
        }
        if let Some(pick) = Pick::parse(text) {
            return Ok(Self::Of { table: None, pick });
        }
        if let Some((table, pick)) = split(text, '@')
            && let Some(pick) = Pick::parse(pick)
        {
            return Ok(of(table, pick));
        }
        if let Some((table, back)) = split(text, '~')
            && let Some(back) = parse_back(back)
        {
            return Ok(of(table, Pick::Latest(back)));
        }
        Ok(of(text, Pick::Latest(0)))
    }
}

/// Splits at the last `mark` that has something before it.
fn split(text: &str, mark: char) -> Option<(&str, &str)> {
    text.rsplit_once(mark)
        .filter(|(table, _)| !table.is_empty())
}

fn parse_back(text: &str) -> Option<usize> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_named_by_its_id_or_by_its_table_and_place() {
        let of = |table: Option<&str>, pick| SnapshotName::Of {
            table: table.map(ToOwned::to_owned),
            pick,
        };
        let digits = |text: &str| SnapshotName::Digits(text.parse().unwrap());
        for (text, name) in [
            ("9F2C", digits("9f2c")),
            ("1234", digits("1234")),
            ("latest", of(None, Pick::Latest(0))),
            ("latest~12", of(None, Pick::Latest(12))),
            ("12", of(None, Pick::Version(12))),
            ("v1234", of(None, Pick::Version(1234))),
            ("sales.orders", of(Some("sales.orders"), Pick::Latest(0))),
            ("orders~1", of(Some("orders"), Pick::Latest(1))),
            ("orders@latest~1", of(Some("orders"), Pick::Latest(1))),
            ("lake/a@b@12", of(Some("lake/a@b"), Pick::Version(12))),
            ("orders@home", of(Some("orders@home"), Pick::Latest(0))),
            ("~/lake", of(Some("~/lake"), Pick::Latest(0))),
            ("t~+1", of(Some("t~+1"), Pick::Latest(0))),
        ] {
            assert_eq!(text.parse(), Ok(name), "{text}");
        }
        assert_eq!(Pick::Latest(2).to_string(), "latest~2");
    }
}
