use serde_json::json;

use super::pattern::Pattern;
use super::*;
use crate::diagnostic::Source;

fn closed(text: &str) -> Inventory {
    let mut inventory = Inventory::new();
    let mut problems = Vec::new();
    ini::read(
        &Source::new("hosts", text.to_owned()),
        &mut inventory,
        &mut problems,
    );
    assert_eq!(problems, []);
    inventory.close();
    inventory
}

fn refused(text: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let source = Source::new("hosts", text.to_owned());
    ini::read(&source, &mut Inventory::new(), &mut problems);
    let told = problems.into_iter().map(|problem| {
        let place = source.place(problem.span.map_or(0, crate::diagnostic::Span::start));
        format!("{place} {}", problem.message)
    });
    told.collect()
}

fn variables(inventory: &Inventory, host: &str) -> Json {
    Json::Object(inventory.variables_of(inventory.find_host(host).unwrap()))
}

fn selected(inventory: &Inventory, pattern: &str) -> Result<String, String> {
    let hosts = Pattern::parse(pattern)?.select(inventory)?;
    let names = hosts
        .iter()
        .map(|host| inventory.get_host(*host).name.as_str());
    Ok(names.collect::<Vec<_>>().join(" "))
}

const SITE: &str = "\
lone:2200 x=1 # alone
[web]
web[1:3] note='two words' text=a\\ b
db1
[db]
db[1:2] port=\"5\"
[db:vars]
v = db
[site:children]
web
db
[site:vars]
v=site
w = [1, 'x']
";

#[test]
fn the_more_special_variable_counts() {
    let inventory = closed(SITE);
    assert_eq!(
        variables(&inventory, "lone"),
        json!({"x": 1, "ansible_port": 2200})
    );
    let web = json!({"note": "two words", "text": "a b", "v": "site", "w": [1, "x"]});
    assert_eq!(variables(&inventory, "web3"), web);
    assert_eq!(
        variables(&inventory, "db1"),
        json!({"port": 5, "v": "db", "w": [1, "x"]})
    );
}

#[test]
fn a_regular_expression_means_groups_and_hosts_that_it_matches_at_their_beginning() {
    let inventory = closed(SITE);
    for (pattern, expected) in [
        ("~web[12]", "web1 web2"),
        ("~(web|db)1", "web1 db1"),
        ("~eb", ""),
        ("~we:!~web[^3]", "web3 db1"),
        ("site:&~.*2$", "web2 db2"),
    ] {
        let found = selected(&inventory, pattern);
        if expected.is_empty() {
            assert!(found.is_err(), "{pattern}: {found:?}");
        } else {
            assert_eq!(found, Ok(expected.to_owned()), "{pattern}");
        }
    }
}

#[test]
fn a_file_in_a_limit_stands_for_the_patterns_in_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("failed.retry");
    std::fs::write(&path, "web1\n\n db* \n").unwrap();
    let limit = format!("lone,@{},!db2", path.display());
    assert_eq!(pattern::with_files(&limit).unwrap(), "lone,web1,db*,!db2");
    assert_eq!(pattern::with_files("@web:db").unwrap(), "@web,db");
    std::fs::write(&path, "\n").unwrap();
    let refused = pattern::with_files(&limit).unwrap_err();
    assert!(refused.contains("names no host"), "{refused}");
}

#[test]
fn a_host_knows_the_source_that_names_it_first() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("site");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("a"), "h1\n").unwrap();
    std::fs::write(inside.join("b.yml"), "all: {hosts: {h1: {}, h2: {}}}\n").unwrap();
    let sources = [inside.display().to_string(), "h3,h2".to_owned()];
    let mut inventory = load(&sources).unwrap();
    inventory.add_host("h4", &[], Variables::new());
    let source = |name: &str| {
        let host = inventory.find_host(name).unwrap();
        inventory.get_host(host).source().cloned()
    };
    let file = |name: &str| Some(HostSource::File(inside.join(name).into()));
    assert_eq!(source("h1"), file("a"));
    assert_eq!(source("h2"), file("b.yml"));
    assert_eq!(source("h3"), Some(HostSource::List("h3,h2".into())));
    assert_eq!(source("h4"), None);
}

#[test]
fn of_equally_deep_groups_the_priority_counts_and_then_the_name() {
    let text = "[a]\nh\n[b]\nh\n[a:vars]\nv=a\nw=a\n[b:vars]\nv=b\n";
    assert_eq!(variables(&closed(text), "h"), json!({"v": "b", "w": "a"}));
    let text = text.replace("w=a", "ansible_group_priority=2");
    assert_eq!(variables(&closed(&text), "h"), json!({"v": "a"}));
}

#[test]
fn a_group_is_as_deep_as_the_longest_way_to_it_and_ways_are_not_counted_one_by_one() {
    // Each level has two groups, both of which are in both groups of the level above: 2^200 paths.
    let mut text = String::from("[z0]\nh\n[y0]\n");
    for level in 1..200 {
        let below = level - 1;
        for name in ["z", "y"] {
            let section = format!("[{name}{level}:children]\nz{below}\ny{below}\n");
            text.push_str(&section);
        }
    }
    let inventory = closed(&text);
    let group = inventory.find_group("z0").unwrap();
    assert_eq!(inventory.get_group(group).depth, 200);
    assert_eq!(selected(&inventory, "y199"), Ok("h".to_owned()));
}

#[test]
fn patterns_add_keep_and_remove_hosts_in_this_order() {
    let inventory = closed(SITE);
    for (pattern, expected) in [
        ("all", "lone web1 web2 web3 db1 db2"),
        ("web", "web1 web2 web3 db1"),
        ("web:!db1", "web1 web2 web3"),
        ("!db1:web", "web1 web2 web3"),
        ("web:&db", "db1"),
        ("!site", "lone"),
        ("web2,lone", "web2 lone"),
        ("web*", "web1 web2 web3 db1"),
        ("web?", "web1 web2 web3"),
        ("[wl]*[!3]", "web1 web2 web3 db1 lone"),
        ("web[0]", "web1"),
        ("web[-1]", "db1"),
        ("web[1:2]", "web2 web3"),
        ("web[2:]", "web3 db1"),
        ("web[7]", ""),
        ("@db", "db1 db2"),
    ] {
        assert_eq!(
            selected(&inventory, pattern),
            Ok(expected.to_owned()),
            "{pattern}"
        );
    }
    for (pattern, said) in [
        ("nowhere", "nowhere"),
        ("web:!nowhere", "nowhere"),
        ("@web1", "@web1"),
        ("~web(", "regular expression"),
        ("~", "no regular expression"),
        ("~nowhere.*", "~nowhere.*"),
        ("!", "names no host"),
        (",", "contains no name"),
    ] {
        let refused = selected(&inventory, pattern).unwrap_err();
        assert!(refused.contains(said), "{pattern}: {refused}");
    }
}

#[test]
fn what_is_wrong_with_an_inventory_is_told_with_its_place() {
    for (text, expected) in [
        ("[web]\nw1 x\n", "2:4 `x` is not a variable of the host"),
        (
            "w[3:1]\n",
            "1:1 `w[3:1]`: the range `[3:1]` ends before it begins",
        ),
        ("w1 'x\n", "1:1 a quote is not closed"),
        ("[we b]\n", "1:1 this is not a section"),
        ("[web:odd]\nx\n", "1:1 unknown kind of section `odd`"),
        (
            "[web:vars]\nx=1\n",
            "1:1 this gives variables to `web`, which is not a group of this inventory",
        ),
        (
            "[a:children]\nweb\n",
            "2:1 this has as its child `web`, which is not a group of this inventory",
        ),
        ("[web]\n[web:vars]\nx\n", "3:1 expected a variable"),
        (
            "[a:children]\nb\n[b:children]\na\n",
            "4:1 group `a` cannot be in `b`, which is in `a` itself",
        ),
        (
            "[a]\n[a:vars]\nansible_group_priority=x\n",
            "3:1 `ansible_group_priority` has to be a whole number",
        ),
    ] {
        assert_eq!(refused(text), [expected], "{text}");
    }
}

#[test]
fn a_port_follows_a_name() {
    for (name, expected) in [
        ("web1", ("web1", None)),
        ("web1:22", ("web1", Some(22))),
        ("web[1:3]", ("web[1:3]", None)),
        ("web[1:3]:22", ("web[1:3]", Some(22))),
        ("fe80::1", ("fe80::1", None)),
        ("[fe80::1]:22", ("fe80::1", Some(22))),
        ("web1:http", ("web1:http", None)),
    ] {
        assert_eq!(split_port(name), expected, "{name}");
    }
}
