"""Which trainings the tables and figures of the 2021 paper need.

Żelaszczyk & Mańdziuk, *Audio-to-Image Cross-Modal Generation*, 2021: Tables 4 and 5, Figures 3 to 8. Every row is
wanted twice, with the paper's random split and with one speaker left out, and beside each the baseline ``archetype``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from soundsight.config import Recipe, load_recipe
from soundsight.errors import SoundsightError, UnknownNameError
from soundsight.registry import unknown

__all__ = ["ALPHAS", "ITEMS", "PAIRINGS", "Pairing", "Run", "Selection", "plan", "select", "shortest"]

Pairing = Literal["many-to-one", "one-to-one", "one-to-one-scd"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
"""MNIST-FSDD as in the paper; one-to-one on FSDD, a stand-in for those without Speech Commands; and MNIST-SCD."""
ALPHAS = (0.2, 0.5, 1.0, 2.0)
"""Of Table 5."""
ITEMS = ("table4", "table5", "figure3", "figure4", "figure5", "figure6", "figure7", "figure8", "plane")
"""What can be asked for: the paper's, and the consistency-diversity plane."""
_MAX_SEEDS = 100
_OF_ALPHA = {"table5", "figure5", "figure6", "figure7", "figure8", "plane"}
"""Of these AIVAEGAN is a part."""

_OF_THE_RUN = {
    *("data.sounds", "data.images", "data.pairs", "data.pairing", "data.split", "data.target"),
    *("model.system", "model.alpha", "train.seed"),
}
_ONE_PAIRING: dict[str, tuple[Pairing, ...]] = {
    "figure5": ("many-to-one",),
    "figure6": ("one-to-one", "one-to-one-scd"),
}
"""Figures that are of one pairing alone."""

# What makes a run a quick look: fewer pairs and steps, and an average that fits them.
_QUICK = ["data.augment.copies=0", "data.augment.time_mask=0", "data.augment.frequency_mask=0"]
_QUICK_SYSTEM = {
    "archetype": ["data.max_pairs=6400", "train.epochs=2"],
    "aivae": ["data.max_pairs=19200", "train.epochs=2", "train.ema=0.95"],
    "aivaegan": ["data.max_pairs=5120", "train.epochs=1", "train.ema=0.9"],
}
# A thousand steps whatever the pairing: the baseline should be as good as it can be.
_ARCHETYPE_EPOCHS = {"many-to-one": 2, "one-to-one": 70, "one-to-one-scd": 6}
_NO_COPIES = [*_QUICK, "data.augment.tempo=0", "data.augment.time_warp=0"]
_QUICK_ONE_TO_ONE = {"archetype": "train.epochs=8", "aivae": "train.epochs=4", "aivaegan": "train.epochs=2"}


def shortest(alpha: float) -> str:
    """A number in as few digits as tell it from all others: ``2``, ``0.2``."""
    return f"{alpha:g}" if float(f"{alpha:g}") == alpha else repr(alpha)


@dataclass(frozen=True, slots=True)
class Run:
    """One training.

    Attributes:
        system: ``aivae``, ``aivaegan`` or the baseline ``archetype``.
        alpha: Weight of the reconstruction; None where the system has none.
        pairing: How recordings and pictures are paired, and from which data.
        split: ``random``, ``speaker:NAME`` or, for Speech Commands, ``official``, which has no speaker on both sides.
        seed: Of everything drawn.
        quick: A quick look and no result.
    """

    system: str
    alpha: float | None
    pairing: Pairing
    split: str
    seed: int
    quick: bool = False

    @property
    def name(self) -> str:
        """Name of its folder."""
        alpha = "" if self.alpha is None else f"-alpha-{shortest(self.alpha)}"
        return f"{self.system}{alpha}-{self.pairing}-{self.split.removeprefix('speaker:')}-s{self.seed}"

    @property
    def title(self) -> str:
        """Name in tables and figures."""
        names = {"aivae": "AIVAE", "aivaegan": "AIVAEGAN", "archetype": "archetype (baseline)"}
        return names[self.system] + ("" if self.alpha is None else f" α = {shortest(self.alpha)}")

    @property
    def kind(self) -> str:
        """What it has in common with the runs of other α, splits and seeds."""
        return f"{self.system}-{self.pairing}"

    def recipe(self, settings: Sequence[str] = ()) -> Recipe:
        """Its recipe, changed by ``KEY=VALUE`` settings of the user; those of the model do not touch the baseline.

        Raises:
            RecipeError: A setting that cannot be.
            SoundsightError: One of what the run itself is: all rows would be of the same run.
        """
        for setting in settings:
            if setting.partition("=")[0].strip() in _OF_THE_RUN:
                raise SoundsightError(f"--set {setting}: a reproduction sets this itself, for each of its runs")
        if self.system == "archetype":
            settings = [setting for setting in settings if not setting.startswith("model.")]
        one_to_one = self.pairing != "many-to-one"
        overrides = [f"data.split={self.split}", f"train.seed={self.seed}"]
        name = f"{self.system}-fsdd"
        if self.system == "archetype":
            sounds = "speech_commands" if self.pairing == "one-to-one-scd" else "fsdd"
            overrides += [f"data.sounds={sounds}", f"data.pairing={'one-to-one' if one_to_one else 'many-to-one'}"]
            overrides.append(f"train.epochs={_ARCHETYPE_EPOCHS[self.pairing]}")
            # As the systems beside it, which learn Speech Commands without changed copies.
            overrides += _NO_COPIES if self.pairing == "one-to-one-scd" else []
        elif one_to_one:
            name += "-one-to-one"
            name = f"{self.system}-speech-commands" if self.pairing == "one-to-one-scd" else name
        if self.alpha is not None:
            overrides.append(f"model.alpha={self.alpha}")
        if self.quick:
            overrides += [*_QUICK, *_QUICK_SYSTEM[self.system]]
            if self.pairing == "one-to-one" and self.system in _QUICK_ONE_TO_ONE:
                overrides.append(_QUICK_ONE_TO_ONE[self.system])
        return load_recipe(name, [*overrides, *settings])


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for.

    Attributes:
        items: Of ``ITEMS``.
        alphas: Of AIVAEGAN.
        pairings: Of ``PAIRINGS``.
        seeds: Of the random split.
        speakers: Of FSDD, each left out once, with the first seed; empty for the random split alone.
        quick: A quick look and no result.
    """

    items: tuple[str, ...]
    alphas: tuple[float, ...]
    pairings: tuple[Pairing, ...]
    seeds: tuple[int, ...]
    speakers: tuple[str, ...]
    quick: bool


def select(
    *,
    only: Iterable[str] = (),
    alphas: Iterable[float] = (),
    pairings: Iterable[str] = (),
    num_seeds: int | None = None,
    speakers: Iterable[str] = (),
    quick: bool = False,
) -> Selection:
    """Check and complete what a user asks for; what is left empty means everything that FSDD allows.

    Raises:
        UnknownNameError: No such table, figure or pairing.
        SoundsightError: An α below 0, or for items that have none; a number of seeds that is none, or of a quick look,
            which has one.
    """
    items, chosen = tuple(dict.fromkeys(only)), tuple(dict.fromkeys(pairings))
    for item in items:
        if item not in ITEMS:
            raise UnknownNameError(unknown("the tables and figures", item, list(ITEMS)))
    for pairing in chosen:
        if pairing not in PAIRINGS:
            raise UnknownNameError(unknown("pairings", pairing, list(PAIRINGS)))
    weights = tuple(sorted(set(alphas)))
    for alpha in weights:
        if not 0 <= alpha < float("inf"):
            raise SoundsightError(f"α weighs the reconstruction: expected a number from 0 up, not {alpha:g}")
    if weights and items and not set(items) & _OF_ALPHA:
        raise SoundsightError(f"α is AIVAEGAN's, and {', '.join(items)} is without it: leave --alpha out")
    if quick and num_seeds not in (None, 1):
        raise SoundsightError(f"a quick look has one seed, not {num_seeds}: leave --seeds or --quick out")
    num_seeds = 3 if num_seeds is None else num_seeds
    if not 1 <= num_seeds <= _MAX_SEEDS:
        raise SoundsightError(f"the number of seeds is 1 to {_MAX_SEEDS}, not {num_seeds}")
    for item in items:
        if chosen and not set(chosen) & set(_ONE_PAIRING.get(item, PAIRINGS)):
            raise SoundsightError(f"{item} shows {' or '.join(_ONE_PAIRING[item])}, not {', '.join(chosen)}")
    return Selection(
        items=items or ITEMS,
        alphas=weights or ((0.2, 2.0) if quick else ALPHAS),
        pairings=tuple(p for p in PAIRINGS if p in (chosen or PAIRINGS[:2])),
        seeds=tuple(range(1 if quick else num_seeds)),
        speakers=() if quick else tuple(speakers),
        quick=quick,
    )


def plan(selection: Selection) -> list[Run]:
    """The trainings that a selection needs, in an order in which early ones already say something.

    The random split of the first seed comes first, for every system, then the left-out speakers, then further seeds.
    """
    systems: list[tuple[str, float | None]] = []
    asked = set(selection.items)
    if asked & {"table4", "table5", "plane"}:
        systems.append(("archetype", None))
    if asked & {"table4", "figure3", "figure4", "figure8", "plane"}:
        systems.append(("aivae", None))
    if asked & _OF_ALPHA:
        systems += [("aivaegan", alpha) for alpha in selection.alphas]
    shown = {pairing for item in asked for pairing in _ONE_PAIRING.get(item, PAIRINGS)}
    first, *others = selection.seeds
    conditions = [("random", first)]
    if asked & {"table4", "table5", "plane"}:
        conditions += [(f"speaker:{name}", first) for name in selection.speakers]
        conditions += [("official", first)] if selection.speakers else []
        conditions += [("random", seed) for seed in others]
    return [
        Run(system, alpha, pairing, split, seed, selection.quick)
        for split, seed in conditions
        for pairing in selection.pairings
        if pairing in shown
        if split == "random" or (split == "official") == (pairing == "one-to-one-scd")
        for system, alpha in systems
    ]
