//! The servers to measure, and the load for each of them.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use urlshort::{config::StoreOptions, store};

use super::{
    load::{Load, key},
    server,
};

/// The target of every link.
pub(crate) const TARGET: &str = "https://example.com/some/path";

/// The cores of the server and of the load generator, in `taskset` syntax.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    server: &'static str,
    pub(crate) load: &'static str,
}

const ONE_EACH: Cores = Cores { server: "0", load: "1" };

/// The server and the load generator share one core.
///
/// A comparison with [`TWO_SHARED`] shows how much the service gains from a second core.
const ONE_SHARED: Cores = Cores { server: "0", load: "0" };
const TWO_SHARED: Cores = Cores { server: "0,1", load: "0,1" };

/// A server, and the load to measure it with.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// True for the contender that all others are compared with.
    pub(crate) is_reference: bool,
    pub(crate) load: Load,
    pub(crate) connections: usize,
    /// The rate of an open loop, in requests per second. `None` means a closed loop with wrk.
    pub(crate) rate: Option<u32>,
    server: Kind,
    pub(crate) cores: Cores,
    /// True if nothing reads the server's log.
    is_unread: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    /// nginx, which redirects by itself, with or without a log.
    Nginx { logs: bool },
    /// A server with only hyper, which shows the cost of HTTP itself.
    BareHyper,
    /// This service with its links in memory.
    Memory,
    /// This service with a SQLite file that contains `links` links.
    Sqlite { links: u32 },
}

pub(crate) fn contenders() -> Vec<Contender> {
    let contender = |name, server| Contender {
        name,
        is_reference: false,
        load: Load::OneLink,
        connections: 64,
        rate: None,
        server,
        cores: ONE_EACH,
        is_unread: false,
    };
    let sqlite = |name, links, load| Contender { load, ..contender(name, Kind::Sqlite { links }) };
    let creates = |name, connections| Contender {
        connections,
        load: Load::Creates,
        ..contender(name, Kind::Sqlite { links: 1 })
    };
    let at_rate = |contender| Contender { rate: Some(30_000), ..contender };
    vec![
        contender("nginx, no log", Kind::Nginx { logs: false }),
        Contender { is_reference: true, ..contender("nginx, JSON log", Kind::Nginx { logs: true }) },
        contender("bare hyper", Kind::BareHyper),
        contender("urlshort, memory", Kind::Memory),
        contender("urlshort, sqlite", Kind::Sqlite { links: 0 }),
        Contender {
            is_unread: true,
            ..contender("urlshort, sqlite, log reader has stopped", Kind::Sqlite { links: 0 })
        },
        Contender {
            cores: ONE_SHARED,
            ..contender("urlshort, sqlite, one core with wrk", Kind::Sqlite { links: 0 })
        },
        Contender {
            cores: TWO_SHARED,
            ..contender("urlshort, sqlite, two cores with wrk", Kind::Sqlite { links: 0 })
        },
        sqlite("urlshort, sqlite, 1,000,000 links, Zipf", 1_000_000, Load::Zipf(1_000_000)),
        sqlite("urlshort, sqlite, 100,000 of 1,000,000 links", 1_000_000, Load::Uniform(100_000)),
        sqlite("urlshort, sqlite, 1,000,000 links", 1_000_000, Load::Uniform(1_000_000)),
        sqlite("urlshort, sqlite, 10,000,000 links, Zipf", 10_000_000, Load::Zipf(10_000_000)),
        sqlite("urlshort, sqlite, unknown keys", 1_000_000, Load::Unknown),
        creates("urlshort, sqlite, creates, 1 client", 1),
        creates("urlshort, sqlite, creates, 8 clients", 8),
        creates("urlshort, sqlite, creates, 64 clients", 64),
        at_rate(contender("nginx, JSON log, 30,000/s", Kind::Nginx { logs: true })),
        at_rate(contender("urlshort, sqlite, 30,000/s", Kind::Sqlite { links: 0 })),
        at_rate(sqlite("urlshort, sqlite, 20,000 links, 30,000/s", 1_000_000, Load::Uniform(20_000))),
    ]
}

impl Contender {
    /// Returns the command that starts the server.
    pub(crate) fn command(&self, directory: &Path, port: u16) -> Command {
        match self.server {
            Kind::Nginx { logs } => server::nginx(self.cores.server, directory, port, logs),
            Kind::BareHyper => server::bare_hyper_command(self.cores.server, port),
            Kind::Memory => server::urlshort(self.cores.server, self.log(directory), port, "memory:"),
            Kind::Sqlite { links } => {
                server::urlshort(self.cores.server, self.log(directory), port, &store_url(directory, links))
            }
        }
    }

    /// Returns the server's standard output, to which it logs.
    fn log(&self, directory: &Path) -> Stdio {
        if self.is_unread {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            // Keep the reader open, so that the pipe fills up instead of breaking.
            std::mem::forget(reader);
            return writer.into();
        }
        fs::File::create(directory.join("access.log")).expect("a log file").into()
    }

    /// Returns whether a link must exist before the server can redirect.
    pub(crate) fn needs_link(&self) -> bool {
        matches!(self.server, Kind::Memory | Kind::Sqlite { .. })
    }

    /// Returns whether so many different links are followed that their clicks go to SQLite's journal.
    pub(crate) fn fills_journal(&self) -> bool {
        matches!(self.load, Load::Uniform(_) | Load::Zipf(_))
    }

    /// Creates the server's initial links, once for all rounds.
    pub(crate) fn fill(&self, directory: &Path) {
        let Kind::Sqlite { links } = self.server else { return };
        let file = directory.join(file_name(links));
        if file.exists() {
            return;
        }
        let options = StoreOptions::new(store_url(directory, links).parse().expect("a store URL"));
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        // Let the store create its tables.
        runtime.block_on(async {
            store::open(&options).await.expect("a store").close().await;
        });
        let mut connection = rusqlite::Connection::open(file).expect("a file");
        let mut keys: Vec<_> = (0..links).map(key).collect();
        // In index order, inserting ten million links takes half a minute instead of ten minutes.
        keys.sort_unstable();
        let filling = connection.transaction().expect("a transaction");
        let mut fill = filling
            .prepare("INSERT INTO links (key, created_at, version, doc) VALUES (?1, ?2, 1, json_object('target', ?3))")
            .expect("the layout");
        for (second, key) in keys.iter().enumerate() {
            let created_at = 1_700_000_000_000 + i64::try_from(second).expect("few links");
            fill.execute((key, created_at, TARGET)).expect("a link");
        }
        drop(fill);
        filling.commit().expect("links");
    }
}

fn file_name(links: u32) -> String {
    format!("{links}.db")
}

fn store_url(directory: &Path, links: u32) -> String {
    format!("sqlite:{}", directory.join(file_name(links)).display())
}
