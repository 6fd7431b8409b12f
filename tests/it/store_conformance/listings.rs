//! Keys of any spelling, and how they are listed.

use std::collections::BTreeSet;

use deltavault::store::{ListedVersion, Payload, read_all};
use futures::stream::{StreamExt, TryStreamExt};

use super::{Subject, content, key, names, put};

pub(super) async fn odd_keys_go_through_unharmed(subject: &Subject) {
    let store = &*subject.store;
    let long = ["x".repeat(200), "y".repeat(200), "z".repeat(200)].join("/");
    let odd = [
        "space in/part 1.parquet",
        " leading and trailing ",
        "date=2024-01-01 00%3A00%3A00/part-0.parquet",
        "date=2024-01-01 00:00:00/part-0.parquet",
        "percent/100%",
        "percent/%2F",
        "percent/%252F",
        "plus/a+b",
        "plus/a b",
        "nfc/caf\u{e9}",
        "nfd/cafe\u{301}",
        "both/\u{e9}",
        "both/e\u{301}",
        "crab/\u{1f980}",
        "signs/&=?#;:@$,'\"<>[]{}|^~`!()*",
        "back\\slash",
        ".hidden/.name",
        "_delta_log/..a/b..",
        "...",
        "-",
        "~",
        long.as_str(),
    ];
    for name in odd {
        put(store, name, name.to_owned()).await;
    }
    for name in odd {
        assert_eq!(content(store, name).await, name);
        assert_eq!(names(store, name, None).await, [name]);
    }
    let expected: BTreeSet<&str> = odd.into_iter().collect();
    let listed = names(store, "", None).await;
    assert!(
        listed.iter().map(String::as_str).eq(expected),
        "{listed:#?}"
    );
}

pub(super) async fn a_listing_is_in_byte_order_and_prefixes_are_strings(subject: &Subject) {
    let store = &*subject.store;
    let mut keys = [
        "B", "a!", "a-/x", "a-b", "a.b", "a/b", "a/b.c", "a/c/d", "a/c/e/f", "a/c-d", "a/c0", "a0",
        "aa/b", "b", "z/z/z", "\u{e9}/x",
    ];
    for name in keys {
        put(store, name, name).await;
    }
    keys.sort_unstable();
    assert_eq!(names(store, "", None).await, keys);

    let prefixes = [
        "", "a", "a/", "a/b", "a/c", "a/c/", "a/c/e/f", "a-", "z/z", "zz", "\u{e9}", "no/such/",
        "a//", "a/./", "../", "/", ".",
    ];
    let afters = ["", "a", "a/", "a/c", "a/c/", "a/c/e/", "a/cz", "a0", "zz"];
    // MinIO has no such keys, and says so even where they are only a prefix.
    let odd = |prefix: &str| {
        format!("/{prefix}").contains("//") || prefix.split('/').any(|it| it.ends_with('.'))
    };
    for (position, prefix) in prefixes.into_iter().enumerate() {
        if subject.remote && odd(prefix) {
            continue;
        }
        let expected = keys.iter().filter(|key| key.starts_with(prefix));
        assert_eq!(
            names(store, prefix, None).await,
            expected.copied().collect::<Vec<_>>(),
            "prefix {prefix:?}"
        );
        let step = if subject.remote { 5 } else { 1 };
        let afters = afters.into_iter().chain(keys).skip(position % step);
        for after in afters.step_by(step) {
            let wanted = |key: &&&str| key.starts_with(prefix) && ***key > *after;
            let expected: Vec<_> = keys.iter().filter(wanted).copied().collect();
            assert_eq!(
                names(store, prefix, Some(after)).await,
                expected,
                "prefix {prefix:?} after {after:?}"
            );
            let versions = store.list_versions(prefix, Some(after));
            assert_eq!(versions.count().await, expected.len());
        }
    }
}

pub(super) async fn an_empty_store_lists_as_empty(subject: &Subject) {
    let store = &*subject.store;
    for prefix in ["", "folder/", "folder/a"] {
        assert!(names(store, prefix, None).await.is_empty());
        assert_eq!(store.list_versions(prefix, None).count().await, 0);
    }
}

pub(super) async fn versions_are_listed_oldest_first(subject: &Subject) {
    let store = &*subject.store;
    put(store, "a", "1").await;
    put(store, "b", "1").await;
    for bytes in ["22", "333"] {
        let seen = store.attributes(&key("a"), None).await.unwrap().etag;
        let payload = Payload::from_bytes(bytes);
        store.replace(&key("a"), &payload, &seen).await.unwrap();
    }
    let seen = store.attributes(&key("b"), None).await.unwrap().etag;
    store.remove(&key("b"), &seen).await.unwrap();

    let rows: Vec<_> = store.list_versions("", None).try_collect().await.unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| match row {
            ListedVersion::Object(object) => (object.key.as_str(), Some(object.size)),
            ListedVersion::DeleteMarker { key } => (key.as_str(), None),
        })
        .collect();
    if !subject.versions {
        assert_eq!(told, [("a", Some(3))]);
        return;
    }
    let expected = [
        ("a", Some(1)),
        ("a", Some(2)),
        ("a", Some(3)),
        ("b", Some(1)),
        ("b", None),
    ];
    assert_eq!(told, expected);
    for row in &rows {
        let ListedVersion::Object(object) = row else {
            continue;
        };
        let version = object.version.as_ref();
        assert!(version.is_some());
        let (found, bytes) = read_all(store, &object.key, version, 10).await.unwrap();
        assert_eq!(found.version, object.version);
        assert_eq!(bytes.len() as u64, object.size);
    }
    assert_eq!(names(store, "", None).await, ["a"]);
    // What is hidden below a delete marker counts as absent.
    put(store, "b", "again").await;
}
