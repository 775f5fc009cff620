//! The journal, read as any other program would: each line is a checksum, a blank, and JSON.

use serde_json::Value;

/// How long the checksum is, with its blank.
const SUM: usize = 9;

/// How a job ended, by its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// Whose.
    pub job: u32,
    /// In which life.
    pub life: u32,
    /// How many attempts were charged to it.
    pub attempts: u32,
    /// The start of the attempt that succeeded, if one has.
    pub success: Option<u64>,
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
        let small = |value: &Value| value.as_u64().and_then(|it| u32::try_from(it).ok());
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
    let success = match outcome["status"].as_str()? {
        "succeeded" => Some(outcome["result"].as_u64()?),
        _ => None,
    };
    Some(Ending {
        job: outcome["id"].as_str()?.parse().ok()?,
        life: life?,
        attempts: u32::try_from(outcome["attempts"].as_u64()?).ok()?,
        success,
    })
}
