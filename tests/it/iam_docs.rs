//! `iam/` as files: the README knows every statement and no other, the examples are what is rendered, and every
//! document fits into what AWS takes.

use std::collections::BTreeSet;
use std::path::Path;

use deltavault::format::EventRole;
use deltavault::iam::{Document, Flavor, Location, Params, Role, render};

/// What each kind of document may have, characters without white space: "IAM and AWS STS quotas", "Bucket policies",
/// "Quotas for AWS Organizations", "KMS quotas".
fn limit(document: Document) -> usize {
    match document {
        Document::Role(_) => 6144,
        Document::Trust => 2048,
        Document::BucketPolicy | Document::SourceGrant => 20 * 1024,
        Document::KmsKeyPolicy => 32 * 1024,
        Document::Scp => 5120,
    }
}

fn file(document: Document) -> String {
    match document {
        Document::Role(role) => format!("{role}.json"),
        Document::Trust => "trust.json".to_owned(),
        Document::BucketPolicy => "bucket-policy.json".to_owned(),
        Document::SourceGrant => "source-grant.json".to_owned(),
        Document::KmsKeyPolicy => "kms-key-policy.json".to_owned(),
        Document::Scp => "scp.json".to_owned(),
    }
}

/// The made-up vault of the examples.
fn params() -> Params {
    Params {
        sources: vec![Location::parse("s3://acme-lake/sales").unwrap()],
        account: Some("111122223333".to_owned()),
        break_glass: vec!["arn:aws:iam::111122223333:role/break-glass".to_owned()],
        trusted: vec!["arn:aws:iam::444455556666:role/backup-runner".to_owned()],
        external_id: Some("acme-7".to_owned()),
        kms_key: Some("arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d".to_owned()),
        source_kms_keys: vec!["arn:aws:kms:eu-west-1:444455556666:key/9f8e7d6c".to_owned()],
        vpc_endpoints: vec!["vpce-0a1b2c3d4e5f67890".to_owned()],
        org_ids: vec!["o-a1b2c3d4e5".to_owned()],
        ..Params::new(Location::parse("s3://acme-vault/lake").unwrap())
    }
}

/// Whatever the bucket's policy refuses besides.
#[test]
fn a_role_s_own_policy_lets_it_write_events_into_its_own_chain_alone() {
    for role in Role::ALL {
        let policy = render(Document::Role(role), &params(), Flavor::Aws).unwrap();
        let policy = serde_json::to_value(&policy.policy).unwrap();
        let statements = policy["Statement"].as_array().unwrap().iter();
        let puts = statements.filter(|it| it["Action"].to_string().contains("\"s3:PutObject\""));
        let on: String = puts.map(|it| it["Resource"].to_string()).collect();
        let events: Vec<&str> = on.split('"').filter(|it| it.contains("/events/")).collect();
        let own = format!("arn:aws:s3:::acme-vault/lake/tables/*/events/{role}/*");
        let writes = EventRole::ALL.iter().any(|it| it.as_str() == role.as_str());
        assert_eq!(events, if writes { vec![own.as_str()] } else { vec![] });
    }
}

#[test]
fn the_examples_are_what_is_rendered() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("iam/examples");
    let mut written = BTreeSet::new();
    for document in Document::all() {
        let rendered = render(document, &params(), Flavor::Aws).unwrap();
        let path = folder.join(file(document));
        if std::env::var_os("DELTAVAULT_TEST_WRITE_EXAMPLES").is_some() {
            std::fs::write(&path, rendered.text().unwrap()).unwrap();
        }
        let example = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            example == rendered.text().unwrap(),
            "{} is not what is rendered",
            path.display()
        );
        written.insert(file(document));
    }
    let found = std::fs::read_dir(&folder).unwrap();
    let found = found.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(found.collect::<BTreeSet<_>>(), written);
}

/// The longest names that AWS takes, and several of each.
fn longest_names() -> Params {
    let arn = |name: char| {
        let name = name.to_string().repeat(64);
        format!("arn:aws-us-gov:iam::111122223333:role/{name}")
    };
    let bucket = |name: char| name.to_string().repeat(63);
    let place = |name: char| {
        let prefix = "p".repeat(60);
        Location::parse(&format!("s3://{}/{prefix}", bucket(name))).unwrap()
    };
    Params {
        partition: "aws-us-gov".to_owned(),
        sources: vec![place('s'); 4],
        role_prefix: "r".repeat(52),
        break_glass: vec![arn('b'), arn('g')],
        trusted: vec![arn('t'); 8],
        org_ids: vec!["o-a1b2c3d4e5".to_owned()],
        vpc_endpoints: ["vpce-0a1b2c3d4e5f67890", "vpce-1a1b2c3d4e5f67890"]
            .map(str::to_owned)
            .to_vec(),
        ..Params {
            vault: place('v'),
            ..params()
        }
    }
}

#[test]
fn every_document_fits_into_what_aws_takes() {
    for params in [params(), longest_names()] {
        for document in Document::all() {
            let rendered = render(document, &params, Flavor::Aws).unwrap();
            let text = serde_json::to_string(&rendered.policy).unwrap();
            println!("{document}: {} of {}", text.len(), limit(document));
            assert!(text.len() <= limit(document), "{document}: {}", text.len());
        }
    }
}

#[test]
fn the_readme_gives_a_reason_and_a_source_for_every_statement_and_for_no_other() {
    let readme = include_str!("../../iam/README.md");
    let mut explained = BTreeSet::new();
    for line in readme.lines() {
        let Some((sid, rest)) = line
            .strip_prefix("| `")
            .and_then(|line| line.split_once("` | "))
        else {
            continue;
        };
        let (why, source) = rest.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        assert!(why.len() > 20, "{sid}: {why}");
        let label = source.rsplit_once('[').unwrap().1.trim_end_matches(']');
        let target = format!("\n[{label}]: https://docs.aws.amazon.com/");
        assert!(readme.contains(&target), "{sid}: {label} leads nowhere");
        assert!(explained.insert(sid.to_owned()), "{sid} is there twice");
    }
    let mut used = BTreeSet::new();
    for document in Document::all() {
        let rendered = render(document, &params(), Flavor::Aws).unwrap();
        used.extend(rendered.policy.statement.into_iter().map(|one| one.sid));
    }
    assert_eq!(explained, used);
}

#[test]
fn a_value_that_would_mean_something_else_is_refused() {
    let refused = |change: &dyn Fn(&mut Params)| {
        let mut params = params();
        change(&mut params);
        render(Document::BucketPolicy, &params, Flavor::Aws)
            .unwrap_err()
            .to_string()
    };
    let open = |params: &mut Params| params.break_glass = vec!["*".to_owned()];
    assert!(refused(&open).contains("patterns"));
    let none = |params: &mut Params| params.break_glass.clear();
    assert!(refused(&none).contains("--break-glass"));
    let nobody = |params: &mut Params| params.account = None;
    assert!(refused(&nobody).contains("--account"));
    let short = |params: &mut Params| params.account = Some("1234".to_owned());
    assert!(refused(&short).contains("twelve digits"));
    let name = |params: &mut Params| params.break_glass = vec!["ann".to_owned()];
    assert!(refused(&name).contains("ARN"));
    let endpoint = |params: &mut Params| params.vpc_endpoints = vec!["vpc-1".to_owned()];
    assert!(refused(&endpoint).contains("vpce-"));
    let organisation = |params: &mut Params| params.org_ids = vec!["acme".to_owned()];
    assert!(refused(&organisation).contains("o-"));
    for inside in [
        "s3://acme-vault",
        "s3://acme-vault/lake/blobs",
        "s3://acme-vault/other",
    ] {
        let source = |params: &mut Params| params.sources.push(Location::parse(inside).unwrap());
        assert!(refused(&source).contains("vault's own bucket"), "{inside}");
    }
    for bad in [
        "s3://*",
        "s3://*/sales",
        "s3://la?e/sales",
        "s3://Lake/sales",
        "s3://lake/a*",
        "s3://lake/${b}",
        "s3://lake/\"",
        "file:///lake",
        "s3://",
    ] {
        assert!(Location::parse(bad).is_err(), "{bad}");
    }
    let mut two = params();
    two.sources.push(Location::parse("s3://other").unwrap());
    assert!(render(Document::SourceGrant, &two, Flavor::Aws).is_err());
    assert!(render(Document::BucketPolicy, &two, Flavor::Minio).is_err());
}

#[test]
fn what_has_no_key_and_no_source_has_no_statement_about_them() {
    let bare = Params::new(Location::parse("s3://acme-vault").unwrap());
    for role in Role::ALL {
        let rendered = render(Document::Role(role), &bare, Flavor::Aws).unwrap();
        let text = rendered.text().unwrap();
        assert!(!text.contains("kms:") && !text.contains("Source"), "{text}");
        assert!(text.contains("arn:aws:s3:::acme-vault/"), "{text}");
        assert!(!text.contains("acme-vault//"), "{text}");
    }
}

#[test]
fn terraform_gives_a_value_to_every_placeholder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("iam");
    let values = std::fs::read_to_string(folder.join("terraform/documents.tf")).unwrap();
    let mut templates = Vec::new();
    for place in ["", "roles"] {
        let entries = std::fs::read_dir(folder.join(place)).unwrap();
        templates.extend(entries.map(|entry| entry.unwrap().path()));
    }
    templates.retain(|path| path.extension().is_some_and(|it| it == "json"));
    assert_eq!(templates.len(), 11, "{templates:?}");
    for path in templates {
        let text = std::fs::read_to_string(&path).unwrap();
        // Terraform would read this as the beginning of a directive.
        assert!(!text.contains("%{"), "{}", path.display());
        for placeholder in text.split("${").skip(1) {
            let name = placeholder.split_once('}').unwrap().0;
            let given = values.lines().any(|line| {
                let line = line.trim_start().strip_prefix(name);
                line.is_some_and(|rest| rest.trim_start().starts_with("= "))
            });
            assert!(given, "{}: {name}", path.display());
        }
    }
}
