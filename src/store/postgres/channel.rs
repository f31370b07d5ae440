//! The channel on which instances tell each other of changes.

use std::{convert::Infallible, time::Duration};

use sqlx::{
    AssertSqlSafe, Executor, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::time::timeout;

use crate::store::{Changed, StoreError};

/// The name of the channel.
pub(super) const CHANNEL: &str = "urlshort_changes";

/// Without a notification for so long, the listener asks whether its connection still works.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The SQLSTATE of a statement on a table that the database does not have.
pub(super) const UNDEFINED_TABLE: &str = "42P01";

/// The SQLSTATE of a call of a function that the database does not have.
pub(super) const UNDEFINED_FUNCTION: &str = "42883";

/// Returns whether the database has channels; CockroachDB, for one, has none.
pub(super) async fn is_supported(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    const NOT_SUPPORTED: &str = "0A000";
    connection.execute("BEGIN").await?;
    // Nothing is told of a transaction that is rolled back.
    let told = connection.execute(AssertSqlSafe(format!("SELECT pg_notify('{CHANNEL}', '')"))).await;
    connection.execute("ROLLBACK").await?;
    match told {
        Ok(_) => Ok(true),
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| [UNDEFINED_FUNCTION, NOT_SUPPORTED].contains(&&*code)) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Checks that a session hears what another one tells.
///
/// It does not behind a connection pooler that gives each transaction another session. Prepared statements do not work
/// there either, and that would show one look-up at a time.
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
    let told = connection.execute(AssertSqlSafe(format!("SELECT pg_notify('{channel}', '')"))).await;
    let heard = match told {
        Ok(_) => timeout(deadline, listener.try_recv()).await,
        // The notification came to the session that sent it.
        Err(sqlx::Error::Protocol(_)) => return Err(unfit_pooler()),
        Err(error) => return Err(error.into()),
    };
    match heard {
        Ok(Ok(Some(_))) => Ok(()),
        Ok(Ok(None)) => Err(StoreError::unavailable("the server closed the connection that listens")),
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

/// Passes on what other instances tell, until the connection is lost or goes silent.
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
                let lost = || StoreError::unavailable("the connection that listens was closed");
                let notification = notification?.ok_or_else(lost)?;
                changed(notification.payload().parse().map_or(Changed::Anything, Changed::Link));
            }
            Err(_) => {
                let answer = timeout(deadline, (&mut listener).execute("SELECT 1")).await;
                answer.map_err(|_| StoreError::Timeout(deadline))??;
            }
        }
    }
}

/// Listens on a connection of its own.
///
/// The listener only comes with a pool. When it is dropped it says good-bye in the background, and where the connection
/// is silent that lasts until TCP gives the connection up.
async fn listen(
    options: &PgConnectOptions,
    channel: &str,
    deadline: Duration,
) -> Result<PgListener, StoreError> {
    let pool: PgPool =
        PgPoolOptions::new().max_connections(1).acquire_timeout(deadline).connect_lazy_with(options.clone());
    let listen = async {
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.ignore_pool_close_event(true);
        // A lost connection must be noticed, as what was told in between is lost as well.
        listener.eager_reconnect(false);
        listener.listen(channel).await?;
        Ok::<_, sqlx::Error>(listener)
    };
    Ok(timeout(deadline, listen).await.map_err(|_| StoreError::Timeout(deadline))??)
}
