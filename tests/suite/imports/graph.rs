//! The modules of a crate, and which of them import which.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use super::source;

/// The path of a module in its crate. The crate itself has the empty path.
type Place = Vec<String>;

/// The modules of a crate with their imports.
pub(super) struct Crate {
    /// The names that each module imports or defines, with the places that they stand for.
    names: BTreeMap<Place, BTreeMap<String, Place>>,
    imports: Vec<(Place, Place, String)>,
}

/// An import of one module by another with the same parent.
#[derive(Debug, Clone)]
pub(super) struct Import {
    pub(super) from: String,
    pub(super) to: String,
    /// The file and the line of the import.
    pub(super) place: String,
}

impl Crate {
    /// Reads all sources in a folder except for tests.
    pub(super) fn read(name: &str, folder: &Path) -> Self {
        let mut sources = BTreeMap::new();
        collect(folder, &[], &mut sources);
        let mut found = Vec::new();
        let mut names: BTreeMap<Place, BTreeMap<String, Place>> = BTreeMap::new();
        for place in sources.keys() {
            names.entry(place.clone()).or_default();
        }
        for (module, (file, text)) in &sources {
            let file = file
                .strip_prefix(folder)
                .expect("the file is in the folder");
            for (inner, path) in source::paths_in(text) {
                let inside: Place = module.iter().cloned().chain(inner).collect();
                let Some(target) = absolute(&path.segments, &inside, &sources) else {
                    continue;
                };
                if let Some(called) = path.name {
                    names
                        .entry(inside.clone())
                        .or_default()
                        .insert(called, target.clone());
                }
                let place = format!("{name}/src/{}:{}", file.display(), path.line);
                found.push((inside, target, place));
            }
        }
        let mut this = Self {
            names,
            imports: Vec::new(),
        };
        this.imports = found
            .into_iter()
            .map(|(from, to, place)| (from, this.owner(&to), place))
            .collect();
        this
    }

    /// Returns the module that defines what a path names. Names that other modules reexport are followed.
    fn owner(&self, path: &[String]) -> Place {
        let mut path = path.to_vec();
        let mut steps = 0;
        loop {
            let depth = (0..=path.len())
                .rev()
                .find(|depth| self.names.contains_key(&path[..*depth]))
                .expect("the crate itself is always there");
            let (module, rest) = path.split_at(depth);
            let handed_on = rest.first().and_then(|name| self.names[module].get(name));
            match handed_on {
                Some(target) if *target != path => {
                    path = target.iter().chain(&rest[1..]).cloned().collect();
                }
                _ => return module.to_vec(),
            }
            steps += 1;
            assert!(steps < 16, "`{}` is handed on in a circle", path.join("::"));
        }
    }

    /// Returns the modules that have child modules.
    pub(super) fn parents(&self) -> BTreeSet<Place> {
        self.names
            .keys()
            .filter_map(|module| module.split_last().map(|(_, parent)| parent.to_vec()))
            .collect()
    }

    /// Returns the child modules of a module.
    pub(super) fn children(&self, parent: &[String]) -> BTreeSet<String> {
        self.names
            .keys()
            .filter_map(|module| Some((module.last()?, module.get(..parent.len())?, module.len())))
            .filter(|(_, start, length)| *start == parent && *length == parent.len() + 1)
            .map(|(name, ..)| name.clone())
            .collect()
    }

    /// Returns the imports between the child modules of a module, each pair once.
    pub(super) fn imports_between_children(&self, parent: &[String]) -> Vec<Import> {
        let mut pairs = BTreeMap::new();
        for (from, to, place) in &self.imports {
            if !from.starts_with(parent) || !to.starts_with(parent) {
                continue;
            }
            // A module and what stands inside it are one.
            if let (Some(from), Some(to)) = (from.get(parent.len()), to.get(parent.len()))
                && from != to
            {
                pairs
                    .entry((from.clone(), to.clone()))
                    .or_insert_with(|| place.clone());
            }
        }
        pairs
            .into_iter()
            .map(|((from, to), place)| Import { from, to, place })
            .collect()
    }

    /// Returns the shortest circle through each module that is on one, each circle once.
    pub(super) fn circles(&self, parent: &[String]) -> Vec<Vec<Import>> {
        let imports = self.imports_between_children(parent);
        let mut circles = Vec::new();
        let mut seen = BTreeSet::new();
        for start in self.children(parent) {
            if let Some(circle) = shortest_circle(&imports, &start) {
                let modules: BTreeSet<String> =
                    circle.iter().map(|step| step.from.clone()).collect();
                if seen.insert(modules) {
                    circles.push(circle);
                }
            }
        }
        circles
    }
}

fn shortest_circle(imports: &[Import], start: &str) -> Option<Vec<Import>> {
    let mut came_by: BTreeMap<&str, &Import> = BTreeMap::new();
    let mut ahead = VecDeque::from([start]);
    while let Some(module) = ahead.pop_front() {
        for import in imports.iter().filter(|import| import.from == module) {
            if came_by.contains_key(&*import.to) {
                continue;
            }
            came_by.insert(&import.to, import);
            if import.to != start {
                ahead.push_back(&import.to);
                continue;
            }
            let mut circle = vec![import.clone()];
            while circle[0].from != start {
                let step = came_by[&*circle[0].from];
                circle.insert(0, step.clone());
            }
            return Some(circle);
        }
    }
    None
}

/// Returns the place that a path stands for, if it is in this crate.
fn absolute<T>(path: &[String], inside: &[String], modules: &BTreeMap<Place, T>) -> Option<Place> {
    let mut base = inside.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {
            while let Some((first, after)) = rest.split_first()
                && first == "super"
            {
                base.pop();
                rest = after;
            }
        }
        // A module of one's own, or another crate.
        first => {
            let child: Place = base.iter().cloned().chain([first.to_owned()]).collect();
            modules.contains_key(&child).then_some(())?;
        }
    }
    base.extend(rest.iter().cloned());
    Some(base)
}

fn collect(
    folder: &Path,
    inside: &[String],
    sources: &mut BTreeMap<Place, (std::path::PathBuf, String)>,
) {
    let entries = fs::read_dir(folder).expect("the folder of a crate's sources can be read");
    for entry in entries {
        let path = entry.expect("an entry of the folder can be read").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        let stem = stem.expect("sources have names in ASCII").to_owned();
        if stem == "tests" {
            continue;
        }
        let is_root = inside.is_empty() && matches!(&*stem, "lib" | "main");
        let mut place = inside.to_vec();
        if !is_root {
            place.push(stem);
        }
        if path.is_dir() {
            collect(&path, &place, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source is text");
            sources.insert(place, (path, text));
        }
    }
}
