"""``soundsight evaluate``: a model's scores beside its baselines, as table, JSON and HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from soundsight.cli import adapter, complete_models, examples, show
from soundsight.cli.adapter import ALIGNMENT
from soundsight.cli.backbone import Backbone, Offload, Precision, SaveMemory, Without
from soundsight.errors import SoundsightError

if TYPE_CHECKING:
    from soundsight.controls import Controls

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(
    epilog=examples(
        "soundsight evaluate digits",
        "soundsight evaluate runs/theo --split speaker:theo",
        "soundsight evaluate runs/aivae-fsdd --seed 1 --out reports/aivae --samples 20",
        "soundsight evaluate digits --outliers esc50/audio --noise background_noise --snr 10",
        "soundsight evaluate beach_frames --split random",
        "soundsight evaluate my-pairs --size 64",
        "soundsight evaluate runs/scenes --judge runs/resnet",
        "soundsight evaluate runs/v2d-clap --split fold:4",
        "soundsight evaluate runs/v2d-clap --backbone runs/sd3-cifar10/backbone --judge runs/resnet-cifar10",
        "soundsight evaluate digits --steps 50",
        "soundsight evaluate digits --json",
    )
)
def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Name or folder of a model; or a data set of pairs, or a folder of them, for what a model must beat.",
            autocompletion=complete_models,
        ),
    ],
    split: Annotated[
        str | None,
        typer.Option(
            metavar="SPLIT",
            help="What tests. Of recordings: random, official, speaker:NAME, clip, fold:N. Of pairs: block (the last "
            "quarter of each clip), clip (a quarter of the clips), clip:NAME, random. By default what the model was "
            "trained with; of pairs alone block, or clip where all clips are short.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="0 to 2**64 - 1: of what is paired, of the noise, of the samples that are shown.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder for the report; by default reports/NAME-SPLIT, and what was turned.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DIR", help="Folder of the data sets; by default SOUNDSIGHT_DATA.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Name or folder of a classifier that reads the pictures, by default lenet5 for digits. Of pairs, "
            "which have no labels, none is used unless one is named; Fréchet and kernel distance are then of its "
            "features. It must know pictures of the same channels, as large or smaller by a whole number. With "
            "--backbone one must be named.",
        ),
    ] = None,
    samples: Annotated[
        int, typer.Option(metavar="N", help="Random pictures in the report, 0 to 100: of each label, or test pairs.")
    ] = 10,
    size: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Of pairs alone: pixels on a side at which pictures are compared, 16 to 1024; a model has its own.",
            show_default="256",
        ),
    ] = None,
    draws: Annotated[
        int,
        typer.Option(metavar="N", help="Pictures of each test pair, 1 to 1000, each from its own noise; not of pairs."),
    ] = 1,
    max_pairs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Most test pairs of a generator of labels, 10 or more, taken evenly: a quick look.",
            show_default="all",
        ),
    ] = None,
    outliers: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="File or folder of sounds that are none of the labels: does the model know? May be repeated.",
        ),
    ] = None,
    noise: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH", help="File or folder of noise to mix to the test recordings: who copes? May be repeated."
        ),
    ] = None,
    snr: Annotated[
        list[float] | None,
        typer.Option(metavar="DB", help="Signal-to-noise ratio for --noise; may be repeated.", show_default="20, 10"),
    ] = None,
    alignment: Annotated[
        str,
        typer.Option(
            metavar="MODEL",
            help="Name or folder of a space that sounds and pictures share, for the alignment score; 'none' leaves it "
            "out. Of pairs it is left out unless one is named.",
        ),
    ] = ALIGNMENT,
    backbone: Backbone = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Steps from noise to picture, of the backbone or of a model that draws in steps.",
            show_default="as for generate",
        ),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Guidance, of the backbone or of a model that has it.", show_default="as for generate"
        ),
    ] = None,
    variation: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Of a generator of labels: how much the pictures of a sound differ, 0 to 2.",
            show_default="as for generate",
        ),
    ] = None,
    precision: Precision = None,
    offload: Offload = None,
    save_memory: SaveMemory = False,
    without: Without = [],  # noqa: B006
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON instead of a table.")] = False,
) -> None:
    """Measure a model and write a report.

    What is measured depends on MODEL:

    - A generator of labels, as digits: a picture of every test pair of the
    paper's protocol is read by a judge. Accuracy, diversity, and all
    pictures beside all real ones: Fréchet and kernel distance, precision,
    recall, density, coverage.

    - A generator of pairs, as mfcc-generator: every picture is compared with
    the real one of its moment (SSIM, MS-SSIM, PSNR, error, histograms, dark
    pixels), and all with all real ones (sliced Wasserstein distance; with
    --judge and --alignment what these see).

    - Pairs, without a model: the same scores of what hears nothing, which a
    model must beat.

    - A judge, on real test images; an alignment, on finding what belongs
    together; an adapter, beside what texts say. With a backbone and a judge
    that knows some of its classes, pictures are painted of what an adapter
    says, too, and read, beside those of the mean target, of the nearest
    prompt and of the right one.

    Printed is each score, and below it what is reached without the model
    (chance, a constant or mean picture, the nearest training recording or
    frame, noise), what real pictures reach, and the published number, where
    there is one. A score with * is reached by the baselines that are named:
    it says nothing for the model. Such lines are coloured in a terminal.

    Written are report.html, report.json and samples.png in DIR.
    """
    import json

    painter = adapter.Painter(backbone, steps, guidance, precision, offload, save_memory, without)
    if adapter.is_adapter(model):
        if outliers or noise or snr or max_pairs is not None or variation is not None or alignment != ALIGNMENT:
            raise SoundsightError(
                f"'{model}' is an adapter: leave --outliers, --noise, --snr, --max-pairs, --variation and --alignment "
                "out"
            )
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
    turned = {"steps": steps, "guidance": guidance, "variation": variation}
    asked = cast("Controls", {name: value for name, value in turned.items() if value is not None})
    if is_pairs(model):
        if outliers or noise or snr or draws != 1 or max_pairs is not None or asked:
            raise SoundsightError(
                f"'{model}' is pairs, without a model: leave --outliers, --noise, --snr, --draws, --max-pairs, "
                "--steps, --guidance and --variation out"
            )
        side = 256 if size is None else size
        report = baselines(model, split=split, seed=seed, judge=judge, alignment=space, image_size=side, data=data)
    elif size is not None:
        raise SoundsightError(f"'{model}' is compared at the size of its own pictures; leave --size out")
    else:
        with bar() as watch:
            report = run(
                model,
                split=split,
                seed=seed,
                judge=judge,
                num_samples=samples,
                draws=draws,
                max_pairs=max_pairs,
                around=around,
                controls=asked,
                alignment=space,
                data=data,
                watch=watch,
            )
    parts = [report.model, *([report.split.replace(":", "-")] if report.split else [])]
    parts += [f"{name}-{value:g}" for name, value in turned.items() if value is not None]
    folder = out or Path("reports", "-".join(parts))
    written = files.write(report, folder)
    if as_json:
        typer.echo(json.dumps(report.to_json(), ensure_ascii=False, allow_nan=False))
        return
    for line in lines(report):
        show(line, marked=line.endswith(" *") or line.startswith("  * "))
    show(f"report: {written[0]}")
