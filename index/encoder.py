"""The data set's own CLIP, for what is asked: texts and pictures to vectors, one at a time on the model, texts remembered."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.clip_spec import ModelSpec
from pipeline.errors import InputError
from pipeline.given_picture import read_rgb
from pipeline.snapshot import Snapshot

if TYPE_CHECKING:
    from pipeline.clip_model import ClipModel

F32 = NDArray[np.float32]
_REMEMBERED: Final = 4096
"""Vectors of texts: 8 MB at 512 dimensions."""
_BATCH: Final = 256


class Encoder:
    """Encodes with the model that made a snapshot's vectors; InputError when its weights are others by now.

    Threads may share it: the model works for one at a time, since torch uses all cores for each anyway.
    """

    def __init__(self, snapshot: Snapshot, device: str = "auto") -> None:
        clip: Any = snapshot.config["clip"]
        self.spec = ModelSpec(clip["model"], clip["pretrained"], clip["precision"])
        self._recorded: str | None = snapshot.clip["weights_sha256"]
        self._device = device
        self._model: ClipModel | None = None
        self._busy = threading.Lock()
        self._texts: OrderedDict[str, F32] = OrderedDict()
        self._texts_lock = threading.Lock()

    def fits(self, snapshot: Snapshot) -> bool:
        """Tell whether a snapshot's vectors are of this model."""
        other = Encoder(snapshot, self._device)
        return (other.spec, other._recorded) == (self.spec, self._recorded)

    def texts(self, texts: Sequence[str]) -> F32:
        """Return the vectors of texts, f32[N,D] of unit norm; those not remembered go through the model together."""
        with self._texts_lock:
            known = {text: self._texts[text] for text in texts if text in self._texts}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        for start in range(0, len(new), _BATCH):
            block = new[start : start + _BATCH]
            with self._busy:
                vectors = np.asarray(self._loaded().texts(block), np.float32)
            known |= zip(block, vectors, strict=True)
        with self._texts_lock:
            for text in dict.fromkeys(texts):
                self._texts[text] = known[text]
                self._texts.move_to_end(text)
            while len(self._texts) > _REMEMBERED:
                self._texts.popitem(last=False)
        return np.stack([known[text] for text in texts])

    def picture(self, picture: bytes | Path) -> F32:
        """Return the vector of an encoded picture or of a file, f32[D] of unit norm."""
        rgb = read_rgb(picture)
        with self._busy:
            model = self._loaded()
            return np.asarray(model.images(model.prepare(rgb)[None])[0], np.float32)

    def _loaded(self) -> "ClipModel":
        if self._model is None:
            self._same_weights(self.spec.identity()["weights_sha256"])
            from pipeline import clip_model  # loads torch: a search by URL or uid needs none

            model = clip_model.load(self.spec, self._device)
            self._same_weights(model.weights_sha256)
            self._model = model
        return self._model

    def _same_weights(self, found: str | None) -> None:
        if None not in (found, self._recorded) and found != self._recorded:
            raise InputError(
                f"the weights of {self.spec.model} are not those the data set was made with (sha256 {self._recorded}); "
                "vectors of different models cannot be compared"
            )
