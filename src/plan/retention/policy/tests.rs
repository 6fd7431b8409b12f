use super::*;
use crate::format::LockMode;
use crate::ids::Id128;

fn vault() -> VaultFile {
    VaultFile {
        created: Timestamp::UNIX_EPOCH,
        format: 1,
        generation_days: 10,
        id: Id128::from_bytes([0; 16]),
        lock_mode: LockMode::Compliance,
        longest_days: 400,
        shortest_days: 3,
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn class(name: &str, keep: &str, period: Option<Period>) -> Class {
    Class {
        name: name.to_owned(),
        keep: keep.parse().unwrap(),
        period,
    }
}

/// Weeks from Monday on, months from day 1 on.
fn policy() -> Policy {
    Policy {
        classes: vec![
            class("daily", "14d", Some(Period::Day)),
            class("monthly", "12mo", Some(Period::Month)),
            class("weekly", "8w", Some(Period::Week)),
        ],
        week_starts: Some(Weekday::Monday),
        month_starts: MonthDay::new(1),
    }
}

fn table() -> TableKey {
    TableKey::of("aws", &"s3://lake/sales/Orders".parse().unwrap()).unwrap()
}

/// A table's ledger, as far as choosing goes.
struct Ledger {
    opened: Option<BTreeMap<String, Timestamp>>,
}

impl Ledger {
    fn new() -> Self {
        Self { opened: None }
    }

    /// Publishes a snapshot; says its class, promise and reason.
    fn take(
        &mut self,
        policy: &Policy,
        trigger: Trigger,
        ask: &RetentionRequest,
        now: &str,
    ) -> String {
        let chosen = self.choose(policy, trigger, ask, now).unwrap();
        let told = format!(
            "{} until {}: {}",
            chosen.class, chosen.promise, chosen.reason
        );
        self.opened = Some(chosen.opened);
        told
    }

    fn choose(
        &self,
        policy: &Policy,
        trigger: Trigger,
        ask: &RetentionRequest,
        now: &str,
    ) -> Result<Chosen, RetentionError> {
        let new = NewSnapshot {
            table: &table(),
            trigger,
            opened: self.opened.as_ref(),
            now: time(now),
        };
        choose(policy, ask, &new, &vault())
    }

    fn night(&mut self, policy: &Policy, now: &str) -> String {
        let nothing = RetentionRequest::default();
        self.take(policy, Trigger::Scheduled, &nothing, now)
    }

    /// A night whose snapshot takes what begins with `told`.
    fn takes(&mut self, policy: &Policy, now: &str, told: &str) {
        let taken = self.night(policy, now);
        assert!(taken.starts_with(told), "{now}: {taken}");
    }
}

/// Each line: a night, and what its snapshot takes.
fn story(nights: &str) {
    let mut ledger = Ledger::new();
    let lines = nights.lines().map(str::trim);
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (now, told) = line.split_once(' ').unwrap();
        assert_eq!(ledger.night(&policy(), now), told, "{now}");
    }
}

#[test]
fn each_period_is_opened_once_by_its_longest_class() {
    story(
        "
        2028-02-26T03:00:00Z daily until 2028-03-11T03:00:00Z: the table's first snapshot: the shortest
        2028-02-26T15:00:00Z daily until 2028-03-11T15:00:00Z: no period opens: the shortest
        2028-02-27T03:00:00Z daily until 2028-03-12T03:00:00Z: the first of the day from 2028-02-27 on
        2028-02-28T00:00:00Z weekly until 2028-04-24T00:00:00Z: the first of the week from 2028-02-28 on
        2028-02-28T23:00:00Z daily until 2028-03-13T23:00:00Z: no period opens: the shortest
        2028-02-29T03:00:00Z daily until 2028-03-14T03:00:00Z: the first of the day from 2028-02-29 on
        2028-03-01T00:00:00Z monthly until 2029-03-01T00:00:00Z: the first of the month from 2028-03-01 on
        ",
    );
}

#[test]
fn first_nights_that_failed_or_came_late_leave_the_period_to_the_next() {
    story(
        "
        2028-01-25T03:00:00Z daily until 2028-02-08T03:00:00Z: the table's first snapshot: the shortest
        # Every night from 31 January to 8 February failed: the month's comes first, and opens week and day with it.
        2028-02-09T23:59:59Z monthly until 2029-02-09T23:59:59Z: the first of the month from 2028-02-01 on
        2028-02-10T03:00:00Z daily until 2028-02-24T03:00:00Z: the first of the day from 2028-02-10 on
        # Three months without a night: one snapshot opens what is due now, and only that.
        2028-05-31T03:00:00Z monthly until 2029-05-31T03:00:00Z: the first of the month from 2028-05-01 on
        2028-06-01T03:00:00Z monthly until 2029-06-01T03:00:00Z: the first of the month from 2028-06-01 on
        # The Monday after.
        2028-06-05T03:00:00Z weekly until 2028-07-31T03:00:00Z: the first of the week from 2028-06-05 on
        ",
    );
}

#[test]
fn a_leap_day_s_promise_ends_on_a_day_that_exists() {
    let mut ledger = Ledger::new();
    let months = Policy {
        classes: vec![class("year", "12mo", None)],
        ..Policy::default()
    };
    for (now, until) in [
        ("2028-02-29T03:00:00Z", "2029-02-28T03:00:00Z"),
        ("2027-02-28T03:00:00Z", "2028-02-28T03:00:00Z"),
        ("2027-03-01T03:00:00Z", "2028-03-01T03:00:00Z"),
    ] {
        let told = ledger.take(&months, Trigger::Manual, &RetentionRequest::default(), now);
        assert!(told.starts_with(&format!("year until {until}: ")), "{told}");
    }
}

#[test]
fn what_no_timer_takes_has_the_shortest_and_opens_nothing() {
    let mut ledger = Ledger::new();
    ledger.night(&policy(), "2028-02-20T03:00:00Z");
    for trigger in [Trigger::Manual, Trigger::Safety] {
        let told = ledger.take(
            &policy(),
            trigger,
            &RetentionRequest::default(),
            "2028-03-01T01:00:00Z",
        );
        assert_eq!(
            told,
            "daily until 2028-03-15T01:00:00Z: not scheduled: the shortest"
        );
    }
    let monthly = "monthly until 2029-03-01";
    ledger.takes(&policy(), "2028-03-01T03:00:00Z", monthly);
    // A table whose first snapshot was taken by hand has its periods from the next on.
    let mut ledger = Ledger::new();
    ledger.take(
        &policy(),
        Trigger::Manual,
        &RetentionRequest::default(),
        "2028-02-20T03:00:00Z",
    );
    let told = ledger.night(&policy(), "2028-02-20T04:00:00Z");
    assert_eq!(
        told,
        "daily until 2028-03-05T04:00:00Z: no period opens: the shortest"
    );
}

#[test]
fn what_is_asked_for_is_taken_and_opens_nothing() {
    let mut ledger = Ledger::new();
    ledger.night(&policy(), "2028-02-29T03:00:00Z");
    let time = Some(time("2028-06-01T00:00:00Z"));
    for (class, until, told) in [
        (
            Some("weekly"),
            None,
            "weekly until 2028-04-26T03:00:00Z: asked for",
        ),
        (
            None,
            time,
            "retain-until until 2028-06-01T00:00:00Z: the time was asked for",
        ),
        (
            Some("monthly"),
            time,
            "monthly until 2028-06-01T00:00:00Z: the time was asked for",
        ),
    ] {
        let class = class.map(str::to_owned);
        let ask = RetentionRequest { class, until };
        for trigger in [Trigger::Scheduled, Trigger::Manual] {
            let taken = ledger.take(&policy(), trigger, &ask, "2028-03-01T03:00:00Z");
            assert_eq!(taken, told);
        }
    }
    let monthly = "monthly until 2029-03-01T04:00:00Z";
    ledger.takes(&policy(), "2028-03-01T04:00:00Z", monthly);
}

#[test]
fn a_class_that_is_new_begins_with_its_next_period() {
    let mut ledger = Ledger::new();
    let mut policy = policy();
    let monthly = policy.classes.remove(1);
    ledger.night(&policy, "2028-02-20T03:00:00Z");
    ledger.night(&policy, "2028-03-14T03:00:00Z");
    policy.classes.push(monthly);
    for (now, class) in [
        ("2028-03-15T03:00:00Z", "daily"),
        ("2028-03-31T03:00:00Z", "weekly"),
        ("2028-04-01T03:00:00Z", "monthly"),
    ] {
        ledger.takes(&policy, now, class);
    }
}

#[test]
fn a_class_that_is_gone_is_taken_no_more_and_what_came_back_knows_its_periods() {
    let mut ledger = Ledger::new();
    let whole = policy();
    let mut without = policy();
    without.classes.retain(|class| class.name != "monthly");
    ledger.night(&whole, "2028-02-20T03:00:00Z");
    for (policy, now, class) in [
        (&without, "2028-03-01T03:00:00Z", "weekly"),
        (&without, "2028-03-02T03:00:00Z", "daily"),
        // The month is still to be opened: nothing of it was promised meanwhile.
        (&whole, "2028-03-03T03:00:00Z", "monthly"),
    ] {
        ledger.takes(policy, now, class);
    }
}

#[test]
fn a_class_that_changes_its_length_counts_from_the_next_snapshot_on() {
    let mut ledger = Ledger::new();
    let mut policy = policy();
    ledger.night(&policy, "2028-02-20T03:00:00Z");
    let weekly = "weekly until 2028-04-24T03:00:00Z";
    ledger.takes(&policy, "2028-02-28T03:00:00Z", weekly);
    policy.classes[2].keep = 12.weeks();
    let daily = "daily until 2028-03-14T03:00:00Z";
    ledger.takes(&policy, "2028-02-29T03:00:00Z", daily);
    // The first of March opened the month, late.
    ledger.takes(&policy, "2028-03-06T03:00:00Z", "monthly");
    let longer = "weekly until 2028-06-05T03:00:00Z";
    ledger.takes(&policy, "2028-03-13T03:00:00Z", longer);
}

#[test]
fn a_clock_that_ran_ahead_costs_one_period_at_most() {
    let mut ledger = Ledger::new();
    ledger.opened = Some(BTreeMap::from([
        ("monthly".to_owned(), time("9000-01-01T00:00:00Z")),
        ("weekly".to_owned(), time("9000-01-01T00:00:00Z")),
    ]));
    for (now, class) in [
        ("2028-03-01T03:00:00Z", "daily"),
        ("2028-03-06T03:00:00Z", "weekly"),
        ("2028-04-01T03:00:00Z", "monthly"),
    ] {
        ledger.takes(&policy(), now, class);
    }
}

#[test]
fn what_a_ledger_says_of_periods_fits_the_next_record_whatever_it_says() {
    let long = ("x".repeat(500_000), Timestamp::UNIX_EPOCH);
    let many = (0..20_000).map(|n| (format!("class-{n}"), Timestamp::UNIX_EPOCH));
    let mut ledger = Ledger::new();
    ledger.opened = Some(many.chain([long]).collect());
    ledger.night(&policy(), "2028-03-01T03:00:00Z");
    let opened = ledger.opened.unwrap();
    assert!(opened.len() <= OPENED_MAX + 3 && opened.keys().all(|name| name.len() <= NAME_MAX));
}

#[test]
fn without_periods_every_snapshot_takes_the_shortest() {
    let mut ledger = Ledger::new();
    for (now, told) in [
        (
            "2026-11-21T03:00:00Z",
            "2026-12-21T03:00:00Z: the table's first snapshot: the shortest",
        ),
        (
            "2026-11-22T03:00:00Z",
            "2026-12-22T03:00:00Z: no class has a period: the shortest",
        ),
    ] {
        assert_eq!(
            ledger.night(&Policy::default(), now),
            format!("default until {told}")
        );
        assert_eq!(ledger.opened, Some(BTreeMap::new()));
    }
    let some = Policy {
        classes: vec![
            class("b", "4w", None),
            class("a", "5d", None),
            class("c", "1mo", None),
        ],
        ..Policy::default()
    };
    ledger.takes(
        &some,
        "2026-11-23T03:00:00Z",
        "a until 2026-11-28T03:00:00Z",
    );
}

#[test]
fn lengths_outside_the_vault_s_bounds_are_refused_on_every_night() {
    let bounds = [
        ("2d", 3, 400, Some(2)),
        ("71h", 3, 400, Some(2)),
        ("3d", 3, 400, None),
        ("400d", 3, 400, None),
        ("401d", 3, 400, Some(401)),
        ("11y", 3, 400, Some(4017)),
        // Not only in a February.
        ("1mo", 29, 400, Some(28)),
        ("1mo", 28, 31, None),
        ("1mo", 28, 30, Some(31)),
        ("12mo", 3, 365, Some(366)),
        ("1y", 3, 366, None),
    ];
    for (keep, shortest_days, longest_days, refused) in bounds {
        let vault = VaultFile {
            longest_days,
            shortest_days,
            ..vault()
        };
        let policy = Policy {
            classes: vec![class("c", keep, None)],
            ..Policy::default()
        };
        let found = match check_lengths(&policy, &vault) {
            Err(RetentionError::OutOfBounds { days, .. }) => Some(days),
            checked => checked.map(|()| None).unwrap(),
        };
        assert_eq!(found, refused, "{keep} {shortest_days} {longest_days}");
    }
    // The vault's bounds hold for each night, whoever has checked the policy.
    let mut policy = policy();
    policy.classes[0].keep = 2.days();
    let night = "2026-11-21T03:00:00Z";
    let chosen = Ledger::new().choose(
        &policy,
        Trigger::Scheduled,
        &RetentionRequest::default(),
        night,
    );
    assert!(matches!(
        chosen,
        Err(RetentionError::OutOfBounds { days: 2, .. })
    ));
    let past = class("c", "9000y", None);
    assert!(matches!(
        end(&past, time("2026-11-21T03:00:00Z")),
        Err(RetentionError::PastCalendar { .. })
    ));
}

#[test]
fn times_that_are_asked_for_are_bound_alike() {
    let now = "2026-11-21T03:00:00Z";
    for (until, allowed) in [
        ("2026-11-24T03:00:00Z", true),
        ("2026-11-24T02:59:59.999Z", false),
        ("2027-12-26T03:00:00Z", true),
        ("2027-12-26T03:00:00.001Z", false),
        ("2026-11-20T03:00:00Z", false),
        ("9999-12-30T00:00:00Z", false),
        ("0001-01-01T00:00:00Z", false),
    ] {
        let ask = RetentionRequest {
            class: None,
            until: Some(time(until)),
        };
        let chosen = Ledger::new().choose(&policy(), Trigger::Manual, &ask, now);
        assert_eq!(chosen.is_ok(), allowed, "{until}: {chosen:?}");
    }
    let ask = RetentionRequest {
        class: Some("yearly".into()),
        until: Some(time("2026-12-24T03:00:00Z")),
    };
    let unknown = Ledger::new().choose(&policy(), Trigger::Manual, &ask, now);
    assert_eq!(
        unknown,
        Err(RetentionError::UnknownClass {
            name: "yearly".into()
        })
    );
}

#[test]
fn the_next_promises_are_known_ahead() {
    let now = time("2028-02-26T03:00:00Z");
    let mut told: Vec<_> = upcoming(&policy(), &table(), &vault(), now)
        .into_iter()
        .map(|next| format!("{} {} {}", next.period.as_str(), next.opens, next.promise))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "day 2028-02-27T00:00:00Z 2028-03-13T00:00:00Z",
            "month 2028-03-01T00:00:00Z 2029-03-02T00:00:00Z",
            "week 2028-02-28T00:00:00Z 2028-04-25T00:00:00Z",
        ]
    );
}

#[test]
fn periods_that_somebody_invents_crowd_out_none_of_the_policy() {
    let mut ledger = Ledger::new();
    let policy = policy();
    let ask = RetentionRequest::default();
    let take = |ledger: &mut Ledger, now: &str| ledger.take(&policy, Trigger::Scheduled, &ask, now);
    take(&mut ledger, "2026-01-10T03:00:00Z");
    let opened = ledger.opened.as_mut().unwrap();
    for number in 0..OPENED_MAX {
        opened.insert(format!("a{number:02}"), time("2026-01-01T00:00:00Z"));
    }
    let mut told = Vec::new();
    for month in 2..=4 {
        for day in [1, 2, 8, 15, 22] {
            told.push(take(
                &mut ledger,
                &format!("2026-{month:02}-{day:02}T03:00:00Z"),
            ));
        }
    }
    let monthly = told.iter().filter(|told| told.starts_with("monthly"));
    assert_eq!(monthly.count(), 3, "{told:#?}");
}
