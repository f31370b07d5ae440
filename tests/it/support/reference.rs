use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use serde_json::Value;

/// A row in the table of log lines in `infra/monitoring/REFERENCE.md`.
struct Row {
    levels: Vec<&'static str>,
    fields: HashSet<&'static str>,
    required: HashSet<&'static str>,
}

static ROWS: LazyLock<HashMap<&'static str, Row>> = LazyLock::new(|| {
    let reference = include_str!("../../../infra/monitoring/REFERENCE.md");
    let table = reference.split("\n## ").find(|section| section.starts_with("Log lines")).unwrap();
    let rows = table.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| ")?.split(" | ").map(str::trim).collect();
        let [levels, message, fields, ..] = cells[..] else { panic!("{line}") };
        let message = message.strip_prefix('`')?.strip_suffix('`')?;
        let levels = levels.split(", ").collect();
        let name = |field: &'static str| field.trim_matches(['[', ']']).trim_matches('`');
        let required = fields.split_whitespace().filter(|field| field.starts_with('`')).map(name).collect();
        let fields = fields.split_whitespace().map(name).collect();
        Some((message, Row { levels, fields, required }))
    });
    rows.collect()
});

/// Returns every message that the reference lists.
pub(crate) fn documented_messages() -> impl Iterator<Item = &'static str> {
    ROWS.keys().copied()
}

/// Returns how a log line differs from the reference, if at all.
pub(crate) fn undocumented(line: &Value) -> Option<String> {
    let fields = line.as_object()?;
    if fields.contains_key("source") {
        return None;
    }
    let message = line["msg"].as_str().unwrap_or_default();
    let Some(row) = ROWS.get(message) else { return Some(format!("unknown message: {line}")) };
    if !row.levels.contains(&line["level"].as_str().unwrap_or_default()) {
        return Some(format!("unexpected level: {line}"));
    }
    let known = |field: &str| ["ts", "level", "msg"].contains(&field) || row.fields.contains(field);
    if let Some(field) = fields.keys().find(|field| !known(field)) {
        return Some(format!("unknown field {field}: {line}"));
    }
    let missing = row.required.iter().find(|field| !fields.contains_key(**field))?;
    Some(format!("missing field {missing}: {line}"))
}
