"""The page by keyboard alone, for a screen reader, on a narrow screen, in the dark and without motion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from browsers import LISTEN, PICTURES, READY, Site, Visit, expect, most, server, site
from served import EXAMPLES

pytestmark = pytest.mark.slow

SCREENS = [("light", 1280, 800), ("dark", 320, 640), ("light", 320, 640), ("dark", 1280, 800)]
MOST_TABS = 80
# What shows the focus on the element that has it, and whether the one that had it before looks otherwise now.
FOCUS = """() => {
  // The label stands for a file field.
  const shown = (element) => (element.type === "file" ? element.nextElementSibling : element);
  const look = (element) => {
    const {outlineStyle, outlineWidth, outlineColor, boxShadow} = getComputedStyle(shown(element));
    const outline = outlineStyle === "none" ? "none" : [outlineStyle, outlineWidth, outlineColor].join(" ");
    return `${outline} / ${boxShadow}`;
  };
  const element = document.activeElement;
  if (element === document.body) return null;
  const {top, bottom, left, right} = shown(element).getBoundingClientRect();
  const isSeen = bottom > Math.max(0, top) && right > Math.max(0, left) && top < innerHeight && left < innerWidth;
  const found = {name: element.id || element.className || element.tagName, look: look(element), isSeen};
  const before = window.hadFocus;
  if (before && before.element !== element) {
    found.before = {name: before.name, look: before.look, now: look(before.element)};
  }
  window.hadFocus = {element, name: found.name, look: found.look};
  return found;
}"""
OVERFLOW = """() => [...document.querySelectorAll("body *")].filter((element) =>
  document.documentElement.scrollWidth > innerWidth && element.getBoundingClientRect().right > innerWidth
).map((element) => element.id || element.className || element.tagName)"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("access")) as made:
        yield made


# By keyboard alone.


def _focus(visit: Visit) -> dict[str, Any] | None:
    """What has the focus; that it can be seen there, and no longer where it was."""
    found: dict[str, Any] | None = visit.page.evaluate(FOCUS)
    if found is not None:
        assert not found["look"].startswith("none / none"), f"{found['name']}: the focus does not show"
        assert found["isSeen"], f"{found['name']} has the focus out of sight"
        if before := found.get("before"):
            assert before["look"] != before["now"], f"{before['name']} looks the same with and without the focus"
    return found


def _tab_to(visit: Visit, selector: str, key: str = "Tab") -> None:
    passed = []
    for _ in range(MOST_TABS):
        visit.page.keyboard.press(key)
        found = _focus(visit)
        passed.append(found and found["name"])
        if visit.on(f"{selector}:focus").count():
            return
    raise AssertionError(f"{selector} is not reached by {key}: {passed}")


def test_everything_is_reached_by_keyboard_alone(here: Site) -> None:
    with here.visit(reduced_motion="reduce") as visit:  # else it is scrolled to slowly
        press = visit.page.keyboard.press
        _tab_to(visit, "[data-example=three]")
        with visit.drawing():
            press("Enter")
        assert most(visit.digits()) == 3
        _tab_to(visit, "#num-images")
        with visit.drawing():
            for _ in range(2):
                press("ArrowUp")
        expect(visit.on("#num-images")).to_have_value("6")
        expect(visit.on(PICTURES)).to_have_count(6)
        _tab_to(visit, "#num-less")
        with visit.drawing():
            press("Space")
        expect(visit.on(PICTURES)).to_have_count(5)
        _tab_to(visit, "#variation")
        with visit.drawing():
            press("ArrowRight")
        expect(visit.on("#variation-value")).to_have_text("1.05")
        _tab_to(visit, "#again", "Shift+Tab")
        with visit.drawing():
            press("Enter")
        _look_at_a_picture(visit)
        _change_tabs(visit)


def _look_at_a_picture(visit: Visit) -> None:
    """Open the last but one in the dialog, turn to the last, save it, close."""
    press = visit.page.keyboard.press
    _tab_to(visit, "#gallery .picture[data-index='3']", "Shift+Tab")
    press("Enter")
    expect(visit.on("#viewer")).to_be_visible()
    assert visit.page.evaluate("document.getElementById('viewer').contains(document.activeElement)")
    press("ArrowRight")
    expect(visit.on("#viewer-title")).to_have_text("Picture 5 of three")
    expect(visit.on("#viewer-after")).to_be_disabled()
    _tab_to(visit, "#download-size")
    press("Home")
    expect(visit.on("#download-size")).to_have_value("28")
    _tab_to(visit, "#download-one")
    with visit.page.expect_download() as saved:
        press("Enter")
    assert re.fullmatch(r"three.*\.png", saved.value.suggested_filename)
    for _ in range(8):  # round and round: the dialog keeps the focus
        press("Tab")
        found = _focus(visit)
        assert found is None or visit.page.evaluate("document.activeElement.closest('#viewer') !== null"), found
    press("Escape")
    expect(visit.on("#viewer")).to_be_hidden()
    expect(visit.on("#gallery .picture[data-index='3']")).to_be_focused()
    assert _focus(visit)


def _change_tabs(visit: Visit) -> None:
    press = visit.page.keyboard.press
    _tab_to(visit, "#tab-draw", "Shift+Tab")
    for key, name in (("ArrowRight", "live"), ("ArrowRight", "morph"), ("Home", "draw"), ("ArrowLeft", "morph")):
        press(key)
        expect(visit.on(f"#tab-{name}")).to_be_focused()
        expect(visit.on(f"#tab-{name}")).to_have_attribute("aria-selected", "true")
        expect(visit.on("[role=tabpanel]:visible")).to_have_attribute("id", f"panel-{name}")
        assert _focus(visit)
    _tab_to(visit, "#morph-a")
    press("Home")
    press("Home")
    _tab_to(visit, "#morph-go")
    press("Enter")
    expect(visit.on("#morph-slider")).to_be_enabled()
    _tab_to(visit, "#morph-slider")
    press("Home")
    press("ArrowRight")
    expect(visit.on("#morph-place")).to_have_text("1 %")


def test_a_sound_is_recorded_and_forgotten_by_keyboard_alone(here: Site) -> None:
    seconds = here.speak(EXAMPLES / "seven.wav")
    with here.visit(reduced_motion="reduce") as visit:  # else it is scrolled to slowly
        press = visit.page.keyboard.press
        press("Tab")
        expect(visit.on(".skip")).to_be_focused()
        assert _focus(visit)
        press("Enter")
        _tab_to(visit, "#record")
        press("Enter")
        expect(visit.on("#record .text")).to_have_text("Stop")
        visit.page.wait_for_function(
            "seconds => parseFloat(document.getElementById('sound-name').textContent) >= seconds", arg=seconds
        )
        with visit.drawing():
            press("Space")
        expect(visit.on("#record")).to_be_focused()
        assert most(visit.digits()) == 7
        _tab_to(visit, "#history .remove")
        press("Enter")
        expect(visit.on("#history li")).to_have_count(0)
        expect(visit.on("#history-title")).to_be_focused()  # no dead end


# For a screen reader, in both themes, wide and narrow.


def _check(visit: Visit, state: str, screens: Sequence[tuple[str, int, int]] = SCREENS) -> list[str]:
    """What is wrong in this state: rules that axe-core finds broken, and scrolling sideways."""
    wrong = []
    for theme, width, height in screens:
        visit.page.set_viewport_size({"width": width, "height": height})
        visit.page.emulate_media(color_scheme=theme)
        wrong += [f"{state}, {theme}, {width} px: {each}" for each in visit.violations()]
        wide = visit.page.evaluate("document.documentElement.scrollWidth") - width
        if wide > 0:
            wrong.append(f"{state}, {width} px: {wide} px too wide: {visit.page.evaluate(OVERFLOW)[:5]}")
        if (theme, width) in (("light", 1280), ("dark", 320)):
            visit.keep(f"{state}-{theme}-{width}")
    visit.page.set_viewport_size({"width": 1280, "height": 800})
    return wrong


def test_axe_finds_nothing_in_any_state(here: Site) -> None:
    here.speak(EXAMPLES / "phone-number.wav")
    with here.visit(reduced_motion="reduce") as visit:
        visit.watch.expected.append("status of (415|422)")
        wrong = _check(visit, "empty")
        visit.settle(seed=1)
        visit.example("phone-number")
        wrong += _check(visit, "drawn")
        visit.on("#gallery .picture").first.click()
        wrong += _check(visit, "dialog")
        visit.page.keyboard.press("Escape")
        visit.on("#file").set_input_files([{"name": "a" * 90, "mimeType": "audio/wav", "buffer": b"no sound"}])
        expect(visit.on(".alert p")).to_be_visible()
        wrong += _check(visit, "error")
        visit.on("#tab-live").click()
        visit.on("#live-toggle").click()
        expect(visit.on("#live-words li").nth(4)).to_be_visible()  # more than fit beside each other
        wrong += _check(visit, "listening")
        visit.on("#live-toggle").click()
        visit.on("#tab-morph").click()
        visit.on("#morph-go").click()
        expect(visit.on("#morph-slider")).to_be_enabled()
        wrong += _check(visit, "morphed")
    assert not wrong, "\n".join(wrong)


def test_axe_finds_nothing_where_a_token_is_asked_for(here: Site, tmp_path: Path) -> None:
    with server(tmp_path, "--token", "a") as url, here.visit(url, reduced_motion="reduce") as visit:
        visit.watch.expected.append("status of 401")
        expect(visit.on("#token-form")).to_be_visible()
        wrong = _check(visit, "asked", SCREENS[:2])
        visit.on("#token").fill("b")
        visit.on("#token-send").click()
        expect(visit.on(".alert")).to_be_visible()
        wrong += _check(visit, "asked-again", SCREENS[2:])
    assert not wrong, "\n".join(wrong)


def test_pictures_and_graphics_have_words(here: Site) -> None:
    with here.visit() as visit:
        visit.settle(seed=4)
        visit.example("two")
        assert visit.on(PICTURES).evaluate_all("all => all.map((one) => one.alt)") == [
            f"Picture {i + 1} of two, seed 4, heard as 2" for i in range(4)
        ]
        expect(visit.on("#waveform")).to_have_attribute("aria-label", re.compile(r"Waveform of two: \d\.\d\d seconds"))
        expect(visit.on("#features")).to_have_attribute("aria-label", re.compile("spectrogram.*brightest in the"))
        expect(visit.on("#status")).to_have_attribute("role", "status")


@pytest.mark.parametrize(
    ("example", "outlier", "told"),
    [
        ("two", 0.1, ["Heard “two”, 93 % sure."]),
        ("two", 0.9, ["It is probably none of the sounds that the model knows."]),
        ("phone-number", 0.9, ["Heard: unknown, ", "7 of 7 are probably none of the sounds that the model knows."]),
    ],
)
def test_what_is_heard_is_read_out_once(here: Site, example: str, outlier: float, told: list[str]) -> None:
    def answer(route: Any) -> None:
        """As a model answers that says what it heard."""
        came = route.fetch()
        lines = [json.loads(line) for line in came.text().splitlines()]
        heard = {"label": "two", "confidence": 0.93, "outlier": outlier}
        told = [line | {"heard": heard} if line["type"] == "sound" else line for line in lines]
        route.fulfill(response=came, body="".join(json.dumps(line) + "\n" for line in told))

    with here.visit() as visit:
        visit.page.route("**/v1/images*", answer)
        visit.settle(seed=4, num_images=16)
        visit.page.evaluate(LISTEN)
        visit.example(example)
        expect(visit.on("#status")).to_contain_text(told[-1])
        (said,) = visit.page.evaluate("announced")  # of sixteen pictures and more
        assert all(words in said for words in told), said


def test_each_picture_in_the_dialog_is_read_out(here: Site) -> None:
    with here.visit() as visit:
        visit.settle(seed=4)
        visit.example("two")
        visit.on("#gallery .picture").first.click()
        visit.page.evaluate(LISTEN)
        visit.on("#viewer-after").click()
        assert visit.page.evaluate("announced") == ["Picture 2 of two"]


def test_an_earlier_sound_takes_the_focus_to_its_pictures(here: Site) -> None:
    with here.visit() as visit:
        visit.example("two")
        visit.on("#history .restore").first.focus()
        visit.page.keyboard.press("Enter")
        expect(visit.on("#gallery .picture").first).to_be_focused()


def test_nothing_moves_where_motion_is_not_wanted(here: Site) -> None:
    with here.visit(reduced_motion="reduce", color_scheme="dark") as visit:
        assert visit.page.evaluate("document.getAnimations().length") == 0
        visit.on("[data-example=seven]").click()
        expect(visit.on(PICTURES)).to_have_count(4)
        assert visit.page.evaluate("document.getAnimations().length") == 0
        assert visit.on(PICTURES).first.evaluate("image => getComputedStyle(image).animationName") == "none"
        assert most(visit.digits()) == 7
    with here.visit(reduced_motion="no-preference") as visit:
        visit.page.reload()
        visit.page.wait_for_selector(READY)
        assert visit.on(PICTURES).count() == 0
        assert visit.page.evaluate("document.getAnimations().length") > 0  # so that the above means something
