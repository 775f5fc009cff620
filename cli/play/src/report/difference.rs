//! Shows how a task changes files, as unified differences.

use std::fmt::Write as _;

use ratchet_input::escape::plain;
use ratchet_input::style::{Style, Tone};
use serde_json::Value;
use similar::TextDiff;

/// Formats one or more differences as lines.
pub(super) fn shown(diff: &Value, style: Style) -> String {
    let mut out = String::new();
    let all = match diff {
        Value::Array(all) => all.iter().collect(),
        one => vec![one],
    };
    for one in all {
        add(one, style, &mut out);
    }
    out
}

fn add(diff: &Value, style: Style, out: &mut String) {
    if let Some(prepared) = diff.get("prepared").and_then(Value::as_str) {
        paint(prepared, style, out);
        return;
    }
    for (side, told) in [("dst", "before"), ("src", "after")] {
        if diff.get(format!("{side}_binary")).is_some() {
            let _ = writeln!(
                out,
                "the file {told} is binary, so its difference is not shown"
            );
        }
        if let Some(size) = diff.get(format!("{side}_larger")) {
            let _ = writeln!(
                out,
                "the file {told} has more than {size} bytes, so its difference is not shown"
            );
        }
    }
    let (Some(before), Some(after)) = (diff.get("before"), diff.get("after")) else {
        return;
    };
    let (before, after) = (text(before), text(after));
    if before == after {
        return;
    }
    let header = |name: &str| {
        let header = diff.get(name).and_then(Value::as_str);
        header.map_or_else(String::new, |header| format!(": {header}"))
    };
    let differences = TextDiff::from_lines(&before, &after);
    let (from, to) = (header("before_header"), header("after_header"));
    let shown = differences
        .unified_diff()
        .context_radius(3)
        .header(&format!("before{from}"), &format!("after{to}"))
        .to_string();
    paint(&shown, style, out);
}

/// Returns one side of a difference as text. Values other than text become JSON.
fn text(side: &Value) -> String {
    match side {
        Value::String(text) => text.clone(),
        other => {
            // Keys in another order are no difference.
            let mut sorted = other.clone();
            sorted.sort_all_objects();
            let text = serde_json::to_string_pretty(&sorted);
            let mut text = text.unwrap_or_else(|error| error.to_string());
            text.push('\n');
            text
        }
    }
}

fn paint(shown: &str, style: Style, out: &mut String) {
    for line in shown.lines() {
        let line = plain(line);
        let tone = match line.as_bytes().first() {
            Some(b'+') => Some(Tone::Good),
            Some(b'-') => Some(Tone::Bad),
            Some(b'@') => Some(Tone::Quiet),
            _ => None,
        };
        match tone {
            Some(tone) => {
                let _ = writeln!(out, "{}", style.paint(tone, &line));
            }
            None => {
                let _ = writeln!(out, "{line}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_shows_the_lines_that_change_with_those_around_them() {
        let diff = json!({
            "before": "a\nb\nc\n",
            "after": "a\nB\nc\n",
            "before_header": "/etc/x",
            "after_header": "x.j2",
        });
        let expected = "--- before: /etc/x\n+++ after: x.j2\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n";
        assert_eq!(shown(&diff, Style::PLAIN), expected);
    }

    #[test]
    fn states_are_shown_as_json_and_equal_sides_not_at_all() {
        let diff = json!([
            {"before": {"mode": "0600"}, "after": {"mode": "0644"}},
            {"before": "same", "after": "same"},
        ]);
        let text = shown(&diff, Style::PLAIN);
        assert!(
            text.contains("-  \"mode\": \"0600\"\n+  \"mode\": \"0644\"\n"),
            "{text}"
        );
        assert_eq!(text.matches("---").count(), 1, "{text}");
    }

    #[test]
    fn a_binary_file_is_said_to_be_one() {
        let text = shown(&json!({"dst_binary": 1, "after": "x"}), Style::PLAIN);
        assert!(text.contains("is binary"), "{text}");
    }
}
