//! What is decoded encodes to what decodes to the same.
#![no_main]

use deltavault::format::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoded) = Record::decode(bytes) {
        let encoded = decoded.encode().unwrap();
        assert_eq!(Record::decode(&encoded).unwrap(), decoded);
    }
});
