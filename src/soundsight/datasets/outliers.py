"""Sounds that are no spoken digit, made at training time, so that a model can learn to say so.

Other words in synthetic voices, moments of the digits themselves that are too short for a word, and what is no speech
at all (``non_speech``). How well a model then knows real sounds of other kinds is for an evaluation to say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from soundsight.audio import Clip, condition
from soundsight.datasets import non_speech, voices
from soundsight.errors import AudioError

__all__ = ["NEAR_WORDS", "WORDS", "moments", "sounds", "words"]

_TEXT = """
    yes no up down left right stop go on off cat dog bird house bed happy Marvin Sheila water bread hello goodbye please
    thanks music picture window table chair garden river mountain yellow purple green red apple banana orange lemon
    coffee sugar pepper morning evening winter summer Monday Friday August April mother father sister doctor teacher
    engine rocket paper pencil mirror number letter question answer run walk sleep open close listen speak follow never
    always maybe sunny rainy heavy little quickly the and with from what when where this that which because other people
    money hundred thousand million eleven twelve thirteen twenty thirty forty fifty sixty eighty ninety dozen double
    half quarter zebra fight night line wine late great door floor heaven hero
"""
_NEAR_TEXT = """
    arrow narrow pharaoh sparrow tomorrow echo zoo zip zigzag xylophone
    fun sun gun son bun wonder wall wash want win wing under young
    blue shoe new you who chew food tooth zoo crew few use moon move
    see key bee me knee throw thread thrill green street she ski sea read real tea
    door more store war core fall fold foam form horse foot floor
    live hive dive drive alive fire find fine file wife knife fight life
    sick sex mix fix tricks sit sing picks socks sacks sink kicks
    heaven lemon several second oven raven settle Kevin seldom
    wait gate hate date age ape aid ace plate straight great late
    wine line mine pine sign nice time shine name night noon
    ten tin tan pen hen men then tent zed
"""
WORDS = tuple(_TEXT.split())
"""Words that are no digit and do not sound like one; the last ones rhyme with digits or begin like them."""
NEAR_WORDS = tuple(dict.fromkeys(_NEAR_TEXT.split()))
"""Words that share a vowel, a beginning or an end with a digit, a line for each; none is one in some accent."""

# Syllables of words that nobody knows: a few hundred real words would be learned by heart.
_ONSETS = (
    *("b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "y", "z", "sh", "ch", "th"),
    *("bl", "br", "cl", "cr", "dr", "fl", "fr", "gl", "gr", "pl", "pr", "sk", "sl", "sm", "sn", "sp", "st", "tr", "sw"),
)
_VOWELS = ("a", "e", "i", "o", "u", "ee", "oo", "ai", "ou", "oy", "ar", "or", "er", "ea", "oa", "ie")
_CODAS = ("", "", "b", "d", "f", "g", "k", "l", "m", "n", "p", "s", "t", "sh", "ch", "th", "ng", "nd", "lk", "mp", "st")
_LIKE_DIGITS = re.compile(
    "z[ei]+r|w[uo]n|^t[uow]*o*$|^th?r(ee|ea|ie|i)$|^f(r?ee|o|or|oar|ou|er)|^fa?i[ev]|^[sz]i[ckg]|s[ei]v|^(ai|ei)?t$|^n[ai]+n"
)

_MOMENT_S = (0.03, 0.1)
_MOMENT_SHARE = 0.4
"""Longest moment of a word, as a share: more of a short word may be understood."""
_MAX_DRAWS = 20


def words(num: int, rng: np.random.Generator, *, sample_rate_hz: int) -> list[Clip]:
    """``num`` words, a third of them ``NEAR_WORDS`` and a third syllables, each by a voice of its own, conditioned.

    Raises:
        DatasetError: A speech synthesiser is not installed.
    """
    each = num // 3
    known = [*_evenly(NEAR_WORDS, each, rng), *_evenly(WORDS, num - 2 * each, rng)]
    chosen = rng.permutation(np.array([*known, *(_unheard(rng) for _ in range(each))]))
    speakers = voices.draw(num, rng)
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(voices.say, speaker, str(word), sample_rate_hz=sample_rate_hz)
            for speaker, word in zip(speakers, chosen, strict=True)
        ]
        return [job.result() for job in jobs]


def _evenly(words: Sequence[str], num: int, rng: np.random.Generator) -> list[str]:
    return [words[int(i)] for i in np.resize(rng.permutation(len(words)), num)]


def _unheard(rng: np.random.Generator) -> str:
    """A word of one to three syllables that is in no dictionary, and is spelled as no digit is."""
    while True:
        parts = [rng.choice(_ONSETS) + rng.choice(_VOWELS) for _ in range(int(rng.choice([1, 1, 1, 2, 2, 3])))]
        word = "".join([*parts, rng.choice(_CODAS)])
        if not _LIKE_DIGITS.search(word):
            return word


def sounds(num: int, rng: np.random.Generator, *, sample_rate_hz: int) -> list[Clip]:
    """``num`` sounds of 0.2 to 2 s that nobody speaks, of every kind in turn, conditioned."""
    made = []
    for i in range(num):
        length = int(sample_rate_hz * np.exp(rng.uniform(np.log(0.2), np.log(2))))
        samples_T = non_speech.draw(length, sample_rate_hz, rng, i)
        faint = 10 ** rng.uniform(-4, -2) * float(np.abs(samples_T).max())
        samples_T += faint * non_speech.coloured_noise(length, 1.0, rng)
        made.append(condition(Clip(samples_T.astype(np.float32), sample_rate_hz)))
    return made


def moments(num: int, spoken: Sequence[Clip], rng: np.random.Generator) -> list[Clip]:
    """``num`` cuts of 0.03 to 0.13 s from recordings of words: speech, and not enough of it; conditioned.

    Raises:
        AudioError: The recordings are silent.
    """
    return [_moment(spoken, rng) for _ in range(num)]


def _moment(spoken: Sequence[Clip], rng: np.random.Generator) -> Clip:
    for _ in range(_MAX_DRAWS):
        clip = spoken[int(rng.integers(len(spoken)))]
        longest = int(_MOMENT_SHARE * len(clip.samples))
        length = min(int(clip.sample_rate_hz * rng.uniform(*_MOMENT_S)), longest)
        start = int(rng.integers(len(clip.samples) - length + 1))
        try:
            return condition(Clip(clip.samples[start : start + length], clip.sample_rate_hz))
        except AudioError:  # a pause, or shorter than any sound may be
            continue
    raise AudioError(f"{_MAX_DRAWS} moments of the recordings were silent or too short")
