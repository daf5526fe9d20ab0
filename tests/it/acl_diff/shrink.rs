//! From a disagreement to the smallest one: rules and arguments are dropped as long as Redkeep and the server still differ.

use redkeep::resp::{RequestBuf, Value};

use super::server::{Server, set};
use super::stricter::excuse;
use super::{USERS, agrees, ours, word};
use crate::support::Client;

/// Rules and a command that Redkeep and a server judge differently.
#[derive(Clone)]
pub struct Case {
    pub rules: Vec<Vec<u8>>,
    pub args: Vec<Vec<u8>>,
}

impl Case {
    /// What both say, if it is a disagreement that nothing excuses.
    fn disagreement(&self, server: &Server, client: &mut Client) -> Option<String> {
        let (Ok(user), Ok(())) = set(server, client, USERS, &self.rules) else { return None };
        let request = RequestBuf::from_args(&self.args);
        let request = request.as_request();
        let resolution = server.policy.table().resolve(request);
        let ours = ours(&server.policy, &user, resolution, request);
        let mut worded = Vec::new();
        word(ours, resolution, request, &server.who[USERS], &mut worded);
        let name = format!("u{USERS}");
        let question: Vec<&[u8]> = [&b"ACL"[..], b"DRYRUN", name.as_bytes()]
            .into_iter()
            .chain(self.args.iter().map(Vec::as_slice))
            .collect();
        let theirs = match client.value(&question) {
            Value::Simple(text) => [b"+", &text[..]].concat(),
            Value::Bulk(text) => [b"$", &text[..]].concat(),
            Value::Error(text) => [b"-", &text[..]].concat(),
            other => panic!("{other:?}"),
        };
        let excused = excuse(ours, resolution, &self.args, &self.rules, &theirs).is_some();
        let different = !agrees(ours, &worded, &theirs) && !excused;
        different.then(|| format!("Redkeep {ours:?}\n{} {}", server.name, theirs.escape_ascii()))
    }

    /// The same with one rule, one rule of a selector, or one argument less.
    fn smaller(&self) -> Vec<Case> {
        let mut smaller = Vec::new();
        // The first rule is `reset`, since the server's user is an older one.
        for place in 1..self.rules.len() {
            let mut without = self.clone();
            let rule = without.rules.remove(place);
            smaller.push(without);
            if let Some(inner) = rule.strip_prefix(b"(").and_then(|rule| rule.strip_suffix(b")")) {
                let words: Vec<&[u8]> = inner.split(|byte| *byte == b' ').collect();
                for word in 0..words.len() {
                    let mut fewer = words.clone();
                    fewer.remove(word);
                    let mut case = self.clone();
                    case.rules[place] = [b"(", fewer.join(&b' ').as_slice(), b")"].concat();
                    smaller.push(case);
                }
            }
        }
        for place in (1..self.args.len()).rev() {
            let mut case = self.clone();
            case.args.remove(place);
            smaller.push(case);
        }
        smaller
    }

    /// The smallest case that still shows the disagreement, as text.
    pub fn shrunk(mut self, server: &Server) -> String {
        let mut client = server.redis.client();
        let Some(mut said) = self.disagreement(server, &mut client) else {
            return format!("not seen again\nrules {}\ncommand {}", shown(&self.rules), shown(&self.args));
        };
        while let Some((case, now)) = self
            .smaller()
            .into_iter()
            .find_map(|case| case.disagreement(server, &mut client).map(|said| (case, said)))
        {
            (self, said) = (case, now);
        }
        format!("different verdicts\nrules   {}\ncommand {}\n{said}", shown(&self.rules), shown(&self.args))
    }
}

/// Words for readers.
pub fn shown(words: &[Vec<u8>]) -> String {
    words.iter().map(|word| format!("'{}'", word.escape_ascii())).collect::<Vec<_>>().join(" ")
}
