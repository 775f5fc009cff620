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

const CRATES: [(&str, Layers); 3] = [
    (
        "runtime",
        &[
            &[
                "breaker",
                "blocking",
                "suspension",
                "stop_clock",
                "table",
                "ids",
                "item",
                "timestamp",
            ],
            &["error", "monitor", "os"],
            &["scheduling"],
            &["outcome"],
            &["context", "event"],
            &["job", "summary"],
            &["dispatch"],
            &["worker"],
            &["process"],
            &["executor"],
            &["journal"],
            &["builtin", "mock"],
        ],
    ),
    (
        "resilience",
        &[
            &["error", "random", "time"],
            &["validate"],
            &["circuit_breaker", "shutdown"],
            &["retry"],
        ],
    ),
    (
        "cli",
        &[
            &["escape", "value", "exit", "style", "spool", "shared_buffer"],
            &["shell_quote", "readable", "invocation", "diagnostic"],
            &["error"],
            &["output", "environment"],
            &["report", "trust", "document"],
            &["job_file"],
            &["settings", "map"],
            &["schema", "args"],
            &["folders", "progress"],
            &["session", "preflight"],
            &["commands"],
            &["parse", "print_error"],
        ],
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

fn read(name: &str) -> Crate {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    Crate::read(name, &root.join("src"))
}

/// The checks above can only be trusted if the reader finds what stands in a source.
#[test]
fn the_reader_finds_imports_wherever_they_stand() {
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
