"""A client that keeps its connection open, and counts failures during announced outages separately from others."""

import asyncio
import collections
import json
import time

from harness import wire

TOKEN = "soak-token-0123456789"
# The client's timeout in seconds, which is longer than the service's REQUEST_TIMEOUT.
PATIENCE = 15


class Stats:
    """The counts for a run."""

    def __init__(self):
        self.requests = 0
        self.hang_ups = 0
        self.inside = collections.Counter()
        self.outside = collections.Counter()
        self.slowest = 0.0
        self.examples = []

    def failures(self):
        return sum(self.inside.values()), sum(self.outside.values())


class Outages:
    """Records whether an outage is announced. During an announced outage, failures are expected."""

    def __init__(self):
        self.is_announced = False
        self.count = 0

    def begin(self):
        self.is_announced = True
        self.count += 1

    def end(self):
        self.is_announced = False


class Client:
    """Sends one request at a time."""

    def __init__(self, service, stats, outages, is_stopping):
        self.service = service
        self.is_stopping = is_stopping
        self.stats = stats
        self.outages = outages
        self.connection = None
        # The number of outages before the connection was opened.
        self.connected_after = 0

    async def request(self, method, path, body=None, headers=None):
        """Sends a request. Returns the response, or None if there was none. A 5xx counts as a failure."""
        is_inside = self.outages.is_announced
        outages = self.connected_after if self.connection else self.outages.count
        start = time.monotonic()
        self.stats.requests += 1
        response, reason = await self._exchange(raw_request(method, path, body, headers), method)
        failure = reason or (failure_of(response) if response.status >= 500 else None)
        if failure:
            is_inside = is_inside or self.outages.is_announced or outages != self.outages.count
            # An outage can't cause a 500 or a malformed response.
            is_inside = is_inside and not failure.startswith(("500", "malformed"))
            (self.stats.inside if is_inside else self.stats.outside)[failure] += 1
            if not is_inside:
                self.stats.examples.append(f"{time.strftime('%H:%M:%S')} {method} {path}: {failure}")
        elif not self.outages.is_announced:
            self.stats.slowest = max(self.stats.slowest, time.monotonic() - start)
        return response

    async def _exchange(self, raw, method):
        try:
            if self.connection is None:
                self.connected_after = self.outages.count
                self.connection = await wire.Connection.open(self.service().address)
            await self.connection.send(raw)
            response = await self.connection.read_response(method.encode(), PATIENCE)
        except TimeoutError:
            self.close()
            return None, "timeout"
        except OSError as error:
            self.close()
            await asyncio.sleep(0.2)
            return None, f"connection: {type(error).__name__}"
        except wire.Malformed as error:
            self.close()
            return None, (
                "connection: cut off" if "early" in str(error) or "half" in str(error) else f"malformed: {error}"
            )
        if response is None:
            self.close()
            return None, "connection: closed"
        if response.headers.get(b"connection") == [b"close"]:
            self.close()
        return response, None

    async def hang_up(self, raw, pause=0.0):
        """Sends bytes on a new connection, and resets the connection after a pause, without reading a response."""
        self.stats.hang_ups += 1
        try:
            connection = await wire.Connection.open(self.service().address)
        except OSError:
            return
        try:
            await connection.send(raw)
            await asyncio.sleep(pause)
        finally:
            connection.close(abruptly=True)

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


def failure_of(response):
    """Describes a failed response, such as `503 store_unavailable`."""
    try:
        return f"{response.status} {response.json()['code']}"
    except (ValueError, KeyError):
        return f"{response.status}"


def raw_request(method, path, body=None, headers=None):
    fields = {"Host": "localhost", **(headers or {})}
    content = b""
    if body is not None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": "application/json", **fields, "Content-Length": str(len(content))}
    if path.startswith("/api/"):
        fields["Authorization"] = f"Bearer {TOKEN}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content
