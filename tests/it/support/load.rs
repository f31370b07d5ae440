use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::{PATIENCE, eventually};
use reqwest::Client;

/// Clients that follow a link until `stop` is set.
#[derive(Clone, Default)]
pub(crate) struct Load {
    pub(crate) answered: Arc<AtomicUsize>,
    pub(crate) failed: Arc<Mutex<Vec<String>>>,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Load {
    pub(crate) async fn follow(self, client: Client, url: String) {
        while !self.stop.load(Ordering::Relaxed) {
            match client.get(&url).send().await {
                Ok(response) if response.status() == 302 => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                other => self.failed.lock().unwrap().push(format!("{url}: {other:?}")),
            }
        }
    }

    /// Waits for `count` more redirects.
    pub(crate) async fn wait_for_more(&self, count: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + count;
        eventually(PATIENCE, async || {
            let answered = self.answered.load(Ordering::Relaxed);
            let state = || format!("{answered} of {enough} redirects; {:?}", self.failed.lock().unwrap());
            if answered < enough { Err(state()) } else { Ok(()) }
        })
        .await;
    }
}
