"""Cases: what is done to one connection, and what must come of it."""

import random

from harness import wire

from . import broken, grammar, mutation

# An incomplete head is given up after HEADER_TIMEOUT or, later on a connection, twice KEEP_ALIVE.
HEADER_TIMEOUT, KEEP_ALIVE = 8, 8


class Broken(Exception):
    """The service did not keep a promise."""


def build(seed, iteration):
    """The case of this number; always the same."""
    rng = random.Random(f"{seed}:{iteration}")
    kind = rng.choices([Pipeline, Damaged, Interrupted, Unread], [50, 50, 10, 2])[0]
    return kind(rng)


class Case:
    def __init__(self, rng):
        self.pieces = self.compose(rng)
        self.is_abrupt = rng.random() < 0.5

    async def run(self, address, counts):
        """Plays the case; raises [`Broken`] or [`wire.Malformed`]."""
        connection = await wire.Connection.open(address)
        try:
            for piece in self.pieces:
                await connection.send(piece)
            await self.verify(connection, counts)
        finally:
            connection.close(self.is_abrupt)

    async def answer(self, connection, counts, request=None):
        """The next answer, counted; None where the service closed the connection instead."""
        try:
            answer = await connection.answer(request.method if request else b"GET")
        except TimeoutError:
            raise Broken(f"no answer within {wire.PATIENCE} s")
        if answer:
            counts[answer.status] += 1
            if answer.status not in grammar.NO_FAULT:
                raise Broken(f"answered {answer.status}")
        return answer


class Pipeline(Case):
    """Good requests at once or in pieces, then one of any kind: each gets its answer, in order."""

    def compose(self, rng):
        self.requests = [grammar.readable(rng) for _ in range(rng.choice([0, 0, 1, 3, 8]))]
        last = rng.choices([grammar.well_formed, broken.broken, broken.ambiguous], [4, 3, 3])[0]
        self.requests.append(last(rng))
        raw = b"".join(request.raw for request in self.requests)
        cuts = sorted(rng.randrange(len(raw)) for _ in range(rng.choice([0, 0, 0, 1, 4])))
        return [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)])]

    async def verify(self, connection, counts):
        for number, request in enumerate(self.requests):
            answer = await self.answer(connection, counts, request)
            if not answer:
                raise Broken(f"request {number} was never answered")
            if answer.status not in request.expected:
                due = "a refusal" if request.expected == grammar.REJECTED else sorted(request.expected)
                raise Broken(f"request {number} was answered {answer.status} instead of {due}")
            marker = answer.headers.get(b"x-request-id")
            if request.marker and marker != [request.marker]:
                raise Broken(f"request {number} has the answer of {marker}")
        if self.requests[-1].ends_connection and not await connection.is_closed():
            raise Broken("the connection stays open behind a head that can't be read")


class Damaged(Case):
    """A good request, then damaged bytes: one that still has a complete head is answered."""

    def compose(self, rng):
        self.first = grammar.readable(rng) if rng.random() < 0.2 else None
        # Without the write token: damage must not turn one request into the removal of a link that others need.
        original, donor = (grammar.well_formed(rng).raw.replace(grammar.TOKEN, b"no-token") for _ in range(2))
        damaged = mutation.damaged(rng, original, donor)
        # An answer to HEAD has no body.
        self.method = b"HEAD" if damaged.lstrip(b"\r\n").startswith(b"HEAD") else b"GET"
        self.must_answer = mutation.has_complete_head(damaged) or len(damaged.lstrip(b"\r\n")) > broken.LIMIT
        return [(self.first.raw if self.first else b"") + damaged]

    async def verify(self, connection, counts):
        if self.first and not await self.answer(connection, counts, self.first):
            raise Broken("the good request was never answered")
        if self.must_answer and not await self.answer(connection, counts, grammar.Request(b"", method=self.method)):
            raise Broken("a complete head was never answered")


class Interrupted(Case):
    """Part of a request, and then nothing: the service gives the connection up in time."""

    def compose(self, rng):
        raw = rng.choice([grammar.well_formed, grammar.well_formed, broken.ambiguous])(rng).raw
        self.ending = rng.choices(["close", "half-close", "silence"], [5, 4, 1])[0]
        return [raw[: rng.randrange(len(raw))]]

    async def verify(self, connection, counts):
        if self.ending == "close":
            return
        if self.ending == "half-close":
            connection.half_close()
        if await self.answer(connection, counts):
            return


class Unread(Case):
    """Many requests at once from a client that leaves without reading an answer."""

    def compose(self, rng):
        return [grammar.readable(rng).raw * rng.choice([10, 100, 500])]

    async def verify(self, connection, counts):
        pass
