//! Starts the program that connects to a host, and the agent on that host.
//!
//! A launcher is a command that runs another one on a host and forwards stdin and stdout: `ssh web1`, `docker exec -i
//! box`. Its only argument is the word `sh`, and it gets a script on stdin, so nothing has to be quoted for it. The
//! script runs the agent in the cache folder of the host. If there is none, this program is copied there first.
//!
//! A shell may read bytes that follow its script as more of the script. So the script is one command in braces, and
//! after it, and after the copy, nothing is sent until the marker has come back. Text before the marker is output of
//! the login.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::text::printable;
use super::{AgentInfo, RemoteConfig, RemoteError, RemoteProcesses};
use crate::os::{Exit, Tail};

/// How many bytes a login may print before the marker.
const MAX_BANNER: u64 = 64 * 1024;

/// How many bytes of the launcher's stderr are kept, and how many characters of them are shown.
const MAX_STDERR_BYTES: usize = 4 * 1024;

/// How long the copy of an agent may take.
const COPY_LIMIT: Duration = Duration::from_mins(5);

/// The agent that is run on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentProgram {
    /// This program is copied to the host, unless it is there. It is built for the platform of this process, and a host
    /// of another platform is refused. It has to serve as an agent when it is called with the word `agent`, and to
    /// print its own hash for `agent --hash`, as [`content_hash`] computes it.
    Copied(PathBuf),
    /// This program is copied as well, to a host of any platform: it was built for that of the host.
    CopiedForHost(PathBuf),
    /// This command is run there, with the word `agent`.
    Installed(String),
}

/// Returns the hash by which hosts identify a program.
pub fn content_hash(program: &Path) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(program)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// A connection to a host, and the launcher that carries it.
pub(super) struct Launched {
    /// The processes of the host.
    pub(super) processes: RemoteProcesses,
    /// Dropping it ends the launcher.
    pub(super) launcher: Launcher,
}

/// The process of a launcher. It is killed when this is dropped.
pub(super) struct Launcher {
    /// The process, which is killed when this is dropped.
    process: Child,
    said: Arc<Mutex<Tail>>,
    /// The task that collects the launcher's stderr, until the launcher has ended.
    listening: Option<JoinHandle<()>>,
    /// The exit of the process, once it was waited for.
    exit: Option<Exit>,
}

impl Launcher {
    /// Waits until the launcher has ended and all of its stderr was read.
    async fn end(&mut self) {
        // An error means that it is gone, too.
        self.exit = self.process.wait().await.ok().map(Exit::from);
        if let Some(listening) = self.listening.take() {
            let _ = listening.await;
        }
    }

    /// Returns what the launcher printed to stderr last, without control characters.
    pub(super) fn last_output(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        printable(said.to_excerpt().to_string().as_bytes(), MAX_STDERR_BYTES)
    }
}

/// The reason for which a host was not reached, and what the launcher printed last.
#[derive(Debug)]
pub(super) struct LaunchError {
    /// The reason.
    pub(super) error: RemoteError,
    /// What the launcher printed to stderr last.
    pub(super) last_output: String,
    /// How the launcher has ended; `None` if it has not ended, or was not started.
    pub(super) exit: Option<Exit>,
}

/// Connects to a host by a launcher.
pub(super) async fn launch(
    launcher: &[String],
    agent: &AgentProgram,
    config: RemoteConfig,
) -> Result<Launched, LaunchError> {
    let (launcher, stdin, stdout) = match start(launcher) {
        Ok(started) => started,
        Err(error) => {
            return Err(LaunchError {
                error,
                last_output: String::new(),
                exit: None,
            });
        }
    };
    match connect(stdin, stdout, agent, config).await {
        Ok(processes) => Ok(Launched {
            processes,
            launcher,
        }),
        Err(error) => {
            // The launcher may be about to print the reason.
            let mut launcher = launcher;
            let _ = timeout(Duration::from_secs(1), launcher.end()).await;
            Err(LaunchError {
                error,
                last_output: launcher.last_output(),
                exit: launcher.exit,
            })
        }
    }
}

/// Starts the launcher with the word `sh`.
fn start(launcher: &[String]) -> Result<(Launcher, ChildStdin, ChildStdout), RemoteError> {
    let mut words: Vec<OsString> = launcher.iter().map(OsString::from).collect();
    words.push("sh".into());
    let failed = |source| RemoteError::Launcher {
        launcher: words[0].to_string_lossy().into_owned(),
        source,
    };
    let mut child = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Signals of the terminal are meant for this process, which ends its launchers in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
        return Err(failed(io::ErrorKind::BrokenPipe.into()));
    };
    let said = Arc::new(Mutex::new(Tail::new(MAX_STDERR_BYTES)));
    let listening = tokio::spawn(listen(stderr, Arc::clone(&said)));
    let launcher = Launcher {
        process: child,
        said,
        listening: Some(listening),
        exit: None,
    };
    Ok((launcher, stdin, stdout))
}

/// Keeps the end of what a launcher prints to stderr, until it ends.
async fn listen(mut stderr: ChildStderr, said: Arc<Mutex<Tail>>) {
    let mut chunk = [0; 1024];
    while let Ok(bytes @ 1..) = stderr.read(&mut chunk).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.push(&chunk[..bytes]);
    }
}

/// Makes the shell at the other end run the agent, and connects to it.
async fn connect(
    mut stdin: ChildStdin,
    stdout: ChildStdout,
    agent: &AgentProgram,
    config: RemoteConfig,
) -> Result<RemoteProcesses, RemoteError> {
    let mut stdout = BufReader::new(stdout);
    let marker = marker();
    let limit = config.connect_timeout;
    let in_time = |limit: Duration| RemoteError::NoAnswer(limit);
    match agent {
        AgentProgram::Installed(command) => {
            let script = format!("{{ echo; echo {marker} ready; exec {command} agent; }}\n");
            stdin.write_all(script.as_bytes()).await?;
            let answer = timeout(limit, answer(&mut stdout, &marker)).await;
            answer.map_err(|_| in_time(limit))??;
        }
        AgentProgram::Copied(program) => {
            let platform = Some(AgentInfo::own_platform());
            let ready = copied(&mut stdin, &mut stdout, program, platform, &marker, limit);
            ready.await?;
        }
        AgentProgram::CopiedForHost(program) => {
            copied(&mut stdin, &mut stdout, program, None, &marker, limit).await?;
        }
    }
    RemoteProcesses::connect(stdout, stdin, config).await
}

/// Makes the shell run the copy of this program, which is sent if it is missing. If a platform is given, a host of
/// another one is refused.
async fn copied(
    stdin: &mut ChildStdin,
    stdout: &mut BufReader<ChildStdout>,
    program: &Path,
    platform: Option<String>,
    marker: &str,
    limit: Duration,
) -> Result<(), RemoteError> {
    let unreadable = |source| RemoteError::AgentFile {
        path: program.to_owned(),
        source,
    };
    let path = program.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        Ok::<_, io::Error>((content_hash(&path)?, std::fs::metadata(&path)?.len()))
    });
    let read = read.await.map_err(io::Error::other)?;
    let (hash, size) = read.map_err(unreadable)?;
    stdin
        .write_all(script(marker, &hash, size).as_bytes())
        .await?;
    let said = timeout(limit, answer(stdout, marker)).await;
    let said = said.map_err(|_| RemoteError::NoAnswer(limit))??;
    match said.split_once(' ') {
        _ if said == "ready" => return Ok(()),
        Some(("missing", theirs)) => {
            let theirs = platform_of(theirs);
            if let Some(ours) = platform.filter(|ours| *ours != theirs) {
                return Err(RemoteError::Platform { ours, theirs });
            }
        }
        Some(("foreign", why)) => return Err(RemoteError::AgentFolder(why.to_owned())),
        _ => return Err(RemoteError::NoAgent(said)),
    }
    let mut file = tokio::fs::File::open(program).await.map_err(unreadable)?;
    let sent = timeout(COPY_LIMIT, async {
        tokio::io::copy(&mut file, stdin).await?;
        stdin.flush().await
    });
    let sent = sent.await.map_err(|_| RemoteError::NoAnswer(COPY_LIMIT))?;
    // A script that cannot store the copy prints the reason, and reads no more. So its answer counts more than the
    // broken pipe.
    let said = match (timeout(limit, answer(stdout, marker)).await, sent) {
        (Ok(Ok(said)), _) => said,
        (_, Err(broken)) => return Err(broken.into()),
        (Ok(Err(error)), Ok(())) => return Err(error),
        (Err(_), Ok(())) => return Err(RemoteError::NoAnswer(limit)),
    };
    match said.split_once(' ') {
        _ if said == "ready" => Ok(()),
        Some(("broken", why)) => Err(RemoteError::AgentBroken(why.to_owned())),
        Some(("foreign", why)) => Err(RemoteError::AgentFolder(why.to_owned())),
        _ => Err(RemoteError::NoAgent(said)),
    }
}

/// Reads lines until one begins with the marker. Returns the rest of that line.
async fn answer(stdout: &mut BufReader<ChildStdout>, marker: &str) -> Result<String, RemoteError> {
    let mut banner = Vec::new();
    let mut left = MAX_BANNER;
    loop {
        let mut line = Vec::new();
        let bytes = (&mut *stdout)
            .take(left)
            .read_until(b'\n', &mut line)
            .await?;
        left = left.saturating_sub(bytes as u64);
        if bytes == 0 {
            return Err(RemoteError::NoHello(printable(&banner, MAX_STDERR_BYTES)));
        }
        let text = String::from_utf8_lossy(&line);
        if let Some(rest) = text.trim_end().strip_prefix(marker) {
            return Ok(printable(rest.as_bytes(), MAX_STDERR_BYTES));
        }
        banner.extend_from_slice(&line);
    }
}

/// Returns the script that runs the agent with this hash. If that is missing, the script reports so, and reads this
/// many bytes of it.
///
/// The agent is trusted with everything that this user may do, and it is the file itself that prints the hash. So a file
/// of another user, or one that others can write to, is replaced and never run; and folders in which others could
/// replace it are refused. A link to a folder has to be of this user, and so has the folder. `ls` tells the rights,
/// because a POSIX shell has no test for the owner.
fn script(marker: &str, hash: &str, size: u64) -> String {
    format!(
        r#"{{
u=$(umask)
umask 077
set -f
r=${{XDG_CACHE_HOME:-$HOME/.cache}}/ratchet
d=$r/agents
f=$d/{hash}
t=$f.$$
own() {{
    set -- "$1" $(ls -ldn "$2" 2>/dev/null)
    case $1$2 in dd????-??-*|dl*|--????-??-*) [ "$4" = "$(id -u)" ];; *) false;; esac
}}
folder() {{ own d "$1" && own d "$1/."; }}
refuse() {{
    echo {marker} foreign "$1 has to be a folder of this user that nobody else can write to"
    exit 1
}}
echo
for p in "$r" "$d"; do
    if [ -e "$p" ] || [ -h "$p" ]; then folder "$p" || refuse "$p"; fi
done
if ! {{ folder "$r" && folder "$d" && own - "$f" && [ "$("$f" agent --hash 2>/dev/null </dev/null)" = {hash} ]; }}; then
    echo {marker} missing "$(uname -s)" "$(uname -m)"
    m=$(mkdir -p "$d" 2>&1) || {{ echo {marker} "no folder can be made at $d:" $m; exit 1; }}
    folder "$r" || refuse "$r"
    folder "$d" || refuse "$d"
    m=$( {{ head -c {size} >"$t" && chmod 700 "$t"; }} 2>&1 ) || {{
        rm -f "$t"; echo {marker} "nothing can be written to $d:" $m; exit 1
    }}
    h=$("$t" agent --hash 2>&1 </dev/null)
    c=$?
    if ! [ "$h" = {hash} ]; then
        rm -f "$t"
        case $c in
            0) h="it is damaged, or no agent";;
            126) h="$h; is that file system mounted noexec, or is the program for another processor?";;
            127) h="$h; is it linked to a libc that is not there?";;
        esac
        echo {marker} broken "the copy in $d does not run:" $h; exit 1
    fi
    mv -f "$t" "$f"
fi
echo {marker} ready
umask "$u"
exec "$f" agent
}}
"#
    )
}

/// Returns the platform of a host, as agents name it, from the output of `uname`.
fn platform_of(uname: &str) -> String {
    let (system, machine) = uname.split_once(' ').unwrap_or((uname, ""));
    let system = match system {
        "Darwin" => "macos".to_owned(),
        other => other.to_lowercase(),
    };
    let machine = match machine {
        "arm64" => "aarch64",
        "amd64" => "x86_64",
        other => other,
    };
    format!("{system}-{machine}")
}

/// Makes a random marker that no login banner contains.
fn marker() -> String {
    let mut random = ratchet_resilience::Rng::new();
    let mut number = || {
        let nanos = random.between(Duration::ZERO, Duration::from_secs(u64::from(u32::MAX)));
        nanos.as_nanos()
    };
    format!("ratchet-{:x}-{:x}", number(), number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_named_as_agents_name_theirs() {
        assert_eq!(platform_of("Linux x86_64"), "linux-x86_64");
        assert_eq!(platform_of("Darwin arm64"), "macos-aarch64");
        assert_eq!(platform_of("FreeBSD amd64"), "freebsd-x86_64");
    }

    #[test]
    fn a_marker_is_another_one_each_time_and_one_word() {
        let (one, other) = (marker(), marker());
        assert_ne!(one, other);
        assert!(
            one.chars()
                .all(|char| char.is_ascii_alphanumeric() || char == '-')
        );
    }
}
