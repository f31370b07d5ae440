"""Paths, helpers, and the defaults of the program's options."""

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
    """Runs a command and returns its output. If the command fails, the error shows all of its output."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)
    assert result.returncode == 0, f"{' '.join(map(str, command))}: {result.stdout}{result.stderr}"
    return result.stdout


def replaced(text, changes):
    """Returns the text with all replacements made. Fails if there is nothing to replace."""
    for old, new in changes.items():
        assert old in text, f"nothing to replace: {old}"
        text = text.replace(old, new)
    return text


def defaults():
    """Returns a dictionary that maps each option's variable to the default, or to None if there is none."""
    found = {}
    for option in re.split(r"\n +--", run(BINARY, "--help")):
        if variable := re.search(r"\[env: ([A-Z_]+)", option):
            default = re.search(r"\[default: ([^\]]+)\]", option)
            found[variable[1]] = default and default[1]
    assert len(found) > 25 and found["DRAIN_DELAY"], found
    return found


def seconds(duration):
    """Parses a duration such as `30s` or `30`. Returns seconds."""
    match = re.fullmatch(r"(\d+)s?", str(duration))
    assert match, f"not in seconds: {duration}"
    return int(match[1])
