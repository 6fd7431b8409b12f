//! Files that a log names outside its table's folder: a shallow clone's, a table's that was made in place. Whoever writes a
//! log chooses these names, so the owner lists the places that are meant: else a log could have any file read into the
//! vault that the snapshotter may read, and any file written that the restorer may write.

use std::collections::BTreeSet;

/// The places outside a table's folder that its log may name files in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside(Vec<String>);

impl Outside {
    /// Lists places, spelled as the paths of a log are resolved: `s3://bucket/folder`, `file:/folder`.
    pub fn new(places: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        let ended = |place: &str| format!("{}/", place.trim_end_matches('/'));
        Self(places.into_iter().map(|it| ended(it.as_ref())).collect())
    }

    /// The innermost place that a file lies in.
    pub fn place_of(&self, file: &str) -> Option<&str> {
        let places = self.0.iter().map(String::as_str);
        places
            .filter(|place| file.starts_with(place))
            .max_by_key(|place| place.len())
    }
}

/// Folders of files that nobody listed, for a message.
#[derive(Debug, Default)]
pub struct Folders {
    /// How many files there are.
    pub files: u64,
    folders: BTreeSet<String>,
}

/// The longest path of a folder: that of a key on S3, with bucket and scheme.
const FOLDER_MAX: usize = 1200;

/// Folders that a message names; of more, what they have in common.
const NAMED: usize = 8;

impl Folders {
    /// Takes note of a file.
    pub fn note(&mut self, file: &str) {
        self.files += 1;
        let folder = folder_of(file);
        // No folder has a longer name, and of the others nothing can be listed.
        if folder.len() > FOLDER_MAX || !is_folder(folder) {
            return;
        }
        self.folders.insert(folder.to_owned());
        if self.folders.len() > NAMED {
            self.join();
        }
    }

    /// Folders that the files lie in, at most eight, and none in another. None of them is a whole file system or the list of
    /// buckets: of files in too many places, the last ones are left out.
    pub fn named(self) -> Vec<String> {
        let mut named: Vec<String> = Vec::new();
        for folder in self.folders {
            // They are sorted, so a folder follows the one that it lies in.
            if named.last().is_none_or(|last| !folder.starts_with(last)) {
                named.push(folder);
            }
        }
        named
    }

    /// Replaces the two neighbours that have most in common by that.
    fn join(&mut self) {
        let folders: Vec<_> = self.folders.iter().cloned().collect();
        let pairs = folders.windows(2).filter_map(|pair| match pair {
            [a, b] => Some((common(a, b)?, a, b)),
            _ => None,
        });
        let Some((common, a, b)) = pairs.max_by_key(|(common, ..)| common.len()) else {
            self.folders.pop_last();
            return;
        };
        self.folders.remove(a);
        self.folders.remove(b);
        self.folders.insert(common);
    }
}

/// The folder that two folders lie in, below the bucket or the root.
fn common(a: &str, b: &str) -> Option<String> {
    let same = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let folder = a.get(..=a.get(..same)?.rfind('/')?)?;
    is_folder(folder).then(|| folder.to_owned())
}

/// Whether it is more than a scheme, a root or the start of a bucket's name.
fn is_folder(place: &str) -> bool {
    let below = place
        .strip_prefix("file:/")
        .or_else(|| place.split_once("://").map(|(_, below)| below));
    below.is_some_and(|below| !below.is_empty())
}

/// The folder of a file, without those of its partition: `s3://b/t/` for `s3://b/t/day=1/part.parquet`.
fn folder_of(file: &str) -> &str {
    let mut folder = above(file);
    while folder
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .is_some_and(|last| last.contains('='))
    {
        folder = above(folder.trim_end_matches('/'));
    }
    folder
}

fn above(path: &str) -> &str {
    let end = path.rfind('/').map_or(0, |slash| slash + 1);
    path.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_allowed_below_a_listed_place_alone() {
        let outside = Outside::new(["s3://lake/base", "file:/lake/base/", "file:/lake/base/in"]);
        for (file, place) in [
            ("s3://lake/base/a.parquet", Some("s3://lake/base/")),
            ("s3://lake/base/p=1/a.parquet", Some("s3://lake/base/")),
            ("file:/lake/base/in/a.parquet", Some("file:/lake/base/in/")),
            ("s3://lake/base", None),
            ("s3://lake/based/a.parquet", None),
            ("s3://other/base/a.parquet", None),
            ("file:/lake/a.parquet", None),
            ("file:/etc/passwd", None),
        ] {
            assert_eq!(outside.place_of(file), place, "{file}");
        }
        assert_eq!(Outside::default().place_of("file:/etc/passwd"), None);
    }

    #[test]
    fn folders_are_named_without_partitions_and_at_most_eight() {
        let named = |files: &[String]| {
            let mut folders = Folders::default();
            for file in files {
                folders.note(file);
            }
            (folders.files, folders.named())
        };
        let days = (1..=20).map(|day| format!("s3://b/base/day={day}/hour=3/a.parquet"));
        let days: Vec<_> = days.collect();
        assert_eq!(named(&days), (20, vec!["s3://b/base/".to_owned()]));
        let many = (1..=20).map(|it| format!("s3://b/t{it}/a.parquet"));
        let mut many: Vec<_> = many.chain(["file:/etc/passwd".to_owned()]).collect();
        let (files, folders) = named(&many);
        assert_eq!((files, folders.len() <= NAMED), (21, true));
        let listed = Outside::new(&folders);
        assert!(
            many.iter().all(|it| listed.place_of(it).is_some()),
            "{folders:?}"
        );
        many.extend((1..=9).map(|it| format!("s3://bucket-{it}/a.parquet")));
        let (_, folders) = named(&many);
        assert!(
            folders.len() <= NAMED && folders.iter().all(|it| is_folder(it)),
            "{folders:?}"
        );
    }
}
