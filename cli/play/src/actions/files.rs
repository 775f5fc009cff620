//! The actions that bring files from the controller to a host.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::encoding::encoded;
use super::{ActionRequest, PlannedAction, command, find_file, option, text};
use crate::call::{Action, CopySource};
use crate::templates::{TemplateOptions, template_file, with_template_variables};
use crate::vault::Vault;

/// The planned action, or why the task is refused.
type Planning = Result<PlannedAction, String>;

/// The arguments that only the controller reads, so that they are not passed to the module.
const OF_CONTROLLER: [&str; 3] = ["content", "src", "local_follow"];

/// Plans `copy`: finds the file or folder on the controller, or takes the content from the arguments.
pub(super) fn copy(request: ActionRequest<'_>) -> Planning {
    let mut arguments = request.arguments;
    if option(&arguments, "remote_src") {
        arguments.shift_remove("decrypt");
        let module = Action::Module("ansible.legacy.copy".to_owned());
        return Ok(PlannedAction::Remote(module, arguments));
    }
    let dest = required(&arguments, "dest", "copy")?;
    let content = arguments
        .get("content")
        .filter(|value| !value.is_null())
        .cloned();
    let src = text(&arguments, "src");
    let source = match (content, src) {
        (Some(_), Some(_)) => return Err("`src` and `content` exclude each other".to_owned()),
        (None, None) => return Err("`copy` needs `src` or `content`".to_owned()),
        (Some(_), None) if dest.ends_with('/') => {
            return Err("`content` needs a file as `dest`, not a folder".to_owned());
        }
        (Some(content), None) => {
            let bytes = match content {
                Value::String(text) => text.into_bytes(),
                other @ (Value::Array(_) | Value::Object(_)) => json_text(&other).into_bytes(),
                other => {
                    crate::templates::text_of(&crate::templates::from_json(other)).into_bytes()
                }
            };
            let name = Path::new(&dest).file_name().unwrap_or_default();
            CopySource::Content {
                bytes,
                name: name.to_string_lossy().into_owned(),
            }
        }
        (None, Some(src)) => {
            let path = find_file(request.variables.search(), "files", &src)?;
            if path.is_dir() {
                CopySource::Folder {
                    path,
                    only_inside: src.ends_with('/'),
                }
            } else {
                CopySource::File(path)
            }
        }
    };
    for name in OF_CONTROLLER {
        arguments.shift_remove(name);
    }
    Ok(PlannedAction::Remote(Action::Copy(source), arguments))
}

/// Plans `template`: renders the file on the controller, so that the host receives the result.
pub(super) fn template(request: ActionRequest<'_>) -> Planning {
    let mut arguments = request.arguments;
    required(&arguments, "dest", "template")?;
    let src = required(&arguments, "src", "template")?;
    let path = find_file(request.variables.search(), "templates", &src)?;
    let bytes = plain_content(&path, Some(request.variables.vault()))?;
    let written =
        String::from_utf8(bytes).map_err(|_| format!("`{}` is not valid UTF-8", path.display()))?;
    let flag = |name: &str, usual: bool| {
        arguments
            .get(name)
            .map_or(usual, |_| option(&arguments, name))
    };
    let folders = request.variables.search().template_folders();
    let own = path.parent().map(Path::to_path_buf);
    let usual = TemplateOptions::default();
    let pair = |begin: &str, end: &str, usual: (String, String)| {
        let begin = text(&arguments, begin).unwrap_or(usual.0);
        (begin, text(&arguments, end).unwrap_or(usual.1))
    };
    let newline = text(&arguments, "newline_sequence");
    let newline = newline.map(|word| word.replace("\\n", "\n").replace("\\r", "\r"));
    let options = TemplateOptions {
        trim_blocks: flag("trim_blocks", true),
        lstrip_blocks: flag("lstrip_blocks", false),
        newline_sequence: newline.unwrap_or(usual.newline_sequence),
        variable: pair(
            "variable_start_string",
            "variable_end_string",
            usual.variable,
        ),
        block: pair("block_start_string", "block_end_string", usual.block),
        comment: pair("comment_start_string", "comment_end_string", usual.comment),
        folders: own.into_iter().chain(folders).collect(),
        ..TemplateOptions::default()
    };
    let dest = text(&arguments, "dest");
    let variables = with_template_variables(request.variables, &src, &path, dest.as_deref())?;
    if text(&arguments, "mode").as_deref() == Some("preserve") {
        let about = std::fs::metadata(&path).map_err(|error| error.to_string())?;
        let mode = format!("0{:03o}", about.permissions().mode() & 0o7777);
        arguments.insert("mode".to_owned(), mode.into());
    }
    let encoding = text(&arguments, "output_encoding").unwrap_or_else(|| "utf-8".to_owned());
    let rendered = template_file(&written, &variables, &options)
        .map_err(|error| format!("`{}`: {error}", path.display()))?;
    let name = path.file_name().unwrap_or_default();
    let source = CopySource::Content {
        bytes: encoded(&rendered, &encoding)?,
        name: name.to_string_lossy().into_owned(),
    };
    for name in [
        "src",
        "trim_blocks",
        "lstrip_blocks",
        "newline_sequence",
        "block_start_string",
        "block_end_string",
        "variable_start_string",
        "variable_end_string",
        "comment_start_string",
        "comment_end_string",
        "output_encoding",
    ] {
        arguments.shift_remove(name);
    }
    Ok(PlannedAction::Remote(Action::Copy(source), arguments))
}

/// Plans `script`: finds the script on the controller.
pub(super) fn script(request: ActionRequest<'_>) -> Planning {
    let command = command(&request)?;
    let line = ratchet_input::value::split_words(&command)
        .map_err(|error| format!("the command cannot be read: {error}"))?;
    let Some((name, rest)) = line.words.split_first() else {
        return Err("`script` names no file".to_owned());
    };
    let path = find_file(request.variables.search(), "files", name)?;
    let action = Action::Script {
        path,
        words: rest.to_vec(),
    };
    let mut arguments = request.arguments;
    arguments.shift_remove("cmd");
    Ok(PlannedAction::Remote(action, arguments))
}

/// Plans `unarchive`: finds the archive on the controller, unless it is on the host or at a URL.
pub(super) fn unarchive(request: ActionRequest<'_>) -> Planning {
    let arguments = request.arguments;
    let src = required(&arguments, "src", "unarchive")?;
    let is_remote = option(&arguments, "remote_src") || src.contains("://");
    let copies = arguments
        .get("copy")
        .is_none_or(|_| option(&arguments, "copy"));
    if is_remote || !copies {
        return Ok(PlannedAction::Remote(Action::Unarchive(None), arguments));
    }
    let path = find_file(request.variables.search(), "files", &src)?;
    Ok(PlannedAction::Remote(
        Action::Unarchive(Some(path)),
        arguments,
    ))
}

/// Plans `assemble`: joins the fragments on the controller, unless they are on the host.
pub(super) fn assemble(request: ActionRequest<'_>) -> Planning {
    let mut arguments = request.arguments;
    let is_remote = arguments
        .get("remote_src")
        .is_none_or(|_| option(&arguments, "remote_src"));
    if is_remote {
        let module = Action::Module("ansible.legacy.assemble".to_owned());
        return Ok(PlannedAction::Remote(module, arguments));
    }
    let src = required(&arguments, "src", "assemble")?;
    let folder = find_file(request.variables.search(), "files", &src)?;
    let delimiter = text(&arguments, "delimiter");
    let pattern = text(&arguments, "regexp");
    let ignores_hidden = option(&arguments, "ignore_hidden");
    let decrypts = arguments
        .get("decrypt")
        .is_none_or(|_| option(&arguments, "decrypt"));
    let bytes = assembled(
        &folder,
        delimiter.as_deref(),
        pattern.as_deref(),
        ignores_hidden,
        decrypts.then(|| request.variables.vault().as_ref()),
    )?;
    let dest = required(&arguments, "dest", "assemble")?;
    let name = Path::new(&dest).file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    for name in [
        "src",
        "remote_src",
        "delimiter",
        "regexp",
        "ignore_hidden",
        "decrypt",
    ] {
        arguments.shift_remove(name);
    }
    Ok(PlannedAction::Remote(
        Action::Copy(CopySource::Content { bytes, name }),
        arguments,
    ))
}

/// Reads a file of the controller, and decrypts it if there is a vault and the file is encrypted.
fn plain_content(path: &Path, vault: Option<&Vault>) -> Result<Vec<u8>, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string());
    let plain = bytes.and_then(|bytes| match vault {
        Some(vault) => vault.plain(bytes),
        None => Ok(bytes),
    });
    plain.map_err(|reason| format!("`{}` cannot be read: {reason}", path.display()))
}

/// Concatenates the files of a folder, in the order of their names. Encrypted ones are decrypted if there is a vault.
fn assembled(
    folder: &Path,
    delimiter: Option<&str>,
    pattern: Option<&str>,
    ignores_hidden: bool,
    vault: Option<&Vault>,
) -> Result<Vec<u8>, String> {
    let unreadable = |error| format!("`{}` cannot be read: {error}", folder.display());
    let pattern = pattern
        .map(fancy_regex::Regex::new)
        .transpose()
        .map_err(|error| format!("`regexp`: {error}"))?;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort_unstable();
    let delimiter = delimiter.map(|text| text.replace("\\n", "\n"));
    let mut all: Vec<u8> = Vec::new();
    let mut is_first = true;
    for path in paths.iter().filter(|path| path.is_file()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if ignores_hidden && name.starts_with('.') {
            continue;
        }
        if let Some(pattern) = &pattern
            && !pattern.is_match(&name).map_err(|error| error.to_string())?
        {
            continue;
        }
        let part = plain_content(path, vault)?;
        if !is_first && let Some(delimiter) = &delimiter {
            if !all.ends_with(b"\n") {
                all.push(b'\n');
            }
            all.extend(delimiter.as_bytes());
            if !delimiter.ends_with('\n') {
                all.push(b'\n');
            }
        }
        is_first = false;
        all.extend(part);
    }
    Ok(all)
}

/// Formats a value other than text as it is written into a file: JSON with blanks after commas and colons.
fn json_text(value: &Value) -> String {
    let value = crate::templates::from_json(value.clone());
    let variables = crate::templates::Variables::default()
        .with_values(Arc::new(BTreeMap::from([("content".to_owned(), value)])));
    crate::templates::expression("content | to_json", &variables).map_or_else(
        |error| error.to_string(),
        |text| crate::templates::text_of(&text),
    )
}

fn required(arguments: &Map<String, Value>, name: &str, module: &str) -> Result<String, String> {
    text(arguments, name).ok_or_else(|| format!("`{module}` needs `{name}`"))
}
