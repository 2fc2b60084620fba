"""Serve the built site on this machine: python -m tools.serve [port]."""

import functools
import http.server
import sys
from pathlib import Path

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"
PORT = 8000


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of the site, and its own page for those it does not have."""

    def send_error(self, code, message=None, explain=None):
        page = Path(self.directory) / "404.html"
        if code != 404 or not page.is_file():
            super().send_error(code, message, explain)
            return
        body = page.read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def end_headers(self):
        # A page just built is the page shown.
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *args):
        pass


def server(port: int, site: Path = SITE) -> http.server.ThreadingHTTPServer:
    """A server of the site on the loopback address; port 0 takes any.

    Raises:
        OSError: the port is taken, or may not be used.
    """
    handler = functools.partial(Handler, directory=str(site))
    return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)


def main(arguments: list[str]) -> int:
    if len(arguments) > 1 or not all(a.isdecimal() for a in arguments):
        print("usage: python -m tools.serve [port]", file=sys.stderr)
        return 2
    port = int(arguments[0]) if arguments else PORT
    if not (SITE / "index.html").is_file():
        print("The site is not built yet: run make site.", file=sys.stderr)
        return 1
    try:
        running = server(port)
    except (OSError, OverflowError) as error:
        print(
            f"Port {port} cannot be used ({error}); name another: "
            f"python -m tools.serve {port % 60000 + 1}",
            file=sys.stderr,
        )
        return 1
    with running:
        host, port = running.server_address[:2]
        print(f"http://{host}:{port}/ (Ctrl+C stops)", flush=True)
        try:
            running.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
