//! Tests of Python modules that use the code of the Ansible of this machine.

use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Bench, call};
use crate::modules::{Module, ModulePaths, Modules};

/// Returns the code of a module with these lines in its `main`, after its arguments were read into `module`.
fn code(main: &str) -> String {
    let main = main.replace('\n', "\n    ");
    format!(
        "#!/usr/bin/python\nimport os, sys\nfrom ansible.module_utils.basic import AnsibleModule\n\
         def main():\n    module = AnsibleModule(argument_spec=dict(path=dict(type='str'), secret=dict(no_log=True)), \
         supports_check_mode=True)\n    {main}\nif __name__ == '__main__':\n    main()\n"
    )
}

impl Bench {
    /// Writes a module of the user's `library` with these lines in its `main`.
    fn python(&self, name: &str, main: &str) -> Arc<Module> {
        self.file(&format!("library/{name}.py"), &code(main));
        self.modules.find(name, &[self.at("library")], &[]).unwrap()
    }

    /// Returns the modules, including the collections of this bench.
    fn with_collections(&self) -> Modules {
        let bin = std::env::var_os("ANSIBLE_BIN").or_else(|| std::env::var_os("PATH"));
        Modules::find_ansible(ModulePaths {
            collections: vec![self.at("collections")],
            programs: bin,
            ..ModulePaths::default()
        })
    }
}

#[tokio::test]
async fn a_module_finds_what_an_earlier_one_has_installed_or_updated() {
    let Some(bench) = Bench::with_ansible() else {
        return;
    };
    let site = bench.at("site");
    fs::create_dir(&site).unwrap();
    let target = bench.target_with(&format!(
        "env HOME=HOME_OF_BENCH PYTHONPATH={} python3",
        site.display()
    ));
    let root = "collections/ansible_collections/acme/late/plugins";
    let import = "try:\n    import late_library\n    FOUND = late_library.VERSION\nexcept ImportError:\n    FOUND = None\n";
    bench.file(&format!("{root}/module_utils/flag.py"), import);
    let main = code("module.exit_json(own=FOUND, utility=flag.FOUND)");
    let module = format!(
        "{import}from ansible_collections.acme.late.plugins.module_utils import flag\n{main}"
    );
    bench.file(&format!("{root}/modules/look.py"), &module);
    let look = bench
        .with_collections()
        .find("acme.late.look", &[], &[])
        .unwrap();
    for version in [None, Some("1"), Some("1.10")] {
        if let Some(version) = version {
            bench.file("site/late_library.py", &format!("VERSION = '{version}'\n"));
        }
        // The first call may import modules that are then already imported for the second one.
        for _ in 0..3 {
            let result = bench.result(&target, &look, json!({})).await;
            assert_eq!(
                (&result["own"], &result["utility"]),
                (&json!(version), &json!(version)),
                "{result}"
            );
        }
    }
}

#[tokio::test]
async fn a_module_is_imported_once_and_leaves_nothing_behind() {
    let Some(bench) = Bench::with_ansible() else {
        return;
    };
    let target = bench.target();
    let count = bench.python(
        "count",
        "import ansible.module_utils.basic as basic\nbefore = getattr(basic, 'mark', None)\nbasic.mark = 1\n\
         os.environ['MARK'] = '1'\nmodule.exit_json(before=before, tarfile='tarfile' in sys.modules, main=__name__)\nimport tarfile",
    );
    for _ in 0..3 {
        let result = bench.result(&target, &count, json!({})).await;
        assert_eq!(
            (&result["before"], &result["main"]),
            (&Value::Null, &json!("__main__"))
        );
    }
    let uses = bench.python(
        "uses",
        "seen = 'tarfile' in sys.modules\nimport tarfile\nmodule.exit_json(seen=seen)",
    );
    assert_eq!(bench.result(&target, &uses, json!({})).await["seen"], false);
    assert_eq!(bench.result(&target, &uses, json!({})).await["seen"], true);
}

#[tokio::test]
async fn functions_for_the_exit_run_and_a_hook_for_exceptions_makes_the_result() {
    let Some(bench) = Bench::with_ansible() else {
        return;
    };
    let target = bench.target();
    let path = bench.at("left");
    let exits = bench.python(
        "exits",
        "import atexit\natexit.register(lambda: open(module.params['path'], 'w').close())\nmodule.exit_json(tmpdir=module.tmpdir)",
    );
    let result = bench.result(&target, &exits, json!({ "path": path })).await;
    assert!(path.exists());
    let tmpdir = result["tmpdir"].as_str().unwrap();
    assert!(!fs::exists(tmpdir).unwrap(), "{tmpdir} is left");
    let hooks = bench.python(
        "hooks",
        "sys.excepthook = lambda kind, value, trace: module.fail_json(msg='hooked: %s' % value)\nraise ValueError('boom')",
    );
    let result = bench.result(&target, &hooks, json!({})).await;
    assert_eq!(
        (&result["msg"], &result["failed"]),
        (&json!("hooked: boom"), &json!(true))
    );
    let crashes = bench.python("crashes", "raise ValueError('boom')");
    let result = bench.result(&target, &crashes, json!({})).await;
    assert!(
        result["exception"]
            .as_str()
            .unwrap()
            .contains("ValueError: boom"),
        "{result}"
    );
    let silent = bench.python("silent", "pass");
    let result = bench.result(&target, &silent, json!({})).await;
    assert!(
        result["msg"]
            .as_str()
            .unwrap()
            .starts_with("MODULE FAILURE"),
        "{result}"
    );
}

#[tokio::test]
async fn a_module_can_start_itself_again_under_another_python() {
    let Some(bench) = Bench::with_ansible() else {
        return;
    };
    let target = bench.target();
    let again = "from ansible.module_utils.common.respawn import has_respawned, respawn_module\n\
                 if not has_respawned():\n    respawn_module(sys.executable)\n\
                 module.exit_json(changed=module.check_mode, path=module.params['path'], pid=os.getpid())";
    let library = bench.python("again", again);
    let collection = "collections/ansible_collections/acme/again/plugins";
    bench.file(&format!("{collection}/module_utils/it.py"), "IT = 1\n");
    let uses = "from ansible_collections.acme.again.plugins.module_utils.it import IT\n";
    bench.file(
        &format!("{collection}/modules/again.py"),
        &format!("{uses}{}", code(again)),
    );
    let modules = bench.with_collections();
    let collected = modules.find("acme.again.again", &[], &[]).unwrap();
    for module in [library, collected] {
        let mut asked = call(&module, json!({ "path": "x" }));
        asked.check = true;
        let result = bench.call(&target, &asked).await.unwrap();
        assert_eq!(
            (&result["path"], &result["changed"]),
            (&json!("x"), &json!(true)),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn module_utilities_beside_a_library_come_before_those_of_ansible() {
    let Some(bench) = Bench::with_ansible() else {
        return;
    };
    let target = bench.target();
    bench.file("module_utils/mine.py", "WORD = 'mine'\n");
    bench.file("module_utils/inner/__init__.py", "");
    bench.file("module_utils/inner/deep.py", "WORD = 'deep'\n");
    bench.file("module_utils/urls.py", "WORD = 'shadowed'\n");
    let main = "from ansible.module_utils import mine, urls\nfrom ansible.module_utils.inner.deep import WORD\n\
                module.exit_json(words=[mine.WORD, WORD, urls.WORD])";
    let uses = bench.python("uses", main);
    for _ in 0..2 {
        let result = bench.result(&target, &uses, json!({})).await;
        assert_eq!(
            result["words"],
            json!(["mine", "deep", "shadowed"]),
            "{result}"
        );
    }
    // Modules of Ansible do not see them.
    let uri = bench
        .run(&target, "uri", json!({ "url": "http://127.0.0.1:1/" }))
        .await;
    assert!(uri["msg"].as_str().unwrap().contains("refused"), "{uri}");
}

#[tokio::test]
async fn a_module_knows_the_version_and_hides_what_is_secret() {
    let Some(bench) = Bench::with_ansible() else {
        return;
    };
    let target = bench.target();
    let tell = bench.python(
        "tell",
        "module.warn('careful')\nmodule.deprecate('old', version='9.9')\n\
         module.exit_json(version=module.ansible_version, said=module.params['secret'], name=module._name)",
    );
    let result = bench
        .result(&target, &tell, json!({ "secret": "geheim" }))
        .await;
    assert_eq!(result["version"].as_str(), bench.modules.version());
    assert_eq!(
        (&result["said"], &result["name"]),
        (
            &json!("VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"),
            &json!("tell")
        )
    );
    assert_eq!(result["warnings"], json!(["careful"]));
    let deprecation = &result["deprecations"][0];
    assert_eq!(
        (&deprecation["msg"], &deprecation["version"]),
        (&json!("old"), &json!("9.9")),
        "{result}"
    );
    let failing = bench.python(
        "failing",
        "try:\n    raise ValueError('boom')\nexcept ValueError as error:\n    module.fail_json(msg='it failed', exception=error)",
    );
    let result = bench.result(&target, &failing, json!({})).await;
    assert!(
        result["exception"].as_str().unwrap().contains("boom"),
        "{result}"
    );
    let refused = bench
        .result(&target, &tell, json!({ "scret": "geheim" }))
        .await;
    assert!(
        refused["msg"]
            .as_str()
            .unwrap()
            .contains("Unsupported parameters"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_module_in_python_has_no_open_files_but_its_own() {
    let Some(bench) = Bench::with_ansible() else {
        return;
    };
    let target = bench.target();
    let wait = bench.python("wait", "import time\ntime.sleep(1000)");
    let waiting = call(&wait, json!({}));
    let targets = Arc::clone(&bench.targets);
    let other = Arc::clone(&target);
    let calling =
        tokio::spawn(async move { targets.call(&other, &waiting, &super::context()).await });
    let show = bench.python(
        "show",
        "names = os.listdir('/dev/fd')\n\
         module.exit_json(open=sorted(name for name in names if os.path.exists('/dev/fd/' + name)))",
    );
    // In the first call the module has one more file open, in which it records its imports for the worker.
    bench.result(&target, &show, json!({})).await;
    let result = bench.result(&target, &show, json!({})).await;
    calling.abort();
    assert_eq!(result["open"], json!(["0", "1", "2"]));
}
