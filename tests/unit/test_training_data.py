"""Training data: no leak, equal labels, and draws that depend on the seed and the step alone."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from sample_data import write_cifar10, write_esc50, write_speech_commands
from soundsight.audio import Clip
from soundsight.config import load_recipe
from soundsight.datasets import esc50, fsdd, outliers, selection, speech_commands, voices
from soundsight.datasets.splits import make_split
from soundsight.errors import DatasetError, RecipeError, UnknownNameError
from soundsight.features import logmel
from soundsight.metrics.calibration import temperature
from soundsight.training.data import TrainingData, check_shapes, stream
from soundsight.training.loading import load_calibration_data, load_training_data
from soundsight.training.system import build_system
from soundsight.training.trainer import train
from soundsight.training.weights import load_system
from training_sets import recipe_for, small_root

SPLITS = ["random", "official", "speaker:theo", "speaker:jackson"]


@pytest.fixture(scope="module")
def root(data_root, tmp_path_factory) -> Path:
    return small_root(tmp_path_factory.mktemp("data"), data_root, num_images=200, repetitions=range(12))


def load(root: Path, **tables) -> TrainingData:
    return load_training_data(recipe_for("cvae", **tables), latent_size=3, root=root)


def nearest(one_XFN: np.ndarray, other_YFN: np.ndarray) -> np.ndarray:
    """(X,) Euclidean distance of each of one to the nearest of the other; a batch moves features by 1e-6."""
    one, other = (x.reshape(len(x), -1).astype(np.float64) for x in (one_XFN, other_YFN))
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    return np.sqrt(np.maximum(squares, 0).min(axis=1))


def fingerprints(features_XFN: np.ndarray) -> list[str]:
    return [hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest() for x in features_XFN]


@pytest.mark.parametrize("split", SPLITS)
def test_no_test_recording_is_among_the_training_features(data_root, root, tmp_path, split):
    """All of FSDD, by content: neither the files nor what the model reads of them is on both sides."""
    whole = tmp_path / "data"
    whole.mkdir()
    (whole / "mnist").symlink_to(root / "mnist")
    (whole / "fsdd").symlink_to(data_root / "fsdd")
    data = load(whole, data={"split": split}, train={"seed": 5})
    sounds = fsdd.load(data_root / "fsdd")
    rows = make_split(sounds, split, seed=5)
    assert len(rows.train) + len(rows.test) == 2000

    files = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sounds.paths]
    assert not {files[row] for row in rows.train} & {files[row] for row in rows.test}

    trained_on = data.features_RKFN.flatten(0, 1).numpy()
    assert len(trained_on) == len(rows.train)
    test_features, some = (
        logmel.extract(sounds.load(part, sample_rate_hz=8000), logmel.Config())
        for part in (rows.test, rows.train[::50])
    )
    assert nearest(test_features, trained_on).min() > 0.5
    assert nearest(some, trained_on).max() < 1e-3, "the comparison would see a leak"


@pytest.mark.parametrize("split", SPLITS)
def test_test_recordings_are_not_even_read(root, tmp_path, split):
    """Whatever is done to the recordings (copies, voices): they cannot leak if they are unreadable."""
    sounds = fsdd.load(root / "fsdd")
    rows = make_split(sounds, split, seed=3)
    ruined = tmp_path / "data"
    (ruined / "fsdd").mkdir(parents=True)
    (ruined / "mnist").symlink_to(root / "mnist")
    for row, path in enumerate(sounds.paths):
        if row in rows.test:
            (ruined / "fsdd" / path.name).write_bytes(b"not for training")
        else:
            (ruined / "fsdd" / path.name).symlink_to(path.resolve())
    tables = {
        "data": {"split": split, "augment": {"copies": 2, "tempo": 0.1, "noise_snr_db": [5, 20]}},
        "train": {"seed": 3},
    }
    assert torch.equal(load(ruined, **tables).features_RKFN, load(root, **tables).features_RKFN)
    needed = ruined / "fsdd" / sounds.paths[rows.train[0]].name
    needed.unlink()
    needed.write_bytes(b"needed for training")
    with pytest.raises(DatasetError, match=needed.name):
        load(ruined, **tables)


@pytest.mark.parametrize("pairing", ["many-to-one", "one-to-one"])
@pytest.mark.parametrize("split", ["random", "speaker:nicolas"])
def test_pairs_are_of_one_label(root, pairing, split):
    data = load(root, data={"split": split, "pairing": pairing}, train={"seed": 2})
    sounds = fsdd.load(root / "fsdd")
    labels_R = sounds.labels[make_split(sounds, split, seed=2).train]
    assert data.features_RKFN.shape[0] == len(labels_R)
    np.testing.assert_array_equal(labels_R[data.sounds_P], data.labels_N[data.images_P].numpy())
    assert len(set(data.images_P.tolist())) == len(data), "no image twice"
    if pairing == "many-to-one":
        assert len(data) == 200
    else:
        assert len(set(data.sounds_P.tolist())) == len(data), "no recording twice"


def test_each_row_of_features_is_its_recording(root):
    data = load(root)
    sounds = fsdd.load(root / "fsdd")
    train = make_split(sounds, "official", seed=0).train
    for row in (0, 17, len(train) - 1):
        (wanted,) = logmel.extract(sounds.load([train[row]], sample_rate_hz=8000), logmel.Config())
        np.testing.assert_allclose(data.features_RKFN[row, 0].numpy(), wanted, atol=1e-5)


def test_synthetic_voices_come_behind_the_recordings_with_their_labels(root, monkeypatch):
    rng = np.random.default_rng(0)
    spoken = [[Clip(rng.normal(0, 0.1, 4000).astype(np.float32), 8000) for _ in range(10)] for _ in range(2)]
    monkeypatch.setattr(voices, "draw", lambda num, rng: [None] * num)
    monkeypatch.setattr(voices, "speak", lambda speakers, words, sample_rate_hz: spoken)
    data, plain = load(root, data={"voices": 2}), load(root)
    num = len(plain.features_RKFN)
    assert len(data.features_RKFN) == num + 20
    torch.testing.assert_close(data.features_RKFN[:num], plain.features_RKFN)
    wanted = logmel.extract([clip for row in spoken for clip in row], logmel.Config())
    np.testing.assert_allclose(data.features_RKFN[num:, 0].numpy(), wanted, atol=1e-5)
    synthetic = data.sounds_P >= num
    assert synthetic.any()
    np.testing.assert_array_equal(
        ((data.sounds_P - num) % 10)[synthetic], data.labels_N[data.images_P][synthetic], "words in order of the digits"
    )
    assert data.facts["synthetic_recordings"] == 20
    assert data.facts["train_recordings"] == num


def test_an_epoch_is_a_permutation_of_its_own(root):
    data = load(root)
    orders = [data.order(epoch) for epoch in range(5)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(len(data)))
    assert len({tuple(order.tolist()) for order in orders}) == 5
    assert torch.equal(data.order(3), orders[3]), "whatever was asked for before"
    assert not torch.equal(load(root, train={"seed": 1}).order(3), orders[3])


AUGMENT = {"copies": 3, "tempo": 0.1, "time_mask": 0.3, "frequency_mask": 0.3}


def test_a_batch_depends_on_the_seed_and_the_step_alone(root):
    rows = torch.arange(40)
    data = load(root, data={"augment": AUGMENT})
    first = data.batch(rows, 7)
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002 - the global generators must not matter
    for step in (0, 3, 8):
        data.batch(rows, step)
    again = load(root, data={"augment": AUGMENT}).batch(rows, 7)
    for name in ("image", "label", "features", "noise"):
        assert torch.equal(first[name], again[name]), name
    later, other = data.batch(rows, 8), load(root, data={"augment": AUGMENT}, train={"seed": 1}).batch(rows, 7)
    for name in ("features", "noise"):
        assert not torch.equal(first[name], later[name]), name
        assert not torch.equal(first[name], other[name]), name


def test_a_batch_holds_what_its_pairs_are(root):
    data = load(root)
    rows = torch.tensor([5, 0, 199])
    batch = data.batch(rows, 0)
    assert batch["image"].dtype == torch.float32
    torch.testing.assert_close(batch["image"] * 255, data.images_NCHW[data.images_P[rows]].float())
    assert torch.equal(batch["label"], data.labels_N[data.images_P[rows]])
    assert torch.equal(batch["features"], data.features_RKFN[data.sounds_P[rows], 0])
    noise = torch.cat([data.batch(torch.arange(200), step)["noise"] for step in range(20)]).numpy()
    assert noise.shape == (4000, 3)
    np.testing.assert_allclose(noise.mean(0), 0, atol=0.08)
    np.testing.assert_allclose(noise.std(0), 1, atol=0.05)
    np.testing.assert_allclose(np.corrcoef(noise.T), np.eye(3), atol=0.08)


def test_all_versions_of_a_recording_are_drawn(root):
    data = load(root, data={"augment": {"copies": 4, "tempo": 0.2}})
    versions = fingerprints(data.features_RKFN[data.sounds_P[0]].numpy())
    assert len(set(versions)) == 4
    drawn = Counter(fingerprints(data.batch(torch.zeros(400, dtype=torch.long), 0)["features"].numpy()))
    assert set(drawn) == set(versions)
    assert min(drawn.values()) > 60


@pytest.mark.parametrize(("option", "axis"), [("frequency_mask", 2), ("time_mask", 1)])
def test_a_mask_hides_one_stretch_no_wider_than_its_share(root, option, axis):
    plain, masked = load(root), load(root, data={"augment": {option: 0.25}})
    rows = torch.arange(200)
    before, after = plain.batch(rows, 0)["features"], masked.batch(rows, 0)["features"]
    # Axis 1 runs over bins, axis 2 over frames: look at what a mask over the first of them leaves.
    changed = (before != after).any(dim=axis)
    widths = []
    for item in range(len(rows)):
        places = torch.nonzero(changed[item])[:, 0].tolist()
        if not places:
            widths.append(0)
            continue
        first, last = places[0], places[-1]
        widths.append(last - first + 1)
        stretch = after[item].movedim(2 - axis, 0)[first : last + 1]
        assert float(stretch.abs().max()) == 0, "one stretch, hidden whole"
    assert max(widths) <= 0.25 * 48 + 1
    assert max(widths) > 8
    assert min(widths) <= 2


def test_a_stream_is_known_by_all_its_arguments():
    draws = {
        (seed, purpose, index): stream(seed, purpose, index).random(4).tobytes()
        for seed in (0, 1, 2**31)
        for purpose in ("order", "batch", "pairing", "dropout", "augment", "voices", "samples")
        for index in (0, 1, 1000)
    }
    assert len(set(draws.values())) == len(draws)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"data": {"images": "fsdd"}}, "'data.images': fsdd is a data set of sounds; known here: cifar10, mnist"),
        ({"data": {"sounds": "mnist"}}, "'data.sounds': mnist is a data set of images; known here: esc50, fsdd"),
        ({"features": {"name": "logmel", "bands": 3}}, "unknown key 'features.bands' in the recipe; known here: name,"),
        ({"features": {"name": 5}}, "'features.name'"),
        ({"features": {"bins": "many"}}, "'features': bins must be a whole number"),
        ({"features": {"high_hz": 9000.0}}, "'features': the band must lie within"),
    ],
)
def test_what_does_not_fit_is_refused(root, tables, message):
    with pytest.raises(RecipeError) as caught:
        load(root, **tables)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "tables", [{"data": {"images": "mnits"}}, {"data": {"sounds": "fsd"}}, {"features": {"name": "x"}}]
)
def test_unknown_names_are_refused(root, tables):
    with pytest.raises(UnknownNameError):
        load(root, **tables)


def test_absent_data_say_how_to_get_them(tmp_path):
    with pytest.raises(DatasetError, match="soundsight datasets prepare mnist"):
        load(tmp_path)


@pytest.mark.parametrize("pairing", ["many-to-one", "one-to-one"])
def test_a_quick_look_takes_a_few_pairs_evenly(root, pairing):
    whole = load(root, data={"pairing": pairing})
    some = load(root, data={"pairing": pairing, "max_pairs": 7})
    assert len(some) == some.facts["pairs"] == 7
    places = [i * len(whole) // 7 for i in range(7)]
    assert torch.equal(some.sounds_P, whole.sounds_P[places])
    assert torch.equal(some.images_P, whole.images_P[places])
    assert load(root, data={"max_pairs": 10_000}).facts["pairs"] == len(load(root))


def test_a_few_pairs_are_of_all_classes_where_images_come_class_by_class(tmp_path):
    """The first thousand pictures of CIFAR-10 in this order are airplanes."""
    write_cifar10(tmp_path / "cifar10")
    write_esc50(tmp_path / "esc50", esc50.INFO.classes, folds=(1, 2))
    joined = {
        "cat": {"sounds": ["cat"], "images": ["cat"]},
        "dog": {"sounds": ["dog"], "images": ["dog"]},
        "frog": {"sounds": ["frog"], "images": ["frog"]},
    }
    tables = {"sounds": "esc50", "images": "cifar10", "classes": joined, "split": "fold:2", "max_pairs": 7}
    for data in (load(tmp_path, data=tables), load(tmp_path, data=tables | {"sounds": None, "split": "random"})):
        labels = data.labels_N[data.images_P].tolist()
        assert len(labels) == 7
        assert {labels.count(label) for label in range(3)} <= {2, 3}


JOINED = {name: {"sounds": [name], "images": [name]} for name in ("cat", "dog", "frog")}


@pytest.mark.parametrize("split", ["clip", "fold:2"])
def test_sounds_of_other_classes_are_named_and_none_of_them_is_beside_a_test(tmp_path, split):
    """A recording of rain may be cut out of the same minute as the frog that tests."""
    write_cifar10(tmp_path / "cifar10")
    write_esc50(tmp_path / "esc50", esc50.INFO.classes, folds=(1, 2))
    audio, table = tmp_path / "esc50" / "audio", tmp_path / "esc50" / "meta" / "esc50.csv"
    lines = table.read_text().splitlines()
    frog, rain = (esc50.INFO.classes.index(name) for name in ("frog", "rain"))
    for i, line in enumerate(lines):
        name, *rest = line.split(",")
        if name.startswith("1-") and int(rest[1]) == rain:  # All of fold 1 lie in clips of frogs.
            clip, take = name.split("-")[1:3]
            other = f"1-{int(clip) - 10 * (rain - frog)}-{'DEF'['ABC'.index(take)]}-{rain}.wav"
            (audio / name).rename(audio / other)
            lines[i] = ",".join([other, *rest])
    table.write_text("\n".join(lines) + "\n")
    chosen = {"sounds": "esc50", "images": "cifar10", "classes": JOINED, "split": split, "augment": {"copies": 2}}
    data = load(tmp_path, data=chosen | {"others": True})
    recipe = recipe_for("cvae", data=chosen)
    sounds = selection.sounds_of(recipe.data, tmp_path)
    tests = make_split(sounds, split, seed=0).test
    held = {sounds.source_clips[row] for row in tests}
    others = selection.others_of(recipe.data, tmp_path)
    assert len(others) == 47 * 16
    kept = [
        row
        for row in range(len(others))
        if others.source_clips[row] not in held and not (split == "fold:2" and others.folds[row] == 2)
    ]
    assert 0 < len(kept) < len(others)
    assert any(others.source_clips[row] in held for row in range(len(others))) == (split == "clip")
    assert data.outliers_OKFN.shape[:2] == (len(kept), 2)
    assert data.outlier_labels_O.tolist() == others.labels[kept].tolist()
    assert data.facts["other_recordings"] == len(kept)
    assert sorted(set(others.labels.tolist())) == list(range(47))
    # A batch names each by the label of the row that it was taken from.
    batch = data.batch(torch.arange(8), 3)
    assert batch["outliers"].shape == (2, 48, 48)
    for features_FN, label in zip(batch["outliers"], batch["outlier_labels"].tolist(), strict=True):
        (row,) = {int(i) for i in (data.outliers_OKFN == features_FN).flatten(2).all(dim=2).nonzero()[:, 0]}
        assert data.outlier_labels_O[row] == label


def test_other_classes_and_a_system_that_names_them_go_together(tmp_path):
    write_cifar10(tmp_path / "cifar10")
    write_esc50(tmp_path / "esc50", esc50.INFO.classes, folds=(1, 2))
    chosen = {"sounds": "esc50", "images": "cifar10", "classes": JOINED, "split": "clip"}
    model = {"losses": {"l2": 1.0, "recognition": 1.0}, "width": 4}
    for others, known, match in ((True, 46, "set model.other_labels=47"), (False, 47, "or model.other_labels=0")):
        recipe = recipe_for("sound2visual", data=chosen | {"others": others}, model=model | {"other_labels": known})
        with pytest.raises(RecipeError, match=match):
            train(recipe, tmp_path / f"out{known}", root=tmp_path)
    recipe = recipe_for("sound2visual", data=chosen | {"others": True}, model=model | {"other_labels": 47})
    train(recipe, tmp_path / "out", root=tmp_path)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    with pytest.raises(RecipeError, match="two kinds of the same"):
        load(tmp_path, data=chosen | {"others": True, "outliers": 3})


def test_there_must_be_other_classes(root):
    with pytest.raises(RecipeError, match=r"'data\.classes' leaves out no class of fsdd"):
        load(root, data={"others": True})


def test_speech_commands_pair_one_to_one_without_the_publishers_test_recordings(root, tmp_path):
    """The paper's MNIST-SCD, on a small folder of its layout."""
    (tmp_path / "mnist").symlink_to(root / "mnist")
    write_speech_commands(tmp_path / "speech_commands")
    recipe = load_recipe("aivae-speech-commands", ["data.split=official"])
    data = load_training_data(recipe, latent_size=3, root=tmp_path)
    sounds = speech_commands.load(tmp_path / "speech_commands")
    split = make_split(sounds, "official", seed=0)
    assert data.facts["train_recordings"] == len(split.train) > 0
    assert len(data) == data.facts["pairs"] == len(split.train), "each recording once: pictures are plenty"
    assert sorted(data.sounds_P.tolist()) == list(range(len(split.train)))
    assert torch.equal(data.labels_N[data.images_P], torch.from_numpy(sounds.labels[split.train])[data.sounds_P])
    system = build_system(recipe.model, num_labels=10)[1]
    check_shapes(system, data)
    losses = system.losses("autoencoder", load_training_data(recipe, 64, tmp_path).batch(torch.arange(4), 0), 0)
    assert all(torch.isfinite(value) for value in losses.values())


def test_sounds_that_are_no_digit_come_with_every_batch(root, monkeypatch):
    """A quarter as many as pairs, half of them words; which ones depends on the seed and the step alone."""
    word = Clip(np.sin(np.arange(4000) * 0.2).astype(np.float32) * 0.1, 8000)
    monkeypatch.setattr(outliers, "words", lambda num, rng, sample_rate_hz: [word] * num)
    data, plain = (
        load(root, data={"outliers": 7, "augment": {"copies": 2}}),
        load(root, data={"augment": {"copies": 2}}),
    )
    assert plain.outliers_OKFN is None
    assert "outliers" not in plain.batch(torch.arange(8), 3)
    assert data.outliers_OKFN is not None
    assert data.outliers_OKFN.shape == (7, 2, 48, 48)
    batch, again, other = (data.batch(torch.arange(16), step) for step in (3, 3, 4))
    assert batch["outliers"].shape == (4, 48, 48)
    assert torch.equal(batch["outliers"], again["outliers"])
    assert not torch.equal(batch["outliers"], other["outliers"])
    assert data.batch(torch.arange(2), 3)["outliers"].shape == (1, 48, 48)
    # What else a batch holds does not change with them.
    for name, value in plain.batch(torch.arange(16), 3).items():
        assert torch.equal(batch[name], value), name


def test_calibration_speakers_are_none_of_those_trained_on(monkeypatch):
    spoken = []

    def speak(speakers, words, *, sample_rate_hz):
        spoken.append(speakers)
        tone = np.sin(np.arange(sample_rate_hz // 2) / 3).astype(np.float32)
        return [[Clip(tone, sample_rate_hz) for _ in words] for _ in speakers]

    monkeypatch.setattr(voices, "speak", speak)
    monkeypatch.setattr(voices.shutil, "which", lambda engine: engine)
    recipe = recipe_for("flow", data={"voices": 8, "calibration_voices": 3, "augment": {"copies": 2}})
    features, labels = load_calibration_data(recipe)
    trained = voices.draw(8, stream(recipe.train.seed, "voices"))
    assert len(spoken[0]) == 3
    assert not set(spoken[0]) & set(trained)
    assert features.shape == (30, 48, 48)
    assert labels.tolist() == [*range(10)] * 3
    assert load_calibration_data(recipe_for("flow", data={"voices": 8})) is None


def test_without_changed_copies_they_are_not_changed_either(monkeypatch):
    tone = np.sin(np.arange(4000) / 3).astype(np.float32)
    monkeypatch.setattr(voices, "speak", lambda speakers, words, **_: [[Clip(tone, 8000)] * 10 for _ in speakers])
    monkeypatch.setattr(voices.shutil, "which", lambda engine: engine)
    noisy = {"noise_snr_db": [0.0, 1.0]}
    as_they_are = load_calibration_data(recipe_for("flow", data={"calibration_voices": 2, "augment": noisy}))
    changed = load_calibration_data(
        recipe_for("flow", data={"calibration_voices": 2, "augment": noisy | {"copies": 3}})
    )
    assert torch.allclose(as_they_are[0], as_they_are[0][:1], atol=1e-3)
    assert not torch.allclose(changed[0], changed[0][:1], atol=0.1)


def test_what_is_trained_is_calibrated_and_so_saved(root, tmp_path, monkeypatch):
    """The average is calibrated, not the last weights; after an interruption too."""
    rng = np.random.default_rng(0)
    clips = [Clip(rng.normal(0, 0.1, 4000).astype(np.float32), 8000) for _ in range(20)]
    monkeypatch.setattr(voices, "speak", lambda speakers, words, **_: [clips[:10], clips[10:]])
    monkeypatch.setattr(voices.shutil, "which", lambda engine: engine)
    small = {"widths": [4, 4], "steering_size": 4, "listener_widths": [4, 4, 4, 4]}
    recipe = recipe_for("flow", data={"calibration_voices": 2}, model=small, train={"epochs": 1, "ema": 0.9})
    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "out", root=root, stop_after=3)
    folder, module = load_system(train(recipe, tmp_path / "out", root=root, resume=True))
    features, labels = load_calibration_data(recipe)
    with torch.no_grad():
        logits = module.listener(features)[:, :10].numpy()
    assert module.listener.temperature.item() == pytest.approx(temperature(logits, labels.numpy()))
    assert module.listener.temperature.item() != 1
    assert "Synthetic speech" in json.dumps(folder.card)


def test_a_system_that_says_nothing_of_what_it_hears_needs_no_calibration(root, tmp_path):
    with pytest.raises(RecipeError, match=r"data\.calibration_voices.*cvae does not say"):
        train(recipe_for("cvae", data={"calibration_voices": 2}), tmp_path / "out", root=root)


@pytest.mark.parametrize("key", ["voices", "calibration_voices", "outliers"])
def test_what_is_spoken_needs_the_digits_in_their_order(key, root):
    """Else a spoken zero would be taught as the first class, whatever that is."""
    backwards = {str(digit): {"sounds": [str(digit)], "images": [str(digit)]} for digit in range(9, -1, -1)}
    recipe = recipe_for("flow", data={key: 2, "classes": backwards})
    with pytest.raises(DatasetError, match=f"data.{key} .*not 0 to 9 in this order; set data.{key}=0"):
        load_calibration_data(recipe) if key == "calibration_voices" else load_training_data(recipe, 4, root)
