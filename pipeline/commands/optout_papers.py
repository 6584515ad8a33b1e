"""`tamis optout`: the papers on requests: exports, receipts and the log."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.commands.options import Dataset, Json, RegistryUrl, RequestId, asked

if TYPE_CHECKING:
    from pipeline.registry.registry import Registry


def export(
    dataset: Dataset,
    request_id: Annotated[
        str | None, typer.Option("--request", help="One request with all that the person told us (GDPR art. 15, 20)")
    ] = None,
    entries: Annotated[
        bool, typer.Option("--entries", help="What later ingests match against, digests only, instead of requests")
    ] = False,
    registry_url: RegistryUrl = None,
) -> None:
    """Write requests as NDJSON on stdout: states and times of all, or one with everything in it."""
    if entries and request_id is not None:
        raise typer.BadParameter("either --entries or --request")
    _, registry = asked(dataset, registry_url)
    if entries:
        for row in registry.entries():
            print(json.dumps(row))
        return
    if request_id is None:
        for request in registry.requests():
            print(json.dumps(request.to_json()))
        return
    request = registry.get(request_id)
    told: Mapping[str, Any] = {} if request.forgotten else registry.secret(request_id)
    rows = [{"uid": m.uid.hex(), "how": m.how, "state": m.state, "row": m.secret} for m in registry.matches(request_id)]
    print(json.dumps({**request.to_json(), "told": told, "matches": rows}, ensure_ascii=False))


def receipt(
    dataset: Dataset,
    request_id: RequestId,
    out: Annotated[Path, typer.Option(help="File to write")] = Path("receipt.json"),
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Write a request's receipt: what the log says of it, with proofs that anyone checks offline."""
    _, registry = asked(dataset, registry_url)
    made = write_receipt(registry, request_id, out)
    print(json.dumps(made, indent=1) if as_json else out)


def write_receipt(registry: "Registry", request_id: str, out: Path) -> dict[str, Any]:
    """Write a request's receipt to a file and return it."""
    from pipeline.errors import InputError
    from pipeline.registry.receipts import receipt as made

    found = made(registry, request_id)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{out}: {error.strerror}; the request is taken in, `tamis optout receipt` writes its receipt elsewhere"
        ) from error
    return found


def check_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt")],
    value: Annotated[str | None, typer.Option(help="What was asked; shows that the log speaks of it")] = None,
    image: Annotated[Path | None, typer.Option(help="The picture that was asked for, instead of a value")] = None,
    key: Annotated[
        str | None, typer.Option(help="The log's public key (base64) where you have it from elsewhere")
    ] = None,
    later: Annotated[
        Path | None,
        typer.Option(help="A later head (`tamis optout log --since … --json`) that must have grown out of it"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a receipt offline: signature, proofs and, with --value, what it is about; exit code 3 when it does not hold."""
    import hashlib

    from pipeline.registry.receipts import check

    if image is not None:
        value = hashlib.sha256(_bytes(image)).hexdigest()
    shown = check(_json(file), value, key, _json(later) if later else None)
    print(json.dumps(shown, indent=1) if as_json else "\n".join(f"holds  {line}" for line in shown))


def _bytes(file: Path) -> bytes:
    from pipeline.errors import InputError

    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from error


def _json(file: Path) -> Any:
    from pipeline.errors import FormatError

    try:
        return json.loads(_bytes(file))
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{file}: not JSON ({error})") from error


def log_(
    dataset: Dataset,
    since: Annotated[
        int | None, typer.Option(help="Prove that the log of so many entries is the beginning of this one")
    ] = None,
    registry_url: RegistryUrl = None,
    as_json: Json = False,
) -> None:
    """Check the whole log and print its newest signed head and public key; exit code 3 when something was changed."""
    from pipeline.registry.receipts import checkpoint

    _, registry = asked(dataset, registry_url)
    wrong = registry.check_log()
    found = checkpoint(registry, since)
    if as_json:
        print(json.dumps({**found, "problems": wrong}, indent=1, ensure_ascii=False))
    else:
        print(found["checkpoint"])
        print(f"public key  {found['public_key']}")
        print(
            "\n".join(f"proof       {step}" for step in found["consistency"]), end="\n" if found["consistency"] else ""
        )
        print("\n".join(f"WRONG  {line}" for line in wrong) or "every entry and every signed head is as it was written")
    if wrong:
        raise typer.Exit(3)


def mount(app: typer.Typer) -> None:
    """Add the verbs."""
    for name, verb in (("export", export), ("receipt", receipt), ("check-receipt", check_receipt), ("log", log_)):
        app.command(name)(verb)
