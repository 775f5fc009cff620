//! Tests of the lookup of modules.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tempfile::TempDir;

use super::{Module, ModuleError, ModuleKind, ModulePaths, Modules};

/// A user who has an Ansible of a few files, and collections.
struct User {
    folder: TempDir,
}

impl User {
    fn new() -> Self {
        let user = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let imports = "from ansible.module_utils.basic import AnsibleModule\n";
        user.file("lib/ansible/modules/file.py", imports);
        user.file("lib/ansible/modules/_old.py", imports);
        user.file(
            "lib/ansible/config/ansible_builtin_runtime.yml",
            "plugin_routing:\n  modules:\n    box:\n      redirect: acme.tools.box\n    gone:\n      tombstone:\n        \
             warning_text: use boxes\n  action:\n    older:\n      redirect: ansible.builtin.old\n",
        );
        user.file(
            "collections/ansible_collections/acme/tools/plugins/modules/box.py",
            imports,
        );
        user.file(
            "collections/ansible_collections/acme/tools/plugins/modules/sub/inner.py",
            imports,
        );
        user.file(
            "collections/ansible_collections/acme/tools/plugins/module_utils/it.py",
            "from ansible_collections.acme.base.plugins.module_utils.x import y\n",
        );
        user.file(
            "collections/ansible_collections/acme/tools/plugins/modules/acting.py",
            imports,
        );
        user.file(
            "collections/ansible_collections/acme/tools/plugins/action/acting.py",
            "",
        );
        user.file(
            "collections/ansible_collections/acme/tools/meta/runtime.yml",
            "plugin_routing:\n  modules:\n    crate: {redirect: acme.tools.box}\n    round: {redirect: acme.tools.round}\n    \
             dead: {tombstone: {removal_version: 2.0.0, warning_text: it was bad}}\n    other: {action_plugin: acme.tools.act}\n",
        );
        user.file(
            "collections/ansible_collections/acme/base/plugins/modules/deep.py",
            imports,
        );
        let said = format!(
            "#!/bin/sh\necho '{{\"path\": \"{0}/lib/ansible\", \"version\": \"2.19.1\", \"folders\": [\"{0}/lib\"]}}'\n",
            user.folder.path().display()
        );
        user.program("bin/python3", &said);
        user
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.file(name, text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn modules(&self) -> Modules {
        let at = |name: &str| self.folder.path().join(name);
        Modules::find_ansible(ModulePaths {
            collections: vec![at("collections")],
            libraries: vec![at("site")],
            programs: Some(at("bin").into()),
        })
    }

    fn find(
        &self,
        name: &str,
        collections: &[&str],
    ) -> Result<std::sync::Arc<Module>, ModuleError> {
        let libraries = [
            self.folder.path().join("role/library"),
            self.folder.path().join("play/library"),
        ];
        let collections: Vec<String> = collections.iter().map(|name| (*name).to_owned()).collect();
        self.modules().find(name, &libraries, &collections)
    }
}

#[test]
fn a_module_is_found_by_each_name_that_ansible_knows_for_it() {
    let user = User::new();
    let modules = user.modules();
    assert_eq!(modules.version(), Some("2.19.1"));
    assert_eq!(
        modules.python(),
        Some(user.folder.path().join("bin/python3").as_path())
    );
    for (name, full, import) in [
        ("file", "ansible.builtin.file", "ansible.modules.file"),
        (
            "ansible.builtin.file",
            "ansible.builtin.file",
            "ansible.modules.file",
        ),
        (
            "ansible.legacy.file",
            "ansible.builtin.file",
            "ansible.modules.file",
        ),
        ("old", "ansible.builtin.old", "ansible.modules._old"),
        ("older", "ansible.builtin.old", "ansible.modules._old"),
        (
            "acme.tools.box",
            "acme.tools.box",
            "ansible_collections.acme.tools.plugins.modules.box",
        ),
        (
            "acme.tools.crate",
            "acme.tools.box",
            "ansible_collections.acme.tools.plugins.modules.box",
        ),
        (
            "box",
            "acme.tools.box",
            "ansible_collections.acme.tools.plugins.modules.box",
        ),
        (
            "acme.tools.sub.inner",
            "acme.tools.sub.inner",
            "ansible_collections.acme.tools.plugins.modules.sub.inner",
        ),
    ] {
        let found = user.find(name, &[]).unwrap();
        assert_eq!(found.name, full, "{name}");
        let ModuleKind::Python { import: found, .. } = &found.kind else {
            panic!("{name}: {found:?}");
        };
        assert_eq!(found, import, "{name}");
    }
    let found = user
        .find("deep", &["acme.missing", "acme.tools", "acme.base"])
        .unwrap();
    assert_eq!(found.name, "acme.base.deep");
}

#[test]
fn a_module_of_a_collection_brings_the_collections_that_it_uses() {
    let user = User::new();
    // The bundle of Ansible, that of the other collection, and its own.
    assert_eq!(user.find("acme.tools.box", &[]).unwrap().bundles.len(), 3);
    assert_eq!(user.find("acme.base.deep", &[]).unwrap().bundles.len(), 2);
}

#[test]
fn the_library_of_a_role_comes_before_that_of_the_playbook_and_ansible() {
    let user = User::new();
    let imports = "#!/usr/bin/python\nfrom ansible.module_utils.basic import AnsibleModule\n";
    user.file("play/library/file.py", "#!/usr/bin/python\n# WANT_JSON\n");
    assert_eq!(user.find("file", &[]).unwrap().kind, ModuleKind::Program);
    assert_eq!(
        user.find("ansible.builtin.file", &[]).unwrap().name,
        "ansible.builtin.file"
    );
    user.file("role/library/group/file.py", imports);
    let found = user.find("file", &[]).unwrap();
    assert_eq!(found.name, "ansible.legacy.file");
    let import = "ansible.modules.file".to_owned();
    assert_eq!(
        found.kind,
        ModuleKind::Python {
            import: import.clone(),
            is_overlay: false
        }
    );
    user.file("play/module_utils/mine.py", "");
    assert_eq!(
        user.find("file", &[]).unwrap().kind,
        ModuleKind::Python {
            import,
            is_overlay: true
        }
    );
    user.file("site/words", "#!/bin/sh\n");
    assert_eq!(
        user.find("words", &[]).unwrap().kind,
        ModuleKind::WordsProgram
    );
    user.file("site/compiled", "\u{7f}ELF");
    assert_eq!(
        user.find("compiled", &[]).unwrap().kind,
        ModuleKind::Program
    );
}

#[test]
fn what_cannot_be_run_is_refused_by_name_with_what_to_do() {
    let user = User::new();
    user.file("site/win.ps1", "#AnsibleRequires -Powershell x\n");
    user.file(
        "site/inlined.py",
        "import json\njson.loads('<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>')\n",
    );
    user.file("site/act.py", "");
    user.file("action_plugins/act.py", "");
    for (name, message, help) in [
        ("nothing", "there is no module `nothing` (looked in", None),
        (
            "acme.tools.nothing",
            "there is no module `acme.tools.nothing`",
            None,
        ),
        (
            "no.such.module",
            "the collection `no.such` of module `no.such.module` is not installed",
            Some("ansible-galaxy"),
        ),
        (
            "gone",
            "module `ansible.builtin.gone` was removed: use boxes",
            None,
        ),
        (
            "acme.tools.dead",
            "module `acme.tools.dead` was removed: it was bad",
            None,
        ),
        (
            "acme.tools.acting",
            "module `acme.tools.acting` is an action plugin",
            Some("a command"),
        ),
        (
            "acme.tools.other",
            "module `acme.tools.other` is an action plugin",
            Some("a command"),
        ),
        ("act", "module `act` is an action plugin", Some("a command")),
        (
            "acme.tools.round",
            "the redirections of module `acme.tools.round` have no end",
            None,
        ),
        ("win", "module `win` is for Windows", Some("not supported")),
        (
            "inlined",
            "module `inlined` expects its arguments within its own text",
            Some("AnsibleModule"),
        ),
    ] {
        let refused = user.find(name, &[]).unwrap_err();
        assert!(
            refused.to_string().starts_with(message),
            "{name}: {refused}"
        );
        let said = refused.help();
        assert_eq!(said.is_some(), help.is_some(), "{name}: {said:?}");
        assert!(
            said.unwrap_or_default().contains(help.unwrap_or_default()),
            "{name}"
        );
    }
}

#[test]
fn without_ansible_there_are_a_few_modules_of_our_own() {
    let user = User::new();
    user.program(
        "bin/python3",
        "#!/bin/sh\necho '{\"path\": null, \"version\": null, \"folders\": []}'\n",
    );
    assert_eq!(user.modules().version(), None);
    assert_eq!(user.find("file", &[]).unwrap().kind, ModuleKind::Own);
    assert_eq!(
        user.find("ansible.builtin.stat", &[]).unwrap().kind,
        ModuleKind::Own
    );
    let refused = user.find("apt", &[]).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("module `apt` needs ansible-core on this machine"),
        "{refused}"
    );
    assert!(refused.help().unwrap().contains("pip install ansible-core"));
    let old = "#!/bin/sh\necho '{\"path\": \"/x\", \"version\": \"2.9.27\", \"folders\": []}'\n";
    user.program("bin/python3", old);
    let refused = user.find("apt", &[]).unwrap_err().to_string();
    assert!(
        refused.contains("ansible-core 2.9.27") && refused.contains("older than 2.15"),
        "{refused}"
    );
}

#[test]
fn the_ansible_of_a_virtual_environment_is_found_by_its_command() {
    let user = User::new();
    let python = user.folder.path().join("venv/bin/python3");
    fs::create_dir_all(python.parent().unwrap()).unwrap();
    fs::rename(user.folder.path().join("bin/python3"), &python).unwrap();
    user.program(
        "bin/ansible",
        &format!("#!{}\nimport sys\n", python.display()),
    );
    assert_eq!(user.modules().python(), Some(python.as_path()));
}
