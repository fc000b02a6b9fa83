"""Which addresses may be used: base URLs of providers, private hosts, names of hosts."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import urlsplit


def check_base_url(url: str, *, allow_http: bool) -> str:
    """Return the URL without its trailing slash; raise `ValueError` with what is wrong with it.

    Plain http sends keys and prompts in the clear, so it is taken only for this machine and private networks, or
    when it is allowed explicitly.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("is not a URL; write something like https://host/v1") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise ValueError("is not a URL; write something like https://host/v1")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user name or password; name a variable in api_key_env instead")
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in url):
        raise ValueError("holds a query, a fragment or blanks; write only https://host/path")
    if parts.scheme == "http" and not allow_http and not is_private_host(parts.hostname):
        raise ValueError(
            "sends keys and text unencrypted; use https, or set allow_http = true for this provider"
        )
    return url.rstrip("/")


def is_private_host(host: str) -> bool:
    """Return whether a host name or address is of this machine or of a private network."""
    try:
        address = ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal", ".lan", ".home.arpa"))
    return address.is_private or address.is_loopback


def is_host_pattern(name: str) -> bool:
    """Return whether this is a host name without port, or `*.` and one: what `allowed_hosts` may hold."""
    return re.fullmatch(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.\-]*[A-Za-z0-9])?", name) is not None
