//! Checks of the servers: role, eviction policy, persistence and schema.

use redis::{
    ErrorKind, Value,
    cluster_routing::{MultipleNodeRoutingInfo, ResponsePolicy, RoutingInfo},
};

use super::{
    connection::Connection,
    layout::{INSTANCES, SCHEMA},
};
use crate::store::{
    StoreError,
    schema::{Schema, written_by_early_build},
};

/// The schema version that this program writes.
const SCHEMA_VERSION: Schema = Schema { version: 1, readable_from: 1 };

/// Checks the servers and the schema, and returns this instance's number.
///
/// # Errors
/// [`StoreError::Unavailable`] if a server may evict links or is a replica, or if the schema needs a newer program.
pub(super) async fn prepare(connection: &Connection) -> Result<u64, StoreError> {
    let infos = infos(connection).await?;
    for info in &infos {
        check_info(info)?;
    }
    warn_of_missing_replicas(&infos, connection.wait_replicas());
    let mut connection = connection.clone();
    schema(&mut connection).await?.check(SCHEMA_VERSION.version)?;
    Ok(redis::Cmd::incr(INSTANCES, 1).query_async(&mut connection).await?)
}

/// Returns the store's schema, after initialising it in a new store.
async fn schema(connection: &mut Connection) -> Result<Schema, StoreError> {
    let prepared = async {
        for (field, value) in
            [("version", SCHEMA_VERSION.version), ("readable_from", SCHEMA_VERSION.readable_from)]
        {
            let _: bool = redis::Cmd::hset_nx(SCHEMA, field, value).query_async(connection).await?;
        }
        redis::cmd("HMGET").arg(SCHEMA).arg("version").arg("readable_from").query_async(connection).await
    };
    match prepared.await {
        Ok((version, readable_from)) => Ok(Schema { version, readable_from }),
        // Early builds stored a string under this key.
        Err(error) if error.code() == Some("WRONGTYPE") => Err(written_by_early_build()),
        Err(error) => Err(error.into()),
    }
}

/// Checks that the store serves all links and accepts writes.
pub(super) async fn check(connection: &Connection) -> Result<(), StoreError> {
    let mut shared = connection.clone();
    if connection.cluster().is_none() {
        return match redis::cmd("ROLE").query_async(&mut shared).await {
            Ok(role) if is_replica(&role) => {
                connection.replace();
                Err(replica())
            }
            Ok(_) => Ok(()),
            // A hosted server may forbid ROLE, so check it with PING instead.
            Err(error) if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) => {
                redis::cmd("PING").query_async(&mut shared).await.map_err(|error| connection.failure(error))
            }
            Err(error) => Err(connection.failure(error)),
        };
    }
    let info: String = redis::cmd("CLUSTER").arg("INFO").query_async(&mut shared).await?;
    if info.contains("cluster_state:ok") {
        Ok(())
    } else {
        Err(StoreError::unavailable("the cluster is down"))
    }
}

/// Returns whether a response to ROLE comes from a replica.
///
/// The response is a list that begins with `master` or `slave`.
fn is_replica(role: &Value) -> bool {
    let Value::Array(parts) = role else { return false };
    let role: Option<String> = parts.first().cloned().and_then(|role| redis::from_redis_value(role).ok());
    role.as_deref() == Some("slave")
}

fn replica() -> StoreError {
    StoreError::unavailable("the server is a replica, which accepts no writes")
}

/// Returns the INFO text from each primary.
async fn infos(connection: &Connection) -> Result<Vec<String>, StoreError> {
    let command = redis::cmd("INFO");
    let Some(cluster) = connection.cluster() else {
        return Ok(vec![command.query_async(&mut connection.clone()).await?]);
    };
    let masters =
        RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, Some(ResponsePolicy::Special)));
    let replies = cluster.run(async |cluster| cluster.route_command(command, masters).await).await?;
    let Value::Map(replies) = replies else {
        return Err(StoreError::corrupt("the cluster does not list its nodes"));
    };
    let infos =
        replies.into_iter().map(|(_, info)| redis::from_redis_value(info).map_err(StoreError::corrupt));
    infos.collect()
}

/// Warns if a server has fewer replicas than new links require.
fn warn_of_missing_replicas(infos: &[String], wait_replicas: u32) {
    // A hosted server may hide this value.
    let replicas = infos.iter().filter_map(|info| value(info, "connected_slaves").parse::<u32>().ok()).min();
    if let Some(replicas) = replicas.filter(|replicas| *replicas < wait_replicas) {
        tracing::warn!(replicas, wait_replicas, "fewer replicas than wait_replicas: no link can be created");
    }
}

/// Returns a value from the text of INFO, or an empty string.
fn value<'a>(info: &'a str, name: &str) -> &'a str {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().trim()
}

/// Refuses a replica, or a server that may evict links.
///
/// Warns if persistence is off.
fn check_info(info: &str) -> Result<(), StoreError> {
    let value = |name| value(info, name);
    if value("role") == "slave" {
        return Err(replica());
    }
    let policy = value("maxmemory_policy");
    // The volatile policies evict only Redis keys with an expiry, and the keys that hold links have none.
    if policy.starts_with("allkeys") {
        return Err(StoreError::unavailable(format!(
            "the server may evict links (maxmemory-policy {policy}); set it to noeviction"
        )));
    }
    if value("aof_enabled") == "0" {
        tracing::warn!("appendonly is off: a crash of the Redis server loses links");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(policy: &str) -> Option<String> {
        let info = format!("role:master\r\naof_enabled:1\r\nmaxmemory_policy:{policy}\r\n");
        match check_info(&info) {
            Err(StoreError::Unavailable(reason)) => Some(reason.to_string()),
            _ => None,
        }
    }

    #[test]
    fn a_server_that_may_evict_links_is_refused() {
        assert!(refusal("allkeys-lru").unwrap().contains("maxmemory-policy allkeys-lru"));
        assert!(refusal("allkeys-random").is_some());
        assert_eq!(refusal("noeviction"), None);
        assert_eq!(refusal("volatile-lru"), None);
    }
}
