"""Read trained heads from the files they are published in: torch state dicts, safetensors, NumPy archives."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from filters.heads import Layer, Scorer, mlp
from pipeline.errors import FormatError, InputError

Tensors = Mapping[str, NDArray[np.float32]]
_NUMBERED = re.compile(r"(?:.*\.)?(\d+)\.weight")


def _read_torch(path: Path) -> dict[str, NDArray[np.float32]]:
    import pickle

    import torch

    try:
        # weights only: a pickle from a stranger must not run code
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise FormatError(f"{path}: not a torch state dict ({error})") from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping):
        raise FormatError(f"{path}: holds a {type(state).__name__}, expected a state dict of tensors")
    return {str(k): v.float().numpy() for k, v in state.items() if isinstance(v, torch.Tensor)}


def _read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        # through torch, which knows bfloat16
        return {name: tensor.float().numpy() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise FormatError(f"{path}: not a safetensors file ({error})") from error


def _read_npz(path: Path) -> dict[str, NDArray[np.float32]]:
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: np.asarray(archive[name], np.float32) for name in archive.files}
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise FormatError(f"{path}: not a NumPy archive ({error})") from error


def _relu_after(gap: int, activation: Literal["auto", "relu", "none"]) -> bool:
    # In a Sequential, 3 places on = Linear, ReLU, Dropout (LAION's H-14 unsafe-content head); 2 = Linear, Dropout (its
    # improved aesthetic predictor, which was trained without activations); 1 = two Linears in a row
    return gap >= 3 if activation == "auto" else activation == "relu"


def layers_from(tensors: Tensors, *, activation: Literal["auto", "relu", "none"] = "auto") -> tuple[Layer, ...]:
    """Order a state dict's tensors into layers: {weight, bias} is one, else `<anything>.<n>.weight` by n.

    `auto` infers rectifiers from the gaps between numbers, as in LAION's published models; name it for other heads.
    """
    numbered = sorted((int(m[1]), name) for name in tensors if (m := _NUMBERED.fullmatch(name)))
    if not numbered and "weight" in tensors:
        numbered = [(0, "weight")]
    if not numbered:
        raise FormatError(f"no layer among the tensors {', '.join(sorted(tensors)) or '(none)'}")
    layers: list[Layer] = []
    for at, (number, name) in enumerate(numbered):
        weight = np.asarray(tensors[name], np.float32)
        if weight.ndim != 2:
            raise FormatError(f"tensor {name} has shape {weight.shape}, expected [outputs, inputs] of a linear layer")
        if layers and layers[-1].weight.shape[0] != weight.shape[1]:
            raise FormatError(
                f"tensor {name} reads {weight.shape[1]} values, the layer before gives {len(layers[-1].bias)}"
            )
        bias = tensors.get(name.removesuffix("weight") + "bias", np.zeros(len(weight), np.float32))
        last = at + 1 == len(numbered)
        relu = not last and _relu_after(numbered[at + 1][0] - number, activation)
        layers.append(Layer(weight, np.asarray(bias, np.float32).reshape(-1), relu))
    if len(layers[-1].bias) != 1:
        raise FormatError(f"the last layer gives {len(layers[-1].bias)} values, a head gives one")
    return tuple(layers)


def load_layers(path: Path, *, activation: Literal["auto", "relu", "none"] = "auto") -> tuple[Layer, ...]:
    """Read a head's layers from a .pth/.pt/.ckpt, .safetensors or .npz file."""
    readers = {".pth": _read_torch, ".pt": _read_torch, ".ckpt": _read_torch, ".bin": _read_torch}
    reader = {**readers, ".safetensors": _read_safetensors, ".npz": _read_npz}.get(path.suffix)
    if reader is None:
        raise FormatError(f"{path}: a head is a .pth, .pt, .ckpt, .bin, .safetensors or .npz file")
    if not path.is_file():
        raise InputError(f"{path}: no such head")
    try:
        return layers_from(reader(path), activation=activation)
    except FormatError as error:
        raise error if str(path) in str(error) else FormatError(f"{path}: {error}") from error


def load_head(path: Path, *, probability: bool = False, activation: Literal["auto", "relu", "none"] = "auto") -> Scorer:
    """Read a head from its file as a scorer of embeddings; with `probability` its output goes through the logistic function."""
    return mlp(load_layers(path, activation=activation), probability=probability)
