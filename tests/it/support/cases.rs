//! How many random cases a property is tried on, and which.

use proptest::test_runner::{Config, FileFailurePersistence, RngSeed};

/// Cases of a property. By default always the same `few` of them, so that a suite that passed once passes again;
/// with `DELTAVAULT_TEST_ALL`, 1,000 new ones. `PROPTEST_CASES` and `PROPTEST_RNG_SEED` say otherwise. What fails is added
/// to `regressions`, whose cases come first.
pub(crate) fn cases(few: u32, regressions: &'static str) -> Config {
    let is_set = |name: &str| std::env::var_os(name).is_some();
    let asked = Config::default();
    let all = is_set("DELTAVAULT_TEST_ALL");
    let is_search = all || is_set("PROPTEST_CASES") || is_set("PROPTEST_RNG_SEED");
    Config {
        cases: match (is_set("PROPTEST_CASES"), all) {
            (true, _) => asked.cases,
            (false, true) => 1000,
            (false, false) => few,
        },
        rng_seed: if is_search {
            asked.rng_seed
        } else {
            RngSeed::Fixed(0)
        },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        max_shrink_iters: 2000,
        ..asked
    }
}
