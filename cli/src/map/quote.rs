//! Commands as lines that can be pasted into a shell.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// The words of a command as one line, quoted where a shell would read them otherwise.
pub(crate) fn shell_line(words: &[OsString]) -> Vec<u8> {
    let mut line = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            line.push(b' ');
        }
        quote(word.as_bytes(), &mut line);
    }
    line
}

fn quote(word: &[u8], line: &mut Vec<u8>) {
    let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:,+@%=".contains(byte);
    // A word with `=` in front of the command would be an assignment.
    if !word.is_empty() && word.iter().all(harmless) && !(line.is_empty() && word.contains(&b'=')) {
        line.extend_from_slice(word);
        return;
    }
    line.push(b'\'');
    for byte in word {
        match byte {
            b'\'' => line.extend_from_slice(b"'\\''"),
            byte => line.push(*byte),
        }
    }
    line.push(b'\'');
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_pasted_is_what_was_meant() {
        let words: Vec<OsString> = [
            &b"printf"[..],
            b"%s|",
            b"",
            b"a b",
            b"it's",
            b"$HOME",
            b"*",
            b"~",
            b"\xff\n!",
            b"-x=1",
        ]
        .iter()
        .map(|word| OsString::from_vec(word.to_vec()))
        .collect();
        let line = OsString::from_vec(shell_line(&words));
        let output = Command::new("sh").arg("-c").arg(line).output().unwrap();
        assert_eq!(output.stdout, b"|a b|it's|$HOME|*|~|\xff\n!|-x=1|");
    }

    #[test]
    fn plain_words_stay_plain() {
        let words = ["convert", "a.png", "x=1"].map(OsString::from);
        assert_eq!(shell_line(&words), b"convert a.png x=1");
        assert_eq!(shell_line(&["A=1".into()]), b"'A=1'");
    }
}
