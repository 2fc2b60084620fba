"""A file server on the loopback interface that misbehaves on request.

The address says how: `server.url("drop=1000+norange", "a.txt")` ignores range
requests and drops each connection after 1000 bytes. The faults are

    ok          none: range requests are answered
    404, 500    this status, no file
    416         this status to every range request
    drop=N      the connection ends after N bytes of the answer
    reset=N     as drop, but by a TCP reset
    stall=N     after N bytes nothing more comes, for a minute
    slow=N      N bytes at a time, with a short pause after each
    short=N     the file ends after N bytes, and the server thinks that right
    alter=N     the byte at N is another
    norange     a range request gets the whole file
    otherrange  a range request gets another range, and the answer says so
    length=N    Content-Length is wrong by N
    nolength    no Content-Length
    once        the fault is cured after the first request for this address
"""

import http.server
import socket
import socketserver
import struct
import threading


class FaultyServer(http.server.ThreadingHTTPServer):
    """Serves `content`, a dict of names and bytes; use it in `with`.

    `log` lists (name, fault, first byte asked for or None, bytes sent), in
    the order in which the answers began. `on_sent`, if set, is called with
    the number of bytes that an answer has had so far, after each piece.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.log, self.on_sent = {}, [], None
        self.closing = threading.Event()

    def server_bind(self):
        """As usual, but without asking a name server for our name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]

    def handle_error(self, request, client_address):
        """Clients may leave at any moment: that is what is tested."""

    def __enter__(self):
        threading.Thread(
            target=self.serve_forever, args=(0.01,), daemon=True
        ).start()
        return self

    def __exit__(self, *error):
        self.closing.set()
        self.shutdown()
        self.server_close()

    def url(self, fault, name):
        return f"http://127.0.0.1:{self.server_port}/{fault}/{name}"

    def starts(self, name):
        """The first byte that each request for a file asked for."""
        return [entry[2] for entry in self.log if entry[0] == name]


class _Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments):
        """Quiet."""

    def do_GET(self):
        _, fault, name = self.path.split("/", 2)
        asked = self.headers.get("Range")
        start = int(asked[len("bytes=") : -1]) if asked else None
        earlier = [e for e in self.server.log if e[:2] == [name, fault]]
        entry = [name, fault, start, 0]
        self.server.log.append(entry)
        parts = fault.split("+")
        if "once" in parts and earlier:
            parts = ["ok"]
        faults = dict(p.partition("=")[::2] for p in parts)
        for status in ("404", "500"):
            if status in faults:
                self.send_error(int(status))
                return
        data = self.server.content[name]
        if "alter" in faults:
            at = int(faults["alter"])
            data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        if "short" in faults:
            data = data[: int(faults["short"])]
        if start is not None and ("416" in faults or start >= len(data)):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(data)}")
            self.end_headers()
            return
        if start is None or "norange" in faults:
            first, status = 0, 200
        else:
            first = start // 2 if "otherrange" in faults else start
            status = 206
        self.send_response(status)
        if status == 206:
            last = len(data) - 1
            self.send_header(
                "Content-Range", f"bytes {first}-{last}/{len(data)}"
            )
        body = data[first:]
        if "nolength" not in faults:
            wrong = int(faults.get("length", 0))
            self.send_header("Content-Length", str(len(body) + wrong))
        self.end_headers()
        self._send(body, faults, entry)

    def _send(self, body, faults, entry):
        ends = [int(faults[k]) for k in ("drop", "reset", "stall")
                if k in faults]  # fmt: skip
        body = body[: min(ends, default=len(body))]
        step = int(faults.get("slow", 1 << 16))
        while entry[3] < len(body):
            piece = body[entry[3] : entry[3] + step]
            self.wfile.write(piece)
            entry[3] += len(piece)
            if self.server.on_sent:
                self.server.on_sent(entry[3])
            if "slow" in faults and self.server.closing.wait(0.001):
                return
        if "stall" in faults:
            self.server.closing.wait(60)
        if "reset" in faults:
            self.connection.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
            self.connection.close()
