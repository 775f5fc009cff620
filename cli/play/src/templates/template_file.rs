//! Template files.

mod about;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind};

use super::engine;
use super::source::{self, Delimiters, Escapes};
use super::undefined::TemplateError;
use super::values::text_of;
use super::variables::Variables;
pub(crate) use about::with_template_variables;

/// The options with which a template file is read.
#[derive(Debug, Clone)]
pub(crate) struct TemplateOptions {
    /// Whether the newline after a statement or a comment is removed.
    pub(crate) trim_blocks: bool,
    /// Whether the blanks between the beginning of a line and a statement are removed.
    pub(crate) lstrip_blocks: bool,
    /// Whether the newline at the end of an included file is kept.
    pub(crate) keep_trailing_newline: bool,
    /// The newline of the result.
    pub(crate) newline_sequence: String,
    /// The delimiters of a value.
    pub(crate) variable: (String, String),
    /// The delimiters of a statement.
    pub(crate) block: (String, String),
    /// The delimiters of a comment.
    pub(crate) comment: (String, String),
    /// The prefix of a line that is a statement as a whole.
    pub(crate) line_statement_prefix: Option<String>,
    /// The prefix of a comment that extends to the end of the line.
    pub(crate) line_comment_prefix: Option<String>,
    /// The folders that are searched for templates that the file includes, imports or extends.
    pub(crate) folders: Vec<PathBuf>,
}

impl Default for TemplateOptions {
    fn default() -> Self {
        let Delimiters {
            variable,
            block,
            comment,
            line_statement,
        } = Delimiters::default();
        Self {
            trim_blocks: true,
            lstrip_blocks: false,
            keep_trailing_newline: false,
            newline_sequence: "\n".to_owned(),
            variable,
            block,
            comment,
            line_statement_prefix: line_statement,
            line_comment_prefix: None,
            folders: Vec::new(),
        }
    }
}

/// The name of the file itself in the engine. No other file can have it.
const ITSELF: &str = "\0";

/// The beginning of a first line that sets options of the file.
const HEADER: &str = "#jinja2:";

/// Renders the text of a file, as the module `template` does.
pub(crate) fn template_file(
    text: &str,
    variables: &Variables,
    options: &TemplateOptions,
) -> Result<String, TemplateError> {
    let mut options = options.clone();
    let text = options.take_header(text).map_err(TemplateError::Wrong)?;
    let begins = [&options.variable.0, &options.block.0, &options.comment.0];
    if !begins.iter().any(|begin| text.contains(begin.as_str())) {
        return Ok(text.to_owned());
    }
    let engine = options.engine(text).map_err(TemplateError::Wrong)?;
    let newline = &options.newline_sequence;
    let rendered = engine::render_with(&engine, ITSELF, text, newline, || variables.root())?;
    Ok(text_of(&rendered))
}

impl TemplateOptions {
    fn delimiters(&self) -> Delimiters {
        Delimiters {
            variable: self.variable.clone(),
            block: self.block.clone(),
            comment: self.comment.clone(),
            line_statement: self.line_statement_prefix.clone(),
        }
    }

    fn engine(&self, text: &str) -> Result<Environment<'static>, String> {
        let mut syntax = SyntaxConfig::builder();
        syntax
            .variable_delimiters(self.variable.0.clone(), self.variable.1.clone())
            .block_delimiters(self.block.0.clone(), self.block.1.clone())
            .comment_delimiters(self.comment.0.clone(), self.comment.1.clone())
            .trim_blocks(self.trim_blocks)
            .lstrip_blocks(self.lstrip_blocks)
            .keep_trailing_newline(self.keep_trailing_newline);
        if let Some(prefix) = &self.line_statement_prefix {
            syntax.line_statement_prefix(prefix.clone());
        }
        if let Some(prefix) = &self.line_comment_prefix {
            syntax.line_comment_prefix(prefix.clone());
        }
        let mut engine = engine::with_filters();
        engine.set_syntax(
            syntax
                .build()
                .map_err(|error| super::errors::one_line(&error))?,
        );
        let delimiters = self.delimiters();
        let folders = self.folders.clone();
        let newline = self.newline_sequence.clone();
        // Python's Jinja treats all kinds of newlines as equal.
        let prepared = move |text: &str| {
            let text = text.replace("\r\n", "\n").replace('\r', "\n");
            source::prepared(&text, &delimiters, Escapes::Python, &newline)
        };
        let itself = prepared(text);
        engine.set_loader(move |name| {
            if name == ITSELF {
                return Ok(Some(itself.clone()));
            }
            let Some(path) = found(&folders, name) else {
                return Ok(None);
            };
            let text = std::fs::read_to_string(&path).map_err(|error| {
                let said = format!("`{}` cannot be read: {error}", path.display());
                minijinja::Error::new(ErrorKind::InvalidOperation, said)
            })?;
            Ok(Some(prepared(&text)))
        });
        Ok(engine)
    }

    /// Removes the first line if it sets options, and applies them.
    fn take_header<'a>(&mut self, text: &'a str) -> Result<&'a str, String> {
        let Some(behind) = text.strip_prefix(HEADER) else {
            return Ok(text);
        };
        let Some((line, rest)) = behind.split_once('\n') else {
            return Err(format!("nothing follows the line `{HEADER}`"));
        };
        for pair in line.split(',') {
            let (key, value) = pair
                .split_once(':')
                .ok_or_else(|| format!("`{HEADER}` takes `NAME: VALUE`, not `{}`", pair.trim()))?;
            self.set(key.trim(), value.trim())?;
        }
        Ok(rest)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let flag = || match value {
            "True" => Ok(true),
            "False" => Ok(false),
            _ => Err(format!(
                "`{HEADER} {key}` has to be True or False, not {value}"
            )),
        };
        let text = || {
            let quote = value.chars().next().filter(|first| "'\"".contains(*first));
            let inside = quote.and_then(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
            let inside = inside.map(|inside| inside.replace("\\r", "\r").replace("\\n", "\n"));
            inside
                .ok_or_else(|| format!("`{HEADER} {key}` has to be a text in quotes, not {value}"))
        };
        match key {
            "trim_blocks" => self.trim_blocks = flag()?,
            "lstrip_blocks" => self.lstrip_blocks = flag()?,
            "keep_trailing_newline" => self.keep_trailing_newline = flag()?,
            "newline_sequence" => self.newline_sequence = text()?,
            "variable_start_string" => self.variable.0 = text()?,
            "variable_end_string" => self.variable.1 = text()?,
            "block_start_string" => self.block.0 = text()?,
            "block_end_string" => self.block.1 = text()?,
            "comment_start_string" => self.comment.0 = text()?,
            "comment_end_string" => self.comment.1 = text()?,
            "line_statement_prefix" => self.line_statement_prefix = Some(text()?),
            "line_comment_prefix" => self.line_comment_prefix = Some(text()?),
            _ => return Err(format!("`{HEADER}` has no option `{key}`")),
        }
        Ok(())
    }
}

/// Finds the file that a template names, in the first folder that has it.
fn found(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    let name = Path::new(name);
    let relative: Cow<'_, Path> = name
        .strip_prefix("/")
        .map_or(Cow::Borrowed(name), Cow::Borrowed);
    let goes_up = relative
        .components()
        .any(|part| matches!(part, std::path::Component::ParentDir));
    if goes_up {
        return None;
    }
    let mut paths = folders.iter().map(|folder| folder.join(&relative));
    paths.find(|path| path.is_file())
}
