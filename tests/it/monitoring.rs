//! Checks that rules, dashboards and the runbook refer only to things that exist.

use std::{collections::BTreeSet, fs};

use serde_json::Value;

use crate::support::{Prometheus, TestApp, monitoring};

/// PromQL keywords, which are neither functions nor metrics.
const KEYWORDS: [&str; 9] = ["and", "or", "unless", "bool", "by", "on", "inf", "nan", "offset"];

/// Returns the names of the metrics in an expression.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut rest = expression;
    let mut grouping = false;
    while let Some(character) = rest.chars().next() {
        let is_word = |character: char| character.is_ascii_alphanumeric() || "_:$.".contains(character);
        let length = match character {
            // Labels, durations and strings contain no metric names.
            '{' => labels_length(rest),
            '[' => rest.find(']').unwrap() + 1,
            '"' => rest[1..].find('"').unwrap() + 2,
            '(' if grouping => rest.find(')').unwrap() + 1,
            _ if is_word(character) => rest.find(|character| !is_word(character)).unwrap_or(rest.len()),
            _ => character.len_utf8(),
        };
        let (word, after) = rest.split_at(length);
        if is_word(character) {
            grouping = ["by", "on"].contains(&word);
            let is_function = after.starts_with('(') || after.starts_with(" by ");
            if !is_function && !KEYWORDS.contains(&word) && !character.is_ascii_digit() {
                names.insert(word);
            }
        } else if character == '(' {
            grouping = false;
        }
        rest = after;
    }
    names
}

/// Returns the length of the label list at the start of `text`.
///
/// Label values may contain braces.
fn labels_length(text: &str) -> usize {
    let mut is_quoted = false;
    let end = text.find(|character| {
        is_quoted ^= character == '"';
        character == '}' && !is_quoted
    });
    end.unwrap() + 1
}

/// Returns the PromQL expressions in all dashboards.
pub(crate) fn dashboard_expressions() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("expr").map(|expression| expression.as_str().unwrap().to_owned()));
                fields.values().for_each(|value| collect(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    dashboards().iter().for_each(|dashboard| collect(dashboard, &mut found));
    assert!(found.len() > 40, "{found:?}");
    found
}

fn dashboards() -> Vec<Value> {
    let files = fs::read_dir(monitoring().join("grafana/dashboards")).unwrap();
    files.map(|file| serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap()).collect()
}

fn is_alert(rule: &&Value) -> bool {
    rule["type"] == "alerting"
}

#[test]
fn metrics_are_extracted_from_an_expression() {
    for (expression, expected) in [
        ("sum by (job) (rate(a_total{job=\"x\"}[5m])) / b > 0.5", vec!["a_total", "b"]),
        ("a{route=\"/{key}\",b!=\"c\"} or d", vec!["a", "d"]),
        ("1 - job:a:ratio_rate1h{job=\"$job\"} / 0.001", vec!["job:a:ratio_rate1h"]),
        ("absent(a) and on () count(up{j=\"x\"} == 1) > bool 0 or vector(0)", vec!["a", "up"]),
    ] {
        assert_eq!(metrics(expression).into_iter().collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn rules_and_dashboards_use_only_exported_metrics() {
    let app = TestApp::start().await;
    let key = app.shorten_url("https://example.com").await;
    app.get(&format!("/{key}")).await;
    // Create series that would otherwise appear only after their first event.
    app.metrics.store_errors.with_label_values(&["memory", "get"]);
    app.metrics.cache_requests.with_label_values(&["hit"]);
    let exported = app.get("/metrics").await.text().await.unwrap();
    // Start with the metrics that Prometheus itself creates.
    let mut known: BTreeSet<_> = ["up", "ALERTS"].into();
    known.extend(exported.lines().filter_map(|line| line.split(['{', ' ']).next()));

    let rules = Prometheus::start().rules().await;
    known.extend(rules.iter().filter(|rule| !is_alert(rule)).map(|rule| rule["name"].as_str().unwrap()));
    let expressions = rules.iter().map(|rule| rule["query"].as_str().unwrap().to_owned());
    for expression in expressions.chain(dashboard_expressions()) {
        for metric in metrics(&expression) {
            assert!(known.contains(metric), "{metric} of {expression} is not exported");
        }
        // The service level objective depends on buckets, so each bucket in an expression must exist.
        for (_, bound) in expression.match_indices("le=\"").map(|(at, _)| expression[at..].split_at(4)) {
            let bound = bound.split('"').next().unwrap();
            let bucket = format!("outcome=\"redirect\",route=\"/{{key}}\",le=\"{bound}\"");
            assert!(exported.contains(&bucket), "{bucket} of {expression} is not exported");
        }
    }
}

#[tokio::test]
async fn each_alert_has_a_description_a_dashboard_and_a_section_of_the_runbook() {
    let runbook = fs::read_to_string(monitoring().join("RUNBOOK.md")).unwrap();
    let dashboards = dashboards();
    let rules = Prometheus::start().rules().await;
    let mut sections = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect::<BTreeSet<_>>();
    for alert in rules.iter().filter(is_alert) {
        let (name, annotations) = (alert["name"].as_str().unwrap(), &alert["annotations"]);
        assert!(["page", "ticket"].map(Value::from).contains(&alert["labels"]["severity"]), "{name}");
        assert!(alert["labels"]["subject"].is_string(), "{name}");
        for annotation in ["summary", "description"] {
            assert!(
                annotations[annotation].as_str().is_some_and(|text| !text.is_empty()),
                "{name}: {annotation}"
            );
        }
        let (page, anchor) = annotations["runbook_url"].as_str().unwrap().split_once('#').unwrap();
        assert!(page.ends_with("/infra/monitoring/RUNBOOK.md") && anchor == name.to_lowercase(), "{name}");
        assert!(sections.remove(name), "RUNBOOK.md has no section {name}");
        let (_, uid) = annotations["dashboard_url"].as_str().unwrap().split_once("/d/").unwrap();
        assert!(dashboards.iter().any(|dashboard| dashboard["uid"] == uid), "{name}: no dashboard {uid}");
    }
    assert_eq!(sections, BTreeSet::new(), "sections of RUNBOOK.md about alerts that do not exist");
}

#[test]
fn each_section_about_an_alert_is_complete() {
    const PARTS: [&str; 5] = ["**Users see:**", "**Confirm:**", "**Likely causes:**", "**Do:**", "**Undo:**"];
    let runbook = fs::read_to_string(monitoring().join("RUNBOOK.md")).unwrap();
    for section in runbook.split("\n### ").skip(1) {
        for part in PARTS {
            assert!(section.contains(part), "no {part} in {section}");
        }
    }
}

#[test]
fn links_in_the_runbook_resolve() {
    let runbook = fs::read_to_string(monitoring().join("RUNBOOK.md")).unwrap();
    let slug = |heading: &str| heading.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-");
    let anchors: BTreeSet<_> = runbook.lines().filter(|line| line.starts_with('#')).map(slug).collect();
    let links: Vec<_> = runbook.split("](").skip(1).filter_map(|after| after.split(')').next()).collect();
    assert!(links.len() > 10, "{links:?}");
    for link in links {
        match link.split_once('#') {
            _ if link.starts_with("http") => {}
            Some(("", anchor)) => assert!(anchors.contains(anchor), "{link}"),
            _ => {
                let path = link.split('#').next().unwrap();
                assert!(monitoring().join(path).exists(), "{link}");
            }
        }
    }
}

#[test]
fn a_dashboard_has_units_known_data_sources_and_valid_links() {
    let dashboards = dashboards();
    let uids: BTreeSet<_> = dashboards.iter().map(|dashboard| dashboard["uid"].as_str().unwrap()).collect();
    assert_eq!(uids, BTreeSet::from(["urlshort-link", "urlshort-service", "urlshort-slo"]));
    let sources =
        fs::read_to_string(monitoring().join("grafana/provisioning/datasources/urlshort.yml")).unwrap();
    for dashboard in &dashboards {
        for link in dashboard["links"].as_array().unwrap() {
            let url = link["url"].as_str().unwrap();
            assert!(url.starts_with("https://") || uids.contains(url.strip_prefix("/d/").unwrap()), "{url}");
        }
        let panels = dashboard["panels"].as_array().unwrap();
        for panel in panels.iter().filter(|panel| panel["type"] != "row") {
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{}", panel["title"]);
            let source = panel["datasource"]["uid"].as_str().unwrap();
            assert!(source == "${datasource}" || sources.contains(&format!("uid: {source}\n")), "{source}");
        }
    }
}

#[tokio::test]
async fn the_scrape_configuration_uses_the_job_name_of_the_rules() {
    let config = fs::read_to_string(monitoring().join("prometheus.yml")).unwrap();
    assert!(config.contains("job_name: urlshort\n"));
    for rule in Prometheus::start().rules().await {
        let query = rule["query"].as_str().unwrap();
        assert!(query.contains("job=\"urlshort\"") || query.contains("job:"), "{query}");
    }
}

#[tokio::test]
async fn the_dashboard_of_a_link_uses_fields_that_the_api_returns() {
    const TOKEN: &str = "0123456789abcdef";
    let app = TestApp::start_with(&["--api-tokens", &format!("dashboards:{TOKEN}:read")]).await;
    let key = app.shorten_url("https://example.com").await;
    let visitor = app.client.get(app.url(&format!("/{key}"))).header("referer", "https://news.example/");
    assert_eq!(visitor.send().await.unwrap().status(), 302);
    app.wait_for_clicks(&key, 1).await;
    let dashboard = dashboards().into_iter().find(|dashboard| dashboard["uid"] == "urlshort-link").unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        let target = &panel["targets"][0];
        let path = target["url"].as_str().unwrap().replace("${key}", &key);
        let response = app.client.get(app.url(&path)).bearer_auth(TOKEN).send().await.unwrap();
        let body: Value = response.error_for_status().unwrap().json().await.unwrap();
        let day = &body[target["root_selector"].as_str().unwrap()][0];
        for column in target["columns"].as_array().unwrap() {
            let selector = column["selector"].as_str().unwrap();
            assert!(!day[selector].is_null(), "{} has no {selector}: {body}", panel["title"]);
        }
    }
}
