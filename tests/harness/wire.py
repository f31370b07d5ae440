"""A raw client connection, which sends bytes and reads responses without a client library."""

import asyncio
import json
import re
import socket
import struct

# The timeout in seconds. It is far longer than any response takes, so if it expires, no response is coming.
PATIENCE = 20
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2}) [ -~]*\r\n")
HEADER_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t -~\x80-\xff]*)\r\n")


class Malformed(Exception):
    """The service sent bytes that are not an HTTP response."""


class Response:
    """One response, with header names in lower case."""

    def __init__(self, status, headers):
        self.status = status
        self.headers = headers
        self.body = b""

    def json(self):
        return json.loads(self.body)


class Connection:
    """The client's end of a connection. It can send any bytes, valid or not."""

    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.is_closed_by_peer = False

    @classmethod
    async def open(cls, address):
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(sock, address), PATIENCE)
        return cls(sock)

    async def send(self, data):
        """Sends as much as the service accepts. The service may respond and close the connection early."""
        try:
            await asyncio.wait_for(asyncio.get_running_loop().sock_sendall(self.sock, data), PATIENCE)
        except (ConnectionError, TimeoutError):
            pass

    def half_close(self):
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.is_closed_by_peer = True

    def close(self, abruptly=False):
        """Closes the connection, or resets it if `abruptly` is set."""
        if abruptly:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    async def _fill(self, patience):
        """Reads more bytes. Returns False at the end of the stream."""
        if self.is_closed_by_peer:
            return False
        try:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, 65536), patience)
        except ConnectionError:
            data = b""
        self.buffer += data
        self.is_closed_by_peer = not data
        return bool(data)

    async def is_closed(self, patience=PATIENCE):
        """Returns whether the service closes the connection without sending more."""
        try:
            await self._fill(patience)
        except TimeoutError:
            return False
        return self.is_closed_by_peer and not self.buffer

    async def read_response(self, method=b"GET", patience=PATIENCE):
        """Returns the next final response, or None at the end of the stream."""
        while True:
            while b"\r\n\r\n" not in self.buffer:
                if not await self._fill(patience):
                    if self.buffer:
                        raise Malformed(f"half a response: {self.buffer!r}")
                    return None
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            response = parse_head(head + b"\r\n")
            if response.status >= 200:
                break
        response.body = await self._body(method, response, patience)
        return response

    async def _body(self, method, response, patience):
        if method == b"HEAD" or response.status in (204, 304):
            return b""
        lengths = response.headers.get(b"content-length", [])
        if len(lengths) != 1 or not lengths[0].isdigit():
            raise Malformed(f"{response.status} with content-length {lengths!r}")
        length = int(lengths[0])
        while len(self.buffer) < length:
            if not await self._fill(patience):
                raise Malformed(f"{response.status} ends {length - len(self.buffer)} bytes early")
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return body


def parse_head(head):
    """Parses the head of a response strictly: a stray byte could make a proxy split the response in two."""
    line = STATUS_LINE.match(head)
    if not line:
        raise Malformed(f"no status line: {head!r}")
    headers, position = {}, line.end()
    while position < len(head):
        header = HEADER_LINE.match(head, position)
        if not header:
            raise Malformed(f"no header: {head[position:]!r}")
        headers.setdefault(header[1].lower(), []).append(header[2])
        position = header.end()
    return Response(int(line[1]), headers)
