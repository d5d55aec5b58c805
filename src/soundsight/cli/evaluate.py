"""``soundsight evaluate``: a model's scores beside its baselines, as table, JSON and HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from soundsight.cli import adapter, complete_models, examples, show
from soundsight.cli.adapter import ALIGNMENT, JUDGE
from soundsight.errors import SoundsightError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog=examples(
        "soundsight evaluate digits",
        "soundsight evaluate runs/theo --split speaker:theo",
        "soundsight evaluate runs/aivae-fsdd --seed 1 --out reports/aivae --samples 20",
        "soundsight evaluate runs/flow --outliers esc50/audio --noise background_noise --snr 10",
        "soundsight evaluate beach_frames --split random",
        "soundsight evaluate runs/scenes --judge runs/resnet",
        "soundsight evaluate runs/v2d-clap --split fold:4",
        "soundsight evaluate runs/v2d-clap --backbone runs/sd3-cifar10/backbone --judge runs/resnet-cifar10",
        "soundsight evaluate digits --json",
    )
)
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Name of a model or a model folder; or pairs, for what a model of them must beat.",
            autocompletion=complete_models,
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="random, official, speaker:NAME, clip, fold:N; of pairs block, clip, clip:NAME, random. By default "
            "the one that it was trained with.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the pairs, the noise and the samples.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="For the report; by default reports/NAME-SPLIT.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of the data sets; by default SOUNDSIGHT_DATA.")
    ] = None,
    judge: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="What reads the pictures. Those of pairs are compared in its features, if one is named that reads "
            "such pictures, or smaller ones by a whole number. With --backbone one must be named.",
        ),
    ] = JUDGE,
    samples: Annotated[int, typer.Option(metavar="N", help="Random pictures of each label in the report.")] = 10,
    draws: Annotated[int, typer.Option(metavar="N", help="Pictures of each test pair, each with its own noise.")] = 1,
    outliers: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Sounds that are none of the labels: does the model know? May be repeated."),
    ] = None,
    noise: Annotated[
        list[str] | None, typer.Option(metavar="PATH", help="Noise to mix to the test recordings. May be repeated.")
    ] = None,
    snr: Annotated[
        list[float] | None,
        typer.Option(metavar="DB", help="Signal-to-noise ratio for --noise; may be repeated.", show_default="20, 10"),
    ] = None,
    alignment: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Space of the alignment score; 'none' leaves it out. Pairs have it if one of such pictures is named.",
        ),
    ] = ALIGNMENT,
    backbone: Annotated[
        str | None,
        typer.Option(metavar="HUB|FOLDER", help="For an adapter: the text-to-image model that paints what it says."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(metavar="N", help="Steps of the backbone.", show_default="as for generate")
    ] = None,
    guidance: Annotated[
        float | None, typer.Option(metavar="X", help="Guidance of the backbone.", show_default="as for generate")
    ] = None,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"] | None, typer.Option(help="Numbers of the backbone.", show_default="fp32")
    ] = None,
    offload: Annotated[
        Literal["none", "model", "sequential"] | None,
        typer.Option(help="Keep the backbone's parts off the GPU until they are needed.", show_default="none"),
    ] = None,
    save_memory: Annotated[
        bool, typer.Option("--save-memory", help="Let the backbone work in slices and tiles: less memory, slower.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of a table.")] = False,
) -> None:
    """Measure a model and write a report.

    A picture is made for every test pair of the paper's protocol and read
    by a judge. Every score stands beside what needs no model (chance, a
    constant picture, the nearest training recording), real images and the
    published number; one that such a baseline reaches is marked, in colour
    where there is any.

    Pictures of pairs are compared with the real one of their moment, and
    all of them with all real ones. For a data set of pairs, or a folder of
    them, in place of a model, the baselines alone are measured.

    What an adapter says of test recordings is compared with what texts say.
    With a backbone and a judge that knows some of its classes, pictures are
    painted of it, too, and read, beside those of the mean target, of the
    nearest prompt and of the right one.
    """
    import json

    painter = adapter.Painter(backbone, steps, guidance, precision, offload, save_memory)
    if adapter.is_adapter(model):
        if outliers or noise or snr or alignment != ALIGNMENT:
            raise SoundsightError(f"'{model}' is an adapter: leave --outliers, --noise, --snr and --alignment out")
        adapter.evaluate(model, painter, split, seed, out, data, judge, samples, draws, as_json=as_json)
        return
    painter.refuse(model)
    from soundsight.evaluation import files
    from soundsight.evaluation.evaluator import baselines, is_pairs
    from soundsight.evaluation.evaluator import evaluate as run
    from soundsight.evaluation.hearing import NOTHING_ELSE, Surroundings
    from soundsight.evaluation.progress import bar
    from soundsight.evaluation.text import lines
    from soundsight.files import check_writable

    if snr and not noise:
        raise SoundsightError("--snr says how loud --noise is; name the noise, too")
    check_writable(out or Path("reports"))
    around = Surroundings(tuple(outliers or ()), tuple(noise or ()), tuple(snr or NOTHING_ELSE.snrs_db))
    space = None if alignment == "none" else alignment
    if is_pairs(model):
        report = baselines(model, split=split or "block", seed=seed, judge=judge, alignment=space, data=data)
    else:
        with bar() as watch:
            report = run(
                model,
                split=split,
                seed=seed,
                judge=judge,
                num_samples=samples,
                draws=draws,
                around=around,
                alignment=space,
                data=data,
                watch=watch,
            )
    folder = out or Path(
        "reports", "-".join([report.model, *([report.split.replace(":", "-")] if report.split else [])])
    )
    written = files.write(report, folder)
    if as_json:
        typer.echo(json.dumps(report.to_json(), ensure_ascii=False, allow_nan=False))
        return
    for line in lines(report):
        show(line, marked=line.endswith(" *") or line.startswith("  * "))
    show(f"report: {written[0]}")
