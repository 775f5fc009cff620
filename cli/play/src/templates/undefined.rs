//! Undefined values.
//!
//! A template may test whether an undefined name `is defined`, give it a default, and read its attributes, which are
//! undefined as well. Any other use is an error. So each lookup of such a name returns an [`Undefined`], which records
//! whether it was used in one of these ways, and an evaluation fails at its end if one of them was used otherwise.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::value::{Object, ObjectRepr};
use minijinja::{Error, State, Value};

/// The result of looking up a name that does not exist.
#[derive(Debug)]
pub(super) struct Undefined {
    name: String,
    /// Whether the template tested whether it is defined, gave it a default, or read an attribute of it.
    is_expected: AtomicBool,
}

/// Why a template has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TemplateError {
    /// A name is undefined, and the template does not expect that.
    Undefined(String),
    /// Any other error.
    Wrong(String),
}

impl TemplateError {
    /// Whether the error is an undefined name.
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

/// The state of an evaluation in progress.
#[derive(Debug, Default)]
struct Evaluation {
    undefined: Vec<Arc<Undefined>>,
    /// The first error that could not be returned where it occurred.
    error: Option<TemplateError>,
    /// The values for which the output has markers.
    values: Vec<Value>,
}

thread_local! {
    /// The evaluations in progress, the innermost last. Rendering a variable that is a template is a nested evaluation.
    static OPEN: RefCell<Vec<Evaluation>> = const { RefCell::new(Vec::new()) };
}

/// The maximum number of nested evaluations. A variable that refers to itself would nest without end.
const DEEPEST: usize = 60;

/// Runs an evaluation, which fails if an undefined value was used in it. Also returns the values in its output.
pub(super) fn evaluate<T>(
    evaluation: impl FnOnce() -> Result<T, String>,
) -> Result<(T, Vec<Value>), TemplateError> {
    let depth = OPEN.with_borrow_mut(|open| {
        open.push(Evaluation::default());
        open.len()
    });
    let result = if depth > DEEPEST {
        Err("a variable refers to itself".to_owned())
    } else {
        evaluation()
    };
    let ended = OPEN.with_borrow_mut(Vec::pop).unwrap_or_default();
    // The cause comes first: a stored error or an undefined name often makes the result fail in some other way.
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

/// Stores an error that cannot be returned where it occurs. It makes the evaluation fail at its end.
pub(super) fn fail(error: TemplateError) -> Value {
    OPEN.with_borrow_mut(|open| {
        if let Some(evaluation) = open.last_mut() {
            evaluation.error.get_or_insert(error);
        }
    });
    Value::UNDEFINED
}

/// Stores a value of the output, and returns its number.
pub(super) fn store_value(value: Value) -> usize {
    OPEN.with_borrow_mut(|open| {
        let Some(evaluation) = open.last_mut() else {
            return 0;
        };
        evaluation.values.push(value);
        evaluation.values.len() - 1
    })
}

/// Makes the value of a name that does not exist.
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

/// Returns the first of these values that is undefined, without marking it as expected.
pub(super) fn first_undefined(values: &[Value]) -> Option<&Value> {
    let mut values = values.iter();
    values.find(|value| value.downcast_object_ref::<Undefined>().is_some())
}

/// Whether a value is undefined. Testing it marks it as expected.
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

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, _: &[Value]) -> Result<Value, Error> {
        self.is_expected.store(true, Ordering::Relaxed);
        Ok(undefined(self.name.clone()))
    }

    fn call_method(
        self: &Arc<Self>,
        _: &mut State<'_, '_>,
        method: &str,
        _: &[Value],
    ) -> Result<Value, Error> {
        self.is_expected.store(true, Ordering::Relaxed);
        Ok(undefined(format!("{}.{method}", self.name)))
    }
}
