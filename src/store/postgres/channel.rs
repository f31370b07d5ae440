//! The notification channel for changes made by other instances.

use std::{convert::Infallible, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::time::timeout;

use super::error::DriverError;
use crate::store::{Changed, StoreError};

pub(super) const CHANNEL: &str = "urlshort_changes";

/// How long the listener waits for notifications before it checks its connection.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The SQLSTATE for a missing table.
pub(super) const UNDEFINED_TABLE: &str = "42P01";

/// The SQLSTATE for a missing function.
pub(super) const UNDEFINED_FUNCTION: &str = "42883";

/// Returns whether the database supports notification channels. CockroachDB does not.
pub(super) async fn is_supported(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    const NOT_SUPPORTED: &str = "0A000";
    connection.execute("BEGIN").await?;
    // The rollback below prevents this notification from being sent.
    let sent = connection.execute(AssertSqlSafe(format!("SELECT pg_notify('{CHANNEL}', '')"))).await;
    connection.execute("ROLLBACK").await?;
    match sent {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| [UNDEFINED_FUNCTION, NOT_SUPPORTED].contains(&&*code)) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Checks that one session receives another's notifications.
///
/// Behind a connection pooler in transaction mode, notifications don't arrive. Prepared statements don't work there
/// either, but they would fail only later, during lookups.
///
/// # Errors
/// [`StoreError::Unavailable`] with advice for the operator.
pub(super) async fn check_delivery(
    connection: &mut PgConnection,
    options: &PgConnectOptions,
    deadline: Duration,
) -> Result<(), StoreError> {
    let channel = format!("{CHANNEL}_{:016x}", rand::random::<u64>());
    let mut listener = listen(options, &channel, deadline).await?;
    let sent = connection.execute(AssertSqlSafe(format!("SELECT pg_notify('{channel}', '')"))).await;
    let received = match sent {
        Ok(_) => timeout(deadline, listener.try_recv()).await,
        // The pooler has delivered the notification to the session that sent it.
        Err(sqlx::Error::Protocol(_)) => return Err(unfit_pooler()),
        Err(error) => return Err(error.into()),
    };
    match received {
        Ok(Ok(Some(_))) => Ok(()),
        Ok(Ok(None)) => Err(StoreError::unavailable("the server closed the LISTEN connection")),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(unfit_pooler()),
    }
}

fn unfit_pooler() -> StoreError {
    StoreError::unavailable(
        "LISTEN does not work through this connection pooler; set its pool mode to session, or connect to the server \
         itself",
    )
}

/// Forwards changes made by other instances until the connection fails.
pub(super) async fn watch(
    options: &PgConnectOptions,
    deadline: Duration,
    changed: &(dyn Fn(Changed) + Send + Sync),
) -> Result<Infallible, StoreError> {
    let mut listener = listen(options, CHANNEL, deadline).await?;
    changed(Changed::Anything);
    loop {
        match timeout(HEARTBEAT, listener.try_recv()).await {
            Ok(notification) => {
                let lost = || StoreError::unavailable("the LISTEN connection was closed");
                let notification = notification?.ok_or_else(lost)?;
                changed(Changed::from_message(notification.payload()));
            }
            Err(_) => {
                let ping = timeout(deadline, (&mut listener).execute("SELECT 1")).await;
                ping.map_err(|_| StoreError::Timeout(deadline))??;
            }
        }
    }
}

/// Listens on a separate connection.
///
/// sqlx can create a listener only from a pool. A dropped listener closes its connection in the background. If the
/// network is silent, closing the connection takes until the TCP timeout expires.
async fn listen(
    options: &PgConnectOptions,
    channel: &str,
    deadline: Duration,
) -> Result<PgListener, StoreError> {
    // First connect without the pool, which would retry a refused connection until the deadline and then report only a
    // timeout.
    let probe = timeout(deadline, options.connect()).await.map_err(|_| StoreError::Timeout(deadline))?;
    probe.map_err(|error| DriverError::connecting(options, error))?.close().await?;
    let pool: PgPool =
        PgPoolOptions::new().max_connections(1).acquire_timeout(deadline).connect_lazy_with(options.clone());
    let listen = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        // Report a lost connection, because notifications are lost with it.
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    Ok(timeout(deadline, listen).await.map_err(|_| StoreError::Timeout(deadline))??)
}
