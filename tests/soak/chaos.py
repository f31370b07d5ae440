"""Outages of the store and of the service. Each outage is announced, and the service must recover from it in time."""

import asyncio
import time

from harness.service import Service

# The maximum time in seconds from the end of an outage until /readyz returns 200.
RECOVERY = 15
# All of these are in seconds. A shutdown may take as long as the first two combined, plus a margin for a busy machine.
DRAIN_DELAY, DRAIN_TIMEOUT = 1, 5
SHUTDOWN = DRAIN_DELAY + DRAIN_TIMEOUT + 10


class Chaos:
    """The service and its store, and the outages that can affect them."""

    def __init__(self, binary, variables, log_path, server, outages, probe):
        self.binary = binary
        self.variables = variables
        self.log_path = log_path
        self.server = server
        self.outages = outages
        # A function that requests /readyz and returns the status, or None if there was no response.
        self.probe = probe
        self.flaws = []
        self.last = "start"
        self.service = Service(binary, variables, log_path)
        # A restarted service must listen on the same port.
        self.variables = variables | {"PORT": str(self.service.address[1])}

    def store_outages(self):
        return [self.kill_store, self.freeze_store] if self.server else []

    def service_outages(self):
        return [self.restart, self.crash, *([self.restart_while_store_is_frozen] if self.server else [])]

    async def run(self, outage, seconds):
        """Causes an outage of the given length, and waits for the service to recover."""
        self.last = outage.__name__.replace("_", " ")
        self.outages.begin()
        await outage(seconds)
        deadline = time.monotonic() + RECOVERY
        while await self.probe() != 200:
            if time.monotonic() > deadline:
                self.flaws.append(f"not ready {RECOVERY} s after: {self.last}")
                break
            await asyncio.sleep(0.1)
        self.outages.end()

    async def kill_store(self, seconds):
        self.server.kill()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.server.start)

    async def freeze_store(self, seconds):
        self.server.freeze()
        await asyncio.sleep(seconds)
        self.server.thaw()

    async def restart(self, seconds):
        await self.terminate()
        await self.start()

    async def crash(self, seconds):
        await asyncio.to_thread(self.service.kill)
        await asyncio.sleep(seconds / 4)
        await self.start()

    async def restart_while_store_is_frozen(self, seconds):
        self.server.freeze()
        await asyncio.sleep(seconds)
        await self.terminate()
        self.server.thaw()
        await self.start()

    async def terminate(self):
        start = time.monotonic()
        status = await asyncio.to_thread(self.service.terminate)
        took = time.monotonic() - start
        if status != 0 or took > SHUTDOWN:
            self.flaws.append(f"SIGTERM: exit status {status} after {took:.0f} s")

    async def start(self):
        self.service = await asyncio.to_thread(Service, self.binary, self.variables, self.log_path)

    def stop(self):
        if self.service.is_running():
            self.service.kill()
        if self.server:
            self.server.stop()
