//! The program of the worker, passed as an argument to Python.

use std::io::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::ZlibEncoder;

/// The program itself.
const WORKER: &str = include_str!("../../python/ratchet_ansible.py");

/// The exit code if the Python is too old, so that the script tries another one.
pub(super) const TOO_OLD: u8 = 70;

/// The names and paths under which Python may be found on a host, the most likely first.
const PYTHONS: &str = "python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11 python3.10 python3.9 python3.8 \
                       /usr/local/bin/python3 /usr/libexec/platform-python";

/// Python code that runs the worker. It has no single quotes and no newlines, so any shell passes it on unchanged in
/// single quotes. Even an old Python can parse the part that reports that the Python is too old.
static CODE: LazyLock<String> = LazyLock::new(|| {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder
        .write_all(WORKER.as_bytes())
        .and_then(|()| encoder.finish());
    #[expect(
        clippy::expect_used,
        reason = "a vector takes all that is written to it"
    )]
    let compressed = compressed.expect("compressing in memory does not fail");
    let source = STANDARD.encode(compressed);
    format!(
        "import sys;sys.version_info<(3,8)and(sys.stderr.write(\"ratchet: %s is Python %s, and 3.8 or later is needed\"%(\
         sys.executable,sys.version.split()[0])+chr(10)),sys.exit({TOO_OLD}));sys.path[:]=[p for p in sys.path if p];\
         import base64,zlib;S=\"{source}\";exec(compile(zlib.decompress(base64.b64decode(S)),\"ratchet_ansible.py\",\"exec\"),\
         {{\"__name__\":\"__main__\",\"SOURCE\":S}})"
    )
});

/// Makes a script for `sh` that runs the worker with this Python, given in words, or with the first one that is found.
///
/// The shell keeps running while Python runs. The worker leaves the process group, and ends when its stdin ends, so
/// that it can first end the processes that it has started. Until then something has to remain in the group, and pass
/// on the exit code: the shell.
pub(super) fn script(python: Option<&[String]>) -> String {
    let code = quoted(&CODE);
    match python {
        Some(words) => {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            let name = quoted(&format!(
                "ratchet: there is no Python at {}",
                words.join(" ")
            ));
            format!(
                "{} -u -c {code}; c=$?; case $c in 126|127) echo {name} >&2;; esac; exit $c",
                words.join(" ")
            )
        }
        None => format!(
            "b={code}; for p in {PYTHONS}; do command -v \"$p\" >/dev/null 2>&1 || continue; \"$p\" -u -c \"$b\"; c=$?; \
             case $c in {TOO_OLD}|126|127) ;; *) exit $c;; esac; done; \
             echo \"ratchet: there is no Python 3.8 or later in PATH; name one by ansible_python_interpreter\" >&2; exit 127"
        ),
    }
}

/// Quotes a text as one word for a shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worker_fits_into_an_argument_many_times() {
        // Linux limits a single argument to 128 KiB.
        assert!(CODE.len() < 32 * 1024, "{}", CODE.len());
        assert!(!CODE.contains(['\'', '\n']));
    }

    #[test]
    fn a_quoted_text_is_one_word_for_a_shell() {
        let output = std::process::Command::new("sh")
            .args([
                "-c",
                &format!("printf %s {}", quoted("it's $HOME `a` \"b\" \\")),
            ])
            .output();
        assert_eq!(output.unwrap().stdout, b"it's $HOME `a` \"b\" \\");
    }
}
