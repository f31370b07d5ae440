//! Error messages for invalid request bodies and query strings.

use reqwest::header;
use serde_json::json;

use crate::support::{TestApp, assert_error};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

async fn refusal(app: &TestApp, path: &str, content_type: &str, body: &str, code: &str) -> String {
    let request = app.post(path).header(header::CONTENT_TYPE, content_type).bearer_auth(TOKEN);
    assert_error(request.body(body.to_owned()).send().await.unwrap(), 400, code).await
}

const TOKEN: &str = "0123456789abcdef";

async fn app() -> TestApp {
    TestApp::start_with(&["--api-tokens", &format!("ci:{TOKEN}")]).await
}

#[tokio::test]
async fn malformed_json_is_reported_with_its_position_but_not_its_content() {
    let app = app().await;
    let secret = "open-sesame";
    for (body, place) in [
        ("{".to_owned(), "EOF while parsing an object at line 1 column 1"),
        ("url=https://example.com".into(), "expected value at line 1 column 1"),
        ("\u{0}".into(), "expected value at line 1 column 1"),
        ("[1,".into(), "EOF while parsing a value at line 1 column 3"),
        (
            format!("{{\n \"url\": \"https://example.com\",\n \"password\": \"{secret}\" x"),
            "expected `,` or `}` at line 3 column 28",
        ),
        ("{\"url\":\"https://example.com\"}{}".into(), "trailing characters at line 1 column 30"),
        ("{\"url\":\"https://example.com\",}".into(), "trailing comma at line 1 column 30"),
    ] {
        for path in ["/shorten", "/api/v1/links"] {
            let sentence = refusal(&app, path, JSON, &body, "invalid_body").await;
            assert_eq!(sentence, format!("the request body is not valid JSON: {place}"), "{path} {body}");
        }
    }
    assert_eq!(app.metric(r#"links_created_total{strategy="random"}"#), None);
}

#[tokio::test]
async fn json_other_than_an_object_is_refused_by_the_links_api() {
    let app = app().await;
    for body in ["", "[]", "null", "\"https://example.com\""] {
        let sentence = refusal(&app, "/api/v1/links", JSON, body, "invalid_body").await;
        assert_eq!(sentence, "the request body must be a JSON object", "{body}");
    }
}

#[tokio::test]
async fn json_sent_as_a_form_is_refused_with_the_right_content_type() {
    let app = app().await;
    for body in [r#"{"url":"https://example.com"}"#, " {\"url\":", "{"] {
        let sentence = refusal(&app, "/shorten", FORM, body, "invalid_body").await;
        let expected = "the request body looks like JSON; send it with 'Content-Type: application/json'";
        assert_eq!(sentence, expected, "{body}");
    }
}

#[tokio::test]
async fn an_invalid_date_or_duration_is_named_with_an_example() {
    let app = app().await;
    let timestamp = "takes an RFC 3339 timestamp such as 2030-01-31T12:00:00Z";
    let duration = "takes a number of seconds, or a duration such as 30d, 12h or 90min";
    let range = "a timestamp is from 0000-01-01T00:00:00Z to 9999-12-30T22:00:00Z";
    let at_once =
        "the link would expire immediately: expires_at must be in the future, and expires_in more than 0"
            .to_owned();
    let unexpected = "invalid request body: ";
    for (name, value, code, sentence) in [
        ("expires_at", json!("tomorrow"), "invalid_body", format!("{unexpected}expires_at: {timestamp}")),
        ("starts_at", json!("2030-01-31"), "invalid_body", format!("{unexpected}starts_at: {timestamp}")),
        ("expires_at", json!("9999-12-30T22:00:00.5Z"), "invalid_option", format!("expires_at: {range}")),
        ("expires_at", json!("2001-01-31T12:00:00Z"), "invalid_option", at_once.clone()),
        ("expires_in", json!("soon"), "invalid_option", format!("expires_in: {duration}")),
        ("expires_in", json!("99999999999d"), "invalid_option", format!("expires_in: {range}")),
        ("expires_in", json!(0), "invalid_option", at_once),
    ] {
        let body = json!({ "url": "https://example.com", name: value });
        assert_eq!(refusal(&app, "/shorten", JSON, &body.to_string(), code).await, sentence, "{body}");
        let text = value.as_str().map_or_else(|| value.to_string(), Into::into);
        let form = format!("url=https://example.com&{name}={text}");
        assert_eq!(refusal(&app, "/shorten", FORM, &form, code).await, sentence, "{form}");
    }
    for (path, sentence) in [
        ("/api/v1/links/k/stats?from=yesterday", "from: takes a date such as 2030-01-31"),
        ("/api/v1/links/k/stats?from=2030-01-01&to=2030-02-30", "to: takes a date such as 2030-01-31"),
    ] {
        let response = app.client.get(app.url(path)).bearer_auth(TOKEN).send().await.unwrap();
        let expected = format!("invalid query: {sentence}");
        assert_eq!(assert_error(response, 400, "invalid_query").await, expected);
    }
}

#[tokio::test]
async fn a_field_of_the_wrong_type_is_named_but_a_password_is_not_echoed() {
    let app = app().await;
    let created = app.post("/api/v1/links").bearer_auth(TOKEN);
    let created = created.json(&json!({ "url": "https://example.com", "key": "k" })).send().await.unwrap();
    assert_eq!(created.status(), 201);
    for (name, value, reason) in [
        ("key", json!(5), "key: invalid type: integer `5`, expected a string"),
        (
            "starts_at",
            json!(5),
            "starts_at: invalid type: integer `5`, expected an RFC 3339 timestamp such as 2030-01-31T12:00:00Z",
        ),
        (
            "expires_in",
            json!(-5),
            "expires_in: invalid type: integer `-5`, expected a number of seconds, or a duration such as 30d, 12h or 90min",
        ),
        ("password", json!(12345), "password: takes a string"),
        ("tags", json!(["a", 1]), "tags[1]: invalid type: integer `1`, expected a string"),
    ] {
        let expected = format!("invalid request body: {reason}");
        let link = json!({ "url": "https://example.com", name: value });
        assert_eq!(refusal(&app, "/shorten", JSON, &link.to_string(), "invalid_body").await, expected);
        let batch = json!({ "links": [{ "url": "https://example.com" }, link] }).to_string();
        let in_batch = refusal(&app, "/api/v1/links/batch", JSON, &batch, "invalid_body").await;
        assert_eq!(in_batch, expected.replace(reason, &format!("links[1].{reason}")));
        if name != "key" {
            let patch =
                app.client.patch(app.url("/api/v1/links/k")).bearer_auth(TOKEN).json(&json!({ name: value }));
            let sentence = assert_error(patch.send().await.unwrap(), 400, "invalid_body").await;
            assert_eq!(sentence, expected, "PATCH");
        }
    }
}
