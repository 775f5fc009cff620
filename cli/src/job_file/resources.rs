//! The resources that files and flags declare, and what jobs take of them.

use ratchet_runtime::{Resource, ResourceNeed, check_resource_name};

use super::spec::{Amount, ResourceSpec, TermsSpec};
use crate::diagnostic::{Diagnostic, Problems, Span};
use crate::document::{Field, Named};
use crate::error::CliError;
use crate::value::{ValueError, closest};

/// The resources of a run, by name.
pub(crate) type Resources = Vec<(String, Resource)>;

/// The amount that a job takes of a resource, as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct WrittenNeed {
    /// The name of the resource.
    pub(crate) name: String,
    /// How much of it.
    pub(crate) amount: Amount,
}

impl WrittenNeed {
    /// Returns the need in the form in which the executor takes it.
    pub(super) fn to_need(&self) -> ResourceNeed {
        ResourceNeed::new(&*self.name, self.amount.units())
    }
}

/// Parses a typed resource, as in `gpu=0,1` or `memory=16GiB`.
pub(crate) fn typed_resource(text: &str) -> Result<(String, Resource), String> {
    let (name, written) = split(text, "gpu=0,1")?;
    check_resource_name(name).map_err(|error| error.to_string())?;
    let ResourceSpec(resource) = ResourceSpec::parse(written).map_err(|error| with_hint(&error))?;
    if let Some(error) = memory_without_unit(name, &resource) {
        return Err(with_hint(&error));
    }
    Ok((name.to_owned(), resource))
}

/// What a job takes of each resource, from one flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypedNeeds(pub(crate) Vec<WrittenNeed>);

/// Parses typed needs, as in `gpu=1,memory=4GiB`.
pub(crate) fn typed_needs(text: &str) -> Result<TypedNeeds, String> {
    let mut needs: Vec<WrittenNeed> = Vec::new();
    for part in text.split(',') {
        let (name, written) = split(part.trim(), "gpu=1,memory=4GiB")?;
        check_resource_name(name).map_err(|error| error.to_string())?;
        if needs.iter().any(|need| need.name == name) {
            return Err(format!("`{name}` is given twice"));
        }
        needs.push(WrittenNeed {
            name: name.to_owned(),
            amount: Amount::parse(written).map_err(|error| with_hint(&error))?,
        });
    }
    needs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(TypedNeeds(needs))
}

fn split<'a>(text: &'a str, example: &str) -> Result<(&'a str, &'a str), String> {
    let parts = text.split_once('=');
    parts.ok_or_else(|| format!("write a name and an amount, as in {example}"))
}

fn with_hint(error: &ValueError) -> String {
    match &error.hint {
        Some(hint) => format!("{}; {hint}", error.reason),
        None => error.reason.clone(),
    }
}

/// Returns the error of memory that is declared as a plain number, which could mean bytes as well as gigabytes.
fn memory_without_unit(name: &str, resource: &Resource) -> Option<ValueError> {
    (name == ResourceNeed::MEMORY && !resource.is_in_bytes()).then(|| {
        ValueError::new("`memory` has to be a size with a unit").hint("write as in memory: 16GiB")
    })
}

/// Refuses resources whose variables are those of settings. `places` are the names that the file has written.
pub(super) fn refuse_names_of_settings(
    written: &Field<Vec<Named<ResourceSpec>>>,
    variable_of_setting: impl Fn(&str) -> Option<String>,
    problems: &mut Problems,
) {
    for Named { name, place, .. } in written.get().into_iter().flatten() {
        if let Some(variable) = variable_of_setting(name) {
            problems
                .push(Diagnostic::error(*place, name_of_setting(name, &variable)).help(OTHER_NAME));
        }
    }
}

/// Returns the message about a resource whose variable is that of a setting.
pub(crate) fn name_of_setting(name: &str, variable: &str) -> String {
    format!(
        "`{name}` is no name of a resource: a ratchet that a job starts would take {variable} for a setting"
    )
}

/// What to do about a name that a resource must not have.
const OTHER_NAME: &str = "give the resource another name";

/// Returns the typed resources, and those that a file declares. A typed one replaces one of the same name in the file.
pub(super) fn declared(
    written: Field<Vec<Named<ResourceSpec>>>,
    typed: &Resources,
    problems: &mut Problems,
) -> Resources {
    let mut resources = typed.clone();
    for Named {
        name,
        place,
        span,
        value,
    } in written.into_value().unwrap_or_default()
    {
        if let Err(error) = check_resource_name(&name) {
            problems.push(Diagnostic::error(place, error.to_string()));
            continue;
        }
        // A refused resource still counts as declared, so that the jobs that take some of it are not refused as well.
        let resource = value.map_or_else(any_amount, |spec| spec.0);
        if let Some(error) = memory_without_unit(&name, &resource)
            && resource != any_amount()
        {
            let help = error.hint.unwrap_or_default();
            problems.push(Diagnostic::error(span, error.reason).help(help));
        }
        if !resources.iter().any(|(known, _)| *known == name) {
            resources.push((name, resource));
        }
    }
    resources
}

/// The stand-in for a resource that was refused. It is enough for every need.
#[expect(clippy::expect_used, reason = "the greatest number is not 0")]
fn any_amount() -> Resource {
    Resource::count(u64::MAX).expect("the amount is not 0")
}

/// Reads what a section takes of resources. The result is sorted by name, so that equal needs are equal values.
pub(super) fn needs(written: Vec<Named<Amount>>) -> Vec<WrittenNeed> {
    let needs = written.into_iter();
    let mut needs: Vec<WrittenNeed> = needs
        .filter_map(|need| {
            Some(WrittenNeed {
                name: need.name,
                amount: need.value?,
            })
        })
        .collect();
    needs.sort_by(|one, other| one.name.cmp(&other.name));
    needs
}

/// Returns the names of the resources that a section takes, with their places.
pub(super) fn places(spec: &TermsSpec) -> Vec<(String, Span)> {
    let needs = spec.resources.get().into_iter().flatten();
    needs.map(|need| (need.name.clone(), need.place)).collect()
}

/// Reports the needs of a section that the resources cannot meet.
pub(super) fn check_section(known: &Resources, spec: &TermsSpec, problems: &mut Problems) {
    for written in spec.resources.get().into_iter().flatten() {
        let Some(amount) = written.value else {
            continue;
        };
        let need = WrittenNeed {
            name: written.name.clone(),
            amount,
        };
        check(known, &need, written.place, problems);
    }
}

/// Reports a need, at this place, that the resources cannot meet.
pub(super) fn check(known: &Resources, need: &WrittenNeed, place: Span, problems: &mut Problems) {
    if let Some(wrong) = wrong_need(known, need) {
        let names = known.iter().map(|(name, _)| name.as_str());
        let error = Diagnostic::error(place, wrong.reason);
        problems.push(match wrong.hint {
            Some(help) => error.help(help),
            None => error
                .help("declare it, as in `resources: {gpu: [0, 1]}`")
                .did_you_mean(&need.name, names, "known resources"),
        });
    }
}

/// Returns the error of a need. It has a hint, unless the name of the resource is unknown.
fn wrong_need(known: &Resources, need: &WrittenNeed) -> Option<ValueError> {
    let name = &need.name;
    // The machine that has most of it decides: where a job may run is known only when the job is complete.
    let of_name = known.iter().filter(|(known, _)| known == name);
    let Some((_, resource)) = of_name.max_by_key(|(_, resource)| resource.total()) else {
        return Some(ValueError::new(format!("unknown resource `{name}`")));
    };
    let (units, total) = (need.amount.units(), resource.total());
    if *resource == any_amount() {
        return None;
    }
    match (need.amount, resource.is_in_bytes()) {
        (Amount::Count(_), true) => {
            let error = ValueError::new(format!("`{name}` is a size, and {units} has no unit"));
            return Some(error.hint(format!("write `{units}B` for bytes, or as in 4GiB")));
        }
        (Amount::Bytes(_), false) => {
            let error = ValueError::new(format!(
                "`{name}` is counted, so it cannot be taken as a size"
            ));
            return Some(error.hint(format!("write a number; there are {total} in all")));
        }
        (Amount::Count(_), false) | (Amount::Bytes(_), true) => {}
    }
    (units > total).then(|| {
        let (asked, total) = (resource.show(units), resource.show(total));
        ValueError::new(format!(
            "a job that takes {asked} of resource `{name}` can never run with {total} in all"
        ))
        .hint("take less in the job, or declare more of the resource")
    })
}

/// Refuses typed needs that no resource of the run can meet.
pub(crate) fn check_typed(
    known: &Resources,
    needs: Option<&[WrittenNeed]>,
) -> Result<(), CliError> {
    for need in needs.into_iter().flatten() {
        let Some(wrong) = wrong_need(known, need) else {
            continue;
        };
        let error = CliError::usage(format!("--use: {}", wrong.reason));
        let names = known.iter().map(|(name, _)| name.as_str());
        let help = wrong
            .hint
            .unwrap_or_else(|| match closest(&need.name, names) {
                Some(name) => format!("did you mean `{name}`?"),
                None if need.name == ResourceNeed::MEMORY => {
                    "declare it, as in --resource memory=16GiB".to_owned()
                }
                None => format!("declare it, as in --resource {}=0,1", need.name),
            });
        return Err(error.with_help(help));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_resource_is_identities_a_number_or_a_size() {
        let total = |text: &str| typed_resource(text).map(|(_, resource)| resource.total());
        assert_eq!(total("gpu=0,1"), Ok(2));
        assert_eq!(total("gpu=[7]"), Ok(1));
        assert_eq!(total("port=8000-8010"), Ok(11));
        assert_eq!(total("license=2"), Ok(2));
        assert_eq!(total("memory=2GiB"), Ok(2 << 30));
        for wrong in [
            "gpu",
            "gpu=",
            "gpu=a",
            "gpu=0,0",
            "gpu=[]",
            "port=9-8",
            "port=1-99999999999",
            "n=0",
            "memory=4",
            "memory=4XB",
            "2x=1",
            "slot=1",
        ] {
            assert!(total(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn typed_needs_are_in_order_and_each_is_there_once() {
        let TypedNeeds(needs) = typed_needs("memory=4GiB,gpu=1").unwrap();
        let needs: Vec<_> = needs
            .iter()
            .map(|need| (&*need.name, need.amount))
            .collect();
        assert_eq!(
            needs,
            [
                ("gpu", Amount::Count(1)),
                ("memory", Amount::Bytes(4 << 30))
            ]
        );
        for wrong in ["", "gpu", "gpu=0", "gpu=1,gpu=1", "gpu=x", "gpu=1,,"] {
            assert!(typed_needs(wrong).is_err(), "{wrong}");
        }
    }
}
