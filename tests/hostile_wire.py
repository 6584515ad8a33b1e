"""What the hostile server is made of: a request, a connection that may misbehave, a certificate nobody vouches for."""

import socket
import ssl
import struct
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    path: str
    host: str
    headers: dict[str, str]
    hits: int  # how often this path has been asked for, this time included


@dataclass
class Wire:
    """The connection, and the server that must be able to stop what never ends."""

    sock: socket.socket
    stopped: threading.Event

    def send(self, data: bytes) -> None:
        """Send all."""
        self.sock.sendall(data)

    def reply(self, body: bytes = b"", status: str = "200 OK", **headers: Any) -> None:
        """Send a well-formed response."""
        fields = {"Content-Length": str(len(body)), **{k.replace("_", "-"): v for k, v in headers.items()}}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.send(f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body)

    def reset(self) -> None:
        """Break the connection with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionAbortedError  # closing, with nothing to linger for, sends it


def certificate(folder: Path) -> ssl.SSLContext:
    """Make a self-signed certificate and return the context that shows it."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    files = ("-keyout", str(key), "-out", str(certificate), "-subj", "/CN=127.0.0.1")
    subprocess.run(["openssl", "req", "-x509", *kind, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
