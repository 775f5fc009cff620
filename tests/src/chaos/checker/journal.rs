//! Reads the journal as another program would: each line is a checksum, a space, and JSON.

use serde_json::Value;

/// The length of the checksum and the space after it.
const SUM: usize = 9;

/// The end of a job, as the journal records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// The number of the job.
    pub job: u32,
    /// The life in which it ended.
    pub life: u32,
    /// How many attempts were charged to the job.
    pub attempts: u32,
    /// The slots of the attempts that are charged to the job: the number of each attempt, and that of its first slot.
    pub slots: Vec<(u32, u32)>,
    /// The result of the job, or the class of its failure.
    pub result: Result<Success, String>,
}

/// A result, and the attempt by which it was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Success {
    /// The start of the attempt that computed it.
    pub start: u64,
    /// The input and the content of the script that it was computed from, for a job whose results are cached.
    pub computed: Option<(u32, u32)>,
    /// Whether the result came from the cache.
    pub cached: bool,
}

/// Reads all endings of a journal.
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

/// Reads the ending of a job from its result line.
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
        slots: slots(outcome),
        result,
    })
}

/// Returns the slots of the charged attempts. The fields of the job describe a single attempt; several attempts are
/// listed.
fn slots(outcome: &Value) -> Vec<(u32, u32)> {
    let Some(several) = outcome["attempts_detail"].as_array() else {
        let only = small(&outcome["attempts"]).zip(small(&outcome["slot"]));
        return only.into_iter().collect();
    };
    // An attempt that was returned, to be given to another worker, has the number of the attempt that followed.
    let charged = several.iter().filter(|it| it["status"] != "returned");
    let slots = charged.filter_map(|it| small(&it["number"]).zip(small(&it["slot"])));
    slots.collect()
}

/// Reads a result. A worker's result is a number, or an object if it may be cached. A command prints the same as text.
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
