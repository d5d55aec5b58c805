"""The server with an adapter: recordings in, pictures of a text-to-image model out, and what it cannot do said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")

from browsers import PICTURES, Visit, expect, site
from served import (
    EXAMPLES,
    SEVEN,
    TWO,
    TestClient,
    check_problem,
    check_told,
    connect,
    decoded,
    lines,
    pixels,
    serving,
    unzipped,
)
from soundsight import AudioToImage
from soundsight.backbones import memory
from soundsight.backbones.backbone import Backbone, Painting
from soundsight.cli import main
from soundsight.pipeline.prompted import Prompted
from soundsight.server.settings import Painter
from tiny_adapters import options_of

STEPS = 3
CONTROLS = ["guidance", "steps", "prompt", "text_share", "negative"]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {name: str(path) for name, path in options_of(tmp_path_factory.mktemp("parts")).items()}


def settings(parts: dict[str, str]) -> dict[str, Any]:
    painter = Painter(parts["--backbone"], parts["--encoder"])
    return {"models": (parts["--model"], "digits"), "painter": painter, "deadline_s": 60.0}


@pytest.fixture(scope="module")
def client(parts: dict[str, str]) -> Iterator[TestClient]:
    with serving(**settings(parts)) as made:
        yield made


@pytest.fixture(scope="module")
def pipe(parts: dict[str, str]) -> AudioToImage:
    return AudioToImage.from_pretrained(parts["--model"], backbone=parts["--backbone"], encoder=parts["--encoder"])


def ask(client: TestClient, sound: bytes = SEVEN, **options: Any) -> Any:
    return client.post("/v1/images", params={"steps": STEPS} | options, content=sound)


def near(found: np.ndarray, expected: np.ndarray) -> None:
    """Within a grey level: a call of several pictures may have another last bit."""
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= 1


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_pictures_are_those_of_the_library(client: TestClient, pipe: AudioToImage) -> None:
    expected = pipe(SEVEN, 4, 5, steps=STEPS, guidance=2.0).array
    answer = ask(client, num_images=4, seed=5, guidance=2.0, format="zip")
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-model"], answer.headers["x-seed"]) == ("toy", "5")
    assert "x-heard" not in answer.headers
    for i, image in enumerate(unzipped(answer.content).values()):
        near(image, expected[i])
    told = ask(client, num_images=2, seed=5, guidance=2.0, format="json").json()
    assert [sound["features"] for sound in told["sounds"]] == [None]
    for i, facts in enumerate(told["images"]):
        near(decoded(facts), expected[i])


def test_sizes_and_texts(client: TestClient, pipe: AudioToImage) -> None:
    for size in (12, 24, 100):
        near(pixels(ask(client, size=size).content), pipe(SEVEN, 1, size=size, steps=STEPS).array[0])
    plain = pipe(SEVEN, steps=STEPS).array[0]
    told = {"prompt": "rain", "negative": "dog", "text_share": 0.5}
    expected = pipe(SEVEN, steps=STEPS, **told).array[0]  # type: ignore[call-overload]
    near(pixels(ask(client, **told).content), expected)
    assert np.abs(expected.astype(int) - plain).max() > 2


def test_lines_say_how_far_it_is(client: TestClient) -> None:
    told = lines(ask(client, num_images=2, format="ndjson").content)
    step = [{"type": "step", "done": done, "steps": STEPS} for done in range(1, STEPS + 1)]
    assert [each["type"] for each in told] == ["sound", *["step"] * STEPS, "image", *["step"] * STEPS, "image", "end"]
    assert told[1 : 1 + STEPS] == step
    assert told[0]["features"] is None
    assert told[0]["heard"] is None
    assert max(told[0]["peaks"]) == 1
    assert [each["index"] for each in told if each["type"] == "image"] == [0, 1]


@contextmanager
def held_painting(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, list[int]]]:
    """The first call of the backbone waits until it is let go; how many pictures each call had."""
    own, go, sizes = Backbone.paint, threading.Event(), list[int]()

    def held(painter: Backbone, *args: Any, **options: Any) -> Painting:
        sizes.append(len(options["rows"]))
        if len(sizes) == 1:
            assert go.wait(20)
        return own(painter, *args, **options)

    with monkeypatch.context() as changed:
        changed.setattr(Backbone, "paint", held)
        try:
            yield go, sizes
        finally:
            go.set()


def test_several_sounds_share_a_call_and_no_other_model_waits(
    parts: dict[str, str], pipe: Prompted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many cores there are: what waits for a backbone waits together."""
    wanted = [(SEVEN, 0), *((sound, 1) for sound in (SEVEN, TWO) for _ in range(2))]
    expected = {(sound, seed): pipe(sound, 1, seed, steps=STEPS).array[0] for sound, seed in wanted}
    with (
        serving(**settings(parts) | {"threads": 4}) as client,
        held_painting(monkeypatch) as (go, sizes),
        ThreadPoolExecutor(len(wanted)) as pool,
    ):
        slow = client.app.state.serving.slow  # type: ignore[attr-defined]
        answers = [pool.submit(ask, client)]
        until(lambda: bool(sizes))
        answers += [pool.submit(ask, client, sound, seed=seed) for sound, seed in wanted[1:]]
        until(lambda: slow.num_waiting == 4)
        assert "soundsight_waiting 4.0" in client.get("/metrics").text
        for _ in range(8):
            assert ask(client, model="digits", num_images=3, steps=2).status_code == 200
        assert sizes == [1], "the backbone is still at its first"
        go.set()
        found = [pixels(answer.result().content) for answer in answers]
    assert sizes == [1, 4]
    for image, each in zip(found, wanted, strict=True):
        near(image, expected[each])


def test_what_is_withheld_is_said(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Backbone.paint

    def checked(painter: Backbone, *args: Any, **options: Any) -> Painting:
        return Painting(own(painter, *args, **options).images_NCHW, (0,))

    monkeypatch.setattr(Backbone, "paint", checked)
    check_problem(ask(client), 422, "safety checker", "seed")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"variation": 1}, ["variation"]),
        ({"negative": "dog", "guidance": 1}, ["guidance"]),
        ({"prompt": "rain", "model": "digits"}, ["prompt", "text-to-image"]),
        ({"prompt": ""}, ["prompt"]),
        ({"prompt": "x" * 201}, ["prompt"]),
        ({"prompt": "rain", "text_share": 2}, ["text_share"]),
        ({"text_share": 0.5}, ["text"]),
        ({"prompt": "日本" * 60}, ["too long", "tokens"]),
        ({"split": "true"}, ["toy", "split"]),
        ({"num_images": 65}, ["num_images"]),
        ({"num_images": 64, "size": 4096}, ["too many"]),
    ],
)
def test_options_that_cannot_be_used(client: TestClient, options: dict[str, Any], words: list[str]) -> None:
    options = options if "model" in options else options | {"steps": STEPS}
    check_problem(client.post("/v1/images", params=options, content=SEVEN), 422, *words)


def test_what_it_is_too_slow_for(client: TestClient) -> None:
    files = {"first": SEVEN, "second": TWO}
    check_problem(client.post("/v1/morphs", files=files), 422, "toy", "too slow", "two sounds")
    assert client.post("/v1/morphs", params={"model": "digits"}, files=files).status_code == 200
    with connect(client) as socket:
        socket.send_text(json.dumps({"type": "start", "sample_rate_hz": 16_000}))
        told = socket.receive_json()
        assert told["type"] == "problem"
        check_told(told | {"type": "about:blank"}, 422, "toy", "too slow", "voice")


def test_too_little_memory_for_a_picture(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in what was asked for, and nothing of the inside is told."""
    monkeypatch.setattr(memory, "free_bytes", lambda *, on_gpu: 1000)
    check_problem(ask(client), 422, "memory", "smaller")


def test_models_say_what_they_can(client: TestClient) -> None:
    toy, digits = client.get("/v1/models").json()["models"]
    assert (toy["default"], toy["can"], toy["controls"]) == (True, [], CONTROLS)
    assert toy["image"] == {"width": 16, "height": 16, "channels": 3}
    assert digits["can"] == ["split", "live", "morph"]
    assert "prompt" not in digits["controls"]


def test_a_deadline_between_two_steps(parts: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody waits for is not painted to its end, and the next is."""
    told: list[int] = []
    own = Backbone.paint

    def slow(painter: Backbone, *args: Any, callback: Any, **options: Any) -> Painting:
        def watch(done: int, num_steps: int) -> None:
            told.append(done)
            time.sleep(0.02)
            callback(done, num_steps)

        return own(painter, *args, callback=watch, **options)

    monkeypatch.setattr(Backbone, "paint", slow)
    with serving(**settings(parts) | {"deadline_s": 1.0}) as client:
        check_problem(ask(client, steps=200), 503, "deadline")
        until(lambda: not client.app.state.serving.slow.num_active)  # type: ignore[attr-defined]
        assert len(told) < 200
        monkeypatch.undo()
        assert ask(client, steps=1).status_code == 200


# Starting it.


@pytest.mark.parametrize(
    ("left_out", "more", "words"),
    [
        ("--backbone", [], ["--backbone", "digits"]),
        ("--encoder", [], ["--encoder", "clap"]),
        ("--model", [], ["--model", "adapter"]),
        ("", ["--workers", "2"], ["--workers"]),
        ("", ["--model", "MODEL"], ["second adapter"]),
        ("", ["--encoder-set", "octaves=1"], ["octaves"]),
        ("--encoder", ["--encoder", "heard.npy"], ["known sounds", "weights"]),
        ("--backbone", ["--backbone", "no-such-folder"], ["no-such-folder"]),
    ],
)
def test_mistakes_at_the_start(
    parts: dict[str, str],
    left_out: str,
    more: list[str],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # what it sets of these ends with the test
    named = [each for pair in parts.items() if pair[0] != left_out for each in pair]
    more = [parts["--model"] if each == "MODEL" else each for each in more]
    assert main(["serve", "--port", "0", *named, *more]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert all(word in said for word in words), said


# The page.


@pytest.fixture
def visit(parts: dict[str, str], tmp_path: Path) -> Iterator[Visit]:
    options = [each for pair in parts.items() for each in pair]
    with site(tmp_path, *options, "--model", "digits") as here, here.visit() as made:
        yield made


@pytest.mark.slow
def test_the_page(visit: Visit) -> None:
    """It shows what this model has, how far it is, and its pictures; with another model all of it is back."""
    expect(visit.on("h2:visible").first).to_have_text("Make a sound. See it.")
    for gone in ("#tab-live", "#tab-morph", "#split", "#variation", "#example"):
        expect(visit.on(gone)).to_be_hidden()
    visit.keep("any-sound")
    assert not visit.violations()
    visit.settle(seed=3, num_images=2)
    visit.on("#prompt").fill("rain")
    visit.on("#steps").fill("40")
    visit.page.evaluate(
        """() => { window.timings = []; const place = document.getElementById("timing");
        new MutationObserver(() => timings.push(place.textContent)).observe(place, {childList: true}); }"""
    )
    with visit.drawing():
        visit.on("#file").set_input_files(EXAMPLES / "seven.wav")
    expect(visit.on(PICTURES)).to_have_count(2)
    timings = visit.page.evaluate("timings")
    assert "Step 40 of 40; 1 of 2 pictures there." in timings
    assert timings[-1].startswith("The first picture came after")
    expect(visit.on(".seen")).to_be_hidden()
    told = "This model does not say what it heard. It paints what the sound is most like of all that it learned."
    expect(visit.on("#heard")).to_have_text(told)
    assert not visit.violations()
    visit.keep("any-sound-drawn")
    first = visit.pictures()
    assert first.shape == (2, 16, 16)
    with visit.drawing():
        visit.on("#prompt").fill("")
        visit.on("#prompt").blur()
    assert (visit.pictures() != first).any()
    with visit.drawing():
        visit.on("#model").select_option("digits")
    assert visit.pictures().shape == (2, 28, 28)
    for back in ("#tab-live", "#tab-morph", "#split", "#example", ".seen"):
        expect(visit.on(back)).to_be_visible()
    expect(visit.on("#prompt")).to_be_hidden()
    visit.on("#tab-live").click()
    visit.on("#model").select_option("toy")
    expect(visit.on("#panel-draw")).to_be_visible()
    expect(visit.on("#tab-draw")).to_have_attribute("aria-selected", "true")
