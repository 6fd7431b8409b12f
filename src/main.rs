//! The `deltavault` binary.

fn main() {}
