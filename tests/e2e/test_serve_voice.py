"""The page with a voice: a fake microphone that plays real recordings, the Live and Morph tabs, a token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from browsers import LISTEN, READY, Site, Visit, expect, most, server, site
from served import EXAMPLES

pytestmark = pytest.mark.slow

# Recordings 0 to 4 of each speaker are the data set's test set.
SPOKEN = ["7_jackson_0", "2_nicolas_1", "5_theo_2", "9_yweweler_3"]
PHONE_NUMBER = [5, 5, 5, 0, 1, 2, 3]
MAX_FIRST_MS = 1000  # the page's own goal is 150; a machine under load takes longer
NOT_RIGHT = re.compile("wrong|not (the )?right|does not fit|not accepted")
HAS_HEARD = """seconds => document.querySelector("#record .text").textContent === "Stop"
  && parseFloat(document.getElementById("sound-name").textContent) >= seconds"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("voice")) as made:
        yield made


def _recording(root: Path, name: str) -> Path:
    return next((root / "fsdd").rglob(f"{name}.wav"))


def _record(visit: Visit, recording: Path) -> None:
    """Press, speak, press again."""
    seconds = visit.site.speak(recording)
    visit.on("#record").click()
    visit.page.wait_for_function(HAS_HEARD, arg=seconds)
    with visit.drawing():
        visit.on("#record").click()


# Recording.


def test_a_spoken_digit_is_drawn_as_that_digit(here: Site, data_root: Path) -> None:
    with here.visit() as visit:
        visit.settle(seed=3)
        for i, name in enumerate(SPOKEN):
            _record(visit, _recording(data_root, name))
            digits = visit.digits()
            first_ms = int(visit.on("#gallery").get_attribute("data-first-ms"))
            print(f"{name}: read as {digits}, first picture {first_ms} ms after the sound ended")
            assert len(digits) == 4
            assert digits.count(int(name[0])) >= 3
            assert first_ms <= MAX_FIRST_MS
            expect(visit.on("#timing")).to_contain_text(f"{first_ms} ms")
            expect(visit.on("#history li")).to_have_count(i + 1)
            expect(visit.on("#record .text")).to_have_text("Record")
        visit.keep("recorded")


def test_a_recording_shows_its_level_and_can_be_played(here: Site) -> None:
    here.speak(EXAMPLES / "phone-number.wav")
    with here.visit() as visit:
        visit.on("#record").click()
        visit.page.wait_for_function(
            "() => Number(document.getElementById('level').getAttribute('aria-valuenow')) > 20"
        )
        expect(visit.on("#level-word")).to_have_text(re.compile("good|too loud"))
        visit.keep("recording")
        visit.on("#tab-morph").click()  # who leaves has ended it
        expect(visit.on("#record .text")).to_have_text("Record")
        visit.on("#tab-draw").click()
        expect(visit.on("#gallery .picture")).to_have_count(4)
        visit.on("#play").click()
        expect(visit.on("#play")).to_have_text("Stop")
        expect(visit.on("#play")).to_have_text("Play")  # it ends by itself


def test_a_refused_microphone_is_one_plain_sentence(here: Site) -> None:
    with here.visit(may_listen=False) as visit:
        visit.on("#record").click()
        expect(visit.on(".alert p")).to_have_text(re.compile(r"not allowed to use the microphone\. Allow it .+\.$"))
        expect(visit.on("#record .text")).to_have_text("Record")
        visit.keep("refused")
        visit.on("#alert-close").click()
        expect(visit.on(".alert")).to_have_count(0)
        expect(visit.on("#record")).to_be_focused()
        visit.on("#tab-live").click()
        visit.on("#live-toggle").click()
        expect(visit.on(".alert p")).to_contain_text("microphone")
        expect(visit.on("#live-toggle .text")).to_have_text("Start")
        visit.on("#tab-draw").click()
        visit.example("two")
        expect(visit.on(".alert")).to_have_count(0)


# Live.


def test_live_draws_each_word_and_does_not_chatter(here: Site) -> None:
    here.speak(EXAMPLES / "phone-number.wav")
    with here.visit() as visit:
        visit.settle(seed=3)
        visit.on("#tab-live").click()
        visit.page.evaluate(LISTEN)
        with visit.page.expect_websocket() as opened:
            visit.on("#live-toggle").click()
        words = visit.on("#live-words li")
        expect(words.first).to_be_visible()
        expect(visit.on("#live-picture")).to_be_visible()
        visit.keep("live")
        expect(words).to_have_count(len(PHONE_NUMBER))
        digits = visit.digits("#live-words img")
        print(f"live: read as {digits}")
        assert sum(a == b for a, b in zip(digits, PHONE_NUMBER, strict=True)) >= 5
        visit.on("#live-toggle").click()
        expect(visit.on("#live-state")).to_have_text("not listening")
        expect(visit.on("#live-toggle .text")).to_have_text("Start")
        if not opened.value.is_closed():
            opened.value.wait_for_event("close")
        announced = visit.page.evaluate("announced")
        assert len(announced) <= len(PHONE_NUMBER) + 3, announced
        expect(visit.on(".alert")).to_have_count(0)
        expect(words).to_have_count(len(PHONE_NUMBER))
        visit.keep("live-ended")


# Morph.


def test_a_morph_goes_from_one_digit_to_another(here: Site) -> None:
    with here.visit() as visit:
        visit.settle(seed=3)
        visit.on("#tab-morph").click()
        visit.on("#morph-a").select_option("three")
        visit.on("#morph-b").select_option("zero")
        visit.page.evaluate(LISTEN)
        visit.on("#morph-go").click()
        slider = visit.on("#morph-slider")
        expect(slider).to_be_enabled()
        film = visit.digits("#morph-film img")
        assert len(film) == 24
        assert (film[0], film[-1]) == (3, 0)
        slider.focus()
        visit.page.keyboard.press("Home")
        first = visit.pictures("#morph-picture")
        assert visit.digits("#morph-picture") == [3]
        expect(slider).to_have_attribute("aria-valuetext", re.compile("^0 %.*three.*zero"))
        for _ in range(50):
            visit.page.keyboard.press("ArrowRight")
        expect(visit.on("#morph-place")).to_have_text("50 %")
        assert (visit.pictures("#morph-picture") != first).any()
        visit.keep("morph")
        visit.page.keyboard.press("End")
        assert visit.digits("#morph-picture") == [0]
        visit.on("#morph-play").click()
        expect(visit.on("#morph-place")).not_to_have_text("100 %")
        visit.on("#morph-play").click()
        expect(visit.on("#morph-play")).to_have_text("Play")
        told = ["Drawing.", "24 pictures from three to zero made with seed 3."]
        assert visit.page.evaluate("announced") == told  # and nothing of each place
        with visit.page.expect_download() as saved:
            visit.on("#morph-gif").click()
        assert saved.value.suggested_filename == "three-to-zero.gif"
        assert Path(saved.value.path()).read_bytes().startswith(b"GIF89a")


def test_a_morph_that_fails_leaves_the_one_before(here: Site, tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("This is no sound.")
    with here.visit() as visit:
        visit.watch.expected.append("status of 422")
        visit.settle(seed=3)
        visit.on("#tab-morph").click()
        visit.on("#morph-go").click()
        slider = visit.on("#morph-slider")
        expect(slider).to_be_enabled()
        visit.on("#morph-a-file").set_input_files(text)
        expect(visit.on("#morph-a")).to_have_value("own")
        visit.on("#morph-go").click()
        expect(visit.on(".alert")).to_have_count(1)
        slider.focus()
        visit.page.keyboard.press("Home")
        assert visit.digits("#morph-picture") == [3]
        expect(slider).to_have_attribute("aria-valuetext", "0 % of the way from three to eight")
        assert len(visit.digits("#morph-film img")) == 24
        with visit.page.expect_download() as saved:
            visit.on("#morph-gif").click()
        assert saved.value.suggested_filename == "three-to-eight.gif"


def test_a_morph_between_recordings(here: Site, data_root: Path) -> None:
    with here.visit() as visit:
        visit.settle(seed=3)
        visit.on("#tab-morph").click()
        seconds = here.speak(_recording(data_root, "7_jackson_0"))
        button = visit.on("#morph-a-record")
        button.click()
        expect(button).to_have_text(re.compile(rf"Stop, {seconds:.1f} s|Stop, [2-9]"))
        expect(button).to_have_accessible_name("Stop")  # not a new one ten times a second
        button.click()
        expect(visit.on("#morph-a")).to_have_value("own")
        visit.on("#morph-b-file").set_input_files(_recording(data_root, "0_theo_0"))
        expect(visit.on("#morph-b")).to_have_value("own")
        visit.on("#morph-go").click()
        expect(visit.on("#morph-slider")).to_be_enabled()
        film = visit.digits("#morph-film img")
        assert (film[0], film[-1]) == (7, 0)


# Token.


def test_a_token_is_asked_for_and_a_wrong_one_is_told(here: Site, tmp_path: Path) -> None:
    here.speak(EXAMPLES / "seven.wav")
    with server(tmp_path, "--token", "right one") as url, here.visit(url) as visit:
        visit.watch.expected.append("status of 401")
        form, told = visit.on("#token-form"), visit.on("#notes")
        expect(form).to_be_visible()
        expect(visit.on("#token")).to_be_focused()
        visit.keep("token")
        visit.page.keyboard.type("wrong one")
        visit.page.keyboard.press("Enter")
        expect(told).to_contain_text(NOT_RIGHT)
        expect(form).to_be_visible()
        expect(visit.on("#token")).to_be_focused()
        visit.keep("token-wrong")
        visit.page.keyboard.type("日本")  # what no header carries
        visit.page.keyboard.press("Enter")
        expect(visit.on("#token:invalid")).to_be_focused()
        visit.on("#token").fill("")
        visit.page.keyboard.type("right one")
        visit.page.keyboard.press("Enter")
        visit.page.wait_for_selector(READY)
        expect(form).to_be_hidden()
        expect(told).not_to_contain_text(NOT_RIGHT)
        expect(visit.on("#main")).to_be_focused()
        visit.settle(seed=1)
        visit.example("seven")
        assert most(visit.digits()) == 7
        visit.on("#tab-live").click()
        visit.on("#live-toggle").click()
        expect(visit.on("#live-words li")).to_have_count(1)
        visit.on("#live-toggle").click()
        visit.page.reload()
        visit.page.wait_for_selector(READY)  # it is not asked for again
        assert not any("right" in address for address in visit.watch.urls)


def test_a_token_is_asked_for_by_live_too(here: Site, tmp_path: Path) -> None:
    """The token may have been forgotten, or changed, while the page was open."""
    here.speak(EXAMPLES / "seven.wav")
    with server(tmp_path, "--token", "right-one") as url, here.visit(url) as visit:
        visit.watch.expected.append("status of 401")
        visit.on("#tab-live").click()
        visit.on("#live-toggle").click()
        expect(visit.on("#token-form")).to_be_visible()
        visit.on("#token").fill("right-one")
        visit.on("#token-send").click()
        expect(visit.on("#live-toggle .text")).to_have_text("Stop")
        visit.on("#live-toggle").click()
        expect(visit.on("#live-state")).to_have_text("not listening")
        expect(visit.on(".alert")).to_have_count(0)
