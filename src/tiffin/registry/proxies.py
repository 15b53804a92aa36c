"""Proxies from the environment, by the rules of Go's net/http, which Docker's users know.

HTTPS_PROXY and HTTP_PROXY, or their lower-case forms, by the scheme of the address; NO_PROXY lists hosts, ".suffixes",
addresses and networks, each with an optional port, or "*". This machine itself is never asked for through a proxy.
"""

from __future__ import annotations

import os

from tiffin.errors import NotSupportedError, UsageError
from tiffin.registry.names import is_loopback, split_port

_PORTS = {"http": 80, "https": 443}


def proxy_for(url: str) -> str:
    """The proxy's address for `url`, "" for none. UsageError for one that makes no sense."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    if is_loopback(host):
        return ""
    name = f"{scheme.upper()}_PROXY"
    proxy = os.environ.get(name) or os.environ.get(name.lower(), "")
    if not proxy or _excepted(host, scheme):
        return ""
    if name == "HTTP_PROXY" and os.environ.get("REQUEST_METHOD"):
        raise UsageError("HTTP_PROXY is not used where REQUEST_METHOD is set", hint="anybody could have set it there")
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if proxy.partition("://")[0] not in ("http", "https"):
        raise NotSupportedError(
            f"{name}: proxies of the kind {proxy.partition('://')[0]!r} are not supported", hint="use an HTTP proxy"
        )
    return proxy


def _excepted(host: str, scheme: str) -> bool:
    from ipaddress import ip_address, ip_network

    name, port = split_port(host)
    name = name.lower().rstrip(".")
    port = port or _PORTS.get(scheme)
    try:
        address = ip_address(name)
    except ValueError:
        address = None
    for item in (os.environ.get("NO_PROXY") or os.environ.get("no_proxy", "")).lower().split(","):
        item = item.strip()
        if item == "*":
            return True
        if "/" in item:
            try:
                if address is not None and address in ip_network(item, strict=False):
                    return True
            except ValueError:
                pass
            continue
        wanted, wanted_port = split_port(item)
        if not wanted or (wanted_port is not None and wanted_port != port):
            continue
        if address is not None:
            if wanted == name:
                return True
            continue
        wanted = wanted.removeprefix("*")
        if wanted.startswith("."):
            if name.endswith(wanted):
                return True
        elif name == wanted or name.endswith("." + wanted):
            return True
    return False
