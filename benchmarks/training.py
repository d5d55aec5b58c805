"""Samples per second of soundsight's trainer beside a plain fp32 PyTorch loop, on the same network and data.

    python benchmarks/training.py [--recipe aivae-fsdd | aivaegan-fsdd] [--rounds 3] [--steps 25] [--pairs 12800]

The networks are AIVAE of Table 1 and AIVAEGAN of Table 2, batch 128, on real MNIST-FSDD pairs. The plain loop
(``plain.py``) is what one writes first: fp32, PyTorch's layers, ``torch.optim.Adam`` with its defaults,
``TensorDataset`` and ``DataLoader(shuffle=True)`` over tensors in memory. Ours is the trainer itself with the recipe,
the average of the weights included. Each run is a process of its own with as many threads; the two take turns, so that
both see the same machine, and the median of the ratios counts. Prints a table on stderr and one line of JSON on stdout
for each recipe; ends with 1 where a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

WARM_STEPS = 5
KINDS = ("plain", "ours")
# What the project promises: how many times the plain loop's speed.
MIN_RATIO = {"aivae-fsdd": 3.0, "aivaegan-fsdd": 2.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=MIN_RATIO, action="append", help="by default all, one after the other")
    parser.add_argument("--rounds", type=int, default=3, help="how often both are run, in turn")
    parser.add_argument("--steps", type=int, default=25, help=f"timed steps, after {WARM_STEPS} that are not")
    parser.add_argument("--pairs", type=int, default=12_800, help="training pairs, the first of the 60,000")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        rate = measure(options.child, options.recipe[0], options.steps, options.pairs)
        print(json.dumps({"samples_per_s": rate}))
        return
    kept = [report(recipe, options) for recipe in options.recipe or MIN_RATIO]
    raise SystemExit(0 if all(kept) else 1)


def report(recipe: str, options: argparse.Namespace) -> bool:
    """Run both kinds in turn; a table, then one line of JSON. Whether the promise is kept."""
    rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
    tell(f"{recipe}: samples/s, {options.threads} threads")
    tell(f"{'round':>5} {'plain':>12} {'ours':>12} {'ratio':>7}")
    for number in range(1, options.rounds + 1):
        for kind in KINDS:
            rates[kind].append(run_child(kind, recipe, options))
        plain, ours = (rates[kind][-1] for kind in KINDS)
        tell(f"{number:>5} {plain:>12.1f} {ours:>12.1f} {ours / plain:>7.2f}")
    ratios = [ours / plain for plain, ours in zip(rates["plain"], rates["ours"], strict=True)]
    medians = {kind: round(statistics.median(values), 1) for kind, values in rates.items()}
    median = statistics.median(ratios)
    promised = MIN_RATIO[recipe]
    tell(f"{'':>5} {medians['plain']:>12.1f} {medians['ours']:>12.1f} {median:>7.2f}   median; promised {promised:g}")
    facts = {name: getattr(options, name) for name in ("rounds", "steps", "pairs", "threads")}
    line = {"recipe": recipe, **facts, "samples_per_s": medians, "median_ratio": round(median, 3)}
    print(json.dumps(line), flush=True)
    return median >= promised


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run_child(kind: str, recipe: str, options: argparse.Namespace) -> float:
    command = [sys.executable, __file__, "--child", kind, "--recipe", recipe]
    command += ["--steps", str(options.steps), "--pairs", str(options.pairs)]
    env = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["samples_per_s"])


def measure(kind: str, name: str, steps: int, pairs: int) -> float:
    """Samples per second of the timed steps; the preparation of the data is not in it."""
    from soundsight.config import load_recipe
    from soundsight.training.loading import load_training_data

    recipe = load_recipe(name)

    def load(*args: Any, **options: Any) -> Any:
        data = load_training_data(*args, **options)
        return replace(data, images_P=data.images_P[:pairs], sounds_P=data.sounds_P[:pairs])

    return {"plain": plain_loop, "ours": our_trainer}[kind](recipe, load, steps)


def our_trainer(recipe: Any, load: Any, steps: int) -> float:
    """The trainer's own step and log, as ``soundsight train`` calls them."""
    from soundsight.training import trainer
    from soundsight.training.memory import keep_freed_memory

    trainer.load_training_data = load
    with tempfile.TemporaryDirectory() as folder:
        keep_freed_memory()
        run = trainer._Run(recipe, Path(folder), resume=False, root=None)
        for _ in range(WARM_STEPS):
            run.advance()
        began = time.perf_counter()
        for _ in range(steps):
            run.advance()
        run.log()
        return steps * recipe.train.batch_size / (time.perf_counter() - began)


def plain_loop(recipe: Any, load: Any, steps: int) -> float:
    """What one writes first."""
    import torch
    from plain import PlainGan, PlainVae
    from torch.utils.data import DataLoader, TensorDataset

    torch.manual_seed(recipe.train.seed)
    kind, phase = (PlainGan, "generator") if recipe.model.system == "aivaegan" else (PlainVae, "autoencoder")
    network = kind(recipe.train.optimizer_of(phase).lr)
    data = load(recipe, latent_size=64)
    images = data.images_NCHW[data.images_P].float() / 255
    pairs = TensorDataset(data.features_RKFN[data.sounds_P, 0], images)
    loader = DataLoader(pairs, batch_size=recipe.train.batch_size, shuffle=True, drop_last=True)
    step, began = 0, 0.0
    while True:
        for features, image in loader:
            if step == WARM_STEPS:
                began = time.perf_counter()
            if step == WARM_STEPS + steps:
                return steps * recipe.train.batch_size / (time.perf_counter() - began)
            network.step(features, image)
            step += 1


if __name__ == "__main__":
    main()
