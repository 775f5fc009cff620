//! The workers and commands of a soak: they note what they do, and behave as the plan says for each attempt.
//!
//! They do not use the worker library, because that prevents most of these behaviours.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio, exit};
use std::thread::park_timeout;
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};
use serde_json::Value;

use super::notes::{Fact, NoteWriter};
use super::plan::{Behaviour, JobSpec, Performer, Plan};
use super::{LIFE_VARIABLE, NOTES_VARIABLE, script};

type Failed = Box<dyn Error>;

/// The interval at which an attempt that hangs notes that it is still alive.
const BEAT: Duration = Duration::from_millis(5);

/// How many bytes an attempt prints if it floods its output.
const FLOOD: usize = 256 * 1024;

/// How many bytes an attempt keeps if it leaks memory.
const LEAK: usize = 12 << 20;

/// Opens the notes of this process. Life and file come from variables and not from arguments, because the arguments are part
/// of the key of a cached result.
fn open_notes() -> Result<NoteWriter, Failed> {
    let life = std::env::var(LIFE_VARIABLE)?.parse()?;
    let notes = std::env::var_os(NOTES_VARIABLE).ok_or("there is no place for notes")?;
    Ok(NoteWriter::open(Path::new(&notes), life)?)
}

/// Runs a worker, which answers requests until its stdin ends.
///
/// It declares that it handles cancellations, so that many requests are sent ahead. It handles them only between two
/// requests, when it is too late, which the protocol allows.
pub fn run_worker(plan: &Plan, performer: Performer, program: Option<&Path>) -> Result<(), Failed> {
    let mut notes = open_notes()?;
    let begun = notes.note(Fact::Born)?;
    let process = std::process::id();
    let now_millis = begun / 1_000_000;
    park_timeout(plan.loading(performer, process, now_millis));
    let content = program.map(script::read).transpose()?;
    notes.note(Fact::Ready(content.unwrap_or_default()))?;
    if plan.says_hello(performer, process) {
        say(
            r#"{"type":"event","event":"hello","protocol":[1],"name":"chaos","concurrency":1,"capabilities":["cancel"]}"#,
        )?;
    }
    while let Some(line) = read_line()? {
        let message: Value = serde_json::from_str(&line)?;
        if message["type"] != "request" {
            continue;
        }
        let key = message["key"].as_str().and_then(|key| key.parse().ok());
        let attempt = message["attempt"].as_u64();
        let attempt = attempt.and_then(|it| u32::try_from(it).ok());
        let (Some(job), Some(number)) = (key, attempt) else {
            return Err(format!("not one of our requests: {message}").into());
        };
        let id = message["id"].as_str().unwrap_or_default();
        let spec = plan.spec(job);
        let begun = notes.note(Fact::Starts(job, number))?;
        let devices = message["resources"]["device"].as_array();
        for device in devices.into_iter().flatten() {
            let device = device.as_u64().and_then(|it| u32::try_from(it).ok());
            let device = device.ok_or_else(|| format!("no number of a device: {message}"))?;
            notes.note(Fact::Has(job, device))?;
        }
        park_timeout(spec.work);
        let mut attempt = Attempt {
            notes: &mut notes,
            id,
            result: result(begun, &spec, content),
            job,
            number,
        };
        attempt.behave(plan.behaviour(job, number))?;
    }
    Ok(())
}

/// Reads the next line of stdin and nothing beyond it, so that a request counts as read only when the worker handles
/// it.
fn read_line() -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        match rustix::io::read(rustix::stdio::stdin(), &mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) if byte == *b"\n" => break,
            Ok(_) => line.extend_from_slice(&byte),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    String::from_utf8(line).map(Some).map_err(io::Error::other)
}

/// Makes a result, which names its attempt and the content from which it was computed.
fn result(begun: u64, spec: &JobSpec, content: Option<u32>) -> String {
    match content {
        Some(content) => {
            let input = spec.input;
            format!(r#"{{"start":{begun},"input":{input},"content":{content}}}"#)
        }
        None => begun.to_string(),
    }
}

/// Performs one attempt of a job as a process of its own. It does not know which attempt it is.
pub fn run_command(plan: &Plan, job: u32) -> Result<ExitCode, Failed> {
    let mut notes = open_notes()?;
    notes.note(Fact::Born)?;
    let begun = notes.note(Fact::Starts(job, 0))?;
    let devices = std::env::var("RATCHET_DEVICE").unwrap_or_default();
    for device in devices.split(',').filter(|device| !device.is_empty()) {
        notes.note(Fact::Has(job, device.parse()?))?;
    }
    park_timeout(plan.spec(job).work);
    match begun % 100 {
        0..3 => {
            notes.note(Fact::Fails(job, 0))?;
            return Ok(ExitCode::from(5));
        }
        3 => {
            notes.note(Fact::Dies(job, 0))?;
            kill_process(getpid(), Signal::KILL)?;
        }
        _ => {}
    }
    notes.note(Fact::Done(job, 0))?;
    say(&begun.to_string())?;
    notes.note(Fact::Answered(job, 0))?;
    Ok(ExitCode::SUCCESS)
}

/// Computes a result by the script. The command knows neither the job nor the attempt, because its arguments are part
/// of the key, which has to be the same for several jobs.
pub fn run_scripted_command(plan: &Plan, input: u32, program: &Path) -> Result<(), Failed> {
    let mut notes = open_notes()?;
    // The wait lets an edit come before the script is read.
    park_timeout(plan.loading(Performer::ScriptedCommand, std::process::id(), 0));
    let content = script::read(program)?;
    let begun = notes.note(Fact::Computes(input, content))?;
    notes.note(Fact::Computed(input, content))?;
    say(&format!("{begun} {input} {content}"))?;
    Ok(())
}

/// An attempt that a worker performs.
struct Attempt<'a> {
    notes: &'a mut NoteWriter,
    id: &'a str,
    result: String,
    job: u32,
    number: u32,
}

impl Attempt<'_> {
    /// Performs the attempt in this way.
    fn behave(&mut self, behaviour: Behaviour) -> io::Result<()> {
        match behaviour {
            Behaviour::Well => self.answer(),
            Behaviour::Fails => {
                self.notes.note(Fact::Fails(self.job, self.number))?;
                let id = self.id;
                say(&format!(
                    r#"{{"type":"response","id":"{id}","error":{{"code":"odd","message":"not today"}}}}"#
                ))
            }
            Behaviour::Exits => self.die(),
            Behaviour::Killed => {
                self.notes.note(Fact::Dies(self.job, self.number))?;
                kill_process(getpid(), Signal::KILL)?;
                Ok(())
            }
            Behaviour::Halves => {
                write!(
                    io::stdout(),
                    r#"{{"type":"response","id":"{}","res"#,
                    self.id
                )?;
                io::stdout().flush()?;
                self.die()
            }
            Behaviour::Hangs => loop {
                self.notes.note(Fact::Beats(self.job, self.number))?;
                park_timeout(BEAT);
            },
            Behaviour::Stops => {
                self.notes.note(Fact::Beats(self.job, self.number))?;
                kill_process(getpid(), Signal::STOP)?;
                // The system continues a stopped worker when its host was killed. It also sends SIGHUP, which has no
                // effect if the soak was started by nohup, and then the worker would perform the next request until it
                // is killed.
                leave()
            }
            Behaviour::Floods => {
                flood(FLOOD)?;
                self.answer()
            }
            Behaviour::FloodsOn => loop {
                self.notes.note(Fact::Beats(self.job, self.number))?;
                flood(FLOOD)?;
            },
            Behaviour::Babbles => {
                let garbage =
                    b"loading..\n\xff\xfe\x00\n{\"type\":\"nonsense\"}\n{\"type\nprogress: 50%";
                io::stdout().write_all(garbage)?;
                self.answer()?;
                // After its answer the worker may get the next request, so this exit may even come after the next start.
                self.respond()
            }
            Behaviour::Mangles => {
                self.notes.note(Fact::Fails(self.job, self.number))?;
                let id = self.id;
                say(&format!(
                    r#"{{"type":"response","id":"{id}","result":1,"error":{{}}}}"#
                ))
            }
            Behaviour::Leaks => {
                let mut kept = vec![0_u8; LEAK];
                for place in (0..kept.len()).step_by(4096) {
                    kept[place] = 1;
                }
                std::mem::forget(kept);
                self.answer()
            }
            Behaviour::LeavesChild => {
                // The child inherits the worker's stdout and stderr and holds them open.
                let mut child = Command::new("sleep");
                let left = child.arg("1000").stdin(Stdio::null()).spawn();
                match left {
                    Ok(_) => {}
                    // During a shortage no process can be started, and this behaviour is skipped.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
                self.answer()
            }
            Behaviour::DiesIdle => {
                self.answer()?;
                leave()
            }
        }
    }

    /// Notes the success, answers, and notes that the answer was written.
    fn answer(&mut self) -> io::Result<()> {
        self.notes.note(Fact::Done(self.job, self.number))?;
        self.respond()?;
        self.notes.note(Fact::Answered(self.job, self.number))?;
        Ok(())
    }

    /// Writes the result to stdout.
    fn respond(&self) -> io::Result<()> {
        let (id, result) = (self.id, &self.result);
        say(&format!(
            r#"{{"type":"response","id":"{id}","result":{result}}}"#
        ))
    }

    /// Notes that the worker is about to die of the attempt, and exits.
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
