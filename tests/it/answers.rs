//! What a store on S3 makes of answers: the seeds of the fuzz target of the same name, `tests/fuzz/seeds/answer/`.

use std::fs;
use std::path::Path;

#[path = "../fuzz/answers.rs"]
mod made_up;

/// What a call came to on the answers of a file.
fn came(file: &str, call: &str) -> String {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds/answer");
    let ended = made_up::check(&fs::read(seeds.join(file)).unwrap());
    let mut ended = ended.into_iter();
    let (_, came) = ended.find(|(name, _)| *name == call).unwrap();
    came
}

#[test]
fn each_call_makes_of_an_answer_what_it_says_and_ends_on_nonsense() {
    for (file, call, expected) in [
        ("list", "list", "3"),
        ("list-stuck", "list", "does not lead on"),
        ("versions", "list_versions", "6"),
        ("object", "open", "1"),
        ("object", "attributes", "size: 12"),
        ("object", "locked_until", "2030-01-01T00:00:00Z"),
        ("short", "open", "changed"),
        ("lock", "attributes", "lacks"),
        ("hold", "is_held", "true"),
        ("deleted", "delete_versions", "[Deleted]"),
        ("not-deleted", "delete_versions", "Locked"),
        ("errors", "attributes", "no such object"),
        (
            "error-denied",
            "list",
            "AccessDenied: User: arn is not authorized",
        ),
        ("error-region", "list", "eu-west-1"),
        (
            "error-in-200",
            "list",
            "the server answered 200 InternalError: x",
        ),
        (
            "foreign",
            "open",
            "502 with something other than an error of S3",
        ),
    ] {
        let came = came(file, call);
        assert!(came.contains(expected), "{file} {call}: {came}");
    }
    for nonsense in [
        "",
        "\n###\n",
        "999\n\n<",
        "200\n\n<ListBucketResult><IsTruncated>true</IsTruncated>",
    ] {
        made_up::check(nonsense.as_bytes());
    }
}
