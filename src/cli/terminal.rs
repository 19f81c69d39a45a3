//! What standard output is, and so how wide and how colourful the page may be.

use std::ffi::OsStr;
use std::io::IsTerminal;

use super::args::ColorArg;
use super::request::OutputRequest;
use crate::render::{Color, Page};

/// The page for this output. A file and a pipe have no width: nothing is left out there.
#[must_use]
pub fn page<F>(output: &OutputRequest<F>) -> Page {
    let stdout = std::io::stdout();
    let terminal = output.file.is_none() && stdout.is_terminal();
    let var = |name| std::env::var_os(name);
    let screen = terminal.then(|| rustix::termios::tcgetwinsize(&stdout).ok().map(|size| size.ws_col));
    Page {
        width: width(screen, var("COLUMNS").as_deref()),
        color: color(output.color, terminal, var("TERM").as_deref(), var("NO_COLOR").as_deref()),
        detail: output.detail,
    }
}

/// The width in columns; `None` for as wide as it takes. `screen` is `None` without a terminal, and holds `None` or 0
/// when the terminal does not know its width. `watch` captures what it shows and tells the width in COLUMNS.
fn width(screen: Option<Option<u16>>, columns: Option<&OsStr>) -> Option<u16> {
    /// What a terminal has that does not know its width.
    const USUAL: u16 = 80;
    let columns = columns.and_then(OsStr::to_str).and_then(|text| text.parse().ok()).filter(|width| *width > 0);
    match screen {
        Some(size) => size.filter(|width| *width > 0).or(columns).or(Some(USUAL)),
        None => columns,
    }
}

/// Whether to colour: <https://no-color.org>.
fn color(asked: ColorArg, terminal: bool, term: Option<&OsStr>, no_color: Option<&OsStr>) -> Color {
    let allowed = match asked {
        ColorArg::Always => true,
        ColorArg::Never => false,
        ColorArg::Auto => terminal && term.is_none_or(|term| term != "dumb") && no_color.is_none_or(OsStr::is_empty),
    };
    if allowed { Color::On } else { Color::Off }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_is_that_of_the_terminal_or_none() {
        let columns = Some(OsStr::new("120"));
        assert_eq!(width(Some(Some(100)), columns), Some(100));
        assert_eq!(width(Some(Some(0)), columns), Some(120));
        assert_eq!(width(Some(None), None), Some(80));
        assert_eq!(width(None, columns), Some(120));
        assert_eq!(width(None, None), None);
        assert_eq!(width(None, Some(OsStr::new("wide"))), None);
    }

    #[test]
    fn colour_needs_a_terminal_that_wants_it() {
        let set = |text| Some(OsStr::new(text));
        assert_eq!(color(ColorArg::Auto, true, set("xterm"), None), Color::On);
        assert_eq!(color(ColorArg::Auto, true, set("xterm"), set("")), Color::On);
        assert_eq!(color(ColorArg::Auto, true, set("xterm"), set("1")), Color::Off);
        assert_eq!(color(ColorArg::Auto, true, set("dumb"), None), Color::Off);
        assert_eq!(color(ColorArg::Auto, false, set("xterm"), None), Color::Off);
        assert_eq!(color(ColorArg::Always, false, set("dumb"), set("1")), Color::On);
        assert_eq!(color(ColorArg::Never, true, set("xterm"), None), Color::Off);
    }
}
