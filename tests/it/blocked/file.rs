//! The `BLOCKED_HOSTS` file, in combination with the list in the store.

use std::{fs, time::Instant};

use reqwest::Client;

use super::{TOKENS, WRITE, path_of};
use crate::support::{Process, client, eventually_blocking, sqlite_in};

/// Three times the interval between checks of the file.
const SOON: std::time::Duration = std::time::Duration::from_secs(6);

struct Service {
    process: Process,
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Service {
    fn status(&self, path: &str) -> u16 {
        let request = self.client.get(self.process.url(path));
        self.runtime.block_on(request.send()).unwrap().status().as_u16()
    }

    fn shorten(&self, key: &str, url: &str) -> u16 {
        let request = self.client.post(self.process.url("/shorten")).form(&[("key", key), ("url", url)]);
        self.runtime.block_on(request.send()).unwrap().status().as_u16()
    }

    fn wait_for(&self, path: &str, expected: u16) {
        let start = Instant::now();
        eventually_blocking(SOON, || match self.status(path) {
            status if status == expected => Ok(()),
            other => Err((path.to_owned(), other)),
        });
        eprintln!("{path} returned {expected} after {:?}", start.elapsed());
    }
}

#[test]
fn a_changed_file_applies_to_existing_links_and_a_broken_one_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("blocked");
    fs::write(&file, "# nothing yet\n").unwrap();
    let (store, list) = (sqlite_in(directory.path()), file.to_str().unwrap().to_owned());
    let settings = [("STORE_URL", &*store), ("BLOCKED_HOSTS", &*list), ("API_TOKENS", TOKENS)];
    let service = Service {
        process: Process::start(&settings),
        client: client(),
        runtime: tokio::runtime::Runtime::new().unwrap(),
    };
    assert_eq!(service.shorten("evil", "https://www.evil.example/"), 201);
    assert_eq!(service.shorten("other", "https://other.example/"), 201);
    assert_eq!((service.status("/evil"), service.status("/other")), (302, 302));

    fs::write(&file, "# bad ones\n.evil.example\n").unwrap();
    service.wait_for("/evil", 410);
    assert_eq!((service.status("/other"), service.shorten("new", "https://evil.example/")), (302, 403));

    fs::write(&file, "other.example\n\nhttps://third.example/ # no host\n").unwrap();
    let line = service.process.wait_for_log("blocked hosts not reloaded; keeping the current list");
    assert!(line["error"].as_str().unwrap().starts_with("line 3: takes a host"), "{line}");
    assert_eq!((service.status("/evil"), service.status("/other")), (410, 302));

    // After an entry is removed from the file, the store's entry for the same host still applies.
    let path = service.process.url(&path_of("www.evil.example"));
    let put = service.client.put(&path).bearer_auth(WRITE).send();
    assert_eq!(service.runtime.block_on(put).unwrap().status(), 200);
    fs::write(&file, "other.example\n").unwrap();
    service.wait_for("/other", 410);
    assert_eq!(service.status("/evil"), 410);
    let delete = service.client.delete(&path).bearer_auth(WRITE).send();
    assert_eq!(service.runtime.block_on(delete).unwrap().status(), 204);
    assert_eq!(service.status("/evil"), 302);
}

#[test]
fn a_file_with_an_invalid_line_prevents_startup_and_import() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("blocked");
    let store = sqlite_in(directory.path());
    for entry in ["https://evil.example", "*.evil.example", "evil.example/path", "evil.example:443", "."] {
        fs::write(&file, format!("good.example\n{entry}\n")).unwrap();
        for arguments in [&[][..], &["import", "/dev/null"]] {
            let mut command =
                Process::command(&[("STORE_URL", &store), ("BLOCKED_HOSTS", file.to_str().unwrap())]);
            let output = command.args(arguments).output().unwrap();
            let line = String::from_utf8(output.stderr).unwrap();
            assert_eq!((output.status.code(), line.lines().count()), (Some(1), 1), "{entry}: {line}");
            assert!(line.starts_with("urlshort: BLOCKED_HOSTS: line 2: takes a host"), "{entry}: {line}");
        }
    }
}
