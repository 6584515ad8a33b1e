"""A Stable Diffusion pipeline of a few thousand random weights, made here: no hub can be reached."""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer


def vae() -> AutoencoderKL:
    """Return an autoencoder of 3 → 4 channels at half the size."""
    torch.manual_seed(0)
    return AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4, norm_num_groups=4, sample_size=16,
    )  # fmt: skip


def make(folder: Path) -> Path:
    """Write the pipeline and return its folder."""
    words = folder / "words"
    words.mkdir(parents=True)
    letters = [chr(code) for code in range(97, 123)]
    names = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (words / "vocab.json").write_text(json.dumps({name: at for at, name in enumerate(names)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=12)
    text = CLIPTextConfig(
        vocab_size=len(names), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, bos_token_id=len(names) - 2, eos_token_id=len(names) - 1, pad_token_id=len(names) - 1,
    )  # fmt: skip
    autoencoder = vae()
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", steps_offset=1, clip_sample=False)
    torch.manual_seed(1)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=8, attention_head_dim=4,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        autoencoder, CLIPTextModel(text), tokenizer, unet, scheduler, None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "pipeline")
    return folder / "pipeline"
