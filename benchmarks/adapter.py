"""How long an adapter trains, and what comes of it beside what needs no adapter.

    python benchmarks/adapter.py --targets FOLDER [--recipes v2d-clap v2d-pooled] [--seeds 0 1 2] [--published]
        [--train-folds 1 2 3] [--test-fold 4] [--validate]

FOLDER is of a text encoder. With --validate the training folds alone are used: each in turn tests what the others
taught, which is how the recipes were chosen. With --published the mapper and its losses are as V2D has them. Prints a
table on stderr and one line of JSON on stdout; exit code 1 where a promise is not kept: they are made for the recipes
as they are, with the targets of a sentence encoder.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from soundsight.training.adapter import train_adapter
from soundsight.training.adapter_evaluation import evaluate_adapter
from soundsight.training.adapter_recipe import load_adapter_recipe

PUBLISHED = [
    *("adapter.normalise=false", "adapter.unit_length=false"),
    *(
        "train.mixup=0",
        "train.losses.relative=false",
        "train.losses.mse=0.3",
        "train.losses.cosine=0.7",
        "train.losses.info_nce=0",
    ),
]
# What the project promises: retrieval of the own prompt, cosine with the target, seconds.
PROMISES = {"v2d-clap": (0.965, 0.95), "v2d-pooled": (0.72, 0.80)}
MAX_SECONDS = 60.0


def run(recipe: str, overrides: list[str], scratch: Path) -> dict[str, float]:
    """One training and its scores."""
    resolved = load_adapter_recipe(recipe, overrides)
    began_s = time.perf_counter()
    out = train_adapter(resolved, scratch)
    seconds = time.perf_counter() - began_s
    (part,) = evaluate_adapter(out).parts
    return {
        "top1": part.retrieval[1],
        "top5": part.retrieval[5],
        "cosine": part.errors["cosine"],
        "mse": part.errors["mse"],
        "combined": part.errors["combined"],
        "mean_target_cosine": part.mean_target["cosine"],
        "mean_target_mse": part.mean_target["mse"],
        "mean_target_combined": part.mean_target["combined"],
        "class_mean_top1": part.beside["nearest class mean of the embeddings"][1],
        "linear_probe_top1": part.beside["linear probe on the embeddings"][1],
        "seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", required=True)
    parser.add_argument("--recipes", nargs="+", default=list(PROMISES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--train-folds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--test-fold", type=int, default=4)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--published", action="store_true")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    splits = [(options.train_folds, options.test_fold)]
    if options.validate:
        splits = [([fold for fold in options.train_folds if fold != test], test) for test in options.train_folds]
    found, kept = {}, True
    for recipe in options.recipes:
        rows = []
        for seed in options.seeds:
            for train, test in splits:
                overrides = [
                    f"targets.model={options.targets}",
                    f"train.seed={seed}",
                    f"data.train_folds={train}",
                    f"data.test_folds=[{test}]",
                    *(PUBLISHED if options.published else []),
                    *options.overrides,
                ]
                with tempfile.TemporaryDirectory() as scratch:
                    rows.append(run(recipe, overrides, Path(scratch)))
        mean = {key: statistics.mean(row[key] for row in rows) for key in rows[0]}
        found[recipe] = {key: round(value, 4) for key, value in mean.items()}
        found[recipe]["top1_each"] = [round(row["top1"], 4) for row in rows]  # type: ignore[assignment]
        for key, value in mean.items():
            print(f"{recipe:12} {key:22} {value:9.4f}", file=sys.stderr)
        least_top1, least_cosine = PROMISES.get(recipe, (0.0, -1.0))
        reached = mean["top1"] >= least_top1 and mean["cosine"] >= least_cosine
        kept &= reached and mean["seconds"] <= MAX_SECONDS
    print(json.dumps(found))
    raise SystemExit(0 if kept or options.published or options.validate else 1)


if __name__ == "__main__":
    main()
