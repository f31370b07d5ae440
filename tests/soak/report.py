"""The samples taken during a run, and the tables printed at the end."""

import time

# The maximum growth in bytes. The allocator and SQLite keep some pages after every burst.
MAX_GROWTH = 24 << 20
MAX_MORE_DESCRIPTORS = 50

COLUMNS = "{:>6}  {:<9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7} {:>5}  {}"
HEADINGS = ("minute", "store", "requests", "hang-ups", "announced", "failures", "links", "MiB", "files", "last event")


class Sample:
    """One row of the table of samples."""

    def __init__(self, run):
        self.minute = (time.monotonic() - run.start) / 60
        self.store = run.store
        self.requests, self.hang_ups = run.stats.requests, run.stats.hang_ups
        self.inside, self.outside = run.stats.failures()
        self.links = run.ledger.acknowledged_links
        service = run.chaos.service
        self.process = service.process.pid
        self.resident = service.resident_bytes() if service.is_running() else 0
        self.descriptors = service.descriptors() if service.is_running() else 0
        self.event = run.chaos.last

    def row(self):
        return COLUMNS.format(
            f"{self.minute:.1f}",
            self.store,
            self.requests,
            self.hang_ups,
            self.inside,
            self.outside,
            self.links,
            f"{self.resident / 2**20:.1f}",
            self.descriptors,
            self.event,
        )


def growth(samples):
    """Yields a message for each process whose memory or descriptors kept growing.

    Caches and pools fill during the first third of a process's life, so that third is ignored. The samples from the
    second half of the remaining time are compared with those from the first half.
    """
    for process in {sample.process for sample in samples}:
        life = [sample for sample in samples if sample.process == process and sample.resident]
        life = life[len(life) // 3 :]
        if len(life) < 4:
            continue
        half = len(life) // 2
        for name, figures, limit in [
            ("resident bytes", [sample.resident for sample in life], MAX_GROWTH),
            ("descriptors", [sample.descriptors for sample in life], MAX_MORE_DESCRIPTORS),
        ]:
            early, late = sum(figures[:half]) / half, sum(figures[half:]) / (len(figures) - half)
            if late > early + limit:
                yield f"{life[0].store}: {name} grew from {early:.0f} to {late:.0f} in one process"


def verdict(run):
    """Yields a message for each broken promise."""
    ledger = run.ledger
    yield from (f"{run.store}: acknowledged, but lost: {message}" for message in ledger.lost[:5])
    yield from (f"{run.store}: redirects after its acknowledged end: {message}" for message in ledger.redirecting[:5])
    yield from (f"{run.store}: wrong response: {message}" for message in ledger.wrong[:5])
    yield from (f"{run.store}: {kind} outside outages: {count}" for kind, count in run.stats.outside.items())
    yield from (f"{run.store}: e.g. {example}" for example in run.stats.examples[:5])
    yield from (f"{run.store}: {flaw}" for flaw in run.chaos.flaws)
    yield from (f"{run.store}: log: {flaw}" for flaw in run.log_flaws[:5])
    yield from growth(run.samples)


def summary(run):
    """Returns the summary of the run for one store."""
    ledger, stats = run.ledger, run.stats
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(stats.inside.items())) or "none"
    others = ", ".join(f"{count} {kind}" for kind, count in sorted(stats.outside.items())) or "none"
    return (
        f"{run.store}: {stats.requests} requests, {stats.hang_ups} hang-ups, slowest response {stats.slowest:.2f} s\n"
        f"  failures during announced outages: {kinds}\n"
        f"  failures otherwise: {others}\n"
        f"  acknowledged links {ledger.acknowledged_links}, lost {len(ledger.lost)}; acknowledged deletes and "
        f"take-downs {ledger.acknowledged_ends}, redirecting {len(ledger.redirecting)}; wrong {len(ledger.wrong)}"
    )
