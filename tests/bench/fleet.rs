//! Prints what a fleet of 3,000 tables sends to extend its locks, night by night for 400 nights.
//!
//! `cargo bench --bench fleet`; nothing is stored and nothing is asked, only decided.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a program that prints"
)]

use deltavault::plan::retention::Policy;

#[path = "../it/support/fleet.rs"]
mod fleet;

use fleet::{Fleet, Seen, simulate, three_classes};

fn main() {
    let policies = [
        ("one class, 30 days", Policy::default()),
        ("daily 14 d, weekly 8 w, monthly 12 mo", three_classes()),
    ];
    // One policy alone, by a word of its name.
    let only = std::env::args()
        .nth(1)
        .filter(|word| !word.starts_with('-'));
    for (name, policy) in policies {
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        for sigma in [1.0, 2.0, 2.5] {
            let fleet = Fleet {
                sigma,
                ..Fleet::default()
            };
            print(name, &fleet, &simulate(&fleet, &policy));
        }
    }
}

fn print(name: &str, fleet: &Fleet, seen: &Seen) {
    println!(
        "{name}; sigma {}: {} objects on the first night, {} of the largest table; {} of {} tables' nights extend",
        fleet.sigma, seen.objects, seen.largest, seen.table_nights.0, seen.table_nights.1,
    );
    for (week, requests) in seen.requests.chunks(10).enumerate() {
        let requests: Vec<_> = requests.iter().map(u64::to_string).collect();
        println!("  night {:>3}: {}", week * 10, requests.join(" "));
    }
    for from in [1, 31, 61] {
        let (median, worst) = seen.median_and_worst(from);
        println!(
            "  from night {from}: median busy night {median}, worst {worst}, {}.{:02} times",
            worst / median,
            worst * 100 / median % 100,
        );
    }
}
