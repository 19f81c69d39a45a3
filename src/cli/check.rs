//! `closewatch check`: the look, graded, and told in the way of whoever runs it, also when there is nothing to tell.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Context, Error, Result};

use super::args::CheckArgs;
use super::exit::Exit;
use super::guard::{self, LastWord, Voice};
use super::output::Sink;
use super::past::{self, Keeper, Purpose};
use super::request::{CheckJob, check_format};
use super::{deliver, look, one_line, policy_file, say, terminal};
use crate::diagnosis::finding::Verdict;
use crate::diagnosis::policy::Policy;
use crate::model::snapshot::{Gap, Hides};
use crate::model::wording::span;
use crate::render::{self, Format};
use crate::report;

/// Grades a look, and tells a monitoring system on standard output, too, when it cannot.
pub(super) fn check(args: &CheckArgs) -> Result<Exit> {
    let format = check_format(args);
    let voice = Voice::of(format);
    let word = LastWord::new(voice);
    match guard::without_panic(&word, || grade(args, &word)) {
        Err(_) if !word.take() => Ok(Exit::Failed),
        Err(error) => {
            tell_file(args, format, &error);
            refuse(error, voice)
        }
        outcome => outcome,
    }
}

/// How the last words are heard of what was typed, as far as can be told of what was not understood.
pub(super) fn voice_typed(typed: &[OsString]) -> Voice {
    if typed.get(1).is_none_or(|command| command != "check") {
        return Voice::Program;
    }
    let words = typed.iter().filter_map(|arg| arg.to_str());
    let mut voice = Voice::Plugin;
    for word in words {
        match word.strip_prefix("--format=").unwrap_or(word) {
            "zabbix" => return Voice::Zabbix,
            "--json" | "json" | "table" | "prometheus" | "influx" => voice = Voice::Program,
            _ => {}
        }
    }
    voice
}

/// Says why there is no verdict to who reads standard output only. People read the rest on standard error; the agent of Zabbix
/// takes both for one, so that nothing is left to be said there.
pub(super) fn refuse(error: Error, voice: Voice) -> Result<Exit> {
    if let Some(line) = voice.on_stdout(&one_line(&format!("{error:#}"))) {
        say(line.as_bytes())?;
    }
    if voice == Voice::Zabbix { Ok(Exit::Failed) } else { Err(error) }
}

/// Who reads a file learns there that the look failed, where its format has a word for it: the old file would look well.
fn tell_file(args: &CheckArgs, format: Format, error: &Error) {
    let file = args.output.as_deref().filter(|file| file.as_os_str() != "-");
    let words = render::failure(format, &one_line(&format!("{error:#}")));
    if let (Some(file), Some(words)) = (file, words)
        && let Ok(sink) = Sink::open(Some(file))
    {
        // A file that cannot be written to is what the error may be about.
        let _ = sink.write(words.as_bytes());
    }
}

fn grade(args: &CheckArgs, word: &LastWord) -> Result<Exit> {
    let mut policy = Policy::default();
    if let Some(file) = &args.policy {
        policy_file::read(file, &mut policy)?;
    }
    let CheckJob { report: job, limit, quiet } = CheckJob::from_args(args, policy)?;
    if let Some(limit) = limit {
        guard::end_after(limit, word);
    }
    let sink = Sink::open(job.output.file.as_deref())?;
    let mut snapshot = look(job.from.as_ref(), &job.request)?;
    if let Some(limit) = limit.filter(|_| job.request.deadline.has_passed()) {
        // Before the gaps that came of it.
        snapshot.gaps.insert(0, time_was_up(limit));
    }
    let unfit = past::unfit(&job.request, &job.history);
    let mut keeper = Keeper::open(&job.history, Purpose::Remember, job.request.deadline)?;
    let past = keeper.past(&snapshot);
    let mut report = report::build(&snapshot, &job.query, &past, &job.policy);
    keeper.remember(&report.memory(), unfit);
    report.history = keeper.into_note();
    // Telegraf drops what a command printed that did not exit with 0.
    let exit = if job.output.format == Format::Influx { Exit::Done } else { Exit::Graded(report.verdict) };
    if quiet && report.verdict == Verdict::Ok && matches!(sink, Sink::Stdout) {
        return Ok(exit);
    }
    let mut bytes = Vec::new();
    render::render(&report, job.output.format, &terminal::page(&job.output), &mut bytes)
        .context("writing the check")?;
    if !word.take() {
        // The time is up, and that was said.
        return Ok(Exit::Failed);
    }
    deliver(sink, &bytes).map(|_| exit).inspect_err(|_| word.give_back())
}

/// What a look that was cut short did not see.
fn time_was_up(limit: Duration) -> Gap {
    Gap {
        what: "what was left".to_owned(),
        why: format!("--timeout is {} and has passed", span(limit)),
        hides: Hides::Sockets,
        count: 1,
    }
}

impl Voice {
    /// Where the reader of this format listens.
    fn of(format: Format) -> Self {
        match format {
            Format::Nagios => Self::Plugin,
            Format::Zabbix => Self::Zabbix,
            Format::Table | Format::Json | Format::Prometheus | Format::Influx => Self::Program,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(typed: &str) -> Voice {
        let words = std::iter::once("closewatch").chain(typed.split_whitespace());
        voice_typed(&words.map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_was_typed_tells_who_listens() {
        for (typed, expected) in [
            ("check --nonsense", Voice::Plugin),
            ("check --format nagios", Voice::Plugin),
            ("check --format zabbix --nonsense", Voice::Zabbix),
            ("check --nonsense --format=zabbix", Voice::Zabbix),
            ("check --json", Voice::Program),
            ("check --format=prometheus", Voice::Program),
            ("check --output /var/lib/zabbix", Voice::Plugin),
            ("report --format zabbix", Voice::Program),
            ("", Voice::Program),
        ] {
            assert_eq!(voice(typed), expected, "{typed}");
        }
    }
}
