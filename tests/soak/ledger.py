"""Records what the service acknowledged, and compares it with later responses."""

import random
import time

ABSENT, GONE = "absent", "gone"


class Timed(list):
    """Messages, each with the time at which it was added."""

    def append(self, message):
        super().append(f"{time.strftime('%H:%M:%S')} {message}")


class Link:
    """A link and the states that it may be in.

    After an acknowledged change, only one state is possible. If the response to a change is lost, the old and the new
    state are both possible, and the change may even take effect later. The client then retries only this change.
    """

    def __init__(self, key, states):
        self.key = key
        self.states = frozenset(states)
        # The number of changes started plus the number of changes finished. It is odd while a change is in progress.
        self.changes = 0
        self.is_uncertain = len(self.states) > 1
        self.history = Timed()

    def begin(self, state):
        self.changes += 1
        self.history.append(f"requested {state}")

    def finish(self, state, is_acknowledged):
        self.changes += 1
        self.history.append(f"{'acknowledged' if is_acknowledged else 'unanswered'} {state}")
        self.states = frozenset({state}) if is_acknowledged else self.states | {state}
        self.is_uncertain = self.is_uncertain or not is_acknowledged


class Ledger:
    """All links in a run."""

    def __init__(self):
        self.links = []
        self.acknowledged_links = 0
        self.acknowledged_ends = 0
        # Messages about broken promises.
        self.lost = Timed()
        self.redirecting = Timed()
        self.wrong = Timed()

    def add(self, key, states):
        self.links.append(Link(key, states))
        return self.links[-1]

    def created(self, key, target):
        self.acknowledged_links += 1
        return self.add(key, {target})

    def sample(self):
        """Returns a random link, or None if there is none."""
        return random.choice(self.links) if self.links else None

    def observe(self, link, changes, response):
        """Checks a response to GET /KEY, unless the link has changed since the request.

        `changes` is the value of `link.changes` at the time of the request.
        """
        if changes % 2 or link.changes != changes:
            return
        state = observed(response)
        if state is None or state in link.states:
            return
        expected, history = " or ".join(sorted(link.states)), ", ".join(link.history)
        message = f"{link.key}: {state}, expected {expected} ({history})"
        if state == ABSENT:
            self.lost.append(message)
        elif state != GONE and link.states <= {ABSENT, GONE}:
            self.redirecting.append(message)
        else:
            self.wrong.append(message)


def observed(response):
    """Returns the link state that a response shows, or None if it doesn't show one."""
    if response.status in (301, 302, 307, 308):
        return response.headers[b"location"][0].decode()
    return {404: ABSENT, 410: GONE}.get(response.status)
