//! The one integration-test binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "helpers of tests fail as tests do"
)]

mod answers;
mod as_commit;
mod bad_data;
mod bad_disk;
mod bad_paths;
mod bad_restore;
mod bad_source;
mod bad_vault;
mod below_checkpoint;
mod bombs;
mod by_hand_records;
mod by_hand_s3;
mod by_hand_split;
mod check_source;
mod choosing;
mod claims;
mod cleaned_up;
mod cli;
mod cli_s3;
mod complete;
mod completions;
mod copied_back;
mod copy_again;
mod corpus_closure;
mod corpus_rewind;
mod corpus_round_trip;
mod corpus_s3;
mod dash_names;
mod demo;
mod direction;
mod disputed;
mod docs;
mod fleet;
mod forged;
mod forged_content;
mod format_v1;
mod heal_names;
mod history;
mod hostile_day;
mod hostile_night;
mod hostile_server;
mod hostile_text;
mod hostile_vault;
mod iam_cli;
mod iam_docs;
mod iam_minio;
mod iam_roles;
mod iam_terraform;
mod iam_walls;
mod in_the_way;
mod incremental;
mod init;
mod killed;
mod left_out;
mod limits;
mod live_state;
mod local_target;
mod locks;
mod look;
mod look_cli;
mod lost;
mod lost_commits;
mod lost_output;
mod lost_records;
mod machine;
mod mended;
mod messages;
mod model;
mod named_again;
mod no_way;
mod not_whole;
mod odd_logs;
mod odd_values;
mod one_truth;
mod outside;
mod presence;
mod proof;
mod prune;
mod repair;
mod repair_cli;
mod repair_locks;
mod requests;
mod restore_by_hand;
mod restore_plan;
mod restore_several;
mod restore_words;
mod rewind;
mod rewind_cli;
mod rewind_races;
mod s3_faults;
mod s3_killed;
mod s3_locks;
mod s3_mended;
mod s3_repair;
mod s3_rewind;
mod s3_sources;
mod sample_vault;
mod set_back;
mod spellings;
mod store_conformance;
mod store_local;
mod store_memory;
mod stream_checkpoints;
mod support;
mod told_live;
mod twins;
mod typed;
mod unchanged;
mod unread_ledger;
mod vault_file_gone;
mod verify;
mod verify_locks;
mod verify_rules;
mod walls;
mod ways;
mod wrong_places;
