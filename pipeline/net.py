"""Decide which addresses may be dialled at all, at the last moment before they are.

Two checks: names are checked when they resolve (so that a refusal says so), and every socket is checked against the
address it is about to dial, which no redirect, number spelling, DNS answer or cache can get around.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA IPv4 Special-Purpose Address Registry, multicast and class E; and Azure's host agent, on a public address.
_REFUSED_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",
    )
)
# Of IPv6 only global unicast is dialled, without the special blocks in it (IANA IPv6 Special-Purpose Registry).
_UNICAST_V6: Final = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "3fff::/20", "2620:4f:8000::/48", "5f00::/16")
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")


class AddressRefused(OSError):
    """Say that an address is private and this run does not allow it."""


def embedded_v4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address stands for (mapped, compatible, 6to4, NAT64, ISATAP), if any."""
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address in _NAT64 or int(address) >> 32 == 0:
        return low
    if (int(address) >> 32) & 0xFFFFFFFF in (0x00005EFE, 0x02005EFE):
        return low
    return None


def is_public(address: Address) -> bool:
    """Tell whether an address is one of the open Internet's."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _REFUSED_V4)
    inner = embedded_v4(address)
    if inner is not None and not is_public(inner):
        return False
    if address in _NAT64:  # what DNS64 gives for an IPv4-only site
        return True
    return address in _UNICAST_V6 and not any(address in network for network in _REFUSED_V6)


@dataclass(frozen=True, slots=True)
class _Allowed:
    network: Network | None
    name: str
    port: int | None


def _allowed(entry: str) -> _Allowed:
    """Read one of `allow_hosts`: host, host:port, address, address:port, [address]:port or network."""
    text = entry.strip().lower()
    place, _, port = text.rpartition(":")
    if place and port.isdecimal() and (":" not in place or place.endswith("]")):
        number: int | None = int(port)
    else:
        place, number = text, None
    place = place.strip("[]")
    try:
        return _Allowed(ipaddress.ip_network(place, strict=False), "", number)
    except ValueError:
        return _Allowed(None, place, number)


class Guard:
    """Refuse private addresses, except those that the run names in `allow_hosts`."""

    def __init__(self, allow_hosts: Sequence[str] = ()) -> None:
        self._allowed = tuple(_allowed(entry) for entry in allow_hosts)

    def refusal(self, address: str, *, host: str = "", port: int | None = None) -> str | None:
        """Return why an address may not be dialled for this host name and port, or None."""
        try:
            parsed = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return f"{address} is not an address"
        if is_public(parsed) or self._is_allowed(parsed, host.strip("[]").lower(), port):
            return None
        return f"{parsed} is not a public address"

    def _is_allowed(self, address: Address, host: str, port: int | None) -> bool:
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        for entry in self._allowed:
            if entry.port is not None and entry.port != port:
                continue
            if entry.network is None:
                if entry.name == host:
                    return True
            elif address in entry.network or (mapped is not None and mapped in entry.network):
                return True
        return False

    def literal_refusal(self, host: str, port: int | None) -> str | None:
        """Return why a URL's host may not be dialled where it is an address already; None for names."""
        bare = host.strip("[]")
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            return None
        return self.refusal(bare, host=bare, port=port)


@dataclass(slots=True)
class Dial:
    """Carry the host that a request names to the place where its socket is made, and refusals back."""

    host: str
    refused: list[str] = field(default_factory=list)


DIALLING: ContextVar[Dial | None] = ContextVar("tamis_dialling", default=None)


class GuardedResolver(AbstractResolver):
    """Resolve names in own threads, and leave out every address that the guard refuses."""

    def __init__(self, guard: Guard, *, hosts: Mapping[str, str], timeout_s: float, threads: int = 16) -> None:
        self._guard = guard
        self._hosts = {name.lower(): address for name, address in hosts.items()}
        self._timeout_s = timeout_s
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="tamis-dns")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a host that may be dialled; AddressRefused when there are only others."""
        answers = await self._answers(host, port, family)
        refusals = [self._guard.refusal(address, host=host, port=port) for _, address in answers]
        open_ = [answer for answer, refusal in zip(answers, refusals, strict=True) if refusal is None]
        if not open_:
            raise AddressRefused(f"{host}: {refusals[0]}")
        return [
            ResolveResult(hostname=host, host=address, port=port, family=kind, proto=0, flags=socket.AI_NUMERICHOST)
            for kind, address in open_
        ]

    async def _answers(self, host: str, port: int, family: socket.AddressFamily) -> list[tuple[int, str]]:
        if (address := self._hosts.get(host.lower())) is not None:
            return [(socket.AF_INET6 if ":" in address else socket.AF_INET, address)]
        loop = asyncio.get_running_loop()
        lookup = loop.run_in_executor(self._pool, _lookup, host, port, family)
        async with asyncio.timeout(self._timeout_s):
            answers = await lookup
        if not answers:
            raise OSError(None, f"{host} has no address")
        return answers

    async def close(self) -> None:
        """Let go of the threads; a lookup under way ends by the C library's own timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _lookup(host: str, port: int, family: int) -> list[tuple[int, str]]:
    try:
        found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as error:  # a label too long for the C library's IDNA
        raise OSError(None, f"{host}: {error}") from error
    return list(dict.fromkeys((int(kind), str(address[0])) for kind, _, _, _, address in found))


def guarded_connector(
    guard: Guard, *, hosts: Mapping[str, str], connections: int, timeout_s: float, keepalive_s: float = 15.0
) -> TCPConnector:
    """Return aiohttp's connector with the guard in its resolver and at its sockets; call it inside a running loop."""

    def make_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        dial = DIALLING.get()
        refusal = guard.refusal(address[0], host=dial.host if dial else "", port=address[1])
        if refusal is not None:
            if dial is not None:
                dial.refused.append(refusal)
            raise AddressRefused(refusal)
        return socket.socket(family, kind, protocol)

    return TCPConnector(
        resolver=GuardedResolver(guard, hosts=hosts, timeout_s=timeout_s),
        socket_factory=make_socket,
        limit=connections,
        ttl_dns_cache=300,
        keepalive_timeout=keepalive_s,
    )
