use std::{
    path::{Path, PathBuf},
    process::Command,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{
    PATIENCE, eventually_blocking,
    server::{RemoteServer, Server, free_port, give_away, on_free_ports, run},
};

/// A Redis server. By default, it writes nothing to disk.
pub(crate) struct Redis {
    directory: TempDir,
    pub(crate) port: u16,
    extra: Vec<String>,
    server: Server,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with additional arguments.
    ///
    /// `PORT` in an argument stands for the server's port.
    pub(crate) fn start_with(extra: &[&str]) -> Self {
        Self::start_with_files(|_| (), extra)
    }

    /// Starts a server with arguments that refer to files written by `prepare`.
    pub(crate) fn start_with_files(prepare: impl FnOnce(&Path), extra: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        prepare(directory.path());
        give_away(directory.path());
        let extra: Vec<String> = extra.iter().map(|argument| (*argument).to_owned()).collect();
        let (port, server) = on_free_ports("bind", |[port]| {
            Ok((port, Server::start(command(&directory, port, &extra), "Ready to accept connections")?))
        });
        Self { directory, port, extra, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.directory.path().to_owned()
    }

    /// Restarts a killed server with different arguments.
    pub(crate) fn restart_with(&mut self, extra: &[&str]) {
        self.extra = extra.iter().map(|argument| (*argument).to_owned()).collect();
        self.restart();
    }

    fn is_master(&self) -> bool {
        self.cli(&["INFO", "replication"]).contains("role:master")
    }

    /// Waits until `is_expected` accepts the output of a command.
    #[track_caller]
    fn wait_for(&self, arguments: &[&str], is_expected: impl Fn(&str) -> bool) {
        eventually_blocking(PATIENCE, || {
            let printed = self.cli(arguments);
            if is_expected(&printed) { Ok(()) } else { Err(printed) }
        });
    }

    /// Runs a command with `redis-cli`.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        cli(self.port, arguments)
    }
}

impl RemoteServer for Redis {
    fn freeze(&mut self) {
        self.server.signal(Signal::STOP);
    }

    fn thaw(&mut self) {
        self.server.signal(Signal::CONT);
    }

    fn kill(&mut self) {
        self.server.end(Signal::KILL);
    }

    fn restart(&mut self) {
        let command = command(&self.directory, self.port, &self.extra);
        self.server = Server::start(command, "Ready to accept connections").unwrap();
    }
}

fn command(directory: &TempDir, port: u16, extra: &[String]) -> Command {
    let mut command = Command::new("redis-server");
    command.current_dir(directory.path());
    let port = port.to_string();
    command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]).arg("--dir").arg(directory.path());
    command.args(extra.iter().map(|argument| argument.replace("PORT", &port)));
    command
}

fn cli(port: u16, arguments: &[&str]) -> String {
    run(Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments))
}

/// A cluster of three masters with one replica each.
pub(crate) struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    pub(crate) fn start() -> Self {
        // Set the bus port of each node, because the default (the node's port plus 10,000) may exceed 65,535.
        let nodes: Vec<_> = (0..6)
            .map(|_| {
                let bus = free_port().to_string();
                Redis::start_with(&[
                    "--cluster-enabled",
                    "yes",
                    "--cluster-node-timeout",
                    "1000",
                    "--cluster-port",
                    &bus,
                ])
            })
            .collect();
        let addresses: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let create = ["--cluster", "create"].into_iter().chain(addresses.iter().map(String::as_str));
        run(Command::new("redis-cli").args(create).args(["--cluster-replicas", "1", "--cluster-yes"]));
        let cluster = Self { nodes };
        cluster.wait_until_healthy();
        // Wait until the replicas have caught up, because tests rely on this.
        for node in &cluster.nodes {
            node.wait_for(&["INFO", "replication"], |info| !info.contains("master_link_status:down"));
        }
        cluster
    }

    /// Returns the store URL, which lists half of the nodes.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<_> =
            self.nodes.iter().step_by(2).map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis://{}", hosts.join(","))
    }

    /// Deletes all data.
    pub(crate) fn empty(&self) {
        for master in self.masters() {
            master.cli(&["FLUSHALL"]);
        }
    }

    /// Kills a master, and waits until the other nodes have noticed.
    pub(crate) fn kill_a_master(&mut self) {
        let index = self.nodes.iter().position(Redis::is_master).unwrap();
        let mut master = self.nodes.remove(index);
        master.kill();
        let address = format!(":{}@", master.port);
        let is_seen =
            |nodes: &str| nodes.lines().any(|line| line.contains(&address) && line.contains("fail"));
        self.nodes[0].wait_for(&["CLUSTER", "NODES"], is_seen);
    }

    /// Waits until every slot has a master again.
    pub(crate) fn wait_until_healthy(&self) {
        for node in &self.nodes {
            node.wait_for(&["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok"));
        }
    }

    fn masters(&self) -> impl Iterator<Item = &Redis> {
        self.nodes.iter().filter(|node| node.is_master())
    }
}
