//! Values that nobody has defined.
//!
//! A name that is nowhere may be asked for (`is defined`), may have a default, and may have attributes, which are nowhere
//! either. Any other use is an error. So each look-up of such a name gives an [`Undefined`], which remembers whether it was
//! asked for, and an evaluation fails if one of its look-ups was used otherwise.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::Value;
use minijinja::value::{Object, ObjectRepr};

/// The result of looking up a name that is nowhere.
#[derive(Debug)]
pub(super) struct Undefined {
    name: String,
    /// Whether it was asked for, or has a default.
    is_expected: AtomicBool,
}

/// Why something has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// A name is nowhere, and nobody asked whether it is.
    Undefined(String),
    /// Anything else.
    Wrong(String),
}

impl TemplateError {
    /// Whether a name is nowhere.
    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined(_))
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Undefined(name) => write!(out, "`{name}` is undefined"),
            Self::Wrong(reason) => out.write_str(reason),
        }
    }
}

/// What is known of an evaluation that goes on.
#[derive(Debug, Default)]
struct Evaluation {
    undefined: Vec<Arc<Undefined>>,
    /// The first error where none could be returned.
    error: Option<TemplateError>,
    /// The values that stand in the output, where it has a mark for them.
    values: Vec<Value>,
}

thread_local! {
    /// The evaluations that go on, the innermost last. A variable that is a template is one within another.
    static OPEN: RefCell<Vec<Evaluation>> = const { RefCell::new(Vec::new()) };
}

/// How many variables may stand for each other in a row. One that stands for itself has no end.
const DEEPEST: usize = 60;

/// Evaluates something, and fails if something undefined was used in it. Returns the values in its output, too.
pub(super) fn evaluate<T>(
    evaluation: impl FnOnce() -> Result<T, String>,
) -> Result<(T, Vec<Value>), TemplateError> {
    let depth = OPEN.with_borrow_mut(|open| {
        open.push(Evaluation::default());
        open.len()
    });
    let result = if depth > DEEPEST {
        Err("a variable stands for itself".to_owned())
    } else {
        evaluation()
    };
    let ended = OPEN.with_borrow_mut(Vec::pop).unwrap_or_default();
    // The cause comes first: what was undefined often makes something else fail.
    if let Some(error) = ended.error {
        return Err(error);
    }
    let mut unexpected = ended.undefined.iter();
    let unexpected = unexpected.find(|found| !found.is_expected.load(Ordering::Relaxed));
    match (unexpected, result) {
        (Some(found), _) => Err(TemplateError::Undefined(found.name.clone())),
        (None, result) => Ok((result.map_err(TemplateError::Wrong)?, ended.values)),
    }
}

/// Keeps an error that cannot be returned where it is noticed. It ends the evaluation.
pub(super) fn fail(error: TemplateError) -> Value {
    OPEN.with_borrow_mut(|open| {
        if let Some(evaluation) = open.last_mut() {
            evaluation.error.get_or_insert(error);
        }
    });
    Value::UNDEFINED
}

/// Keeps a value of the output, and returns its number.
pub(super) fn keep(value: Value) -> usize {
    OPEN.with_borrow_mut(|open| {
        let Some(evaluation) = open.last_mut() else {
            return 0;
        };
        evaluation.values.push(value);
        evaluation.values.len() - 1
    })
}

/// The value of a name that is nowhere.
pub(crate) fn undefined(name: String) -> Value {
    let found = Arc::new(Undefined {
        name,
        is_expected: AtomicBool::new(false),
    });
    OPEN.with_borrow_mut(|open| {
        if let Some(evaluation) = open.last_mut() {
            evaluation.undefined.push(Arc::clone(&found));
        }
    });
    Value::from_dyn_object(found)
}

/// Whether a value is undefined. Whoever asks expects it.
pub(super) fn is_undefined(value: &Value) -> bool {
    if let Some(found) = value.downcast_object_ref::<Undefined>() {
        found.is_expected.store(true, Ordering::Relaxed);
        return true;
    }
    value.is_undefined()
}

impl Object for Undefined {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.is_expected.store(true, Ordering::Relaxed);
        Some(undefined(format!("{}.{key}", self.name)))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        false
    }
}
