//! The one integration-test binary.

mod format_v1;
mod restore_by_hand;
mod sample_vault;
