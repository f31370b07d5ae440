use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use super::{PATIENCE, eventually};
use reqwest::Client;

/// Clients that follow a link until they are told to stop.
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

    /// Waits for so many further answers.
    pub(crate) async fn go_on(&self, answers: usize) {
        let enough = self.answered.load(Ordering::Relaxed) + answers;
        eventually(PATIENCE, async || {
            let answered = self.answered.load(Ordering::Relaxed);
            let state = || format!("{answered} of {enough} answers; {:?}", self.failed.lock().unwrap());
            if answered < enough { Err(state()) } else { Ok(()) }
        })
        .await;
    }
}
