"""Clients that ask an HTTP server over and over, as lean as they can be, so that the server is what is measured."""

import asyncio
import json
import sys
import time


async def client(
    host: str, port: int, bodies: list[bytes], end_s: float, took_s: list[float], failed: list[int]
) -> None:
    """Ask until the time is over; a connection that the server closes is opened anew."""
    reader, writer = await asyncio.open_connection(host, port)
    number = len(took_s)
    while time.perf_counter() < end_s:
        number += 1
        body = bodies[number % len(bodies)]
        head = f"POST /knn-service HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        start_s = time.perf_counter()
        writer.write(head.encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(answer.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(size)
        took_s.append(time.perf_counter() - start_s)
        if b" 200 " not in answer[:16]:
            failed.append(1)
        if b"connection: close" in answer or answer.startswith(b"http/1.0"):
            writer.close()
            reader, writer = await asyncio.open_connection(host, port)
    writer.close()


async def load(host: str, port: int, bodies: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Return requests a second, and the 50th and 99th percentile of the time to answer in ms."""
    took_s: list[float] = []
    failed: list[int] = []
    begin_s = time.perf_counter()
    await asyncio.gather(*(client(host, port, bodies, begin_s + seconds, took_s, failed) for _ in range(clients)))
    whole_s = time.perf_counter() - begin_s
    took_s.sort()
    p50, p99 = (1000 * took_s[int(len(took_s) * share)] for share in (0.5, 0.99))
    return {
        "requests": len(took_s),
        "per_s": len(took_s) / whole_s,
        "p50_ms": p50,
        "p99_ms": p99,
        "failed": len(failed),
    }


if __name__ == "__main__":  # port, file with one body a line, clients, seconds
    given = [line.encode() for line in open(sys.argv[2], encoding="utf-8").read().splitlines()]  # noqa: SIM115, PTH123
    found = asyncio.run(load("127.0.0.1", int(sys.argv[1]), given, int(sys.argv[3]), float(sys.argv[4])))
    print(json.dumps(found))
