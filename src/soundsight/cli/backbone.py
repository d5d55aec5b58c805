"""Options of every command that paints with a backbone."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

__all__ = ["Backbone", "Offload", "Precision", "SaveMemory", "Without"]

Backbone = Annotated[
    str | None,
    typer.Option(metavar="HUB|FOLDER", help="Text-to-image model that paints, for an adapter such as v2d-clap."),
]
Precision = Annotated[
    Literal["fp32", "bf16", "fp16"] | None, typer.Option(help="Numbers of the backbone.", show_default="fp32")
]
Offload = Annotated[
    Literal["none", "model", "sequential"] | None,
    typer.Option(help="Keep the backbone's parts off the GPU until they are needed.", show_default="none"),
]
SaveMemory = Annotated[
    bool, typer.Option("--save-memory", help="Let the backbone work in slices and tiles: less memory, slower.")
]
Without = Annotated[
    list[str],
    typer.Option(
        metavar="PART", help="A text encoder of the backbone to do without, such as text_encoder_3; repeatable."
    ),
]
