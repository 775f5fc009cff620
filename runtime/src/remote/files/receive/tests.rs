use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use bytes::Bytes;

use super::super::pieces;
use super::*;
use crate::remote::message::WireText;

fn entry(path: usize, name: &str, is: PulledKind) -> Frame {
    Frame::Entry(PulledEntry {
        path,
        name: WireText::from(OsStr::new(name)),
        is,
    })
}

fn folder() -> PulledKind {
    PulledKind::Folder { mode: 0o755 }
}

fn link(target: &str) -> PulledKind {
    PulledKind::Link {
        target: WireText::from(OsStr::new(target)),
    }
}

/// Makes the frames of a file with this content.
fn file(path: usize, name: &str, content: &[u8]) -> Vec<Frame> {
    let size = content.len() as u64;
    let mode = 0o4640;
    vec![
        entry(path, name, PulledKind::File { size, mode }),
        Frame::Data(Bytes::copy_from_slice(content)),
        Frame::End(ContentDigest(*blake3::hash(content).as_bytes())),
    ]
}

struct Base(tempfile::TempDir);

impl Base {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn pull(&self, paths: &[&str], frames: &[Frame]) -> Result<(), ReceiveError> {
        let (sender, mut receiver) = pieces::channel();
        let frames: Vec<Bytes> = frames.iter().map(|frame| frame.encode().unwrap()).collect();
        let feeding = std::thread::spawn(move || {
            for frame in frames {
                // The receiver stops taking frames when one is refused.
                if sender.blocking_send(frame).is_err() {
                    return;
                }
            }
        });
        let paths = paths
            .iter()
            .map(|path| WorkPath::parse(self.0.path(), path.as_ref()).unwrap());
        let result = receive("web1", paths.collect(), &mut receiver);
        drop(receiver);
        feeding.join().unwrap();
        result
    }

    /// Pulls frames that have to be refused, and returns why they were. Nothing may be left of them.
    fn refused(&self, paths: &[&str], frames: &[Frame]) -> String {
        let before = self.names();
        match self.pull(paths, frames) {
            Err(ReceiveError::Files(error @ FileError::Refused { .. })) => {
                assert_eq!(self.names(), before, "{error}");
                error.to_string()
            }
            other => panic!("{other:?} for {frames:?}"),
        }
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn done(frames: impl IntoIterator<Item = Frame>) -> Vec<Frame> {
    frames.into_iter().chain([Frame::Done]).collect()
}

#[test]
fn files_and_folders_come_with_their_modes_and_links_and_none_of_their_rights() {
    let base = Base::new();
    let frames = [
        file(0, "", b"one"),
        vec![entry(1, "", PulledKind::Folder { mode: 0o550 })],
        file(1, "a/deep", b""),
        vec![
            entry(1, "l", link("a/deep")),
            entry(1, "a/up", link("../../x.txt")),
        ],
    ];
    base.pull(&["x.txt", "new/out"], &done(frames.concat()))
        .unwrap();
    assert_eq!(fs::read(base.at("x.txt")).unwrap(), b"one");
    let mode = |path: &str| {
        fs::symlink_metadata(base.at(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!((mode("x.txt"), mode("new/out")), (0o640, 0o550));
    assert_eq!(
        fs::read_link(base.at("new/out/l")).unwrap(),
        Path::new("a/deep")
    );
    assert_eq!(fs::read(base.at("new/out/a/deep")).unwrap(), b"");
    fs::set_permissions(base.at("new/out"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(base.names(), ["new", "x.txt"]);
}

#[test]
fn a_folder_that_is_there_gets_what_came_and_keeps_the_rest() {
    let base = Base::new();
    fs::create_dir_all(base.at("out/sub")).unwrap();
    fs::write(base.at("out/kept"), "kept").unwrap();
    fs::write(base.at("out/sub/old"), "old").unwrap();
    let frames = [
        vec![entry(0, "", folder())],
        file(0, "sub/old", b"new"),
        vec![entry(0, "fresh", PulledKind::Folder { mode: 0o500 })],
        file(0, "fresh/f", b"f"),
    ];
    base.pull(&["out/"], &done(frames.concat())).unwrap();
    assert_eq!(fs::read(base.at("out/kept")).unwrap(), b"kept");
    assert_eq!(fs::read(base.at("out/sub/old")).unwrap(), b"new");
    let mode = fs::metadata(base.at("out/fresh"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o500);
    fs::set_permissions(base.at("out/fresh"), fs::Permissions::from_mode(0o700)).unwrap();
    // The whole folder is pulled into this one.
    let frames = [
        vec![entry(0, "", folder())],
        file(0, "out/kept", b"changed"),
    ];
    base.pull(&["."], &done(frames.concat())).unwrap();
    assert_eq!(fs::read(base.at("out/kept")).unwrap(), b"changed");
    assert_eq!(base.names(), ["out"]);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let base = Base::new();
    fs::write(base.at("secret"), "secret").unwrap();
    let top = || entry(0, "", folder());
    for name in ["../secret", "/etc/x", "a/../../secret", "a\x1b[31m", "a\0"] {
        base.refused(&["out"], &done([top(), entry(0, name, folder())]));
        let frames = [vec![top()], file(0, name, b"x")].concat();
        base.refused(&["out"], &done(frames));
    }
    for target in [
        "/etc/passwd",
        "../..",
        "../../secret",
        "a/../../..",
        "x\x1b",
        "",
    ] {
        base.refused(&["out"], &done([top(), entry(0, "l", link(target))]));
    }
    let reason = base.refused(&["l"], &done([entry(0, "", link("../x"))]));
    assert!(
        reason.contains("`l` is a link that leads outside, to `../x`"),
        "{reason}"
    );
    assert_eq!(fs::read(base.at("secret")).unwrap(), b"secret");
}

#[test]
fn nothing_is_written_through_a_link_that_came_before_or_lies_in_the_way() {
    let base = Base::new();
    let outside = tempfile::tempdir().unwrap();
    let top = || entry(0, "", folder());
    let came = [
        vec![top(), entry(0, "a", link("b"))],
        file(0, "a/file", b"x"),
    ]
    .concat();
    assert!(base.pull(&["out"], &done(came)).is_err());
    assert!(!base.at("out").exists());
    // This one is put in place while the files come.
    fs::create_dir(base.at("out")).unwrap();
    symlink(outside.path(), base.at("out/a")).unwrap();
    let frames = [vec![top()], file(0, "a/file", b"x")].concat();
    assert!(base.pull(&["out"], &done(frames)).is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(base.names(), ["out"]);
    // A link at the place of a file is replaced.
    symlink(outside.path().join("x"), base.at("file")).unwrap();
    base.pull(&["file"], &done(file(0, "", b"new"))).unwrap();
    assert!(fs::symlink_metadata(base.at("file")).unwrap().is_file());
}

#[test]
fn wrong_sizes_and_digests_are_refused() {
    let base = Base::new();
    let good = file(0, "", b"hello");
    let size = |size| entry(0, "", PulledKind::File { size, mode: 0o600 });
    let (data, end) = (good[1].clone(), good[2].clone());
    let wrong = Frame::End(ContentDigest([0; 32]));
    for frames in [
        vec![size(4), data.clone(), end.clone()],
        vec![size(6), data.clone(), end.clone()],
        vec![size(5), data.clone(), wrong],
        vec![size(5), data.clone()],
        vec![size(5), data.clone(), size(5)],
        vec![data.clone(), end.clone()],
        vec![end.clone()],
    ] {
        base.refused(&["x"], &done(frames));
    }
    let huge = base.pull(&["x"], &done([size(u64::MAX)]));
    assert!(
        matches!(huge, Err(ReceiveError::Files(FileError::Write { .. }))),
        "{huge:?}"
    );
    assert_eq!(base.names(), [""; 0]);
    base.pull(&["x"], &done(good)).unwrap();
    assert_eq!(fs::read(base.at("x")).unwrap(), b"hello");
}

#[test]
fn a_host_sends_what_was_asked_for_and_nothing_else() {
    let base = Base::new();
    let (a, b) = (file(0, "", b"a"), file(1, "", b"b"));
    base.refused(&["a"], &done([a.clone(), b.clone()].concat()));
    base.refused(&["a", "b"], &done(b.clone()));
    base.refused(&["a", "b"], &done(a.clone()));
    base.refused(&["a", "b"], &done([b.clone(), a.clone()].concat()));
    base.refused(&["a"], &done([a.clone(), a.clone()].concat()));
    base.refused(&["a"], &done(file(0, "inner", b"x")));
    base.refused(&["a/"], &done(a.clone()));
    base.refused(&["a"], &done([]));
    base.refused(
        &["a"],
        &done([Frame::Problem(Problem::NotMade { path: 7 })]),
    );
    // A stream that ends early is not complete.
    assert!(matches!(base.pull(&["a"], &a), Err(ReceiveError::Cut)));
    assert_eq!(base.names(), [""; 0]);
}

#[test]
fn a_file_that_was_not_made_is_named_and_nothing_of_the_others_appears() {
    let base = Base::new();
    let problem = Frame::Problem(Problem::NotMade { path: 1 });
    let frames = [file(0, "", b"a"), vec![problem]].concat();
    match base.pull(&["a", "b"], &frames) {
        Err(ReceiveError::Files(FileError::NotMade { path })) => assert_eq!(path, base.at("b")),
        other => panic!("{other:?}"),
    }
    // A folder exists where a file goes, so the other file does not appear, either.
    fs::create_dir(base.at("b")).unwrap();
    let frames = [file(0, "", b"a"), file(1, "", b"b")].concat();
    assert!(base.pull(&["a", "b"], &done(frames)).is_err());
    assert_eq!(base.names(), ["b"]);
}

#[test]
fn what_a_host_says_has_no_control_characters() {
    let base = Base::new();
    let message = "\x1b[31mno".to_owned();
    let frames = [Frame::Problem(Problem::Other { message })];
    match base.pull(&["a"], &frames) {
        Err(ReceiveError::Files(error)) => assert!(!error.to_string().contains('\x1b')),
        other => panic!("{other:?}"),
    }
}
