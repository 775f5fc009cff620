//! Files go to a host and back, over a connection in memory to a real agent.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::os::{
    CommandLimits, CommandOutput, CommandRunner, FileError, ProcessConfig, ProcessError,
    ProcessManager, StopCause, WorkFiles, WorkPath,
};
use crate::remote::{Agent, RemoteConfig, RemoteError, RemoteProcesses};

const DEADLINE: Duration = Duration::from_mins(1);

/// Counts the bytes that the dispatcher sends, and can break the connection.
struct Counted<W> {
    writer: W,
    count: Arc<AtomicUsize>,
    /// How many bytes are passed on.
    most: usize,
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Counted<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let sent = self.count.load(Ordering::Relaxed);
        if sent >= self.most {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let bytes = &bytes[..bytes.len().min(self.most - sent)];
        let polled = Pin::new(&mut self.writer).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = polled {
            self.count.fetch_add(written, Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

/// Breaks the connection after this many bytes from the agent.
struct Cut<R>(R, usize);

impl<R: AsyncRead + Unpin> AsyncRead for Cut<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.1 == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let mut part = buffer.take(self.1);
        let polled = Pin::new(&mut self.0).poll_read(cx, &mut part);
        let read = part.filled().len();
        // The part lies in the room that the buffer has left.
        buffer.set_filled(before + read);
        self.1 -= read;
        polled
    }
}

/// A host with a cache folder, and a local folder with files.
struct Pair {
    here: tempfile::TempDir,
    cache: tempfile::TempDir,
}

/// A connection to the agent of a host.
struct Connected {
    processes: Arc<RemoteProcesses>,
    runner: CommandRunner,
    sent: Arc<AtomicUsize>,
    agent: JoinHandle<Result<(), RemoteError>>,
}

impl Pair {
    fn new() -> Self {
        let folder = || tempfile::tempdir().unwrap();
        Self {
            here: folder(),
            cache: folder(),
        }
    }

    async fn connect(&self) -> Connected {
        self.connect_until(usize::MAX, usize::MAX).await
    }

    /// Connects over pipes that break after this many bytes there and back.
    async fn connect_until(&self, there: usize, back: usize) -> Connected {
        let (here, far) = tokio::io::duplex(64 * 1024);
        let (input, output) = tokio::io::split(far);
        let agent = Agent::new().cache_dir(self.cache.path());
        let agent = tokio::spawn(agent.serve(input, output));
        let (input, output) = tokio::io::split(here);
        let sent = Arc::<AtomicUsize>::default();
        let output = Counted {
            writer: output,
            count: Arc::clone(&sent),
            most: there,
        };
        let config = RemoteConfig {
            lost_after: Duration::from_secs(5),
            kill_margin: Duration::from_millis(10),
            ..RemoteConfig::new("web1")
        };
        let processes = RemoteProcesses::connect(Cut(input, back), output, config)
            .await
            .unwrap();
        let processes = Arc::new(processes);
        Connected {
            runner: CommandRunner::through(Arc::<RemoteProcesses>::clone(&processes)),
            processes,
            sent,
            agent,
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.here.path().join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        fs::write(self.at(path), content).unwrap();
    }

    fn files(&self, push: &[&str], pull: &[&str]) -> WorkFiles {
        let paths = |paths: &[&str]| {
            let paths = paths.iter();
            let parse = |path: &&str| WorkPath::parse(self.here.path(), path.as_ref()).unwrap();
            paths.map(parse).collect()
        };
        WorkFiles {
            push: paths(push),
            pull: paths(pull),
            keep: None,
        }
    }

    /// Lists everything in a folder of the host, with its subfolders.
    fn on_host(&self, folder: &str) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                }
                found.push(path);
            }
        }
        let mut found = Vec::new();
        walk(&self.cache.path().join("ratchet").join(folder), &mut found);
        found
    }

    /// Waits until the host has no work folder and no unfinished content. They are removed in the background.
    async fn wait_until_clean(&self, is_clean: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !is_clean(self) {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, waiting).await.expect("nothing is left");
    }
}

fn shell(script: &str, files: WorkFiles) -> ProcessConfig {
    ProcessConfig::new("sh").args(["-c", script]).files(files)
}

impl Connected {
    async fn run(&self, config: &ProcessConfig) -> Result<CommandOutput, ProcessError> {
        let never = CancellationToken::new();
        let run = self.runner.run(config, CommandLimits::default(), &never);
        timeout(DEADLINE, run).await.expect("it ends")
    }

    async fn end(self) {
        drop((self.processes, self.runner));
        timeout(DEADLINE, self.agent)
            .await
            .expect("it ends")
            .unwrap()
            .unwrap();
    }
}

#[tokio::test]
async fn files_folders_modes_and_links_go_to_a_host_and_come_back() {
    let pair = Pair::new();
    pair.write("run.sh", "#!/bin/sh\ncat model/latest > out/result; ln -s result out/link; chmod 640 out/result; pwd\n");
    fs::set_permissions(pair.at("run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    pair.write("model/v2/weights", "weights");
    symlink("v2/weights", pair.at("model/latest")).unwrap();
    fs::set_permissions(pair.at("model/v2"), fs::Permissions::from_mode(0o500)).unwrap();
    let host = pair.connect().await;
    let files = pair.files(&["run.sh", "model/"], &["out/", "model/v2"]);
    let output = host
        .run(&shell("mkdir out && ./run.sh", files))
        .await
        .unwrap();
    assert!(output.is_success(), "{output:?}");
    let folder = PathBuf::from(output.stdout.to_text().trim());
    assert!(
        folder.starts_with(
            pair.cache
                .path()
                .canonicalize()
                .unwrap()
                .join("ratchet/work")
        ),
        "{folder:?}"
    );
    assert!(!folder.exists(), "it was removed");

    assert_eq!(fs::read(pair.at("out/result")).unwrap(), b"weights");
    let mode = |path: &str| fs::metadata(pair.at(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("out/result"), mode("model/v2")), (0o640, 0o500));
    assert_eq!(
        fs::read_link(pair.at("out/link")).unwrap(),
        Path::new("result")
    );
    host.end().await;
    assert_eq!(pair.on_host("work"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_a_host_has_is_not_sent_again() {
    let pair = Pair::new();
    let big: Vec<u8> = (0..3_000_000_u32)
        .map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    pair.write("big", &big);
    pair.write("same", &big);
    let host = pair.connect().await;
    let config = shell(
        "cmp big same && wc -c < big && echo changed >> big",
        pair.files(&["big", "same"], &[]),
    );
    let output = host.run(&config).await.unwrap();
    assert_eq!(output.stdout.to_text().trim(), "3000000");
    let first = host.sent.load(Ordering::Relaxed);
    assert!(
        (3_000_000..3_200_000).contains(&first),
        "the content was sent once: {first}"
    );
    // The job has changed its copy, but not the store. Jobs that run at the same time and over another connection share
    // the store, too.
    let again = tokio::join!(host.run(&config), host.run(&config));
    assert!(again.0.unwrap().is_success() && again.1.unwrap().is_success());
    let second = host.sent.load(Ordering::Relaxed) - first;
    assert!(second < 50_000, "{second}");
    let other = pair.connect().await;
    assert!(other.run(&config).await.unwrap().is_success());
    let third = other.sent.load(Ordering::Relaxed);
    assert!(third < 50_000, "{third}");
    other.end().await;
    host.end().await;
}

#[tokio::test]
async fn jobs_that_start_together_send_a_content_once() {
    let pair = Pair::new();
    pair.write("big", vec![7; 2_000_000]);
    let host = pair.connect().await;
    let config = shell("wc -c < big", pair.files(&["big"], &[]));
    let all = tokio::join!(
        host.run(&config),
        host.run(&config),
        host.run(&config),
        host.run(&config)
    );
    for output in [all.0, all.1, all.2, all.3] {
        assert_eq!(output.unwrap().stdout.to_text().trim(), "2000000");
    }
    let sent = host.sent.load(Ordering::Relaxed);
    assert!(sent < 2_200_000, "{sent}");
    host.end().await;
}

#[tokio::test]
async fn a_missing_file_is_an_error_before_anything_is_started_and_one_that_was_not_made_afterwards()
 {
    let pair = Pair::new();
    let host = pair.connect().await;
    let ran = pair.at("ran");
    let config = shell(
        &format!("touch '{}'", ran.display()),
        pair.files(&["no.txt"], &[]),
    );
    let error = host.run(&config).await.unwrap_err();
    assert!(
        matches!(&error, ProcessError::Files(FileError::Missing { path }) if *path == pair.at("no.txt")),
        "{error:?}"
    );
    assert!(!ran.exists());
    let error = host
        .run(&shell("echo > a", pair.files(&[], &["a", "b"])))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ProcessError::Files(FileError::NotMade { path }) if *path == pair.at("b")),
        "{error:?}"
    );
    assert!(!pair.at("a").exists(), "nothing comes back unless all does");
    // Nothing is pulled from a program that has failed.
    let output = host
        .run(&shell("echo > a; exit 3", pair.files(&[], &["a"])))
        .await
        .unwrap();
    assert!(!output.is_success() && !pair.at("a").exists());
    host.end().await;
    assert_eq!(pair.on_host("work"), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_folder_that_is_to_be_kept_stays() {
    let pair = Pair::new();
    pair.write("in", "in");
    let host = pair.connect().await;
    let mut files = pair.files(&["in"], &[]);
    files.keep = Some("b".to_owned());
    assert!(
        host.run(&shell("echo out > out", files))
            .await
            .unwrap()
            .is_success()
    );
    host.end().await;
    let kept = pair.cache.path().join("ratchet/kept/job-b-1");
    assert_eq!(fs::read_to_string(kept.join("out")).unwrap(), "out\n");
    assert!(kept.join("in").exists());
}

#[tokio::test]
async fn a_host_that_is_lost_while_files_go_there_keeps_nothing_of_them() {
    let pair = Pair::new();
    pair.write("big", vec![7; 3_000_000]);
    let host = pair.connect_until(1_000_000, usize::MAX).await;
    let error = host
        .run(&shell("true", pair.files(&["big"], &[])))
        .await
        .unwrap_err();
    assert!(matches!(error, ProcessError::HostLost { .. }), "{error:?}");
    drop((host.processes, host.runner));
    let _ = timeout(DEADLINE, host.agent).await.expect("it ends");
    let is_clean = |pair: &Pair| {
        pair.on_host("work").is_empty()
            && pair
                .on_host("files")
                .iter()
                .all(|path| path.ends_with("pruned"))
    };
    pair.wait_until_clean(is_clean).await;
}

#[tokio::test]
async fn a_host_that_is_lost_while_files_come_back_leaves_nothing_of_them() {
    let pair = Pair::new();
    let host = pair.connect_until(usize::MAX, 500_000).await;
    let config = shell("head -c 3000000 /dev/zero > big", pair.files(&[], &["big"]));
    let error = host.run(&config).await.unwrap_err();
    assert!(matches!(error, ProcessError::HostLost { .. }), "{error:?}");
    let is_clean = |pair: &Pair| fs::read_dir(pair.here.path()).unwrap().count() == 0;
    pair.wait_until_clean(is_clean).await;
}

#[tokio::test]
async fn files_that_take_longer_than_an_attempt_may_are_a_timeout_and_a_cancelled_attempt_takes_none()
 {
    let pair = Pair::new();
    pair.write("big", vec![7; 3_000_000]);
    // The agent answers nothing any more, so the push makes no progress.
    let host = pair.connect_until(usize::MAX, 2_000).await;
    let config = shell("true", pair.files(&["big"], &[]));
    let never = CancellationToken::new();
    let limits = CommandLimits {
        soft: Some(Duration::ZERO),
        ..CommandLimits::default()
    };
    let run = host.runner.run(&config, limits, &never);
    let error = timeout(DEADLINE, run).await.expect("it ends").unwrap_err();
    assert!(
        matches!(error, ProcessError::Files(FileError::TooSlow { .. })),
        "{error:?}"
    );
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let run = host
        .runner
        .run(&config, CommandLimits::default(), &cancelled);
    let output = timeout(DEADLINE, run).await.expect("it ends").unwrap();
    assert_eq!(output.stopped, Some(StopCause::Cancelled));
    assert!(host.processes.list_processes().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_worker_runs_in_its_folder_which_goes_with_it() {
    let pair = Pair::new();
    pair.write("lib/data", "data");
    let host = pair.connect().await;
    let config = ProcessConfig::new("sh").args(["-c", "cat data; read -r line; echo x > new"]);
    let config = config
        .working_dir("lib")
        .files(pair.files(&["lib"], &["lib/new"]));
    let mut handle = host.processes.spawn_process(&config).await.unwrap();
    assert!(
        pair.on_host("work")
            .iter()
            .any(|path| path.ends_with("lib/data"))
    );
    drop(handle.take_pipes());
    timeout(DEADLINE, handle.exit().wait())
        .await
        .expect("it ends");
    let folder = handle.folder().expect("it has one");
    folder
        .pull(&config.files.as_ref().unwrap().pull)
        .await
        .unwrap();
    assert_eq!(fs::read_to_string(pair.at("lib/new")).unwrap(), "x\n");
    drop(handle);
    let is_clean = |pair: &Pair| {
        !pair
            .on_host("work")
            .iter()
            .any(|path| path.ends_with("lib"))
    };
    pair.wait_until_clean(is_clean).await;
    host.end().await;
}

#[tokio::test]
async fn files_of_a_program_on_this_machine_stay_where_they_are_and_have_to_be_there() {
    let pair = Pair::new();
    let runner = CommandRunner::new(None);
    let run = async |script: &str, files| {
        let config = shell(script, files).working_dir(pair.here.path());
        let never = CancellationToken::new();
        runner.run(&config, CommandLimits::default(), &never).await
    };
    let error = run("touch ran", pair.files(&["in"], &[]))
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProcessError::Files(FileError::Missing { .. })),
        "{error:?}"
    );
    assert!(!pair.at("ran").exists());
    pair.write("in", "in");
    let output = run("cat in; echo > out", pair.files(&["in"], &["out"]))
        .await
        .unwrap();
    assert_eq!(output.stdout.to_text(), "in");
    let error = run("true", pair.files(&[], &["no"])).await.unwrap_err();
    assert!(
        matches!(error, ProcessError::Files(FileError::NotMade { .. })),
        "{error:?}"
    );
}
