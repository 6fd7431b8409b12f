//! A path of the log names a file in the table, or elsewhere, or is refused; one that is in the table does not climb out.
#![no_main]

use deltavault::delta::path::TableRoot;
use deltavault::ids::Location;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &str| {
    for root in ["s3://lake/t", "file:///lake/t"] {
        if let Ok(Location::Inside(key)) = TableRoot::new(root).unwrap().resolve(path) {
            assert!(
                !key.as_str()
                    .split('/')
                    .any(|part| matches!(part, "" | "." | "..")),
                "{key}"
            );
        }
    }
});
