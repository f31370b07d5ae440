//! Link pages: list, edit, take down, restore and delete.

use std::time::Duration;

use jiff::Timestamp;
use reqwest::header;
use serde_json::json;

use super::{Browser, READ, TOKENS, WRITE, etag, link, location, start};
use crate::support::{Process, client};

#[tokio::test]
async fn a_person_edits_takes_down_restores_and_deletes_a_link() {
    let app = start().await;
    let anna = Browser::signed_in(&app, WRITE).await;
    anna.post("/ui/new", &[("url", "https://example.com/a"), ("key", "k"), ("password", "x")]).await;
    let page = anna.text("/ui/links/k").await;
    let form = [
        ("etag", &*etag(&page)),
        ("url", "https://example.com/b"),
        ("title", "New"),
        ("tags", "b, a"),
        ("starts_at", ""),
        ("expires_at", "2027-01-02T03:04"),
        ("max_visits", "9"),
        ("redirect", "307"),
        ("password", ""),
        ("remove_password", "true"),
    ];
    assert_eq!(location(&anna.post("/ui/links/k", &form).await, 303), "/ui/links/k?done=saved");
    let edited = link(&app, "k").await;
    let expected = json!({ "url": "https://example.com/b", "title": "New", "tags": ["a", "b"], "version": 2,
        "expires_at": "2027-01-02T03:04:00Z", "max_visits": 9, "redirect": 307, "has_password": false });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(edited[name], *value, "{name}");
    }
    assert!(anna.text("/ui/links/k?done=saved").await.contains("Saved."));

    assert_eq!(location(&anna.post("/ui/links/k/take-down", &[]).await, 303), "/ui/links/k?done=taken-down");
    assert_eq!(app.get("/k").await.status(), 410);
    assert!(anna.text("/ui/links/k").await.contains("Restore"));
    assert_eq!(location(&anna.post("/ui/links/k/restore", &[]).await, 303), "/ui/links/k?done=restored");
    assert_eq!(app.get("/k").await.status(), 307);

    let confirmation = anna.text("/ui/links/k/delete").await;
    assert_eq!(app.get("/k").await.status(), 307, "the confirmation page deletes nothing");
    let response = anna.post("/ui/links/k/delete", &[("etag", "\"0-1\"")]).await;
    assert_eq!(response.status(), 412);
    let response = anna.post("/ui/links/k/delete", &[("etag", &etag(&confirmation))]).await;
    assert_eq!(location(&response, 303), "/ui/links?deleted=k");
    assert_eq!(app.get("/k").await.status(), 404);
}

#[tokio::test]
async fn an_edit_of_an_old_version_shows_both_versions_and_keeps_the_input() {
    let app = start().await;
    let anna = Browser::signed_in(&app, WRITE).await;
    anna.post("/ui/new", &[("url", "https://example.com/a"), ("key", "k"), ("title", "First")]).await;
    let seen = etag(&anna.text("/ui/links/k").await);
    let form = |title: &'static str, seen: &str| {
        [("etag", seen.to_owned()), ("url", "https://example.com/a".to_owned()), ("title", title.to_owned())]
    };
    let post = async |form: &[(&str, String)]| {
        let form: Vec<_> = form.iter().map(|(name, text)| (*name, text.as_str())).collect();
        anna.post("/ui/links/k", &form).await
    };
    assert_eq!(post(&form("Theirs", &seen)).await.status(), 303);
    let response = post(&form("Mine", &seen)).await;
    assert_eq!(response.status(), 412);
    let page = response.text().await.unwrap();
    assert!(page.contains("<td class=\"any\">Theirs</td><td class=\"any\">Mine</td>"), "{page}");
    assert!(page.contains("value=\"Mine\""), "{page}");
    assert_eq!(link(&app, "k").await["title"], "Theirs");
    assert_eq!(post(&form("Mine", &etag(&page))).await.status(), 303);
    assert_eq!(link(&app, "k").await["title"], "Mine");

    let seen = etag(&anna.text("/ui/links/k").await);
    let response = anna.post("/ui/links/k", &[("etag", &seen), ("url", "nonsense"), ("title", "Kept")]).await;
    assert_eq!(response.status(), 400);
    let page = response.text().await.unwrap();
    assert!(page.contains("value=\"nonsense\"") && page.contains("value=\"Kept\""), "{page}");
    assert_eq!(etag(&page), seen);
}

#[tokio::test]
async fn an_unknown_key_can_be_created_from_its_error_page() {
    let app = start().await;
    let anna = Browser::signed_in(&app, WRITE).await;
    let response = anna.get("/spring").await;
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().contains("href=\"/?key=spring\""));
    assert!(anna.text("/?key=spring").await.contains("value=\"spring\""));
    for browser in [Browser::new(&app), Browser::signed_in(&app, READ).await] {
        assert!(!browser.get("/spring").await.text().await.unwrap().contains("?key="));
    }
    let start: Timestamp = app.now() + Duration::from_hours(1);
    let form = [("url", "https://example.com"), ("key", "later"), ("starts_at", &start.to_string())];
    assert_eq!(anna.post("/ui/new", &form).await.status(), 303);
    assert!(anna.get("/later").await.text().await.unwrap().contains("href=\"/ui/links/later\""));
}

#[tokio::test]
async fn a_list_says_when_it_is_empty_and_links_to_its_next_page() {
    let app = start().await;
    let anna = Browser::signed_in(&app, WRITE).await;
    assert!(anna.text("/ui/links").await.contains("No links yet"));
    for number in 0..30 {
        let key = format!("k{number}");
        anna.post("/ui/new", &[("url", "https://example.com"), ("key", &key), ("tags", "one & two")]).await;
    }
    assert!(anna.text("/ui/links?search=nowhere").await.contains("Nothing found"));
    let page = anna.text("/ui/links?tag=one+%26+two&sort=oldest").await;
    assert_eq!(page.matches("data-copy").count(), 25);
    let (_, rest) =
        page.split_once("rel=\"next\"").map(|(before, _)| before.rsplit_once("href=\"").unwrap()).unwrap();
    let next = rest.split('"').next().unwrap().replace("&#38;", "&");
    let page = anna.text(&format!("/ui/links{next}")).await;
    assert_eq!(page.matches("data-copy").count(), 5);
    assert!(page.contains("value=\"one &#38; two\"") && page.contains("First page"), "{page}");
}

#[tokio::test]
async fn every_change_is_logged_like_one_through_the_api() {
    let process = Process::start(&[("API_TOKENS", TOKENS)]);
    let client = client();
    let post = async |path: &str, cookie: &str, form: &[(&str, &str)]| {
        let request = client.post(process.url(path)).header("x-request-id", "id-1").form(form);
        request.header(header::COOKIE, cookie).send().await.unwrap()
    };
    let signed_in = post("/ui/sign-in", "", &[("token", WRITE)]).await;
    let cookie =
        signed_in.headers()[header::SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
    let get = async |path: &str| {
        let request = client.get(process.url(path)).header(header::COOKIE, &cookie);
        etag(&request.send().await.unwrap().text().await.unwrap())
    };
    let secret = ("password", "a secret password");
    post("/ui/new", "", &[("url", "https://example.com"), ("key", "public-one"), secret]).await;
    post("/ui/new", &cookie, &[("url", "https://example.com"), ("key", "k")]).await;
    let seen = get("/ui/links/k").await;
    post("/ui/links/k", &cookie, &[("url", "https://example.com/b"), ("etag", &seen), secret]).await;
    post("/ui/links/k/take-down", &cookie, &[]).await;
    post("/ui/links/k/restore", &cookie, &[]).await;
    let seen = get("/ui/links/k/delete").await;
    post("/ui/links/k/delete", &cookie, &[("etag", &seen)]).await;
    post("/ui/sign-in", "", &[("token", "another secret of a person")]).await;
    process.signal(rustix::process::Signal::TERM);
    let mut changes = Vec::new();
    while let Some(line) = process.next_log_line() {
        let text = line.to_string();
        let has_secret = text.contains(WRITE) || text.contains("secret") || text.contains(&cookie);
        assert!(!has_secret, "{text}");
        if line["msg"] == "link changed" {
            assert_eq!((&line["request_id"], &line["client_ip"]), (&json!("id-1"), &json!("127.0.0.1")));
            changes.push(["action", "key", "token"].map(|name| line[name].as_str().unwrap().to_owned()));
        }
    }
    let expected = [
        ["created", "public-one", "public"],
        ["created", "k", "anna"],
        ["edited", "k", "anna"],
        ["taken_down", "k", "anna"],
        ["restored", "k", "anna"],
        ["deleted", "k", "anna"],
    ];
    assert_eq!(changes, expected.map(|change| change.map(str::to_owned)));
}
