//! Bundles: the code that is sent to hosts, in files that are identified by their hashes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// This crate's own modules, for users without Ansible.
const OWN_MODULES: &str = include_str!("../../python/ratchet_modules.py");

/// The content of a bundle.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// The SHA-256 of the content, under which hosts store it.
    pub(crate) hash: String,
    pub(crate) content: Vec<u8>,
}

/// The source of a bundle's content. It is read when a host needs it for the first time.
#[derive(Debug)]
pub(crate) struct BundleSource {
    origin: Origin,
    built: OnceLock<Result<Arc<Bundle>, String>>,
}

/// The files from which a bundle is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// The modules and the module utilities of an ansible-core, by the folder of its package.
    Core(PathBuf),
    /// The modules and the module utilities of a collection.
    Collection {
        root: PathBuf,
        namespace: String,
        name: String,
    },
    /// A module of a `library` folder, with the module utilities next to such folders.
    Library {
        file: PathBuf,
        /// The name of the module.
        name: String,
        /// The folders of module utilities. The first that has a file takes precedence.
        utilities: Vec<PathBuf>,
        /// The package of ansible-core, if the module needs everything in one bundle.
        core: Option<PathBuf>,
    },
    /// A program, as it is.
    Program(PathBuf),
    /// This crate's own modules.
    Own,
}

impl BundleSource {
    pub(super) fn new(origin: Origin) -> Arc<Self> {
        Arc::new(Self {
            origin,
            built: OnceLock::new(),
        })
    }

    /// Reads the files of the bundle, unless that is already done. It blocks, for up to about 100 ms for the modules of
    /// Ansible. The error names the file that cannot be read.
    pub(crate) fn build(&self) -> Result<Arc<Bundle>, String> {
        let built = self.built.get_or_init(|| self.origin.read().map(Arc::new));
        built.clone()
    }

    /// Returns the bundle, or the error of reading it; `None` if it was not read yet.
    pub(crate) fn built(&self) -> Option<Result<Arc<Bundle>, String>> {
        self.built.get().cloned()
    }
}

impl Origin {
    fn read(&self) -> Result<Bundle, String> {
        let mut files = BundleFiles::default();
        match self {
            Self::Core(root) => files.add_core(root)?,
            Self::Collection {
                root,
                namespace,
                name,
            } => {
                let base = format!("ansible_collections/{namespace}/{name}/plugins");
                for part in ["modules", "module_utils"] {
                    files
                        .add_folder(&root.join("plugins").join(part), &format!("{base}/{part}"))?;
                }
            }
            Self::Library {
                file,
                name,
                utilities,
                core,
            } => {
                if let Some(core) = core {
                    files.add_core(core)?;
                }
                for folder in utilities.iter().rev() {
                    files.add_folder(folder, "ansible/module_utils")?;
                }
                files.add(file.clone(), format!("ansible/modules/{name}.py"));
            }
            Self::Program(path) => {
                let content = fs::read(path).map_err(|error| unreadable(path, &error))?;
                return Ok(Bundle::new(content));
            }
            Self::Own => {
                files
                    .0
                    .insert("ratchet_modules.py".to_owned(), Content::Text(OWN_MODULES));
            }
        }
        files.zip().map(Bundle::new)
    }
}

impl Bundle {
    pub(crate) fn new(content: Vec<u8>) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digest = Sha256::digest(&content);
        let mut hash = String::with_capacity(64);
        for byte in digest {
            hash.push(DIGITS[usize::from(byte >> 4)].into());
            hash.push(DIGITS[usize::from(byte & 15)].into());
        }
        Self { hash, content }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> String {
    format!("`{}` cannot be read: {error}", path.display())
}

/// The files of a zip, by their names in it.
#[derive(Default)]
struct BundleFiles(BTreeMap<String, Content>);

/// The content of a file of a bundle.
enum Content {
    File(PathBuf),
    Text(&'static str),
}

impl BundleFiles {
    fn add(&mut self, file: PathBuf, name: String) {
        self.0.insert(name, Content::File(file));
    }

    /// Adds what modules need of ansible-core. They do not need its controller, so the `__init__.py` of the package is
    /// empty.
    fn add_core(&mut self, root: &Path) -> Result<(), String> {
        self.0
            .insert("ansible/__init__.py".to_owned(), Content::Text(""));
        for part in ["modules", "module_utils"] {
            self.add_folder(&root.join(part), &format!("ansible/{part}"))?;
        }
        Ok(())
    }

    /// Adds the Python files of a folder and of its subfolders. A folder that does not exist has none.
    fn add_folder(&mut self, folder: &Path, name: &str) -> Result<(), String> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unreadable(folder, &error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(folder, &error))?;
            let path = entry.path();
            // Python cannot import files whose names are not UTF-8.
            let Ok(own_name) = entry.file_name().into_string() else {
                continue;
            };
            if path.is_dir() {
                if own_name != "__pycache__" {
                    self.add_folder(&path, &format!("{name}/{own_name}"))?;
                }
            } else if path.extension().is_some_and(|extension| extension == "py") {
                self.add(path, format!("{name}/{own_name}"));
            }
        }
        Ok(())
    }

    /// Makes a zip file. It depends only on the files, so the same files always have the same hash.
    fn zip(self) -> Result<Vec<u8>, String> {
        let failed = |error: zip::result::ZipError| format!("a bundle cannot be made: {error}");
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        // Python finds packages without an `__init__.py` in a zip only if the zip lists their folders.
        let mut folders = BTreeSet::new();
        for name in self.0.keys() {
            let ends = name.match_indices('/').map(|(end, _)| end);
            folders.extend(ends.map(|end| name[..=end].to_owned()));
        }
        for folder in folders {
            zip.add_directory(folder, stored).map_err(failed)?;
        }
        for (name, content) in self.0 {
            let read;
            let bytes = match &content {
                Content::File(path) => {
                    read = fs::read(path).map_err(|error| unreadable(path, &error))?;
                    read.as_slice()
                }
                Content::Text(text) => text.as_bytes(),
            };
            zip.start_file(name, options).map_err(failed)?;
            zip.write_all(bytes)
                .map_err(|error| format!("a bundle cannot be made: {error}"))?;
        }
        Ok(zip.finish().map_err(failed)?.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_the_same_hash_as_long_as_its_files_are_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        file("plugins/modules/sub/one.py", "1");
        file("plugins/module_utils/two.py", "2");
        file("plugins/module_utils/three.ps1", "3");
        let bundle = || {
            let origin = Origin::Collection {
                root: folder.path().to_owned(),
                namespace: "a".to_owned(),
                name: "b".to_owned(),
            };
            BundleSource::new(origin).build().unwrap()
        };
        let (first, second) = (bundle(), bundle());
        assert_eq!(first.hash, second.hash);
        assert_eq!(first.hash.len(), 64);
        let archive = zip::ZipArchive::new(Cursor::new(first.content.clone())).unwrap();
        let names = archive.file_names().map(|name| name.unwrap().into_owned());
        let names: Vec<String> = names.collect();
        assert!(
            names.contains(&"ansible_collections/".to_owned()),
            "{names:?}"
        );
        assert!(
            names.contains(&"ansible_collections/a/b/plugins/modules/sub/one.py".to_owned()),
            "{names:?}"
        );
        assert!(
            !names.iter().any(|name| name.contains("three")),
            "{names:?}"
        );
        file("plugins/module_utils/two.py", "3");
        assert_ne!(first.hash, bundle().hash);
    }
}
