//! What is written and read, to the letter, and what is refused because of its version.

use super::*;

fn is_everything(history: &History) {
    assert_eq!(history.header(), &header());
    assert_eq!((history.jobs(), history.recorded()), (4, 5));
    assert_eq!((history.resumed(), history.torn()), (1, None));
    assert_eq!(history.damage(), []);
    let (at, summary) = history.ended().unwrap();
    assert_eq!((at, summary.total), (now(), 3));
    let outcome = |id: &str| {
        let recorded = history.find(&id.into()).unwrap();
        assert_eq!(recorded.content, Content::of(&job(id)));
        history.outcome(&recorded).unwrap()
    };
    assert_eq!(outcome("a"), succeeded(&job("a")));
    assert_eq!(outcome("b"), succeeded(&job("b")), "the last one stands");
    assert_eq!(outcome("c"), failed(&job("c"), Class::Cancelled));
    assert_eq!(outcome("d"), failed(&job("d"), Class::Crash));
    let ids: Vec<_> = history
        .outcomes()
        .map(|outcome| outcome.unwrap().id)
        .collect();
    assert_eq!(
        ids,
        ["a", "c", "b", "d"].map(Into::into),
        "as they were recorded"
    );
}

#[test]
fn version_1_is_read_and_is_what_is_written() {
    let (_folder, path) = folder();
    fs::write(&path, VERSION_1).unwrap();
    is_everything(&History::load(&path).unwrap());
    fs::remove_file(&path).unwrap();
    write_everything(&path);
    is_everything(&History::load(&path).unwrap());
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written, String::from_utf8_lossy(VERSION_1));
}

#[test]
fn a_newer_version_is_refused_by_its_number() {
    let (_folder, path) = folder();
    let json = br#"{"record":"header","v":2,"anything":"else"}"#;
    let mut line = format!("{:08x} ", crc32fast::hash(json)).into_bytes();
    line.extend_from_slice(json);
    line.push(b'\n');
    fs::write(&path, line).unwrap();
    let refused = History::load(&path).unwrap_err().to_string();
    assert!(refused.ends_with("has version 2, and 1 is the newest that is understood here"));
}
