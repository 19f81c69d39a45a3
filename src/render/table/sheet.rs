//! The page while it is being filled, from top to bottom.

use anstyle::{AnsiColor, Style};

use super::grid::Grid;
use super::prose::{flow, width_of, wrap};
use crate::diagnosis::finding::{Severity, Verdict};
use crate::model::wording::count;
use crate::render::{Color, Detail, Page};

/// Where the text of a labelled line begins.
const LABEL: usize = 15;
/// How wide sentences are when the page has no width of its own.
const USUAL: usize = 80;
/// Sentences that are wider than this are hard to read, however wide the page is.
const READABLE: usize = 120;
/// Rows of a table before the rest is summed up.
const FIRST_ROWS: usize = 10;

/// Emphasis of section titles and of what to do.
pub(in crate::render) const STRONG: Style = Style::new().bold();

/// The style of a verdict. Its word says the same without colour.
pub(in crate::render) fn of_verdict(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Ok => AnsiColor::Green.on_default().bold(),
        Verdict::Unknown => AnsiColor::Magenta.on_default().bold(),
        Verdict::Warning => AnsiColor::Yellow.on_default().bold(),
        Verdict::Critical => AnsiColor::Red.on_default().bold(),
    }
}

/// The style of a severity. Its word says the same without colour.
pub(in crate::render) fn of_severity(severity: Severity) -> Style {
    match severity {
        Severity::Info => STRONG,
        Severity::Unknown => of_verdict(Verdict::Unknown),
        Severity::Warning => of_verdict(Verdict::Warning),
        Severity::Critical => of_verdict(Verdict::Critical),
    }
}

/// A page that is being filled.
#[derive(Debug)]
pub(in crate::render) struct Sheet {
    page: Page,
    text: String,
}

/// How many of the rows are shown.
pub(in crate::render) fn rows_shown(page: &Page, rows: usize) -> usize {
    match page.detail {
        Detail::Full => rows,
        // One row takes no more room than the line that would stand for it.
        Detail::Brief if rows <= FIRST_ROWS + 1 => rows,
        Detail::Brief => FIRST_ROWS,
    }
}

impl Sheet {
    /// An empty page.
    pub(in crate::render) fn new(page: &Page) -> Self {
        Self { page: *page, text: String::new() }
    }

    /// What the page is like.
    pub(in crate::render) fn page(&self) -> &Page {
        &self.page
    }

    /// What was written.
    pub(in crate::render) fn into_text(self) -> String {
        self.text
    }

    /// An empty line, unless the line above is empty or there is none.
    pub(in crate::render) fn blank(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A sentence after a label; its further lines begin where its first does. `indent` blanks come before the label,
    /// and the text begins in column `at`, or after the label when that is longer.
    pub(in crate::render) fn labelled(
        &mut self,
        (indent, at): (usize, usize),
        (label, style): (&str, Style),
        text: &str,
    ) {
        let at = at.max(if label.is_empty() { indent } else { indent + width_of(label) + 2 });
        self.hang(indent, at, (label, style), &wrap(text, self.prose_width().saturating_sub(at)));
    }

    /// A sentence without a label.
    pub(in crate::render) fn sentence(&mut self, indent: usize, text: &str) {
        self.labelled((indent, indent), ("", STRONG), text);
    }

    /// A line that is not wrapped, because it is meant to be copied.
    pub(in crate::render) fn verbatim(&mut self, indent: usize, text: &str) {
        self.text.push_str(&format!("{:indent$}{text}\n", ""));
    }

    /// A title and items behind it, in as many lines as it takes; nothing when there are no items.
    pub(in crate::render) fn items(&mut self, title: &str, items: &[String]) {
        if items.is_empty() {
            return;
        }
        let width = self.page.width.map_or(USUAL, usize::from);
        self.hang(0, LABEL, (title, STRONG), &flow(items, width.saturating_sub(LABEL)));
    }

    /// A title and sentences behind it, each on lines of its own.
    pub(in crate::render) fn statements(&mut self, title: &str, sentences: &[String]) {
        for (nth, sentence) in sentences.iter().enumerate() {
            let label = if nth == 0 { title } else { "" };
            self.labelled((0, LABEL), (label, STRONG), sentence);
        }
    }

    /// A table; `hidden` rows of `total` are not in it, and what they amount to.
    pub(in crate::render) fn grid(&mut self, grid: &Grid, hidden: usize, rest: &str) {
        for (nth, line) in grid.lines(self.page.width).iter().enumerate() {
            // The title of the first column is the table's, and ends where two blanks begin.
            let end = if nth == 0 { line.find("  ").unwrap_or(line.len()) } else { 0 };
            let (title, rest) = line.split_at(end);
            let title = if title.is_empty() { String::new() } else { self.paint(title, STRONG) };
            self.text.push_str(&format!("{title}{rest}\n"));
        }
        if hidden > 0 {
            let rest = if rest.is_empty() { String::new() } else { format!(": {rest}") };
            self.sentence(2, &format!("… and {} more{rest} (-v shows them)", count(hidden as u64)));
        }
    }

    fn hang(&mut self, indent: usize, at: usize, (label, style): (&str, Style), lines: &[String]) {
        let fill = at.saturating_sub(indent + width_of(label));
        let label = if label.is_empty() { String::new() } else { self.paint(label, style) };
        let mut head = format!("{:indent$}{label}{:fill$}", "", "");
        if lines.is_empty() {
            self.text.push_str(&format!("{}\n", head.trim_end()));
        }
        for line in lines {
            self.text.push_str(&format!("{head}{line}\n"));
            head = " ".repeat(at);
        }
    }

    fn prose_width(&self) -> usize {
        self.page.width.map_or(USUAL, usize::from).min(READABLE)
    }

    fn paint(&self, text: &str, style: Style) -> String {
        match self.page.color {
            Color::On => format!("{style}{text}{style:#}"),
            Color::Off => text.to_owned(),
        }
    }
}
