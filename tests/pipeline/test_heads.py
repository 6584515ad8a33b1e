from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from filters.heads import mlp
from pipeline.errors import FormatError, InputError
from pipeline.heads import layers_from, load_head, load_layers


def linear(out: int, width: int) -> torch.nn.Linear:
    return torch.nn.Linear(width, out)


def aesthetic_mlp(width: int) -> torch.nn.Sequential:
    """LAION's improved aesthetic predictor: Linear and Dropout by turns, no activation."""
    drop = torch.nn.Dropout
    return torch.nn.Sequential(
        linear(16, width), drop(0.2), linear(8, 16), drop(0.2), linear(6, 8), drop(0.1), linear(4, 6), linear(1, 4)
    )


def nsfw_mlp(width: int) -> torch.nn.Sequential:
    """LAION's H-14 detector: Linear, ReLU, Dropout by turns, two Linears at the end."""
    relu, drop = torch.nn.ReLU, torch.nn.Dropout
    return torch.nn.Sequential(
        linear(8, width), relu(), drop(0.2), linear(6, 8), relu(), drop(0.2), linear(4, 6), linear(1, 4)
    )


def saved(model: torch.nn.Module, path: Path, prefix: str = "") -> Path:
    state = OrderedDict((prefix + name, tensor) for name, tensor in model.state_dict().items())
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    else:
        torch.save(state, path)
    return path


def unit(rows: int, width: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    x = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".npz"])
def test_the_linear_aesthetic_head_loads_from_every_format(tmp_path: Path, suffix: str) -> None:
    model = linear(1, 12)
    scorer = load_head(saved(model, tmp_path / f"sa_0_4_vit_l_14_linear{suffix}"))
    x = unit(5, 12)
    expected = model(torch.from_numpy(x)).detach().numpy()[:, 0]
    np.testing.assert_allclose(scorer(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [aesthetic_mlp, nsfw_mlp])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_laions_multilayer_heads_give_what_torch_gives(tmp_path: Path, make: type, suffix: str) -> None:
    model = make(12).eval()
    scorer = load_head(saved(model, tmp_path / f"head{suffix}", prefix="layers."))
    x = unit(7, 12)
    expected = model(torch.from_numpy(x)).detach().numpy()[:, 0]
    np.testing.assert_allclose(scorer(x), expected, rtol=1e-4, atol=1e-6)


def test_a_probability_head_ends_in_the_logistic_function(tmp_path: Path) -> None:
    model = nsfw_mlp(12).eval()
    scorer = load_head(saved(model, tmp_path / "head.pth", prefix="layers."), probability=True)
    x = unit(7, 12)
    expected = torch.sigmoid(model(torch.from_numpy(x))).detach().numpy()[:, 0]
    np.testing.assert_allclose(scorer(x), expected, rtol=1e-4, atol=1e-6)


def test_a_checkpoint_with_a_nested_state_dict_loads(tmp_path: Path) -> None:
    model = linear(1, 6)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "head.ckpt")
    assert [layer.weight.shape for layer in load_layers(tmp_path / "head.ckpt")] == [(1, 6)]


def test_rectifiers_can_be_named_where_the_numbers_do_not_tell() -> None:
    tensors = {"0.weight": np.ones((2, 3), np.float32), "2.weight": np.ones((1, 2), np.float32)}
    assert [layer.relu for layer in layers_from(tensors)] == [False, False]
    assert [layer.relu for layer in layers_from(tensors, activation="relu")] == [True, False]
    scorer = mlp(layers_from(tensors, activation="relu"))
    assert scorer(np.array([[-1, 0, 0]], np.float32)).tolist() == [0.0]


class Stranger:
    """Not a tensor: what a hostile pickle may hold."""


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Stranger()}, tmp_path / "evil.pth")
    with pytest.raises(FormatError, match=r"evil\.pth"):
        load_head(tmp_path / "evil.pth")


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.pth", b"no"), ("a.safetensors", b"no"), ("a.npz", b"no"), ("a.onnx", b"no"), ("a.pth", b"")],
)
def test_a_file_that_is_no_head_is_a_format_error_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=name):
        load_head(tmp_path / name)


@pytest.mark.parametrize(
    "shapes", [{"bias": (1,)}, {"weight": (2, 3)}, {"0.weight": (2, 3), "1.weight": (1, 4)}, {"weight": (3,)}]
)
def test_tensors_that_make_no_head_are_refused(tmp_path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    tensors: dict[str, Any] = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    np.savez(tmp_path / "head.npz", **tensors)
    with pytest.raises(FormatError, match="head"):
        load_head(tmp_path / "head.npz")


def test_a_missing_head_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such head"):
        load_head(tmp_path / "none.pth")
