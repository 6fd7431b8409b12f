//! `iam/terraform`: the module fills in the same documents as `iam render`, refuses the variables that would open a wall,
//! and records and rings as `iam/README.md` says. Where a `terraform` is on the PATH it is asked, without a provider: of
//! the module, the files that need none are `variables.tf`, `documents.tf` and `alarms.tf`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use deltavault::format::LockMode;
use deltavault::iam::{Document, Flavor, Location, Params, Role, render};
use serde_json::{Value, json};

mod variables;

const ACCOUNT: &str = "111122223333";
const BREAK_GLASS: &str = "arn:aws:iam::111122223333:role/break-glass";
const RUNNER: &str = "arn:aws:iam::444455556666:role/backup-runner";
const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:security";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d";
const SOURCE_KEY: &str = "arn:aws:kms:eu-west-1:444455556666:key/9f8e7d6c";
const REPLICA_RESTORER: &str = "arn:aws:iam::111122223333:role/deltavault-replica-restorer";

/// What `account.tf` would find out, and what is wanted of the module.
const STAND_IN: &str = r#"
locals {
  partition = "aws"
  account   = "111122223333"
  region    = "eu-west-1"
}
output "documents" { value = local.documents }
output "kms" { value = local.kms_key_policy }
output "alarms" { value = local.alarms }
output "trust" {
  value     = local.trust_policies
  sensitive = true
}
"#;

fn iam() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("iam")
}

fn module(file: &str) -> String {
    std::fs::read_to_string(iam().join("terraform").join(file)).unwrap()
}

/// Whether there is a Terraform that checks variables against each other.
fn has_terraform() -> bool {
    let asked = Command::new("terraform")
        .args(["version", "-json"])
        .output();
    let version = asked.ok().and_then(|said| {
        let said: Value = serde_json::from_slice(&said.stdout).ok()?;
        let version = said["terraform_version"].as_str()?.to_owned();
        let mut numbers = version.split('.').map(|it| it.parse::<u32>().ok());
        Some((numbers.next()??, numbers.next()??))
    });
    let is_there = version.is_some_and(|version| version >= (1, 9));
    if !is_there {
        println!("SKIPPED: no terraform from 1.9 on the PATH");
    }
    is_there
}

/// A folder with the files of the module that need no provider.
fn folder(files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("iam/terraform");
    std::fs::create_dir_all(&to).unwrap();
    std::fs::create_dir_all(folder.path().join("iam/roles")).unwrap();
    for place in ["", "roles"] {
        for entry in std::fs::read_dir(iam().join(place)).unwrap() {
            let entry = entry.unwrap();
            if entry.path().extension().is_some_and(|it| it == "json") {
                let name = Path::new("iam").join(place).join(entry.file_name());
                std::fs::copy(entry.path(), folder.path().join(name)).unwrap();
            }
        }
    }
    for file in files {
        std::fs::write(to.join(file), module(file)).unwrap();
    }
    folder
}

fn terraform(folder: &Path, words: &[&str], variables: &Value) -> Output {
    let at = folder.join("iam/terraform");
    std::fs::write(at.join("terraform.tfvars.json"), variables.to_string()).unwrap();
    Command::new("terraform")
        .args(words)
        .current_dir(at)
        .env_remove("TF_CLI_ARGS")
        .env("TF_IN_AUTOMATION", "1")
        .env("CHECKPOINT_DISABLE", "1")
        .output()
        .unwrap()
}

fn variables() -> Value {
    let trusted = Role::ALL.map(|role| (role.to_string(), json!([RUNNER])));
    json!({
        "bucket": "acme-vault",
        "prefix": "lake",
        "sources": [{"bucket": "acme-lake", "prefix": "sales"}],
        "source_kms_key_arns": [SOURCE_KEY],
        "trusted_arns": serde_json::Map::from_iter(trusted),
        "external_id": "acme-7",
        "break_glass_arns": [BREAK_GLASS],
        "alarm_topic_arns": [TOPIC],
    })
}

/// The variables, with some of them changed.
fn with(changes: Value) -> Value {
    let mut all = variables();
    let Value::Object(changes) = changes else {
        panic!("{changes}")
    };
    for (name, value) in changes {
        all[name] = value;
    }
    all
}

fn params(vault: &str) -> Params {
    let mut params = Params {
        sources: vec![Location::parse("s3://acme-lake/sales").unwrap()],
        source_kms_keys: vec![SOURCE_KEY.to_owned()],
        account: Some(ACCOUNT.to_owned()),
        break_glass: vec![BREAK_GLASS.to_owned()],
        trusted: vec![RUNNER.to_owned()],
        external_id: Some("acme-7".to_owned()),
        ..Params::new(Location::parse(vault).unwrap())
    };
    params.set_days(3, 400, 10);
    params
}

fn rendered(document: Document, params: &Params) -> Value {
    let rendered = render(document, params, Flavor::Aws).unwrap();
    serde_json::to_value(rendered.policy).unwrap()
}

fn parsed(text: &Value) -> Value {
    serde_json::from_str(text.as_str().unwrap_or_else(|| panic!("{text}"))).unwrap()
}

/// What the module gives out for some variables.
fn outputs(variables: &Value) -> Value {
    let folder = folder(&["variables.tf", "documents.tf", "alarms.tf"]);
    std::fs::write(folder.path().join("iam/terraform/stand-in.tf"), STAND_IN).unwrap();
    let words = ["apply", "-auto-approve", "-input=false", "-no-color"];
    let applied = terraform(folder.path(), &words, variables);
    assert!(applied.status.success(), "{applied:?}");
    let said = terraform(folder.path(), &["output", "-json"], variables);
    serde_json::from_slice(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"))
}

#[test]
fn the_module_fills_in_what_iam_render_does() {
    if !has_terraform() {
        return;
    }
    let full = json!({
        "lock_mode": "COMPLIANCE",
        "kms_key_arn": KEY,
        "vpc_endpoint_ids": ["vpce-0a1b2c3d4e5f67890"],
        "org_ids": ["o-a1b2c3d4e5"],
    });
    for changes in [json!({}), full] {
        let mut params = params("s3://acme-vault/lake");
        if changes["kms_key_arn"].is_string() {
            params.lock_mode = LockMode::Compliance;
            params.kms_key = Some(KEY.to_owned());
            params.vpc_endpoints = vec!["vpce-0a1b2c3d4e5f67890".to_owned()];
            params.org_ids = vec!["o-a1b2c3d4e5".to_owned()];
        }
        let outputs = outputs(&with(changes));
        let documents = &outputs["documents"]["value"];
        for document in Document::all() {
            let found = match document {
                Document::Role(role) => &documents[role.as_str()],
                Document::BucketPolicy => &documents["bucket-policy"],
                Document::SourceGrant => &documents["source-grant"],
                Document::Scp => &documents["scp"],
                Document::KmsKeyPolicy => &outputs["kms"]["value"],
                Document::Trust => &outputs["trust"]["value"]["pruner"],
            };
            assert_eq!(parsed(found), rendered(document, &params), "{document}");
        }
    }
}

#[test]
fn one_role_reads_the_replica_and_restores_from_it_and_reads_nothing_else() {
    if !has_terraform() {
        return;
    }
    let on_call = "arn:aws:iam::444455556666:role/on-call";
    let changes = json!({"replica_bucket": "acme-replica", "replica_trusted_arns": [on_call]});
    let outputs = outputs(&with(changes));
    let documents = &outputs["documents"]["value"];
    let replica = params("s3://acme-replica/lake");
    let own = rendered(Document::Role(Role::Restorer), &replica);
    assert_eq!(parsed(&documents["replica-restorer"]), own);
    assert!(!own.to_string().contains("acme-vault"));

    // The walls of both are the same, but for this role.
    let mut expected = rendered(Document::BucketPolicy, &replica);
    let exempt = "/Condition/ArnNotLike/aws:PrincipalArn";
    for statement in expected["Statement"].as_array_mut().unwrap() {
        let sid = statement["Sid"].as_str().unwrap();
        if [
            "DenyRestorerEventsByOthers",
            "DenyReadsByOthers",
            "DenyDataReadsByOthers",
        ]
        .contains(&sid)
        {
            let arns = statement.pointer_mut(exempt).unwrap();
            arns.as_array_mut().unwrap().push(REPLICA_RESTORER.into());
        }
    }
    assert_eq!(parsed(&documents["replica-bucket-policy"]), expected);
    let vault = parsed(&documents["bucket-policy"]).to_string();
    assert!(!vault.contains(REPLICA_RESTORER));
    for (document, may) in [("source-grant", true), ("scp", false), ("restorer", false)] {
        let said = documents[document].as_str().unwrap();
        assert_eq!(said.contains(REPLICA_RESTORER), may, "{document}");
    }
    let trust = parsed(&outputs["trust"]["value"]["replica-restorer"]);
    assert_eq!(trust["Statement"][0]["Principal"]["AWS"], json!([on_call]));
}

/// Names that `CloudTrail` gives to what has to ring.
const RINGS: [(&str, &[&str]); 10] = [
    (
        "trail-changes",
        &[
            "StopLogging",
            "DeleteTrail",
            "UpdateTrail",
            "PutEventSelectors",
        ],
    ),
    ("log-changes", &["DeleteLogGroup", "DeleteMetricFilter"]),
    ("alarm-changes", &["DeleteAlarms", "DisableAlarmActions"]),
    ("key-changes", &["ScheduleKeyDeletion", "PutKeyPolicy"]),
    ("side-doors", &["CreateAccess*"]),
    ("denied-deletes", &["DeleteObject", "DeleteObjects"]),
    ("deletes-by-others", &["DeleteObject", "DeleteObjects"]),
    ("holds", &["PutObjectLegalHold"]),
    ("bucket-changes", &["PutBucket*", "DeleteBucket*"]),
    (
        "role-changes",
        &["PutRolePolicy", "PutRolePermissionsBoundary"],
    ),
];

#[test]
fn what_matters_rings_and_every_pattern_fits() {
    if !has_terraform() {
        return;
    }
    let name = "x".repeat(57);
    let users = ["a", "b"].map(|letter| {
        let name = letter.repeat(64);
        format!("arn:aws:iam::111122223333:user/{name}")
    });
    let long = json!({
        "bucket": name,
        "replica_bucket": "y".repeat(63),
        "role_prefix": "p".repeat(40),
        "break_glass_arns": users,
    });
    let outputs = outputs(&with(long));
    let alarms = outputs["alarms"]["value"].as_object().unwrap();
    let mut expected: BTreeSet<String> = RINGS.map(|(name, _)| name.to_owned()).into();
    expected.extend(["break-glass-0", "break-glass-1"].map(str::to_owned));
    assert_eq!(alarms.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (alarm, value) in alarms {
        let pattern = value["pattern"].as_str().unwrap();
        // "Quotas of CloudWatch Logs": 1,024 characters a filter pattern.
        assert!(pattern.len() <= 1024, "{alarm}: {}", pattern.len());
        let is_even = |open, close| pattern.matches(open).count() == pattern.matches(close).count();
        assert!(is_even('(', ')') && is_even('{', '}'), "{pattern}");
    }
    let pattern = |alarm: &str| alarms[alarm]["pattern"].as_str().unwrap();
    for (alarm, events) in RINGS {
        for event in events {
            let named = format!("($.eventName = \"{event}\")");
            assert!(pattern(alarm).contains(&named), "{alarm}: {event}");
        }
    }
    for (number, user) in users.iter().enumerate() {
        let alarm = format!("break-glass-{number}");
        // Its own calls, those of its sessions, and that it is assumed.
        assert_eq!(pattern(&alarm).matches(user).count(), 3, "{alarm}");
    }
    let pruner = format!("role/{}-pruner", "p".repeat(40));
    let others = pattern("deletes-by-others");
    assert!(
        others.contains("NOT EXISTS") && others.contains("!="),
        "{others}"
    );
    assert!(
        others.contains(&pruner) && !others.contains("AccessDenied"),
        "{others}"
    );
    for alarm in [
        "holds",
        "deletes-by-others",
        "denied-deletes",
        "bucket-changes",
    ] {
        let both = [name.as_str(), &"y".repeat(63)].map(|it| pattern(alarm).contains(it));
        assert_eq!(both, [true, true], "{alarm} knows the replica too");
    }
}

#[test]
fn a_variable_that_would_open_a_wall_is_refused() {
    if !has_terraform() {
        return;
    }
    let refused = variables::refused()
        .into_iter()
        .map(|(changes, says)| (changes, Some(says)));
    let taken = variables::taken()
        .into_iter()
        .map(|changes| (changes, None));
    let cases: Vec<_> = refused.chain(taken).collect();
    thread::scope(|scope| {
        for cases in cases.chunks(cases.len().div_ceil(4)) {
            scope.spawn(move || {
                let folder = folder(&["variables.tf"]);
                for (changes, says) in cases {
                    let words = ["plan", "-input=false", "-no-color"];
                    let planned = terraform(folder.path(), &words, &with(changes.clone()));
                    let said = String::from_utf8_lossy(&planned.stderr);
                    // Terraform breaks its lines, and draws a bar beside them.
                    let said = said.replace('│', " ");
                    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
                    assert_eq!(
                        planned.status.success(),
                        says.is_none(),
                        "{changes}: {said}"
                    );
                    assert!(said.contains(says.unwrap_or("")), "{changes}: {said}");
                }
            });
        }
    });
}

#[test]
fn the_defaults_are_the_careful_ones() {
    let variables = module("variables.tf");
    let default = |name: &str| {
        let block = block(&variables, &format!("variable \"{name}\""));
        let line = block
            .lines()
            .find(|line| line.trim_start().starts_with("default "));
        line.map(|line| line.split_once("= ").unwrap().1.to_owned())
    };
    for (name, value) in [
        ("lock_mode", "\"GOVERNANCE\""),
        ("longest_days", "400"),
        ("session_hours", "1"),
        ("trail", "true"),
        ("before_init", "false"),
        ("replica_trusted_arns", "[]"),
    ] {
        assert_eq!(default(name).as_deref(), Some(value), "{name}");
    }
    for name in ["bucket", "trusted_arns", "external_id", "break_glass_arns"] {
        assert_eq!(default(name), None, "{name}");
    }
    let mode = block(&variables, "variable \"lock_mode\"");
    for words in ["can end every lock", "nobody can", "asked for by name"] {
        assert!(mode.contains(words), "{words}: {mode}");
    }
}

/// The block that begins with a header, braces and all.
fn block<'a>(text: &'a str, header: &str) -> &'a str {
    let begin = text.find(header).unwrap_or_else(|| panic!("no {header}"));
    let mut depth = 0;
    for (at, letter) in text[begin..].char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return &text[begin..=begin + at],
            '}' => depth -= 1,
            _ => {}
        }
    }
    panic!("{header} has no end")
}

/// A block of the module and what has to be in it, white space aside.
const KEPT: [(&str, &str, &[&str]); 14] = [
    (
        "versions.tf",
        "terraform {",
        &[
            "required_version = \">= 1.9\"",
            "version = \">= 5.75, < 6.0\"",
        ],
    ),
    (
        "roles.tf",
        "resource \"aws_iam_role\" \"role\"",
        &["max_session_duration = var.session_hours * 60 * 60"],
    ),
    (
        "replica.tf",
        "resource \"aws_iam_role\" \"replica_restorer\"",
        &["max_session_duration = var.session_hours * 60 * 60"],
    ),
    (
        "replica.tf",
        "resource \"aws_iam_role_policy\" \"replica_restorer\"",
        &["policy = local.documents[\"replica-restorer\"]"],
    ),
    (
        "bucket.tf",
        "resource \"aws_s3_bucket\" \"vault\"",
        &["object_lock_enabled = true", "prevent_destroy = true"],
    ),
    (
        "bucket.tf",
        "resource \"aws_s3_bucket_policy\" \"vault\"",
        &[
            "count = var.before_init ? 0 : 1",
            "policy = local.documents[\"bucket-policy\"]",
        ],
    ),
    (
        "trail.tf",
        "resource \"aws_s3_bucket\" \"trail\"",
        &["object_lock_enabled = true", "prevent_destroy = true"],
    ),
    (
        "trail.tf",
        "resource \"aws_s3_bucket_versioning\" \"trail\"",
        &["status = \"Enabled\""],
    ),
    (
        "trail.tf",
        "resource \"aws_s3_bucket_object_lock_configuration\" \"trail\"",
        &["mode = var.lock_mode", "days = var.trail_days"],
    ),
    (
        "trail.tf",
        "data \"aws_iam_policy_document\" \"trail_bucket\"",
        &[
            "variable = \"aws:SecureTransport\" values = [\"false\"]",
            "\"s3:DeleteObjectVersion\", \"s3:BypassGovernanceRetention\"",
            "\"s3:PutBucketPolicy\"",
        ],
    ),
    (
        "trail.tf",
        "resource \"aws_cloudwatch_log_group\" \"trail\"",
        &["prevent_destroy = true"],
    ),
    (
        "trail.tf",
        "resource \"aws_cloudtrail\" \"vault\"",
        &[
            "enable_log_file_validation = true",
            "is_multi_region_trail = true",
            "starts_with = [for bucket in local.vault_buckets :",
        ],
    ),
    (
        "trail.tf",
        "resource \"aws_cloudwatch_metric_alarm\" \"wall\"",
        &[
            "for_each = var.trail ? local.alarms : {}",
            "alarm_actions = var.alarm_topic_arns",
        ],
    ),
    (
        "trail.tf",
        "resource \"aws_cloudwatch_metric_alarm\" \"silence\"",
        &[
            "metric_name = \"IncomingLogEvents\"",
            "threshold = 1",
            "comparison_operator = \"LessThanThreshold\"",
            "treat_missing_data = \"breaching\"",
            "alarm_actions = var.alarm_topic_arns",
        ],
    ),
];

#[test]
fn what_the_readme_promises_of_the_module_is_in_it() {
    for (file, header, lines) in KEPT {
        let text = module(file);
        let found = block(&text, header).split_whitespace().collect::<Vec<_>>();
        let found = found.join(" ");
        for line in lines {
            assert!(found.contains(line), "{file}: {header}: {line}\n{found}");
        }
    }
    // Only what writes is left out of no record: assuming a role counts as reading.
    assert!(!module("trail.tf").contains("readOnly"));
}
