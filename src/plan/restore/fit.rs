//! What cannot lie in a folder although it could on S3: a file below another file.

use crate::ids::ObjectKey;

/// Finds keys that lie below another one, `a/b` below `a`, among keys that come in ascending order.
#[derive(Debug, Default)]
pub struct Nesting {
    /// Each is the beginning of the next, and of every key that may still follow below it.
    open: Vec<ObjectKey>,
}

impl Nesting {
    /// Takes the next key; returns the one that it lies below.
    pub fn below(&mut self, key: &ObjectKey) -> Option<ObjectKey> {
        let begins = |above: &ObjectKey| key.as_str().strip_prefix(above.as_str());
        while self.open.last().is_some_and(|top| begins(top).is_none()) {
            self.open.pop();
        }
        let is_above = |above: &&ObjectKey| begins(above).is_some_and(|rest| rest.starts_with('/'));
        let found = self.open.iter().find(is_above).cloned();
        self.open.push(key.clone());
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_below_another_is_found_whatever_lies_between() {
        let keys = [
            "a", "a!", "a!/x", "a-b", "a/b", "a/b/c", "a0", "aa/b", "b/c", "b/d",
        ];
        let mut sorted = keys;
        sorted.sort_unstable();
        assert_eq!(sorted, keys);
        let mut nesting = Nesting::default();
        let found: Vec<_> = keys
            .iter()
            .filter_map(|key| nesting.below(&key.parse().unwrap()))
            .map(|above| above.to_string())
            .collect();
        assert_eq!(found, ["a!", "a", "a"]);
    }
}
