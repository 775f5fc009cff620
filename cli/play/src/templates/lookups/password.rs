//! The lookup that generates passwords, and stores them in files.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use minijinja::value::{Kwargs, Rest};
use minijinja::{Error, Value};

use super::super::filters::{Random, expanded_user, password_hash};
use super::super::function_arguments::{FunctionArguments, members, wrong};
use super::super::values::text_of;
use super::super::variables::Variables;
use super::inline_options;

/// Returns the password in the file that a term names. If the file does not exist, it is created with a new password.
pub(super) fn password(
    terms: &[Value],
    given: &FunctionArguments,
    variables: &Variables,
) -> Result<Vec<Value>, Error> {
    let mut passwords = Vec::new();
    for term in terms {
        let (path, inline) = inline_options(&text_of(term));
        for (name, _) in &inline {
            if !["length", "chars", "encrypt", "ident", "seed"].contains(&name.as_str()) {
                return Err(wrong(format!("`password` has no argument `{name}`")));
            }
        }
        let option = |name: &str| {
            let inline = inline
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.clone());
            inline.or_else(|| given.text(name))
        };
        let characters = if inline.iter().any(|(name, _)| name == "chars") {
            chars(&option("chars").unwrap_or_default())
        } else {
            match given.value("chars") {
                Some(list) if list.as_str().is_none() && !list.is_none() => {
                    members(list)?.iter().map(text_of).collect()
                }
                Some(text) if !text.is_none() => chars(&text_of(text)),
                _ => ["ascii_letters", "digits", ".,:-_"]
                    .map(str::to_owned)
                    .to_vec(),
            }
        };
        let length = option("length").unwrap_or_else(|| "20".to_owned());
        let length = length
            .parse()
            .map_err(|_| wrong(format!("`length` has to be a number, not {length}")))?;
        let path = variables.search().base().join(expanded_user(&path)?);
        let wanted = Wanted {
            length,
            characters: candidates(&characters),
            encrypt: option("encrypt"),
            ident: option("ident"),
            seed: option("seed"),
        };
        passwords.push(Value::from(wanted.password(&path)?));
    }
    Ok(passwords)
}

/// The arguments of the password hash.
const NAMES: &[&str] = &["hashtype", "salt", "salt_size", "rounds", "ident"];

/// The options of a password.
struct Wanted {
    length: usize,
    characters: Vec<char>,
    encrypt: Option<String>,
    ident: Option<String>,
    seed: Option<String>,
}

impl Wanted {
    fn password(&self, path: &Path) -> Result<String, Error> {
        let is_kept = path != Path::new("/dev/null");
        let failed = |error| wrong(format!("`{}` cannot be used: {error}", path.display()));
        if is_kept && !path.exists() {
            let folder = path.parent().unwrap_or(Path::new("."));
            std::fs::create_dir_all(folder).map_err(failed)?;
            let mut text = self.new_password()?;
            if self.encrypt.is_some() {
                text = format!("{text} salt={}", self.new_salt()?);
            }
            // Another process may create the file at the same time. A hard link is atomic: the first one wins, and the
            // other one uses the password of the first.
            let temporary = folder.join(format!(
                ".{}.{}",
                path.file_name().unwrap_or_default().to_string_lossy(),
                std::process::id()
            ));
            let mut file = OpenOptions::new();
            let mut file = file
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)
                .map_err(failed)?;
            let written = file
                .write_all(format!("{text}\n").as_bytes())
                .and_then(|()| file.sync_all());
            let linked = written.and_then(|()| match std::fs::hard_link(&temporary, path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            });
            std::fs::remove_file(&temporary).map_err(failed)?;
            linked.map_err(failed)?;
        }
        let text = if is_kept {
            std::fs::read_to_string(path).map_err(failed)?
        } else {
            self.new_password()?
        };
        let text = text.trim_end();
        let (text, ident) = match text.rsplit_once(" ident=") {
            Some((text, ident)) => (text, Some(ident.to_owned())),
            None => (text, None),
        };
        let (plain, salt) = text
            .rsplit_once(" salt=")
            .map_or((text, None), |(plain, salt)| (plain, Some(salt.to_owned())));
        let Some(encrypt) = &self.encrypt else {
            return Ok(plain.to_owned());
        };
        let salt = if let Some(salt) = salt {
            salt
        } else {
            let salt = self.new_salt()?;
            if is_kept {
                std::fs::write(path, format!("{plain} salt={salt}\n")).map_err(failed)?;
            }
            salt
        };
        let mut options = vec![
            ("hashtype", Value::from(encrypt.as_str())),
            ("salt", Value::from(salt)),
        ];
        options.extend(
            self.ident
                .clone()
                .or(ident)
                .map(|ident| ("ident", Value::from(ident))),
        );
        let options: Kwargs = options.into_iter().collect();
        password_hash(
            plain,
            &FunctionArguments::new("password", NAMES, &Rest(Vec::new()), &options)?,
        )
    }

    fn new_password(&self) -> Result<String, Error> {
        if self.characters.is_empty() {
            return Err(wrong("`chars` contains no characters"));
        }
        let seed = self.seed.as_ref().map(|seed| Value::from(seed.as_str()));
        let mut random = Random::new(seed.as_ref())?;
        choose(&mut random, &self.characters, self.length)
    }

    fn new_salt(&self) -> Result<String, Error> {
        let characters: Vec<char> = ('a'..='z')
            .chain('A'..='Z')
            .chain('0'..='9')
            .chain(['.', '/'])
            .collect();
        let is_blowfish = matches!(self.encrypt.as_deref(), Some("bcrypt" | "blowfish"));
        let mut salt = choose(
            &mut Random::new(None)?,
            &characters,
            if is_blowfish { 21 } else { 16 },
        )?;
        if is_blowfish {
            // The last character of such a salt has only two significant bits.
            salt.push('.');
        }
        Ok(salt)
    }
}

fn choose(random: &mut Random, characters: &[char], length: usize) -> Result<String, Error> {
    let values: Vec<Value> = characters
        .iter()
        .map(|character| Value::from(character.to_string()))
        .collect();
    let mut text = String::new();
    for _ in 0..length {
        text.push_str(&text_of(&random.choice(&values)?));
    }
    Ok(text)
}

/// Returns the kinds of characters that a text names. Two commas mean a comma.
fn chars(text: &str) -> Vec<String> {
    let mut kinds = Vec::new();
    if text.contains(",,") {
        kinds.push(",".to_owned());
    }
    let text = text.replace(",,", ",");
    kinds.extend(
        text.split(',')
            .filter(|kind| !kind.is_empty())
            .map(str::to_owned),
    );
    kinds
}

/// Returns the characters of all kinds, as in Python's module `string`, without quotes.
fn candidates(kinds: &[String]) -> Vec<char> {
    let lower: String = ('a'..='z').collect();
    let upper: String = ('A'..='Z').collect();
    let punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    let of = |kind: &String| match kind.as_str() {
        "ascii_letters" => format!("{lower}{upper}"),
        "ascii_lowercase" => lower.clone(),
        "ascii_uppercase" => upper.clone(),
        "digits" => "0123456789".to_owned(),
        "hexdigits" => "0123456789abcdefABCDEF".to_owned(),
        "octdigits" => "01234567".to_owned(),
        "punctuation" => punctuation.to_owned(),
        "whitespace" => " \t\n\r\u{b}\u{c}".to_owned(),
        "printable" => format!("0123456789{lower}{upper}{punctuation} \t\n\r\u{b}\u{c}"),
        other => other.to_owned(),
    };
    let all: String = kinds.iter().map(of).collect();
    all.chars()
        .filter(|character| !matches!(character, '"' | '\''))
        .collect()
}
