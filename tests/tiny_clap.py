"""A CLAP of a few thousand random weights, saved as the published ones are; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel
from transformers.utils import logging

TEXT = {"vocab_size": 99, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SHAPE = {"hidden_size": 32, "patch_embeds_hidden_size": 4, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]}
AUDIO = SHAPE | {"spec_size": 128, "window_size": 2, "num_mel_bins": 32}
FRONT_END = {"feature_size": 32, "max_length_s": 1}


def write(folder: Path, *, fusion: bool = False, seed: int = 0) -> Path:
    """A CLAP of 25 thousand weights that hears 1 s at a time, saved as the published ones are."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        audio = AUDIO | {"enable_fusion": fusion, "fusion_type": "aff_2d" if fusion else None}
        model = ClapModel(ClapConfig(text_config=TEXT, audio_config=audio, projection_dim=12)).eval()
        for parameter in model.audio_projection.parameters():
            torch.nn.init.normal_(parameter)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    logging.enable_progress_bar()
    truncation = "fusion" if fusion else "rand_trunc"
    ClapFeatureExtractor(**FRONT_END, truncation=truncation).save_pretrained(folder)
    return folder
