"""The page's Draw tab in Chromium: examples, files, seeds, downloads, history, and what it asks the network for."""

from __future__ import annotations

import base64
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import soundsight.server
from browsers import PICTURES, READY, Site, Visit, expect, most, server, site
from served import EXAMPLES, pixels, unzipped

pytestmark = pytest.mark.slow

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
PHONE_NUMBER = [5, 5, 5, 0, 1, 2, 3]  # as examples/make_examples.sh has it spoken
MAX_PAGE_BYTES = 150_000
BAD_SOUND = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(range(40))
DROP = """([name, sound]) => {
  const files = new DataTransfer();
  files.items.add(new File([Uint8Array.from(atob(sound), (c) => c.charCodeAt(0))], name));
  return files;
}"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("page")) as made:
        yield made


@pytest.fixture
def visit(here: Site) -> Iterator[Visit]:
    with here.visit() as made:
        yield made


# Sounds in, pictures out.


def test_the_examples_are_drawn_as_the_digits_that_they_say(visit: Visit) -> None:
    visit.keep("empty")
    visit.settle(seed=1)
    names = [button.get_attribute("data-example") for button in visit.on("#example button").all()]
    assert names == [*DIGITS, "phone-number"]
    read = []
    for name in DIGITS:
        visit.example(name)
        expect(visit.on("#example [aria-pressed=true]")).to_have_attribute("data-example", name)
        expect(visit.on("#status")).to_have_text(re.compile(rf"4 pictures of {name} made with seed 1\."))
        read.append(most(visit.digits()))
    assert sum(digit == i for i, digit in enumerate(read)) >= 9, read
    visit.keep("drawn")


def test_a_phone_number_is_cut_at_its_silences(visit: Visit) -> None:
    visit.settle(seed=1, num_images=4)
    visit.example("phone-number")
    expect(visit.on("#split")).to_be_checked()
    expect(visit.on("#gallery .part")).to_have_count(7)
    groups = [visit.digits(f"#gallery [data-part='{part}'] img") for part in range(7)]
    assert [len(group) for group in groups] == [4] * 7
    assert [most(group) for group in groups] == PHONE_NUMBER
    visit.keep("phone-number")
    with visit.drawing():
        visit.on("#split").uncheck()
    expect(visit.on("#gallery .part")).to_have_count(1)


def test_several_files_are_drawn_in_turn(visit: Visit) -> None:
    visit.settle(seed=1)
    with visit.drawing():
        visit.on("#file").set_input_files([EXAMPLES / "seven.wav", EXAMPLES / "two.wav", EXAMPLES / "zero.wav"])
    titles = visit.on("#gallery .part-title")
    expect(titles).to_have_count(3)
    assert [re.split(r"\W", title)[0] for title in titles.all_text_contents()] == ["seven", "two", "zero"]
    digits = visit.digits()
    assert [most(digits[i : i + 4]) for i in (0, 4, 8)] == [7, 2, 0]
    expect(visit.on("#status")).to_contain_text("12 pictures of 3 sounds")
    expect(visit.on("#history li")).to_have_count(3)
    expect(visit.on(".alert")).to_have_count(0)


def test_pictures_of_several_files_come_as_one_zip(visit: Visit, tmp_path: Path) -> None:
    visit.settle(seed=3, num_images=2)
    (tmp_path / "again").mkdir()
    other = tmp_path / "again" / "sieben ö.wav"
    for path, name in ((tmp_path / "sieben ö.wav", "seven"), (other, "two")):
        path.write_bytes((EXAMPLES / f"{name}.wav").read_bytes())
    with visit.drawing():
        visit.on("#file").set_input_files([tmp_path / "sieben ö.wav", other])
    shown = visit.pictures()
    with visit.page.expect_download() as saved:
        visit.on("#download-all").click()
    assert saved.value.suggested_filename == "pictures-seed-3.zip"
    held = unzipped(Path(saved.value.path()).read_bytes())
    assert list(held) == ["sieben-ö_0.png", "sieben-ö_1.png", "sieben-ö-2_0.png", "sieben-ö-2_1.png"]
    np.testing.assert_array_equal(np.stack(list(held.values())), shown)


def test_a_damaged_file_is_one_plain_sentence_and_the_others_are_drawn(visit: Visit) -> None:
    visit.watch.expected.append("status of (415|422)")
    bad = {"name": "broken.wav", "mimeType": "audio/wav", "buffer": BAD_SOUND}
    good = {"name": "two.wav", "mimeType": "audio/wav", "buffer": (EXAMPLES / "two.wav").read_bytes()}
    visit.settle(seed=1)
    with visit.page.expect_response("**/v1/images*"):
        visit.on("#file").set_input_files([bad])
    alert = visit.on("#alert .alert p")
    expect(alert).to_have_count(1)
    told = alert.inner_text()
    assert re.fullmatch(r"broken\.wav: [^\n{}<>]+[.?]", told), told
    expect(visit.on("#history li")).to_have_count(0)
    visit.keep("damaged")
    visit.example("seven")
    expect(visit.on("#waveform")).to_be_visible()
    visit.on("#file").set_input_files([bad])
    expect(alert).to_have_count(1)
    for gone in ("#waveform", "#play", ".seen", "#heard", "#gallery .picture"):
        expect(visit.on(gone).first).to_be_hidden()
    assert "seven" not in visit.on("#sound-name").inner_text()
    expect(visit.on("#history li")).to_have_count(1)
    visit.on("#history-clear").click()
    with visit.drawing():
        visit.on("#file").set_input_files([bad, good])
    expect(alert).to_contain_text("broken.wav")
    assert most(visit.digits()) == 2
    visit.example("three")
    expect(visit.on(".alert")).to_have_count(0)
    assert most(visit.digits()) == 3


def test_a_dropped_file_is_drawn(visit: Visit) -> None:
    visit.settle(seed=1)
    sound = base64.b64encode((EXAMPLES / "eight.wav").read_bytes()).decode()
    files = visit.page.evaluate_handle(DROP, ["eight.wav", sound])
    visit.page.dispatch_event("#drop", "dragenter", {"dataTransfer": files})
    expect(visit.on("#drop")).to_have_class(re.compile(r"\bover\b"))
    with visit.drawing():
        visit.page.dispatch_event("#drop", "drop", {"dataTransfer": files})
    expect(visit.on("#drop")).not_to_have_class(re.compile(r"\bover\b"))
    assert most(visit.digits()) == 8


# What it is drawn with.


def test_a_kept_seed_gives_the_same_pictures_and_a_new_one_others(visit: Visit) -> None:
    visit.settle(seed=5)
    visit.example("six")
    first = visit.pictures()
    with visit.drawing():
        visit.on("#again").click()
    np.testing.assert_array_equal(visit.pictures(), first)
    visit.on("#seed-lock").uncheck()
    with visit.drawing():
        visit.on("#again").click()
    assert visit.on("#seed").input_value() != "5"
    assert (visit.pictures() != first).any()
    with visit.drawing():
        visit.on("#seed").fill("5")
        visit.on("#seed").press("Enter")
    np.testing.assert_array_equal(visit.pictures(), first)


def test_the_number_of_pictures_and_their_variation_are_as_set(visit: Visit) -> None:
    visit.settle(seed=5)
    visit.example("nine")
    for wanted in (1, 7, 64):
        with visit.drawing():
            visit.settle(num_images=wanted)
        expect(visit.on(PICTURES)).to_have_count(wanted)
    visit.keep("many")
    with visit.drawing():
        visit.settle(num_images=3)
    assert len(np.unique(visit.pictures(), axis=0)) == 3
    with visit.drawing():
        visit.on("#variation").fill("0")
    assert len(np.unique(visit.pictures(), axis=0)) == 1
    assert most(visit.digits()) == 9


def test_a_server_that_draws_few_pictures_says_so_before(here: Site, tmp_path: Path) -> None:
    with server(tmp_path, "--max-images", "2") as url, here.visit(url) as visit:
        visit.page.wait_for_selector(READY)
        expect(visit.on("#num-images")).to_have_value("2")
        visit.example("seven")
        expect(visit.on(PICTURES)).to_have_count(2)
        visit.on("#num-more").click()
        expect(visit.on("#num-images")).to_have_value("2")


def test_downloads_are_what_is_shown(visit: Visit) -> None:
    visit.settle(seed=5, num_images=5)
    visit.example("four")
    shown = visit.pictures()
    visit.on("#gallery .picture").nth(2).click()
    for size in ("28", "224"):
        visit.on("#download-size").select_option(size)
        with visit.page.expect_download() as saved:
            visit.on("#download-one").click()
        assert re.fullmatch(r"four.*\.png", saved.value.suggested_filename)
        content = Path(saved.value.path()).read_bytes()
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert pixels(content).shape[:2] == (int(size), int(size))
        if size == "28":
            np.testing.assert_array_equal(pixels(content), shown[2])
    visit.page.keyboard.press("Escape")
    with visit.page.expect_download() as saved:
        visit.on("#download-all").click()
    assert saved.value.suggested_filename == "four-seed-5.zip"
    held = unzipped(Path(saved.value.path()).read_bytes())
    assert sorted(held) == [f"four_{i}.png" for i in range(5)]
    np.testing.assert_array_equal(np.stack([held[name] for name in sorted(held)]), shown)


def test_the_history_survives_a_reload(visit: Visit) -> None:
    visit.settle(seed=5)
    shown = {}
    for name in ("five", "one", "zero"):
        visit.example(name)
        shown[name] = visit.pictures()
    names = visit.on("#history li .name")
    expect(names).to_have_text(["zero", "one", "five"])
    visit.open()
    expect(names).to_have_text(["zero", "one", "five"])
    num_asked = sum("/v1/images" in url for url in visit.watch.urls)
    visit.on("#history .restore").nth(2).click()
    expect(visit.on("#status")).to_contain_text("4 pictures of five made with seed 5")
    np.testing.assert_array_equal(visit.pictures(), shown["five"])
    assert sum("/v1/images" in url for url in visit.watch.urls) == num_asked  # kept, not made anew
    visit.keep("history")
    visit.on("#history .remove").nth(1).click()
    expect(names).to_have_text(["zero", "five"])
    visit.open()
    expect(names).to_have_text(["zero", "five"])
    visit.on("#history-clear").click()
    expect(names).to_have_count(0)
    visit.on("#history-undo").click()
    expect(names).to_have_text(["zero", "five"])
    visit.on("#history-clear").click()
    visit.open()
    expect(names).to_have_count(0)


# What it does when the server is busy, and what it asks the network for.


def test_a_busy_server_is_waited_for_once(visit: Visit) -> None:
    visit.watch.expected.append("status of 429")
    problem = '{"type":"about:blank","title":"Busy","status":429,"detail":"the queue is full"}'
    headers = {"Content-Type": "application/problem+json", "Retry-After": "2"}
    visit.page.route("**/v1/images*", lambda route: route.fulfill(status=429, headers=headers, body=problem), times=1)
    visit.settle(seed=1)
    visit.on("[data-example=seven]").click()
    expect(visit.on("#status")).to_have_text(re.compile(r"busy\. Trying once more in 2 seconds"))
    visit.keep("busy")
    expect(visit.on(PICTURES)).to_have_count(4)
    expect(visit.on("#gallery.busy")).to_have_count(0)
    assert most(visit.digits()) == 7
    headers["Retry-After"] = "1"
    visit.page.route("**/v1/images*", lambda route: route.fulfill(status=429, headers=headers, body=problem))
    visit.on("#again").click()
    expect(visit.on(".alert p")).to_have_text("The queue is full.")


def test_a_server_that_is_gone_is_told(visit: Visit) -> None:
    visit.watch.expected.append("Failed to load resource")
    alert = visit.on(".alert p")
    lines = {"Content-Type": "application/x-ndjson"}
    for answer, told in (
        (lambda route: route.abort(), "cannot be reached"),
        (lambda route: route.fulfill(headers=lines, body=""), "stopped before all pictures had come"),
        (lambda route: route.fulfill(status=502, body="<html>"), "Bad Gateway"),
    ):
        visit.page.route("**/v1/images*", answer, times=1)
        visit.on("[data-example=two]").click()
        expect(alert).to_have_text(re.compile(rf"^(?=[A-Z])[^<>]*{told}[^<>]*[.?]$"))
        expect(visit.on("#status")).to_have_text("No pictures were made.")
    visit.example("two")  # and it is no matter once it is back
    expect(alert).to_have_count(0)


def test_the_page_is_small_and_could_ask_no_other_server(visit: Visit) -> None:
    loaded = [url for url in visit.watch.urls if "/v1/" not in url]
    assert any(url.endswith("app.js") for url in loaded)
    sizes = {url: len(urllib.request.urlopen(url).read()) for url in loaded if url.startswith("http")}
    page = Path(soundsight.server.__file__).parent / "page"
    on_disk = sum(path.stat().st_size for path in page.iterdir() if path.is_file())
    print(f"page: {sum(sizes.values())} bytes loaded, {on_disk} in all")
    assert sum(sizes.values()) <= on_disk <= MAX_PAGE_BYTES
    # That no request goes elsewhere is looked at after every test; here that none could.
    blocked = visit.page.evaluate(
        """() => new Promise((resolve) => {
          document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
          fetch("https://elsewhere.example/").catch(() => {});
        })"""
    )
    assert blocked == "connect-src"
    visit.watch.expected.append("Content Security Policy|elsewhere")


def test_the_history_keeps_no_more_than_fits(visit: Visit) -> None:
    """Large pictures, as of a text-to-image model, push older ones out: of 30 MiB each two, 64 MiB in all."""
    kept = visit.page.evaluate(
        """async () => {
          const history = await import("./static/history.js");
          const png = "A".repeat(30 * 2 ** 20);
          for (const id of ["a", "b", "c"]) {
            const options = {seed: 1};
            await history.put({id, name: id, time: 1, options, sound: null, parts: [{images: [{png}]}]});
          }
          return history.all().map(({id}) => id);
        }"""
    )
    assert kept == ["c", "b"]
    expect(visit.on("#history li")).to_have_count(2)
