//! The retention requests of a fleet; `cargo bench --bench fleet` prints all of its 400 nights.

#[path = "support/fleet.rs"]
mod simulated;

use deltavault::plan::retention::Policy;

pub(crate) use simulated::three_classes;
use simulated::{Fleet, Seen, simulate};

/// The busiest night may have twice the requests of the median one.
fn is_spread(seen: &Seen, from: usize) {
    let (median, worst) = seen.median_and_worst(from);
    assert!(
        worst <= 2 * median,
        "{worst} beside {median}: {:?}",
        seen.requests
    );
    let busy = seen.requests[from..]
        .iter()
        .filter(|requests| **requests > 0);
    assert!(busy.count() > (seen.requests.len() - from) / 2);
}

#[test]
fn fleet_of_3000_tables_with_one_class_extends_evenly_from_the_first_night_on() {
    let fleet = Fleet {
        nights: 32,
        ..Fleet::default()
    };
    let seen = simulate(&fleet, &Policy::default());
    is_spread(&seen, 1);
    // A promise moves by a day a night and a lock by ten: no object is extended more often than it must.
    let requests: u64 = seen.requests[1..31].iter().sum();
    assert!(
        requests <= 3 * (seen.objects * 11 / 10),
        "{requests} of {}",
        seen.objects
    );
    let (extending, all) = seen.table_nights;
    assert!(
        extending * 2 < all,
        "most tables have nothing to do on most nights"
    );
}

#[test]
fn fleet_of_3000_tables_with_three_classes_extends_evenly_once_every_class_has_opened() {
    let fleet = Fleet {
        nights: 64,
        ..Fleet::default()
    };
    let seen = simulate(&fleet, &three_classes());
    is_spread(&seen, 32);
    let (extending, all) = seen.table_nights;
    assert!(
        extending * 2 < all,
        "most tables have nothing to do on most nights"
    );
}
