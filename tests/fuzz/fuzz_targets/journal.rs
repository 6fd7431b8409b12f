//! A journal is read or refused, packed by somebody else or with lines of their own; what is read encodes to the same.
#![no_main]

use deltavault::format::{decode_journal, encode_journal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let packed = zstd::bulk::compress(bytes, 1).unwrap();
    for bytes in [bytes, &packed] {
        if let Ok((header, entries)) = decode_journal(bytes) {
            let encoded = encode_journal(&header, &entries).unwrap();
            assert_eq!(decode_journal(&encoded).unwrap(), (header, entries));
        }
    }
});
