//! The column of processes: `users:(("nginx",pid=1,fd=6),("nginx",pid=2,fd=6))`.
//!
//! `ss` prints the name as the process chose it (before iproute2 7.0 with control characters and line ends, too), so that
//! only the whole shape of an entry tells where a name ends.

/// One entry: who holds the socket, by which descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) pid: u32,
    /// `None` when the source does not tell (netstat).
    pub(super) fd: Option<u32>,
}

/// What the beginning of a text is, read as a column of processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Users<'a> {
    /// All of it was read; the rest follows.
    Read(Vec<User>, &'a str),
    /// It ends before it is complete: a name may hold a line end, or the text was cut.
    Unfinished,
    /// It is none.
    Wrong,
}

pub(super) const BEGIN: &str = "users:(";

/// `comm` has at most 15 bytes (`TASK_COMM_LEN`, kernel `include/linux/sched.h`).
const LONGEST_NAME: usize = 15;

/// Reads the column at the beginning of the text.
pub(super) fn parse_users(text: &str) -> Users<'_> {
    let Some(mut rest) = text.strip_prefix(BEGIN) else { return Users::Wrong };
    let mut users = Vec::new();
    loop {
        let (user, after) = match parse_entry(rest) {
            Entry::Read(user, after) => (user, after),
            Entry::Unfinished => return Users::Unfinished,
            Entry::Wrong => return Users::Wrong,
        };
        users.push(user);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            // An entry is only taken for one when this is what follows it.
            None => return Users::Read(users, after.trim_start_matches(')')),
        }
    }
}

enum Entry<'a> {
    Read(User, &'a str),
    Unfinished,
    Wrong,
}

/// Reads `("NAME",pid=N,fd=N)`, also with `tid=` (`-T`) and security contexts (`-Z`), or `("NAME",N,N)` of iproute2 3.x.
/// The name is the shortest after which the entry is whole.
fn parse_entry(text: &str) -> Entry<'_> {
    let Some(body) = text.strip_prefix("(\"") else {
        return if "(\"".starts_with(text) { Entry::Unfinished } else { Entry::Wrong };
    };
    let mut unfinished = false;
    for (nth, (at, _)) in body.char_indices().enumerate() {
        if nth > LONGEST_NAME {
            return if unfinished { Entry::Unfinished } else { Entry::Wrong };
        }
        let Some(fields) = body[at..].strip_prefix('"') else { continue };
        match parse_fields(fields) {
            Fields::Read { pid, fd, rest } => {
                return Entry::Read(User { name: body[..at].to_owned(), pid, fd: Some(fd) }, rest);
            }
            Fields::Unfinished => unfinished = true,
            Fields::Wrong => {}
        }
    }
    Entry::Unfinished
}

enum Fields<'a> {
    Read { pid: u32, fd: u32, rest: &'a str },
    Unfinished,
    Wrong,
}

/// Reads `,pid=N,…,fd=N,…)` and looks whether another entry or the end of the column follows.
fn parse_fields(text: &str) -> Fields<'_> {
    let Some(inner) = text.strip_prefix(',') else {
        return if text.is_empty() { Fields::Unfinished } else { Fields::Wrong };
    };
    let Some((pid, after)) = number(inner.strip_prefix("pid=").unwrap_or(inner)) else {
        let cut = "pid=".starts_with(inner) || inner == "pid=";
        return if cut { Fields::Unfinished } else { Fields::Wrong };
    };
    // Contexts may hold commas, blanks and parentheses: the descriptor is looked for, and the end behind it.
    let found = match after.strip_prefix(',') {
        Some(plain) if plain.starts_with(|c: char| c.is_ascii_digit()) => number(plain),
        _ => after.find(",fd=").filter(|at| is_between(&after[..*at])).and_then(|at| number(&after[at + 4..])),
    };
    let Some((fd, after)) = found else {
        return if after.contains(['"', ')']) { Fields::Wrong } else { Fields::Unfinished };
    };
    let mut from = 0;
    while let Some(at) = after[from..].find(')') {
        let rest = &after[from + at + 1..];
        if ",(\"".starts_with(rest) {
            return Fields::Unfinished;
        }
        let last = rest.strip_prefix(')').is_some_and(|end| end.is_empty() || end.starts_with(char::is_whitespace));
        if last || rest.starts_with(",(\"") {
            let skipped = &after[..from + at];
            return if skipped.is_empty() || skipped.starts_with(",sock_ctx=") {
                Fields::Read { pid, fd, rest }
            } else {
                Fields::Wrong
            };
        }
        from += at + 1;
    }
    if after.is_empty() || after.starts_with(',') { Fields::Unfinished } else { Fields::Wrong }
}

/// Whether the text is what may stand between pid and descriptor: nothing, a thread, a context.
fn is_between(text: &str) -> bool {
    let known = text.is_empty() || text.starts_with(",tid=") || text.starts_with(",proc_ctx=");
    known && !text.contains(['\n', '"'])
}

fn number(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    number.parse().ok().map(|number| (number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, u32, u32)> {
        match parse_users(text) {
            Users::Read(users, _) => {
                users.into_iter().map(|user| (user.name, user.pid, user.fd.expect("a descriptor"))).collect()
            }
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn every_form_of_every_version_is_read() {
        let one = |name: &str| vec![(name.to_owned(), 7, 3)];
        assert_eq!(read(r#"users:(("sshd",pid=7,fd=3))"#), one("sshd"));
        assert_eq!(read(r#"users:(("sshd",7,3))"#), one("sshd"));
        assert_eq!(read(r#"users:(("sshd",pid=7,tid=9,fd=3))"#), one("sshd"));
        assert_eq!(read(r#"users:(("sshd",pid=7,proc_ctx=u:r:t:s0-s0:c0.c9,fd=3))"#), one("sshd"));
        assert_eq!(read(r#"users:(("sshd",pid=7,proc_ctx=a,b (enforce),fd=3,sock_ctx=c (enforce)))"#), one("sshd"));
        assert_eq!(
            read(r#"users:(("nginx: worker",pid=2,fd=6),("nginx",pid=1,fd=6))"#),
            [("nginx: worker".to_owned(), 2, 6), ("nginx".to_owned(), 1, 6)]
        );
    }

    #[test]
    fn hostile_names_are_read_whole() {
        for name in
            ["", "a \"b\" (c", "a\",pid=1,fd=2", "two\nlines\"", "\u{1b}[31m", "\",1,2", "\",pid=1,fd=2))", "((\""]
        {
            let text = format!("users:((\"{name}\",pid=7,fd=3),(\"next\",pid=8,fd=4)) ino:5");
            let Users::Read(users, rest) = parse_users(&text) else { panic!("{text}: {:?}", parse_users(&text)) };
            assert_eq!((users[0].name.as_str(), users[0].pid, users[1].pid, rest), (name, 7, 8, " ino:5"), "{text}");
        }
    }

    #[test]
    fn a_cut_column_is_unfinished_and_another_one_wrong() {
        let whole = r#"users:(("nginx: worker",pid=2,fd=6),("nginx",pid=1,fd=6))"#;
        for end in BEGIN.len()..whole.len() {
            assert_eq!(parse_users(&whole[..end]), Users::Unfinished, "{}", &whole[..end]);
        }
        for wrong in ["users:(x", "users:((\"a-name-that-is-too-long\",pid=1,fd=2))", "timer:(on,1sec,0)"] {
            assert_eq!(parse_users(wrong), Users::Wrong, "{wrong}");
        }
    }
}
