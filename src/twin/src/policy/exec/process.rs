//! A child process that is spoken to in lines, and that can neither block nor outlive us.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Longest line accepted, bytes: thousands of variants fit.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Lines that wait unread; a program that says more than it was asked is stopped by its pipe.
const LINES_WAITING_MAX: usize = 4;

/// Last bytes of its standard error that are kept for the report.
const STDERR_BYTES_MAX: usize = 2_048;

/// Time that a dead program's last words may take to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A running program.
pub(crate) struct Process {
    child: Child,
    to_child: SyncSender<String>,
    from_child: Receiver<Result<String, String>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

impl Process {
    /// Starts a program (no shell in between, so that killing it kills it).
    pub(crate) fn start(words: &[String]) -> Result<Self, String> {
        let (program, arguments) = words.split_first().ok_or("no command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start `{program}`: {error}; is it in PATH?"))?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(errors)) = pipes else {
            return Err("it has no pipes".to_owned());
        };
        let (to_child, outgoing) = mpsc::sync_channel::<String>(1);
        std::thread::spawn(move || {
            for line in outgoing {
                let written = stdin.write_all(line.as_bytes()).and_then(|()| stdin.flush());
                if written.is_err() {
                    break;
                }
            }
        });
        let (incoming, from_child) = mpsc::sync_channel(LINES_WAITING_MAX);
        std::thread::spawn(move || read_lines(BufReader::new(stdout), &incoming));
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let tail = Arc::clone(&stderr);
        std::thread::spawn(move || read_tail(errors, &tail));
        Ok(Self { child, to_child, from_child, stderr })
    }

    /// Sends a line and waits for the answer.
    pub(crate) fn exchange(&mut self, line: String, timeout: Duration) -> Result<String, String> {
        // The writer holds at most one line; it is behind only if the last one was not read.
        if self.to_child.try_send(line).is_err() {
            return Err(self.obituary("does not read its input"));
        }
        match self.from_child.recv_timeout(timeout) {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(what)) => Err(self.obituary(&what)),
            Err(RecvTimeoutError::Timeout) => {
                Err(self.obituary(&format!("did not answer within {timeout:?} (timeout=)")))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.obituary("closed its output")),
        }
    }

    /// What happened, with how it ended and its last words.
    fn obituary(&mut self, what: &str) -> String {
        let mut text = what.to_owned();
        std::thread::sleep(LAST_WORDS);
        if let Ok(Some(status)) = self.child.try_wait() {
            text.push_str(&format!(" ({status})"));
        }
        if let Ok(tail) = self.stderr.lock() {
            let tail = String::from_utf8_lossy(&tail);
            if let Some(last) = tail.trim().lines().next_back() {
                text.push_str(&format!("; its last words: {last}"));
            }
        }
        text
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already: then there is nothing left to do but to reap it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(mut output: impl BufRead, lines: &SyncSender<Result<String, String>>) {
    loop {
        let mut line = Vec::new();
        let read = (&mut output).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        let answer = match read {
            Ok(0) => return,
            Ok(_) if line.last() != Some(&b'\n') => Err(if line.len() as u64 == LINE_BYTES_MAX {
                format!("answered a line of more than {LINE_BYTES_MAX} bytes")
            } else {
                "ended in the middle of a line".to_owned()
            }),
            Ok(_) => match String::from_utf8(line) {
                Ok(line) => Ok(line.trim().to_owned()),
                Err(_) => Err("answered something that is not UTF-8".to_owned()),
            },
            Err(error) => Err(format!("its output broke off: {error}")),
        };
        let last = answer.is_err();
        if lines.send(answer).is_err() || last {
            return;
        }
    }
}

fn read_tail(mut errors: impl Read, tail: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 1_024];
    while let Ok(count @ 1..) = errors.read(&mut buffer) {
        let Ok(mut tail) = tail.lock() else { return };
        tail.extend_from_slice(&buffer[..count]);
        let surplus = tail.len().saturating_sub(STDERR_BYTES_MAX);
        tail.drain(..surplus);
    }
}

/// Splits a command at spaces, with quotes and backslashes as a shell has them.
pub(crate) fn split_words(command: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some('"') | None, '\\') => {
                word.get_or_insert_default().extend(letters.next());
            }
            (Some(_), _) => word.get_or_insert_default().push(letter),
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    match quote {
        Some(open) => Err(format!("the command has an open {open}")),
        None => Ok(words),
    }
}
