//! The events of a queue, read from its stream.

use std::str::FromStr;
use std::time::Duration;

use redis::Value;

use super::{List, final_status, handover, result, short, unexpected, word};
use crate::error::Error;
use crate::event::{Cursor, Event, EventKind};
use crate::names::NodeId;
use crate::redis::encoding::PART;

/// Reads the events after a place, at most this many.
pub(in crate::redis) fn events(
    answer: Value,
    after: Cursor,
    most: usize,
    max_payload: u64,
) -> Result<Vec<Event>, Error> {
    let mut list = List::of(answer)?;
    if list.text()? == "expired" {
        return Err(Error::EventsExpired);
    }
    let mut events = Vec::new();
    for entry in List::of(list.value()?)?.0 {
        let mut entry = List::of(entry)?;
        let place_of_last = cursor(&entry.text()?)?;
        let mut parts = entry.list()?;
        // The entry has the place of the last of its events, and the others those before it.
        let count = (parts.0.len() / 2) as u64;
        let first = (place_of_last.number + 1)
            .checked_sub(count)
            .ok_or_else(short)?;
        for number in first..=place_of_last.number {
            let place = Cursor {
                number,
                ..place_of_last
            };
            let (head, body) = (parts.text()?, parts.bytes()?);
            if place > after && events.len() < most {
                events.push(event(place, &head, &body, max_payload)?);
            }
        }
    }
    Ok(events)
}

/// Reads the place of an event, as in `1764000000000-3`.
fn cursor(place: &str) -> Result<Cursor, Error> {
    let numbers = place.split_once('-').and_then(|(millis, number)| {
        let (millis, number) = (millis.parse().ok()?, number.parse().ok()?);
        Some(Cursor { millis, number })
    });
    numbers.ok_or_else(|| unexpected(place))
}

pub(in crate::redis) fn latest(answer: Value) -> Result<Cursor, Error> {
    cursor(&word(answer)?)
}

/// Reads an event: its letter and its parts, and its body.
fn event(cursor: Cursor, head: &str, body: &[u8], most: u64) -> Result<Event, Error> {
    let mut parts = Parts(head.split(PART));
    let kind = match parts.next()? {
        "S" => EventKind::Started {
            job: parts.parsed()?,
            node: NodeId(parts.parsed()?),
            attempt: parts.parsed()?,
        },
        "P" => EventKind::Progress {
            job: parts.parsed()?,
            message: body.into(),
        },
        "R" => {
            let job = parts.parsed()?;
            EventKind::Retried {
                delay: Duration::from_micros(parts.parsed()?),
                handover: handover(&job, body, most)?,
                job,
            }
        }
        "L" => EventKind::AttemptLost {
            job: parts.parsed()?,
            node: NodeId(parts.parsed()?),
        },
        "B" => EventKind::GivenBack {
            job: parts.parsed()?,
        },
        "A" => EventKind::Requeued {
            job: parts.parsed()?,
        },
        "V" => EventKind::Unservable {
            job: parts.parsed()?,
        },
        "Z" => EventKind::Paused,
        "U" => EventKind::Resumed,
        "E" => {
            let job = parts.parsed()?;
            EventKind::Ended {
                status: final_status(parts.next()?)?,
                attempts: parts.parsed()?,
                result: result(&job, body, most)?,
                job,
            }
        }
        "J" => EventKind::NodeJoined {
            node: NodeId(parts.parsed()?),
            name: parts.next()?.into(),
        },
        "Q" => EventKind::NodeLeft {
            node: NodeId(parts.parsed()?),
        },
        "X" => EventKind::NodeLost {
            node: NodeId(parts.parsed()?),
        },
        other => return Err(unexpected(other)),
    };
    Ok(Event { cursor, kind })
}

/// The parts of the head of an event, in their order.
struct Parts<'a>(std::str::Split<'a, char>);

impl<'a> Parts<'a> {
    fn next(&mut self) -> Result<&'a str, Error> {
        self.0.next().ok_or_else(short)
    }

    fn parsed<T: FromStr>(&mut self) -> Result<T, Error> {
        let text = self.next()?;
        text.parse().map_err(|_| unexpected(text))
    }
}
