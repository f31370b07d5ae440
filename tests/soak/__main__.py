"""Runs a mixed load with disconnects, outages and restarts, and checks that no acknowledged change is lost."""

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time

from harness.service import eventually, flaws_in_log
from harness.servers import Postgres, Redis

from . import load, report
from .chaos import DRAIN_DELAY, DRAIN_TIMEOUT, Chaos
from .client import TOKEN, Client, Outages, Stats
from .ledger import Ledger

STORES = ["sqlite", "postgres", "redis"]
# The fraction of the run before the service is first restarted. Memory can be compared only within one process.
FIRST_LIFE = 0.6
VERIFIERS = 32
# The maximum number of open descriptors without clients: the service's own, store files, and 8 connections to the
# store.
IDLE_DESCRIPTORS = 40
SETTLING = 30
VARIABLES = {
    "RATE_LIMIT": "0",
    "TRUSTED_PROXIES": "1",
    "CACHE_BYTES": "2MiB",
    "API_TOKENS": f"soak:{TOKEN}:write",
    "DRAIN_DELAY": f"{DRAIN_DELAY}s",
    "DRAIN_TIMEOUT": f"{DRAIN_TIMEOUT}s",
}


class Run:
    """The soak test for one store."""

    def __init__(self, store, binary, directory, seconds, start):
        self.store = store
        self.seconds = seconds
        self.start = start
        self.stats, self.outages, self.ledger = Stats(), Outages(), Ledger()
        self.samples, self.log_flaws = [], []
        self.is_stopping = False
        self.log_path = f"{directory}/service.log"
        server, url = open_store(store, directory)
        try:
            variables = VARIABLES | {"STORE_URL": url}
            self.chaos = Chaos(binary, variables, self.log_path, server, self.outages, self.probe)
        except BaseException:
            if server:
                server.stop()
            raise

    def client(self, stats=None):
        return Client(lambda: self.chaos.service, stats or self.stats, self.outages, lambda: self.is_stopping)

    async def probe(self):
        client = self.client(Stats())
        response = await client.request("GET", "/readyz")
        client.close()
        return response.status if response else None

    async def soak(self):
        """Runs the load and the outages, then verifies all links twice: with a warm cache, and after a restart."""
        tasks = [asyncio.create_task(self.behave(behaviour)) for behaviour in load.behaviours()]
        tasks.append(asyncio.create_task(self.sample()))
        deadline = time.monotonic() + self.seconds
        await self.fail(deadline)
        self.is_stopping = True
        # An exception in a task is a bug in the soak test itself.
        await asyncio.gather(*tasks)
        await self.verify()
        await self.check_descriptors()
        await self.chaos.run(self.chaos.restart, 0)
        await self.verify()
        with open(self.log_path, "rb") as log:
            self.log_flaws = list(flaws_in_log(log.read().split(b"\n")[:-1]))

    async def behave(self, behaviour):
        client = self.client()
        while not self.is_stopping:
            await behaviour(client, self.ledger)
        client.close()

    async def sample(self):
        """Prints a row every minute, and at least ten rows per run."""
        while not self.is_stopping:
            self.samples.append(report.Sample(self))
            print(self.samples[-1].row(), flush=True)
            due = time.monotonic() + min(60, self.seconds / 10)
            while not self.is_stopping and time.monotonic() < due:
                await asyncio.sleep(0.1)

    async def fail(self, deadline):
        """Causes outages with quiet periods in between: first only store outages, later service outages as well."""
        length = max(1, min(5, self.seconds / 20))
        later = self.chaos.store_outages() + self.chaos.service_outages()
        first_end = deadline - self.seconds * (1 - FIRST_LIFE)
        for number in itertools.count():
            await asyncio.sleep(length)
            now = time.monotonic()
            if now > deadline - length:
                return
            outages = self.chaos.store_outages() if now < first_end else later
            if outages:
                await self.chaos.run(outages[number % len(outages)], length)

    async def verify(self):
        """Follows every link and checks that the response shows a state that the link may be in."""
        links = iter(list(self.ledger.links))

        async def worker():
            client = self.client()
            for link in links:
                await load.read(client, self.ledger, link)
            client.close()

        await asyncio.gather(*[worker() for _ in range(VERIFIERS)])

    async def check_descriptors(self):
        """Checks that the service has closed the descriptors of all clients."""
        service = self.chaos.service
        if not await asyncio.to_thread(eventually, SETTLING, lambda: service.descriptors() <= IDLE_DESCRIPTORS):
            self.chaos.flaws.append(f"{service.descriptors()} descriptors are open without clients")


def open_store(store, directory):
    """Starts the store's server, if it has one. Returns the server and the store URL."""
    if store == "sqlite":
        return None, f"sqlite:{directory}/links.db"
    home = f"{directory}/{store}"
    os.mkdir(home)
    server = {"postgres": Postgres, "redis": Redis}[store](home)
    return server, server.url()


def soak(store, binary, seconds, start):
    with tempfile.TemporaryDirectory() as directory:
        # The store server may run as another user.
        os.chmod(directory, 0o755)
        run = Run(store, binary, directory, seconds, start)
        try:
            asyncio.run(run.soak())
        finally:
            run.chaos.stop()
        return run


def main():
    parser = argparse.ArgumentParser(prog="tests/soak.sh")
    parser.add_argument("minutes", type=float)
    parser.add_argument("stores", nargs="*", metavar="STORE", help=f"{', '.join(STORES)}; all of them by default")
    parser.add_argument("--binary", required=True)
    options = parser.parse_args()
    stores = options.stores or STORES
    if unknown := set(stores) - set(STORES):
        parser.error(f"unknown store: {', '.join(unknown)}")
    start = time.monotonic()
    print(report.COLUMNS.format(*report.HEADINGS), flush=True)
    seconds = options.minutes * 60 / len(stores)
    runs = [soak(store, options.binary, seconds, start) for store in stores]
    print()
    for run in runs:
        print(report.summary(run))
    flaws = [flaw for run in runs for flaw in report.verdict(run)]
    for flaw in flaws:
        print(f"FAILED {flaw}")
    sys.exit(bool(flaws))


main()
