//! The settings that templates can read by the lookup `config`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use minijinja::Value;

use crate::configuration::{Configuration, Gathering};
use crate::templates::ControllerSettings;

/// Returns the settings that templates can read, by the names that Ansible gives them. A setting that is not set
/// has the default of Ansible, except for the number of forks.
pub(super) fn controller_settings(configuration: &Configuration) -> ControllerSettings {
    let text = |text: &Option<String>| Value::from(text.clone());
    let usual = |text: &Option<String>, usual: &str| {
        Value::from(text.clone().unwrap_or_else(|| usual.to_owned()))
    };
    let paths = |paths: &[PathBuf]| {
        let paths = paths.iter().map(|path| path.display().to_string());
        Value::from(paths.collect::<Vec<_>>())
    };
    let path =
        |path: &Option<PathBuf>| Value::from(path.as_ref().map(|path| path.display().to_string()));
    let gathering = match configuration.gathering {
        Gathering::Explicit => "explicit",
        Gathering::Smart => "smart",
        Gathering::Implicit => "implicit",
    };
    let values = [
        (
            "ANSIBLE_MANAGED",
            Value::from(configuration.ansible_managed.as_str()),
        ),
        (
            "ANY_ERRORS_FATAL",
            Value::from(configuration.any_errors_fatal),
        ),
        ("COLLECTIONS_PATHS", paths(&configuration.collections_path)),
        ("CONFIG_FILE", path(&configuration.file)),
        ("DEFAULT_BECOME", Value::from(configuration.becomes)),
        ("DEFAULT_BECOME_EXE", text(&configuration.become_exe)),
        (
            "DEFAULT_BECOME_FLAGS",
            usual(&configuration.become_flags, ""),
        ),
        (
            "DEFAULT_BECOME_METHOD",
            usual(&configuration.become_method, "sudo"),
        ),
        (
            "DEFAULT_BECOME_USER",
            usual(&configuration.become_user, "root"),
        ),
        (
            "DEFAULT_FORCE_HANDLERS",
            Value::from(configuration.force_handlers),
        ),
        ("DEFAULT_FORKS", Value::from(configuration.forks())),
        ("DEFAULT_GATHERING", Value::from(gathering)),
        (
            "DEFAULT_HOST_LIST",
            Value::from(configuration.inventory.clone()),
        ),
        (
            "DEFAULT_MANAGED_STR",
            Value::from(configuration.ansible_managed.as_str()),
        ),
        ("DEFAULT_MODULE_PATH", paths(&configuration.library)),
        ("DEFAULT_NO_LOG", Value::from(configuration.no_log)),
        (
            "DEFAULT_PRIVATE_KEY_FILE",
            path(&configuration.private_key_file),
        ),
        (
            "DEFAULT_REMOTE_PORT",
            Value::from(configuration.remote_port),
        ),
        ("DEFAULT_REMOTE_USER", text(&configuration.remote_user)),
        ("DEFAULT_ROLES_PATH", paths(&configuration.roles_path)),
        ("DEFAULT_STRATEGY", usual(&configuration.strategy, "linear")),
        (
            "DEFAULT_TIMEOUT",
            Value::from(
                configuration
                    .timeout
                    .map_or(10, |timeout| timeout.as_secs()),
            ),
        ),
        ("DEFAULT_TRANSPORT", usual(&configuration.transport, "ssh")),
        ("DIFF_ALWAYS", Value::from(configuration.always_diffs)),
        (
            "HOST_KEY_CHECKING",
            Value::from(configuration.host_key_checking),
        ),
        (
            "INTERPRETER_PYTHON",
            usual(&configuration.interpreter_python, "auto"),
        ),
        ("TAGS_RUN", Value::from(configuration.run_tags.clone())),
        ("TAGS_SKIP", Value::from(configuration.skip_tags.clone())),
        (
            "TASK_TIMEOUT",
            Value::from(
                configuration
                    .task_timeout
                    .map_or(0, |timeout| timeout.as_secs()),
            ),
        ),
    ];
    ControllerSettings {
        managed: configuration.ansible_managed.clone(),
        values: BTreeMap::from(values),
    }
}
