use std::path::Path;
use std::process::ExitCode;

use super::say;
use crate::reload::build;
use crate::state::Shared;

/// `tidegate check`.
pub fn check(path: &Path) -> ExitCode {
    match build(path, &Shared::default()) {
        Ok(built) => {
            let config = &built.config.value;
            say(&format!("{}: {} routes, {} services, nothing is wrong", path.display(), config.routes.len(), config.services.len()));
            ExitCode::SUCCESS
        }
        Err(errors) => {
            say(&errors.to_string());
            ExitCode::FAILURE
        }
    }
}
