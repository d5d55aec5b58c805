"""The routes: what they answer is what the library makes of the same sound."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi")

from onnx_models import generator_bytes, write_generator
from served import LINES, PHONE, SEVEN, TWO, TestClient, call, decoded, lines, pixels, serving, unzipped
from soundsight import Alignment, AudioToImage, __version__
from soundsight.audio import decode

WAV = {"content-type": "audio/wav"}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def pipe() -> AudioToImage:
    return AudioToImage.from_pretrained("digits")


def _ask(client: TestClient, sound: bytes = SEVEN, **options: Any) -> bytes:
    answer = client.post("/v1/images", params=options, content=sound, headers=WAV)
    assert answer.status_code == 200, answer.text
    return bytes(answer.content)


def _near(found: np.ndarray, expected: np.ndarray, most: int = 1) -> None:
    """Within a grey level: a call of several pictures may have another last bit."""
    expected = expected[..., 0] if expected.shape[-1] == 1 else expected
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= most


def _cut(sheet: np.ndarray, num_rows: int, num_columns: int, side: int = 28) -> np.ndarray:
    """The pictures of a sheet: white gaps, all of one width, around each."""
    gap = (sheet.shape[1] - num_columns * side) // (num_columns + 1)
    assert gap > 0
    assert sheet.shape == (gap + num_rows * (side + gap), gap + num_columns * (side + gap))
    is_gap = np.ones(sheet.shape, bool)
    found = []
    for row in range(num_rows):
        for column in range(num_columns):
            here = tuple(slice(gap + i * (side + gap), (i + 1) * (side + gap)) for i in (row, column))
            found.append(sheet[here])
            is_gap[here] = False
    assert (sheet[is_gap] == 255).all()
    return np.stack(found)


# Pictures.


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_one_picture(client: TestClient, pipe: AudioToImage, seed: int) -> None:
    answer = client.post("/v1/images", params={"seed": seed}, content=SEVEN, headers=WAV)
    assert answer.headers["content-type"] == "image/png"
    assert (answer.headers["x-seed"], answer.headers["x-model"]) == (str(seed), "digits")
    assert answer.headers["x-heard"] == "7"
    _near(pixels(answer.content), pipe(SEVEN, 1, seed).array[0])
    with Image.open(io.BytesIO(answer.content)) as image:
        origin = {name: image.text[name] for name in ("model", "seed", "index")}
    assert origin == {"model": "digits", "seed": str(seed), "index": "0"}


@pytest.mark.parametrize(("form", "most"), [("png", 1), ("webp", 1), ("jpeg", 24)])
@pytest.mark.parametrize("num_images", [1, 3])
def test_sheets(client: TestClient, pipe: AudioToImage, form: str, most: int, num_images: int) -> None:
    answer = client.post(f"/v1/images?format={form}&num_images={num_images}&seed=5", content=SEVEN)
    assert answer.headers["content-type"] == f"image/{form}"
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == form.upper()
        sheet = np.asarray(image.convert("L"))
    expected = pipe(SEVEN, num_images, 5).array[..., 0]
    if num_images == 1:
        _near(sheet, expected[0], most)
    elif form == "jpeg":  # which blurs the edges of the gaps
        assert sheet.shape[1] > 3 * 28
    else:
        _near(_cut(sheet, 1, num_images), expected)


def test_a_zip(client: TestClient, pipe: AudioToImage) -> None:
    answer = client.post("/v1/images?format=zip&num_images=12&seed=3", content=SEVEN)
    assert answer.headers["content-type"] == "application/zip"
    found = unzipped(answer.content)
    assert list(found) == [f"picture_{i}.png" for i in range(12)]
    _near(np.stack(list(found.values())), pipe(SEVEN, 12, 3).array)


@pytest.mark.parametrize("seed", [0, 2**53, 2**53 + 1, 2**64 - 1])
def test_json(client: TestClient, pipe: AudioToImage, seed: int) -> None:
    told = json.loads(_ask(client, num_images=2, seed=seed, format="json"))
    assert told["model"] == "digits"
    # What a browser's numbers cannot hold is a text.
    assert told["seed"] == (seed if seed <= 2**53 else str(seed))
    assert [(image["part"], image["index"]) for image in told["images"]] == [(0, 0), (0, 1)]
    _near(np.stack([decoded(image) for image in told["images"]]), pipe(SEVEN, 2, seed).array)
    [sound] = told["sounds"]
    _check_sound(sound, 0, 1, pipe)


def _check_sound(sound: dict[str, Any], part: int, num_parts: int, pipe: AudioToImage) -> None:
    assert (sound["part"], sound["num_parts"]) == (part, num_parts)
    clip = (pipe.hear(PHONE, split=True) if num_parts > 1 else pipe.hear(SEVEN))[part]
    assert sound["duration_s"] == pytest.approx(clip.duration_s, abs=1e-3)
    assert 0 < len(sound["peaks"]) <= 200
    assert min(sound["peaks"]) >= 0
    assert max(sound["peaks"]) == 1.0
    features = pixels(base64.b64decode(sound["features"]["png"]))
    assert features.shape == (sound["features"]["bins"], sound["features"]["frames"]) == (48, 48)
    # Low frequencies at the bottom: the rows of a picture count downwards, bins upwards.
    expected = pipe.extract([clip])[0]
    assert np.abs(features[::-1] / 255 - expected).max() < 1 / 255
    recognised = pipe.recognise(expected)
    assert recognised is not None
    assert sound["heard"] == recognised.to_json()


def test_lines(client: TestClient, pipe: AudioToImage) -> None:
    answer = client.post("/v1/images?format=ndjson&num_images=20&seed=9", content=SEVEN)
    assert answer.headers["content-type"] == LINES
    sound, *images, end = lines(answer.content)
    assert [each["type"] for each in (sound, *images, end)] == ["sound", *["image"] * 20, "end"]
    _check_sound(sound, 0, 1, pipe)
    assert [(image["part"], image["index"]) for image in images] == [(0, i) for i in range(20)]
    _near(np.stack([decoded(image) for image in images]), pipe(SEVEN, 20, 9).array)
    assert end["num_images"] == 20
    assert 0 < end["seconds"] < 10


def test_lines_for_clients_that_know_no_pieces(client: TestClient) -> None:
    """HTTP/1.0 has no chunks: the answer comes whole, and says how long it is."""
    body = {"type": "http.request", "body": SEVEN, "more_body": False}
    start, whole = call(client, [body], query="format=ndjson&num_images=2", version="1.0")
    assert dict(start["headers"])[b"content-length"] == b"%d" % len(whole["body"])
    assert [each["type"] for each in lines(whole["body"])] == ["sound", "image", "image", "end"]


def test_a_recording_of_several_words(client: TestClient, pipe: AudioToImage) -> None:
    parts = pipe(PHONE, 2, 4, split=True)
    assert len(parts) == 7
    expected = np.stack([part.array[..., 0] for part in parts])
    _near(_cut(pixels(_ask(client, PHONE, split=True, num_images=2, seed=4)), 7, 2).reshape(7, 2, 28, 28), expected)
    told = lines(_ask(client, PHONE, split="true", num_images=2, seed=4, format="ndjson"))
    sounds = [each for each in told if each["type"] == "sound"]
    for part, sound in enumerate(sounds):
        _check_sound(sound, part, 7, pipe)
    images = {(each["part"], each["index"]): decoded(each) for each in told if each["type"] == "image"}
    assert sorted(images) == [(part, index) for part in range(7) for index in range(2)]
    for (part, index), image in images.items():
        _near(image, expected[part, index])
    found = unzipped(_ask(client, PHONE, split=1, num_images=2, seed=4, format="zip"))
    for part in range(7):
        for index in range(2):
            _near(found[f"picture-{part + 1}_{index}.png"], expected[part, index])
    whole = json.loads(_ask(client, PHONE, split=True, num_images=2, seed=4, format="json"))
    assert (len(whole["sounds"]), len(whole["images"])) == (7, 14)
    _near(pixels(_ask(client, PHONE, seed=4)), pipe(PHONE, 1, 4).array[0])  # as one


@pytest.mark.parametrize("size", [8, 29, 112, 1000])
def test_sizes(client: TestClient, pipe: AudioToImage, size: int) -> None:
    found = pixels(_ask(client, size=size, seed=2))
    assert found.shape == (size, size)
    _near(found, pipe(SEVEN, 1, 2, size).array[0])


@pytest.mark.parametrize("variation", [0, 0.5, 2])
def test_variation(client: TestClient, pipe: AudioToImage, variation: float) -> None:
    found = np.stack(list(unzipped(_ask(client, num_images=3, variation=variation, format="zip")).values()))
    _near(found, pipe(SEVEN, 3, 0, variation=variation).array)
    assert (np.abs(found[0].astype(int) - found[1]).max() <= 1) == (variation == 0)


def test_options_in_query_form_or_both(client: TestClient) -> None:
    """All ways of saying the same give the same answer."""
    options = {"num_images": "3", "seed": "77", "format": "zip", "size": "56"}
    expected = _ask(client, **options)
    first, second = dict(list(options.items())[:2]), dict(list(options.items())[2:])
    for query, fields in ((options, {}), ({}, options), (first, second), (second, first)):
        answer = client.post("/v1/images", params=query, data=fields, files={"file": ("any name", SEVEN)})
        assert answer.status_code == 200, answer.text
        assert answer.content == expected


@pytest.mark.parametrize("kind", ["audio/flac", "audio/x-nothing", "video/mp4", "application/octet-stream", None])
def test_the_kind_that_is_named_does_not_matter(client: TestClient, kind: str | None) -> None:
    answer = client.post("/v1/images", content=SEVEN, headers={} if kind is None else {"content-type": kind})
    assert answer.content == _ask(client)


# Morphs and embeddings.


def test_a_morph_in_lines(client: TestClient, pipe: AudioToImage) -> None:
    files = {"first": ("a", SEVEN), "second": ("b", TWO)}
    answer = client.post("/v1/morphs?num_frames=9", data={"seed": "6"}, files=files)
    assert answer.headers["content-type"] == LINES
    assert (answer.headers["x-seed"], answer.headers["x-model"]) == ("6", "digits")
    *images, end = lines(answer.content)
    assert (end["type"], end["num_images"]) == ("end", 9)
    assert {image["type"] for image in images} == {"image"}
    assert [image["index"] for image in images] == list(range(9))
    assert [image["place"] for image in images] == pytest.approx(np.linspace(0, 1, 9), abs=1e-6)
    frames = np.stack([decoded(image) for image in images])
    _near(frames, pipe.morph(SEVEN, TWO, 9, 6).array)
    _near(frames[0], pipe(SEVEN, 1, 6).array[0])
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 100


def test_a_morph_as_zip_and_film(client: TestClient, pipe: AudioToImage) -> None:
    files = {"first": SEVEN, "second": TWO}
    expected = pipe.morph(SEVEN, TWO, 24, 0, 56).array
    found = unzipped(client.post("/v1/morphs?format=zip&size=56", files=files).content)
    assert list(found) == [f"frame_{i:02}.png" for i in range(24)]
    _near(np.stack(list(found.values())), expected)
    answer = client.post("/v1/morphs?format=gif&size=56", files=files)
    assert answer.headers["content-type"] == "image/gif"
    with Image.open(io.BytesIO(answer.content)) as film:
        assert film.size == (56, 56)
        film.seek(0)
        _near(np.asarray(film.convert("L")), expected[0], 8)
        # A film may go there and back, and equal pictures are one longer picture.
        assert 1 < film.n_frames <= 48


def test_embeddings(client: TestClient) -> None:
    space = Alignment.from_pretrained()
    places = []
    for sound in (SEVEN, TWO):
        for answer in (
            client.post("/v1/embeddings", content=sound),
            client.post("/v1/embeddings?model=alignment", files={"file": sound}),
        ):
            assert answer.headers["content-type"] == "application/json"
            told = answer.json()
            expected = space.embed_sounds(space.extract(space.hear(sound)))[0]
            assert (told["model"], told["size"], len(told["embedding"])) == ("alignment", len(expected), len(expected))
            assert np.linalg.norm(told["embedding"]) == pytest.approx(1, abs=1e-5)
            np.testing.assert_allclose(told["embedding"], expected, atol=1e-6)
        places.append(told["embedding"])
    assert np.dot(*places) < 0.9


# What there is.


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/v1/models", "/v1/examples", "/openapi.json"])
def test_heads(client: TestClient, path: str) -> None:
    """RFC 9110, section 9.1: who answers GET answers HEAD."""
    head = client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == client.get(path).headers["content-type"]


def test_models(client: TestClient, pipe: AudioToImage) -> None:
    answer = client.get("/v1/models").json()
    assert answer["max_images"] == 64
    [told] = answer["models"]
    assert (told["name"], told["default"], told["labels"]) == ("digits", True, list("0123456789"))
    assert told["image"] == {"width": 28, "height": 28, "channels": 1}
    assert set(told["controls"]) <= {"variation", "guidance", "steps"}
    assert told["says"] is pipe.listens
    card = pipe.folder.card
    assert (told["summary"], told["limits"], told["licence"]) == (card["summary"], card["limits"], card["licence"])
    assert all(any(source["attribution"] in each for each in told["data"]) for source in card["data"])
    for name in ("variation", "guidance", "steps"):
        answer = client.post(f"/v1/images?{name}=1", content=SEVEN)
        assert answer.status_code == (200 if name in told["controls"] else 422)


def test_examples_exist_and_sound(client: TestClient) -> None:
    examples = client.get("/v1/examples").json()["examples"]
    assert len({each["name"] for each in examples}) == len(examples) >= 10
    for each in examples:
        assert each["title"]
        answer = client.get(each["url"])
        assert answer.status_code == 200
        assert decode(answer.content, sample_rate_hz=8000).duration_s > 0.2
    [seven] = [each for each in examples if each["name"] == "seven"]
    assert client.post("/v1/images", content=client.get(seven["url"]).content).status_code == 200


def test_health(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok", "version": __version__}


def test_several_models_each_by_its_name(tmp_path: Any, pipe: AudioToImage) -> None:
    """One that says what it hears, with a name that no header can carry; its answers have it escaped."""
    name = "数字 \n ü"
    folder = write_generator(tmp_path / "toy", generator_bytes(quiet=-1.0), name=name)
    mute = write_generator(tmp_path / "mute", generator_bytes(), name="mute")
    toy = AudioToImage.from_pretrained(folder)
    with serving(models=(str(folder), "digits", str(mute))) as client:
        told = client.get("/v1/models").json()["models"]
        assert [(each["name"], each["default"], each["says"]) for each in told] == [
            (name, True, True),
            ("digits", False, True),
            ("mute", False, False),
        ]
        answer = client.post("/v1/images", params={"model": "mute"}, content=SEVEN)
        assert (answer.status_code, "x-heard" in answer.headers) == (200, False)
        [sound] = json.loads(_ask(client, format="json", model="mute"))["sounds"]
        assert sound["heard"] is None
        for model in (None, name):
            answer = client.post("/v1/images", params={} if model is None else {"model": model}, content=SEVEN)
            assert answer.status_code == 200, answer.text
            assert answer.headers["x-heard"] == "7"
            assert json.loads(f'"{answer.headers["x-model"]}"') == name
            _near(pixels(answer.content), toy(SEVEN).array[0])
        _near(pixels(_ask(client, model="digits")), pipe(SEVEN).array[0])
        [heard] = [each["heard"] for each in json.loads(_ask(client, format="json"))["sounds"]]
        assert heard == {"label": "7", "confidence": 1.0, "outlier": 0.0}


def test_zips_are_the_same_bytes_each_time(client: TestClient) -> None:
    one, other = (_ask(client, num_images=2, format="zip") for _ in range(2))
    assert one == other
    assert zipfile.is_zipfile(io.BytesIO(one))
