//! What the user who looks may do.

/// Who looks, and with which rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The effective user id.
    pub uid: u32,
    /// The name of that user in `/etc/passwd`; `None` when it has none there.
    pub user: Option<String>,
    /// Of the capabilities that show more, those that looks are taken with, as capabilities(7) spells them.
    pub held: Vec<&'static str>,
    /// Whether the process may not gain rights when it runs a program: capabilities of files are void then (prctl(2),
    /// `PR_SET_NO_NEW_PRIVS`).
    pub no_new_privileges: bool,
}

/// The capabilities that show more, and what each shows. In the order in which they matter.
pub const REVEALING: [(&str, &str); 3] = [
    ("CAP_SYS_PTRACE", "what the descriptors of other users' processes are, their executables and their namespaces"),
    ("CAP_DAC_READ_SEARCH", "which descriptors other users' processes have"),
    ("CAP_SYS_ADMIN", "other network namespaces from inside, with ages and ports; it is all but root"),
];
