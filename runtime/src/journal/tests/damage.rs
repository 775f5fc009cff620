//! Tests of journals that are cut, flipped, missing lines or not journals at all: every loss is reported.

use proptest::prelude::*;

use super::*;

#[test]
fn a_file_that_is_no_journal_is_refused_with_the_reason() {
    let (_folder, path) = folder();
    let text = String::from_utf8_lossy(VERSION_1);
    let second = text.lines().nth(1).unwrap().to_owned() + "\n";
    for (content, reason) in [
        ("", "it is empty"),
        ("x", "its first line is unfinished"),
        (
            "#!/bin/sh\n",
            "line 1 (byte 0): it does not begin with a checksum",
        ),
        (
            "00000000 {}\n",
            "line 1 (byte 0): its checksum does not match",
        ),
        (&*second, "its first line is not a header"),
    ] {
        fs::write(&path, content).unwrap();
        let refused = History::load(&path).unwrap_err().to_string();
        assert!(refused.ends_with(reason), "{refused}");
        assert!(Journal::resume(&path, now(), &about(), Durability::None).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), content, "left as it is");
    }
}

#[test]
fn an_unfinished_last_line_is_cut_off_when_the_run_is_resumed() {
    let (_folder, path) = folder();
    let cut = VERSION_1.len() - 7;
    fs::write(&path, &VERSION_1[..cut]).unwrap();
    let (mut journal, history) = Journal::resume(&path, now(), &about(), Durability::Each).unwrap();
    let torn = history.torn().unwrap();
    assert_eq!(torn.offset + torn.bytes, cut as u64);
    assert!(history.ended().is_none());
    let e = job("e");
    journal.append(&e, &succeeded(&e)).unwrap();
    journal.flush().unwrap();
    let history = History::load(&path).unwrap();
    assert_eq!(
        (history.jobs(), history.recorded(), history.resumed()),
        (5, 6, 2)
    );
    assert_eq!((history.torn(), history.damaged()), (None, 0));
}

#[test]
fn a_missing_record_is_reported_as_damage() {
    let (_folder, path) = folder();
    let text = String::from_utf8_lossy(VERSION_1);
    let lines = text.lines().enumerate().filter(|(number, _)| *number != 2);
    let rest: String = lines.flat_map(|(_, line)| [line, "\n"]).collect();
    fs::write(&path, rest).unwrap();
    let history = History::load(&path).unwrap();
    let said = history.damage()[0].to_string();
    assert!(said.starts_with("line 3 (byte "), "{said}");
    assert!(
        said.ends_with("): 1 records before it are missing"),
        "{said}"
    );
    assert_eq!(history.damaged(), 1);
}

/// Checks, for any content of the file, that what is read is what was written, and that losses are reported.
fn never_wrong(bytes: &[u8], path: &Path) {
    // Some file systems sync a file that is overwritten, which is slow.
    let _ = fs::remove_file(path);
    fs::write(path, bytes).unwrap();
    let Ok(history) = History::load(path) else {
        return;
    };
    assert_eq!(history.header(), &header());
    let known = [
        vec![succeeded(&job("a"))],
        vec![succeeded(&job("b")), failed(&job("b"), Class::Task)],
        vec![failed(&job("c"), Class::Cancelled)],
        vec![failed(&job("d"), Class::Crash)],
    ];
    let mut found = 0;
    for versions in known {
        if let Some(recorded) = history.find(&versions[0].id) {
            let outcome = history.outcome(&recorded).unwrap();
            assert!(versions.contains(&outcome), "{outcome:?}");
            found += 1;
        }
    }
    assert_eq!(history.jobs(), found, "nothing that was never written");
    if bytes != VERSION_1 && history.torn().is_none() && history.damaged() == 0 {
        let whole = VERSION_1.starts_with(bytes) && bytes.ends_with(b"\n");
        assert!(whole, "something is lost, and nothing is said");
    }
}

#[test]
fn a_journal_cut_at_any_byte_never_gives_a_wrong_outcome() {
    let (_folder, path) = folder();
    for length in 0..VERSION_1.len() {
        never_wrong(&VERSION_1[..length], &path);
    }
}

#[test]
fn a_flipped_bit_in_a_journal_never_gives_a_wrong_outcome() {
    let (_folder, path) = folder();
    for position in 0..VERSION_1.len() {
        // The fifth bit turns digits into other characters and lower case into capitals.
        for bit in [5, position % 8] {
            let mut bytes = VERSION_1.to_vec();
            bytes[position] ^= 1 << bit;
            never_wrong(&bytes, &path);
        }
    }
}

proptest! {
    #[test]
    fn random_damage_to_a_journal_never_gives_a_wrong_outcome(
        edits in prop::collection::vec((0..VERSION_1.len(), 0..40_usize, prop::collection::vec(any::<u8>(), 0..40)), 1..4),
    ) {
        let (_folder, path) = folder();
        let mut bytes = VERSION_1.to_vec();
        for (begin, length, with) in edits {
            let begin = begin.min(bytes.len());
            let end = (begin + length).min(bytes.len());
            bytes.splice(begin..end, with);
        }
        never_wrong(&bytes, &path);
    }
}

#[test]
fn a_record_that_changed_after_loading_is_refused() {
    let (_folder, path) = folder();
    write_everything(&path);
    let history = History::load(&path).unwrap();
    let recorded = history.find(&"a".into()).unwrap();
    fs::write(&path, vec![b'x'; VERSION_1.len()]).unwrap();
    let refused = history.outcome(&recorded).unwrap_err();
    assert!(matches!(refused, JournalError::Changed { .. }), "{refused}");
}
