//! Hands calls on in batches: those that come while the batches before are under way go together in the next one.
//!
//! Nobody waits for company. A lone call goes at once, and under load a batch grows by itself to what came meanwhile.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::StoreError;

/// Calls that may wait. Past it a call fails at once: a longer queue could not be served in time.
const QUEUE: usize = 4096;

/// Gathers calls that ask with a `Q` and are answered with an `A`.
pub(super) struct Batcher<Q, A> {
    queue: mpsc::Sender<Call<Q, A>>,
}

struct Call<Q, A> {
    question: Q,
    reply: oneshot::Sender<Result<A, StoreError>>,
}

impl<Q: Send + 'static, A: Send + 'static> Batcher<Q, A> {
    /// Starts to hand on calls to `serve`, `concurrency` batches at a time of at most `limit` calls each. It answers
    /// each question in turn, or fails for all of them.
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
                // Whoever has stopped waiting has been told that it failed.
                batch.retain(|call| !call.reply.is_closed());
                let (questions, replies): (Vec<_>, Vec<_>) =
                    batch.drain(..).map(|call| (call.question, call.reply)).unzip();
                if questions.is_empty() {
                    continue;
                }
                let answers = serve(questions);
                tokio::spawn(async move {
                    reply_all(replies, answers.await);
                    drop(slot);
                });
            }
        });
        Self { queue }
    }

    /// Asks, and waits for the answer.
    pub(super) async fn call(&self, question: Q) -> Result<A, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .try_send(Call { question, reply })
            .map_err(|_| StoreError::unavailable("too many calls wait"))?;
        answer.await.map_err(StoreError::unavailable)?
    }
}

fn reply_all<A>(replies: Vec<oneshot::Sender<Result<A, StoreError>>>, answers: Result<Vec<A>, StoreError>) {
    // A receiver that has gone meanwhile needs no answer.
    match answers {
        Ok(answers) => {
            replies.into_iter().zip(answers).for_each(|(reply, answer)| drop(reply.send(Ok(answer))))
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
    async fn calls_that_come_meanwhile_go_together() {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let gate = Arc::new(Semaphore::new(0));
        let batcher = {
            let (sizes, gate) = (sizes.clone(), gate.clone());
            Batcher::start(1, 10, move |questions: Vec<u32>| {
                sizes.lock().unwrap().push(questions.len());
                let gate = gate.clone();
                async move {
                    gate.acquire().await.unwrap().forget();
                    Ok(questions.iter().map(|question| question * 2).collect())
                }
            })
        };
        let calls = join_all((0..25).map(|question| batcher.call(question)));
        gate.add_permits(100);
        let answers: Vec<_> = calls.await.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, (0..25).map(|question| question * 2).collect::<Vec<_>>());
        let sizes = sizes.lock().unwrap();
        assert!(sizes.iter().all(|size| *size <= 10) && sizes.len() < 25, "{sizes:?}");
    }

    #[tokio::test]
    async fn a_batch_that_fails_fails_for_each_call() {
        let batcher =
            Batcher::start(1, 10, |_: Vec<()>| async { Err::<Vec<()>, _>(StoreError::unavailable("no")) });
        let answers = join_all((0..3).map(|_| batcher.call(()))).await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))));
    }
}
