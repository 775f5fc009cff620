//! The worker of a soak: it writes down what it does, and meets the fate that is planned for each attempt.
//!
//! Written without the worker library, which would not let it.

use std::error::Error;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::thread::park_timeout;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;

use super::notes::{Fact, Notebook};
use super::plan::{Fate, Plan};

/// How often one that hangs says that it is still there.
const BEAT: Duration = Duration::from_millis(1);

/// How much one that floods says.
const FLOOD: usize = 256 * 1024;

/// How much one that leaks keeps.
const LEAK: usize = 12 << 20;

/// Answers requests until its stdin ends.
///
/// It says that it hears of cancellations, so that very much is sent ahead. It does, but only between two requests,
/// when it is too late, which is within its rights.
pub fn work(plan: &Plan, notes: &Path, life: u32) -> Result<(), Box<dyn Error>> {
    let mut notes = Notebook::open(notes, life)?;
    notes.note(Fact::Born)?;
    say(
        r#"{"type":"event","event":"hello","protocol":[1],"name":"chaos","concurrency":1,"capabilities":["cancel"]}"#,
    )?;
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line?)?;
        if message["type"] != "request" {
            continue;
        }
        let number = |field: &str| {
            message[field]
                .as_u64()
                .and_then(|it| u32::try_from(it).ok())
        };
        let (Some(job), Some(number)) = (number("input"), number("attempt")) else {
            return Err(format!("not one of our requests: {message}").into());
        };
        let id = message["id"].as_str().unwrap_or_default();
        let begun = notes.note(Fact::Starts(job, number))?;
        park_timeout(plan.wish(job).work);
        let mut attempt = Attempt {
            notes: &mut notes,
            id,
            begun,
            job,
            number,
        };
        attempt.meet(plan.fate(job, number))?;
    }
    Ok(())
}

struct Attempt<'a> {
    notes: &'a mut Notebook,
    id: &'a str,
    begun: u64,
    job: u32,
    number: u32,
}

impl Attempt<'_> {
    fn meet(&mut self, fate: Fate) -> io::Result<()> {
        match fate {
            Fate::Well => self.answer(),
            Fate::Fails => {
                self.notes.note(Fact::Fails(self.job, self.number))?;
                let id = self.id;
                say(&format!(
                    r#"{{"type":"response","id":"{id}","error":{{"code":"odd","message":"not today"}}}}"#
                ))
            }
            Fate::Exits => self.die(),
            Fate::Killed => {
                self.notes.note(Fact::Dies(self.job, self.number))?;
                kill_process(getpid(), Signal::KILL)?;
                Ok(())
            }
            Fate::Halves => {
                write!(
                    io::stdout(),
                    r#"{{"type":"response","id":"{}","res"#,
                    self.id
                )?;
                io::stdout().flush()?;
                self.die()
            }
            Fate::Hangs => loop {
                self.notes.note(Fact::Beats(self.job, self.number))?;
                park_timeout(BEAT);
            },
            Fate::Stops => {
                self.notes.note(Fact::Beats(self.job, self.number))?;
                kill_process(getpid(), Signal::STOP)?;
                Ok(())
            }
            Fate::Floods => {
                flood(FLOOD)?;
                self.answer()
            }
            Fate::FloodsOn => loop {
                self.notes.note(Fact::Beats(self.job, self.number))?;
                flood(FLOOD)?;
            },
            Fate::Babbles => {
                let garbage =
                    b"loading..\n\xff\xfe\x00\n{\"type\":\"nonsense\"}\n{\"type\nprogress: 50%";
                io::stdout().write_all(garbage)?;
                self.answer()?;
                // It is free to do the next, so this may even come after the next one's start.
                self.respond()
            }
            Fate::Mangles => {
                self.notes.note(Fact::Fails(self.job, self.number))?;
                let id = self.id;
                say(&format!(
                    r#"{{"type":"response","id":"{id}","result":1,"error":{{}}}}"#
                ))
            }
            Fate::Leaks => {
                let mut kept = vec![0_u8; LEAK];
                for place in (0..kept.len()).step_by(4096) {
                    kept[place] = 1;
                }
                std::mem::forget(kept);
                self.answer()
            }
            Fate::LeavesChild => {
                // It holds on to the worker's stdout and stderr.
                let mut child = Command::new("sleep");
                child.arg("1000").stdin(Stdio::null()).spawn()?;
                self.answer()
            }
            Fate::DiesIdle => {
                self.answer()?;
                leave()
            }
        }
    }

    /// The answer names the one attempt that it comes from.
    fn answer(&mut self) -> io::Result<()> {
        self.notes.note(Fact::Done(self.job, self.number))?;
        self.respond()
    }

    fn respond(&self) -> io::Result<()> {
        let (id, begun) = (self.id, self.begun);
        say(&format!(
            r#"{{"type":"response","id":"{id}","result":{begun}}}"#
        ))
    }

    fn die(&mut self) -> io::Result<()> {
        self.notes.note(Fact::Dies(self.job, self.number))?;
        leave()
    }
}

#[expect(
    clippy::exit,
    reason = "to die in the middle of a job is what it is for"
)]
fn leave() -> ! {
    exit(5)
}

fn say(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn flood(bytes: usize) -> io::Result<()> {
    let line = r#"{"type":"event","event":"log","level":"info","message":"still here"}"#;
    let chunk = format!("{line}\nnothing in particular\n").repeat(64);
    let mut said = 0;
    while said < bytes {
        io::stdout().write_all(chunk.as_bytes())?;
        said += chunk.len();
    }
    io::stdout().flush()
}
