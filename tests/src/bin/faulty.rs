//! A worker with a fault. It answers every request, except for requests with the input `"fault"`: for these it shows the
//! fault that its argument names. It does not use the worker library, because that prevents most faults.

#![expect(
    clippy::exit,
    reason = "to die in the middle of a job is what it is for"
)]

use std::io::{self, BufRead, Write};
use std::process::{Command, exit};
use std::sync::mpsc::{Receiver, channel};
use std::thread::park;

type Said = io::Result<()>;

fn main() -> Said {
    let fault = std::env::args().nth(1).unwrap_or_default();
    begin(&fault)?;
    let lines = lines();
    let mut waiting: Vec<String> = Vec::new();
    while let Ok(line) = lines.recv() {
        if line.contains(r#""type":"request""#) {
            if line.contains(r#""fault""#) {
                meet(&fault, id_of(&line), &lines, &mut waiting)?;
            } else {
                answer(id_of(&line))?;
            }
        } else if line.contains(r#""event":"drain""#) && fault == "dies_draining" {
            exit(9);
        }
    }
    Ok(())
}

/// Shows the faults that come before the first request.
fn begin(fault: &str) -> Said {
    let hello = |protocol: u32, concurrency: u32, capabilities: &str| {
        say(&format!(
            r#"{{"type":"event","event":"hello","protocol":[{protocol}],"name":"faulty","concurrency":{concurrency},"capabilities":[{capabilities}]}}"#
        ))
    };
    match fault {
        "never_starts" => {
            writeln!(io::stderr(), "no such library: libcolour.so.3")?;
            exit(7);
        }
        "says_nothing" | "hangs_unasked" => Ok(()),
        "wrong_version" => hello(99, 1, ""),
        "never_ready" => hello(1, 1, r#""ready""#),
        "flood_first" => {
            hello(1, 1, "")?;
            flood(32 << 20)
        }
        "hangs" | "late" | "progress" => hello(1, 1, r#""cancel""#),
        "dies_draining" => hello(1, 1, r#""drain""#),
        "stopped_idle" => hello(1, 1, r#""ping""#),
        "out_of_order" | "one_of_two_hangs" => hello(1, 2, ""),
        "garbage" => {
            let mut stdout = io::stdout();
            stdout.write_all(b"loading..\n\xff\xfe\x00\n{\"type\":\"nonsense\"}\n{\"type\n")?;
            hello(1, 1, "")
        }
        _ => hello(1, 1, ""),
    }
}

/// Shows the fault for a request.
#[expect(
    clippy::too_many_lines,
    reason = "a table: a fault a row, none needs another"
)]
fn meet(fault: &str, id: &str, lines: &Receiver<String>, waiting: &mut Vec<String>) -> Said {
    let mut stdout = io::stdout();
    match fault {
        "exit_0" => exit(0),
        "exit_3" => {
            writeln!(io::stderr(), "about to fail\nthe colour table is missing")?;
            exit(3);
        }
        "kill" => signal("KILL"),
        "stop" | "stopped_idle" => {
            if fault == "stopped_idle" {
                answer(id)?;
            }
            signal("STOP")
        }
        "hangs" | "hangs_unasked" | "never_ready" => forever(),
        "one_of_two_hangs" => Ok(()),
        "garbage" => {
            stdout.write_all(b"{\"type\":\"respond\"}\n\x80\x81\n")?;
            writeln!(
                stdout,
                r#"progress: 50%{{"type":"response","id":"{id}","result":"fine"}}"#
            )?;
            stdout.write_all(b"done\n")?;
            stdout.flush()
        }
        "malformed" => say(&format!(
            r#"{{"type":"response","id":"{id}","result":1,"error":{{}}}}"#
        )),
        "nan" | "latin_1" | "nul" => {
            write!(stdout, r#"{{"type":"response","id":"{id}","result":"#)?;
            stdout.write_all(match fault {
                "nan" => b"[1, NaN]",
                "latin_1" => b"\"caf\xe9\"",
                _ => b"\"a\0b\"",
            })?;
            stdout.write_all(b"}\n")?;
            stdout.flush()
        }
        "half" => {
            write!(stdout, r#"{{"type":"response","id":"{id}","resu"#)?;
            stdout.flush()?;
            exit(0);
        }
        "huge" => {
            write!(stdout, r#"{{"type":"response","id":"{id}","result":""#)?;
            let chunk = vec![b'x'; 1 << 20];
            for _ in 0..100 {
                stdout.write_all(&chunk)?;
            }
            say("\"}")
        }
        "stderr" => {
            let chunk = vec![b'e'; 1 << 16];
            for _ in 0..(1 << 14) {
                io::stderr().write_all(&chunk)?;
            }
            writeln!(io::stderr(), "\nthe last line")?;
            exit(4);
        }
        "flood" => flood(u64::MAX),
        "flood_and_exit" => {
            flood(1 << 20)?;
            answer(id)?;
            exit(3);
        }
        "grandchildren" | "grandchildren_hang" | "double_fork" => {
            let script = if fault == "double_fork" {
                "(sleep 1000 & sleep 1000 &) & exit"
            } else {
                "sleep 1000"
            };
            let mut child = Command::new("sh").args(["-c", script]).spawn()?;
            if fault == "double_fork" {
                child.wait()?;
            }
            if fault == "grandchildren_hang" {
                forever()
            } else {
                exit(3)
            }
        }
        "escapes" => {
            // The child leaves the process group and holds the pipes when its parent dies.
            Command::new("setsid").args(["sleep", "2"]).spawn()?;
            writeln!(io::stderr(), "the last line")?;
            exit(3);
        }
        "leaks" | "leaks_and_answers" => {
            let mut kept = vec![0_u8; 200 << 20];
            for place in (0..kept.len()).step_by(4096) {
                kept[place] = 1;
            }
            std::mem::forget(kept);
            if fault == "leaks" {
                forever()
            } else {
                answer(id)
            }
        }
        "twice" => {
            answer(id)?;
            answer(id)
        }
        "unknown" => {
            answer("4711")?;
            answer("no number at all")?;
            answer(id)
        }
        "out_of_order" => {
            waiting.push(id.to_owned());
            if waiting.len() == 2 {
                for id in waiting.drain(..).rev() {
                    answer(&id)?;
                }
            }
            Ok(())
        }
        "late" => {
            // The worker continues until it is cancelled, and then answers with a result nevertheless.
            while lines
                .recv()
                .is_ok_and(|line| !line.contains(r#""event":"cancel""#))
            {}
            answer(id)
        }
        "dies_idle" => {
            answer(id)?;
            exit(5);
        }
        "dies_draining" => answer(id),
        other => Err(io::Error::other(format!("there is no fault {other}"))),
    }
}

/// Reads all lines of stdin on a thread as they come, so that the host never has to wait for the pipe.
fn lines() -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Returns the id of a request, which is read without a JSON parser.
fn id_of(request: &str) -> &str {
    let (_, rest) = request.split_once(r#""id":""#).unwrap_or_default();
    rest.split('"').next().unwrap_or_default()
}

fn answer(id: &str) -> Said {
    say(&format!(
        r#"{{"type":"response","id":"{id}","result":"fine"}}"#
    ))
}

fn say(line: &str) -> Said {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Prints log events of this many bytes in all.
fn flood(bytes: u64) -> Said {
    let line =
        r#"{"type":"event","event":"log","level":"info","message":"still here"}"#.to_owned() + "\n";
    let chunk = line.repeat(512);
    let mut said = 0;
    while said < bytes {
        io::stdout().write_all(chunk.as_bytes())?;
        said += chunk.len() as u64;
    }
    io::stdout().flush()
}

/// Sends a signal to this process.
fn signal(name: &str) -> Said {
    Command::new("sh")
        .args(["-c", &format!("kill -{name} $PPID")])
        .status()?;
    Ok(())
}

fn forever() -> ! {
    loop {
        park();
    }
}
