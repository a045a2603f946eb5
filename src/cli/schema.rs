use std::process::ExitCode;

use super::print;

/// `tidegate schema`.
pub fn schema() -> ExitCode {
    print(&format!("{:#}", crate::config::schema()));
    ExitCode::SUCCESS
}
