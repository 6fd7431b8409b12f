//! What is decoded encodes to what decodes to the same.
#![no_main]

use deltavault::format::Event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(decoded) = Event::decode(bytes) {
        let encoded = decoded.encode().unwrap();
        assert_eq!(Event::decode(&encoded).unwrap(), decoded);
    }
});
