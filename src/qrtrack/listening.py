"""Binds the port of a process before anything else is started, so that a port in use ends the start at once."""

import errno
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

BACKLOG: Final = 2048
IN_USE: Final = "is in use by another program. Stop that program, or choose another port with --port."
NEEDS_RIGHTS: Final = "needs rights that this user does not have. Choose a port from 1024 on with --port."
NOT_HERE: Final = "cannot be opened: the address does not belong to this machine. Correct --host."
ADVICE: Final = {errno.EADDRINUSE: IN_USE, errno.EACCES: NEEDS_RIGHTS, errno.EADDRNOTAVAIL: NOT_HERE}
ABSENT: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class PortUnusable(RuntimeError):
    """The process cannot listen on this port. The message names the port and says what to do."""


@contextmanager
def bound(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Binds a socket to each address of the host. They do not listen yet, so callers are refused until `listen`.

    Raises PortUnusable.
    """
    with ExitStack() as opened:
        with explained(host, port):
            found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            sockets = _bound_to_each({address: family for family, *_, address in found})
            for each in sockets:
                opened.enter_context(each)
        yield sockets


def _bound_to_each(families: Mapping[Any, int]) -> list[socket.socket]:
    """Raises the last OSError if no address could be bound."""
    sockets: list[socket.socket] = []
    for position, (address, family) in enumerate(families.items(), start=1):
        try:
            sockets.append(_bound(family, address))
        except OSError as error:
            # "localhost" resolves to an IPv6 address even on a machine without IPv6.
            if error.errno not in ABSENT or (position == len(families) and not sockets):
                for each in sockets:
                    each.close()
                raise
    return sockets


def _bound(family: int, address: Any) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # IPv4 gets its own socket, if the host has such an address.
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    return opened


def listen(sockets: Sequence[socket.socket]) -> None:
    """Starts to listen. Raises PortUnusable if another process has bound the same port too, and listens already."""
    for each in sockets:
        host, port = each.getsockname()[:2]
        with explained(host, port):
            each.listen(BACKLOG)


def address_of(host: str, sockets: Sequence[socket.socket]) -> str:
    """Returns the address to show to a person. If port 0 was asked for, it contains the port that the system chose."""
    return f"http://{f'[{host}]' if ':' in host else host}:{sockets[0].getsockname()[1]}"


@contextmanager
def explained(host: str, port: int) -> Iterator[None]:
    """Raises PortUnusable for any error that prevents listening."""
    try:
        yield
    except socket.gaierror as error:
        raise PortUnusable(f"The host {host} is unknown ({error.strerror}). Correct --host.") from error
    except OSError as error:
        advice = ADVICE.get(error.errno or 0, f"cannot be opened: {error.strerror}. Choose another port with --port.")
        raise PortUnusable(f"Port {port} on {host} {advice}") from error
