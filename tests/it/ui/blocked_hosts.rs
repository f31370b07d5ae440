//! The page for blocked hosts.

use super::{Browser, READ, WRITE, location, start};

#[tokio::test]
async fn a_person_blocks_and_unblocks_a_host() {
    let app = start().await;
    let anna = Browser::signed_in(&app, WRITE).await;
    anna.post("/ui/new", &[("url", "https://www.evil.example/"), ("key", "k")]).await;
    assert!(anna.text("/ui/blocked-hosts").await.contains("No host is blocked"));
    let form = [("host", " .Evil.example "), ("reason", "<b>phishing</b>")];
    let done = location(&anna.post("/ui/blocked-hosts", &form).await, 303);
    assert_eq!(done, "/ui/blocked-hosts?blocked=.evil.example");
    let page = anna.text(&done).await;
    assert!(page.contains("Blocked .evil.example.") && page.contains("&#60;b&#62;phishing"), "{page}");
    assert_eq!(app.get("/k").await.status(), 410);
    assert!(anna.text("/ui/links/k").await.contains("The host is blocked by the entry .evil.example."));
    assert!(anna.text("/ui/links?state=blocked").await.contains("/ui/links/k\""));

    let done = location(&anna.post("/ui/blocked-hosts/unblock", &[("host", ".evil.example")]).await, 303);
    assert!(anna.text(&done).await.contains("Unblocked .evil.example."));
    assert_eq!(app.get("/k").await.status(), 302);
    let again = anna.post("/ui/blocked-hosts/unblock", &[("host", ".evil.example")]).await;
    assert_eq!(again.status(), 303, "sending the form twice is no error");
}

#[tokio::test]
async fn an_invalid_host_is_shown_again_in_the_form() {
    let app = start().await;
    let anna = Browser::signed_in(&app, WRITE).await;
    for (host, reason) in [("https://evil.example/\"", "why"), ("*.evil.example\"", "why"), ("", "why")] {
        let response = anna.post("/ui/blocked-hosts", &[("host", host), ("reason", reason)]).await;
        assert_eq!(response.status(), 400, "{host}");
        let page = response.text().await.unwrap();
        assert!(page.contains("role=\"alert\"") && page.contains("value=\"why\""), "{page}");
        assert!(page.contains(&format!("value=\"{}\"", host.replace('"', "&#34;"))), "{page}");
    }
    let page = anna.text("/ui/blocked-hosts?blocked=%3Cscript%3E&unblocked=a+b").await;
    assert!(!page.contains("Blocked &") && !page.contains("role=\"status\" tabindex"), "{page}");
}

#[tokio::test]
async fn only_a_write_token_shows_forms_and_changes_the_list() {
    let app = start().await;
    let anna = Browser::signed_in(&app, WRITE).await;
    assert_eq!(anna.post("/ui/blocked-hosts", &[("host", "evil.example")]).await.status(), 303);
    let viewer = Browser::signed_in(&app, READ).await;
    let page = viewer.text("/ui/blocked-hosts").await;
    assert!(page.contains("evil.example") && !page.contains("/ui/blocked-hosts/unblock"), "{page}");
    assert!(!page.contains("action=\"/ui/blocked-hosts\""), "{page}");
    for (path, form) in [
        ("/ui/blocked-hosts", [("host", "b.example")]),
        ("/ui/blocked-hosts/unblock", [("host", "evil.example")]),
    ] {
        assert_eq!(viewer.post(path, &form).await.status(), 403);
        let nobody = Browser::new(&app).post(path, &form).await;
        assert!(location(&nobody, 303).starts_with("/ui/sign-in"), "{path}");
        let foreign = anna.request(app.post(path)).header("sec-fetch-site", "cross-site").form(&form);
        assert_eq!(foreign.send().await.unwrap().status(), 403, "another website sent it");
    }
    assert!(anna.text("/ui/blocked-hosts").await.contains("1 blocked host<"));
}

#[tokio::test]
async fn a_long_list_is_split_into_pages() {
    let app = start().await;
    let anna = Browser::signed_in(&app, WRITE).await;
    for number in 0..105 {
        anna.post("/ui/blocked-hosts", &[("host", &format!("{number:03}.example"))]).await;
    }
    let first = anna.text("/ui/blocked-hosts").await;
    assert!(
        first.contains("100 blocked hosts; there are more") && first.contains("href=\"?after=099.example\"")
    );
    let second = anna.text("/ui/blocked-hosts?after=099.example").await;
    assert!(second.contains("5 blocked hosts<") && second.contains("104.example"), "{second}");
    assert!(!second.contains("099.example") && second.contains("First page"));
}
