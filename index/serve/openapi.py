"""The description of the API, with the names of the data sets that this very server has."""

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI


def name_datasets(app: FastAPI, names: Sequence[str]) -> None:
    """Say in the app's OpenAPI which values `{name}` and `indice_name` may have."""
    plain = app.openapi

    def with_names() -> dict[str, Any]:
        told = plain()
        for path in told["paths"].values():
            for operation in path.values():
                for parameter in operation.get("parameters", ()):
                    if (parameter["in"], parameter["name"]) == ("path", "name"):
                        parameter["schema"]["enum"] = list(names)
                body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
                if "indice_name" in body.get("properties", {}):
                    body["properties"]["indice_name"] = {
                        "anyOf": [{"enum": list(names)}, {"type": "null"}],
                        "default": None,
                    }
        return told

    app.openapi = with_names  # type: ignore[method-assign]
