//! Paths and URIs as people type them, made into the one spelling that the rest uses.
//!
//! A local place becomes `file://` and an absolute path without a trailing slash. Links are not followed here:
//! what a path leads to is the store's business.

use std::path::Path;

use deltavault::Error;

/// Makes `text` a URI. A relative path is taken from `base`.
///
/// A `file:` URI is taken literally, never percent-decoded: it is what the vault records and prints.
///
/// # Errors
/// [`Error::UnsupportedScheme`] for another scheme, [`Error::InvalidUri`] for what cannot be a folder.
pub(crate) fn parse_place(text: &str, base: &Path) -> Result<String, Error> {
    let invalid = |rule| Error::InvalidUri {
        uri: text.to_owned(),
        rule,
    };
    if text.is_empty() {
        return Err(invalid("it is empty"));
    }
    let path = match split_scheme(text) {
        None => base.join(text),
        Some(("file", rest)) => {
            // `file:/a` and `file:///a` name the same folder, and so does `file://localhost/a`.
            let path = rest
                .strip_prefix("//localhost/")
                .or_else(|| rest.strip_prefix("///"))
                .or_else(|| rest.strip_prefix('/').filter(|path| !path.starts_with('/')))
                .ok_or_else(|| invalid("a file:// URI needs an absolute path and no host"))?;
            Path::new("/").join(path)
        }
        Some(_) => {
            return Err(Error::UnsupportedScheme {
                uri: text.to_owned(),
            });
        }
    };
    let path = std::path::absolute(&path).map_err(|_| invalid("it is no path"))?;
    let path = path.to_str().ok_or_else(|| invalid("it is not UTF-8"))?;
    if path.contains(['\n', '\r', '\0']) {
        return Err(invalid("it contains a control character"));
    }
    // POSIX lets two leading slashes stand for something else; Linux does not.
    match path.trim_matches('/') {
        "" => Err(invalid("the root of the file system is no place for this")),
        path => Ok(format!("file:///{path}")),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str) -> Result<String, Error> {
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
    fn what_is_no_local_folder_is_refused() {
        for bad in ["s3://bucket/x", "abfss://c@a/x", "http://h/x"] {
            assert!(
                matches!(place(bad), Err(Error::UnsupportedScheme { .. })),
                "{bad}"
            );
        }
        for bad in ["", "/", "file:///", "file://host/x", "file://", "/a\nb"] {
            assert!(matches!(place(bad), Err(Error::InvalidUri { .. })), "{bad}");
        }
    }
}
