"""Cases: what the fuzzer sends on one connection, and the responses that must follow."""

import random

from harness import wire

from . import broken, grammar, mutation

# Both are in seconds. An incomplete head times out after HEADER_TIMEOUT, or after twice KEEP_ALIVE if it isn't the
# first on its connection.
HEADER_TIMEOUT, KEEP_ALIVE = 8, 8


class Broken(Exception):
    """The service broke a promise."""


def build(seed, iteration):
    """Returns the case for this seed and number. The same arguments always give the same case."""
    rng = random.Random(f"{seed}:{iteration}")
    kind = rng.choices([Pipeline, Damaged, Interrupted, Unread], [50, 50, 10, 2])[0]
    return kind(rng)


class Case:
    def __init__(self, rng):
        self.pieces = self.compose(rng)
        self.is_abrupt = rng.random() < 0.5

    async def run(self, address, counts):
        """Plays the case. Raises `Broken` or `wire.Malformed`."""
        connection = await wire.Connection.open(address)
        try:
            for piece in self.pieces:
                await connection.send(piece)
            await self.verify(connection, counts)
        finally:
            connection.close(self.is_abrupt)

    async def read_response(self, connection, counts, request=None):
        """Reads the next response and counts it. Returns None if the service closed the connection."""
        try:
            response = await connection.read_response(request.method if request else b"GET")
        except TimeoutError:
            raise Broken(f"no response within {wire.PATIENCE} s")
        if response:
            counts[response.status] += 1
            if response.status not in grammar.NO_FAULT:
                raise Broken(f"status {response.status}")
        return response


class Pipeline(Case):
    """Valid requests, sent whole or in pieces, followed by one request of any kind. Responses must arrive in order."""

    def compose(self, rng):
        self.requests = [grammar.readable(rng) for _ in range(rng.choice([0, 0, 1, 3, 8]))]
        last = rng.choices([grammar.well_formed, broken.broken, broken.ambiguous], [4, 3, 3])[0]
        self.requests.append(last(rng))
        raw = b"".join(request.raw for request in self.requests)
        cuts = sorted(rng.randrange(len(raw)) for _ in range(rng.choice([0, 0, 0, 1, 4])))
        return [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)])]

    async def verify(self, connection, counts):
        for number, request in enumerate(self.requests):
            response = await self.read_response(connection, counts, request)
            if not response:
                raise Broken(f"request {number} got no response")
            if response.status not in request.expected:
                expected = "a refusal" if request.expected == grammar.REJECTED else sorted(request.expected)
                raise Broken(f"request {number} got {response.status} instead of {expected}")
            marker = response.headers.get(b"x-request-id")
            if request.marker and marker != [request.marker]:
                raise Broken(f"request {number} got the response of {marker}")
        if self.requests[-1].ends_connection and not await connection.is_closed():
            raise Broken("the connection stays open after an invalid head")


class Damaged(Case):
    """A damaged request, sometimes after a valid one. If the damaged head is complete, it must get a response."""

    def compose(self, rng):
        self.first = grammar.readable(rng) if rng.random() < 0.2 else None
        # Replace the write token, so that a damaged request can't delete a link that other cases need.
        original, donor = (grammar.well_formed(rng).raw.replace(grammar.TOKEN, b"no-token") for _ in range(2))
        damaged = mutation.damaged(rng, original, donor)
        # A response to HEAD has no body.
        self.method = b"HEAD" if damaged.lstrip(b"\r\n").startswith(b"HEAD") else b"GET"
        self.must_answer = mutation.has_complete_head(damaged) or len(damaged.lstrip(b"\r\n")) > broken.LIMIT
        return [(self.first.raw if self.first else b"") + damaged]

    async def verify(self, connection, counts):
        if self.first and not await self.read_response(connection, counts, self.first):
            raise Broken("the valid request got no response")
        if self.must_answer and not await self.read_response(connection, counts, grammar.Request(b"", method=self.method)):
            raise Broken("a complete head got no response")


class Interrupted(Case):
    """Part of a request, then silence or a disconnect. The service must close the connection in time."""

    def compose(self, rng):
        raw = rng.choice([grammar.well_formed, grammar.well_formed, broken.ambiguous])(rng).raw
        self.ending = rng.choices(["close", "half-close", "silence"], [5, 4, 1])[0]
        return [raw[: rng.randrange(len(raw))]]

    async def verify(self, connection, counts):
        if self.ending == "close":
            return
        if self.ending == "half-close":
            connection.half_close()
        if await self.read_response(connection, counts):
            return


class Unread(Case):
    """Many pipelined requests from a client that disconnects without reading any response."""

    def compose(self, rng):
        return [grammar.readable(rng).raw * rng.choice([10, 100, 500])]

    async def verify(self, connection, counts):
        pass
