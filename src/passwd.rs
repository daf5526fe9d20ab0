//! `redkeep passwd` and `redkeep genpass`: passwords and their hashes for ACL files.
//!
//! SECURITY: a password is never an argument, which everybody on the machine can read. It is typed without being shown, or
//! comes on standard input; it is wiped afterwards.

use std::io::{IsTerminal as _, Write as _, stderr, stdin, stdout};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::acl::PasswordHash;

/// As for secrets in files.
const MAX_PASSWORD_BYTES: usize = 64 * 1024;

/// What Ctrl-C sends to a program that takes it for a character.
const CTRL_C: u8 = 3;

/// Reads a password and prints its hash as a rule. Exit code 1 if there is none to be had.
pub fn passwd() -> ExitCode {
    let read = if stdin().is_terminal() { type_twice() } else { read_all() };
    match read {
        Ok(password) => show(&format!("#{}\n", PasswordHash::of(&password).to_hex())),
        Err(text) => {
            eprintln!("redkeep: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Makes a password as `ACL GENPASS` does and prints it, with its hash in a second line if `hash`. Exit code 1 if the
/// system has no random numbers.
pub fn genpass(bits: u16, hash: bool) -> ExitCode {
    let digits = usize::from(bits).div_ceil(4);
    let mut random = Zeroizing::new(vec![0; digits.div_ceil(2)]);
    if getrandom::fill(&mut random).is_err() {
        // SECURITY: no password rather than one that can be guessed.
        eprintln!("redkeep: the system has no random numbers");
        return ExitCode::FAILURE;
    }
    // Room for all of it, so that it does not move and leave a copy behind.
    let mut password = Zeroizing::new(String::with_capacity(digits.saturating_add(1)));
    let nibbles = random.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    password.extend(nibbles.filter_map(|nibble| char::from_digit(u32::from(nibble), 16)).take(digits));
    let rule =
        if hash { format!("#{}\n", PasswordHash::of(password.as_bytes()).to_hex()) } else { String::new() };
    password.push('\n');
    match show(&password) {
        ExitCode::SUCCESS if hash => show(&rule),
        code => code,
    }
}

fn show(text: &str) -> ExitCode {
    let mut out = stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// All of standard input: one line, whose end does not belong to the password.
fn read_all() -> Result<Zeroizing<Vec<u8>>, String> {
    // Room for one byte too much, so that the buffer never moves and leaves a copy behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD_BYTES.saturating_add(3)));
    let mut piece = Zeroizing::new([0; 4096]);
    loop {
        let count = read(&mut *piece)?;
        bytes.extend(piece.iter().take(count));
        if count == 0 || bytes.len() > MAX_PASSWORD_BYTES.saturating_add(2) {
            break;
        }
    }
    one_line(bytes)
}

fn one_line(mut bytes: Zeroizing<Vec<u8>>) -> Result<Zeroizing<Vec<u8>>, String> {
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        } else {
            break;
        }
    }
    match bytes.len() {
        0 => Err("the password is empty; give one".to_owned()),
        _ if bytes.contains(&b'\n') => Err("more than one line; give the password alone".to_owned()),
        1..=MAX_PASSWORD_BYTES => Ok(bytes),
        _ => Err(format!("the password has more than {MAX_PASSWORD_BYTES} bytes")),
    }
}

/// Asks for it on the terminal until both times are the same.
fn type_twice() -> Result<Zeroizing<Vec<u8>>, String> {
    let _silent = Silent::begin()?;
    loop {
        let first = ask("Password: ")?;
        if first == ask("The same again: ")? {
            return Ok(first);
        }
        eprintln!("These were not the same; once more.");
    }
}

fn ask(prompt: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    eprint!("{prompt}");
    let _ = stderr().flush();
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD_BYTES));
    let mut byte = [0; 1];
    loop {
        let count = read(&mut byte)?;
        match byte {
            [CTRL_C] => {
                eprintln!();
                return Err("nothing was done".to_owned());
            }
            [b'\n'] => break,
            _ if count == 0 || line.len() >= MAX_PASSWORD_BYTES => break,
            [other] => line.push(other),
        }
    }
    one_line(line)
}

/// Without a buffer of the library's own, which nobody would wipe.
fn read(into: &mut [u8]) -> Result<usize, String> {
    loop {
        match rustix::io::read(stdin(), &mut *into) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(|error| format!("cannot read the password: {error}")),
        }
    }
}

/// The terminal shows nothing of what is typed, until this is dropped. Ctrl-C comes as a character, so that the terminal
/// does not stay like that.
struct Silent(Termios);

impl Silent {
    fn begin() -> Result<Silent, String> {
        let failed = |error| format!("cannot keep the terminal from showing the password: {error}");
        let before = tcgetattr(stdin()).map_err(failed)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.local_modes.insert(LocalModes::ECHONL);
        silent.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        tcsetattr(stdin(), OptionalActions::Flush, &silent).map_err(failed)?;
        Ok(Silent(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> Result<Vec<u8>, String> {
        one_line(Zeroizing::new(bytes.to_vec())).map(|line| line.to_vec())
    }

    #[test]
    fn the_end_of_the_line_does_not_belong_to_the_password() {
        for (bytes, password) in [
            (&b"pw"[..], &b"pw"[..]),
            (b"pw\n", b"pw"),
            (b"pw\r\n", b"pw"),
            (b" p w ", b" p w "),
            (b"\xff\0\n", b"\xff\0"),
        ] {
            assert_eq!(line(bytes).unwrap(), password);
        }
    }

    #[test]
    fn no_password_two_lines_and_endless_ones_are_refused() {
        for bytes in [&b""[..], b"\n", b"\r\n"] {
            assert!(line(bytes).unwrap_err().contains("empty"));
        }
        assert!(line(b"one\ntwo\n").unwrap_err().contains("more than one line"));
        assert!(line(&vec![b'x'; MAX_PASSWORD_BYTES]).is_ok());
        assert!(line(&vec![b'x'; MAX_PASSWORD_BYTES + 1]).unwrap_err().contains("more than 65536"));
    }
}
