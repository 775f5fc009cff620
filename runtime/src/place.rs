//! Places: machines besides that of the executor, on which its jobs can run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;
use tokio::sync::watch;

use crate::ids::PlaceName;
use crate::os::CommandRunner;
use crate::outcome::Failure;
use crate::scheduling::Resource;

/// The state of a place.
#[derive(Debug, Clone, PartialEq)]
pub enum PlaceState {
    /// The place cannot be reached now. Jobs that can run only there wait.
    Away,
    /// The place can run this many jobs at once.
    Ready {
        /// How many slots running jobs may fill there together.
        slots: u32,
    },
    /// The place will not be reached any more. Jobs that can run only there fail for this reason.
    GivenUp(Box<Failure>),
}

/// A machine besides that of the executor on which its jobs can run.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use ratchet_runtime::process::{CommandRunner, ProcessConfig};
/// use ratchet_runtime::{Executor, Job, Place, PlaceName, PlaceState, Placement, Terms};
/// use tokio::sync::watch;
///
/// // Whoever keeps the connection to the host tells how it stands. This one is here, and there at once.
/// let (_tell, state) = watch::channel(PlaceState::Ready { slots: 2 });
/// let name = PlaceName::new("web1");
/// let web1 = Place::new(name.clone(), CommandRunner::new(None), state);
///
/// let executor = Executor::builder().slots(1).place(web1).build()?;
/// let on_web1 = Terms { on: Placement::Among([name].into()), ..Terms::default() };
/// let job = Job::command("a", ProcessConfig::new("true")).terms(on_web1);
/// let outcomes = executor.run_all([job]).await?;
/// assert_eq!(outcomes[0].place.as_ref().map(|place| place.as_str()), Some("web1"));
/// # Ok::<(), ratchet_runtime::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Place {
    pub(crate) name: PlaceName,
    pub(crate) commands: CommandRunner,
    pub(crate) state: watch::Receiver<PlaceState>,
    pub(crate) round_trip: Option<watch::Receiver<Option<Duration>>>,
    pub(crate) sets_attempt_variables: bool,
    pub(crate) platform: Option<watch::Receiver<Option<Arc<str>>>>,
    pub(crate) resources: Vec<(SmolStr, Resource)>,
}

impl Place {
    /// Makes a place that runs commands with this runner, and has the slots that `state` reports.
    pub fn new(
        name: PlaceName,
        commands: CommandRunner,
        state: watch::Receiver<PlaceState>,
    ) -> Self {
        Self {
            name,
            commands,
            state,
            round_trip: None,
            sets_attempt_variables: true,
            platform: None,
            resources: Vec::new(),
        }
    }

    /// Declares a resource that the place has for itself. Jobs that run there take units of it. A resource of the run
    /// with the same name then belongs to the local place alone. A place that does not declare it has no unit of it.
    ///
    /// If a name is declared twice, the last one counts.
    #[must_use]
    pub fn resource(mut self, name: impl Into<SmolStr>, resource: Resource) -> Self {
        let name = name.into();
        self.resources.retain(|(known, _)| *known != name);
        self.resources.push((name, resource));
        self
    }

    /// Sets the channel that reports the operating system and the processor of the place, as in `linux-x86_64`. It has
    /// to report them before `state` is first [`PlaceState::Ready`]. They are a part of the cache keys of jobs that ran
    /// there; without them, results from there are not cached.
    #[must_use]
    pub fn platform(mut self, platform: watch::Receiver<Option<Arc<str>>>) -> Self {
        self.platform = Some(platform);
        self
    }

    /// Sets the channel that reports the round trip time of the place. Of places with the same share of free slots, the
    /// nearest one gets a job first. A place without a known round trip counts as the farthest.
    #[must_use]
    pub fn round_trip(mut self, round_trip: watch::Receiver<Option<Duration>>) -> Self {
        self.round_trip = Some(round_trip);
        self
    }

    /// Makes commands run without the variables that describe their attempts. Each variable is one more word of the
    /// command there, which may not be possible.
    #[must_use]
    pub fn without_attempt_variables(mut self) -> Self {
        self.sets_attempt_variables = false;
        self
    }

    /// Returns the name of the place.
    pub fn name(&self) -> &PlaceName {
        &self.name
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("name", &self.name)
            .field("state", &*self.state.borrow())
            .finish_non_exhaustive()
    }
}
