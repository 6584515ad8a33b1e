"""Pictures with C2PA manifests, signed on the spot by c2pa-python's own builder with a certificate chain made here."""

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from tests import pictures

LABELS = ("c2pa.training-mining", "cawg.training-mining")


def _name(common: str) -> x509.Name:
    parts = {NameOID.COUNTRY_NAME: "AQ", NameOID.ORGANIZATION_NAME: "tamis tests", NameOID.COMMON_NAME: common}
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts.items()])


@cache
def _chain(ocsp: str | None) -> tuple[bytes, bytes]:
    """Return a certificate chain (leaf, then root) and the leaf's private key, both PEM; `ocsp` is where to ask of it."""
    now = datetime.now(UTC)
    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def issue(subject: str, key: Any, *, ca: bool) -> x509.Certificate:
        usage = dict.fromkeys(("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"), False)
        usage |= {"encipher_only": False, "decipher_only": False, "crl_sign": ca, "key_cert_sign": ca}
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(_name("root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(digital_signature=not ca, **usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key()), critical=False)
        )
        if not ca:
            builder = builder.add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False
            )
            if ocsp is not None:
                place = x509.AccessDescription(AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(ocsp))
                builder = builder.add_extension(x509.AuthorityInformationAccess([place]), critical=False)
        return builder.sign(root_key, hashes.SHA256())

    chain = [issue("leaf", leaf_key, ca=False), issue("root", root_key, ca=True)]
    pem = b"".join(certificate.public_bytes(serialization.Encoding.PEM) for certificate in chain)
    private = leaf_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem, private


def chain() -> tuple[bytes, bytes]:
    """Return a certificate chain and its private key, both PEM."""
    return _chain(None)


def entries(label: str = LABELS[0], **uses: str | Mapping[str, str]) -> dict[str, Any]:
    """Return a training-mining assertion: each use a word, or a word with its constraint."""
    prefix = label.partition(".")[0]
    said = {f"{prefix}.{name}": {"use": use} if isinstance(use, str) else dict(use) for name, use in uses.items()}
    return {"label": label, "data": {"entries": said}}


def signed(
    *assertions: dict[str, Any],
    picture: bytes | None = None,
    mime: str = "image/jpeg",
    parent: bytes | None = None,
    remote: str | None = None,
    ocsp: str | None = None,
) -> bytes:
    """Return a picture with a signed manifest; `parent` becomes an ingredient, `remote` a manifest kept elsewhere."""
    chain, private = _chain(ocsp)
    manifest = {
        "claim_generator_info": [{"name": "tamis tests", "version": "1"}],
        "title": "a picture",
        "assertions": list(assertions),
    }
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=private, ta_url=None)
    out = io.BytesIO()
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder(json.dumps(manifest)) as builder:
        if parent is None:
            builder.set_intent(c2pa.C2paBuilderIntent.CREATE, c2pa.C2paDigitalSourceType.DIGITAL_CAPTURE)
        else:
            builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            builder.add_ingredient(
                json.dumps({"title": "parent", "relationship": "parentOf"}), mime, io.BytesIO(parent)
            )
        if remote is not None:
            builder.set_no_embed()
            builder.set_remote_url(remote)
        builder.sign(signer, mime, io.BytesIO(picture or pictures.jpeg(120, 90)), out)
    return out.getvalue()
