//! Checks that no device is held by two attempts at once, and that each attempt has as many as its job takes.

use std::collections::HashMap;

use super::attempts::{Attempt, End};
use super::{Evidence, Report, Rule};

/// Checks the devices of all attempts, life by life. The attempts are in the order of their starts.
pub(super) fn check(evidence: &Evidence, attempts: &[Attempt], report: &mut Report) {
    let mut holders: HashMap<(u32, u32), &Attempt> = HashMap::new();
    for attempt in attempts {
        let devices = attempt.devices.iter().flatten();
        let count = u32::try_from(devices.clone().count()).unwrap_or(u32::MAX);
        // An attempt that was killed right after its start may not have noted its devices.
        if count != attempt.spec.devices && attempt.end != End::Vanished {
            let takes = attempt.spec.devices;
            report.add(
                Rule::Resource,
                format!("{count} devices and not {takes} had {attempt}"),
            );
        }
        for device in devices {
            report.figures.devices += 1;
            if *device >= evidence.declared.devices {
                report.add(
                    Rule::Resource,
                    format!("there is no device {device} of {attempt}"),
                );
            }
            let last = holders.entry((attempt.life, *device)).or_insert(attempt);
            let is_other = (last.job, last.start) != (attempt.job, attempt.start);
            if is_other && last.until > attempt.start {
                report.add(
                    Rule::Resource,
                    format!("device {device} was that of {attempt} and of {last} at once"),
                );
            }
            if last.until < attempt.until {
                *last = attempt;
            }
        }
        let [one, other] = attempt.devices;
        if one.is_some() && one == other {
            report.add(
                Rule::Resource,
                format!("twice the same device had {attempt}"),
            );
        }
    }
}
