//! Real peers that no Debian package has: `make tools` installs them beside what cargo builds.

use std::path::{Path, PathBuf};

/// A program in Go, such as `grpcurl`.
pub fn program(name: &str) -> PathBuf {
    installed(&format!("bin/{name}"))
}

/// A Python with the packages of `tests/tools/requirements.txt`.
pub fn python() -> PathBuf {
    installed("venv/bin/python")
}

/// The packages of `tests/tools/package.json`, for Node.
pub fn modules() -> PathBuf {
    installed("npm/node_modules")
}

fn installed(path: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_tidegate")).parent().and_then(Path::parent).unwrap();
    let path = built.join("tools").join(path);
    assert!(path.exists(), "this test needs {}: `make tools` installs it", path.display());
    path
}
