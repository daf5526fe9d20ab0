//! What is wrong with a configuration: a list, never a single fault.
//!
//! An operator who repairs a file wants to see all of it in one go, so whatever reads or checks a configuration
//! appends here and carries on. Texts follow the house style for operators: lower case, no full stop, user input
//! in backticks, first what is wrong, then after a semicolon what to write instead.
//!
//! SECURITY: a text must never hold a secret. Values of unknown keys, of mappings and of addresses with a
//! password are therefore never quoted; only keys, paths, names and values of known, public keys are.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Position {
    /// The first character of a file: where problems of the file as a whole are shown.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// A value together with the place where the configuration gives it (for a default: the place of its mapping).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands, so that a later check can name the line.
    pub at: Position,
}

impl<T> Located<T> {
    /// Joins a value and its place.
    pub fn new(value: T, at: Position) -> Self {
        Self { value, at }
    }
}

/// One fault, ready to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file that has the fault: the configuration, or a file that it names (an ACL file).
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong, and what to write instead. Never a secret.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file.display(), self.line, self.column, self.text)
    }
}

/// All faults that were found. As an error it is shown one fault a line, by file and position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Records a fault, once. `line` and `column` count from 1.
    pub fn push(&mut self, file: &Path, line: usize, column: usize, text: impl Into<String>) {
        let problem = Problem { file: file.to_path_buf(), line, column, text: text.into() };
        // Several listeners may name the same file in one place.
        if !self.list.contains(&problem) {
            self.list.push(problem);
        }
    }

    /// Records a fault at a place of `file`.
    pub fn push_at(&mut self, file: &Path, at: Position, text: impl Into<String>) {
        self.push(file, at.line, at.column, text);
    }

    /// Takes over the faults that another check found.
    pub fn extend(&mut self, other: Self) {
        self.list.extend(other.list);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many faults there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The faults by file, line and column; at one place in the order in which they were found.
    pub fn sorted(&self) -> Vec<&Problem> {
        let mut sorted: Vec<&Problem> = self.list.iter().collect();
        sorted.sort_by_key(|problem| (&problem.file, problem.line, problem.column));
        sorted
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.sorted().into_iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_shown_one_a_line_by_file_and_position() {
        let mut problems = Problems::default();
        problems.push(Path::new("b.yaml"), 2, 1, "third");
        problems.push(Path::new("a.yaml"), 10, 1, "second");
        problems.push(Path::new("a.yaml"), 9, 7, "first");
        assert_eq!(problems.to_string(), "a.yaml:9:7: first\na.yaml:10:1: second\nb.yaml:2:1: third");
    }
}
