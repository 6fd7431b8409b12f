//! A commit is read or refused; and the same however its bytes come.
#![no_main]

use std::io::BufReader;

use deltavault::delta::commit::read_commit;
use deltavault::delta::path::TableRoot;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let root = TableRoot::new("s3://lake/t").unwrap();
    let read = |chunk: usize| {
        let mut actions = Vec::new();
        let reader = BufReader::with_capacity(chunk, bytes);
        let read = read_commit(reader, "0.json", &root, &mut |action| {
            actions.push(action);
            Ok(())
        });
        (read.map_err(|error| error.to_string()), actions)
    };
    let whole = read(1 << 20);
    for chunk in [1, 7] {
        assert_eq!(read(chunk), whole);
    }
});
