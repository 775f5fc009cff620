//! Tests of files on the controller.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use minijinja::Error;

use super::super::function_arguments::wrong;
use super::super::names::NamedFunctions;
use super::super::values::text_of;

/// Adds the tests.
pub(super) fn add(engine: &mut NamedFunctions) {
    for name in ["abs", "is_abs"] {
        engine.question(name, &[], |path, _| Ok(text_of(path).starts_with('/')));
    }
    engine.question("exists", &[], |path, _| {
        Ok(Path::new(&text_of(path)).exists())
    });
    engine.question("link_exists", &[], |path, _| {
        Ok(Path::new(&text_of(path)).symlink_metadata().is_ok())
    });
    for name in ["file", "is_file"] {
        engine.question(name, &[], |path, _| Ok(Path::new(&text_of(path)).is_file()));
    }
    for name in ["directory", "is_dir"] {
        engine.question(name, &[], |path, _| Ok(Path::new(&text_of(path)).is_dir()));
    }
    for name in ["link", "is_link"] {
        engine.question(name, &[], |path, _| {
            Ok(Path::new(&text_of(path)).is_symlink())
        });
    }
    for name in ["same_file", "is_same_file"] {
        engine.question(name, &["other"], |path, given| {
            let other = text_of(given.needed("other")?);
            let (one, other) = (metadata(&text_of(path))?, metadata(&other)?);
            Ok(one.dev() == other.dev() && one.ino() == other.ino())
        });
    }
    for name in ["mount", "is_mount"] {
        engine.question(name, &[], |path, _| is_mount(&text_of(path)));
    }
    engine.question("vaulted_file", &[], |path, _| {
        let path = text_of(path);
        let mut head = [0; 14];
        let read = std::fs::File::open(&path).and_then(|mut file| file.read(&mut head));
        let length = read.map_err(|error| wrong(format!("`{path}` cannot be read: {error}")))?;
        Ok(head[..length] == *b"$ANSIBLE_VAULT")
    });
}

fn metadata(path: &str) -> Result<std::fs::Metadata, Error> {
    std::fs::metadata(path).map_err(|error| wrong(format!("`{path}` cannot be read: {error}")))
}

/// Whether a folder is a mount point: the root, or a folder on another device than its parent.
fn is_mount(path: &str) -> Result<bool, Error> {
    let path = Path::new(path);
    let Ok(own) = path.symlink_metadata() else {
        return Ok(false);
    };
    if own.is_symlink() {
        return Ok(false);
    }
    let around = metadata(&path.join("..").display().to_string())?;
    Ok(own.dev() != around.dev() || own.ino() == around.ino())
}
