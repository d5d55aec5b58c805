"""``soundsight export``: PyTorch weights to ONNX, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from soundsight.cli import examples, say

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog=examples(
        "soundsight export runs/aivae",
        "soundsight export runs/aivae --out aivae.onnx",
        "soundsight export runs/aivae --sounds seven.wav --sounds eight.wav",
        "soundsight export runs/aivae --half",
    )
)
def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder with model.safetensors.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="PATH", help="A .onnx file or a new folder; by default the model folder."),
    ] = None,
    sounds: Annotated[
        list[Path] | None,
        typer.Option(
            "--sounds", metavar="FILE", help="Recordings to check on; by default the data set's that it was trained on."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of the data sets; by default SOUNDSIGHT_DATA.")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="Store weights in 16 bits: half the size.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON.")] = False,
) -> None:
    """Convert a trained model to ONNX and check it.

    Both are run on the same real inputs, one by one and in batches;
    nothing is saved where a picture differs by more than 0.0001, or with --half by more than 0.01.
    """
    from soundsight.errors import require

    for module in ("torch", "onnx", "onnxscript", "safetensors"):
        require(module, "train", "export")
    import json

    from soundsight.export import export as run
    from soundsight.folder import resolve

    folder = resolve(str(model))
    if not as_json:
        say(f"converting {model}")
    report = run(folder, out=out, sounds=sounds or None, data=data, half=half)
    if as_json:
        typer.echo(json.dumps(report.to_json()))
        return
    typer.echo(f"saved       {report.path}  ({report.num_bytes / 1e6:.2f} MB, {report.num_parameters:,} parameters)")
    typer.echo(f"difference  {report.max_difference:.1e} at most on {report.num_inputs} inputs: {report.inputs}")
    typer.echo(f"            (allowed {report.allowed:g})")
    typer.echo(f"speed       {report.onnx_ms:.2f} ms per picture; PyTorch {report.torch_ms:.2f} ms")
