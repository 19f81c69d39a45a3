//! A file for `/etc/cron.d`: cron mails what a command prints, so that it prints only what is not well.

use crate::model::text::shell_word;

/// The file. Its time limit is shorter than its period, so that no two checks meet.
pub(super) fn file(program: &str) -> String {
    // A percent sign is a line end to cron: crontab(5).
    let program = shell_word(program).replace('%', "\\%");
    format!(
        "\
# /etc/cron.d/closewatch
# Owned by root, writable by root only (chmod 0644), and with no dot in its name: cron passes over any other file.
# Nothing is printed, and so nothing is mailed, as long as all is well; a warning is mailed at every run until it is mended.
# As another user than root it sees less, and says in each mail what it did not see.
SHELL=/bin/sh
MAILTO=root

*/5 * * * *  root  {program} check --quiet --format table --timeout 60
"
    )
}
