"""Train, export and evaluate a recipe over seeds and splits; print mean and range, with the baselines beside them.

Finished runs are read, half-finished ones are resumed, so the command can be stopped and repeated at will::

    python benchmarks/results.py aivae-fsdd --splits random
    python benchmarks/results.py digits --splits random
    python benchmarks/results.py digits --splits speaker:jackson speaker:nicolas speaker:theo speaker:yweweler \\
        --set train.epochs=4 --set 'frozen.parts=["painter", "reader", "writer", "examiner"]' \\
        --set frozen.model=runs/digits-random-s{seed}

The last one trains listeners alone: what paints has never heard a sound, so that it is the same for all speakers.
"""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from soundsight.config import load_recipe
from soundsight.errors import RecipeError, SoundsightError
from soundsight.evaluation.evaluator import evaluate
from soundsight.export.exporter import export
from soundsight.folder import read_folder, write_folder
from soundsight.training.trainer import train


def finished(recipe: str, split: str, seed: int, runs: Path, settings: list[str]) -> Path:
    """The model folder of one run, trained and exported now if need be."""
    out = runs / f"{recipe}-{split.removeprefix('speaker:')}-s{seed}"
    own = [setting.replace("{seed}", str(seed)) for setting in settings]
    resolved = load_recipe(recipe, [*own, f"data.split={split}", f"train.seed={seed}"])
    if not (out / "config.json").is_file():
        train(resolved, out, resume=True)
    elif read_folder(out).training.get("recipe") != resolved.model_dump(mode="json"):
        raise RecipeError(f"{out} is of another recipe, or has other settings; move it away, or name other --runs")
    if not (out / "model.onnx").is_file():
        export(out)
    return out


def measure(recipe: str, split: str, seed: int, runs: Path, settings: list[str]) -> dict[str, Any]:
    """Scores of one run and of what needs no model."""
    folder = finished(recipe, split, seed, runs, settings)
    report = evaluate(folder, split=split, seed=seed)
    scores = {score.name: score for score in report.scores}
    training = json.loads((folder / "config.json").read_text(encoding="utf-8"))["training"]
    return {
        "split": split,
        "seed": seed,
        "seconds": training["seconds"],
        **{name: score.value for name, score in scores.items()},
        **{f"{name} of {b.name}": b.value for name in scores for b in scores[name].baselines},
    }


def summary(rows: list[dict[str, Any]], name: str) -> str:
    """Mean and range over seeds of the mean over splits; of accuracies in percent."""
    seeds, factor = sorted({row["seed"] for row in rows}), 100 if "accuracy" in name else 1
    means = [factor * statistics.mean(row[name] for row in rows if row["seed"] == seed) for seed in seeds]
    return f"{statistics.mean(means):.2f} ({min(means):.2f} to {max(means):.2f}, {len(seeds)} seeds)"


def note(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Write a score on a model's card; the weights stay as they are."""
    model = read_folder(folder)
    card = {**model.card, "scores": {**model.card["scores"], name: f"{summary(rows, 'accuracy')} %"}}
    write_folder(replace(model, card=card), {weights: folder / weights for weights in model.weights})


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--splits", nargs="+", default=["random"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="{seed} stands for the seed"
    )
    parser.add_argument("--out", type=Path, help="write all rows as JSON")
    parser.add_argument(
        "--card", type=Path, metavar="FOLDER", help="note the accuracy on the card of this model folder"
    )
    options = parser.parse_args()
    rows = []
    for seed in options.seeds:
        for split in options.splits:
            rows.append(measure(options.recipe, split, seed, options.runs, options.settings))
            print(json.dumps(rows[-1]), flush=True)
    for name in [key for key in rows[0] if key not in ("split", "seed", "seconds")]:
        print(f"{name:<44}{summary(rows, name)}{' %' if 'accuracy' in name else ''}")
    worst = min(rows, key=lambda row: row["accuracy"])
    print(f"worst run: {100 * worst['accuracy']:.2f} % ({worst['split']}, seed {worst['seed']})")
    if options.card:
        note(options.card, f"accuracy, {'random split' if options.splits == ['random'] else 'unseen speakers'}", rows)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except SoundsightError as error:
        raise SystemExit(f"error: {error}") from None
