//! The journal, read as any other program would: each line is a checksum, a blank, and JSON.

use serde_json::Value;

/// How long the checksum is, with its blank.
const SUM: usize = 9;

/// How a job ended, by its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// Whose.
    pub job: u32,
    /// In which life.
    pub life: u32,
    /// How many attempts were charged to it.
    pub attempts: u32,
    /// Its result, or why there is none.
    pub result: Result<Success, String>,
}

/// What a result says of where it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Success {
    /// The start of the attempt that it comes from.
    pub start: u64,
    /// The input that it was computed from and the content of the script by which, if it may be cached.
    pub computed: Option<(u32, u32)>,
    /// It came from the cache.
    pub cached: bool,
}

/// Reads a journal to its end.
pub fn read(text: &str) -> Result<Vec<Ending>, String> {
    let mut life = None;
    let mut endings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong =
            |why: &dyn std::fmt::Display| format!("line {} of the journal: {why}", number + 1);
        let json = line.get(SUM..).ok_or_else(|| wrong(&"it is too short"))?;
        let record: Value = serde_json::from_str(json).map_err(|error| wrong(&error))?;
        match record["record"].as_str() {
            Some("header" | "resumed") => life = small(&record["about"]),
            Some("ended") => {}
            Some("job") => {
                let ending = ending(&record["outcome"], life);
                endings.push(ending.ok_or_else(|| wrong(&"it is no outcome of ours"))?);
            }
            _ => return Err(wrong(&"an unknown record")),
        }
    }
    Ok(endings)
}

fn ending(outcome: &Value, life: Option<u32>) -> Option<Ending> {
    let result = if outcome["status"].as_str()? == "succeeded" {
        Ok(success(outcome)?)
    } else {
        let of_error = |field: &str| outcome["error"][field].as_str().unwrap_or_default();
        Err(format!("{}: {}", of_error("class"), of_error("message")))
    };
    Some(Ending {
        job: outcome["id"].as_str()?.parse().ok()?,
        life: life?,
        attempts: small(&outcome["attempts"])?,
        result,
    })
}

/// The result of a worker is a number, or an object if it may be cached. A command prints the same, in words.
fn success(outcome: &Value) -> Option<Success> {
    let result = &outcome["result"];
    let cached = outcome["cached"].as_bool()?;
    let (start, computed) = if let Some(printed) = result["stdout"].as_str() {
        let mut words = printed.split_ascii_whitespace();
        let start = words.next()?.parse().ok()?;
        let computed = match (words.next(), words.next()) {
            (Some(input), Some(content)) => Some((input.parse().ok()?, content.parse().ok()?)),
            _ => None,
        };
        (start, computed)
    } else if result.is_object() {
        let computed = (small(&result["input"])?, small(&result["content"])?);
        (result["start"].as_u64()?, Some(computed))
    } else {
        (result.as_u64()?, None)
    };
    Some(Success {
        start,
        computed,
        cached,
    })
}

fn small(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|it| u32::try_from(it).ok())
}
