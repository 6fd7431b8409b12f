//! Who runs this, for the records that it leaves: the user and the machine.

use std::fs;

use deltavault::ids::{Id128, Timestamp};
use deltavault::vault::events::Actor;

/// `user@host`.
pub(crate) fn principal() -> String {
    let name = ["USER", "LOGNAME"]
        .iter()
        .filter_map(std::env::var_os)
        .map(|name| name.to_string_lossy().into_owned())
        .find(|name| !name.is_empty());
    let uid = rustix::process::getuid().as_raw();
    let user = name
        .or_else(|| name_of(uid, &fs::read_to_string("/etc/passwd").unwrap_or_default()))
        .unwrap_or_else(|| uid.to_string());
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

/// Who acts at a time, with a run of its own.
pub(crate) fn actor(now: Timestamp) -> Actor {
    Actor {
        now,
        principal: principal(),
        run: Id128::from_bytes(rand::random()),
        tool: tool(),
    }
}

/// The name of a user by the lines of `/etc/passwd`: a job that runs with an empty environment has no other. Users that
/// only a directory service knows keep their number.
fn name_of(uid: u32, passwd: &str) -> Option<String> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let is_name = !name.is_empty() && !name.starts_with('#');
        (fields.nth(1)? == uid && is_name).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_environment_has_the_name_of_the_user_file() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\n# 7:x:7\n::7:\nann:x:1000:1000::/home/ann:\n\
                      twin:x:1000:1000::/:\nshort:x\n";
        assert_eq!(name_of(0, passwd).as_deref(), Some("root"));
        assert_eq!(name_of(1000, passwd).as_deref(), Some("ann"));
        assert_eq!(name_of(7, passwd), None);
        assert_eq!(name_of(0, ""), None);
    }
}
