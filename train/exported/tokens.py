"""An embedding becomes a few tokens to attend to. Needs only torch and diffusers: exported models carry this file along."""

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn


class EmbeddingTokens(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Unit vectors f32[B,D] → tokens f32[B,K,C], or learned null tokens where nothing is said.

    CLIP's vectors of one kind lie in a narrow cone (Liang et al. 2022, 2203.02053), so they are centred and scaled by the
    training rows' mean and deviation first: what tells two pictures apart is then as large as what they share.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, embedding_dim: int, tokens: int, width: int, hidden: int | None = None):
        super().__init__()
        self.register_buffer("mean", torch.zeros(embedding_dim))
        self.register_buffer("deviation", torch.ones(embedding_dim))
        hidden = hidden or max(width, embedding_dim)
        self.first = nn.Linear(embedding_dim, hidden)
        self.second = nn.Linear(hidden, tokens * width)
        self.norm = nn.LayerNorm(width)
        self.null = nn.Parameter(torch.randn(1, tokens, width) * 0.02)

    def standard(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return vectors with mean 0 and deviation 1 in every dimension, as over the training rows."""
        made: torch.Tensor = (embedding - self.mean) / self.deviation
        return made

    def unit(self, standard: torch.Tensor) -> torch.Tensor:
        """Return the unit vectors that standard ones stand for: the inverse of `standard`."""
        made: torch.Tensor = nn.functional.normalize(standard * self.deviation + self.mean, dim=-1)
        return made

    def forward(self, embedding: torch.Tensor, said: torch.Tensor | None = None) -> torch.Tensor:
        """Return the tokens; where bool[B] `said` is false, or a vector is all zeros, those of no condition."""
        there = embedding.any(dim=-1)
        said = there if said is None else said & there
        hidden = nn.functional.gelu(self.first(self.standard(embedding)))
        tokens: torch.Tensor = self.norm(self.second(hidden).unflatten(-1, self.null.shape[1:]))
        return torch.where(said[:, None, None], tokens, self.null.to(tokens.dtype))
