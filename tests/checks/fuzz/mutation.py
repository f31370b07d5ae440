"""Random damage to bytes."""

TOKENS = [
    b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"\0", b"\t", b" ", b":", b",", b";", b"%", b"%00", b"/", b"+", b"?", b"#",
    b"\x1b[2J", b"\x7f", b"\x80", b"\xc2\x85", b"\xff", b"\xe2\x80\xae", b"HTTP/1.1", b"HTTP/1.0", b"GET ", b"Host: x\r\n",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"0\r\n\r\n", b"{", b"}", b'"',
    b"18446744073709551616", b"-1", b"\\u0000", b"x" * 300,
]  # fmt: skip


def damaged(rng, data, donor):
    """Returns `data` after one to eight changes, some of which insert pieces of `donor`."""
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        data = rng.choice(CHANGES)(rng, data, donor)
    return data


def flip(rng, data, _donor):
    at = place(rng, data)
    return data[:at] + bytes([byte ^ 1 << rng.randrange(8) for byte in data[at : at + 1]]) + data[at + 1 :]


def overwrite(rng, data, _donor):
    at = place(rng, data)
    return data[:at] + bytes([rng.getrandbits(8)]) + data[at + 1 :]


def insert(rng, data, _donor):
    at = place(rng, data)
    return data[:at] + rng.choice([rng.choice(TOKENS), rng.randbytes(rng.choice([1, 4, 50]))]) + data[at:]


def delete(rng, data, _donor):
    at = place(rng, data)
    return data[:at] + data[at + rng.choice([1, 2, 10, 100]) :]


def repeat(rng, data, _donor):
    at = place(rng, data)
    piece = data[at : at + rng.choice([1, 5, 40])]
    return data[:at] + piece * rng.choice([2, 3, 50]) + data[at:]


def splice(rng, data, donor):
    return data[: place(rng, data)] + donor[place(rng, donor) :]


def truncate(rng, data, _donor):
    return data[: place(rng, data)]


CHANGES = [flip, flip, overwrite, insert, insert, delete, repeat, splice, truncate]


def place(rng, data):
    return rng.randrange(len(data) + 1)


def has_complete_head(data):
    """Returns whether the data contains an empty line that a lenient server takes as the end of the head."""
    data = data.lstrip(b"\r\n")
    return any(end in data for end in (b"\r\n\r\n", b"\n\n", b"\n\r\n"))
