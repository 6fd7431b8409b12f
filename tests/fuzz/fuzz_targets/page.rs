//! A page is read or refused, packed by somebody else or with lines of their own; what is read encodes to the same.
#![no_main]

use deltavault::format::page::{decode_page, encode_line};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let packed = zstd::bulk::compress(bytes, 1).unwrap();
    for bytes in [bytes, &packed] {
        if let Ok(entries) = decode_page(bytes) {
            let mut lines = Vec::new();
            for entry in &entries {
                encode_line(&mut lines, entry).unwrap();
            }
            let packed = zstd::bulk::compress(&lines, 1).unwrap();
            assert_eq!(decode_page(&packed).unwrap(), entries);
        }
    }
});
