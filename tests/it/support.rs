//! What several tests need.

use std::collections::BTreeSet;
use std::sync::Mutex;

pub(crate) mod attacked;
pub(crate) mod attempts;
pub(crate) mod cases;
pub(crate) mod corpus;
pub(crate) mod evaluate;
pub(crate) mod fault_store;
pub(crate) mod forge;
pub(crate) mod ministack;
pub(crate) mod parquet;
pub(crate) mod proxy;
pub(crate) mod repairs;
pub(crate) mod s3;
pub(crate) mod s3_scene;
pub(crate) mod scene;
pub(crate) mod table;
pub(crate) mod turning;
pub(crate) mod vault_builder;
pub(crate) mod verified;
pub(crate) mod world;

/// Where a server is that tests need: the value of the variable that names it, or `None`, and a word about it, where the
/// variable is empty. Without the variable the test fails: one that skipped itself would prove nothing and be green.
pub(crate) fn address(variable: &'static str, what: &str, script: &str) -> Option<String> {
    let address = std::env::var_os(variable).unwrap_or_else(|| {
        panic!(
            "no {what}: scripts/test starts one, or: {script} start && eval \"$({script} env)\"; an empty {variable} \
             skips what needs one"
        )
    });
    let address = address.into_string().unwrap();
    if address.is_empty() {
        static SAID: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
        if SAID.lock().unwrap().insert(variable) {
            println!("SKIPPED: {variable} is empty, so there is no {what}");
        }
        return None;
    }
    Some(address)
}
