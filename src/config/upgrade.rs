use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::{BuildError, Errors};
use crate::types::Duration;

/// How a new process takes the place of this one, without a connection lost: `tidegate upgrade`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpgradeConfig {
    /// The Unix socket that `tidegate upgrade` asks; only the gateway's own user and root may. Relative to the config file. Default: `upgrade.sock` in
    /// the folder that systemd gives (`RUNTIME_DIRECTORY`); without one there is no upgrade in place.
    pub socket: Option<PathBuf>,
    /// How long the new process may take until it is ready; then it is killed, and the old one serves on. Default: 60s.
    pub timeout: Duration,
}

impl Default for UpgradeConfig {
    fn default() -> Self {
        Self { socket: None, timeout: Duration::secs(60) }
    }
}

/// What the system takes as the path of a Unix socket, less a suffix of our own.
const LONGEST: usize = 96;

impl UpgradeConfig {
    /// What can be read and cannot work, at paths below `server.upgrade`.
    pub fn mistakes(&self) -> Errors {
        let mut errors = Errors::default();
        let socket = match &self.socket {
            Some(path) if path.file_name().is_none() => {
                let reason = format!("`{}` names no file", path.display());
                Err(BuildError::new(reason, "write a path like `/run/tidegate/upgrade.sock`"))
            }
            Some(path) if path.as_os_str().len() > LONGEST => {
                let reason = format!("a socket's path of {} bytes is longer than the system takes", path.as_os_str().len());
                Err(BuildError::new(reason, format!("write one of at most {LONGEST} bytes")))
            }
            _ => Ok(()),
        };
        errors.keep(&["socket".into()], socket);
        errors.keep(&["timeout".into()], self.timeout.not_zero());
        errors
    }
}
