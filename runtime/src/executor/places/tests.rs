//! Tests of places as values.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::routes::Routes;
use super::*;

fn places(slots: [u32; 3]) -> Places {
    let mut places = Places::new(slots[0], ["web1", "web2"].map(PlaceName::new));
    places.set_slots(PlaceId(1), slots[1]);
    places.set_slots(PlaceId(2), slots[2]);
    places
}

fn among(places: &mut Places, names: &[&str]) -> PlaceSetId {
    let names = names.iter().map(|name| PlaceName::new(name)).collect();
    places.set_of(&Placement::Among(names), None).unwrap()
}

/// Makes a route of jobs that fill this many slots of any of these places.
fn route(routes: &mut Routes, places: &Places, set: PlaceSetId, slots: u32) -> (RouteId, Route) {
    routed(routes, places, set, slots, NeedsId::NOTHING)
}

/// Returns a route of jobs that fill this many slots of any of these places, and have these needs.
fn routed(
    routes: &mut Routes,
    places: &Places,
    set: PlaceSetId,
    slots: u32,
    needs: NeedsId,
) -> (RouteId, Route) {
    let route = Route {
        kind: KindId(0),
        places: set,
        slots,
        needs,
        is_rated: false,
    };
    let id = routes.find_or_add(route, places.members(set)).unwrap();
    (id, route)
}

fn ticket(index: u32) -> Ticket {
    Ticket {
        index,
        generation: 0,
    }
}

#[test]
fn a_set_is_known_by_its_places_in_any_order() {
    let mut places = places([1, 1, 1]);
    let set = among(&mut places, &["web2", "local"]);
    assert_eq!(among(&mut places, &["local", "web2", "local"]), set);
    assert_eq!(places.members(set), [PlaceId::LOCAL, PlaceId(2)]);
    assert_eq!(among(&mut places, &["local"]), PlaceSetId::LOCAL);
    let host = HostName::from("web2");
    let on_host = places.set_of(&Placement::Host, Some(&host)).unwrap();
    assert_eq!(places.members(on_host), [PlaceId(2)]);
}

#[test]
fn a_place_that_is_not_there_is_refused_by_name() {
    let mut places = places([1, 1, 1]);
    let missing = Placement::Among(["web3"].map(PlaceName::new).into());
    let failure = places.set_of(&missing, None).unwrap_err();
    assert_eq!(
        failure.message,
        "there is no host `web3` to run on, did you mean `web1`?"
    );
    let failure = places.set_of(&Placement::Host, None).unwrap_err();
    assert!(failure.message.contains("give it a `host`"), "{failure}");
    let nobody = Placement::Among([].into());
    assert!(places.set_of(&nobody, None).is_err());
}

#[test]
fn of_places_with_the_same_share_of_free_slots_the_nearest_is_chosen() {
    let mut places = places([0, 2, 2]);
    let set = among(&mut places, &["web1", "web2"]);
    let (id, light) = route(&mut Routes::new(1), &places, set, 1);
    let choose = |places: &Places| places.choose(id, light, |_| true).unwrap().0;
    let millis = |millis| Some(Duration::from_millis(millis));
    assert_eq!(choose(&places), 1, "nothing is known of either");
    places.set_round_trip(PlaceId(2), millis(80));
    assert_eq!(choose(&places), 2, "the other one may be anywhere");
    places.set_round_trip(PlaceId(1), millis(5));
    assert_eq!(choose(&places), 1);
    // The share of free slots counts before the round trip.
    places.take(ticket(0), PlaceId(1), light);
    assert_eq!(choose(&places), 2);
    places.take(ticket(1), PlaceId(2), light);
    assert_eq!(choose(&places), 1);
    // The local place has no round trip.
    places.set_slots(PlaceId::LOCAL, 2);
    places.take(ticket(2), PlaceId::LOCAL, light);
    let set = among(&mut places, &["web1", "local"]);
    let (id, light) = route(&mut Routes::new(1), &places, set, 1);
    assert_eq!(places.choose(id, light, |_| true), Some(PlaceId::LOCAL));
}

#[test]
fn a_place_that_is_held_back_gets_no_start_and_the_cause_of_the_wait_is_known() {
    let mut places = places([1, 0, 2]);
    let both = among(&mut places, &["web1", "web2"]);
    let (id, light) = route(&mut Routes::new(1), &places, both, 1);
    assert_eq!(places.absence(both), None);
    let reason = || Some("the load is 9".to_owned());
    places.hold(PlaceId(2), reason());
    assert_eq!(places.starts(PlaceId(2), id, light), 0);
    assert_eq!(places.choose(id, light, |_| true), None);
    assert_eq!(places.absence(both), Some(Workers::Held));
    assert_eq!(places.hold_reason(both), Some("the load is 9"));
    places.set_slots(PlaceId(1), 1);
    assert_eq!(places.absence(both), None, "the other one is there now");
    assert_eq!(places.choose(id, light, |_| true), Some(PlaceId(1)));
    places.hold(PlaceId(2), None);
    places.set_slots(PlaceId(1), 0);
    assert_eq!(places.choose(id, light, |_| true), Some(PlaceId(2)));
    places.set_slots(PlaceId(2), 0);
    assert_eq!(places.absence(both), Some(Workers::Away));
    assert_eq!(places.absence(PlaceSetId::LOCAL), None);
}

#[test]
fn a_start_goes_to_the_place_with_the_greatest_share_of_free_slots() {
    let mut places = places([2, 4, 1]);
    let set = among(&mut places, &["local", "web1", "web2"]);
    let (id, light) = route(&mut Routes::new(1), &places, set, 1);
    let mut chosen = Vec::new();
    for index in 0..7 {
        let place = places.choose(id, light, |_| true).unwrap();
        places.take(ticket(index), place, light);
        chosen.push(place.0);
    }
    assert_eq!(chosen, [0, 1, 2, 1, 0, 1, 1]);
    assert_eq!(places.choose(id, light, |_| true), None);
    places.give_back(ticket(2));
    assert_eq!(places.choose(id, light, |place| place.0 < 2), None);
    assert_eq!(places.choose(id, light, |_| true), Some(PlaceId(2)));
}

#[test]
fn the_slots_of_a_place_are_kept_for_jobs_that_fill_several() {
    let mut places = places([0, 2, 2]);
    let set = among(&mut places, &["web1", "web2"]);
    let mut routes = Routes::new(1);
    let (light_id, light) = route(&mut routes, &places, set, 1);
    let (heavy_id, heavy) = route(&mut routes, &places, set, 2);
    for index in 0..4 {
        let place = places.choose(light_id, light, |_| true).unwrap();
        places.take(ticket(index), place, light);
    }
    assert_eq!(places.choose(heavy_id, heavy, |_| true), None);
    let place = places.give_back(ticket(0)).unwrap();
    assert_eq!(places.reserve(heavy_id, heavy), Some(place));
    assert_eq!(
        places.choose(light_id, light, |_| true),
        None,
        "it is reserved"
    );
    assert_eq!(
        places.choose(heavy_id, heavy, |_| true),
        None,
        "one slot is too few"
    );
    places.give_back(ticket(2));
    assert_eq!(places.choose(heavy_id, heavy, |_| true), Some(place));
    let reserved = places.reserved().unwrap();
    assert_eq!((reserved.place, reserved.route), (place, heavy_id));
    places.release_reserved();
    assert_eq!(places.starts(place, light_id, light), 2);
}

#[test]
fn a_set_is_gone_when_all_of_its_places_are() {
    let mut places = places([1, 1, 1]);
    let set = among(&mut places, &["web1", "web2"]);
    let down = |name: &str| Failure::new(Class::Spawn, format!("{name} is down"));
    places.give_up(PlaceId(1), down("web1"));
    assert!(places.given_up(set).is_none());
    places.give_up(PlaceId(2), down("web2"));
    assert_eq!(places.given_up(set).unwrap().message, "web2 is down");
    assert_eq!(places.total(), 1);
}

proptest! {
    #[test]
    fn no_place_is_ever_filled_beyond_its_slots_and_no_number_is_held_twice(
        slots in prop::array::uniform3(0_u32..4),
        steps in prop::collection::vec((any::<bool>(), 1_u32..3, any::<prop::sample::Index>()), 0..200),
    ) {
        let mut places = places(slots);
        let set = among(&mut places, &["local", "web1", "web2"]);
        let mut routes = Routes::new(1);
        let mut held: BTreeMap<u32, (PlaceId, u32)> = BTreeMap::new();
        for (next, (starts, weight, which)) in (0..).zip(steps) {
            if starts {
                let (id, route) = route(&mut routes, &places, set, weight);
                if let Some(place) = places.choose(id, route, |_| true) {
                    places.take(ticket(next), place, route);
                    held.insert(next, (place, weight));
                }
            } else if !held.is_empty() {
                let index = *which.get(&held.keys().copied().collect::<Vec<_>>());
                let (place, _) = held.remove(&index).unwrap();
                prop_assert_eq!(places.give_back(ticket(index)), Some(place));
            }
            for place in places.ids() {
                let at = held.iter().filter(|(_, (other, _))| *other == place);
                let used: u32 = at.clone().map(|(_, (_, weight))| weight).sum();
                prop_assert!(used <= slots[place.index()]);
                let mut firsts: Vec<_> =
                    at.map(|(index, _)| places.slot(ticket(*index)).unwrap()).collect();
                prop_assert!(firsts.iter().all(|number| number.get() <= slots[place.index()]));
                firsts.sort_unstable();
                firsts.dedup();
                prop_assert_eq!(firsts.len(), held.values().filter(|(other, _)| *other == place).count());
            }
        }
    }
}

/// Terms of a job that takes so much of resources.
fn taking(needs: &[(&str, u64)]) -> Terms {
    let needs = needs.iter();
    Terms {
        resources: needs
            .map(|(name, units)| ResourceNeed::new(*name, *units))
            .collect(),
        ..Terms::default()
    }
}

fn gpus(names: &[&str]) -> (SmolStr, Resource) {
    let gpus = Resource::identities(names.iter().copied()).unwrap();
    ("gpu".into(), gpus)
}

/// Returns the local place with three devices, web1 with two and 8 bytes of memory, and web2 with nothing.
fn places_with_resources() -> Places {
    let mut places = places([4, 4, 4]);
    let memory = ("memory".into(), Resource::bytes(8).unwrap());
    places.set_resources(vec![
        vec![gpus(&["a", "b", "c"])],
        vec![gpus(&["0", "1"]), memory],
        Vec::new(),
    ]);
    places
}

#[test]
fn a_job_that_no_place_can_give_its_resources_is_refused() {
    let mut places = places_with_resources();
    let all = among(&mut places, &["local", "web1", "web2"]);
    let refused = |places: &mut Places, needs: &[(&str, u64)], set| {
        let needs = places.needs_of(&taking(needs), 0, set).unwrap();
        places
            .lack_resources(set, needs)
            .map(|failure| failure.message)
    };
    assert_eq!(refused(&mut places, &[("gpu", 3)], all), None);
    assert_eq!(
        refused(&mut places, &[("gpu", 2), ("memory", 8)], all),
        None
    );
    let said = refused(&mut places, &[("gpu", 4)], all).unwrap();
    assert!(
        said.contains("takes 4 of resource `gpu`") && said.contains("more than 3"),
        "{said}"
    );
    let said = refused(&mut places, &[("gpu", 3), ("memory", 1)], all).unwrap();
    assert!(said.contains("enough of all"), "{said}");
    let web2 = among(&mut places, &["web2"]);
    let said = refused(&mut places, &[("gpu", 1)], web2).unwrap();
    assert!(said.contains("no place where it may run has any"), "{said}");
    // What no place declares belongs to the run.
    assert_eq!(refused(&mut places, &[("license", 9)], web2), None);
}

#[test]
fn memory_grows_after_each_kill_up_to_what_the_largest_place_has() {
    let mut places = places_with_resources();
    let web1 = among(&mut places, &["web1"]);
    let terms = Terms {
        memory_growth: 2.0,
        ..taking(&[("memory", 3)])
    };
    let mut starts = |kills| {
        let needs = places.needs_of(&terms, kills, web1).unwrap();
        let (id, route) = routed(&mut Routes::new(1), &places, web1, 1, needs);
        places.starts(PlaceId(1), id, route)
    };
    assert_eq!([starts(0), starts(1), starts(2)], [2, 1, 1]);
}

#[test]
fn a_place_is_kept_for_jobs_that_take_more_of_its_resources_than_are_free() {
    let mut places = places_with_resources();
    let web1 = among(&mut places, &["web1"]);
    let mut routes = Routes::new(1);
    let mut routed_with = |places: &mut Places, units| {
        let needs = places
            .needs_of(&taking(&[("gpu", units)]), 0, web1)
            .unwrap();
        routed(&mut routes, places, web1, 1, needs)
    };
    let (one_id, one) = routed_with(&mut places, 1);
    let (both_id, both) = routed_with(&mut places, 2);
    places.take(ticket(0), PlaceId(1), one);
    assert_eq!(places.choose(both_id, both, |_| true), None);
    assert_eq!(places.reserve(both_id, both), Some(PlaceId(1)));
    assert_eq!(places.choose(one_id, one, |_| true), None, "it is reserved");
    places.give_back(ticket(0));
    assert_eq!(places.choose(both_id, both, |_| true), Some(PlaceId(1)));
}

#[test]
fn units_do_not_pass_to_the_attempt_that_begins_in_the_place_of_another() {
    let mut places = places_with_resources();
    let web1 = among(&mut places, &["web1"]);
    let needs = places.needs_of(&taking(&[("gpu", 2)]), 0, web1).unwrap();
    let (id, route) = routed(&mut Routes::new(1), &places, web1, 1, needs);
    places.take(ticket(0), PlaceId(1), route);
    assert_eq!(places.shares(ticket(0))[0].value(), "0,1");
    assert_eq!(places.starts(PlaceId(1), id, route), 0);
    places.pass_on(ticket(0), ticket(1));
    assert!(places.shares(ticket(1)).is_empty());
    assert_eq!(places.starts(PlaceId(1), id, route), 1);
    assert_eq!(places.give_back(ticket(1)), Some(PlaceId(1)));
}

proptest! {
    #[test]
    fn no_identity_of_a_place_is_ever_held_twice_and_none_leaves_its_place(
        steps in prop::collection::vec((any::<bool>(), 0_u64..4, 1_u32..3, any::<prop::sample::Index>()), 0..200),
    ) {
        let mut places = places_with_resources();
        let set = among(&mut places, &["local", "web1", "web2"]);
        let mut routes = Routes::new(1);
        let own = [vec!["a", "b", "c"], vec!["0", "1"], vec![]];
        let mut held: BTreeMap<u32, (PlaceId, u32, Vec<String>)> = BTreeMap::new();
        for (next, (starts, units, slots, which)) in (0..).zip(steps) {
            if starts {
                let terms = if units == 0 { taking(&[]) } else { taking(&[("gpu", units)]) };
                let needs = places.needs_of(&terms, 0, set).unwrap();
                let (id, route) = routed(&mut routes, &places, set, slots, needs);
                let free = |place: PlaceId| {
                    let there = held.values().filter(|(other, ..)| *other == place);
                    let (slots, units) = there.fold((0, 0), |(slots, units), (_, more, names)| {
                        (slots + more, units + names.len())
                    });
                    (4 - slots, own[place.index()].len() - units)
                };
                let fits = |place: PlaceId| {
                    let (slots_left, units_left) = free(place);
                    slots_left >= slots && units_left as u64 >= units
                };
                let chosen = places.choose(id, route, |_| true);
                prop_assert_eq!(chosen.is_some(), places.ids().any(fits));
                if let Some(place) = chosen {
                    prop_assert!(fits(place));
                    places.take(ticket(next), place, route);
                    let shares = places.shares(ticket(next));
                    let names = shares.iter().flat_map(ResourceShare::identities);
                    let names: Vec<String> = names.map(str::to_owned).collect();
                    prop_assert_eq!(names.len() as u64, units);
                    prop_assert!(names.iter().all(|name| own[place.index()].contains(&name.as_str())));
                    let taken = held.values().filter(|(other, ..)| *other == place);
                    let mut taken = taken.flat_map(|(.., names)| names);
                    prop_assert!(!taken.any(|name| names.contains(name)));
                    held.insert(next, (place, slots, names));
                }
            } else if !held.is_empty() {
                let index = *which.get(&held.keys().copied().collect::<Vec<_>>());
                let (place, ..) = held.remove(&index).unwrap();
                prop_assert_eq!(places.give_back(ticket(index)), Some(place));
            }
        }
    }
}
