use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;
use crate::Fingerprint;

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Returns the key of one declared path, read without any cache.
fn key(base: &Path, declared: &str) -> crate::Key {
    let inputs = InputFiles::read(&FileHasher::default(), base, [declared]).unwrap();
    Fingerprint::builder().files(&inputs).build().key()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn content_mode_and_declared_path_count() {
    let folder = folder();
    let base = folder.path();
    fs::write(base.join("a"), "one").unwrap();
    fs::write(base.join("b"), "one").unwrap();
    set_mode(&base.join("a"), 0o644);
    set_mode(&base.join("b"), 0o644);
    let first = key(base, "a");
    assert_eq!(first, key(base, "a"));
    assert_ne!(first, key(base, "b"));
    assert_ne!(first, key(base, "./a"));
    fs::write(base.join("a"), "two").unwrap();
    let second = key(base, "a");
    assert_ne!(first, second);
    set_mode(&base.join("a"), 0o755);
    assert_ne!(second, key(base, "a"));
}

#[test]
fn the_folder_a_job_runs_in_does_not_count() {
    let (here, there) = (folder(), folder());
    for base in [&here, &there] {
        fs::create_dir(base.path().join("data")).unwrap();
        set_mode(&base.path().join("data"), 0o755);
        fs::write(base.path().join("data/x"), "1").unwrap();
    }
    assert_eq!(key(here.path(), "data"), key(there.path(), "data"));
}

#[test]
fn everything_in_a_folder_counts() {
    let folder = folder();
    let base = folder.path();
    fs::create_dir_all(base.join("d/sub")).unwrap();
    fs::write(base.join("d/sub/x"), "1").unwrap();
    let mut seen = vec![key(base, "d")];
    let mut step = |what: &str, act: &dyn Fn()| {
        act();
        let now = key(base, "d");
        assert!(!seen.contains(&now), "{what}");
        seen.push(now);
    };
    step("a new file", &|| fs::write(base.join("d/y"), "2").unwrap());
    step("its name", &|| {
        fs::rename(base.join("d/y"), base.join("d/z")).unwrap();
    });
    step("its folder", &|| {
        fs::rename(base.join("d/z"), base.join("d/sub/z")).unwrap();
    });
    step("its content", &|| {
        fs::write(base.join("d/sub/z"), "3").unwrap();
    });
    step("its mode", &|| set_mode(&base.join("d/sub/z"), 0o600));
    step("an empty folder", &|| {
        fs::create_dir(base.join("d/empty")).unwrap();
    });
    step("a folder's mode", &|| {
        set_mode(&base.join("d/empty"), 0o700);
    });
    step("a link", &|| symlink("sub/x", base.join("d/link")).unwrap());
    step("what a link leads to", &|| {
        fs::write(base.join("d/sub/x"), "4").unwrap();
    });
    step("a dangling link", &|| {
        symlink("nowhere", base.join("d/lost")).unwrap();
    });
}

#[test]
fn links_outside_the_folder_count_by_content() {
    let folder = folder();
    let base = folder.path();
    fs::create_dir_all(base.join("d")).unwrap();
    fs::create_dir_all(base.join("elsewhere")).unwrap();
    fs::write(base.join("elsewhere/x"), "1").unwrap();
    symlink("../elsewhere", base.join("d/link")).unwrap();
    let before = key(base, "d");
    fs::write(base.join("elsewhere/x"), "2").unwrap();
    assert_ne!(before, key(base, "d"));
}

#[test]
fn links_in_a_circle_end() {
    let folder = folder();
    let base = folder.path();
    fs::create_dir_all(base.join("d/a/b")).unwrap();
    symlink("../..", base.join("d/a/b/up")).unwrap();
    symlink("..", base.join("d/a/again")).unwrap();
    assert_eq!(key(base, "d"), key(base, "d"));
}

#[test]
fn what_has_no_content_is_refused() {
    let folder = folder();
    let base = folder.path();
    let hasher = FileHasher::default();
    let missing = InputFiles::read(&hasher, base, ["missing"]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        format!("could not read {}", base.join("missing").display())
    );
    fs::create_dir(base.join("d")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(base.join("d/socket")).unwrap();
    let socket = InputFiles::read(&hasher, base, ["d"]).unwrap_err();
    assert!(matches!(socket, CacheError::NotAFile { path } if path == base.join("d/socket")));
}

#[test]
fn a_change_and_a_change_back_is_a_change() {
    let folder = folder();
    let base = folder.path();
    fs::create_dir(base.join("d")).unwrap();
    fs::write(base.join("d/x"), "1").unwrap();
    let hasher = FileHasher::default();
    let inputs = InputFiles::read(&hasher, base, ["d"]).unwrap();
    assert_eq!(inputs.verify(&hasher), Ok(()));
    // Written next to it and renamed: another inode, whatever the clock of the file system shows.
    fs::write(base.join("d/new"), "1").unwrap();
    fs::rename(base.join("d/new"), base.join("d/x")).unwrap();
    assert_eq!(
        InputFiles::read(&hasher, base, ["d"]).unwrap().files[0].content,
        inputs.files[0].content
    );
    assert_eq!(
        inputs.verify(&hasher),
        Err(InputChanged { path: "d".into() })
    );
    fs::remove_dir_all(base.join("d")).unwrap();
    assert_eq!(
        inputs.verify(&hasher),
        Err(InputChanged { path: "d".into() })
    );
}

#[test]
fn a_program_is_found_and_so_are_its_scripts() {
    let folder = folder();
    let base = folder.path();
    for name in ["passed/tool", "bin/tool", "script.py", "other"] {
        fs::create_dir_all(base.join(name).parent().unwrap()).unwrap();
        fs::write(base.join(name), name).unwrap();
        set_mode(&base.join(name), 0o644);
    }
    set_mode(&base.join("bin/tool"), 0o755);
    let command: Vec<OsString> = ["tool", "script.py", "--flag", "bin", "missing.py"]
        .map(OsString::from)
        .into();
    // Neither a missing folder nor a file without permission to execute ends the search.
    let folders = ["nowhere", "passed", "bin"].map(|folder| base.join(folder));
    let search_path = std::env::join_paths(folders).unwrap();
    let hasher = FileHasher::default();
    let found = InputFiles::of_command(&hasher, base, &command, Some(&search_path)).unwrap();
    let declared: Vec<_> = found.iter().map(|file| file.declared.clone()).collect();
    assert_eq!(
        declared,
        [
            base.join("bin/tool"),
            PathBuf::from("script.py"),
            PathBuf::from("bin")
        ]
    );
    let none = InputFiles::of_command(&hasher, base, &["tool".into()], None).unwrap();
    assert!(none.is_empty());
}

#[test]
fn every_file_and_folder_that_an_argument_names_counts() {
    let folder = folder();
    let base = folder.path();
    fs::create_dir(base.join("rules")).unwrap();
    for name in ["in.txt", "rules/a", "tool"] {
        fs::write(base.join(name), "1").unwrap();
    }
    let hasher = FileHasher::default();
    let key = |command: &[OsString]| {
        let programs = InputFiles::of_command(&hasher, base, command, None).unwrap();
        Fingerprint::builder()
            .worker_programs(&programs)
            .build()
            .key()
    };
    for (argument, file) in [
        ("in.txt", "in.txt"),
        ("--in=in.txt", "in.txt"),
        ("if=in.txt", "in.txt"),
        ("@in.txt", "in.txt"),
        ("--data=@in.txt", "in.txt"),
        ("-fin.txt", "in.txt"),
        ("rules", "rules/a"),
        ("--rules=rules/", "rules/a"),
        ("-Irules", "rules/b"),
    ] {
        let command = ["./tool".into(), argument.into()];
        let (at_start, before) = (
            ProgramStamps::of(base, &command, None).unwrap(),
            key(&command),
        );
        let read = InputFiles::of_command(&hasher, base, &command, None).unwrap();
        assert!(read.have_stamps(&at_start), "{argument}");
        fs::write(base.join(file), "2").unwrap();
        assert_ne!(key(&command), before, "{argument}");
        assert!(read.verify(&hasher).is_err(), "{argument}");
        let now = InputFiles::of_command(&hasher, base, &command, None).unwrap();
        assert!(!now.have_stamps(&at_start), "{argument}");
        fs::write(base.join(file), "1").unwrap();
    }
    for argument in ["-", "--", "=", "@", "--in=", "missing", "-i", "/dev/null"] {
        let command = ["./tool".into(), argument.into()];
        assert_eq!(key(&command), key(&["./tool".into()]), "{argument}");
    }
}

#[test]
fn a_folder_argument_with_too_many_files_is_refused_by_name() {
    let folder = folder();
    let base = folder.path();
    fs::create_dir(base.join("many")).unwrap();
    for number in 0..=MAX_FILES_IN_FOLDER {
        fs::write(base.join("many").join(number.to_string()), "").unwrap();
    }
    let command = ["tool".into(), "many".into()];
    let hasher = FileHasher::default();
    for refused in [
        InputFiles::of_command(&hasher, base, &command, None).map(|_| ()),
        ProgramStamps::of(base, &command, None).map(|_| ()),
    ] {
        assert!(
            matches!(&refused, Err(CacheError::TooManyFiles { path, .. }) if path == Path::new("many")),
            "{refused:?}"
        );
    }
    // A declared folder may have any size.
    assert!(InputFiles::read(&hasher, base, ["many"]).is_ok());
}
