//! Whatever a server answers, each call of a store ends, and gives no more than the server sent.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../answers.rs"]
mod answers;

fuzz_target!(|bytes: &[u8]| {
    answers::check(bytes);
});
