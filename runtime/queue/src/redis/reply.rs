//! The answers of the scripts, read into values.

mod events;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ratchet_runtime::Ageing;
use redis::Value;
use smol_str::SmolStr;

use super::encoding::{LABEL, LIST, PART};
use super::payload::unpack;
use crate::engine::QueueSettings;
use crate::error::Error;
use crate::inspect::{ExplainedState, Explanation, NodeInfo, NodeLack, WaitReason};
use crate::job::{
    Cancelled, Declaration, FinalStatus, JobState, Purged, QueueStatus, Refusal, Requeued,
    Submitted,
};
use crate::names::{JobName, Label, NodeId};
use crate::node::{
    AttemptEnd, Claim, Claims, Fence, Finish, FinishResult, Membership, NodeSpec, Renewal, Share,
};
pub(super) use events::{events, latest};

/// Returns the error for an answer with fewer values than asked for.
pub(super) fn short() -> Error {
    unexpected("a short list")
}

/// Returns the error for an answer that no script gives.
fn unexpected(what: &str) -> Error {
    Error::Server {
        reason: format!("it answered with {what} where something else was expected"),
    }
}

/// A list in an answer, which is read from its front.
struct List(std::vec::IntoIter<Value>);

impl List {
    fn of(value: Value) -> Result<Self, Error> {
        match value {
            Value::Array(values) => Ok(Self(values.into_iter())),
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    fn value(&mut self) -> Result<Value, Error> {
        self.0.next().ok_or_else(short)
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Error> {
        match self.value()? {
            Value::BulkString(bytes) => Ok(bytes),
            Value::SimpleString(text) => Ok(text.into_bytes()),
            other => Err(unexpected(&format!("{other:?}"))),
        }
    }

    fn text(&mut self) -> Result<String, Error> {
        String::from_utf8(self.bytes()?).map_err(|_| unexpected("bytes that are no text"))
    }

    fn parsed<T: FromStr>(&mut self) -> Result<T, Error> {
        let text = self.text()?;
        text.parse().map_err(|_| unexpected(&format!("`{text}`")))
    }

    fn list(&mut self) -> Result<Self, Error> {
        Self::of(self.value()?)
    }

    fn micros(&mut self) -> Result<Duration, Error> {
        self.parsed().map(Duration::from_micros)
    }
}

/// Reads each value of a list.
pub(super) fn each<T>(
    answer: Value,
    read: impl Fn(Value) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    List::of(answer)?.0.map(read).collect()
}

/// Takes the answer out of what every script returns around it.
pub(super) fn answer(returned: Value) -> Result<Value, Error> {
    let mut list = List::of(returned)?;
    match &*list.text()? {
        "answer" => list.value(),
        "gone" => Err(Error::QueueGone),
        "version" => Err(Error::UnfitServer {
            reason: format!(
                "the queue was made by another version of ratchet (format {}); drain it with that one, or use another name",
                list.text()?
            ),
        }),
        other => Err(unexpected(other)),
    }
}

/// Reads what opening a queue returns: its epoch and its settings.
pub(super) fn opened(answer: Value) -> Result<(u64, QueueSettings), Error> {
    let mut list = List::of(answer)?;
    let _version: u64 = list.parsed()?;
    let epoch = list.parsed()?;
    let (session, retention) = (list.micros()?, list.micros()?);
    let capacity = list.parsed()?;
    let ageing = Ageing {
        step: list.micros()?,
    };
    let settings = QueueSettings {
        session,
        retention,
        capacity,
        max_payload: list.parsed()?,
        ageing,
    };
    Ok((epoch, settings))
}

pub(super) fn declared(answer: Value, declarations: &[Declaration]) -> Result<(), Error> {
    let mut list = List::of(answer)?;
    if list.text()? == "ok" {
        return Ok(());
    }
    let at: usize = list.parsed()?;
    let (name, second) = match declarations.get(at.wrapping_sub(1)) {
        Some(Declaration::Limit(name, limit)) => (name, limit.to_string()),
        Some(Declaration::Resource(name, resource)) => (name, resource.to_string()),
        None => return Err(unexpected("a conflict of nothing")),
    };
    Err(Error::Conflict {
        name: name.clone(),
        second,
    })
}

pub(super) fn submitted(answer: Value) -> Result<Submitted, Error> {
    let mut list = List::of(answer)?;
    let refusal = match &*list.text()? {
        "ok" => return Ok(Submitted::Accepted),
        "full" => return Ok(Submitted::Full),
        "known" => {
            let state = state_of(&list.text()?)?;
            let state = state.ok_or_else(|| unexpected("a known job without a state"))?;
            return Ok(Submitted::Known(state));
        }
        "limit" => Refusal::UnknownLimit {
            name: list.text()?.into(),
        },
        "resource" => Refusal::UnknownResource {
            name: list.text()?.into(),
        },
        "impossible" => Refusal::ImpossibleResource {
            name: list.text()?.into(),
            asked: list.parsed()?,
            total: list.parsed()?,
        },
        "need" => Refusal::UnknownNeed {
            need: list.parsed()?,
        },
        "rate" => Refusal::RateConflict {
            key: list.text()?.into(),
        },
        other => return Err(unexpected(other)),
    };
    Ok(Submitted::Refused(refusal))
}

pub(super) fn membership(answer: Value) -> Result<Membership, Error> {
    let mut list = List::of(answer)?;
    Ok(Membership {
        node: NodeId(list.parsed()?),
        valid_for: list.micros()?,
    })
}

/// Reads what an exchange returns: what became of the ends, and the claims.
pub(super) fn exchanged(answer: Value) -> Result<(Value, Value), Error> {
    let mut list = List::of(answer)?;
    Ok((list.value()?, list.value()?))
}

/// Reads claims, and the ends of those whose payloads cannot be read.
pub(super) fn claims(
    answer: Value,
    node: NodeId,
    most: u64,
) -> Result<(Claims, Vec<Finish>), Error> {
    let mut list = List::of(answer)?;
    if list.text()? == "lost" {
        return Err(Error::NodeLost { node });
    }
    let ask_again = match &*list.text()? {
        "" => None,
        micros => {
            let micros = micros.parse().map_err(|_| unexpected(micros))?;
            Some(Duration::from_micros(micros))
        }
    };
    let mut claims = Vec::new();
    let mut damaged = Vec::new();
    let mut list = list.list()?;
    while list.0.len() > 0 {
        let (mut claim, packed, left) = claim(list.value()?)?;
        let left = handover(&claim.job, &left, most);
        let payload = unpack(&packed, most);
        let payload = payload.and_then(|payload| match left {
            Ok(left) => Ok((payload, left)),
            Err(_) => Err("what an earlier attempt has handed over cannot be read".into()),
        });
        match payload {
            Ok((payload, left)) => {
                claim.payload = payload.into();
                claim.handover = left;
                claims.push(claim);
            }
            Err(reason) => {
                let reason = format!("the payload is damaged on the server: {reason}");
                tracing::warn!(job = %claim.job, "{reason}; the job fails");
                let end = AttemptEnd::Over {
                    status: FinalStatus::Failed,
                    result: reason.as_bytes().into(),
                };
                damaged.push(Finish {
                    job: claim.job,
                    fence: claim.fence,
                    end,
                });
            }
        }
    }
    Ok((Claims { claims, ask_again }, damaged))
}

/// Reads a claim, its packed payload, and what was packed of what an earlier attempt has handed over.
fn claim(answer: Value) -> Result<(Claim, Vec<u8>, Vec<u8>), Error> {
    let mut list = List::of(answer)?;
    let job = list.parsed()?;
    let fence = fence(&list.text()?)?;
    let attempt = list.parsed()?;
    let class = list.text()?;
    let slots = class.rsplit(PART).next().unwrap_or_default();
    let slots = slots.parse().map_err(|_| unexpected(&class))?;
    let (gates, identities) = (list.text()?, list.text()?);
    let claim = Claim {
        job,
        fence,
        attempt,
        slots,
        shares: shares(&gates, &identities)?,
        payload: [].into(),
        handover: [].into(),
    };
    let handover = list.bytes()?;
    Ok((claim, list.bytes()?, handover))
}

/// Reads what an attempt has handed over.
fn handover(job: &JobName, packed: &[u8], most: u64) -> Result<Arc<[u8]>, Error> {
    if packed.is_empty() {
        return Ok([].into());
    }
    result(job, packed, most)
}

/// Reads the result of a job.
fn result(job: &JobName, packed: &[u8], most: u64) -> Result<Arc<[u8]>, Error> {
    match unpack(packed, most) {
        Ok(result) => Ok(result.into()),
        Err(reason) => Err(Error::Damaged {
            job: job.clone(),
            reason: reason.into_owned(),
        }),
    }
}

/// Reads a fence, as in `1-17`.
fn fence(text: &str) -> Result<Fence, Error> {
    let numbers = text.split_once('-').and_then(|(epoch, number)| {
        let (epoch, number) = (epoch.parse().ok()?, number.parse().ok()?);
        Some(Fence { epoch, number })
    });
    numbers.ok_or_else(|| unexpected(text))
}

/// Reads the shares of resources among the gates of a job.
fn shares(gates: &str, identities: &str) -> Result<Vec<Share>, Error> {
    let mut shares = Vec::new();
    for entry in gates.split(LIST) {
        let Some((name, units)) = entry
            .strip_prefix("u:")
            .and_then(|rest| rest.split_once(PART))
        else {
            continue;
        };
        let named = identities.split(LIST).find_map(|entry| {
            let (gate, rest) = entry.split_once(PART)?;
            (gate.strip_prefix("u:") == Some(name)).then_some(rest)
        });
        // Each identity stands before its number.
        let identities = named
            .into_iter()
            .flat_map(|rest| rest.split(PART).step_by(2));
        shares.push(Share {
            resource: name.into(),
            units: units.parse().map_err(|_| unexpected(units))?,
            identities: identities.map(SmolStr::from).collect(),
        });
    }
    Ok(shares)
}

pub(super) fn renewal(answer: Value) -> Result<Renewal, Error> {
    let mut list = List::of(answer)?;
    if list.text()? == "lost" {
        return Ok(Renewal::Lost);
    }
    let valid_for = list.micros()?;
    let mut names = list.list()?;
    let mut cancelled = Vec::new();
    while names.0.len() > 0 {
        cancelled.push(names.parsed::<JobName>()?);
    }
    Ok(Renewal::Valid {
        valid_for,
        cancelled,
    })
}

/// Reads a value that is one word.
fn word(answer: Value) -> Result<String, Error> {
    List(vec![answer].into_iter()).text()
}

pub(super) fn finished(answer: Value) -> Result<FinishResult, Error> {
    match &*word(answer)? {
        "committed" => Ok(FinishResult::Committed),
        "stale" => Ok(FinishResult::Stale),
        other => Err(unexpected(other)),
    }
}

pub(super) fn cancelled(answer: Value) -> Result<Cancelled, Error> {
    match &*word(answer)? {
        "ended" => Ok(Cancelled::Ended),
        "asked" => Ok(Cancelled::Asked),
        "" => Ok(Cancelled::Unknown),
        status => final_status(status).map(Cancelled::TooLate),
    }
}

pub(super) fn state(answer: Value) -> Result<Option<JobState>, Error> {
    state_of(&word(answer)?)
}

fn state_of(word: &str) -> Result<Option<JobState>, Error> {
    Ok(match word {
        "" => None,
        "waiting" => Some(JobState::Waiting),
        "running" => Some(JobState::Running),
        status => Some(JobState::Ended(final_status(status)?)),
    })
}

fn final_status(word: &str) -> Result<FinalStatus, Error> {
    let mut all = FinalStatus::ALL.into_iter();
    all.find(|status| status.as_str() == word)
        .ok_or_else(|| unexpected(word))
}

pub(super) fn status(answer: Value) -> Result<QueueStatus, Error> {
    let mut list = List::of(answer)?;
    Ok(QueueStatus {
        waiting: list.parsed()?,
        running: list.parsed()?,
        nodes: list.parsed()?,
        is_paused: list.text()? == "1",
    })
}

pub(super) fn requeued(answer: Value) -> Result<Requeued, Error> {
    let mut list = List::of(answer)?;
    Ok(match &*list.text()? {
        "ok" => Requeued::Waiting,
        "full" => Requeued::Full,
        "need" => Requeued::Refused(Refusal::UnknownNeed {
            need: list.parsed()?,
        }),
        "circular" => Requeued::Refused(Refusal::CircularNeed {
            need: list.parsed()?,
        }),
        "rate" => Requeued::Refused(Refusal::RateConflict {
            key: list.text()?.into(),
        }),
        word => match state_of(word)? {
            None => Requeued::Unknown,
            Some(JobState::Ended(FinalStatus::Succeeded)) => Requeued::Succeeded,
            Some(JobState::Ended(_)) => return Err(unexpected(word)),
            Some(unended) => Requeued::Unended(unended),
        },
    })
}

pub(super) fn purged(answer: Value) -> Result<Purged, Error> {
    let word = word(answer)?;
    if word == "forgotten" {
        return Ok(Purged::Forgotten);
    }
    Ok(match state_of(&word)? {
        None => Purged::Unknown,
        Some(unended) => Purged::Unended(unended),
    })
}

pub(super) fn listed(answer: Value) -> Result<(JobName, JobState), Error> {
    let mut list = List::of(answer)?;
    let name = list.parsed()?;
    let state = state_of(&list.text()?)?;
    Ok((
        name,
        state.ok_or_else(|| unexpected("a listed job without a state"))?,
    ))
}

pub(super) fn node(answer: Value) -> Result<NodeInfo, Error> {
    let mut list = List::of(answer)?;
    let node = NodeId(list.parsed()?);
    let name = list.text()?.into();
    let slots = list.parsed()?;
    let tasks = match &*list.text()? {
        "*" => None,
        joined => Some(entries(joined, LIST).map(SmolStr::from).collect()),
    };
    let labels = labels(&list.text()?, LIST)?;
    let spec = NodeSpec {
        name,
        tasks,
        labels,
        slots,
    };
    Ok(NodeInfo::new(node, spec, list.parsed()?, list.micros()?))
}

/// Splits a list in which there is a separator between entries, and may be one around them.
fn entries(joined: &str, separator: char) -> impl Iterator<Item = &str> {
    joined.split(separator).filter(|entry| !entry.is_empty())
}

fn labels(joined: &str, separator: char) -> Result<Vec<Label>, Error> {
    entries(joined, separator)
        .map(|label| label.parse().map_err(|_| unexpected(label)))
        .collect()
}

pub(super) fn explanation(
    answer: Value,
    job: &JobName,
    most: u64,
) -> Result<Option<Explanation>, Error> {
    let mut list = List::of(answer)?;
    let attempts = match &*list.text()? {
        "" => return Ok(None),
        number => number.parse().map_err(|_| unexpected(number))?,
    };
    let state = match &*list.text()? {
        "ended" => ExplainedState::Ended {
            status: final_status(&list.text()?)?,
            is_unservable: list.text()? == "1",
            result: match &*list.text()? {
                "kept" => Some(result(job, &list.bytes()?, most)?),
                _ => None,
            },
        },
        "running" => ExplainedState::Running {
            node: NodeId(list.parsed()?),
            name: list.text()?.into(),
            is_cancelled: list.text()? == "1",
        },
        "waiting" => {
            let ahead = match &*list.text()? {
                "" => None,
                number => Some(number.parse().map_err(|_| unexpected(number))?),
            };
            let reasons = each(list.value()?, reason)?;
            ExplainedState::Waiting {
                reasons: reasons.into_iter().flatten().collect(),
                ahead,
            }
        }
        other => return Err(unexpected(other)),
    };
    Ok(Some(Explanation::new(attempts, state)))
}

/// Reads why a job waits. Nodes that lack something must lack it still when they are looked at here.
fn reason(answer: Value) -> Result<Option<WaitReason>, Error> {
    let mut list = List::of(answer)?;
    Ok(Some(match &*list.text()? {
        "paused" => WaitReason::Paused,
        "needs" => {
            let mut jobs = Vec::new();
            while list.0.len() > 0 {
                jobs.push(list.parsed()?);
            }
            WaitReason::Needs { jobs }
        }
        "delay" => WaitReason::Delay {
            left: list.micros()?,
        },
        "nodes" => {
            let class = list.text()?;
            let nodes = each(list.value()?, node)?;
            let specs: Vec<&NodeSpec> = nodes.iter().map(|node| &node.spec).collect();
            let mut parts = class.split(PART);
            let task = parts.next().unwrap_or_default();
            let labels = labels(parts.next().unwrap_or_default(), LABEL)?;
            let slots = parts.next().unwrap_or_default();
            let slots = slots.parse().map_err(|_| unexpected(&class))?;
            return Ok(
                NodeLack::of(task, &labels, slots, &specs).map(|lack| WaitReason::NoNode { lack })
            );
        }
        "failover" => WaitReason::Failover {
            left: list.micros()?,
        },
        "host" => WaitReason::Host {
            host: list.text()?.into(),
            by: list.parsed()?,
        },
        "global" => WaitReason::Global { by: list.parsed()? },
        "key" => WaitReason::RateKey {
            key: list.text()?.into(),
            left: list.micros()?,
        },
        "rate" => WaitReason::RateLimit {
            name: list.text()?.into(),
            left: list.micros()?,
        },
        "limit" => WaitReason::Limit {
            name: list.text()?.into(),
            running: list.parsed()?,
            max: list.parsed()?,
        },
        "resource" => WaitReason::Resource {
            name: list.text()?.into(),
            asked: list.parsed()?,
            free: list.parsed()?,
        },
        "quiet" => WaitReason::Quiet {
            running: list.parsed()?,
        },
        "alone" => WaitReason::Alone { by: list.parsed()? },
        other => return Err(unexpected(other)),
    }))
}
