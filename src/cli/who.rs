//! Who runs this, for the records that it leaves: the user and the machine.

use std::fs;

/// `user@host`.
pub(crate) fn principal() -> String {
    let name = ["USER", "LOGNAME"]
        .iter()
        .filter_map(std::env::var_os)
        .map(|name| name.to_string_lossy().into_owned())
        .find(|name| !name.is_empty());
    let user = name.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => user,
        host => format!("{user}@{host}"),
    }
}

/// The tool and its version.
pub(crate) fn tool() -> String {
    format!("deltavault {}", env!("CARGO_PKG_VERSION"))
}
