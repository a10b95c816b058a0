"""Which hosts content may be fetched from: those that are listed, at public addresses unless listed as private."""

import ipaddress
import socket
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from schemas.config import Content

REFUSED: Final = "content_refused"
UNAVAILABLE: Final = "content_unavailable"
_PORTS: Final = {"https": 443, "http": 80}
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# What the open internet is made of; all the rest (old wrappings of IPv4, site-local, what may be) isn't.
_ASSIGNED: Final = ipaddress.IPv6Network("2000::/3")
_DOCUMENTATION: Final = ipaddress.IPv6Network("3fff::/20")


class ContentFailure(Exception):
    """A part's content can't be had. `error_class`: refused (for good) or unavailable (`retriable`)."""

    def __init__(self, message: str, retriable: bool = False) -> None:
        super().__init__(message)
        self.error_class, self.retriable = UNAVAILABLE if retriable else REFUSED, retriable


def shown(uri: str) -> str:
    """A URI as messages show it: without user and query, which may hold a password or a signature."""
    scheme, slashes, rest = uri.partition("?")[0].partition("#")[0].partition("://")
    place, slash, path = rest.partition("/")
    return (scheme + slashes + place.rpartition("@")[2] + slash + path)[:200]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, also where it is wrapped into another."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return inner.is_global and not inner.is_multicast
        if ip not in _ASSIGNED or ip in _DOCUMENTATION:
            return False
    return ip.is_global and not ip.is_multicast


class NotPublic(OSError):
    """A name stands for addresses of a private network only."""


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only. Raises NotPublic where a name has none."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        public = [result for result in found if is_public(result["host"])]
        if not public:
            raise NotPublic(f"{host} has no public address")
        return public

    async def close(self) -> None:
        await self._inner.close()


def checked(uri: str, rules: Content) -> tuple[URL, bool]:
    """The URL of a part, and whether it may lie at a private address. Raises ContentFailure where it isn't allowed."""
    try:
        url = URL(uri)
        host, port = url.host or "", url.port
    except ValueError as error:
        raise ContentFailure(f"{shown(uri)} is not a URL: {error}") from error
    if url.scheme not in _PORTS or not host:
        raise ContentFailure(f"{shown(uri)}: only https URLs are fetched")
    if url.user is not None or url.password is not None:
        raise ContentFailure(f"{shown(uri)}: a URL with a user or password isn't fetched")
    private = any(_matches(rule, url.scheme, host, port) for rule in rules.private_hosts)
    if not private and not any(_matches(rule, url.scheme, host, port) for rule in rules.allowed_hosts):
        raise ContentFailure(f"{shown(uri)}: the host isn't in content.allowed_hosts")
    if not private and url.scheme != "https":
        raise ContentFailure(f"{shown(uri)}: only https URLs are fetched")
    if not private and _is_address(host) and not is_public(host):
        raise ContentFailure(f"{shown(uri)}: the address isn't a public one")
    return url, private


def _matches(rule: str, scheme: str, host: str, port: int | None) -> bool:
    rule = rule.lower()
    name, colon, told = rule.rpartition(":")
    if not colon or not told.isdigit() or name.endswith(":"):
        name, told = rule, ""
    if port != (int(told) if told else _PORTS[scheme]):
        return False
    host, name = host.lower().rstrip("."), name.strip("[]")
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
