"""Reproduction: which runs a table needs, means and ranges, Figure 8 against its expectation, folders of others."""

from __future__ import annotations

import json
from dataclasses import asdict
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from soundsight.errors import RecipeError, SoundsightError, UnknownNameError
from soundsight.reproduction import folder, pictures, plots
from soundsight.reproduction.finding import finding
from soundsight.reproduction.plan import ALPHAS, ITEMS, Run, plan, select
from soundsight.reproduction.report import Figure, Report, render, write
from soundsight.reproduction.reproduce import reproduce
from soundsight.reproduction.results import METRICS, Result, result_of, rows
from soundsight.reproduction.zeroing import Curve, curve_of, zeroing

SPEAKERS = ("jackson", "nicolas", "theo", "yweweler")


def test_everything_needs_every_system_in_every_condition():
    runs = plan(select(speakers=SPEAKERS))
    systems = {("archetype", None), ("aivae", None), *(("aivaegan", alpha) for alpha in ALPHAS)}
    conditions = {("random", seed) for seed in range(3)} | {(f"speaker:{name}", 0) for name in SPEAKERS}
    wanted = {
        (*system, pairing, *condition)
        for system in systems
        for pairing in ("many-to-one", "one-to-one")
        for condition in conditions
    }
    assert {(r.system, r.alpha, r.pairing, r.split, r.seed) for r in runs} == wanted
    assert len({run.name for run in runs}) == len(runs) == len(wanted) == 84
    # What says most comes first.
    assert {(r.split, r.seed) for r in runs[:12]} == {("random", 0)}


@pytest.mark.parametrize(
    ("only", "systems", "conditions"),
    [
        (["table4"], {"archetype", "aivae"}, 7),
        (["table5"], {"archetype", "aivaegan"}, 7),
        (["figure3"], {"aivae"}, 1),
        (["figure7"], {"aivaegan"}, 1),
        (["figure8"], {"aivae", "aivaegan"}, 1),
        (["figure4", "plane"], {"archetype", "aivae", "aivaegan"}, 7),
    ],
)
def test_a_part_needs_no_more_than_it_shows(only, systems, conditions):
    runs = plan(select(only=only, speakers=SPEAKERS))
    assert {run.system for run in runs} == systems
    assert len({(run.split, run.seed) for run in runs}) == conditions


def test_a_figure_of_one_pairing_trains_that_alone():
    assert {run.pairing for run in plan(select(only=["figure5"]))} == {"many-to-one"}
    assert {run.pairing for run in plan(select(only=["figure6"]))} == {"one-to-one"}
    assert {run.pairing for run in plan(select(only=["figure5", "figure7"]))} == {"many-to-one", "one-to-one"}


def test_table_5_at_one_alpha():
    runs = plan(select(only=["table5"], alphas=[0.2], pairings=["many-to-one"], num_seeds=1))
    assert [run.name for run in runs] == ["archetype-many-to-one-random-s0", "aivaegan-alpha-0.2-many-to-one-random-s0"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"only": ["table6"]}, UnknownNameError, r"no 'table6' in the tables and figures \(did you mean 'table"),
        ({"pairings": ["many-to-many"]}, UnknownNameError, "no 'many-to-many' in pairings"),
        ({"alphas": [1.0, -0.5]}, SoundsightError, "from 0 up, not -0.5"),
        ({"alphas": [float("nan")]}, SoundsightError, "from 0 up, not nan"),
        ({"alphas": [float("inf")]}, SoundsightError, "from 0 up, not inf"),
        ({"num_seeds": 0}, SoundsightError, "1 to 100, not 0"),
        ({"num_seeds": 5, "quick": True}, SoundsightError, "a quick look has one seed, not 5"),
        (
            {"only": ["table4", "figure3"], "alphas": [1.0]},
            SoundsightError,
            "AIVAEGAN's, and table4, figure3 is without",
        ),
        (
            {"only": ["figure5"], "pairings": ["one-to-one"]},
            SoundsightError,
            "figure5 shows many-to-one, not one-to-one",
        ),
    ],
)
def test_what_cannot_be_asked_for(options, error, message):
    with pytest.raises(error, match=message):
        select(**options)


def test_speech_commands_are_taken_where_they_are_asked_for():
    runs = plan(select(only=["table4"], pairings=["one-to-one-scd"], speakers=SPEAKERS, num_seeds=2))
    assert [(run.system, run.split, run.seed) for run in runs] == [
        (system, split, seed)
        for split, seed in (("random", 0), ("official", 0), ("random", 1))
        for system in ("archetype", "aivae")
    ]
    for run in runs:
        recipe = run.recipe()
        assert (recipe.data.sounds, recipe.data.pairing) == ("speech_commands", "one-to-one")
    random, speakers = rows([result(run, 0.8) for run in runs], "aivae")
    assert (random.published.value, speakers.published) == (0.866, None)
    assert (random.scores["accuracy"].num_runs, speakers.split) == (2, "unseen speakers")


def test_a_run_is_the_papers_recipe_in_its_condition():
    recipe = Run("aivaegan", 0.5, "many-to-one", "speaker:theo", 3).recipe()
    assert recipe.model.options["alpha"] == 0.5
    assert (recipe.data.split, recipe.data.pairing, recipe.train.seed) == ("speaker:theo", "many-to-one", 3)
    assert recipe.train.batch_size == 128
    assert recipe.train.optimizer_of("discriminator").lr == recipe.train.optimizer_of("generator").lr == 2e-4
    assert recipe.data.max_pairs is None
    one = Run("aivae", None, "one-to-one", "random", 0).recipe(["train.epochs=7"])
    assert (one.name, one.data.pairing, one.train.epochs) == ("aivae-fsdd-one-to-one", "one-to-one", 7)
    with pytest.raises(RecipeError, match=r"unknown key 'train\.epoch'"):
        Run("aivae", None, "one-to-one", "random", 0).recipe(["train.epoch=7"])


def test_a_quick_look_trains_every_system_for_moments():
    runs = plan(select(quick=True, speakers=SPEAKERS))
    assert runs == plan(select(quick=True, speakers=SPEAKERS, num_seeds=1))
    assert {(run.system, run.pairing) for run in runs} == {
        (system, pairing) for system in ("archetype", "aivae", "aivaegan") for pairing in ("many-to-one", "one-to-one")
    }
    assert {(run.split, run.seed) for run in runs} == {("random", 0)}
    assert all((run.recipe().data.max_pairs or 10**9) <= 25_600 for run in runs)


def result(run: Run, accuracy: float, spread: float = 0.5) -> Result:
    beside = {"chance": 0.1, "nearest recording": 0.9, "real images": 0.99}
    scores = {
        "accuracy": accuracy,
        "recording_accuracy": accuracy,
        "diversity": spread,
        "feature_diversity": spread / 2,
    }
    return Result(run, scores, {name: dict(beside) for name in METRICS}, 0.015)


def test_evaluations_of_different_ages_are_read_alike():
    """Real training images are beside the scores of newer ones only, and no column of the tables."""
    score = {"value": 0.9, "baselines": [{"name": "chance", "value": 0.1}]}
    newer = {"value": 0.9, "baselines": [*score["baselines"], {"name": "real training images", "value": 1.0}]}
    run = Run("aivae", None, "many-to-one", "random", 0)
    old, new = (result_of(run, {"scores": dict.fromkeys(METRICS, table)}) for table in (score, newer))
    assert old == new
    assert set(new.baselines["accuracy"]) == {"chance"}


def test_rows_are_means_with_their_range_and_the_matching_baseline():
    results = [
        *(result(Run("aivae", None, "many-to-one", "random", seed), 0.9 + seed / 100) for seed in range(3)),
        *(result(Run("aivae", None, "many-to-one", f"speaker:{name}", 0), 0.1 * i) for i, name in enumerate(SPEAKERS)),
        *(result(Run("archetype", None, "many-to-one", "random", seed), 0.5 + seed / 10) for seed in range(2)),
        result(Run("archetype", None, "one-to-one", "random", 0), 0.0),
        result(Run("archetype", None, "many-to-one", "speaker:theo", 0), 0.3),
        result(Run("aivae", None, "one-to-one", "random", 0), 0.8),
    ]
    random, speakers, one = rows(results, "aivae")
    value = random.scores["accuracy"]
    assert (value.mean, value.low, value.high, value.num_runs) == pytest.approx((0.91, 0.90, 0.92, 3))
    assert random.baselines["accuracy"]["archetype"] == pytest.approx(0.55)
    assert random.baselines["accuracy"]["nearest recording"] == pytest.approx(0.9)
    assert (speakers.split, speakers.scores["accuracy"].mean) == ("unseen speakers", pytest.approx(0.15))
    assert speakers.baselines["accuracy"]["archetype"] == pytest.approx(0.3)
    assert (one.pairing, one.scores["accuracy"].num_runs, one.baselines["accuracy"]["archetype"]) == (
        "one-to-one",
        1,
        0,
    )


def test_published_numbers_stand_where_they_were_measured():
    """Tables 4 and 5, from the paper; by speaker nothing was published, and one-to-one on other data."""
    runs = [
        Run("aivae", None, pairing, split, 0)
        for pairing in ("many-to-one", "one-to-one")
        for split in ("random", "speaker:theo")
    ]
    random, speakers, one, one_speakers = rows([result(run, 0.5) for run in runs], "aivae")
    assert random.published.value == 0.942
    assert random.published_elsewhere is None
    assert speakers.published is speakers.published_elsewhere is None
    assert one.published is None
    assert one.published_elsewhere.value == 0.866
    assert one_speakers.published is None
    by_alpha = rows(
        [result(Run("aivaegan", a, "many-to-one", "random", 0), 0.5) for a in (2.0, 0.2, 1.0, 0.5)], "aivaegan"
    )
    assert [(row.alpha, row.published.value) for row in by_alpha] == [
        (0.2, 0.81),
        (0.5, 0.805),
        (1.0, 0.93),
        (2.0, 0.943),
    ]


def by_alpha(*columns: tuple[str, int, tuple[float, ...]]) -> list[Result]:
    """Accuracies over α of runs given by split and seed; diversity falls where accuracy rises."""
    return [
        result(Run("aivaegan", alpha, "many-to-one", split, seed), accuracy, 1 - accuracy)
        for split, seed, accuracies in columns
        for alpha, accuracy in zip(ALPHAS, accuracies, strict=False)
    ]


RISING = (0.5, 0.7, 0.6, 0.8)


def test_the_finding_is_a_direction_that_every_run_takes():
    found = finding(by_alpha(*(("random", seed, RISING) for seed in range(3))))
    assert found == [
        "Accuracy at α = 0.2, 0.5, 1, 2 (many-to-one, random, 3 runs each): 50.0 %, 70.0 %, 60.0 %, 80.0 %; published "
        "81.0 %, 80.5 %, 93.0 %, 94.3 %. From the lowest to the highest it rises in every run, as published; 3 of 9 "
        "steps between neighbours do not.",
        "Diversity in pixels at α = 0.2, 0.5, 1, 2 (many-to-one, random, 3 runs each): 0.50, 0.30, 0.40, 0.20. "
        "From the lowest to the highest it falls in every run, as the paper shows it; 3 of 9 steps between neighbours "
        "do not.",
        "Diversity in features at α = 0.2, 0.5, 1, 2 (many-to-one, random, 3 runs each): 0.25, 0.15, 0.20, 0.10. "
        "From the lowest to the highest it falls in every run, as the paper shows it; 3 of 9 steps between neighbours "
        "do not.",
    ]
    steady = finding(by_alpha(*(("random", seed, tuple(sorted(RISING))) for seed in range(3))))
    assert steady[0].endswith("it rises in every run, as published.")
    falling = finding(by_alpha(*(("random", seed, RISING[::-1]) for seed in range(3))))
    assert all("in every run, not as" in sentence for sentence in falling)


def test_of_few_runs_or_of_runs_that_disagree_there_is_no_finding():
    for columns, verdict in (
        ([("random", 0, RISING), ("random", 1, RISING)], "Too few runs to tell"),
        ([("random", 0, RISING), ("random", 1, RISING), ("random", 2, RISING[::-1])], "Too close to tell"),
        ([("random", seed, (0.9, 0.9, 0.9, 0.9)) for seed in range(3)], "Too close to tell"),
    ):
        found = finding(by_alpha(*columns))
        assert len(found) == 3
        assert all(verdict in sentence for sentence in found)
    assert finding(by_alpha(*(("random", seed, RISING[:2]) for seed in range(3)))) == [], "two points are no trend"


def test_only_runs_that_every_alpha_has_are_compared():
    """Speakers differ by more than α does: one more of them for one α would make a trend of nothing."""
    level = {"theo": 0.9, "lucas": 0.6, "george": 0.3}
    same = [(f"speaker:{name}", 0, (value,) * 4) for name, value in level.items()]
    results = by_alpha(*same)
    assert "60.0 %, 60.0 %, 60.0 %, 60.0 %" in finding(results)[0]
    lacking = [r for r in results if (r.run.split, r.run.alpha) != ("speaker:george", 2.0)]
    sentence = finding(lacking)[0]
    assert "unseen speakers, 2 runs each): 75.0 %, 75.0 %, 75.0 %, 75.0 %. Too few" in sentence
    assert "published" not in sentence, "the paper has no speakers that were not heard"


def test_a_mean_counts_the_runs_that_it_is_of():
    results = [result(Run("aivae", None, "many-to-one", "random", seed), 0.9, 0.5) for seed in range(3)]
    results[1].scores["diversity"] = float("nan")
    del results[2].baselines["diversity"]["chance"]
    (row,) = rows(results, "aivae")
    assert (row.scores["accuracy"].num_runs, row.scores["diversity"].num_runs) == (3, 2)
    assert set(row.baselines["diversity"]) == {"nearest recording", "real images"}, "what every run has"


def test_alphas_that_differ_have_names_that_differ():
    names = [Run("aivaegan", alpha, "many-to-one", "random", 0).name for alpha in (2.0, 0.2, 0.20000001)]
    assert names == [f"aivaegan-alpha-{alpha}-many-to-one-random-s0" for alpha in ("2", "0.2", "0.20000001")]


@pytest.mark.parametrize(
    "change",
    [{"mean": [0.9]}, {"low": [0.8, 1.3]}, {"high": ["x", 1]}, {"mean": None}, {"num_draws": "many"}, {"low": [-1, 0]}],
)
def test_a_curve_that_is_none_is_refused(change):
    table = asdict(Curve((0, 8), (0.9, 0.4), (0.8, 0.3), (1.0, 0.5), 20, 200))
    assert curve_of(table) == Curve((0, 8), (0.9, 0.4), (0.8, 0.3), (1.0, 0.5), 20, 200)
    with pytest.raises((KeyError, TypeError, ValueError)):
        curve_of(table | change)


def test_what_could_not_be_computed_is_left_out():
    results = by_alpha(*(("random", seed, RISING) for seed in range(4)))
    results[0].scores["diversity"] = float("nan")
    assert ["4 runs" in finding(results)[0], "3 runs" in finding(results)[1]] == [True, True]


class FirstElement(nn.Module):
    """A picture that is right where the first element of the latent is not 0."""

    latent_size = 8

    def encoder(self, features_BFN: Tensor) -> tuple[Tensor, Tensor]:
        return torch.ones(len(features_BFN), 8), torch.full((len(features_BFN), 8), -100.0)

    def decoder(self, latent_BD: Tensor) -> Tensor:
        return torch.where(latent_BD[:, :1] != 0, 50.0, -50.0)[:, :, None, None].expand(-1, 1, 2, 2)


def judge(images_BCHW: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Reads 1 in a white picture, 0 in a black one."""
    share = images_BCHW.mean(axis=(1, 2, 3)) / 255
    return np.stack([1 - share, share], axis=1).astype(np.float32), np.zeros((len(images_BCHW), 1), np.float32)


def test_the_first_element_survives_as_often_as_chance_has_it():
    """With only one element that matters, accuracy is 1 - k / D, in every draw all or nothing."""
    features, labels = np.zeros((5, 48, 48), np.float32), np.ones(5, np.int64)
    curve = zeroing(FirstElement(), judge, features, labels, num_zeroed=range(9), num_draws=400, seed=0)
    assert (curve.mean[0], curve.mean[-1]) == (1.0, 0.0)
    for k, mean in zip(curve.num_zeroed, curve.mean, strict=True):
        deviation = np.sqrt((k / 8) * (1 - k / 8) / 400)
        assert abs(mean - (1 - k / 8)) <= 4 * deviation
    assert curve.low[4] == 0
    assert curve.high[4] == 1
    assert (curve.num_draws, curve.num_pictures) == (400, 5)


def test_figure_8_depends_on_its_seed_alone_and_survives_json():
    features, labels = np.zeros((2, 48, 48), np.float32), np.ones(2, np.int64)
    first, again, other = (
        zeroing(FirstElement(), judge, features, labels, num_zeroed=[2, 5], num_draws=30, seed=seed)
        for seed in (1, 1, 2)
    )
    assert first == again != other
    assert curve_of(json.loads(json.dumps(report(curves={"x": first}).to_json()["figure8"]["x"]))) == first


def test_a_sheet_shows_what_was_made_beside_what_is_real():
    made = np.arange(16, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3)
    sheet = pictures.side_by_side(made, 100 + made)[::2, ::2, 0]
    values = [[int(sheet[3 + 5 * row, 3 + 5 * column]) for column in range(17)] for row in range(2)]
    assert values == [[*range(8), 255, *range(100, 108)], [*range(8, 16), 255, *range(108, 116)]]


def report(**changes: Any) -> Report:
    runs = [Run("aivaegan", alpha, "many-to-one", "random", 0) for alpha in ALPHAS]
    results = [result(run, accuracy) for run, accuracy in zip(runs, (0.5, 0.6, 0.7, 0.8), strict=True)]
    usual: dict[str, Any] = {
        "items": ITEMS,
        "results": tuple(results),
        "curves": {"a run": Curve((0, 8), (0.9, 0.4), (0.8, 0.3), (1.0, 0.5), 20, 200)},
        "figures": (
            Figure("plane", "A <plane>", 'points & "marks"', plots.plane(rows(results, "aivaegan"), "diversity", "x")),
        ),
        "missing": (),
        "trained": {runs[0].name: {"seconds": 60.0, "steps": 10, "machine": "x86_64"}},
        "quick": False,
        "command": "soundsight reproduce aivae-2021 --out 'a & b'",
    }
    return Report(**usual | changes)


class Page(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"img", "meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_holds_everything_and_asks_for_nothing():
    page = Page(render(report()))
    assert not page.open, "every element is closed"
    for tag, attributes in page.tags:
        assert tag not in {"script", "link", "iframe"}
        assert not {"href", "onload", "onerror"} & set(attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/png;base64,")
            assert attributes["alt"] == "A <plane>", "the description follows as its caption"
    text = " ".join(page.words)
    for expected in (
        "94.3 %",
        "80.0 % ± 1.5 (1 seed) *",
        "A <plane>",
        "'a & b'",
        "Too few runs to tell",
        "Figure 8 in numbers",
        'points & "marks"',
        "archetype, the mean picture of the digit that a classifier hears",
    ):
        assert expected in text
    assert "not finished" not in text
    assert sum(tag == "table" for tag, _ in page.tags) == sum(tag == "caption" for tag, _ in page.tags) > 1


def test_a_quick_look_and_missing_runs_are_said_first():
    text = " ".join(Page(render(report(quick=True, missing=("a", "b")))).words)
    assert "Nothing here is a result" in text
    assert "2 trainings are not finished" in text


def test_a_row_that_is_reached_without_the_system_is_marked():
    above, below = (rows([result(Run("aivae", None, "many-to-one", "random", 0), v)], "aivae")[0] for v in (0.95, 0.85))
    assert above.reached_by == ()
    assert below.reached_by == ("nearest recording",), "real images are a ceiling, not a rival"


def test_what_could_not_be_computed_is_a_dash_and_null(tmp_path):
    run = Run("aivaegan", 2.0, "many-to-one", "random", 0)
    unknown = result_of(run, {"scores": {name: {"value": None, "baselines": []} for name in METRICS}})
    written = write(report(results=(unknown,), figures=()), tmp_path)
    assert json.loads(written[1].read_text())["tables"]["table5"][0]["scores"]["diversity"]["mean"] is None
    assert "nan" not in written[0].read_text()
    assert plots.plane(rows([unknown], "aivaegan"), "diversity", "x").startswith(b"\x89PNG")


def test_pictures_of_an_earlier_report_are_taken_away(tmp_path):
    write(report(), tmp_path)
    (tmp_path / "figures" / "figure9.png").write_bytes(b"old")
    write(report(), tmp_path)
    assert [path.name for path in (tmp_path / "figures").iterdir()] == ["plane.png"]


def test_a_run_says_itself_what_it_is():
    run = Run("aivaegan", 2.0, "many-to-one", "random", 0)
    for setting in (
        "train.seed=7",
        "data.split=official",
        "data.pairing=one-to-one",
        "model.alpha=1",
        " data.sounds =x",
    ):
        with pytest.raises(SoundsightError, match="sets this itself"):
            run.recipe([setting])


def test_the_baseline_learns_as_long_whatever_the_pairing():
    pairs = {"many-to-one": 60_000, "one-to-one": 1_800, "one-to-one-scd": 21_160}
    for pairing, num in pairs.items():
        recipe = Run("archetype", None, pairing, "random", 0).recipe()
        assert 900 <= recipe.train.epochs * -(-num // recipe.train.batch_size) <= 1100
        beside = Run("aivae", None, pairing, "random", 0).recipe()
        assert recipe.data.augment == beside.data.augment


def test_what_is_written_can_be_read_by_programs(tmp_path):
    paths = write(report(), tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == ["report.html", "report.json", "figures/plane.png"]
    table = json.loads(paths[1].read_text())
    assert [row["scores"]["accuracy"]["mean"] for row in table["tables"]["table5"]] == [0.5, 0.6, 0.7, 0.8]
    assert table["tables"]["table4"] == []
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_a_result_comes_from_an_evaluation():
    scores = {name: {"value": 0.5, "baselines": [{"name": "chance", "value": 0.1}]} for name in METRICS}
    found = result_of(Run("aivae", None, "many-to-one", "random", 0), {"scores": scores})
    assert found.scores == dict.fromkeys(METRICS, 0.5)
    assert found.baselines["accuracy"] == {"chance": 0.1}
    with pytest.raises(KeyError):
        result_of(found.run, {"scores": {}})


def test_a_folder_is_claimed_once_and_found_again(tmp_path):
    folder.claim(tmp_path / "out", quick=False, settings=["b=1", "a=2"])
    folder.claim(tmp_path / "out", quick=False, settings=["a=2", "b=1"])
    (tmp_path / "empty").mkdir()
    folder.claim(tmp_path / "empty", quick=True, settings=[])


@pytest.mark.parametrize(
    ("note", "message"),
    [
        (
            {"format_version": 2, "paper": "aivae-2021", "quick": False, "settings": []},
            "in format 2, this version writes 1",
        ),
        ({"format_version": 1, "paper": "another"}, "not of 'aivae-2021'"),
        ({"format_version": 1, "paper": "aivae-2021", "quick": True, "settings": []}, "holds a quick look"),
        ({"format_version": 1, "paper": "aivae-2021", "quick": False, "settings": ["a=1"]}, "other settings"),
        ([1], "is damaged"),
        (None, "is damaged"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, note: Any, message: str):
    path = tmp_path / "reproduction.json"
    path.write_text("{half" if note is None else json.dumps(note))
    before = path.read_bytes()
    with pytest.raises(SoundsightError, match=message) as caught:
        folder.claim(tmp_path, quick=False, settings=[])
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(SoundsightError, match="holds other files"):
        folder.claim(tmp_path, quick=False, settings=[])
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_quick_look_is_named_before_its_models_are_looked_at(tmp_path):
    """Their recipes differ from those of results, and «another training» would say nothing of why."""
    folder.claim(tmp_path, quick=True, settings=[])
    for run in plan(select(num_seeds=1)):
        (tmp_path / "models" / run.name).mkdir(parents=True)
        (tmp_path / "models" / run.name / "config.json").write_text("{}")
    with pytest.raises(SoundsightError, match="holds a quick look; choose another --out"):
        reproduce(tmp_path, num_seeds=1, speakers=False, root=tmp_path)
