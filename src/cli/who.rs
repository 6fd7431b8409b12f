//! Who runs this, for the records that it leaves: whoever STS says makes the calls to the vault, else the user and the
//! machine.

use deltavault::ids::{Id128, Timestamp};
use deltavault::vault::events::Actor;

use super::stores::Place;

/// The caller's ARN where the vault is on S3 and STS says it, else `user@host`.
pub(crate) async fn principal(vault: &Place) -> String {
    let caller = match vault {
        Place::Bucket(store) => store.client().caller().await,
        Place::Folder(_) => None,
    };
    caller.unwrap_or_else(user_at_host)
}

/// `user@host`; the user's number where nothing here knows a name.
fn user_at_host() -> String {
    let name = ["USER", "LOGNAME"]
        .iter()
        .filter_map(std::env::var_os)
        .map(|name| name.to_string_lossy().into_owned())
        .find(|name| !name.is_empty());
    // A job that runs with an empty environment has a name by its number only.
    let user = name
        .or_else(|| whoami::username().ok())
        .unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    match whoami::hostname() {
        Ok(host) => format!("{user}@{host}"),
        Err(_) => user,
    }
}

/// The tool and its version.
pub(crate) fn tool() -> String {
    format!("deltavault {}", env!("CARGO_PKG_VERSION"))
}

/// Who acts at a time, with a run of its own.
pub(crate) async fn actor(now: Timestamp, vault: &Place) -> Actor {
    Actor {
        now,
        principal: principal(vault).await,
        run: Id128::from_bytes(rand::random()),
        tool: tool(),
    }
}
