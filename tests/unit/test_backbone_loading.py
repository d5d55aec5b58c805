"""From a folder or a name to a backbone: what is loaded, what is refused before it is, and whether it fits."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

import tiny_backbones
from soundsight import backbones
from soundsight.backbones import loading, memory
from soundsight.backbones.backbone import Backbone
from soundsight.backbones.memory import Plan
from soundsight.conditioning import Conditioning
from soundsight.errors import MissingExtraError, ModelError, SoundsightError
from soundsight.texts.diffusion.weights import count_weights
from tiny_backbones import CLIP_L, POOLED, change, quiet

QUICK: dict[str, Any] = {"steps": 2, "size": 16, "seed": 3, "guidance": 4.0}
NETWORK = "diffusion_pytorch_model.safetensors"
CUTTING = "tokenizer_config.json"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("backbones")
    kinds: dict[str, dict[str, Any]] = {"sd3": {}, "sdxl": {}, "sd15": {"checker": True}}
    return {kind: tiny_backbones.write(root / kind, kind, **options) for kind, options in kinds.items()}


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A Stable Diffusion 3 to be spoilt."""
    return Path(shutil.copytree(folders["sd3"], tmp_path / "tiny"))


def said() -> Conditioning:
    draw = torch.Generator().manual_seed(0)
    return Conditioning(
        pooled=torch.randn(1, POOLED, generator=draw), clip_l=torch.randn(1, 20, CLIP_L, generator=draw)
    )


def paint(painter: Backbone, **settings: Any) -> Any:
    return painter.paint(said(), **(QUICK | settings)).images_NCHW


@pytest.mark.parametrize("kind", ["sd3", "sdxl", "sd15"])
def test_it_loads_what_diffusers_loads(kind: str, folders: dict[str, Path]) -> None:
    painter = backbones.load(folders[kind])
    with quiet():
        wanted = DiffusionPipeline.from_pretrained(folders[kind])
    assert type(painter.pipeline) is type(wanted)
    assert {name for name, part in painter.pipeline.components.items() if part is not None} == {
        name for name, part in wanted.components.items() if part is not None
    }
    for name, part in wanted.components.items():
        if isinstance(part, torch.nn.Module):
            own = getattr(painter.pipeline, name).state_dict()
            assert all(torch.equal(own[key], tensor) for key, tensor in part.state_dict().items())
            assert not any(weight.requires_grad for weight in getattr(painter.pipeline, name).parameters())
    assert dict(painter.pipeline.scheduler.config) == dict(wanted.scheduler.config)
    flags = ("force_zeros_for_empty_prompt", "requires_safety_checker")
    assert [painter.pipeline.config.get(flag) for flag in flags] == [wanted.config.get(flag) for flag in flags]
    assert paint(painter, prompt="dog").std() > 0


@pytest.mark.parametrize(
    ("kind", "flag"), [("sdxl", "force_zeros_for_empty_prompt"), ("sd15", "requires_safety_checker")]
)
def test_settings_of_the_pipeline_are_kept(kind: str, flag: str, folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders[kind], tmp_path / "tiny"))
    for value in (False, True):
        change(folder / "model_index.json", **{flag: value})
        assert backbones.load(folder).pipeline.config[flag] is value


def test_nothing_is_shown(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    for folder in folders.values():
        paint(backbones.load(folder), prompt="dog")
    assert capfd.readouterr() == ("", "")


def test_text_encoders_that_are_absent_are_done_without(folders: dict[str, Path], tmp_path: Path) -> None:
    whole = backbones.load(folders["sd3"])
    without_t5 = backbones.load(folders["sd3"], without=["text_encoder_3"])
    assert without_t5.pipeline.text_encoder_3 is None
    assert without_t5.pipeline.tokenizer_3 is None
    bare = Path(shutil.copytree(folders["sd3"], tmp_path / "bare"))
    for name in ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3"):
        shutil.rmtree(bare / name)
    with pytest.raises(ModelError, match=r"'text_encoder' is missing; .* do without this .*: --without text_encoder,"):
        backbones.load(bare)
    change(bare / "model_index.json", text_encoder_3=[None, None], tokenizer_3=[None, None])
    mute = backbones.load(bare, without=["text_encoder", "text_encoder_2"])
    images = [paint(each) for each in (whole, without_t5, mute)]
    assert all(np.abs(one - other).max() > 1e-5 for one, other in ((images[0], images[1]), (images[1], images[2])))
    with pytest.raises(SoundsightError, match="has no text encoder to read 'dog'"):
        paint(mute, prompt="dog")


def test_shards_and_half_precision_files_are_read(folders: dict[str, Path], folder: Path) -> None:
    wanted = paint(backbones.load(folders["sd3"]))
    tensors = load_file(folder / "transformer" / NETWORK)
    names = sorted(tensors)
    shards = {"a-1.safetensors": names[::2], "a-2.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: tensors[name] for name in held}, folder / "transformer" / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, held in shards.items() for name in held}}
    (folder / "transformer" / f"{NETWORK}.index.json").write_text(json.dumps(index))
    (folder / "transformer" / NETWORK).unlink()
    np.testing.assert_array_equal(paint(backbones.load(folder)), wanted)
    (folder / "vae" / NETWORK).rename(folder / "vae" / NETWORK.replace(".safe", ".fp16.safe"))
    np.testing.assert_array_equal(paint(backbones.load(folder)), wanted)
    (folder / "transformer" / "a-2.safetensors").unlink()
    with pytest.raises(ModelError, match=r"a-2.safetensors is missing, which .*index.json names; the download is part"):
        backbones.load(folder)


def test_old_names_of_tokenizers_are_known(folder: Path) -> None:
    change(
        folder / "model_index.json",
        tokenizer=["transformers", "CLIPTokenizerFast"],
        tokenizer_3=["transformers", "T5TokenizerFast"],
    )
    assert paint(backbones.load(folder), prompt="dog").std() > 0


def test_precision_and_flags_are_as_asked(folders: dict[str, Path]) -> None:
    painter = backbones.load(
        folders["sdxl"], precision="bf16", attention_slicing=True, vae_slicing=True, vae_tiling=True
    )
    modules = [part for part in painter.pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert {module.dtype for module in modules} == {torch.bfloat16}
    assert painter.pipeline.vae.use_slicing
    assert painter.pipeline.vae.use_tiling
    names = {type(processor).__name__ for processor in painter.pipeline.unet.attn_processors.values()}
    assert names == {"SlicedAttnProcessor"}
    plain = paint(backbones.load(folders["sdxl"], precision="bf16"))
    np.testing.assert_allclose(paint(painter), plain, atol=0.05)


def test_slicing_the_decoder_changes_nothing(folders: dict[str, Path]) -> None:
    images = [
        backbones.load(folders["sd3"], vae_slicing=sliced).paint(said(), num_images=2, **QUICK).images_NCHW
        for sliced in (False, True)
    ]
    np.testing.assert_allclose(images[0], images[1], atol=1e-5)


def drop_tensor(folder: Path) -> None:
    tensors = load_file(folder / "transformer" / NETWORK)
    del tensors["proj_out.weight"]
    save_file(tensors, folder / "transformer" / NETWORK, metadata={"format": "pt"})


def another_vocabulary(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    cutting = json.loads(path.read_text())
    known = cutting["model"]["vocab"]
    known |= {f"word{i}</w>": max(known.values()) + 1 + i for i in range(900)}
    path.write_text(json.dumps(cutting))


def truncate(folder: Path) -> None:
    path = folder / "vae" / NETWORK
    path.write_bytes(path.read_bytes()[:-100])


def pickled(folder: Path) -> None:
    (folder / "vae" / NETWORK).unlink()
    (folder / "vae" / "diffusion_pytorch_model.bin").write_bytes(b"pickle")


def shards(folder: Path, content: Any) -> None:
    (folder / "vae" / NETWORK).unlink()
    (folder / "vae" / f"{NETWORK}.index.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda f: (f / "model_index.json").unlink(), "there is no model_index.json in it; expected a model"),
        (lambda f: (f / "model_index.json").write_text("{"), "model_index.json: not valid JSON"),
        (lambda f: (f / "model_index.json").write_text("[" * 9999), "model_index.json: not valid JSON"),
        (lambda f: (f / "model_index.json").write_text("[]"), "expected an object, not list"),
        (lambda f: (f / "model_index.json").write_text(" " * (17 << 20)), "larger than 16 MiB"),
        (
            lambda f: change(f / "model_index.json", _class_name="FluxPipeline"),
            "_class_name is 'FluxPipeline'; expected one of StableDiffusion3Pipeline",
        ),
        (
            lambda f: change(f / "model_index.json", _class_name=["evil", "Pipeline"]),
            r"_class_name is \['evil', 'Pipeline'\]; expected",
        ),
        (
            lambda f: change(f / "model_index.json", transformer=["evil", "SD3Transformer2DModel"]),
            "expected SD3Transformer2DModel of diffusers, as no other code is run",
        ),
        (
            lambda f: change(f / "model_index.json", scheduler=["diffusers", "os.Scheduler"]),
            "expected one of its schedulers of diffusers",
        ),
        (
            lambda f: change(f / "model_index.json", scheduler=["diffusers", "NoSuchScheduler"]),
            "cannot be loaded as NoSuchScheduler",
        ),
        (lambda f: change(f / "model_index.json", vae=[None, None]), "names no 'vae', without which"),
        (lambda f: shutil.rmtree(f / "vae"), "the folder 'vae' is missing; the download is partial"),
        (lambda f: shutil.rmtree(f / "scheduler"), "the folder 'scheduler' is missing"),
        (lambda f: (f / "scheduler" / "scheduler_config.json").unlink(), "cannot be loaded as FlowMatch"),
        (lambda f: shutil.rmtree(f / "tokenizer_2"), "the folder 'tokenizer_2' is missing"),
        (lambda f: (f / "tokenizer" / "tokenizer.json").unlink(), "tokenizer: the vocabulary is missing, tok"),
        (lambda f: (f / "tokenizer_3" / "tokenizer.json").unlink(), "tokenizer_3: the vocabulary is missing"),
        (lambda f: (f / "tokenizer_2" / CUTTING).unlink(), "tokenizer_config.json is missing; the download is partial"),
        (lambda f: change(f / "tokenizer" / CUTTING, model_max_length=400), "cuts texts at 400 tokens, .* reads 77"),
        (lambda f: (f / "tokenizer" / CUTTING).write_text("{}"), "tokenizer of clip_l cuts texts at 1,000,000,"),
        (another_vocabulary, "the tokenizer of clip_l knows 1,438 tokens, and its text encoder 538;"),
        (lambda f: (f / "vae" / NETWORK).unlink(), "there are no safetensors in it; the download is partial"),
        (pickled, "diffusion_pytorch_model.bin is a pickle, which is not read"),
        (truncate, r"bytes of the .* that its header announces; get it again"),
        (lambda f: (f / "vae" / NETWORK).write_bytes(b""), r"no safetensors file, or cut short \(0 bytes\)"),
        (lambda f: (f / "vae" / NETWORK).write_bytes(b"<html>Not</html>" * 9), "no safetensors file, or cut short"),
        (lambda f: (f / "vae" / NETWORK).write_bytes(b"\2" + b"\0" * 7 + b"[]"), "its header is damaged"),
        (
            lambda f: (f / "vae" / NETWORK).write_bytes(b"\x0d" + b"\0" * 7 + b'{"a": "wrong"}'[:13]),
            "its header is damaged",
        ),
        (lambda f: shards(f, {"weight_map": {}}), "'weight_map' names no files"),
        (lambda f: shards(f, {"weight_map": {"a": 1}}), "'weight_map' names no files"),
        (lambda f: shards(f, {"weight_map": {"a": "../x.safetensors"}}), "names '../x.safetensors'; expected"),
        (lambda f: shards(f, {"weight_map": {"a": "b.safetensors"}}), "b.safetensors is missing, which"),
        (drop_tensor, "the weights lack the tensor 'proj_out.weight' that config.json asks for"),
        (lambda f: (f / "transformer" / "config.json").unlink(), "config.json is missing; the download is partial"),
        (lambda f: change(f / "transformer" / "config.json", joint_attention_dim=8), "cannot be loaded as SD3Trans"),
        (lambda f: change(f / "vae" / "config.json", block_out_channels="x"), "cannot be loaded as AutoencoderKL"),
    ],
)  # fmt: skip
def test_a_folder_that_is_no_backbone_is_refused(spoil: Any, fault: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(ModelError, match=fault) as caught:
        backbones.load(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_code_in_the_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    evil = f"open({str(tmp_path / 'ran')!r}, 'w')\nclass StableDiffusion3Pipeline: pass\n"
    for name in ("pipeline.py", "transformer/modeling.py", "scheduler/scheduler.py"):
        (folder / name).write_text(evil)
    for name in ("text_encoder", "transformer", "vae"):
        change(folder / name / "config.json", auto_map={"AutoModel": "modeling.M", "AutoConfig": "modeling.M"})
    change(folder / "tokenizer" / "tokenizer_config.json", auto_map={"AutoTokenizer": ["pipeline.T", None]})
    paint(backbones.load(folder), prompt="dog")
    assert not (tmp_path / "ran").exists()


def test_a_checker_that_is_announced_must_be_there(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["sd15"], tmp_path / "tiny"))
    shutil.rmtree(folder / "safety_checker")
    with pytest.raises(ModelError, match="the folder 'safety_checker' is missing"):
        backbones.load(folder)
    change(folder / "model_index.json", safety_checker=[None, None])
    assert backbones.load(folder).pipeline.safety_checker is None


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"precision": "fp64"}, "precision is 'fp64'; expected fp32, bf16, fp16"),
        ({"precision": "fp16"}, "precision fp16 needs a GPU, and there is none"),
        ({"offload": "disk"}, "offload is 'disk'; expected none, model, sequential"),
        ({"offload": "model"}, "offload model moves parts off a GPU, and there is none"),
        ({"without": ["vae"]}, "cannot leave out 'vae'; expected text_encoder, text_encoder_2, text_encoder_3"),
    ],
)
def test_options_that_there_are_not_are_refused(
    options: dict[str, Any], fault: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SoundsightError, match=fault):
        backbones.load(folders["sd3"], **options)


def test_a_name_that_is_not_on_this_machine_says_what_to_get_and_what_works_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    def no_network(*_arguments: Any, **_named: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    with pytest.raises(ModelError) as caught:
        backbones.load("stabilityai/stable-diffusion-3-medium-diffusers")
    assert str(caught.value) == (
        "stabilityai/stable-diffusion-3-medium-diffusers (about 16 GB, Stability AI Community License, to be accepted "
        "on its page before 'hf auth login') is not on this machine; get it once by 'hf download "
        'stabilityai/stable-diffusion-3-medium-diffusers --include "model_index.json" --include "*/*.json" --include '
        '"*/*.txt" --include "*/*.model" --include "*/*.safetensors" --exclude "*.fp16*" --exclude "*.non_ema*" '
        '--exclude "text_encoders/*"\', '
        f"which puts it into {tmp_path}, or name a folder; 'soundsight generate --model digits' works without it"
    )
    with pytest.raises(
        ModelError, match=r"^no/such is not on this machine; get it once by 'hf download no/such --revis"
    ):
        backbones.load("no/such", revision="v1")


def test_a_name_is_read_from_the_hubs_cache_and_fetched_only_if_asked(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append({"name": name} | options)
        return str(folders["sd15"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert backbones.load("some/model").name == "some/model"
    backbones.load("some/model", download=True, revision="v1")
    assert [(each["local_files_only"], each["revision"]) for each in asked] == [(True, None), (False, "v1")]
    assert not [pattern for each in asked for pattern in each["allow_patterns"] if "bin" in pattern or "py" in pattern]


def test_a_download_that_fails_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(name: str, **options: Any) -> str:
        raise ConnectionError("no\nroute " + "x" * 1000)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    with pytest.raises(ModelError, match=r"^a/b could not be downloaded \(no route x+…\); get it once") as caught:
        backbones.load("a/b", download=True)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "/no/where/at/all", "../x/y", "a/b\n", "", "a\0b", "x" * 5000])
def test_what_is_neither_a_folder_nor_a_name_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"expected 'owner/name' or a folder|there is no model_index\.json") as caught:
        backbones.load(name)
    assert "\n" not in str(caught.value)


GB = 10**9
# Stable Diffusion 3 medium, in thousand millions.
MEDIUM = {
    "transformer": 2_080_000_000,
    "vae": 84_000_000,
    "text_encoder": 124_000_000,
    "text_encoder_2": 695_000_000,
    "text_encoder_3": 4_760_000_000,
}


def plan(**values: Any) -> Plan:
    usual: dict[str, Any] = {"weights": MEDIUM, "pixels": 1024**2, "channels": 128, "precision": "fp32"}
    return Plan(**(usual | {"offload": "none", "on_gpu": False} | values))


def machine(monkeypatch: pytest.MonkeyPatch, main: int | None, gpu: int | None = None) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda *, on_gpu: gpu if on_gpu else main)


def test_what_a_model_takes() -> None:
    weights = sum(MEDIUM.values())
    assert plan().main_bytes == 4 * weights + plan().work_bytes
    assert plan(precision="bf16").main_bytes * 2 == plan().main_bytes
    assert plan(on_gpu=True, precision="fp16").gpu_bytes == 2 * weights + plan(precision="fp16").work_bytes
    assert plan(on_gpu=True, offload="model").gpu_bytes == 4 * MEDIUM["text_encoder_3"] + plan().work_bytes
    assert plan(on_gpu=True, offload="model").main_bytes == 4 * weights
    sequential, model = (plan(on_gpu=True, offload=offload).gpu_bytes for offload in ("sequential", "model"))
    assert sequential < model
    assert plan().gpu_bytes == 0


def test_what_would_not_help_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 20 * GB)
    with pytest.raises(ModelError) as caught:
        memory.check(plan(weights={"transformer": 20 * GB, "text_encoder_3": GB // 1000}), "big")
    assert "precision bf16 needs" in str(caught.value)
    assert "text_encoder_3" not in str(caught.value)


def test_too_little_main_memory_is_told_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 20 * GB)
    with pytest.raises(ModelError) as caught:
        memory.check(plan(), "sd3")
    assert str(caught.value) == (
        "sd3 needs about 35.3 GB of main memory as fp32, and 20.0 are free: 15.3 are missing; precision bf16 needs "
        "17.6, which fits; without text_encoder_3 needs 16.2, which fits"
    )
    machine(monkeypatch, 2 * GB)
    with pytest.raises(ModelError, match=r"precision bf16 needs 17\.6; without text_encoder_3 needs 16\.2$"):
        memory.check(plan(), "sd3")
    with pytest.raises(ModelError, match="it takes a larger machine, or a smaller model"):
        memory.check(plan(weights={"unet": 2 * GB}, precision="bf16"), "big")
    machine(monkeypatch, 40 * GB)
    memory.check(plan(), "sd3")
    machine(monkeypatch, None)
    memory.check(plan(), "sd3")


def test_too_little_memory_of_a_gpu_is_told_with_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 64 * GB, 12 * GB)
    with pytest.raises(
        ModelError, match=r"17\.6 GB of GPU memory as fp16, and 12\.0 are free: 5\.6 are missing; "
    ) as caught:
        memory.check(plan(on_gpu=True, precision="fp16"), "sd3")
    assert "offload model needs 11.7, which fits; offload sequential needs 3.1, which fits" in str(caught.value)
    memory.check(plan(on_gpu=True, precision="fp16", offload="model"), "sd3")


def test_memory_is_asked_before_anything_is_loaded(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 1000)
    monkeypatch.setattr("diffusers.AutoencoderKL.from_pretrained", lambda *_a, **_n: pytest.fail("it was loaded"))
    with pytest.raises(ModelError, match=r"GB of main memory as fp32, and 0\.0 are free"):
        backbones.load(folders["sd3"])


def test_weights_are_counted_by_their_headers(folders: dict[str, Path]) -> None:
    for path in folders["sd3"].rglob("*.safetensors"):
        assert count_weights(path) == sum(tensor.numel() for tensor in load_file(path).values())


def test_this_machines_memory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = memory.free_bytes(on_gpu=False)
    assert found is not None
    assert 1 << 20 < found < 1 << 50
    (tmp_path / "meminfo").write_text("MemTotal:  99 kB\nMemAvailable:   12345 kB\nHugePages_Total:  0\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path / "none")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    assert memory.free_bytes(on_gpu=False) == 12345 * 1024
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "none")
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False)
    assert memory.free_bytes(on_gpu=False) == 4_096_000


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control groups, version 2: of this process's and those above it the tightest, less what it holds."""
    (tmp_path / "meminfo").write_text("MemAvailable: 9000000 kB\n")
    (tmp_path / "own").write_text("12:memory:/elsewhere\n0::/user/app\n")
    for name, path in (("_MEMINFO", "meminfo"), ("_CGROUP", "own"), ("_CGROUPS", "groups")):
        monkeypatch.setattr(memory, name, tmp_path / path)

    def group(place: str, limit: str, current: int, inactive: int) -> None:
        folder = tmp_path / "groups" / place
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{current}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive - 7}\nactive_file 7\n")

    assert memory.free_bytes(on_gpu=False) == 9_000_000 * 1024, "no groups here"
    group("user/app", "max", 500, 100)
    assert memory.free_bytes(on_gpu=False) == 9_000_000 * 1024, "groups without a limit"
    group("user/app", "8000000000", 3_000_000_000, 1_000_000_000)
    assert memory.free_bytes(on_gpu=False) == 6_000_000_000
    group("user", "4000000000", 3_500_000_000, 0)
    assert memory.free_bytes(on_gpu=False) == 500_000_000
    group("user", "4000000000", 4_500_000_000, 0)
    assert memory.free_bytes(on_gpu=False) == 0, "over its limit"


def test_a_gpu_is_asked_for_its_own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (7 * GB, 8 * GB))
    monkeypatch.setattr("torch.cuda.memory_reserved", lambda: 3 * GB)
    monkeypatch.setattr("torch.cuda.memory_allocated", lambda: 2 * GB)
    assert memory.free_bytes(on_gpu=True) == 8 * GB, "what PyTorch keeps, it uses again"


@pytest.mark.parametrize(
    ("offload", "method"),
    [("none", "to"), ("model", "enable_model_cpu_offload"), ("sequential", "enable_sequential_cpu_offload")],
)
def test_with_a_gpu_the_pipeline_is_told_to_use_it(
    offload: Any, method: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    moved: list[tuple[str, str]] = []

    def load_weights(folder: Any, name: str, dtype: torch.dtype) -> Any:
        moved.append((name, "read"))
        part = read_weights(folder, name, dtype)
        part.to = lambda device: moved.append((name, device)) or part
        return part

    read_weights = loading.load_weights
    monkeypatch.setattr(loading, "load_weights", load_weights)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    machine(monkeypatch, 64 * GB, 64 * GB)
    monkeypatch.setattr(DiffusionPipeline, method, lambda self, *arguments, **named: asked.append(arguments))
    backbones.load(folders["sdxl"], offload=offload, precision="fp16")
    assert asked == ([("cuda",)] if offload == "none" else [()])
    # What ``Plan.main_bytes`` counts on: a part has left before the next is read.
    place = "cuda" if offload == "none" else "cpu"
    assert moved == [each for name, _ in moved[::2] for each in ((name, "read"), (name, place))]
    assert len(moved) == 2 * len({name for name, _ in moved}) >= 6


def test_without_the_libraries_one_line_says_what_installs_them(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'soundsight\[sd3\]'"):
        backbones.load(folders["sd3"])


def test_the_rooms_load_neither_torch_nor_diffusers() -> None:
    code = "import sys; import soundsight.backbones, soundsight.texts.diffusion, soundsight.backbones.memory"
    told = subprocess.run(
        [sys.executable, "-c", code + "; print({'torch', 'transformers', 'diffusers'} & set(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "set()\n"
