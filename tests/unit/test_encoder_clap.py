"""CLAP through transformers: a tiny random model as a folder, what it makes of long sounds, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import ClapFeatureExtractor, ClapModel
from transformers.utils import logging

from encoder_laws import check_encoder, noise
from soundsight import encoders
from soundsight.audio import Clip
from soundsight.encoders.clap import load, windows
from soundsight.errors import MissingExtraError, ModelError
from tiny_clap import write

RATE_HZ = 48_000


@pytest.fixture(scope="module", params=[False, True], ids=["unfused", "fused"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("clap") / "tiny", fusion=request.param)


def by_hand(folder: Path, samples: Any) -> Any:
    """What the whole model says of a sound of at most 1 s."""
    model = ClapModel.from_pretrained(folder, use_safetensors=True).eval()
    heard = ClapFeatureExtractor.from_pretrained(folder)(samples, sampling_rate=RATE_HZ, return_tensors="pt")
    with torch.inference_mode():
        said = model.get_audio_features(heard["input_features"].float(), is_longer=torch.zeros(1, 1, dtype=torch.bool))
    return said.pooler_output[0].numpy()


def test_it_keeps_the_laws(folder: Path) -> None:
    encoder = encoders.load("clap", folder)
    assert (encoder.name, encoder.size, encoder.sample_rate_hz) == ("clap", 12, 48_000)
    check_encoder(encoder, [0.3, 1.0, 2.5])


@pytest.mark.parametrize("duration_s", [0.02, 0.4, 1.0])
def test_a_sound_of_one_window_is_what_the_whole_model_says_of_it(duration_s: float, folder: Path) -> None:
    clip = noise(duration_s, RATE_HZ)
    (found,) = load(folder).encode([clip])
    np.testing.assert_allclose(found.tokens_LD, [by_hand(folder, clip.samples)], atol=1e-5)
    np.testing.assert_array_equal(found.pooled_D, found.tokens_LD[0])
    assert np.linalg.norm(found.pooled_D) == pytest.approx(1, abs=1e-5)


def test_a_longer_sound_is_heard_in_windows_from_start_to_end(folder: Path) -> None:
    clip = noise(2.5, RATE_HZ)
    (found,) = load(folder).encode([clip])
    starts = (0, 36_000, 72_000)
    wanted_LD = [by_hand(folder, clip.samples[start : start + RATE_HZ]) for start in starts]
    np.testing.assert_allclose(found.tokens_LD, wanted_LD, atol=1e-5)
    mean_D = np.mean(wanted_LD, axis=0)
    np.testing.assert_allclose(found.pooled_D, mean_D / np.linalg.norm(mean_D), atol=1e-5)


@pytest.mark.parametrize(
    ("num", "starts"), [(1, [0]), (10, [0]), (11, [0, 1]), (20, [0, 10]), (21, [0, 5, 11]), (45, [0, 8, 17, 26, 35])]
)
def test_windows_cover_a_sound(num: int, starts: list[int]) -> None:
    samples = np.arange(num, dtype=np.float32)
    parts = windows(samples, 10)
    assert [int(part[0]) for part in parts] == starts
    assert {len(part) for part in parts} == {min(num, 10)}
    assert set(np.concatenate(parts)) == set(samples)


def test_no_chance_is_in_it(folder: Path) -> None:
    encoder, clip = load(folder), noise(3.3, RATE_HZ)
    before = torch.random.get_rng_state()
    first, second = encoder.encode([clip])[0], load(folder).encode([clip])[0]
    np.testing.assert_array_equal(first.tokens_LD, second.tokens_LD)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_identity_tells_weights_and_front_ends_apart(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "a")
    assert load(tmp_path / "a").identity == load(folder).identity
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "logit_scale_t": torch.tensor(7.0)}, tmp_path / "a" / "model.safetensors")
    assert load(tmp_path / "a").identity == load(folder).identity, "what does not hear is of no account"
    bias = tensors["audio_projection.linear2.bias"]
    save_file({**tensors, "audio_projection.linear2.bias": bias + 1}, tmp_path / "a" / "model.safetensors")
    identities = {load(folder).identity, load(tmp_path / "a").identity}
    shutil.copy(folder / "model.safetensors", tmp_path / "a")
    change(tmp_path / "a" / "preprocessor_config.json", hop_length=240)
    assert len(identities | {load(tmp_path / "a").identity}) == 3


def test_nothing_is_shown(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    load(folder).encode([noise(0.5, RATE_HZ)])
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["audio_projection.linear1.weight"]
    save_file(tensors, folder / "model.safetensors")


def spoil_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["audio_projection.linear1.weight"][0, 0] = torch.nan
    save_file(tensors, folder / "model.safetensors")


def resize_tensor(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["audio_projection.linear1.weight"] = torch.zeros(3, 3)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda f: (f / "config.json").unlink(), "there is no config.json in it; expected config.json, pre"),
        (lambda f: (f / "preprocessor_config.json").unlink(), "there is no preprocessor_config.json in it"),
        (lambda f: (f / "config.json").write_text("{"), "config.json: not valid JSON"),
        (lambda f: (f / "config.json").write_text("[" * 9999), "config.json: not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), "model_type is None; expected 'clap'"),
        (lambda f: (f / "config.json").write_text(" " * (2 << 20)), "config.json: larger than 1 MiB"),
        (lambda f: change(f / "config.json", model_type="clip"), "model_type is 'clip'; expected 'clap'"),
        (lambda f: change(f / "config.json", audio_config=[1]), "cannot be loaded as CLAP"),
        (lambda f: change(f / "config.json", audio_config={"hidden_size": "x"}), "cannot be loaded as CLAP"),
        (lambda f: (f / "preprocessor_config.json").write_text("nothing"), "cannot be loaded as CLAP"),
        (
            lambda f: change(f / "preprocessor_config.json", sampling_rate=44100),
            "sampling_rate is 44100; .* needs 48000",
        ),
        (lambda f: change(f / "preprocessor_config.json", feature_size=64), "feature_size is 64; this CLAP needs 32"),
        (lambda f: change(f / "preprocessor_config.json", truncation="rand"), "truncation is 'rand'; this CLAP needs"),
        (lambda f: change(f / "preprocessor_config.json", max_length_s=9999), "max_length_s is 9999; expected 1 to 60"),
        (lambda f: (f / "model.safetensors").write_bytes(b"no weights"), "cannot be loaded as CLAP"),
        (drop_tensor, "lacks the tensor 'audio_projection.linear1.weight'"),
        (resize_tensor, "cannot be loaded as CLAP"),
        (spoil_tensor, "'audio_projection.linear1.weight' in model.safetensors holds NaN"),
    ],
)
def test_a_folder_that_is_no_clap_is_refused(spoil: Any, fault: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    spoil(folder)
    with pytest.raises(ModelError, match=fault) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_download_without_its_weights_is_no_pickle(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"there is no model\.safetensors in it; expected config\.json"):
        load(folder)


def test_a_pickle_is_refused_by_a_line_that_converts_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    wanted = load(folder).identity
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"no model\.safetensors in it, and pickles are not read") as caught:
        load(folder)
    told = re.search(r"by (transformers\.ClapModel\..*\))$", str(caught.value))
    assert told is not None
    logging.disable_progress_bar()
    eval(told[1], {"transformers": __import__("transformers")})
    logging.enable_progress_bar()
    (folder / "pytorch_model.bin").unlink()
    assert load(folder).identity == wanted


def test_code_in_the_folder_is_not_run(tmp_path: Path) -> None:
    folder = write(tmp_path / "tiny")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass E: pass\n")
    for name in ("config.json", "preprocessor_config.json"):
        auto = dict.fromkeys(("AutoConfig", "AutoModel", "AutoFeatureExtractor", "ClapModel"), "evil.E")
        change(folder / name, auto_map=auto)
    load(folder).encode([noise(0.5, RATE_HZ)])
    assert not (tmp_path / "ran").exists()


def test_a_name_that_is_not_on_this_machine_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        load("laion/clap-htsat-fused")
    assert str(caught.value) == (
        "laion/clap-htsat-fused (614 MB, Apache-2.0) is not on this machine; get it once by 'hf download "
        "laion/clap-htsat-fused config.json preprocessor_config.json model.safetensors', or name a folder with these "
        "files"
    )


def test_a_name_is_read_from_the_hubs_cache_and_fetched_only_if_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    folder = write(tmp_path / "snapshot")

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append({"name": name} | options)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert (
        load("some/clap").identity == load("some/clap", download=True, revision="v1").identity == load(folder).identity
    )
    files = ["config.json", "preprocessor_config.json", "model.safetensors"]
    assert asked == [
        {"name": "some/clap", "revision": None, "allow_patterns": files, "local_files_only": True},
        {"name": "some/clap", "revision": "v1", "allow_patterns": files, "local_files_only": False},
    ]
    (folder / "model.safetensors").unlink()
    with pytest.raises(
        ModelError, match=r"from_pretrained\('some/clap', use_safetensors=False\).save_pretrained\('clap'\), and"
    ):
        load("some/clap")


def test_a_download_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, **options: Any) -> str:
        raise ConnectionError("no\nroute " + "x" * 1000)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(
        ModelError, match=r"^a/b could not be downloaded \(no route x{100,200}…\); get it once"
    ) as caught:
        load("a/b", download=True)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", ["nowhere", "/no/where/at/all", "../x/y", "a/b\n", "", "a\0b", "x" * 5000])
def test_what_is_neither_a_folder_nor_a_name_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"expected 'owner/name' or a folder|there is no config.json") as caught:
        load(name)
    assert "\n" not in str(caught.value)


def test_without_transformers_one_line_says_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'clap' needs the extra 'sd3': pip install 'soundsight\[sd3\]'"):
        load(tmp_path)


def test_silence_is_heard(folder: Path) -> None:
    (found,) = load(folder).encode([Clip(np.zeros(RATE_HZ, np.float32), RATE_HZ)])
    assert np.isfinite(found.pooled_D).all()


def test_the_room_loads_neither_torch_nor_transformers() -> None:
    code = "import sys; from soundsight.encoders import cache, load, shards, stored"
    told = subprocess.run(
        [sys.executable, "-c", code + "; print({'torch', 'transformers', 'pydantic'} & set(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "set()\n"
