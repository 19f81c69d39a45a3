//! The commands that people paste along with what they print: `$ ss -tanp`, `root@web1:~# cat /proc/net/tcp`.

use crate::model::state::TcpState;

/// How a program was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Command {
    /// What stood behind the prompt.
    pub(super) text: String,
    options: String,
    /// The one state that `ss` was asked for: it prints no column for it then.
    pub(super) state: Option<TcpState>,
    /// Whether it asked for some of the sockets only, or something else filtered what it printed.
    pub(super) is_partial: bool,
}

impl Command {
    /// Whether it was called with this short option.
    pub(super) fn has_option(&self, option: char) -> bool {
        self.options.contains(option)
    }
}

/// Words of a filter of `ss`.
const FILTER_WORDS: [&str; 9] = ["state", "exclude", "dst", "src", "dport", "sport", "dev", "(", "fwmark"];
/// Programs that let only some lines through.
const LINE_FILTERS: [&str; 8] = ["grep", "egrep", "fgrep", "rg", "head", "tail", "awk", "sed"];

/// A line that is a command, behind a prompt or alone; `None` when it is none. A prompt without a command counts too.
pub(super) fn parse_command(line: &str) -> Option<Command> {
    let line = line.trim();
    if let Some(command) = behind_prompt(line) {
        return Some(parse_words(command));
    }
    let mut words = line.split_whitespace().skip_while(|word| *word == "sudo");
    let (program, next) = (words.next()?, words.next());
    let is_called = match program.rsplit('/').next()? {
        "ss" | "netstat" => next.is_none_or(|next| next.starts_with('-') || FILTER_WORDS.contains(&next)),
        "cat" | "head" | "tail" => line.contains("/proc/") && line.contains("/net/tcp"),
        "ip" => next == Some("netns"),
        "nsenter" => true,
        _ => false,
    };
    is_called.then(|| parse_words(line))
}

/// What stands behind `$`, `#`, `%`, `>` or `+` at the beginning, or behind what looks like a prompt: a user at a host, a
/// shell, a path.
fn behind_prompt(line: &str) -> Option<&str> {
    let at = line.find(['$', '#', '%', '>', '+', '❯'])?;
    let mark = line[at..].chars().next()?;
    let (before, after) = (line[..at].trim_end(), &line[at + mark.len_utf8()..]);
    if !after.is_empty() && !after.starts_with(' ') {
        return None;
    }
    let path = before.starts_with(['/', '~']) && !before.contains(' ');
    let shell = ["bash", "sh", "zsh"].iter().any(|shell| before == *shell || before.starts_with(&format!("{shell}-")));
    let person = before.contains('@') && before.len() <= 80 && before.split_whitespace().count() <= 3;
    (before.is_empty() || path || shell || person).then_some(after.trim())
}

fn parse_words(text: &str) -> Command {
    let (called, pipes) = text.split_once('|').unwrap_or((text, ""));
    let words: Vec<&str> = called.split_whitespace().collect();
    let at = words.iter().position(|word| matches!(word.rsplit('/').next(), Some("ss" | "netstat")));
    let arguments = at.map_or(&[][..], |at| &words[at + 1..]);
    let short = arguments.iter().filter(|word| word.starts_with('-') && !word.starts_with("--"));
    let mut options: String = short.flat_map(|word| word[1..].chars()).collect();
    let long = [("--tcp", 't'), ("--processes", 'p'), ("--options", 'o'), ("--all", 'a'), ("--listening", 'l')];
    options.extend(long.iter().filter(|(word, _)| arguments.contains(word)).map(|(_, short)| *short));
    let is_ss = at.is_some_and(|at| words[at].ends_with("ss"));
    let states: Vec<&str> = arguments.windows(2).filter(|pair| pair[0] == "state").map(|pair| pair[1]).collect();
    let state = match states.as_slice() {
        [one] if is_ss => TcpState::parse(one),
        _ => None,
    };
    let filtered = is_ss && arguments.iter().any(|word| FILTER_WORDS.contains(word));
    let only_some = at.is_some() && options.contains(['l', '4', '6']);
    let cut =
        pipes.split('|').any(|pipe| pipe.split_whitespace().next().is_some_and(|word| LINE_FILTERS.contains(&word)));
    Command { text: text.to_owned(), options, state, is_partial: filtered || only_some || cut }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_seen_behind_every_usual_prompt() {
        for line in [
            "$ ss -tanp",
            "# ss -tanp",
            "root@web1:~# ss -tanp",
            "[root@web1 ~]# ss -tanp",
            "user@web1 ~ % ss -tanp",
            "bash-5.1$ ss -tanp",
            "/ # ss -tanp",
            "+ ss -tanp",
            "ss -tanp",
            "sudo /usr/sbin/ss -tanp",
            "❯ ss -tanp",
        ] {
            let command = parse_command(line).unwrap_or_else(|| panic!("{line}"));
            assert!(command.has_option('p') && command.has_option('t') && !command.has_option('o'), "{line}");
            assert!(!command.is_partial && command.state.is_none(), "{line}");
        }
        for line in ["root@web1:~#", "$", "$ date", "cat /proc/net/tcp6", "$ cat /proc/1/net/tcp"] {
            assert!(parse_command(line).is_some(), "{line}");
        }
    }

    #[test]
    fn rows_are_no_commands() {
        for line in [
            "ESTAB 0 0 10.0.0.5:80 10.0.0.7:47978",
            "\t cubic wscale:7,7 rto:204",
            "tcp 0 0 10.0.0.5:80 10.0.0.7:47978 ESTABLISHED 1/a@b # c",
            "LISTEN 0 128 *:80 *:* users:((\"a $ b\",pid=1,fd=2))",
            "garbage # more",
            "ss is a program",
            "",
        ] {
            assert_eq!(parse_command(line), None, "{line}");
        }
    }

    #[test]
    fn what_was_asked_for_is_understood() {
        let command = |text: &str| parse_command(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(command("$ ss -tan state close-wait").state, Some(TcpState::CloseWait));
        assert_eq!(command("$ ss -tan state connected").state, None);
        for partial in [
            "$ ss -tan state close-wait",
            "$ ss -tlnp",
            "$ ss -tan dst 10.0.0.7",
            "$ ss -tan | grep CLOSE-WAIT",
            "$ netstat -tan | sort | head -20",
        ] {
            assert!(command(partial).is_partial, "{partial}");
        }
        for whole in ["$ ss -tan | tee file", "$ netstat -tanp", "$ cat /proc/net/tcp"] {
            assert!(!command(whole).is_partial, "{whole}");
        }
    }
}
