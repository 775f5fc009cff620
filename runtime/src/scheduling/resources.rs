//! Resources: the parts of a machine, or the licences, that jobs hold while they run, and which job holds which.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::Arc;

use smol_str::SmolStr;

use crate::Error;

/// The greatest length of the name of a resource.
const LONGEST_NAME: usize = 64;

/// The greatest number of identities of a resource: as many as there are ports.
const MAX_IDENTITIES: usize = 65_536;

/// A resource, as a small number from [`Scheduler::resource`](super::Scheduler::resource).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId(pub(super) u32);

/// How much there is of a resource.
///
/// ```
/// use ratchet_runtime::Resource;
///
/// // Four devices, of which each job is told which it has.
/// let gpus = Resource::identities(["0", "1", "2", "3"])?;
/// assert_eq!(gpus.total(), 4);
/// // Two of a kind, of which nobody needs to know which is which.
/// assert_eq!(Resource::count(2)?.total(), 2);
/// assert_eq!(Resource::bytes(16 << 30)?.to_string(), "16GiB");
/// assert!(Resource::identities(["0", "0"]).is_err());
/// # Ok::<(), ratchet_runtime::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource(Supply);

/// What a resource consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Supply {
    /// Things that can be told apart.
    Identities(Arc<[SmolStr]>),
    /// This many units of a kind.
    Count(u64),
    /// This many bytes.
    Bytes(u64),
}

impl Resource {
    /// Makes a resource of things that can be told apart, by their names. The names have to be unique.
    pub fn identities<N: Into<SmolStr>>(names: impl IntoIterator<Item = N>) -> Result<Self, Error> {
        let names: Vec<SmolStr> = names.into_iter().map(Into::into).collect();
        let refuse = |reason: String| Err(Error::InvalidResource { reason });
        if names.is_empty() {
            return refuse(
                "a resource without identities would never let anything start".to_owned(),
            );
        }
        if names.len() > MAX_IDENTITIES {
            return refuse(format!(
                "a resource has at most {MAX_IDENTITIES} identities"
            ));
        }
        let is_wrong = |name: &&SmolStr| name.is_empty() || name.contains([',', '\0', '\n']);
        if let Some(wrong) = names.iter().find(is_wrong) {
            return refuse(format!(
                "the identity `{}` is empty, or has a comma, a newline or NUL in it",
                wrong.escape_debug()
            ));
        }
        let mut sorted: Vec<&SmolStr> = names.iter().collect();
        sorted.sort_unstable();
        if let Some([twice, _]) = sorted.array_windows().find(|[one, next]| one == next) {
            return refuse(format!("the identity `{twice}` is there twice"));
        }
        Ok(Self(Supply::Identities(names.into())))
    }

    /// Makes a resource of this many units of a kind.
    pub fn count(count: u64) -> Result<Self, Error> {
        Self(Supply::Count(count)).checked()
    }

    /// Makes a resource of this many bytes, such as memory.
    pub fn bytes(bytes: u64) -> Result<Self, Error> {
        Self(Supply::Bytes(bytes)).checked()
    }

    fn checked(self) -> Result<Self, Error> {
        if self.total() == 0 {
            let reason = "a resource of 0 would never let anything start".to_owned();
            return Err(Error::InvalidResource { reason });
        }
        Ok(self)
    }

    /// Returns the number of units: identities, things or bytes.
    pub fn total(&self) -> u64 {
        match &self.0 {
            Supply::Identities(names) => names.len() as u64,
            Supply::Count(total) | Supply::Bytes(total) => *total,
        }
    }

    /// Iterates over the names of the identities, in the order in which they were declared. It is empty for a resource
    /// without identities.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names = match &self.0 {
            Supply::Identities(names) => &**names,
            Supply::Count(_) | Supply::Bytes(_) => &[],
        };
        names.iter().map(SmolStr::as_str)
    }

    /// Whether the resource is counted in bytes.
    pub fn is_in_bytes(&self) -> bool {
        matches!(self.0, Supply::Bytes(_))
    }

    /// Formats a number of units for people: bytes as a size.
    pub fn show(&self, units: u64) -> String {
        match self.0 {
            Supply::Bytes(_) => show_bytes(units),
            Supply::Identities(_) | Supply::Count(_) => units.to_string(),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Supply::Identities(names) if names.len() > 8 => {
                write!(out, "{}, {} .. ({})", names[0], names[1], names.len())
            }
            Supply::Identities(names) => out.write_str(&names.join(", ")),
            Supply::Count(count) => count.fmt(out),
            Supply::Bytes(bytes) => out.write_str(&show_bytes(*bytes)),
        }
    }
}

/// Formats a number of bytes in the largest unit in which it is a whole number.
fn show_bytes(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fitting = units
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match fitting {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

/// Refuses a resource name that could not be part of the name of an environment variable.
///
/// A name consists of letters, digits, `_` and `-`, and begins with a letter.
pub fn check_resource_name(name: &str) -> Result<(), Error> {
    let begins_well = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let reason = if !begins_well || !name.chars().all(is_allowed) {
        format!(
            "`{name}` is no name of a resource: letters, digits, `_` and `-`, and a letter first"
        )
    } else if name.len() > LONGEST_NAME {
        format!("the name of a resource has at most {LONGEST_NAME} letters")
    } else {
        // These variables have another meaning already.
        match &*resource_variable(name) {
            variable @ ("RATCHET_SLOT" | "RATCHET_JOB_ID" | "RATCHET_ATTEMPT" | "RATCHET_HOST"
            | "RATCHET_RUN_ID" | "RATCHET_PROTOCOLS" | "RATCHET_WORKER_ID") => {
                format!("`{name}` is no name of a resource: {variable} tells something else")
            }
            _ => return Ok(()),
        }
    };
    Err(Error::InvalidResource { reason })
}

/// Returns the name of the environment variable that holds a command's share of a resource, as in `RATCHET_GPU`.
pub fn resource_variable(name: &str) -> String {
    format!("RATCHET_{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// The share of a resource that an attempt holds while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceShare {
    /// The name of the resource.
    name: SmolStr,
    /// The units in this share.
    part: Part,
}

/// The units in a share of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// These things.
    Identities(Vec<SmolStr>),
    /// This many units of a kind, or this many bytes.
    Amount(u64),
}

impl ResourceShare {
    /// Makes a share of things that can be told from each other.
    pub fn of_identities(
        name: &str,
        identities: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> Self {
        let identities = identities.into_iter();
        let identities = identities.map(|name| name.as_ref().into()).collect();
        Self {
            name: name.into(),
            part: Part::Identities(identities),
        }
    }

    /// Makes a share of a number of units, or of bytes.
    pub fn of_units(name: &str, units: u64) -> Self {
        Self {
            name: name.into(),
            part: Part::Amount(units),
        }
    }

    /// Returns the name of the resource.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Iterates over the identities that the attempt holds, in the order in which they were declared. It is empty for a
    /// resource without identities.
    pub fn identities(&self) -> impl Iterator<Item = &str> {
        let identities = match &self.part {
            Part::Identities(names) => names.as_slice(),
            Part::Amount(_) => &[],
        };
        identities.iter().map(SmolStr::as_str)
    }

    /// Returns how many units the attempt holds.
    pub fn units(&self) -> u64 {
        match &self.part {
            Part::Identities(names) => names.len() as u64,
            Part::Amount(amount) => *amount,
        }
    }

    /// Returns the share as text: its identities separated by commas, or else a number.
    pub fn value(&self) -> String {
        match &self.part {
            Part::Identities(names) => names.join(","),
            Part::Amount(amount) => amount.to_string(),
        }
    }

    /// Whether the share consists of identities.
    pub fn has_identities(&self) -> bool {
        matches!(self.part, Part::Identities(_))
    }
}

/// The units of a resource that a job holds. They are given back to the pool from which they were taken.
#[derive(Debug, Default)]
pub(crate) struct HeldUnits {
    /// How many there are.
    units: u64,
    /// The indices of the identities among those of the resource.
    identities: Vec<u32>,
}

/// The units of a resource, and which of them are free.
#[derive(Debug)]
pub(crate) struct ResourcePool {
    name: SmolStr,
    resource: Resource,
    free: u64,
    /// The indices of the free identities. Empty for a resource without identities.
    free_identities: BinaryHeap<Reverse<u32>>,
}

impl ResourcePool {
    /// Makes a pool in which all units are free.
    pub(crate) fn new(name: &str, resource: Resource) -> Self {
        let identities = match &resource.0 {
            Supply::Identities(names) => names.len(),
            Supply::Count(_) | Supply::Bytes(_) => 0,
        };
        Self {
            name: name.into(),
            free: resource.total(),
            free_identities: (0..identities)
                .map(|at| Reverse(u32::try_from(at).unwrap_or(u32::MAX)))
                .collect(),
            resource,
        }
    }

    /// Returns the name of the resource.
    pub(crate) fn name(&self) -> &SmolStr {
        &self.name
    }

    /// Returns the resource, with all its units.
    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    /// Returns how many units are free.
    pub(crate) fn free(&self) -> u64 {
        self.free
    }

    /// Takes units, which the caller knows to be free: the first free ones in the order of declaration.
    pub(crate) fn take(&mut self, units: u64) -> HeldUnits {
        #[expect(
            clippy::expect_used,
            reason = "the caller has checked that the units are free"
        )]
        let free = (self.free.checked_sub(units)).expect("only units that are free are taken");
        self.free = free;
        let mut identities = Vec::new();
        if let Supply::Identities(_) = self.resource.0 {
            for _ in 0..units {
                #[expect(
                    clippy::expect_used,
                    reason = "the pool lists one identity for each free unit"
                )]
                let Reverse(at) =
                    (self.free_identities.pop()).expect("as many identities are free as units are");
                identities.push(at);
            }
        }
        HeldUnits { units, identities }
    }

    /// Frees units that were taken.
    pub(crate) fn give_back(&mut self, held: HeldUnits) {
        self.free += held.units;
        debug_assert!(
            self.free <= self.resource.total(),
            "only units that were taken are given back"
        );
        self.free_identities
            .extend(held.identities.into_iter().map(Reverse));
    }

    /// Describes units to the attempt that holds them.
    pub(crate) fn share(&self, held: &HeldUnits) -> ResourceShare {
        let part = match &self.resource.0 {
            Supply::Identities(names) => {
                let held = held.identities.iter();
                Part::Identities(held.map(|at| names[*at as usize].clone()).collect())
            }
            Supply::Count(_) | Supply::Bytes(_) => Part::Amount(held.units),
        };
        ResourceShare {
            name: self.name.clone(),
            part,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_could_not_be_variables_are_refused() {
        for name in ["gpu", "memory", "a-b_c2"] {
            assert_eq!(check_resource_name(name), Ok(()));
        }
        for name in ["", "2gpu", "g pu", "gpü", "slot", "job-id", &"x".repeat(65)] {
            assert!(check_resource_name(name).is_err(), "{name}");
        }
        assert_eq!(resource_variable("a-b"), "RATCHET_A_B");
    }

    #[test]
    fn identities_that_a_list_could_not_hold_are_refused() {
        let refused = |names: &[&str]| Resource::identities(names.iter().copied()).is_err();
        assert!(refused(&[]) && refused(&[""]) && refused(&["a,b"]) && refused(&["a", "b", "a"]));
        assert!(Resource::count(0).is_err() && Resource::bytes(0).is_err());
    }

    #[test]
    fn amounts_are_shown_as_people_write_them() {
        let ports = Resource::identities((8000..8011).map(|port: i32| port.to_string())).unwrap();
        assert_eq!(ports.to_string(), "8000, 8001 .. (11)");
        let memory = Resource::bytes(16 << 30).unwrap();
        assert_eq!(memory.show(1536 << 20), "1536MiB");
        assert_eq!(memory.show(1000), "1000B");
        assert_eq!(Resource::count(3).unwrap().show(2), "2");
    }

    proptest! {
        #[test]
        fn an_identity_is_held_by_one_and_the_first_free_ones_are_taken(
            total in 1usize..12,
            steps in prop::collection::vec((any::<bool>(), 0usize..8), 0..100),
        ) {
            let names = (0..total).map(|number| number.to_string());
            let mut pool = ResourcePool::new("gpu", Resource::identities(names).unwrap());
            let mut held: Vec<(HeldUnits, Vec<usize>)> = Vec::new();
            for (gives_back, which) in steps {
                if gives_back {
                    if held.is_empty() {
                        continue;
                    }
                    let (units, _) = held.swap_remove(which % held.len());
                    pool.give_back(units);
                } else {
                    let units = which as u64;
                    if units > pool.free() {
                        continue;
                    }
                    let taken: BTreeSet<usize> =
                        held.iter().flat_map(|(_, names)| names.iter().copied()).collect();
                    let first = (0..total).filter(|number| !taken.contains(number));
                    let expected: Vec<usize> = first.take(which).collect();
                    let units = pool.take(units);
                    let share = pool.share(&units);
                    let got: Vec<usize> =
                        share.identities().map(|name| name.parse().unwrap()).collect();
                    prop_assert_eq!(&got, &expected);
                    held.push((units, got));
                }
                let count: usize = held.iter().map(|(_, names)| names.len()).sum();
                prop_assert_eq!(pool.free(), (total - count) as u64);
            }
        }
    }
}
