"""The page as people use it: a real server, a real Chromium, and a microphone that plays a recording."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile
import soxr

from serve_process import served
from soundsight.evaluation.networks import load_judge

pytest.importorskip("fastapi")
playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
expect = playwright.expect

TIMEOUT_MS = 20_000  # for machines under load
RATE_HZ = 48_000
PAD_S = 0.5
READY = "body[data-ready=yes]"
PICTURES = "#gallery .picture img"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--use-fake-device-for-media-stream"),
    # Whatever a page or the browser itself would fetch from elsewhere does not get there.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
# What a screen reader is given to say, and how often; an output is read out unless it says otherwise.
LISTEN = """() => {
  window.announced = [];
  const live = "[role=status], [role=alert], [aria-live]:not([aria-live=off]), output:not([aria-live=off])";
  for (const region of document.querySelectorAll(live)) {
    const observer = new MutationObserver(() => { if (region.textContent) announced.push(region.textContent); });
    observer.observe(region, {childList: true, characterData: true, subtree: true});
  }
}"""
# What is shown, not what was sent: each picture as the browser has decoded it, in grey.
SHOWN = """images => Promise.all(images.map(async (image) => {
  await image.decode();
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const brush = new OffscreenCanvas(width, height).getContext("2d");
  brush.drawImage(image, 0, 0);
  const grey = brush.getImageData(0, 0, width, height).data.filter((_, i) => i % 4 === 0);
  return {width, height, grey: btoa(String.fromCharCode(...grey))};
}))"""


@contextmanager
def server(home: Path, *options: str) -> Iterator[str]:
    """``soundsight serve`` on a free port; gives its address, and ends it as Ctrl+C does."""
    home.mkdir(exist_ok=True)
    with served(home, *options) as process:
        yield f"http://{process.host}:{process.port}"
        process.stop(signal.SIGINT)
    assert "Traceback" not in process.log.read_text(), process.log.read_text()


@dataclass
class Watch:
    """What a page asked for and said while it was open.

    Attributes:
        expected: Patterns of what the console may say; a browser reports each answer that is an error.
    """

    origin: str
    urls: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def follow(self, context: Any) -> None:
        context.on("request", lambda request: self.urls.append(request.url))
        context.on("page", lambda page: page.on("websocket", lambda socket: self.urls.append(socket.url)))
        context.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        context.on("weberror", lambda error: self.said.append(f"thrown: {error.error}"))

    def check(self) -> None:
        here = urlsplit(self.origin).netloc
        foreign = [url for url in self.urls if urlsplit(url).netloc != here and not url.startswith(("data:", "blob:"))]
        assert self.urls
        assert not foreign, foreign
        odd = [said for said in self.said if not any(re.search(pattern, said) for pattern in self.expected)]
        assert not odd, odd


@dataclass
class Visit:
    """A page that is open, in a profile of its own."""

    page: Any
    watch: Watch
    site: Site

    def on(self, selector: str) -> Any:
        return self.page.locator(selector)

    def open(self, url: str = "") -> None:
        self.page.goto(url or self.watch.origin)
        self.page.wait_for_selector(READY)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Wait until what is done inside was answered and all pictures are shown."""
        with self.page.expect_response(lambda answer: "/v1/images" in answer.url):
            yield
        expect(self.on("#gallery.busy")).to_have_count(0)
        expect(self.on(f"{PICTURES}")).not_to_have_count(0)

    def example(self, name: str) -> None:
        with self.drawing():
            self.on(f"[data-example={name}]").click()

    def settle(self, *, seed: int | None = None, num_images: int | None = None) -> None:
        """Settings that hold before anything is drawn."""
        if seed is not None:
            self.on("#seed").fill(str(seed))
            self.on("#seed-lock").check()
        if num_images is not None:
            self.on("#num-images").fill(str(num_images))
            self.on("#num-images").blur()

    def pictures(self, selector: str = PICTURES) -> np.ndarray:
        """The pictures shown: (P, H, W) uint8."""
        shown = self.on(selector).evaluate_all(SHOWN)
        assert shown, f"no picture at {selector}"
        return np.stack(
            [
                np.frombuffer(base64.b64decode(one["grey"]), np.uint8).reshape(one["height"], one["width"])
                for one in shown
            ]
        )

    def digits(self, selector: str = PICTURES) -> list[int]:
        """The pictures shown, as LeNet-5 reads them."""
        return self.site.read(self.pictures(selector))

    def keep(self, name: str) -> None:
        """A screenshot, kept with the test and where SOUNDSIGHT_ARTEFACTS says."""
        for folder in {self.site.folder, Path(os.environ.get("SOUNDSIGHT_ARTEFACTS") or self.site.folder)}:
            folder.mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=folder / f"page-{name}.png", full_page=True, animations="disabled")

    def violations(self) -> list[str]:
        """What axe-core has against the page as it is: rules and elements."""
        found = axe.Axe().run(self.page).response["violations"]
        return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


class Site:
    """A server, a browser with a fake microphone, and a judge of pictures."""

    def __init__(self, browser: Any, url: str, folder: Path) -> None:
        self._browser, self._judge = browser, load_judge("lenet5", 10, (1, 28, 28))[1]
        self.url, self.folder = url, folder

    @contextmanager
    def visit(self, url: str = "", *, may_listen: bool = True, **options: Any) -> Iterator[Visit]:
        """The page, loaded; what it asked for and said is looked at in the end."""
        permissions = ["microphone"] if may_listen else []
        context = self._browser.new_context(permissions=permissions, accept_downloads=True, **options)
        context.set_default_timeout(TIMEOUT_MS)
        watch = Watch(url or self.url)
        watch.follow(context)
        try:
            visit = Visit(context.new_page(), watch, self)
            visit.page.goto(watch.origin)
            if not url:
                visit.page.wait_for_selector(READY)
            yield visit
            watch.check()
        finally:
            context.close()

    def speak(self, recording: Path) -> float:
        """Put a recording with silence around it before the microphone; returns how many seconds it plays."""
        samples, rate_hz = soundfile.read(recording, dtype="float32")
        silence = np.zeros(int(PAD_S * RATE_HZ), np.float32)
        played = np.concatenate([silence, soxr.resample(samples, rate_hz, RATE_HZ), silence])
        soundfile.write(self.microphone, played, RATE_HZ, subtype="PCM_16")  # read anew whenever it is opened
        return len(played) / RATE_HZ

    @property
    def microphone(self) -> Path:
        return microphone_of(self.folder)

    def read(self, images_PHW: np.ndarray) -> list[int]:
        return [int(digit) for digit in self._judge(images_PHW[:, None])[0].argmax(axis=1)]


def microphone_of(folder: Path) -> Path:
    return folder / "microphone.wav"


@contextmanager
def site(folder: Path, *options: str) -> Iterator[Site]:
    """All of it; skips where there is no Chromium."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium: none of {', '.join(NAMES)} is installed")
    playwright.expect.set_options(timeout=TIMEOUT_MS)
    flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone_of(folder)}%noloop"]
    with server(folder / "server", *options) as url, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=flags)
        try:
            yield Site(browser, url, folder)
        finally:
            browser.close()


def most(digits: list[int]) -> int:
    """The digit that most pictures show."""
    return int(np.bincount(digits).argmax())
