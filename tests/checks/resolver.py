"""resolver.py COMMAND…: checks that the command looks up a host in DNS and connects to port 5432 on that host.

Run it in a separate network namespace. The script acts as the name server on 127.0.0.1, and resolves
every name to that address.
"""

import socket
import struct
import subprocess
import sys
import threading

PATIENCE = 60


def serve(names):
    while True:
        query, client = names.recvfrom(512)
        question = query[12 : query.index(b"\0", 12) + 5]
        is_address = question[-4:] == b"\0\1\0\1"
        answer = b"\xc0\x0c" + question[-4:] + struct.pack(">IH", 60, 4) + bytes([127, 0, 0, 1]) if is_address else b""
        header = query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, int(is_address), 0, 0)
        names.sendto(header + question + answer, client)


names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind(("127.0.0.1", 53))
threading.Thread(target=serve, args=[names], daemon=True).start()
database = socket.create_server(("127.0.0.1", 5432))
database.settimeout(PATIENCE)
command = subprocess.Popen(sys.argv[1:])
try:
    database.accept()
except TimeoutError:
    sys.exit("the command did not connect to the host")
finally:
    command.kill()
