//! The OpenAPI document: any change to the API shows up in `openapi.json` next to this file.

use std::{fs, path::Path};

use serde_json::Value;

use crate::support::TestApp;

#[tokio::test]
async fn the_document_matches_the_committed_one() {
    let app = TestApp::start().await;
    let mut document: Value = app.get("/openapi.json").await.json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    document["info"]["version"] = "any".into();
    let actual = serde_json::to_string_pretty(&document).unwrap() + "\n";
    let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi.json");
    fs::write(&new, &actual).unwrap();
    assert!(
        actual == include_str!("openapi.json"),
        "if the change is intended: cp {} tests/it/openapi.json",
        new.display()
    );
}
