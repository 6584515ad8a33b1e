"""Which addresses may be dialled, in every spelling, by name or by number; and how a host is treated."""

import asyncio
import ipaddress
import socket

import pytest

from pipeline.net import DIALLING, AddressRefused, Dial, Guard, GuardedResolver, guarded_connector, is_public
from pipeline.politeness import HostClosed, Politeness, backoff_s, retry_after_s

PRIVATE = (
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254"),
    *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.168.1.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.9", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::10.0.0.1", "::8.8.8.8"),
    *("fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "3fff::1"),
    *("64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8", "2002:a00:1::1", "2002:7f00:1::"),
    *("2001::1", "2001:20::1", "100::1", "2600::5efe:10.0.0.1", "2600::200:5efe:192.168.0.1", "5f00::1"),
)
PUBLIC = ("8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "192.167.0.1", "11.0.0.1", "2606:4700::1111", "2a00::1")
TRANSLATED = ("64:ff9b::8.8.8.8", "2002:808:808::1")


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_the_open_internets_are_refused(address: str) -> None:
    refusal = Guard().refusal(address)
    assert refusal is not None
    assert "is not a public address" in refusal


@pytest.mark.parametrize("address", PUBLIC + TRANSLATED)
def test_public_addresses_pass(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    assert Guard().refusal(address) is None


@pytest.mark.parametrize(
    ("allowed", "address", "host", "port", "passes"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1", 80, True),
        ("127.0.0.1", "127.0.0.2", "127.0.0.2", 80, False),
        ("127.0.0.1", "127.0.0.1", "localhost", 80, True),  # the address dialled counts
        ("127.0.0.1", "::ffff:127.0.0.1", "x", 80, True),
        ("127.0.0.1:8000", "127.0.0.1", "x", 8000, True),
        ("127.0.0.1:8000", "127.0.0.1", "x", 8001, False),
        ("10.0.0.0/8", "10.200.0.1", "x", 80, True),
        ("10.0.0.0/8", "11.0.0.1", "x", 80, True),
        ("10.0.0.0/8", "192.168.0.1", "x", 80, False),
        ("::1", "::1", "x", 80, True),
        ("[::1]:8000", "::1", "x", 8000, True),
        ("[::1]:8000", "::1", "x", 80, False),
        ("fd00::/8", "fd12::1", "x", 80, True),
        ("Images.Corp", "10.0.0.7", "images.corp", 80, True),
        ("images.corp", "10.0.0.7", "other.corp", 80, False),
        ("images.corp", "10.0.0.7", "images.corp.evil.example", 80, False),
        ("images.corp:81", "10.0.0.7", "images.corp", 81, True),
        ("images.corp:81", "10.0.0.7", "images.corp", 80, False),
    ],
)
def test_allow_hosts_names_hosts_ports_addresses_and_networks(
    allowed: str, address: str, host: str, port: int, passes: bool
) -> None:
    assert (Guard([allowed]).refusal(address, host=host, port=port) is None) == passes


def test_what_is_no_address_is_refused() -> None:
    assert Guard(["0.0.0.0/0"]).refusal("example.org") == "example.org is not an address"


@pytest.mark.parametrize("name", ["localhost", "2130706433", "0x7f.1", "0177.0.0.1", "127.1"])
def test_names_and_spellings_that_resolve_to_loopback_are_refused(name: str) -> None:
    async def resolve() -> None:
        resolver = GuardedResolver(Guard(), hosts={}, timeout_s=5.0)
        try:
            await resolver.resolve(name, 80, socket.AF_INET)
        finally:
            await resolver.close()

    with pytest.raises(AddressRefused, match=r"127\.0\.0\.1 is not a public address"):
        asyncio.run(resolve())


def test_only_the_addresses_that_may_be_dialled_are_returned() -> None:
    async def resolve() -> list[str]:
        resolver = GuardedResolver(Guard(["pictures.test:80"]), hosts={"Pictures.test": "10.1.1.1"}, timeout_s=5.0)
        try:
            return [answer["host"] for answer in await resolver.resolve("pictures.test", 80)]
        finally:
            await resolver.close()

    assert asyncio.run(resolve()) == ["10.1.1.1"]


def test_a_name_too_long_for_dns_is_a_lookup_that_failed() -> None:
    async def resolve() -> None:
        resolver = GuardedResolver(Guard(), hosts={}, timeout_s=5.0)
        try:
            await resolver.resolve("a" * 300, 80)
        finally:
            await resolver.close()

    with pytest.raises(OSError, match="aaa"):
        asyncio.run(resolve())


def test_no_socket_is_made_for_a_private_address_even_past_the_resolver() -> None:
    async def make(host: str, address: str) -> socket.socket:
        connector = guarded_connector(Guard(["named.test"]), hosts={}, connections=1, timeout_s=1.0)
        dial = Dial(host)
        token = DIALLING.set(dial)
        try:
            factory = connector._socket_factory
            assert factory is not None
            return factory((socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, 80)))
        finally:
            assert bool(dial.refused) == (host != "named.test")
            DIALLING.reset(token)
            await connector.close()

    with pytest.raises(AddressRefused, match=r"10\.0\.0\.1 is not a public address"):
        asyncio.run(make("rebound.test", "10.0.0.1"))
    asyncio.run(make("named.test", "10.0.0.1")).close()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        *((value, None) for value in ("soon", "-5", "", None, "1.5")),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now_s=100.0) == seconds


def test_pauses_double_with_half_of_them_at_random_and_an_upper_end() -> None:
    assert [backoff_s(n, lambda: 1.0) for n in range(3)] == [0.5, 1.0, 2.0]
    assert [backoff_s(n, lambda: 0.0) for n in range(3)] == [0.25, 0.5, 1.0]
    assert backoff_s(50, lambda: 1.0) == 20.0


def test_a_host_that_fails_again_and_again_is_closed_off_then_tried_once() -> None:
    async def go() -> list[str]:
        polite, said = Politeness(host_concurrency=2, breaker_failures=3, breaker_s=0.0), []
        far = asyncio.get_running_loop().time() + 60
        for _ in range(3):
            async with polite.turn("a", far) as host:
                polite.failed(host, "http_5xx", None)
        async with polite.turn("a", far):  # the one that tests the host
            try:
                async with polite.turn("a", far):
                    said.append("asked")
            except HostClosed as closed:
                said.append(str(closed))
        async with polite.turn("a", far) as host:
            polite.worked(host)
        async with polite.turn("a", far), polite.turn("a", far):
            said.append("open again")
        async with polite.turn("b", far):
            said.append("others were never closed")
        return said

    assert asyncio.run(go()) == [
        "a failed 3 times in a row, last: http_5xx",
        "open again",
        "others were never closed",
    ]


def test_a_pause_that_outlasts_the_deadline_is_not_waited_for() -> None:
    async def go() -> None:
        polite = Politeness(host_concurrency=1, breaker_failures=3, breaker_s=60.0)
        now = asyncio.get_running_loop().time()
        async with polite.turn("a", now + 5) as host:
            polite.failed(host, "http_429", 3600.0)
        async with polite.turn("a", now + 5):
            raise AssertionError("asked all the same")

    with pytest.raises(HostClosed, match="asked for a pause of 3600 s more"):
        asyncio.run(go())
