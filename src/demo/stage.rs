//! Plays the scene: does each step, shows it, and remembers what came out otherwise than expected.

use std::collections::HashMap;
use std::io;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use super::client::{Client, describe, plain_bytes};
use super::files::Files;
use super::scene::{Deed, Section, Step, Who, says};
use super::screen::Screen;
use super::{Failure, SOON};
use crate::policy::Live;

/// First byte of a TLS alert: what a TLS port may say to a client that does not speak TLS.
const TLS_ALERT: u8 = 0x15;

/// Pause between two looks at the policy in force.
const PAUSE: Duration = Duration::from_millis(5);

/// The proxy, once it is there.
pub(super) struct Door {
    pub(super) port: u16,
    pub(super) live: Arc<Live>,
}

/// The stage: one connection for each of the actors, kept from their first step to the end.
pub(super) struct Stage<'a> {
    pub(super) files: &'a Files,
    pub(super) screen: &'a Screen,
    door: Option<Door>,
    clients: HashMap<Who, Client>,
    shown: usize,
    unexpected: Vec<String>,
}

/// What a step came to.
enum Answer {
    Reply(BytesMut),
    Said(String),
}

impl<'a> Stage<'a> {
    pub(super) fn new(files: &'a Files, screen: &'a Screen) -> Self {
        Stage { files, screen, door: None, clients: HashMap::new(), shown: 0, unexpected: Vec::new() }
    }

    /// From now on users meet the proxy.
    pub(super) fn open_door(&mut self, door: Door) {
        self.door = Some(door);
    }

    /// Plays one section.
    pub(super) async fn play(&mut self, section: &Section) -> Result<(), Failure> {
        self.screen.title(section.title)?;
        for step in section.steps {
            let answer = match self.perform(step).await {
                Ok(answer) => answer,
                // A connection that fails is a result like any other: never the expected one.
                Err(Failure::Io(_, error)) => Answer::Said(format!("(failed: {error})")),
                Err(failure) => return Err(failure),
            };
            let (bytes, shown) = match &answer {
                Answer::Reply(frame) => (&frame[..], describe(frame)),
                Answer::Said(text) => (text.as_bytes(), text.clone()),
            };
            let expected = bytes.starts_with(step.expected.as_bytes());
            let command = self.display(step);
            self.screen.row(expected, step.who.name(), &command, &shown)?;
            self.shown += 1;
            if !expected {
                let wanted = step.expected.trim_end();
                self.unexpected.push(format!("{}: {command}: {shown}; expected `{wanted}`", step.who.name()));
            }
        }
        Ok(())
    }

    /// Says how many results were the expected ones, and which were not. True if all were.
    pub(super) fn conclude(&self) -> io::Result<bool> {
        let good = self.shown - self.unexpected.len();
        let all = self.unexpected.is_empty();
        self.screen.verdict(all, &format!("{good} of {} results are the expected ones", self.shown))?;
        for line in &self.unexpected {
            self.screen.line(format_args!("  UNEXPECTED  {line}"))?;
        }
        Ok(all)
    }

    async fn perform(&mut self, step: &Step) -> Result<Answer, Failure> {
        match step.deed {
            Deed::Call(words) => {
                let words: Vec<String> = words.iter().map(|word| self.fill_in(word)).collect();
                self.call(step.who, &words).await.map(Answer::Reply)
            }
            Deed::List => self.list().map(Answer::Said),
            Deed::Login => self.login(step.who).await.map(Answer::Reply),
            Deed::Plain => {
                let bytes = plain_bytes(self.port()).await.map_err(failed)?;
                let closed = bytes.first().is_none_or(|first| *first == TLS_ALERT);
                Ok(Answer::Said(if closed { says::CLOSED.to_owned() } else { describe(&bytes) }))
            }
            Deed::Reload(rules) => self.reload(rules).await.map(|text| Answer::Said(text.to_owned())),
        }
    }

    async fn call(&mut self, who: Who, words: &[String]) -> Result<BytesMut, Failure> {
        if !self.clients.contains_key(&who) {
            match who {
                Who::Anyone => {
                    let client = Client::unix(&self.files.socket()).await.map_err(failed)?;
                    self.clients.insert(who, client);
                }
                Who::Stranger => self.connect(who).await?,
                _ => {
                    self.login(who).await?;
                }
            }
        }
        let Some(client) = self.clients.get_mut(&who) else {
            return Err(failed(io::ErrorKind::NotConnected.into()));
        };
        client.call(words).await.map_err(failed)
    }

    async fn connect(&mut self, who: Who) -> Result<(), Failure> {
        let client = Client::tls(self.port(), &self.files.ca()).await.map_err(failed)?;
        self.clients.insert(who, client);
        Ok(())
    }

    async fn login(&mut self, who: Who) -> Result<BytesMut, Failure> {
        let passwords = &self.files.passwords;
        let password = match who {
            Who::Admin => &passwords.admin,
            Who::Readonly => &passwords.readonly,
            _ => &passwords.app,
        };
        let mut client = Client::tls(self.port(), &self.files.ca()).await.map_err(failed)?;
        let reply = client.call(&["AUTH", who.name(), password]).await.map_err(failed)?;
        self.clients.insert(who, client);
        Ok(reply)
    }

    /// The names in the directory under attack.
    fn list(&self) -> Result<String, Failure> {
        let entries = std::fs::read_dir(self.files.victim()).map_err(failed)?;
        let names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        Ok(if names.is_empty() { says::EMPTY.to_owned() } else { names.join(" ") })
    }

    /// Rewrites the ACL file and tells our own process, as an operator would.
    async fn reload(&self, rules: &str) -> Result<&'static str, Failure> {
        let Some(Door { live, .. }) = &self.door else {
            return Err(failed(io::ErrorKind::NotConnected.into()));
        };
        let before = live.load().generation();
        self.files.write_users(rules)?;
        let pid = std::process::id().to_string();
        let kill = Command::new("sh").args(["-c", "kill -HUP \"$0\"", &pid]).stdin(Stdio::null()).status();
        kill.map_err(failed)?;
        let reloaded = async {
            while live.load().generation() == before {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(SOON, reloaded).await;
        Ok(if waited.is_ok() { says::RELOADED } else { "(nothing happened)" })
    }

    fn port(&self) -> u16 {
        self.door.as_ref().map_or(0, |door| door.port)
    }

    fn fill_in(&self, word: &str) -> String {
        match word {
            "{keys}" => self.files.keys_alias.clone(),
            "{ssh}" => self.files.victim().display().to_string(),
            _ => word.to_owned(),
        }
    }

    /// The step as a reader would type it.
    fn display(&self, step: &Step) -> String {
        match step.deed {
            Deed::Call(words) => {
                words.iter().map(|word| self.display_word(word)).collect::<Vec<_>>().join(" ")
            }
            Deed::List => "ls …/root/.ssh".to_owned(),
            Deed::Login => format!("AUTH {} ********", step.who.name()),
            Deed::Plain => "PING without TLS".to_owned(),
            Deed::Reload("") => "users.acl: as before; kill -HUP".to_owned(),
            Deed::Reload(rules) => format!("users.acl: app{rules}; kill -HUP"),
        }
    }

    fn display_word(&self, word: &str) -> String {
        match word {
            "{ssh}" => "…/root/.ssh".to_owned(),
            _ if word.contains(char::is_whitespace) => format!("\"{}\"", word.trim()),
            _ => self.fill_in(word),
        }
    }
}

/// Undoes what the attack on the open Redis did.
pub(super) async fn clean_up(files: &Files) -> Result<(), Failure> {
    let mut client = Client::unix(&files.socket()).await.map_err(failed)?;
    let root = files.root().display().to_string();
    for words in
        [&["CONFIG", "SET", "dir", &root][..], &["CONFIG", "SET", "dbfilename", "dump.rdb"], &["DEL", "x"]]
    {
        client.call(words).await.map_err(failed)?;
    }
    match std::fs::remove_file(files.victim().join("authorized_keys")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

fn failed(error: io::Error) -> Failure {
    Failure::Io("the scene was interrupted".to_owned(), error)
}
