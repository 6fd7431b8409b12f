//! Role by call: what the documents, taken together, let through and refuse, and that no clause of them is idle.
//!
//! `iam_walls/expected.txt` is the design, a line a call: `+` allowed, `-` nobody allows it, `!` refused whatever
//! allows it. Every statement, condition, call, resource and principal of every document is then taken away by itself:
//! each time, the table has to differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use deltavault::iam::{
    Document, Effect, Flavor, Location, OneOrMany, Params, Policy, Principal, Role, render,
};

use super::support::evaluate::{Call, Says, says};

mod rows;

const ACCOUNT: &str = "111122223333";
const BREAK_GLASS: &str = "arn:aws:iam::111122223333:role/break-glass";
const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/0a1b2c3d";
const SOURCE_KEY: &str = "arn:aws:kms:eu-west-1:444455556666:key/9f8e7d6c";
const TRUSTED: &str = "arn:aws:iam::444455556666:role/backup-runner";

/// Who calls: the roles, an administrator of the account, and who may break the glass.
const COLUMNS: usize = 8;

/// Which documents decide about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Court {
    /// The caller's own policy and the bucket's, in one account.
    Vault,
    /// The caller's own policy and the grant of a bucket in another account: both must allow.
    Source,
    /// That grant alone.
    Grant,
    /// The key's policy alone.
    Key,
    /// The caller's own policy alone.
    Own,
    /// The organisation's, above an administrator's own.
    Organisation,
    /// The roles' trust policy.
    Trust,
}

impl Court {
    /// Whether a document matters to it.
    fn hears(self, document: Document) -> bool {
        match document {
            Document::Role(_) => !matches!(self, Self::Grant | Self::Trust),
            Document::Trust => self == Self::Trust,
            Document::BucketPolicy => self == Self::Vault,
            Document::SourceGrant => matches!(self, Self::Source | Self::Grant),
            Document::KmsKeyPolicy => self == Self::Key,
            Document::Scp => self == Self::Organisation,
        }
    }
}

/// A line of the table: a call that needs all of some authorisations.
struct Row {
    name: String,
    court: Court,
    asks: Vec<(String, String, BTreeMap<String, String>)>,
}

/// Every document of a vault.
#[derive(Clone)]
struct Documents(Vec<(Document, Policy)>);

impl Documents {
    fn of(params: &Params) -> Self {
        let rendered = Document::all().map(|document| {
            let rendered = render(document, params, Flavor::Aws).unwrap();
            assert_eq!(rendered.not_enforced, []);
            (document, rendered.policy)
        });
        Self(rendered.collect())
    }

    fn get(&self, document: Document) -> &Policy {
        let found = self.0.iter().find(|(one, _)| *one == document);
        &found.unwrap().1
    }
}

fn params(kms_key: Option<&str>) -> Params {
    let mut params = Params {
        sources: vec![Location::parse("s3://acme-lake/sales").unwrap()],
        kms_key: kms_key.map(str::to_owned),
        source_kms_keys: vec![SOURCE_KEY.to_owned()],
        account: Some(ACCOUNT.to_owned()),
        break_glass: vec![BREAK_GLASS.to_owned()],
        trusted: vec![TRUSTED.to_owned()],
        external_id: Some("acme-7".to_owned()),
        ..Params::new(Location::parse("s3://acme-vault/lake").unwrap())
    };
    if kms_key.is_some() {
        params.vpc_endpoints = vec!["vpce-1".to_owned()];
        params.org_ids = vec!["o-acme".to_owned()];
    }
    params.set_days(7, 400, 10);
    params
}

fn principal(column: usize) -> String {
    let role = match Role::ALL.get(column) {
        Some(role) => format!("deltavault-{role}"),
        None if column == COLUMNS - 1 => return BREAK_GLASS.to_owned(),
        None => "administrator".to_owned(),
    };
    format!("arn:aws:iam::{ACCOUNT}:role/{role}")
}

fn cell(documents: &Documents, row: &Row, column: usize) -> char {
    let cells = row.asks.iter().map(|(action, resource, keys)| {
        let mut keys = keys.clone();
        // Where the row names who asks, the column is whose own policy allows it, or which role is asked for.
        let caller = keys.remove("caller");
        let principal = caller.unwrap_or_else(|| principal(column));
        keys.insert("aws:PrincipalArn".to_owned(), principal.clone());
        let call = Call {
            principal,
            action: action.clone(),
            resource: resource.clone(),
            keys,
        };
        decide(documents, row.court, column, &call)
    });
    // A call is refused when one of what it needs is; an explicit refusal tells more.
    cells.fold('+', |sum, one| match (sum, one) {
        ('!', _) | (_, '!') => '!',
        ('-', _) | (_, '-') => '-',
        (_, _) => '+',
    })
}

fn decide(documents: &Documents, court: Court, column: usize, call: &Call) -> char {
    let own = match Role::ALL.get(column) {
        Some(role) => says(documents.get(Document::Role(*role)), call),
        None => Says::Allow,
    };
    let by = |document| says(documents.get(document), call);
    let either = |a, b| match (a, b) {
        (Says::Deny, _) | (_, Says::Deny) => '!',
        (Says::Allow, _) | (_, Says::Allow) => '+',
        (Says::Nothing, Says::Nothing) => '-',
    };
    match court {
        Court::Vault => either(own, by(Document::BucketPolicy)),
        Court::Source => match (own, by(Document::SourceGrant)) {
            (Says::Deny, _) | (_, Says::Deny) => '!',
            (Says::Allow, Says::Allow) => '+',
            (_, _) => '-',
        },
        Court::Key => {
            // What the key's policy grants the account, the account's own policies may grant further.
            let account = Call {
                principal: format!("arn:aws:iam::{ACCOUNT}:root"),
                ..call.clone()
            };
            let handed_on = says(documents.get(Document::KmsKeyPolicy), &account);
            let handed_on = if handed_on == Says::Allow {
                own
            } else {
                handed_on
            };
            either(by(Document::KmsKeyPolicy), handed_on)
        }
        Court::Grant => either(by(Document::SourceGrant), Says::Nothing),
        Court::Own => either(own, Says::Nothing),
        Court::Organisation => either(by(Document::Scp), own),
        Court::Trust => either(by(Document::Trust), Says::Nothing),
    }
}

fn line(documents: &Documents, row: &Row) -> String {
    (0..COLUMNS)
        .map(|column| cell(documents, row, column))
        .collect()
}

fn table(params: &Params) -> String {
    let documents = Documents::of(params);
    let mut table = String::new();
    for row in rows::all() {
        writeln!(table, "{} {}", line(&documents, &row), row.name).unwrap();
    }
    table
}

#[test]
fn every_role_can_do_what_it_needs_and_nothing_else() {
    let found = format!(
        "## S3's own encryption\n{}## a KMS key, a VPC endpoint and an organisation of the vault's own\n{}",
        table(&params(None)),
        table(&params(Some(KEY)))
    );
    if let Some(path) = std::env::var_os("DELTAVAULT_TEST_WRITE_WALLS") {
        std::fs::write(path, &found).unwrap();
    }
    let expected = include_str!("iam_walls/expected.txt");
    let expected = expected.lines().filter(|line| !line.starts_with("# "));
    for (number, (found, expected)) in found.lines().zip(expected.clone()).enumerate() {
        assert_eq!(found, expected, "call {number}");
    }
    assert_eq!(found.lines().count(), expected.count());
}

#[test]
fn no_role_that_may_read_is_kept_from_reading_nor_is_the_break_glass_principal() {
    for params in [params(None), params(Some(KEY))] {
        let documents = Documents::of(&params);
        for row in rows::all() {
            let reads = row.asks.iter().all(|(action, _, _)| {
                ["s3:Get", "s3:List", "kms:Decrypt"]
                    .iter()
                    .any(|read| action.starts_with(read))
            });
            let is_usual = row.asks.iter().all(|(_, _, keys)| {
                let secure = keys.get("aws:SecureTransport");
                secure.is_none_or(|secure| secure == "true")
                    && !keys.contains_key("s3:DataAccessPointArn")
                    && keys.get("aws:SourceVpce").is_some_and(|id| id == "vpce-1")
                    && keys
                        .get("aws:PrincipalOrgID")
                        .is_some_and(|id| id == "o-acme")
            });
            if !reads || !is_usual {
                continue;
            }
            let own = Row {
                court: Court::Own,
                name: row.name.clone(),
                asks: row.asks.clone(),
            };
            let line = line(&documents, &row);
            for (column, said) in line.chars().enumerate() {
                let may = column != COLUMNS - 2 && cell(&documents, &own, column) == '+';
                assert!(!may || said != '!', "{}: {line}", row.name);
            }
        }
    }
}

/// A document with something taken away, and what.
fn mutations(policy: &Policy) -> Vec<(String, Policy)> {
    let mut all = Vec::new();
    for (at, statement) in policy.statement.iter().enumerate() {
        let sid = &statement.sid;
        let mut without = policy.clone();
        without.statement.remove(at);
        all.push((sid.clone(), without));
        let mut changed = |what: String, change: &dyn Fn(&mut deltavault::iam::Statement)| {
            let mut policy = policy.clone();
            change(&mut policy.statement[at]);
            all.push((format!("{sid} without {what}"), policy));
        };
        for (operator, keys) in &statement.condition {
            assert_eq!(
                keys.len(),
                1,
                "{sid}: one key an operator keeps this test whole"
            );
            changed(operator.clone(), &|one| {
                one.condition.remove(operator);
            });
        }
        for part in several(&statement.action) {
            changed(part.clone(), &|one| drop_from(&mut one.action, &part));
        }
        for part in statement.resource.iter().flat_map(several) {
            changed(part.clone(), &|one| {
                drop_from(one.resource.as_mut().unwrap(), &part);
            });
        }
        for part in statement.not_resource.iter().flat_map(several) {
            changed(part.clone(), &|one| {
                drop_from(one.not_resource.as_mut().unwrap(), &part);
            });
        }
        if let Some(Principal::Aws { aws }) = &statement.principal {
            for part in several(aws) {
                changed(part.clone(), &|one| match &mut one.principal {
                    Some(Principal::Aws { aws }) => drop_from(aws, &part),
                    Some(Principal::Everybody(_)) | None => unreachable!(),
                });
            }
        }
    }
    all
}

fn several(list: &OneOrMany) -> Vec<String> {
    match list {
        OneOrMany::One(_) => Vec::new(),
        OneOrMany::Many(many) if many.len() == 1 => Vec::new(),
        OneOrMany::Many(many) => many.clone(),
    }
}

fn drop_from(list: &mut OneOrMany, part: &str) {
    let kept = list.as_slice().iter().filter(|one| *one != part);
    *list = OneOrMany::Many(kept.cloned().collect());
}

#[test]
fn whatever_is_taken_away_from_any_document_changes_the_table() {
    let rows = rows::all();
    // What only matters with a key, or only without one, is found by one of the two.
    let setups = [params(None), params(Some(KEY))].map(|params| {
        let documents = Documents::of(&params);
        let lines: Vec<_> = rows.iter().map(|row| line(&documents, row)).collect();
        (documents, lines)
    });
    let mut idle = Vec::new();
    let mut walls = 0;
    let (with_key, _) = &setups[1];
    for (at, (document, policy)) in with_key.0.iter().enumerate() {
        for (what, mutated) in mutations(policy) {
            walls += 1;
            let differs = setups.iter().any(|(documents, lines)| {
                let other = documents.get(*document);
                // The same thing taken away from the other vault's document.
                let same = mutations(other).into_iter().find(|(name, _)| *name == what);
                let Some(mutated) = (if other == policy {
                    Some(mutated.clone())
                } else {
                    same.map(|(_, policy)| policy)
                }) else {
                    return false;
                };
                let mut documents = documents.clone();
                documents.0[at].1 = mutated;
                let heard = rows
                    .iter()
                    .zip(lines)
                    .filter(|(row, _)| row.court.hears(*document));
                heard.into_iter().any(|(row, before)| match document {
                    Document::Role(role) => {
                        let column = Role::ALL.iter().position(|one| one == role).unwrap();
                        before.chars().nth(column) != Some(cell(&documents, row, column))
                    }
                    Document::Trust
                    | Document::BucketPolicy
                    | Document::SourceGrant
                    | Document::KmsKeyPolicy
                    | Document::Scp => line(&documents, row) != *before,
                })
            });
            if !differs {
                idle.push(format!("{document}: {what}"));
            }
        }
    }
    assert_eq!(
        idle,
        Vec::<String>::new(),
        "of {walls} taken away, these change nothing"
    );
    assert!(walls > 200, "{walls}");
}

#[test]
fn roles_are_allowed_and_the_bucket_refuses() {
    let documents = Documents::of(&params(Some(KEY)));
    for (document, policy) in &documents.0 {
        for statement in &policy.statement {
            let effect = match document {
                Document::Role(_) | Document::Trust | Document::SourceGrant => Effect::Allow,
                Document::BucketPolicy | Document::Scp => Effect::Deny,
                Document::KmsKeyPolicy => continue,
            };
            assert_eq!(statement.effect, effect, "{document}: {}", statement.sid);
        }
    }
}
