//! The demo's output: results to standard output, in colours if a person is looking.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Width of the column of users.
const WHO: usize = 8;
/// Width of the column of commands.
const COMMAND: usize = 41;
/// Longest reply; more is cut, so that a line fits into 110 columns.
const REPLY: usize = 51;

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "32";
const RED: &str = "1;31";

/// Standard output.
pub(super) struct Screen {
    colours: bool,
}

impl Screen {
    /// Colours only on a terminal that can show them, and not against <https://no-color.org>.
    pub(super) fn new() -> Screen {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Screen { colours: io::stdout().is_terminal() && !unwanted && !dumb }
    }

    pub(super) fn line(&self, text: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// An empty line and a title.
    pub(super) fn title(&self, text: &str) -> io::Result<()> {
        self.line(format_args!("\n{}", self.paint(BOLD, text)))
    }

    /// A line with a dim word before it that says what it is.
    pub(super) fn named(&self, name: &str, text: impl Display) -> io::Result<()> {
        self.line(format_args!("{} {text}", self.paint(DIM, &format!("{name:9}"))))
    }

    /// One line of the table.
    pub(super) fn row(&self, expected: bool, who: &str, command: &str, reply: &str) -> io::Result<()> {
        let mark = if expected { self.paint(GREEN, "ok") } else { self.paint(RED, "UNEXPECTED") };
        let (command, reply) = (cut(command, COMMAND), cut(reply, REPLY));
        self.line(format_args!("  {mark}  {who:WHO$}  {command:COMMAND$}  {reply}"))
    }

    pub(super) fn verdict(&self, good: bool, text: &str) -> io::Result<()> {
        self.line(format_args!("\n{}", self.paint(if good { GREEN } else { RED }, text)))
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// At most `width` characters of a text. Redis says at the end of an error what it was about: there the beginning and
/// what stands in parentheses go first.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let shorter = match (text.split_once(" no permissions to "), text.split_once(" (")) {
        (Some((who, what)), _) if who.starts_with("NOPERM") => format!("NOPERM … {what}"),
        (_, Some((begin, rest))) => match rest.split_once(") - ") {
            Some((_, end)) => format!("{begin} … {end}"),
            None => text.to_owned(),
        },
        _ => text.to_owned(),
    };
    if shorter.chars().count() <= width {
        return shorter;
    }
    shorter.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_texts_stay_whole() {
        assert_eq!(cut("NOPERM no", 9), "NOPERM no");
    }

    #[test]
    fn long_texts_lose_what_says_least() {
        assert_eq!(cut("ERR unknown command", 12), "ERR unknown…");
        assert_eq!(
            cut("NOPERM User app has no permissions to run the 'x' command", 30),
            "NOPERM … run the 'x' command"
        );
        assert_eq!(cut("ERR failed (possibly 'dir') - protected", 25), "ERR failed … protected");
    }
}
