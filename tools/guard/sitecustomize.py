"""Put on PYTHONPATH, this makes every Python started from there strict.

No connection by Python's sockets leaves the machine (unless BOOK_NETWORK=1),
and a warning that points at the book's own code, a page or lib, is an error.
"""

import os
import sys
import warnings

_HERE = {None, "", "localhost", "127.0.0.1", "::1", b"localhost"}
_HOST_OF = {
    "socket.connect": lambda args: args[1],
    "socket.sendto": lambda args: args[1],
    "socket.sendmsg": lambda args: args[1],
    "socket.getaddrinfo": lambda args: args[0],
    "socket.gethostbyname": lambda args: args[0],
    "socket.gethostbyaddr": lambda args: args[0],
    "socket.getnameinfo": lambda args: args[0],
}


def _refuse_network(event, args):
    if event not in _HOST_OF:
        return
    host = _HOST_OF[event](args)
    if isinstance(host, tuple):
        host = host[0]
    elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        return  # a Unix socket has a path in place of a host, or nothing
    if host not in _HERE:
        raise RuntimeError(
            f"the network is blocked while the book is tested: {host}"
        )


if os.environ.get("BOOK_NETWORK") != "1":
    sys.addaudithook(_refuse_network)
# Other people's code may open files without an encoding; ours may not.
warnings.filterwarnings("ignore", category=EncodingWarning)
warnings.filterwarnings("error", module=r"(__main__|lib(\..*)?)$")
# In a notebook, open() is IPython's wrapper, at which its warnings point.
warnings.filterwarnings(
    "error",
    category=EncodingWarning,
    module=r"IPython\.core\.interactiveshell$",
)
