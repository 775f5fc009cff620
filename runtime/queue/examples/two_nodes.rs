//! Two nodes share a queue: one job a host at a time, whichever node does it.
//!
//! `cargo run -p ratchet-queue --example two_nodes`

use std::error::Error;
use std::io::Write as _;

use ratchet_queue::{
    AttemptEnd, Claim, Engine, FinalStatus, Finish, JobSpec, JobState, MemoryEngine, NodeId,
    NodeSpec, QueueSettings,
};
use ratchet_runtime::ParallelizationHint;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = MemoryEngine::new(QueueSettings::default())?;
    let mut names = Vec::new();
    for host in ["db1", "db2"] {
        for step in ["tables", "indices"] {
            names.push(format!("{step}-{host}").parse()?);
            let job = JobSpec {
                hint: ParallelizationHint::HostExclusive,
                host: Some(host.into()),
                ..JobSpec::new(format!("{step}-{host}").parse()?, "alter")
            };
            queue.submit(&[job]).await?;
        }
    }

    let first = queue.join(&NodeSpec::new("first", 2)).await?.node;
    let second = queue.join(&NodeSpec::new("second", 2)).await?.node;
    let mut out = std::io::stdout().lock();
    loop {
        // A real node does its claims while it asks for more, and renews its session meanwhile.
        let one = queue.claim(first, 1, 1).await?.claims;
        let other = queue.claim(second, 1, 1).await?.claims;
        if one.is_empty() && other.is_empty() {
            break;
        }
        for (node, claims) in [(first, one), (second, other)] {
            for claim in claims {
                writeln!(out, "{node} does {}", claim.job)?;
                queue.finish(node, &[done(node, &claim)]).await?;
            }
        }
    }
    for (name, state) in names.iter().zip(queue.states(&names).await?) {
        assert_eq!(
            state,
            Some(JobState::Ended(FinalStatus::Succeeded)),
            "{name}"
        );
    }
    Ok(())
}

/// Says that an attempt has succeeded.
fn done(node: NodeId, claim: &Claim) -> Finish {
    Finish {
        job: claim.job.clone(),
        fence: claim.fence,
        end: AttemptEnd::Over {
            status: FinalStatus::Succeeded,
            result: format!("by {node}").into_bytes().into(),
        },
    }
}
