use super::*;

fn parse(text: &str) -> Result<Config, CommandError> {
    parse_config(text, Path::new("vault.toml"), Path::new("/etc/deltavault"))
}

fn refusal(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn a_whole_configuration_is_read() {
    let config = parse(
        r#"
        [vault]
        uri = "/backup/vault/"

        [[tables]]
        name = "sales.orders"
        uri = "../../lake/orders"
        scope = "history"
        class = "monthly"
        rpo = "24h"

        [classes.daily]
        keep = "14d"
        period = "day"
        [classes.monthly]
        keep = "12mo"
        period = "month"
        "#,
    )
    .unwrap();
    assert_eq!(config.vault.as_deref(), Some("file:///backup/vault"));
    let table = config.table("sales.orders").unwrap();
    assert!(table.uri.starts_with("file:///"), "{}", table.uri);
    assert_eq!(table.scope, Scope::History);
    assert_eq!(table.rpo.unwrap().get_hours(), 24);
    assert_eq!(config.class("daily").unwrap().keep.get_days(), 14);
    assert_eq!(config.class("monthly").unwrap().keep.get_months(), 12);
    assert_eq!(config.class("monthly").unwrap().period, Some(Period::Month));
    assert!(config.class("default").is_err());
    assert_eq!(
        (config.policy.week_starts, config.max_commit_usd),
        (None, None)
    );
}

#[test]
fn table_timeout_is_a_length_of_time() {
    let config = parse("[snapshot]\ntable_timeout = '90m'\n").unwrap();
    assert_eq!(config.table_timeout, Some(Duration::from_mins(90)));
    for wrong in ["0s", "-1h", "soon", "90"] {
        let said = refusal(&format!("[snapshot]\ntable_timeout = '{wrong}'\n"));
        assert!(said.contains("snapshot.table_timeout"), "{said}");
    }
}

#[test]
fn the_days_that_periods_begin_on_can_be_fixed() {
    let config =
        parse("[retention]\nweek_starts = 'sunday'\nmonth_starts = 28\nmax_commit_usd = '2.50'\n")
            .unwrap();
    assert_eq!(config.policy.week_starts, Some(Weekday::Sunday));
    assert_eq!(config.policy.month_starts, MonthDay::new(28));
    assert_eq!(config.max_commit_usd, NanoUsd::parse("2.5"));
    assert_eq!(config.class("default").unwrap().keep.get_days(), 30);
}

#[test]
fn source_and_vault_each_have_their_own_way_to_s3() {
    let config = parse(
        r#"
        [source]
        name = "lake"
        profile = "lake-reader"
        region = "eu-central-1"
        requester_pays = true

        [vault]
        uri = "s3a://company-vault/lake/"
        role = "arn:aws:iam::123456789012:role/deltavault-snapshotter"
        external_id = "deltavault"
        endpoint = "https://s3.example.org"
        path_style = true
        storage_class = "STANDARD_IA"
        snapshot_profile = "snapshotter"
        "#,
    )
    .unwrap();
    assert_eq!(config.vault.as_deref(), Some("s3://company-vault/lake"));
    let source = S3Settings {
        profile: Some("lake-reader".into()),
        region: Some("eu-central-1".into()),
        requester_pays: true,
        ..S3Settings::default()
    };
    let vault = S3Settings {
        role: Some("arn:aws:iam::123456789012:role/deltavault-snapshotter".into()),
        external_id: Some("deltavault".into()),
        endpoint: Some("https://s3.example.org".into()),
        path_style: Some(true),
        storage_class: Some("STANDARD_IA".into()),
        ..S3Settings::default()
    };
    assert_eq!((config.s3.source, config.s3.vault), (source, vault));
    assert_eq!(config.s3.source_name.as_deref(), Some("lake"));
    let nothing = parse("").unwrap().s3;
    assert_eq!(nothing.source, S3Settings::default());
    assert_eq!(nothing.vault, S3Settings::default());
}

#[test]
fn an_empty_configuration_keeps_30_days() {
    let config = parse("").unwrap();
    assert_eq!(config.class("default").unwrap().keep.get_days(), 30);
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_name() {
    let text = refusal("[classes.daily]\nkeep = \"14d\"\nkep = 1\n");
    assert!(
        text.contains("at line 3") && text.contains("`kep`"),
        "{text}"
    );
    assert!(refusal("[vaults]\n").contains("`vaults`"));
    assert!(refusal("[[tables]]\nname='a'\nuri='b'\nrop='1h'").contains("`rop`"));
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_key_named() {
    for (text, named) in [
        ("[classes.a]\nkeep='12m'", "classes.a.keep"),
        ("[classes.a]\nkeep='soon'", "classes.a.keep"),
        ("[classes.a]\nkeep='-3d'", "classes.a.keep"),
        ("[classes.a]\nkeep='3d'\nperiod='year'", "year"),
        ("[retention]\nmonth_starts=29", "retention.month_starts"),
        ("[retention]\nmonth_starts=0", "retention.month_starts"),
        ("[retention]\nweek_starts='someday'", "someday"),
        (
            "[retention]\nmax_commit_usd='$5'",
            "retention.max_commit_usd",
        ),
        ("[[tables]]\nname='a/b'\nuri='c'", "a/b"),
        ("[[tables]]\nname='a'\nuri='c'\nclass='x'", "\"x\""),
        ("[[tables]]\nname='a'\nuri='c'\nrpo='0h'", "rpo"),
        (
            "[[tables]]\nname='a'\nuri='c'\n[[tables]]\nname='a'\nuri='d'",
            "\"a\"",
        ),
        (
            "[[tables]]\nname='a'\nuri='c'\n[[tables]]\nname='b'\nuri='./c/'",
            "\"a\" and \"b\" are one table",
        ),
        ("[[tables]]\nname='a'", "uri"),
        ("[source]\nendpoint='minio:9000'", "source.endpoint"),
        ("[vault]\nrole='backup'", "vault.role"),
        ("[vault]\nexternal_id='x'", "vault.external_id"),
        ("[source]\nregion=''", "source.region"),
        ("[source]\nname=\"a\\nb\"", "source.name"),
        ("[vault]\nstorage_class='DEEP_ARCHIVE'", "DEEP_ARCHIVE"),
        ("[source]\nstorage_class='STANDARD_IA'", "storage_class"),
        ("[vault]\nrequester_pays=true", "requester_pays"),
    ] {
        assert!(refusal(text).contains(named), "{text}: {}", refusal(text));
    }
    assert!(matches!(
        parse("[vault]\nuri='gs://b/v'"),
        Err(CommandError::UnsupportedScheme { .. })
    ));
}
