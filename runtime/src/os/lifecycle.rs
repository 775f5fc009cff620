//! Watches a process until it has ended, and ends it on request, always with all that it has started.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use super::child::Child;
use super::group::ProcessGroup;
use super::terminal::STOP_CHECK_INTERVAL;
use super::{Ended, Ending, Exit, platform};
use crate::suspension::{until, working_now};

/// How long a killed process may take until it can be reaped. Only the kernel can delay it.
const REAP_LIMIT: Duration = Duration::from_secs(2);

/// The time at which a process that was asked to end is killed, by the clock of work. It can only be moved to an
/// earlier time.
pub(super) type KillTime = watch::Receiver<Option<Instant>>;

/// Whether to stop or to continue a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pause {
    /// The process stops until it is continued.
    Stop,
    /// The process continues.
    Continue,
}

/// Moves the time of the kill to an earlier one. The first call also asks the process to end.
pub(super) fn move_kill_earlier(kill_at: &watch::Sender<Option<Instant>>, time: Instant) {
    kill_at.send_if_modified(|known| {
        let nearer = known.is_none_or(|known| time < known);
        if nearer {
            *known = Some(time);
        }
        nearer
    });
}

/// Waits for the end of a process, ends it on request, and kills the processes that it leaves behind in its group.
pub(super) async fn watch(
    mut child: Child,
    group: ProcessGroup,
    mut kill_at: KillTime,
    mut paused: watch::Receiver<Pause>,
) -> Ended {
    let mut ending = Ending::ByItself;
    let mut asked = None;
    let mut has_owner = true;
    // Without a terminal nothing can be stopped by one, so no checks are needed.
    let has_terminal = platform::has_terminal();
    let exit = loop {
        tokio::select! {
            biased;
            exit = child.wait() => break exit,
            changed = kill_at.changed(), if has_owner => {
                // The sender is gone, and with it the owner of the process, so the process is not wanted any more.
                has_owner = changed.is_ok();
                asked = if has_owner { *kill_at.borrow_and_update() } else { Some(working_now()) };
                if ending == Ending::ByItself {
                    group.terminate();
                    ending = Ending::Asked;
                }
            }
            Ok(()) = paused.changed() => match *paused.borrow_and_update() {
                Pause::Stop => group.stop(),
                Pause::Continue => group.resume(),
            },
            () = until(asked) => {
                ending = Ending::Killed;
                break kill(&group, &mut child).await;
            }
            // Each check starts a new sleep. The other events are so few that they cannot delay it forever.
            () = sleep(STOP_CHECK_INTERVAL), if has_terminal => {
                if child.is_stopped_by_terminal() {
                    ending = match ending {
                        Ending::ByItself => Ending::WantedTerminal,
                        _ => Ending::Killed,
                    };
                    break kill(&group, &mut child).await;
                }
            }
        }
    };
    let (left_behind, survivors) = group.clear().await;
    Ended {
        exit,
        ending,
        left_behind,
        survivors,
    }
}

/// Kills a process with its group and reaps it, unless the kernel does not release it.
async fn kill(group: &ProcessGroup, child: &mut Child) -> Exit {
    group.kill();
    tokio::select! {
        biased;
        exit = child.wait() => exit,
        () = until(Some(working_now() + REAP_LIMIT)) => Exit::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncReadExt;
    use tokio::time::timeout;

    use super::super::ProcessConfig;
    use super::*;

    /// Makes a receiver that never receives anything.
    fn watch_pauses() -> watch::Receiver<Pause> {
        watch::channel(Pause::Continue).1
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed_when_its_owner_is_gone() {
        let deaf = ProcessConfig::new("sh").args(["-c", "trap '' TERM; echo deaf; exec sleep 60"]);
        let (child, group, (_stdin, mut stdout, _stderr), _) = Child::start(&deaf, None).unwrap();
        let mut said = [0; 5];
        stdout.read_exact(&mut said).await.unwrap();
        let (kill_at, kill_time) = watch::channel(None);
        drop(kill_at);
        let ended = timeout(
            Duration::from_secs(30),
            watch(child, group, kill_time, watch_pauses()),
        );
        let ended = ended.await.unwrap();
        assert_eq!(
            (ended.exit, ended.ending),
            (Exit::Signal(9), Ending::Killed)
        );
    }
}
