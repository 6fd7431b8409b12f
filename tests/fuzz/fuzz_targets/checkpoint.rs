//! A checkpoint is read or refused, by each of the three ways in which it is read.
#![no_main]

use std::sync::Once;

use bytes::Bytes;

use deltavault::delta::checkpoint::{Wants, read_parquet, read_sidecar_names, read_whole};
use deltavault::delta::path::TableRoot;
use libfuzzer_sys::fuzz_target;

/// The reader of Parquet panics on some files, which is caught; any other panic still ends the target.
static CAUGHT: Once = Once::new();

fuzz_target!(|bytes: &[u8]| {
    CAUGHT.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let root = TableRoot::new("s3://lake/t").unwrap();
    let bytes = Bytes::copy_from_slice(bytes);
    let wants = Wants::StateAndTombstones;
    let _ = read_parquet(
        bytes.clone(),
        "1.checkpoint.parquet",
        &root,
        wants,
        &mut |_| Ok(()),
    );
    let _ = read_sidecar_names(bytes.clone(), "1.checkpoint.parquet", &root);
    let _ = read_whole(bytes, "1.checkpoint.parquet");
});
