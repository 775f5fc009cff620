//! Lookups that run commands on the controller.

use minijinja::{Error, Value};

use super::super::function_arguments::wrong;
use super::super::values::text_of;
use super::super::variables::Variables;
use crate::programs::{self, Program};

/// Returns the output of commands, without the blanks at its end.
pub(super) fn pipe(terms: &[Value], variables: &Variables) -> Result<Vec<Value>, Error> {
    let printed =
        |term: &Value| output(&text_of(term), variables).map(|text| Value::from(text.trim_end()));
    terms.iter().map(printed).collect()
}

/// Returns the lines of the output of commands.
pub(super) fn lines(terms: &[Value], variables: &Variables) -> Result<Vec<Value>, Error> {
    let mut lines = Vec::new();
    for term in terms {
        lines.extend(output(&text_of(term), variables)?.lines().map(Value::from));
    }
    Ok(lines)
}

fn output(command: &str, variables: &Variables) -> Result<String, Error> {
    let mut shell = Program::new("/bin/sh");
    shell.arguments = vec!["-c".into(), command.into()];
    shell.folder = Some(variables.search().base().clone()).filter(|folder| folder.is_dir());
    let output = programs::output(&shell)
        .map_err(|error| wrong(format!("`{command}` cannot be run: {error}")))?;
    if let Some(failure) = output.failure {
        let said = output.stderr.trim();
        return Err(wrong(format!("`{command}` failed ({failure}): {said}")));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| wrong(format!("the output of `{command}` is not UTF-8")))
}
