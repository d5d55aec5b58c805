"""Synthetic speakers for training: digit words spoken by espeak-ng and flite.

Real data have few voices (FSDD: four). These are no substitute, but an option that widens what a model has heard. The
recordings are made at training time and are stored nowhere.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from soundsight.audio import Clip, condition, decode
from soundsight.errors import AudioError, DatasetError

__all__ = ["CREDIT", "DIGIT_WORDS", "Voice", "draw", "say", "speak"]

CREDIT = {
    "name": "Synthetic speech of the ten digit words, made at training time",
    "licence": "speech spoken by espeak-ng (GPL-3.0 program) and flite (BSD-style), output unencumbered",
    "attribution": "eSpeak NG contributors; Carnegie Mellon University, Flite",
}

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_ACCENTS = ("en-us", "en-gb", "en-gb-x-rp", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc")
# Variants of espeak-ng that sound like people; robots, whispers and animals are left out.
_VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("klatt", "klatt2", "klatt3", "klatt4", "klatt6"),
    *("Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Gene", "Henrique", "Hugo", "Jacky", "Lee", "Marco"),
    *("Mario", "Michael", "Mike", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb"),
    *("david", "ed", "edward", "grandma", "grandpa", "iven", "john", "linda", "marcelo", "max", "michel", "miguel"),
    *("norbert", "pablo", "paul", "pedro", "quincy", "rob", "robert", "sandro", "shelby", "steph", "travis", "victor"),
)
_FLITE = ("slt", "rms", "awb", "kal16")
_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Voice:
    """One synthetic speaker.

    Attributes:
        engine: ``espeak-ng`` or ``flite``.
        name: The engine's name of the voice.
        pace: Speed relative to the engine's own.
        pitch: 0 low … 99 high, as espeak-ng counts; flite maps it to 80 … 240 Hz (its voice rms ignores it).
    """

    engine: str
    name: str
    pace: float
    pitch: int


def draw(num: int, rng: np.random.Generator) -> list[Voice]:
    """``num`` different speakers, every fourth of them flite's: the same ones on every machine.

    Raises:
        DatasetError: An engine is not installed.
    """
    speakers = []
    for i in range(num):
        pace, pitch = float(rng.uniform(0.7, 1.25)), int(rng.integers(15, 85))
        if i % 4 == 3:
            speakers.append(Voice("flite", str(rng.choice(_FLITE)), pace, pitch))
        else:
            name = f"{rng.choice(_ACCENTS)}+{rng.choice(_VARIANTS)}"
            speakers.append(Voice("espeak-ng", name, pace, pitch))
    for engine in sorted({voice.engine for voice in speakers}):
        if shutil.which(engine) is None:
            raise DatasetError(f"synthetic voices need {engine}: apt install espeak-ng flite, or set data.voices=0")
    return speakers


def speak(voices: Sequence[Voice], words: Sequence[str], *, sample_rate_hz: int) -> list[list[Clip]]:
    """Every voice says every word: one list of conditioned clips per voice, in the order of ``words``.

    Raises:
        DatasetError: The engine fails, or says nothing.
    """
    with ThreadPoolExecutor(4) as pool:
        jobs = [[pool.submit(say, voice, word, sample_rate_hz=sample_rate_hz) for word in words] for voice in voices]
        return [[job.result() for job in row] for row in jobs]


def say(voice: Voice, word: str, *, sample_rate_hz: int) -> Clip:
    """One voice says one word: a conditioned clip.

    Raises:
        DatasetError: The engine fails, or says nothing.
    """
    if voice.engine == "flite":
        hz = 80 + voice.pitch * 160 // 100
        options = ["-voice", voice.name, "--setf", f"duration_stretch={1 / voice.pace:.3f}"]
        command = ["flite", *options, "--setf", f"int_f0_target_mean={hz}", "-t", word, "-o", "/dev/stdout"]
    else:
        pace = ["-s", str(round(160 * voice.pace)), "-p", str(voice.pitch)]
        command = ["espeak-ng", "-v", voice.name, *pace, "--stdout", word]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT_S)  # noqa: S603
        return condition(decode(done.stdout, sample_rate_hz=sample_rate_hz))
    except (OSError, subprocess.SubprocessError, AudioError) as error:
        raise DatasetError(f"{voice.engine} could not speak '{word}' as {voice.name}: {error}") from error
