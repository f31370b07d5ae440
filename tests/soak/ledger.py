"""Remembers what the service has acknowledged, and judges what it shows later."""

import random
import time

ABSENT, GONE = "absent", "gone"


class Timed(list):
    """Sentences with the time at which each was added."""

    def append(self, sentence):
        super().append(f"{time.strftime('%H:%M:%S')} {sentence}")


class Link:
    """A link and the states that it may be in.

    A change that was acknowledged leaves one state. After one whose answer was lost, both are possible, and the change
    may even take effect later: then only the same change is tried again, and none follows it.
    """

    def __init__(self, key, states):
        self.key = key
        self.states = frozenset(states)
        # Odd while a change is under way.
        self.changes = 0
        self.is_uncertain = len(self.states) > 1
        self.history = Timed()

    def begin(self, state):
        self.changes += 1
        self.history.append(f"asked for {state}")

    def finish(self, state, is_acknowledged):
        self.changes += 1
        self.history.append(f"{'acknowledged' if is_acknowledged else 'unanswered'} {state}")
        self.states = frozenset({state}) if is_acknowledged else self.states | {state}
        self.is_uncertain = self.is_uncertain or not is_acknowledged


class Ledger:
    """All links of a run."""

    def __init__(self):
        self.links = []
        self.acknowledged_links = 0
        self.acknowledged_ends = 0
        # Sentences about promises that were broken.
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
        """Any link, or None."""
        return random.choice(self.links) if self.links else None

    def observe(self, link, changes, answer):
        """Judges an answer to GET /KEY, unless a change was under way between the request, at `changes`, and now."""
        if changes % 2 or link.changes != changes:
            return
        state = observed(answer)
        if state is None or state in link.states:
            return
        expected, history = " or ".join(sorted(link.states)), ", ".join(link.history)
        sentence = f"{link.key}: {state}, expected {expected} ({history})"
        if state == ABSENT:
            self.lost.append(sentence)
        elif state != GONE and link.states <= {ABSENT, GONE}:
            self.redirecting.append(sentence)
        else:
            self.wrong.append(sentence)


def observed(answer):
    """The state that an answer shows; None for one that shows nothing."""
    if answer.status in (301, 302, 307, 308):
        return answer.headers[b"location"][0].decode()
    return {404: ABSENT, 410: GONE}.get(answer.status)
