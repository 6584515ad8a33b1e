"""`tamis optout`: the papers on requests: exports, receipts and the log."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.commands.options import Dataset, Json, RegistryUrl, RequestId, opened


def export(
    dataset: Dataset,
    request_id: Annotated[
        str | None, typer.Option("--request", help="One request with all that the person told us (GDPR art. 15, 20)")
    ] = None,
    registry_url: RegistryUrl = None,
) -> None:
    """Write requests as NDJSON on stdout: states and times of all, or one with everything in it."""
    _, registry = opened(dataset, registry_url)
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
) -> None:
    """Write a request's receipt: what the log says of it, with proofs that anyone checks offline."""
    _, registry = opened(dataset, registry_url)
    write_receipt(registry, request_id, out)
    print(out)


def write_receipt(registry: Any, request_id: str, out: Path) -> None:
    """Write a request's receipt to a file."""
    from pipeline.registry.receipts import receipt as made

    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(made(registry, request_id), indent=1) + "\n", encoding="utf-8")


def check_receipt(
    file: Annotated[Path, typer.Argument(help="The receipt")],
    value: Annotated[str | None, typer.Option(help="What was asked; shows that the log speaks of it")] = None,
    key: Annotated[
        str | None, typer.Option(help="The log's public key (base64) where you have it from elsewhere")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a receipt offline: signature, proofs and, with --value, what it is about."""
    from pipeline.errors import FormatError
    from pipeline.registry.receipts import check

    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FormatError(f"{file}: not a receipt ({error})") from error
    shown = check(held, value, key)
    print(json.dumps(shown, indent=1) if as_json else "\n".join(f"holds  {line}" for line in shown))


def log_(dataset: Dataset, registry_url: RegistryUrl = None, as_json: Json = False) -> None:
    """Check the whole log and print its newest signed head and public key; exit code 3 when something was changed."""
    import base64

    from pipeline.registry import log, place

    _, registry = opened(dataset, registry_url)
    wrong = registry.check_log()
    with place.writing(registry.engine) as connection:
        note = log.sign_head(connection, registry.key, registry.origin)
    public = base64.b64encode(log.public_bytes(registry.key)).decode()
    if as_json:
        print(json.dumps({"problems": wrong, "checkpoint": note, "public_key": public}, indent=1, ensure_ascii=False))
    else:
        print(note)
        print(f"public key  {public}")
        print("\n".join(f"WRONG  {line}" for line in wrong) or "every entry and every signed head is as it was written")
    if wrong:
        raise typer.Exit(3)


def mount(app: typer.Typer) -> None:
    """Add the verbs."""
    for name, verb in (("export", export), ("receipt", receipt), ("check-receipt", check_receipt), ("log", log_)):
        app.command(name)(verb)
