"""Creates the HTTP clients of the service, except that of the bank's gateway (akselgate.py). They follow no redirects
and use no proxy from the environment.
"""

import ssl
from functools import lru_cache

import httpx2


def http_client(*, timeout: float, keep_alive: bool = True, verify: ssl.SSLContext | None = None) -> httpx2.AsyncClient:
    """Creates a client. `timeout`: seconds for each step of an exchange. A caller that limits the whole exchange sets
    its own timeout.
    """
    limits = httpx2.Limits() if keep_alive else httpx2.Limits(max_keepalive_connections=0)
    return httpx2.AsyncClient(
        timeout=timeout, trust_env=False, follow_redirects=False, verify=verify or tls(), limits=limits
    )


@lru_cache
def tls() -> ssl.SSLContext:
    """Verifies certificates. Cached: loading the authorities takes 30 ms of processor time."""
    return httpx2.create_ssl_context(trust_env=False)
