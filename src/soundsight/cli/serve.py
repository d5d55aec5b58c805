"""``soundsight serve``: a page where one speaks and sees, and a REST API."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from soundsight.cli import complete_generators, examples, layers, say
from soundsight.cli import settings as settings_of
from soundsight.cli.backbone import Backbone, Offload, Precision, SaveMemory, Without
from soundsight.errors import SoundsightError, require

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_DEADLINE_S, _PAINTING_S = 10.0, 600.0
_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


@app.command(
    epilog=examples(
        "soundsight serve",
        "soundsight serve --port 9000 --model runs/mine",
        "soundsight serve --model runs/v2d-clap --encoder clap/ --backbone sd3/ --precision bf16",
        "SOUNDSIGHT_TOKEN=secret soundsight serve --host 0.0.0.0 --workers 4",
    )
)
def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="0.0.0.0 lets other machines in; by default this one alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            envvar="SOUNDSIGHT_TOKEN",
            help="What callers must know; better in the variable SOUNDSIGHT_TOKEN, as command lines can be seen.",
        ),
    ] = None,
    origin: Annotated[
        list[str], typer.Option(metavar="URL", help="Another page that may call, as https://example.org; repeatable.")
    ] = [],  # noqa: B006
    model: Annotated[
        list[str],
        typer.Option(
            metavar="MODEL",
            autocompletion=complete_generators,
            help="Name or folder of a model to serve, the first by default; repeatable; by default all of the package.",
        ),
    ] = [],  # noqa: B006
    backbone: Backbone = None,
    encoder: Annotated[
        str | None,
        typer.Option(metavar="WEIGHTS", help="What hears for an adapter: a file, folder or hub name."),
    ] = None,
    encoder_set: Annotated[
        list[str],
        typer.Option(
            metavar="KEY=VALUE",
            help="An option of the encoder beside those that the adapter was trained with; repeatable.",
        ),
    ] = [],  # noqa: B006
    precision: Precision = None,
    offload: Offload = None,
    save_memory: SaveMemory = False,
    without: Without = [],  # noqa: B006
    workers: Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Processes that share the work.")] = 1,
    max_upload: Annotated[float, typer.Option(metavar="MB", help="Most megabytes of a sound.")] = 16.0,
    max_seconds: Annotated[float, typer.Option(metavar="S", help="Longest sound, decoded.")] = 60.0,
    max_images: Annotated[int, typer.Option(metavar="N", help="Most pictures of a sound.")] = 64,
    queue: Annotated[
        int, typer.Option(metavar="N", help="Requests that may wait; others are told to come back.")
    ] = 128,
    deadline: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Seconds after which a request is given up.",
            show_default=f"{_DEADLINE_S:g}, or {_PAINTING_S:g} with a backbone",
        ),
    ] = None,
    rate: Annotated[
        int | None, typer.Option(metavar="N", help="Requests a minute of one address; by default any number.")
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", help="Most pictures in one call of the network.")] = 16,
    window: Annotated[float, typer.Option(metavar="MS", help="How long a request waits for others to join it.")] = 0.0,
) -> None:
    """Open a page where one speaks and sees, and a REST API beside it.

    Nothing is fetched from elsewhere, kept or logged. Other machines reach it only with --host; use --token then, and
    a proxy with HTTPS in front, as browsers give a microphone to secure pages alone.
    """
    # All of it: some are often there on their own, and others are missed only by the first form or the first word.
    for module in ("fastapi", "uvicorn", "httptools", "prometheus_client", "python_multipart", "websockets"):
        require(module, "serve", "the server")
    if not 0.001 <= max_upload <= 1000:
        raise SoundsightError(f"--max-upload is {max_upload:g}; expected 0.001 to 1000 megabytes")
    if backbone is not None and workers > 1:
        raise SoundsightError("each worker would load the backbone again; leave out --workers")
    # The engine's threads are all that there shall be, here and in workers; but a backbone takes what it gets.
    for name in _THREADS if backbone is None else _THREADS[:1]:
        os.environ.setdefault(name, "1")
    from soundsight.server.run import run
    from soundsight.server.settings import Painter, Settings

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    settings = Settings(
        host=host,
        token=token,
        origins=tuple(each.rstrip("/") for each in origin),
        models=tuple(model),
        painter=Painter(
            backbone,
            encoder,
            settings_of.parse("--encoder-set", encoder_set),
            layers.options(precision, offload, save_memory, without),
        ),
        max_upload_bytes=round(max_upload * 1e6),
        max_duration_s=max_seconds,
        max_images=max_images,
        queue_size=queue,
        deadline_s=(_DEADLINE_S if backbone is None else _PAINTING_S) if deadline is None else deadline,
        rate_per_minute=rate,
        threads=max(1, cores // workers),
        max_rows=batch,
        window_s=window / 1000,
    )
    run(settings, port, workers, say)
