//! What is said when the command line cannot be acted on: one line, and one hint.

use clap::error::ErrorKind;

/// Why the command line leads to no work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It asked for a text: that of `--help` or `--version`.
    Text(String),
    /// It cannot be understood, or asks for what cannot be.
    Usage(UsageError),
}

/// A command line that cannot be acted on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UsageError {
    /// What is wrong. It may quote what was typed, and is made safe where it is printed.
    pub message: String,
    /// What to type instead; as safe as the message.
    pub hint: String,
}

impl UsageError {
    /// An error with its hint.
    #[must_use]
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

impl Refusal {
    /// Clap's error in our form. Clap writes a paragraph, a tip and the usage; the paragraph becomes the line, the tip
    /// the hint.
    #[must_use]
    pub fn from_clap(error: &clap::Error) -> Self {
        let text = error.render().to_string();
        match error.kind() {
            ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Self::Text(text),
            _ => {
                let paragraph = text.split("\n\n").next().unwrap_or_default();
                let message = one_line(paragraph.trim_start_matches("error:"));
                let tip = text.lines().find_map(|line| line.trim_start().strip_prefix("tip: "));
                Self::Usage(UsageError::new(message, tip.unwrap_or("`closewatch --help` lists the options")))
            }
        }
    }
}

fn one_line(paragraph: &str) -> String {
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The candidate that was probably meant.
#[must_use]
pub fn closest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this Jaro-Winkler similarity two words have nothing to do with each other; clap uses the same bound.
    const ALIKE: f64 = 0.7;
    let typed = typed.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&typed, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args;

    fn refuse(typed: &[&str]) -> UsageError {
        let args = std::iter::once("closewatch").chain(typed.iter().copied()).map(Into::into);
        match args::parse(args) {
            Err(Refusal::Usage(error)) => error,
            other => panic!("{typed:?} was not refused as usage: {other:?}"),
        }
    }

    #[test]
    fn errors_of_clap_become_one_line_and_a_hint() {
        let error = refuse(&["--jsn"]);
        assert_eq!(error.message, "unexpected argument '--jsn' found");
        assert_eq!(error.hint, "a similar argument exists: '--json'");
        let error = refuse(&["--format", "xml"]);
        assert_eq!(error.message, "invalid value 'xml' for '--format <FORMAT>' [possible values: table, json]");
        assert_eq!(error.hint, "`closewatch --help` lists the options");
    }

    #[test]
    fn the_closest_word_is_close() {
        assert_eq!(closest("close_wiat", ["close-wait", "time-wait"]), Some("close-wait"));
        assert_eq!(closest("zzz", ["close-wait", "time-wait"]), None);
    }
}
