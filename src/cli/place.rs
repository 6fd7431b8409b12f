//! Paths and URIs as people type them, made into the one spelling that the rest uses.
//!
//! A local place becomes `file://` and an absolute path without a trailing slash. Links are not followed here:
//! what a path leads to is the store's business. A place on S3 becomes `s3://bucket` or `s3://bucket/prefix`, its
//! key taken literally.

use std::path::{Path, PathBuf};

use crate::cli::error::CommandError;

/// How a place on S3 is spelled.
const S3_FORM: &str = "a place on S3 is spelled s3://bucket/prefix";

/// A key has at most 1,024 bytes, and the vault's own names below a prefix take up to 200 of them.
const LONGEST_PREFIX: usize = 800;

/// Makes `text` a URI. A relative path is taken from `base`, and `~/` stands for the home folder, as in a shell: in a
/// configuration, in quotes and behind `--vault=` no shell has seen it.
///
/// A URI is taken literally, never percent-decoded: it is what the vault records and prints.
///
/// # Errors
/// [`CommandError::UnsupportedScheme`] for another scheme, [`CommandError::InvalidUri`] for what cannot be a folder.
pub(crate) fn parse_place(text: &str, base: &Path) -> Result<String, CommandError> {
    let invalid = |rule| CommandError::InvalidUri {
        uri: text.to_owned(),
        rule,
    };
    if text.is_empty() {
        return Err(invalid("it is empty"));
    }
    let scheme = split_scheme(text).map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest));
    let path = match scheme
        .as_ref()
        .map(|(scheme, rest)| (scheme.as_str(), *rest))
    {
        // `s3//bucket` is a slip of the finger more often than a folder.
        None if ["s3:", "s3//", "s3a//"]
            .iter()
            .any(|it| text.starts_with(it)) =>
        {
            return Err(invalid(S3_FORM));
        }
        None => match text.strip_prefix('~') {
            Some(rest) => at_home(rest).map_err(invalid)?,
            None => base.join(text),
        },
        Some(("file", rest)) => {
            // `file:/a` and `file:///a` name the same folder, and so does `file://localhost/a`.
            let path = rest
                .strip_prefix("//localhost/")
                .or_else(|| rest.strip_prefix("///"))
                .or_else(|| rest.strip_prefix('/').filter(|path| !path.starts_with('/')))
                .ok_or_else(|| invalid("a file:// URI needs an absolute path and no host"))?;
            Path::new("/").join(path)
        }
        Some(("s3" | "s3a" | "s3n", rest)) => return bucket_place(rest).map_err(invalid),
        Some(_) => {
            return Err(CommandError::UnsupportedScheme {
                uri: text.to_owned(),
            });
        }
    };
    let path = std::path::absolute(&path).map_err(|_| invalid("it is not a path"))?;
    let path = path.to_str().ok_or_else(|| invalid("it is not UTF-8"))?;
    if path.contains(['\n', '\r', '\0']) {
        return Err(invalid("it contains a control character"));
    }
    // POSIX lets two leading slashes stand for something else; Linux does not.
    match path.trim_matches('/') {
        "" => Err(invalid("the root of the file system cannot be used")),
        path => Ok(format!("file:///{path}")),
    }
}

/// What `~` and `rest` stand for.
fn at_home(rest: &str) -> Result<PathBuf, &'static str> {
    let below = match rest.strip_prefix('/') {
        Some(below) => below,
        None if rest.is_empty() => "",
        None => return Err("only ~/ stands for a home folder; a folder of that name is ./~"),
    };
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    let home = home.ok_or("there is no home folder that ~ could stand for")?;
    Ok(home.join(below.trim_start_matches('/')))
}

/// A URI as people type it: a folder by its path.
pub(crate) fn typed(uri: &str) -> &str {
    uri.strip_prefix("file://").unwrap_or(uri)
}

/// Makes the one spelling of what stands behind `s3:`.
fn bucket_place(rest: &str) -> Result<String, &'static str> {
    let place = rest.strip_prefix("//").ok_or(S3_FORM)?;
    let place = place.trim_end_matches('/');
    let (bucket, prefix) = match place.split_once('/') {
        Some((bucket, prefix)) => (bucket, Some(prefix)),
        None => (place, None),
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html; underscores are of older days.
    if bucket.is_empty() {
        return Err(S3_FORM);
    }
    if !bucket.chars().all(allowed) {
        return Err("a bucket's name has lower-case letters, digits, dots and hyphens only");
    }
    if !(3..=63).contains(&bucket.len()) {
        return Err("a bucket's name has 3 to 63 characters");
    }
    let at_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !bucket.starts_with(at_edge) || !bucket.ends_with(at_edge) || bucket.contains("..") {
        return Err(
            "a bucket's name begins and ends with a letter or digit, and has no two dots in a row",
        );
    }
    match prefix {
        Some(prefix) if prefix.contains(['\n', '\r', '\0']) => {
            Err("it contains a control character")
        }
        Some(prefix) if prefix.len() > LONGEST_PREFIX => {
            Err("its prefix leaves no room for the keys below it")
        }
        Some(_) | None => Ok(format!("s3://{place}")),
    }
}

/// Splits `s3://bucket` into `s3` and `//bucket`; a plain path has no scheme, also one with a colon in it.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let named = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    (named && rest.starts_with('/')).then_some((scheme, rest))
}

/// Makes `text` the URI of a place outside a table's folder that its log may name files in.
///
/// # Errors
/// As [`parse_place`]; a folder of this machine for a table on S3.
pub(crate) fn parse_outside(text: &str, base: &Path, table: &str) -> Result<String, CommandError> {
    let place = parse_place(text, base)?;
    if table.starts_with("s3://") && place.starts_with("file://") {
        return Err(CommandError::InvalidUri {
            uri: place,
            rule: "a table on S3 names no file of this machine",
        });
    }
    Ok(place)
}

/// Whether two places are one, or one lies in the other.
pub(crate) fn overlap(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim_end_matches('/'), b.trim_end_matches('/'));
    let lies_in = |inner: &str, outer: &str| {
        let rest = inner.strip_prefix(outer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    lies_in(a, b) || lies_in(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<String, CommandError> {
        parse_place(text, Path::new("/home/ann"))
    }

    #[test]
    fn every_spelling_of_a_folder_becomes_one() {
        for same in [
            "/lake/a b",
            "/lake/a b/",
            "/lake//a b",
            "//lake/a b",
            "../../lake/a b/.",
            "file:/lake/a b",
            "file:///lake/a b/",
            "file://localhost/lake/a b",
        ] {
            let uri = place(same).unwrap();
            assert_eq!(
                uri.replace("/home/ann/../../", "/"),
                "file:///lake/a b",
                "{same}"
            );
        }
        assert_eq!(place("lake").unwrap(), "file:///home/ann/lake");
        assert_eq!(place("a:b").unwrap(), "file:///home/ann/a:b");
        assert_eq!(place("file:///a%20b").unwrap(), "file:///a%20b");
    }

    #[test]
    fn a_tilde_stands_for_the_home_folder_and_for_nobody_elses() {
        let home = std::env::home_dir().unwrap();
        let home = home.to_str().unwrap();
        assert_eq!(place("~/a b").unwrap(), format!("file://{home}/a b"));
        assert_eq!(place("~").unwrap(), format!("file://{home}"));
        assert_eq!(place("./~/x").unwrap(), "file:///home/ann/~/x");
        assert_eq!(place("a~b").unwrap(), "file:///home/ann/a~b");
        let refused = place("~bob/x").unwrap_err();
        assert!(matches!(refused, CommandError::InvalidUri { .. }));
    }

    #[test]
    fn every_spelling_of_a_place_on_s3_becomes_one_and_its_key_stays_literal() {
        for (given, place_of_it) in [
            ("s3://lake", "s3://lake"),
            ("s3://lake/", "s3://lake"),
            ("S3A://lake/sales/orders//", "s3://lake/sales/orders"),
            ("s3n://my.lake-1/a//b", "s3://my.lake-1/a//b"),
            ("s3://lake/a%20b/ü ?#/.", "s3://lake/a%20b/ü ?#/."),
        ] {
            assert_eq!(place(given).unwrap(), place_of_it, "{given}");
        }
    }

    #[test]
    fn what_can_be_no_bucket_is_refused_with_the_rule() {
        for (bad, rule) in [
            ("s3:/lake/x", "s3://bucket/prefix"),
            ("s3:lake/x", "s3://bucket/prefix"),
            ("s3//lake/x", "s3://bucket/prefix"),
            ("s3://", "s3://bucket/prefix"),
            ("s3:///x", "s3://bucket/prefix"),
            ("s3://Lake/x", "lower-case"),
            ("s3://la+ke/x", "lower-case"),
            ("s3://lake:9000/x", "lower-case"),
            ("s3://ab/x", "3 to 63"),
            ("s3://-lake/x", "begins and ends"),
            ("s3://la..ke/x", "two dots"),
            ("s3://lake/a\nb", "control"),
        ] {
            let refused = place(bad).unwrap_err();
            assert!(matches!(refused, CommandError::InvalidUri { .. }), "{bad}");
            assert!(refused.to_string().contains(rule), "{bad}: {refused}");
        }
        let long = format!("s3://lake/{}", "x".repeat(LONGEST_PREFIX + 1));
        assert!(place(&long).is_err());
    }

    #[test]
    fn what_is_neither_a_folder_nor_on_s3_is_refused() {
        for bad in ["gs://bucket/x", "abfss://c@a/x", "http://h/x"] {
            assert!(
                matches!(place(bad), Err(CommandError::UnsupportedScheme { .. })),
                "{bad}"
            );
        }
        for bad in ["", "/", "file:///", "file://host/x", "file://", "/a\nb"] {
            assert!(
                matches!(place(bad), Err(CommandError::InvalidUri { .. })),
                "{bad}"
            );
        }
    }
}
