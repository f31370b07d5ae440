"""Where things are, and what the program says of its options."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "infra/examples"
BINARY = ROOT / "target/debug/urlshort"
sys.path[:0] = [str(ROOT / "tests/harness"), str(ROOT / "tests/checks")]

PATIENCE = 20


def read(name):
    return (EXAMPLES / name).read_text()


def run(*command, **options):
    """Runs a command; returns what it printed. Its error says what went wrong."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert result.returncode == 0, f"{' '.join(map(str, command))}: {result.stdout}{result.stderr}"
    return result.stdout


def replaced(text, changes):
    """The text with each change made; one that finds nothing to change is an error."""
    for old, new in changes.items():
        assert old in text, f"no longer there: {old}"
        text = text.replace(old, new)
    return text


def defaults():
    """The default of each option, by its variable; None for one without."""
    found = {}
    for option in re.split(r"\n +--", run(BINARY, "--help")):
        if variable := re.search(r"\[env: ([A-Z_]+)", option):
            default = re.search(r"\[default: ([^\]]+)\]", option)
            found[variable[1]] = default and default[1]
    assert len(found) > 25 and found["DRAIN_DELAY"], found
    return found


def seconds(duration):
    """A duration such as `30s` or `30`, in seconds."""
    match = re.fullmatch(r"(\d+)s?", str(duration))
    assert match, f"not in seconds: {duration}"
    return int(match[1])
