//! Who runs this, for the records that it leaves: the user and the machine.

use deltavault::ids::{Id128, Timestamp};
use deltavault::vault::events::Actor;

/// `user@host`; the user's number where nothing here knows a name.
pub(crate) fn principal() -> String {
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
pub(crate) fn actor(now: Timestamp) -> Actor {
    Actor {
        now,
        principal: principal(),
        run: Id128::from_bytes(rand::random()),
        tool: tool(),
    }
}
