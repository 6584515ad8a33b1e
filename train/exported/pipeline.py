"""Pictures from CLIP embeddings: text embedding → prior → image embedding → decoder → picture (unCLIP; Ramesh et al. 2022).

Loaded with `DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)`; needs diffusers, torch and safetensors. A
prompt needs open_clip too, and the folder `clip` beside this file or the model that `config.clip_model` names.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput

from .sampling import PRIOR_GUIDANCE, PRIOR_STEPS, Sampling, Start, half, imagine, sample


class TamisPipeline(DiffusionPipeline):  # type: ignore[misc]
    """A decoder with its tokens; a prior and an autoencoder where the model has them."""

    _optional_components = ["image_tokens", "text_tokens", "vae", "prior", "prior_tokens"]  # noqa: RUF012 - diffusers' name
    model_cpu_offload_seq = "prior->transformer->vae"

    def __init__(
        self, transformer: Any, scheduler: Any, image_tokens: Any = None, text_tokens: Any = None, vae: Any = None,
        prior: Any = None, prior_tokens: Any = None, objective: str = "flow", clip_model: str | None = None,
        clip_pretrained: str | None = None, clip_sha256: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.register_modules(
            transformer=transformer, scheduler=scheduler, image_tokens=image_tokens, text_tokens=text_tokens, vae=vae,
            prior=prior, prior_tokens=prior_tokens,
        )  # fmt: skip
        self.register_to_config(
            objective=objective, clip_model=clip_model, clip_pretrained=clip_pretrained, clip_sha256=clip_sha256
        )
        scale = 2 ** (len(vae.config.block_out_channels) - 1) if vae is not None else 1
        self.image_processor = VaeImageProcessor(vae_scale_factor=scale)
        self._scale = scale
        self._clip: Any = None

    @torch.no_grad()
    def __call__(
        self, prompt: str | Sequence[str] | None = None, *, image_embeds: torch.Tensor | None = None,
        text_embeds: torch.Tensor | None = None, seeds: Sequence[int] | None = None, num_inference_steps: int = 12,
        guidance_scale: float = 3.0, solver: str | None = None, prior_steps: int = PRIOR_STEPS,
        prior_guidance_scale: float = PRIOR_GUIDANCE, image: Any = None, strength: float = 0.7, mask_image: Any = None,
        height: int | None = None, width: int | None = None, precision: str = "auto", output_type: str = "pil", return_dict: bool = True,
    ) -> Any:  # fmt: skip
        """Make one picture for each prompt or embedding f32[B,D] (unit norm).

        Given `image`, it is changed (`strength` in (0,1]); with `mask_image`, only where the mask is white. `seeds` are one a
        picture, 0, 1, … when absent. `precision`: "auto" computes the decoder in bfloat16 where the processor has it;
        "float32" is nearest to the same picture on every machine.

        Returns `.images`: PIL pictures, or f32[B,H,W,3] in [0,1] with `output_type="np"`.
        """
        if prompt is not None:
            text_embeds = self.encode([prompt] if isinstance(prompt, str) else list(prompt))
        given = image_embeds if image_embeds is not None else text_embeds
        if given is None:
            raise ValueError("give a prompt, image_embeds or text_embeds")
        seeds = list(range(len(given))) if seeds is None else list(seeds)
        if len(seeds) != len(given):
            raise ValueError(f"{len(seeds)} seeds for {len(given)} pictures; give one each")
        if image_embeds is None and self.image_tokens is not None:
            image_embeds = self.imagine(text_embeds, seeds, prior_steps, prior_guidance_scale)
        how = Sampling(
            solver or self.default_solver, num_inference_steps, guidance_scale, strength if image is not None else 1.0
        )
        shape = self._shape(height, width)
        start = None if image is None else self._start(image, mask_image, shape, len(given))
        told, untold = self._tokens(image_embeds, text_embeds)
        denoise = partial(self._denoise, half(precision, self._execution_device))
        made = sample(
            denoise, self.config.objective, told, untold, seeds, shape, how, start, latent=self.vae is not None
        )
        pictures = self._pictures(made, image, mask_image, output_type)
        return ImagePipelineOutput(images=pictures) if return_dict else (pictures,)

    @torch.no_grad()
    def imagine(
        self, text_embeds: torch.Tensor | None, seeds: Sequence[int], steps: int, guidance: float
    ) -> torch.Tensor:
        """Return the image embeddings f32[B,D] that the prior makes of text embeddings, of unit norm (section 2.2)."""
        if self.prior is None or text_embeds is None:
            raise ValueError("this model has no prior: give image_embeds")
        text = text_embeds.to(self._execution_device, torch.float32)
        return imagine(self.prior, self.prior_tokens, text, seeds, Sampling(steps=steps, guidance=guidance))

    def encode(self, prompts: list[str]) -> torch.Tensor:
        """Return the text embeddings f32[B,D] of prompts, by the CLIP model that the training rows were embedded with."""
        model, tokenizer = self._text_encoder()
        device = self._execution_device
        found: torch.Tensor = model.to(device).encode_text(tokenizer(prompts).to(device)).float()
        return torch.nn.functional.normalize(found, dim=-1)

    def _text_encoder(self) -> Any:
        if self._clip is None:
            try:
                import open_clip
            except ImportError as error:
                raise ValueError(
                    "a prompt needs open_clip (pip install open_clip_torch); or give text_embeds"
                ) from error
            folder = Path(str(self.config.get("_name_or_path") or "")) / "clip"
            if folder.is_dir():
                name, options = f"local-dir:{folder.resolve()}", {}
                vocabulary = folder.resolve() / "bpe.txt.gz"
                more = {"bpe_path": str(vocabulary)} if vocabulary.is_file() else {}
            else:
                name, options, more = self.config.clip_model, {"pretrained": self.config.clip_pretrained}, {}
            try:
                model, _, _ = open_clip.create_model_and_transforms(name, **options)
            except (
                RuntimeError,
                OSError,
                ValueError,
            ) as error:  # a name that open_clip does not know: a model of somebody's own
                raise ValueError(
                    f"a prompt needs the CLIP model {name!r}, which open_clip does not have: export with `tamis export "
                    "--with-clip`, which puts it into the folder `clip`; or give text_embeds"
                ) from error
            self._clip = model.eval(), open_clip.get_tokenizer(name, **more)
        return self._clip

    @property
    def default_solver(self) -> str:
        """Return the solver that is taken when none is named."""
        return "unipc" if self.config.objective == "flow" else "ddim"

    @property
    def _shift(self) -> float:
        """Return what lies between the autoencoder's latents and those that were trained on, beside their scale."""
        return float(self.vae.config.shift_factor or 0.0)

    def _shape(self, height: int | None, width: int | None) -> tuple[int, int, int]:
        cells = self.transformer.config.sample_size
        tall, wide = (cells if side is None else side // self._scale for side in (height, width))
        return self.transformer.config.in_channels, tall, wide

    def _tokens(self, image: torch.Tensor | None, text: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the tokens of the condition and of none, f32[B,K,C]."""
        device = self._execution_device
        told, untold = [], []
        for make, vectors, name in (
            (self.image_tokens, image, "image_embeds"),
            (self.text_tokens, text, "text_embeds"),
        ):
            if make is None:
                continue
            if vectors is None and name == "text_embeds" and image is not None:
                vectors = torch.zeros(len(image), make.mean.numel())  # no text is said
            if vectors is None:
                raise ValueError(f"this model listens to {name} as well: give them")
            moved = vectors.to(device, torch.float32)
            told.append(make(moved))
            untold.append(make(moved, torch.zeros(len(moved), dtype=torch.bool, device=device)))
        return torch.cat(told, dim=1), torch.cat(untold, dim=1)

    def _denoise(self, halved: bool, x: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the prediction in single precision: only the model may compute in halves, the solver's sums do not."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=halved):
            found = self.transformer(x, timestep=time, encoder_hidden_states=tokens, return_dict=False)[0]
        return found.float()  # type: ignore[no-any-return]

    def _start(self, image: Any, mask: Any, shape: tuple[int, int, int], count: int) -> Start:
        _, tall, wide = shape
        pixels = self.image_processor.preprocess(image, height=tall * self._scale, width=wide * self._scale)
        if self.vae is not None:
            moved = pixels.to(self._execution_device, self.vae.dtype)
            pixels = (self.vae.encode(moved).latent_dist.mode().float() - self._shift) * self.vae.config.scaling_factor
        picture = pixels.expand(count, -1, -1, -1) if len(pixels) == 1 else pixels
        if mask is None:
            return Start(picture)
        return Start(picture, 1 - self._mask(mask, tall, wide))

    def _mask(self, mask: Any, tall: int, wide: int) -> torch.Tensor:
        """Return f32[1,1,H,W]: 1 where the mask is white."""
        made = VaeImageProcessor(1, do_normalize=False, do_binarize=True, do_convert_grayscale=True)
        found: torch.Tensor = made.preprocess(mask, height=tall, width=wide)
        return found

    def _pictures(self, made: torch.Tensor, image: Any, mask: Any, output_type: str) -> Any:
        if self.vae is None:
            return self.image_processor.postprocess(made, output_type=output_type)
        latents = made / self.vae.config.scaling_factor + self._shift
        decoded = self.vae.decode(latents.to(self.vae.dtype), return_dict=False)[0].float()
        if mask is not None:  # an autoencoder changes what was to stay as it is
            tall, wide = decoded.shape[2:]
            new = self._mask(mask, tall, wide).to(decoded)
            original = self.image_processor.preprocess(image, height=tall, width=wide).to(decoded)
            decoded = new * decoded + (1 - new) * original
        return self.image_processor.postprocess(decoded, output_type=output_type)
