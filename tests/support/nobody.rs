//! The program, run by a user who may see nobody else's processes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory that anybody may read, and the program in it: the build's own may be closed to others.
pub fn public_place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("chmod");
    let program = dir.path().join("closewatch");
    fs::copy(env!("CARGO_BIN_EXE_closewatch"), &program).expect("a copy");
    fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("chmod");
    (dir, program)
}

/// The program as user 65534, without capabilities. Needs root.
pub fn as_nobody(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program).current_dir("/");
    command
}
