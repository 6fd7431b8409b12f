use proptest::prelude::*;

use super::*;
use crate::format::LockMode;
use crate::ids::Id128;

fn vault(generation_days: u32) -> VaultFile {
    VaultFile {
        created: Timestamp::UNIX_EPOCH,
        format: 1,
        generation_days,
        id: Id128::from_bytes([0; 16]),
        lock_mode: LockMode::Compliance,
        longest_days: 400,
        shortest_days: 3,
    }
}

/// A table whose hash is that number.
fn table(hash: u128) -> TableKey {
    format!("t-{hash:032x}").parse().unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const HOUR: u128 = 3600;

/// A hash with boundaries on 2028-02-21 and 2028-03-02.
const ORIGIN: u128 = 5 * 24 * HOUR;
const MARCH: &str = "2028-03-02T00:00:00Z";

/// With boundaries five hours later.
const LATER: u128 = ORIGIN + 5 * HOUR;

#[test]
fn a_lock_ends_on_the_table_s_first_boundary_from_the_promise_on() {
    for (hash, promise, until) in [
        (ORIGIN, "2028-02-21T00:00:00Z", "2028-02-21T00:00:00Z"),
        (ORIGIN, "2028-02-21T00:00:00.000000001Z", MARCH),
        (ORIGIN, "2028-02-29T12:00:00Z", MARCH),
        (ORIGIN, "2028-03-02T00:00:01Z", "2028-03-12T00:00:00Z"),
        (LATER, "2028-03-02T04:59:59Z", "2028-03-02T05:00:00Z"),
        (LATER, "2028-03-02T05:00:01Z", "2028-03-12T05:00:00Z"),
        // The hash counts modulo the length.
        (ORIGIN + 10 * 24 * HOUR, "2028-02-29T12:00:00Z", MARCH),
        (0, "1969-12-30T00:00:00Z", "1970-01-01T00:00:00Z"),
        (0, "1970-01-01T00:00:00.5Z", "1970-01-11T00:00:00Z"),
    ] {
        let end = lock_until(time(promise), &table(hash), &vault(10));
        assert_eq!(end, time(until), "{hash} {promise}");
    }
}

#[test]
fn what_is_put_in_one_window_with_one_lock_is_one_generation() {
    let (table, vault) = (table(ORIGIN), vault(10));
    let none = BTreeMap::new();
    let put = |now, promise| {
        let of = (&table, &vault);
        place(time(now), time(promise), LockPhase::default(), &none, of).generation
    };
    let first = put("2028-02-21T00:00:00Z", "2028-03-05T00:00:00Z");
    assert_eq!(put("2028-03-01T23:59:59Z", "2028-03-12T00:00:00Z"), first);
    let longer = put("2028-02-22T00:00:00Z", "2028-03-12T00:00:01Z");
    let later = put("2028-03-02T00:00:00Z", "2028-03-12T00:00:00Z");
    assert!(
        first < longer && longer < later,
        "{first:?} {longer:?} {later:?}"
    );
}

#[test]
fn what_was_extended_takes_in_nothing_more() {
    let of = (&table(ORIGIN), &vault(10));
    let (now, promise) = (time("2028-02-21T00:00:00Z"), time("2028-03-05T00:00:00Z"));
    let phase = LockPhase::default();
    let first = place(now, promise, phase, &BTreeMap::new(), of);
    let same = BTreeMap::from([(first.generation, first.lock_until)]);
    assert_eq!(place(now, promise, phase, &same, of), first);
    let mut locks = BTreeMap::from([(first.generation, time("2029-03-05T00:00:00Z"))]);
    for _ in 0..40 {
        let next = place(now, promise, phase, &locks, of);
        assert_eq!(next.lock_until, first.lock_until);
        assert!(next.generation > first.generation);
        assert_eq!(window_of(next.generation), window_of(first.generation));
        locks.insert(next.generation, time("2029-03-05T00:00:00Z"));
    }
    assert_eq!(locks.len(), 16, "the last takes in what is left");
}

fn window_of(generation: Generation) -> u64 {
    generation.0 >> 24
}

#[test]
fn phases_have_boundaries_of_their_own_and_an_even_share() {
    for (objects, count) in [(0, 1), (128, 1), (129, 2), (600, 8), (u64::MAX, 16)] {
        assert_eq!(lock_phases(objects), count, "{objects}");
    }
    let mut shares = BTreeMap::new();
    for byte in 0..=255 {
        *shares.entry(phase_of(byte, 8)).or_insert(0) += 1;
    }
    assert_eq!(shares.into_values().collect::<Vec<_>>(), [32; 8]);
    let of = (&table(ORIGIN), &vault(10));
    let now = time("2028-02-01T00:00:00Z");
    let promise = time("2028-02-21T00:00:01Z");
    let ends = [1, 2, 3, 0].map(|byte| {
        let phase = phase_of(byte, 4);
        place(now, promise, phase, &BTreeMap::new(), of)
            .lock_until
            .to_string()
    });
    let expected = [
        "02-23T12:00:00",
        "02-26T00:00:00",
        "02-28T12:00:00",
        "03-02T00:00:00",
    ];
    assert_eq!(ends, expected.map(|end| format!("2028-{end}Z")));
}

#[test]
fn only_what_ends_before_the_promise_is_short() {
    let locks = BTreeMap::from([(Generation(1), time(MARCH))]);
    let is_short = |generation, promise| is_short(&locks, Generation(generation), time(promise));
    assert!(!is_short(1, MARCH));
    assert!(is_short(1, "2028-03-02T00:00:00.001Z"));
    assert!(is_short(2, "2000-01-01T00:00:00Z"));
}

/// Generations of phase 0, 8 of 16 and 15 of 16.
const PLAIN: Generation = Generation(1 << 24);
const HALF: Generation = Generation(1 << 24 | 0x80);
const LAST: Generation = Generation(1 << 24 | 0xf0);

fn month(opens: Timestamp, promise: Timestamp) -> Upcoming {
    Upcoming {
        period: Period::Month,
        opens,
        promise,
    }
}

#[test]
fn before_a_long_class_opens_slice_after_slice_is_extended() {
    let of = (&table(ORIGIN), &vault(10));
    let held = time("2028-04-01T00:00:00Z");
    let locks = BTreeMap::from([(PLAIN, held), (HALF, held), (LAST, held)]);
    let opens = time("2028-02-21T00:00:00Z");
    let long = time("2029-02-22T00:00:00Z");
    let planned = |now: &str, promise: &str| {
        let needs = plan_extensions(&locks, time(promise), &[month(opens, long)], time(now), of);
        let covers = needs.values().all(|need| need.until >= long);
        let kinds: Vec<_> = needs
            .into_iter()
            .map(|(gen_, need)| (gen_, need.now))
            .collect();
        (kinds, covers)
    };
    // Two phases wait besides the first.
    let cases = [
        ("2028-02-11T00:00:01Z", vec![]),
        ("2028-02-17T00:00:01Z", vec![]),
        ("2028-02-18T00:00:01Z", vec![(LAST, false)]),
        ("2028-02-20T20:00:00Z", vec![(LAST, false)]),
    ];
    for (now, kinds) in cases {
        assert_eq!(planned(now, "2028-03-05T00:00:00Z"), (kinds, true), "{now}");
    }
    // What is short anyway is extended once, not twice within ten days; without a long class ahead, only as needed.
    let all = vec![(PLAIN, true), (HALF, true), (LAST, true)];
    let near = planned("2028-02-12T00:00:00Z", "2028-04-01T00:00:01Z");
    assert_eq!(near, (all.clone(), true));
    let far = planned("2028-02-10T00:00:00Z", "2028-04-01T00:00:01Z");
    assert_eq!(far, (all, false));
}

#[test]
fn nothing_is_locked_past_what_the_bucket_s_policy_allows() {
    let vault = VaultFile {
        longest_days: 366,
        ..vault(10)
    };
    let now = time("2028-02-20T20:00:00Z");
    let held = time("2028-03-01T00:00:00Z");
    let locks = BTreeMap::from([(LAST, held)]);
    let ceiling = lock_ceiling(now, &vault);
    assert_eq!(ceiling, time("2029-03-03T20:00:00Z"));
    for (later, ahead) in [
        ("2029-03-03T00:00:00Z", true),
        ("2029-03-03T21:00:00Z", false),
    ] {
        let upcoming = [month(time("2028-02-21T00:00:00Z"), time(later))];
        let needs = plan_extensions(&locks, held, &upcoming, now, (&table(ORIGIN), &vault));
        assert_eq!(needs.contains_key(&LAST), ahead, "{later}");
        assert!(needs.values().all(|need| need.until <= ceiling));
    }
}

#[test]
fn a_lock_for_somebody_s_promise_stays_within_what_a_policy_allows() {
    let now = time("2028-02-20T20:00:00Z");
    let lock = |promise: &str| bounded_lock(time(promise), &table(ORIGIN), &vault(10), now);
    assert_eq!(lock("2028-02-01T00:00:00Z"), lock_floor(now, &vault(10)));
    assert_eq!(lock("2028-02-29T12:00:00Z"), time("2028-03-02T00:00:00Z"));
    assert_eq!(lock("3028-01-01T00:00:00Z"), lock_ceiling(now, &vault(10)));
}

#[test]
fn no_lock_is_so_short_that_the_bucket_s_policy_refuses_it_hours_later() {
    let now = time("2028-02-18T00:00:01Z");
    let (table, vault) = (table(ORIGIN), vault(10));
    // Exactly three days ahead, as the shortest class promises, lies a boundary.
    let promise = time("2028-02-21T00:00:00Z");
    let (phase, none) = (LockPhase::default(), BTreeMap::new());
    let placed = place(now, promise, phase, &none, (&table, &vault));
    assert_eq!(placed.lock_until, time("2028-03-02T00:00:00Z"));
    let need = extension(LAST, promise, now, (&table, &vault));
    let days = need.until.duration_since(now).as_secs() / DAY;
    assert!(days > i64::from(vault.shortest_days), "{need:?}");
}

proptest! {
    #[test]
    fn locks_cover_the_promise_by_less_than_a_generation_and_never_overflow(
        hash in any::<u128>(),
        days in 1_u32..,
        second in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
        nanos in 0..1_000_000_000,
        byte in any::<u8>(),
        now in Timestamp::MIN.as_second()..Timestamp::MAX.as_second(),
    ) {
        let (table, vault) = (table(hash), vault(days));
        let promise = Timestamp::new(second, nanos).unwrap();
        let now = Timestamp::from_second(now).unwrap();
        let placed = place(now, promise, phase_of(byte, 16), &BTreeMap::new(), (&table, &vault));
        let promise = promise.max(lock_floor(now, &vault));
        prop_assert!(placed.lock_until >= promise);
        let slack = placed.lock_until.duration_since(promise);
        prop_assert!(slack.as_secs() < i64::from(days) * DAY);
        prop_assert!(lock_until(promise, &table, &vault) >= promise);
        prop_assert!(lock_ceiling(now, &vault) > now || now == Timestamp::MAX);
    }
}
