//! Which commands a rule about a category means, as bitmaps by command number, made once for each table.
//!
//! A file of 10,000 users has some 50,000 such rules: asking every command of the table for each of them is what would
//! take the time of a reload. Nothing here is asked while a request is judged.

use super::spec::{Categories, Spec};

/// For each bit of [`Categories`], the commands that a rule about that category changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Members(Vec<Vec<u64>>);

impl Members {
    /// Takes in a spec, with its container: a rule that means a container means all its subcommands too.
    pub(super) fn add(&mut self, spec: &Spec, container: Option<&Spec>) {
        let categories = spec.categories.0 | container.map_or(0, |container| container.categories.0);
        let index = spec.id.index();
        self.0.resize(64, Vec::new());
        for (_, commands) in self.0.iter_mut().enumerate().filter(|(bit, _)| categories >> bit & 1 == 1) {
            let words = commands.len().max(index / 64 + 1);
            commands.resize(words, 0);
            if let Some(word) = commands.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        }
    }

    /// The bitmap of each of these categories: bit `n % 64` of word `n / 64` is command `n`. It may be shorter than the table.
    pub(super) fn of(&self, categories: Categories) -> impl Iterator<Item = &[u64]> {
        let wanted = self.0.iter().enumerate().filter(move |(bit, _)| categories.0 >> bit & 1 == 1);
        wanted.map(|(_, commands)| commands.as_slice())
    }
}
