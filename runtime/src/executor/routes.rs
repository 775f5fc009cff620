//! Routes group the jobs that the same performers can perform.

use crate::ids::KindId;
use crate::ids::PlaceId;
use crate::scheduling::Kind;
use crate::table::Table;

/// The number of a set of places, at any of which a job can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PlaceSetId(u16);

impl PlaceSetId {
    /// The set of the local place alone.
    pub(super) const LOCAL: Self = Self(0);

    /// Makes the number of a set.
    pub(super) fn new(number: u16) -> Self {
        Self(number)
    }

    /// Returns the number as an index.
    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

/// The number of what jobs take of the resources that places have for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NeedsId(u16);

impl NeedsId {
    /// The jobs take nothing.
    pub(super) const NOTHING: Self = Self(0);

    /// Makes the number of needs.
    pub(super) fn new(number: u16) -> Self {
        Self(number)
    }

    /// Returns the number as an index.
    pub(super) fn index(self) -> usize {
        self.0.into()
    }
}

/// The kind of worker and the places that can perform a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// The kind of worker.
    pub(super) kind: KindId,
    /// The set of places, at any of which the job can run.
    pub(super) places: PlaceSetId,
    /// What the job takes of the resources of the place where it runs.
    pub(super) needs: NeedsId,
    /// How many slots the job fills.
    pub(super) slots: u32,
    /// The places of that set.
    pub(super) members: &'a [PlaceId],
    /// Whether each place counts its own slots, instead of the scheduler.
    pub(super) counts_slots: bool,
}

/// All that decides which performers can perform a job.
///
/// Jobs of one route can start at the same places, on the same workers, and fill as many slots. So one number says how
/// many of them could start now. That number is all that the scheduler has to know of performers and places. The
/// scheduler has a kind of its own for each route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Route {
    /// The kind of worker.
    pub(super) kind: KindId,
    /// The places, at any of which the jobs can run.
    pub(super) places: PlaceSetId,
    /// How many slots a job fills. It is 1 if the scheduler counts the slots.
    pub(super) slots: u32,
    /// What a job takes of the resources of the place where it runs.
    pub(super) needs: NeedsId,
    /// Whether the jobs take tokens of a rate, so that it matters when their attempts begin (see `uncertain.rs`).
    pub(super) is_rated: bool,
}

impl Route {
    /// Whether jobs of other routes, which need less at a place, could leave too little of it for jobs of this one forever.
    pub(super) fn is_heavy(&self) -> bool {
        self.slots > 1 || self.needs != NeedsId::NOTHING
    }
}

/// The number of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RouteId(u16);

impl RouteId {
    /// Returns the number as an index.
    pub(super) fn index(self) -> usize {
        self.0.into()
    }

    /// Returns the kind under which the scheduler knows the jobs of the route.
    pub(super) fn scheduled(self) -> Kind {
        Kind(self.0)
    }
}

/// The most routes of a run. The scheduler can tell no more kinds apart.
const MAX_ROUTES: usize = u16::MAX as usize;

/// The routes of a run. A route is added by the first job that takes it.
#[derive(Debug)]
pub(super) struct Routes {
    /// The routes, indexed by their numbers.
    list: Vec<Route>,
    /// The number of each route.
    index: Table<Route, RouteId>,
    /// The two routes of each kind that fill one slot of the local place: without and with tokens. Most jobs take one
    /// of these, and finding it needs no hash.
    plain: Vec<[RouteId; 2]>,
    /// The routes that can use a place, by the number of the place.
    through: Vec<Vec<RouteId>>,
    /// The routes whose jobs fill several slots of a place, or take some of its resources.
    heavy: Vec<RouteId>,
}

impl Routes {
    /// Makes the plain routes of this many kinds.
    pub(super) fn new(kinds: u16) -> Self {
        let mut routes = Self {
            list: Vec::new(),
            index: Table::default(),
            plain: Vec::new(),
            through: Vec::new(),
            heavy: Vec::new(),
        };
        for kind in (0..kinds).map(KindId) {
            let plain = [false, true].map(|is_rated| {
                let route = Route {
                    kind,
                    places: PlaceSetId::LOCAL,
                    slots: 1,
                    needs: NeedsId::NOTHING,
                    is_rated,
                };
                #[expect(
                    clippy::expect_used,
                    reason = "the number of kinds is checked when they are added"
                )]
                let id = (routes.add(route, &[PlaceId::LOCAL]))
                    .expect("a run has at most half as many kinds as routes");
                id
            });
            routes.plain.push(plain);
        }
        routes
    }

    fn add(&mut self, route: Route, places: &[PlaceId]) -> Option<RouteId> {
        if self.list.len() >= MAX_ROUTES {
            return None;
        }
        let id = RouteId(u16::try_from(self.list.len()).ok()?);
        self.list.push(route);
        self.index.insert(route, id);
        if route.is_heavy() {
            self.heavy.push(id);
        }
        for place in places {
            if self.through.len() <= place.index() {
                self.through.resize_with(place.index() + 1, Vec::new);
            }
            self.through[place.index()].push(id);
        }
        Some(id)
    }

    /// Finds a route, or adds it. `places` are those of its set. Returns `None` if there are too many routes.
    pub(super) fn find_or_add(&mut self, route: Route, places: &[PlaceId]) -> Option<RouteId> {
        if route.places == PlaceSetId::LOCAL && !route.is_heavy() {
            return Some(self.plain(route.kind, route.is_rated));
        }
        match self.index.get(&route) {
            Some(id) => Some(*id),
            None => self.add(route, places),
        }
    }

    /// Returns the route of the jobs of a kind that fill one slot of the local place.
    pub(super) fn plain(&self, kind: KindId, is_rated: bool) -> RouteId {
        self.plain[usize::from(kind.0)][usize::from(is_rated)]
    }

    /// Returns the route of this number.
    pub(super) fn get(&self, id: RouteId) -> Route {
        self.list[usize::from(id.0)]
    }

    /// Returns how many routes there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Returns the routes that were added since there were `count` of them.
    pub(super) fn from(&self, count: usize) -> impl Iterator<Item = RouteId> + use<> {
        #[expect(
            clippy::expect_used,
            reason = "`add` refuses more routes than a u16 counts"
        )]
        let [first, end] = [count, self.list.len()]
            .map(|at| u16::try_from(at).expect("routes are counted by a u16"));
        (first..end).map(RouteId)
    }

    /// Returns the routes of a kind.
    pub(super) fn of_kind(&self, kind: KindId) -> impl Iterator<Item = RouteId> + '_ {
        let routes = (0..).map(RouteId).zip(&self.list);
        routes.filter_map(move |(id, route)| (route.kind == kind).then_some(id))
    }

    /// Returns the routes whose jobs fill several slots of a place, or take some of its resources.
    pub(super) fn heavy(&self) -> &[RouteId] {
        &self.heavy
    }

    /// Returns the routes that can use a place.
    pub(super) fn through(&self, place: PlaceId) -> &[RouteId] {
        self.through.get(place.index()).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::places::Places;
    use crate::ids::PlaceName;
    use crate::job::Placement;

    #[test]
    fn each_combination_has_one_route_and_a_place_knows_the_routes_that_use_it() {
        let mut places = Places::new(2, ["web1", "web2"].map(PlaceName::new));
        let mut routes = Routes::new(2);
        assert_eq!(routes.len(), 4);
        let plain = Route {
            kind: KindId(1),
            places: PlaceSetId::LOCAL,
            slots: 1,
            needs: NeedsId::NOTHING,
            is_rated: true,
        };
        let found = routes.find_or_add(plain, &[PlaceId::LOCAL]).unwrap();
        assert_eq!(
            (found, routes.get(found)),
            (routes.plain(KindId(1), true), plain)
        );

        let both = Placement::Among(["web2", "web1"].map(PlaceName::new).into());
        let set = places.set_of(&both, None).unwrap();
        let wide = Route {
            places: set,
            ..plain
        };
        let added = routes.find_or_add(wide, places.members(set)).unwrap();
        assert_eq!(routes.find_or_add(wide, places.members(set)), Some(added));
        assert_eq!(routes.len(), 5);
        assert_eq!(routes.through(PlaceId(2)), [added]);
        assert_eq!(routes.of_kind(KindId(1)).count(), 3);
        // A job that fills two slots has a route of its own.
        let heavy = Route { slots: 2, ..wide };
        assert_ne!(routes.find_or_add(heavy, places.members(set)), Some(added));
    }
}
