"""What the default model takes for a digit that is none: words nobody trained it on, and cuts of digits.

    python benchmarks/unknown.py [--model NAME|FOLDER] [--seed 0]

Words by synthetic voices (espeak-ng, flite), some near to a digit and some not, none of them in the training's lists;
and the middle of test recordings of that seed's random split, so short that there is no word in it. Prints the share
that is told as no digit, and the words that are taken for one most.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from soundsight import AudioToImage
from soundsight.audio import Clip, condition
from soundsight.datasets import fsdd, outliers, voices
from soundsight.datasets.splits import make_split
from soundsight.errors import AudioError

FAR = (
    *("big", "thunder", "sauce", "kite", "mist", "shower", "cheap", "fund", "siren", "shelf", "cabin", "button"),
    *("summit", "tennis", "bureau", "skin", "ticket", "cliff", "slate", "truck"),
)
NEAR = (
    *("hit", "wheel", "wide", "lane", "pilot", "sender", "veto", "thin", "fist", "native", "winner", "threat"),
    *("flour", "foul", "fought", "rival", "sane", "slime", "seventh", "freight"),
)
VOICES = 5
CUTS_MS = (30, 50, 100, 150)
SEED = 77


def said(words: tuple[str, ...], pipe: AudioToImage) -> list[Clip]:
    """Each word by as many voices."""
    speakers = voices.draw(len(words) * VOICES, np.random.default_rng(SEED))
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(voices.say, speaker, word, sample_rate_hz=pipe.sample_rate_hz)
            for speaker, word in zip(speakers, words * VOICES, strict=True)
        ]
        return [job.result() for job in jobs]


def middles(clips: list[Clip], length_ms: int) -> list[Clip]:
    """The middle of each recording, without those that are silent there."""
    cuts = []
    for clip in clips:
        length = clip.sample_rate_hz * length_ms // 1000
        start = max(0, (len(clip.samples) - length) // 2)
        try:
            cuts.append(condition(Clip(clip.samples[start : start + length], clip.sample_rate_hz)))
        except AudioError:
            continue
    return cuts


def main() -> None:
    """Print the table, and a line of JSON."""
    repo = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("SOUNDSIGHT_DATA", repo.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="digits")
    parser.add_argument("--seed", type=int, default=0, help="of the random split whose test recordings are cut")
    options = parser.parse_args()
    trained = set(outliers.WORDS) | set(outliers.NEAR_WORDS)
    assert not trained & {*FAR, *NEAR}, f"trained on: {trained & {*FAR, *NEAR}}"
    pipe = AudioToImage.from_pretrained(options.model)

    def outlier_scores(clips: list[Clip]) -> np.ndarray:
        return pipe.generator.listen(pipe.extract(clips))[:, -1]

    found: dict[str, float] = {}
    taken: Counter[str] = Counter()
    for name, words in (("words far from digits", FAR), ("words near to digits", NEAR)):
        told = outlier_scores(said(words, pipe)) > 0.5
        found[name] = float(told.mean())
        taken.update(word for word, known in zip(words * VOICES, told, strict=True) if not known)
    source = fsdd.load(data / "fsdd")
    test = make_split(source, "random", seed=options.seed).test
    clips = source.load(test, sample_rate_hz=pipe.sample_rate_hz, prepare=pipe.prepare)
    for length_ms in CUTS_MS:
        found[f"cuts of {length_ms} ms"] = float((outlier_scores(middles(clips, length_ms)) > 0.5).mean())
    for name, share in found.items():
        print(f"{name:24}{100 * share:6.1f} % told")
    print("taken for digits most:", ", ".join(f"{word} {count} of {VOICES}" for word, count in taken.most_common(8)))
    print(json.dumps({name: round(share, 4) for name, share in found.items()}))


if __name__ == "__main__":
    main()
