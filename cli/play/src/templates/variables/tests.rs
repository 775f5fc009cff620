//! Tests of variables.

use super::super::maps::{from_json, from_json_text, to_json_text};
use super::*;
use crate::files::Files;

#[test]
fn an_encrypted_value_is_decrypted_when_it_is_asked_for_and_is_no_template() {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let program = folder.path().join("vault");
    std::fs::write(&program, "#!/bin/sh\nprintf '{{ n }}'\n").expect("it can be written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("it can be changed");
    let password = crate::vault::VaultPassword::Typed("x".to_owned());
    let vault = Vault::new(vec![password], Some(program));
    let plain = Variables::default().layered(layer("{n: 1, secret: !vault x, list: [!vault y]}"));
    let variables = plain.with_vault(Arc::new(vault));
    assert_eq!(shown(&variables, "secret"), r#""{{ n }}""#);
    assert_eq!(shown(&variables, "list"), r#"["{{ n }}"]"#);
    let said = shown(&plain, "secret");
    assert!(said.contains("--vault-password-file"), "{said}");
    assert_eq!(shown(&plain, "n"), "1");
}

fn layer(text: &str) -> Layer {
    let mut files = Files::default();
    let file = files.add_text("text", text.to_owned());
    let (source, problems) = files.get(file);
    let node = ratchet_input::document::ansible_node(&source, problems).expect("it is YAML");
    match Data::read(node, file, problems).value {
        data::Value::Map(entries) => entries.into(),
        _ => panic!("it is a map"),
    }
}

fn values(entries: &[(&str, &str)]) -> Arc<BTreeMap<String, Value>> {
    let entries = entries.iter();
    let read = |json| from_json_text(json).expect("it is JSON");
    Arc::new(
        entries
            .map(|(name, json)| ((*name).to_owned(), read(json)))
            .collect(),
    )
}

fn shown(variables: &Variables, name: &str) -> String {
    match variables.get(name) {
        Ok(Some(value)) => to_json_text(&value),
        Ok(None) => "nothing".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn later_layers_count_first_and_those_of_the_call_before_them_and_magic_ones_before_all() {
    let below =
        Variables::new(layer("{call: -e, item: -e}")).layered(layer("{a: low, b: low, call: low}"));
    let above = below
        .with_values(values(&[("b", r#""high""#), ("call", r#""high""#)]))
        .with_magic(values(&[("item", r#""magic""#)]));
    let names = ["a", "b", "call", "item", "nowhere"];
    let of = |variables: &Variables| names.map(|name| shown(variables, name));
    assert_eq!(
        of(&below),
        [r#""low""#, r#""low""#, r#""-e""#, r#""-e""#, "nothing"]
    );
    assert_eq!(
        of(&above),
        [r#""low""#, r#""high""#, r#""-e""#, r#""magic""#, "nothing"]
    );
    assert_eq!(above.names(), ["a", "b", "call", "item"]);
    let mut behind = above.clone();
    behind.put_behind(vec![]);
    behind.layers = behind
        .layers
        .above(Source::Files(layer("{a: lowest, z: lowest}")));
    assert_eq!(shown(&behind, "a"), r#""low""#);
    assert_eq!(shown(&behind, "z"), r#""lowest""#);
    assert!(behind.find("z").is_some() && above.find("z").is_none());
}

#[test]
fn values_of_results_are_no_templates_wherever_they_stand() {
    let variables = Variables::default()
        .layered(layer("{shown: '{{ result.stdout }}', n: 1}"))
        .with_values(values(&[(
            "result",
            r#"{"stdout":"{{ n }}","lines":["{{ n }}"],"rc":0}"#,
        )]));
    assert_eq!(
        shown(&variables, "result"),
        r#"{"stdout":"{{ n }}","lines":["{{ n }}"],"rc":0}"#
    );
    assert_eq!(shown(&variables, "shown"), r#""{{ n }}""#);
    let text = |template| to_json_text(&render(template, &variables).expect("it is right"));
    assert_eq!(
        text("{{ result.lines[0] }} {{ result.rc }}"),
        r#""{{ n }} 0""#
    );
    assert_eq!(text("{{ result.nope.x | default('none') }}"), r#""none""#);
}

#[test]
fn values_of_an_object_are_made_when_they_are_asked_for() {
    #[derive(Debug)]
    struct Hosts;

    impl Object for Hosts {
        fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
            (key.as_str()? == "hostvars")
                .then(|| from_json(serde_json::json!({ "web": { "ip": "::1" } })))
        }

        fn enumerate(self: &Arc<Self>) -> Enumerator {
            Enumerator::Str(&["hostvars"])
        }
    }

    let variables = Variables::default().with_magic_object(Arc::new(Hosts));
    let shared = variables.with_magic_object(Arc::new(Hosts));
    for variables in [variables, shared] {
        let ip = render("{{ hostvars['web'].ip }}", &variables).expect("it is right");
        assert_eq!(ip.as_str(), Some("::1"));
        assert_eq!(shown(&variables, "other"), "nothing");
        assert_eq!(variables.names(), ["hostvars"]);
    }
}
