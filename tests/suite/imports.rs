//! Imports run one way: the modules of each crate stand in layers, and a module imports only from layers below its own.
//!
//! The layers are declared here, lowest first, so that a new module has to be given its place. The check reads the
//! sources: `use` lines, and paths that begin with `crate`, `super` or `self` wherever they stand, in macros too. Tests
//! inside the crates are left out, since they may look at everything.

mod graph;
mod source;

use std::fmt::Write as _;
use std::path::Path;

use graph::{Crate, Import};

/// The layers of a crate, lowest first. Modules of one layer do not import each other.
type Layers = &'static [&'static [&'static str]];

const CRATES: [(&str, Layers); 10] = [
    (
        "ipc",
        &[
            &["error", "json"],
            &["messages"],
            &["protocol"],
            &["serialization"],
            &["transport"],
            &["host", "mock", "serve"],
        ],
    ),
    (
        "resilience",
        &[
            &["error", "random", "time"],
            &["validate"],
            &["circuit_breaker", "shutdown"],
            &["retry"],
            &["mock", "tower"],
        ],
    ),
    (
        "caching",
        &[
            &["blocking", "clock", "error", "key"],
            &["fingerprint"],
            &["entry"],
            &["invalidation"],
            &["cache"],
            &["counters", "map_cache", "task_cache", "tiered"],
            &["disk", "memo", "memory"],
            &["mock", "presets"],
        ],
    ),
    (
        "runtime",
        &[
            &[
                "blocking",
                "breaker",
                "ids",
                "item",
                "status",
                "stop_clock",
                "suspension",
                "table",
                "timestamp",
                "trace_context",
            ],
            &["error", "monitor", "os"],
            &["scheduling"],
            &["outcome"],
            &["context", "event", "place"],
            &["job", "remote", "summary"],
            &["dispatch"],
            &["worker"],
            &["process"],
            &["executor"],
            &["journal"],
            &["builtin", "mock"],
        ],
    ),
    (
        "runtime/queue",
        &[
            &["clock", "names"],
            &["error"],
            &["rates"],
            &["job"],
            &["event", "node"],
            &["inspect"],
            &["engine"],
            &["memory", "redis", "runner"],
        ],
    ),
    (
        "cli/input",
        &[
            &["escape", "readable", "style", "value"],
            &["diagnostic"],
            &["document", "error"],
            &["inventory"],
        ],
    ),
    (
        "cli/play",
        &[
            &["ini", "known_modules", "programs", "result"],
            &["vault"],
            &["configuration", "files"],
            &["data"],
            &["templates"],
            &["facts", "host_variables", "language"],
            &["call", "hints", "modules", "selection"],
            &["actions", "calls", "listing", "targets"],
            &["hint_file", "module_check", "perform"],
            &["execution", "runner"],
            &["prepare", "report"],
        ],
    ),
    (
        "cli/otel",
        &[
            &["attribute", "figures"],
            &["settings", "span"],
            &["http", "otlp", "queue"],
            &["exporter"],
            &["sink"],
        ],
    ),
    (
        "cli/report",
        &[
            &["model"],
            &["critical_path", "simulation", "timeline"],
            &["explain"],
            &["digest", "markdown"],
            &["document", "html", "trace"],
        ],
    ),
    (
        "cli",
        &[
            &["exit", "spool", "shared_buffer"],
            &["shell_quote", "readable", "invocation"],
            &["error"],
            &["standard_streams", "early_signals"],
            &["recorded", "github"],
            &["output", "output_file", "environment"],
            &["report", "semaphore", "trust", "job_count"],
            &["job_file"],
            &["live", "settings", "map"],
            &["queue"],
            &["schema", "args"],
            &["reference"],
            &["folders", "progress"],
            &["session", "preflight"],
            &["play", "top"],
            &["commands"],
            &["parse", "print_error"],
        ],
    ),
];

/// A parent module, some of its children that import each other in a circle, and the reason why they may.
type Circle = (&'static str, &'static [&'static str], &'static str);

/// The circles of imports that are allowed below the top level of a crate.
const CIRCLES: [Circle; 4] = [
    (
        "cli/play::templates",
        &["engine", "filters", "jinja_tests", "names"],
        "the engine is made of filters and tests, some of which ask it for the names of all",
    ),
    (
        "cli/play::templates",
        &["lookups", "template_file", "variables"],
        "a variable can be a template, a template can look something up, and a lookup renders files with variables",
    ),
    (
        "runtime::dispatch",
        &["assignment", "report", "reporter"],
        "a report can offer a worker, whose link takes assignments, each of which says to whom its end is reported",
    ),
    (
        "runtime::process",
        &["pool", "supervisor"],
        "a supervisor hands out pools and leases, and these are the handles through which it is asked",
    ),
];

#[test]
fn modules_import_only_from_layers_below_their_own() {
    let mut wrong = String::new();
    for (name, layers) in CRATES {
        let tree = read(name);
        let layer_of = |module: &str| layers.iter().position(|layer| layer.contains(&module));
        for module in tree.children(&[]) {
            if layer_of(&module).is_none() {
                let _ = writeln!(wrong, "{name}: module `{module}` has no layer yet");
            }
        }
        for module in layers.concat() {
            if !tree.children(&[]).iter().any(|child| child == module) {
                let _ = writeln!(
                    wrong,
                    "{name}: the layers name `{module}`, which is no module"
                );
            }
        }
        for Import { from, to, place } in tree.imports_between_children(&[]) {
            if let (Some(above), Some(below)) = (layer_of(&from), layer_of(&to))
                && below >= above
            {
                let _ = writeln!(
                    wrong,
                    "{place}: `{from}` imports `{to}`, which stands no lower"
                );
            }
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn only_listed_modules_import_each_other_in_a_circle() {
    let mut wrong = String::new();
    let mut stale: Vec<_> = CIRCLES
        .iter()
        .map(|(of, modules, _)| (*of, *modules))
        .collect();
    for (name, _) in CRATES {
        let tree = read(name);
        for parent in tree.parents() {
            for circle in tree.circles(&parent) {
                let parent = std::iter::once(name)
                    .chain(parent.iter().map(String::as_str))
                    .collect::<Vec<_>>()
                    .join("::");
                let may_stay = CIRCLES.iter().any(|(of, modules, _)| {
                    *of == parent && circle.iter().all(|step| modules.contains(&&*step.from))
                });
                if may_stay {
                    stale.retain(|(of, modules)| {
                        *of != parent || !circle.iter().all(|step| modules.contains(&&*step.from))
                    });
                    continue;
                }
                let _ = writeln!(wrong, "a circle in `{parent}`:");
                for Import { from, to, place } in circle {
                    let _ = writeln!(wrong, "    `{from}` imports `{to}` at {place}");
                }
            }
        }
    }
    for (parent, modules) in stale {
        let _ = writeln!(
            wrong,
            "no circle of {modules:?} is left in `{parent}`: let it be listed no more"
        );
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

fn read(name: &str) -> Crate {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    Crate::read(name, &root.join("src"))
}

/// The checks above can only be trusted if the reader finds what stands in a source.
#[test]
fn the_import_reader_finds_imports_in_every_form() {
    let folder = ratchet_tests::Folder::new()
        .file("src/lib.rs", "mod low; mod high; pub use low::Low;")
        .file(
            "src/low.rs",
            "pub struct Low; // crate::high is only mentioned\n\
             fn call() { println!(\"{}\", crate::high::part::Part::NAME) }\n\
             #[cfg(test)] mod tests { use crate::high::High; }",
        )
        .file(
            "src/high.rs",
            "mod part; mod other;\nuse crate::{Low as Lowest};\n",
        )
        .file("src/high/part.rs", "use super::{other::{Other}};")
        .file(
            "src/high/other.rs",
            "pub(in crate::low) struct Other;\nuse super::super::high::part::Part;",
        );
    let tree = Crate::read("sample", &folder.path().join("src"));

    let seen = |parent: &[String]| {
        let mut seen: Vec<String> = tree
            .imports_between_children(parent)
            .into_iter()
            .map(|Import { from, to, place }| format!("{from} > {to} at {place}"))
            .collect();
        seen.sort();
        seen
    };
    assert_eq!(
        seen(&[]),
        [
            "high > low at sample/src/high.rs:2",
            "low > high at sample/src/low.rs:2"
        ]
    );
    let high = ["high".to_owned()];
    assert_eq!(
        seen(&high),
        [
            "other > part at sample/src/high/other.rs:2",
            "part > other at sample/src/high/part.rs:1"
        ]
    );
    let circle = &tree.circles(&high)[0];
    assert_eq!(circle.len(), 2);
}
