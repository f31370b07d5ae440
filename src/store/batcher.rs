//! Batching of concurrent calls.
//!
//! Calls that arrive while earlier batches are in progress share the next batch. There is no batching delay: a single
//! call is sent immediately, and batches grow with the load.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::StoreError;

/// The maximum length of the queue. Calls in a longer queue would time out, so further calls fail immediately.
const QUEUE: usize = 4096;

/// A batcher for calls that take a `Q` and return an `A`.
pub(super) struct Batcher<Q, A> {
    queue: mpsc::Sender<Call<Q, A>>,
}

struct Call<Q, A> {
    request: Q,
    reply: oneshot::Sender<Result<A, StoreError>>,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts a task that sends batches to `serve`.
    ///
    /// At most `concurrency` batches are in progress at a time, with at most `limit` calls each. `serve` must return
    /// one response per request, in the same order, or one error for the whole batch.
    pub(super) fn start<F, S>(concurrency: usize, limit: usize, serve: S) -> Self
    where
        S: Fn(Vec<Q>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<A>, StoreError>> + Send + 'static,
    {
        let (queue, mut calls) = mpsc::channel::<Call<Q, A>>(QUEUE);
        tokio::spawn(async move {
            let slots = Arc::new(Semaphore::new(concurrency));
            let mut batch = Vec::new();
            while let Ok(slot) = slots.clone().acquire_owned().await
                && calls.recv_many(&mut batch, limit).await > 0
            {
                // Drop calls whose callers have stopped waiting. For those callers, the call has already failed.
                batch.retain(|call| !call.reply.is_closed());
                let (requests, replies): (Vec<_>, Vec<_>) =
                    batch.drain(..).map(|call| (call.request, call.reply)).unzip();
                if requests.is_empty() {
                    continue;
                }
                let responses = serve(requests);
                tokio::spawn(async move {
                    reply_all(replies, responses.await);
                    drop(slot);
                });
            }
        });
        Self { queue }
    }

    /// Queues a request, and waits for its response.
    pub(super) async fn call(&self, request: Q) -> Result<A, StoreError> {
        let (reply, response) = oneshot::channel();
        self.queue
            .try_send(Call { request, reply })
            .map_err(|_| StoreError::unavailable("too many calls are waiting"))?;
        response.await.map_err(StoreError::unavailable)?
    }
}

fn reply_all<A>(replies: Vec<oneshot::Sender<Result<A, StoreError>>>, responses: Result<Vec<A>, StoreError>) {
    // Ignore failures: sending fails only if the caller has stopped waiting.
    match responses {
        Ok(responses) => {
            replies.into_iter().zip(responses).for_each(|(reply, response)| drop(reply.send(Ok(response))))
        }
        Err(error) => replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone())))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn calls_that_arrive_during_a_batch_share_the_next_one() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(0));
        let batcher = {
            let (sizes, gate) = (sizes.clone(), gate.clone());
            Batcher::start(1, 10, move |requests: Vec<u32>| {
                sizes.lock().unwrap().push(requests.len());
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(requests.iter().map(|request| request * 2).collect())
                }
            })
        };
        let calls = join_all((0..25).map(|request| batcher.call(request)));
        gate.add_permits(100);
        let responses: Vec<_> = calls.await.into_iter().map(Result::unwrap).collect();
        assert_eq!(responses, (0..25).map(|request| request * 2).collect::<Vec<_>>());
        let sizes = sizes.lock().unwrap();
        assert!(sizes.iter().all(|size| *size <= 10) && sizes.len() < 25, "{sizes:?}");
    }

    #[tokio::test]
    async fn a_failed_batch_fails_each_of_its_calls() {
        let batcher =
            Batcher::start(1, 10, |_: Vec<()>| async { Err::<Vec<()>, _>(StoreError::unavailable("no")) });
        let responses = join_all((0..3).map(|_| batcher.call(()))).await;
        assert!(responses.iter().all(|response| matches!(response, Err(StoreError::Unavailable(_)))));
    }
}
