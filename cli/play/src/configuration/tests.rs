//! Tests of the settings of Ansible.

use std::collections::BTreeMap;

use super::*;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;

fn load(folder: &Path, variables: &[(&str, &str)]) -> Result<Configuration, InputError> {
    let variables: BTreeMap<OsString, OsString> = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect();
    Configuration::load(folder, &variables)
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("there is room for a folder")
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("it can be written");
}

#[test]
fn settings_of_the_environment_count_before_those_of_the_file_and_paths_start_where_they_stand() {
    let folder = folder();
    let here = folder.path();
    write(
        &here.join("ansible.cfg"),
        "[defaults]\ninventory = hosts, more/hosts ; both\nroles_path=roles:~/r:$X/y\nforks = 20\nremote_user=deploy\n\
         host_key_checking = False\nvault_password_file = pw\nvault_identity_list = dev@dev.pw, prod@~/prod.pw\n\
         gathering=smart\ntimeout=30\ncallback_whitelist = timer\nnocows=1\n\
         [privilege_escalation]\nbecome=True\nbecome_user = admin\n[ssh_connection]\nssh_args = -o A=b\npipelining=True\n\
         [galaxy]\nserver_list=x\n",
    );
    let file = |id: &str, path: PathBuf| VaultPassword::File {
        id: id.to_owned(),
        path,
    };
    let read = load(
        here,
        &[
            ("HOME", "/h"),
            ("X", "/x"),
            ("ANSIBLE_FORKS", "7"),
            ("ANSIBLE_PRIVATE_KEY_FILE", "key"),
            ("ANSIBLE_STDOUT_CALLBACK", "yaml"),
            ("ANSIBLE_NOCOWS", "1"),
            ("ANSIBLE_SSH_PIPELINING", "True"),
            ("ANSIBLE_INVENTORY_ENABLED", "ini"),
        ],
    );
    let read = read.expect("it is right");
    assert_eq!(read.file, Some(here.join("ansible.cfg")));
    let shown = |path: &str| here.join(path).display().to_string();
    assert_eq!(read.inventory, [shown("hosts"), shown("more/hosts")]);
    assert_eq!(
        read.roles_path,
        [
            here.join("roles"),
            PathBuf::from("/h/r"),
            PathBuf::from("/x/y")
        ]
    );
    assert_eq!(
        read.collections_path[0],
        PathBuf::from("/h/.ansible/collections")
    );
    assert_eq!(
        (read.forks, read.remote_user.as_deref()),
        (Some(7), Some("deploy"))
    );
    assert_eq!(read.private_key_file, Some(here.join("key")));
    assert!(!read.host_key_checking && read.becomes && !read.ask_pass);
    assert_eq!(
        read.vault_passwords,
        [
            file("", here.join("pw")),
            file("dev", here.join("dev.pw")),
            file("prod", "/h/prod.pw".into())
        ]
    );
    assert_eq!(
        (read.gathering, read.timeout),
        (Gathering::Smart, Some(Duration::from_secs(30)))
    );
    assert_eq!(read.ssh_args.as_deref(), Some("-o A=b"));
    assert_eq!(
        read.unused,
        [
            "ANSIBLE_STDOUT_CALLBACK",
            "callback_whitelist in [defaults]",
            "server_list in [galaxy]"
        ]
    );
}

#[test]
fn the_first_file_that_is_there_counts_unless_everybody_may_write_beside_it() {
    let (folder, home) = (folder(), folder());
    let (here, home) = (folder.path(), home.path());
    let home_text = home.display().to_string();
    let user = |variables: &[(&str, &str)]| {
        let mut all = vec![("HOME", home_text.as_str())];
        all.extend_from_slice(variables);
        load(here, &all).expect("it is right")
    };
    assert_eq!(user(&[]).file.filter(|file| file.starts_with("/tmp")), None);
    write(&home.join(".ansible.cfg"), "[defaults]\nremote_user=home\n");
    assert_eq!(user(&[]).remote_user.as_deref(), Some("home"));
    write(&here.join("ansible.cfg"), "[defaults]\nremote_user=here\n");
    assert_eq!(user(&[]).remote_user.as_deref(), Some("here"));
    write(&here.join("other.cfg"), "[defaults]\nremote_user=other\n");
    assert_eq!(
        user(&[("ANSIBLE_CONFIG", "other.cfg")])
            .remote_user
            .as_deref(),
        Some("other")
    );

    let public = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(here, public).expect("it can be changed");
    let read = user(&[]);
    assert_eq!(read.remote_user.as_deref(), Some("home"));
    assert_eq!(read.warnings.len(), 1);
    assert!(
        read.warnings[0].contains("is ignored"),
        "{}",
        read.warnings[0]
    );
}

#[test]
fn a_setting_with_a_wrong_value_names_its_place() {
    let folder = folder();
    write(
        &folder.path().join("ansible.cfg"),
        "[defaults]\nforks = many\n",
    );
    let said = load(folder.path(), &[])
        .expect_err("it is wrong")
        .to_string();
    assert!(
        said.contains("`forks` of [defaults] in `")
            && said.ends_with("has to be a whole number, not `many`"),
        "{said}"
    );
    let said = load(
        folder.path(),
        &[("ANSIBLE_FORKS", "2"), ("ANSIBLE_BECOME", "maybe")],
    );
    let said = said.expect_err("it is wrong").to_string();
    assert_eq!(said, "ANSIBLE_BECOME has to be true or false, not `maybe`");
    write(&folder.path().join("ansible.cfg"), "forks = 1\n");
    let said = load(folder.path(), &[])
        .expect_err("it is wrong")
        .to_string();
    assert!(said.ends_with("line 1 is outside of any section"), "{said}");
}
