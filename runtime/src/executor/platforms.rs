//! The platforms of places. The key of a cached result contains the platform of the place where the job runs.

use std::sync::Arc;

use ratchet_ipc::HostName;
use tokio::sync::watch;

use crate::ids::PlaceName;
use crate::job::Placement;
use crate::place::{Place, PlaceState};
use crate::remote::AgentInfo;

/// The operating system and the processor of a place, as in `linux-x86_64`; `None` if they are those of this machine.
pub(super) type Platform = Option<Arc<str>>;

/// The platforms of the places of a run.
pub(super) struct Platforms {
    own: String,
    others: Vec<OtherPlace>,
}

/// A place besides this machine, with its state and its platform.
struct OtherPlace {
    name: PlaceName,
    state: watch::Receiver<PlaceState>,
    /// Receives the platform once it is known; `None` if it never will be.
    platform: Option<watch::Receiver<Option<Arc<str>>>>,
}

/// The platform on which a job is expected to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PlatformForecast {
    /// The job is expected to run on this platform, as far as its places are known.
    Platform(Platform),
    /// No place of the job was reached yet.
    Later,
    /// The platform cannot be predicted, for this reason.
    Unknown(String),
}

impl Platforms {
    /// Makes the platforms of this machine and of the other places.
    pub(super) fn new(others: &[Place]) -> Self {
        let others = others.iter().map(|place| OtherPlace {
            name: place.name.clone(),
            state: place.state.clone(),
            platform: place.platform.clone(),
        });
        Self {
            own: AgentInfo::own_platform(),
            others: others.collect(),
        }
    }

    /// Predicts the platform on which a job will run. `host` is the host of the job.
    ///
    /// If the job has several places, only those with a known platform count, because the job must not wait for a host
    /// that may never be reached. If it then runs at another place, [`of`](Self::of) may return another platform.
    pub(super) fn expected(
        &self,
        placement: &Placement,
        host: Option<&HostName>,
    ) -> PlatformForecast {
        let is_meant = |name: &PlaceName| is_meant(name, placement, host);
        let is_here = is_meant(&PlaceName::LOCAL);
        let mut known = is_here.then_some(None);
        let mut missing = None;
        for place in self.others.iter().filter(|place| is_meant(&place.name)) {
            match (self.platform_of(place), &known) {
                (None, _) => missing = missing.or(Some(place)),
                (Some(platform), Some(other)) if platform != *other => {
                    let (one, other) = (self.name_of(&platform), self.name_of(other));
                    let reason = format!("the job may run on {other} or on {one}");
                    return PlatformForecast::Unknown(reason);
                }
                (Some(platform), _) => known = Some(platform),
            }
        }
        match (known, missing) {
            (Some(platform), _) => PlatformForecast::Platform(platform),
            (None, Some(place)) if place.may_be_known_later() => PlatformForecast::Later,
            (None, Some(place)) => {
                PlatformForecast::Unknown(format!("the platform of {} is not known", place.name))
            }
            // The place does not exist. The job is refused for that when it is queued.
            (None, None) => PlatformForecast::Unknown("it has no place to run on".to_owned()),
        }
    }

    /// Whether one of the places where a job may run is connected. `host` is the host of the job.
    pub(super) fn is_connected(&self, placement: &Placement, host: Option<&HostName>) -> bool {
        let mut others = self.others.iter();
        is_meant(&PlaceName::LOCAL, placement, host)
            || others.any(|place| {
                is_meant(&place.name, placement, host)
                    && matches!(&*place.state.borrow(), PlaceState::Ready { .. })
            })
    }

    /// Returns the platform of a place, or of this machine for `None`. The result is `None` if the platform is not
    /// known.
    pub(super) fn of(&self, place: Option<&PlaceName>) -> Option<Platform> {
        let Some(name) = place else {
            return Some(None);
        };
        let place = self.others.iter().find(|place| place.name == *name)?;
        self.platform_of(place)
    }

    fn platform_of(&self, place: &OtherPlace) -> Option<Platform> {
        let platform = place.platform.as_ref()?.borrow().clone()?;
        Some((*platform != self.own).then_some(platform))
    }

    fn name_of<'a>(&'a self, platform: &'a Platform) -> &'a str {
        platform.as_deref().unwrap_or(&self.own)
    }
}

/// Whether a job with this placement and this host may run at a place.
fn is_meant(name: &PlaceName, placement: &Placement, host: Option<&HostName>) -> bool {
    match placement {
        Placement::Here => *name == PlaceName::LOCAL,
        Placement::Host => host.is_some_and(|host| host.as_str() == name.as_str()),
        Placement::Among(names) => names.contains(name),
    }
}

impl OtherPlace {
    fn may_be_known_later(&self) -> bool {
        let is_gone = matches!(&*self.state.borrow(), PlaceState::GivenUp(_));
        self.platform.is_some() && !is_gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::CommandRunner;
    use crate::outcome::{Class, Failure};

    type Tell = (watch::Sender<PlaceState>, watch::Sender<Option<Arc<str>>>);

    fn place(name: &str) -> (Place, Tell) {
        let (tell_state, state) = watch::channel(PlaceState::Away);
        let (tell_platform, platform) = watch::channel(None);
        let place = Place::new(PlaceName::new(name), CommandRunner::new(None), state);
        (place.platform(platform), (tell_state, tell_platform))
    }

    fn among(names: &[&str]) -> Placement {
        Placement::Among(names.iter().map(|name| PlaceName::new(name)).collect())
    }

    #[test]
    fn a_job_is_expected_on_the_platform_of_its_places_once_one_of_them_is_known() {
        let (web1, (_state1, tell1)) = place("web1");
        let (web2, (state2, tell2)) = place("web2");
        let bare = Place::new(
            PlaceName::new("bare"),
            CommandRunner::new(None),
            web1.state.clone(),
        );
        let platforms = Platforms::new(&[web1, web2, bare]);
        let expected = |names: &[&str]| platforms.expected(&among(names), None);
        let here = PlatformForecast::Platform(None);
        assert_eq!(platforms.expected(&Placement::Here, None), here);
        assert_eq!(expected(&["web1", "web2"]), PlatformForecast::Later);
        assert_eq!(expected(&["web1", "local"]), here);
        assert!(matches!(expected(&["bare"]), PlatformForecast::Unknown(_)));

        let vax: Platform = Some("vms-vax".into());
        tell1.send_replace(vax.clone());
        let on_vax = PlatformForecast::Platform(vax.clone());
        assert_eq!(
            expected(&["web1", "web2"]),
            on_vax,
            "the other one may never come"
        );
        let host = HostName::from("web1");
        assert_eq!(platforms.expected(&Placement::Host, Some(&host)), on_vax);
        let mixed = PlatformForecast::Unknown(format!(
            "the job may run on {} or on vms-vax",
            platforms.own
        ));
        assert_eq!(expected(&["local", "web1"]), mixed);

        tell2.send_replace(Some(platforms.own.as_str().into()));
        assert_eq!(expected(&["web2"]), here, "it is the same as this machine");
        assert_eq!(platforms.of(Some(&PlaceName::new("web1"))), Some(vax));
        assert_eq!(platforms.of(Some(&PlaceName::new("web2"))), Some(None));
        assert_eq!(platforms.of(Some(&PlaceName::new("bare"))), None);
        drop(state2);
    }

    #[test]
    fn a_host_that_was_given_up_before_it_was_reached_has_no_platform() {
        let (web1, (state, _tell)) = place("web1");
        let platforms = Platforms::new(&[web1]);
        let failure = Failure::new(Class::Unreachable, "no");
        state.send_replace(PlaceState::GivenUp(Box::new(failure)));
        let unknown = PlatformForecast::Unknown("the platform of web1 is not known".to_owned());
        assert_eq!(platforms.expected(&among(&["web1"]), None), unknown);
    }
}
