//! Where the commands write. Lines are made of styled pieces whose text is cleaned on its way in, so that nothing that a
//! model or a tool wrote can give the terminal orders. On a terminal the last lines are alive: drawn over in place until
//! they settle.

use std::{
    fmt,
    io::{self, Write},
};

use console::Term;

use super::{person::Person, text};
use crate::cli::Invocation;

/// How a piece of text looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Green,
    Yellow,
    Cyan,
}

impl Style {
    fn code(self) -> Option<u8> {
        match self {
            Self::Plain => None,
            Self::Bold => Some(1),
            Self::Dim => Some(2),
            Self::Red => Some(31),
            Self::Green => Some(32),
            Self::Yellow => Some(33),
            Self::Cyan => Some(36),
        }
    }
}

/// One line. Its text is harmless, whoever wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line(Vec<(Style, String)>);

impl Line {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// A line of one style.
    pub(super) fn of(style: Style, text: impl AsRef<str>) -> Self {
        Self::new().with(style, text)
    }

    /// Goes on with `text`; line breaks and tabs in it become blanks.
    pub(super) fn with(mut self, style: Style, text: impl AsRef<str>) -> Self {
        let text = text::clean(text.as_ref()).replace(['\n', '\t'], " ");
        if !text.is_empty() {
            self.0.push((style, text));
        }
        self
    }

    pub(super) fn width(&self) -> usize {
        self.0.iter().map(|(_, text)| text::width(text)).sum()
    }

    /// The line, at most so wide.
    pub(super) fn shortened(mut self, columns: usize) -> Self {
        let mut left = columns;
        for (at, (_, text)) in self.0.iter_mut().enumerate() {
            let wide = text::width(text);
            if wide > left {
                *text = text::shorten(text, left);
                self.0.truncate(at + 1);
                break;
            }
            left -= wide;
        }
        self
    }

    fn write(&self, to: &mut String, coloured: bool) {
        for (style, text) in &self.0 {
            match style.code().filter(|_| coloured) {
                Some(code) => to.push_str(&format!("\u{1b}[{code}m{text}\u{1b}[0m")),
                None => to.push_str(text),
            }
        }
    }
}

/// What kind of output it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Lines without colours, one after the other, of any length.
    Plain,
    /// A terminal: colours, lines that are drawn over.
    Live {
        /// Its columns.
        columns: usize,
        /// Its rows.
        rows: usize,
    },
}

/// Where the commands write: results to one place, complaints and advice to another.
pub struct Terminal {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    look: Look,
    /// Asked for its size each time, for people resize windows.
    term: Option<Term>,
    err_coloured: bool,
    /// Whether somebody sees the results as they come: questions are put there then, or else beside the complaints.
    attended: bool,
    invocation: Invocation,
    person: Option<Person>,
    /// The widths of the lines that are alive.
    alive: Vec<usize>,
}

impl Terminal {
    /// The process's standard output and error. With `plain`, or where colours and drawing are not supported, plain.
    pub fn stdio(plain: bool, invocation: Invocation) -> Self {
        let (out, err) = (Term::stdout(), Term::stderr());
        let able = |term: &Term| !plain && term.features().is_attended() && term.features().colors_supported();
        let look = if able(&out) { Look::Live { columns: 80, rows: 24 } } else { Look::Plain };
        let mut terminal = Self::new(io::stdout(), io::stderr(), look);
        terminal.err_coloured = able(&err);
        terminal.attended = out.features().is_attended();
        terminal.person = Person::at_stdin().filter(|_| terminal.attended || err.features().is_attended());
        terminal.invocation = invocation;
        terminal.term = Some(out);
        terminal
    }

    /// The same, with this person at it.
    #[must_use]
    pub fn with_person(mut self, person: Person) -> Self {
        self.person = Some(person);
        self
    }

    /// The person at it, who then is no longer.
    pub(super) fn take_person(&mut self) -> Option<Person> {
        self.person.take()
    }

    /// How this program was called.
    pub(super) fn invocation(&self) -> &Invocation {
        &self.invocation
    }

    /// A terminal that writes to these.
    pub fn new(out: impl Write + Send + 'static, err: impl Write + Send + 'static, look: Look) -> Self {
        let err_coloured = look != Look::Plain;
        Self {
            out: Box::new(out),
            err: Box::new(err),
            look,
            term: None,
            err_coloured,
            attended: true,
            invocation: Invocation::default(),
            person: None,
            alive: Vec::new(),
        }
    }

    /// What kind of output it is, with its present size.
    pub fn look(&self) -> Look {
        match (self.look, &self.term) {
            (Look::Live { .. }, Some(term)) => {
                let (rows, columns) = term.size();
                Look::Live { columns: usize::from(columns.max(20)), rows: usize::from(rows.max(4)) }
            }
            (look, _) => look,
        }
    }

    /// Draws over the lines that were alive: first those that settle now, then those that live on.
    pub(super) fn draw(&mut self, settled: &[Line], alive: &[Line]) -> io::Result<()> {
        let Look::Live { columns, .. } = self.look() else {
            let mut text = String::new();
            for line in settled {
                line.write(&mut text, false);
                text.push('\n');
            }
            return self.write(&text);
        };
        let before = std::mem::replace(&mut self.alive, alive.iter().map(Line::width).collect());
        let mut bytes = String::new();
        if !before.is_empty() {
            // A window that became narrower has folded the lines.
            let rows: usize = before.iter().map(|width| width.max(&1).div_ceil(columns)).sum();
            bytes.push('\r');
            if rows > 1 {
                bytes.push_str(&format!("\u{1b}[{}A", rows - 1));
            }
        } else if !alive.is_empty() {
            bytes.push_str("\u{1b}[?25l");
        }
        for line in settled {
            line.write(&mut bytes, true);
            bytes.push_str("\u{1b}[K\n");
        }
        for (at, line) in alive.iter().enumerate() {
            line.write(&mut bytes, true);
            bytes.push_str(if at + 1 < alive.len() { "\u{1b}[K\n" } else { "\u{1b}[K" });
        }
        if !before.is_empty() {
            bytes.push_str("\u{1b}[J");
            if alive.is_empty() {
                bytes.push_str("\u{1b}[?25h");
            }
        }
        self.write(&bytes)
    }

    /// Prints lines that stay.
    pub(super) fn print(&mut self, lines: &[Line]) -> io::Result<()> {
        self.draw(lines, &[])
    }

    /// Prints text as it is; the caller vouches for it.
    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    /// Prints a complaint or advice.
    pub(super) fn tell(&mut self, line: &Line) -> io::Result<()> {
        self.complain(std::slice::from_ref(line), "\n")
    }

    /// Prints what a person has to read, where they see it.
    pub(super) fn say(&mut self, lines: &[Line]) -> io::Result<()> {
        if self.attended { self.print(lines) } else { self.complain(lines, "\n") }
    }

    /// Prints what a person is to type behind.
    pub(super) fn prompt(&mut self, line: &Line) -> io::Result<()> {
        if !self.attended {
            return self.complain(std::slice::from_ref(line), "");
        }
        let mut text = String::new();
        line.write(&mut text, self.look != Look::Plain);
        self.write(&text)
    }

    fn complain(&mut self, lines: &[Line], end: &str) -> io::Result<()> {
        let mut text = String::new();
        for line in lines {
            line.write(&mut text, self.err_coloured);
            text.push_str(end);
        }
        self.err.write_all(text.as_bytes())?;
        self.err.flush()
    }
}

impl Drop for Terminal {
    /// Whatever happened, the cursor comes back.
    fn drop(&mut self) {
        if !self.alive.is_empty() {
            let _ = self.write("\n\u{1b}[?25h");
        }
    }
}

impl fmt::Debug for Terminal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminal").field("look", &self.look).finish_non_exhaustive()
    }
}
