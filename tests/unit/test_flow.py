"""The flow: what its network is told, what its long steps learn, what guidance and steps do, and that it can paint."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from soundsight.export.convert import to_onnx
from soundsight.losses import noise_prediction
from soundsight.models import flow, shortcuts
from soundsight.models.layers import count_parameters
from soundsight.models.samplers import schedule
from soundsight.models.unet import UNet, sinusoids


def system(**options: Any) -> flow.System:
    torch.manual_seed(0)
    small = {"widths": (8, 16), "steering_size": 16, "listener_widths": (4, 4, 4, 4), "shortcuts_after": 0}
    return flow.System(flow.Config(**(small | options)))


def batch(size: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "features": torch.rand(size, 48, 48, generator=generator),
        "image": torch.rand(size, 1, 28, 28, generator=generator),
        "label": torch.arange(size) % 10,
        "noise": torch.randn(size, 784, generator=generator),
    }


class Painter(nn.Module):
    """In place of the network: notes what it is told, answers with ``answer(mixture, time, length, label)``."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self.told: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.learns = nn.Parameter(torch.zeros(()))
        self.answer = answer

    def forward(self, *told: Tensor) -> Tensor:
        self.told.append(tuple(x.clone() for x in told))  # type: ignore[arg-type]
        return self.answer(*told)


def with_painter(answer: Any, **options: Any) -> tuple[flow.System, Painter]:
    made = system(**options)
    made.painter = Painter(answer)  # type: ignore[assignment]
    return made, made.painter  # type: ignore[return-value]


def two_halves(made: flow.System, mixed: Tensor, time: Tensor, length: Tensor, label: Tensor) -> Tensor:
    return shortcuts.target(partial(made._teach, label), mixed, time, length)


def test_the_default_is_small():
    """Issue: at most 2.5 million parameters in all; 6 MB in float32 hold 1.5 million."""
    assert count_parameters(flow.System(flow.Config())) < 1_500_000


def test_a_plain_flow_is_asked_at_every_time_and_told_no_length():
    made, painter = with_painter(lambda x, *_: torch.zeros_like(x), shortcuts=0.0, unlabelled=0.0)
    given = batch()
    losses = made.losses("painter", given, 0)
    ((mixed, time, length, label),) = painter.told
    assert set(losses) == {"noise_prediction"}
    assert torch.equal(length, torch.zeros(8))
    assert torch.equal(label.argmax(1), given["label"])
    picture, noise = 2 * given["image"] - 1, given["noise"].reshape(-1, 1, 28, 28)
    at = time[:, None, None, None]
    torch.testing.assert_close(mixed, (1 - at) * picture + at * noise)
    torch.testing.assert_close(losses["noise_prediction"], (noise - picture).square().mean())


def test_a_share_of_the_labels_is_left_out():
    made, painter = with_painter(lambda x, *_: x, unlabelled=0.3, shortcuts=0.0)
    made.losses("painter", batch(4000), 0)
    told = painter.told[0][3].sum(1)
    assert set(told.tolist()) == {0.0, 1.0}
    assert float((told == 0).float().mean()) == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("objective", ["flow", "v", "epsilon"])
def test_guided_it_learns_more_than_the_data_of_what_a_label_changes(objective):
    """Where the label is left out and before its time nothing is added; the noise it was given stays what it was."""

    def answer(mixed: Tensor, time: Tensor, length: Tensor, label: Tensor) -> Tensor:
        return torch.zeros_like(mixed) + 0.5 * label.sum(1)[:, None, None, None]

    def loss(step: int, **options: Any) -> float:
        torch.manual_seed(2)
        made, _ = with_painter(answer, objective=objective, shortcuts=0.0, **options)
        given = batch(64)
        kept = given["noise"].clone()
        found = made.losses("painter", given, step)["noise_prediction"]
        torch.testing.assert_close(given["noise"], kept, rtol=0, atol=0)
        return float(found)

    # The answer is half of the label, its difference too; guided by so much that the target moves as far as if the
    # answer had moved back: (a − (u + w/2))² for all labelled.
    plain, guided = loss(5, unlabelled=1e-9), loss(5, unlabelled=1e-9, guided=0.5, guided_after=5)
    moved = [float(loss_of_constant(objective, c)) for c in (0.5, 0.25)]
    assert (plain, guided) == (pytest.approx(moved[0], rel=1e-4), pytest.approx(moved[1], rel=1e-4))
    assert loss(4, unlabelled=1e-9, guided=0.5, guided_after=5) == pytest.approx(plain)
    left_out = [loss(5, unlabelled=0.999999, **options) for options in ({}, {"guided": 0.5})]
    assert left_out[0] == pytest.approx(left_out[1])


def loss_of_constant(objective: Any, value: float) -> Tensor:
    """Mean squared error of answering one number, for the batch and times of the test above."""
    torch.manual_seed(2)
    system()
    torch.rand(64, 1)
    time = noise_prediction.times(torch.randn(64), "uniform")
    image, noise = 2 * batch(64)["image"] - 1, batch(64)["noise"].reshape(-1, 1, 28, 28)
    return (value - noise_prediction.target(image, noise, time, objective)).square().mean()


def test_steps_end_within_the_path_and_every_other_begins_at_a_multiple_of_its_length():
    torch.manual_seed(0)
    time, length = shortcuts.draw(20_000)
    assert float((time - length).min()) == 0
    assert float(time.max()) == 1
    regular, anywhere = time[::2] / length[::2], (time / length)[1::2][length[1::2] < 1]
    assert torch.equal(regular, regular.round())
    assert (anywhere != anywhere.round()).float().mean() > 0.99
    shares = {value: float((length == value).float().mean()) for value in (1, 0.5, 0.25, 0.125, 0.0625, 0.03125)}
    assert sum(shares.values()) == pytest.approx(1), "there are no others"
    assert max(shares, key=shares.__getitem__) == 0.25, "four steps are what is used"
    assert min(shares.values()) > 0.04


def test_a_step_is_told_as_the_longest_that_was_trained_and_is_no_longer():
    for length, told in (
        (1, 1),
        (0.5, 0.5),
        (1 / 3, 0.25),
        (0.2, 0.125),
        (1 / 32, 1 / 32),
        (0.02, 0),
        (0, 0),
        (-0.5, 0),
    ):
        assert shortcuts.told(torch.tensor([length])).tolist() == [told]


def test_fifty_steps_are_the_plain_flow():
    _, painter = paint(lambda x, *_: x, steps=50)
    assert {float(length[0]) for _, _, length, _ in painter.told} == {0.0}
    _, painter = paint(lambda x, *_: x, steps=3)
    assert {float(length[0]) for _, _, length, _ in painter.told} == {0.25}


def test_targets_change_no_statistics_and_none_depends_on_the_others():
    made = system()
    made.train()
    mixed, label = torch.randn(6, 1, 28, 28), torch.eye(10)[:6]
    time, length = torch.full((6,), 0.5), torch.full((6,), 0.25)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    whole = two_halves(made, mixed, time, length, label)
    alone = two_halves(made, mixed[:1], time[:1], length[:1], label[:1])
    torch.testing.assert_close(whole[:1], alone)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert made.painter.training


def test_targets_are_those_of_the_averaged_weights():
    made, other = system(), system()
    other.load_state_dict(made.state_dict())
    for parameter in other.painter.parameters():
        parameter.data.mul_(1.5)
    mixed, label = torch.randn(2, 1, 28, 28), torch.eye(10)[:2]
    time, length = torch.full((2,), 0.5), torch.full((2,), 0.25)
    names, own = list(made.state_dict()), two_halves(made, mixed, time, length, label)
    made.follow(other.eval())
    assert torch.equal(two_halves(made, mixed, time, length, label), two_halves(other, mixed, time, length, label))
    assert not torch.allclose(two_halves(made, mixed, time, length, label), own)
    assert list(made.state_dict()) == names, "the average is no part of the model"
    assert len(list(made.parameters())) == len(list(other.parameters()))


def test_a_flow_that_knows_nothing_yet_trains_no_long_steps():
    made = system(shortcuts=0.5, shortcuts_after=3)
    assert set(made.losses("painter", batch(), 2)) == {"noise_prediction"}
    assert set(made.losses("painter", batch(), 3)) == {"noise_prediction", "shortcut"}


def test_a_long_step_goes_where_two_of_half_its_length_go():
    """Frans et al., 2024, equation 4, in a field whose answer depends on all that it is told."""

    def field(mixed: Tensor, time: Tensor, length: Tensor, label: Tensor) -> Tensor:
        factor = 1 + time + 3 * length + label.argmax(1)
        return mixed * factor[:, None, None, None]

    made, painter = with_painter(field)
    mixed, label = 0.1 * torch.randn(2, 1, 28, 28), torch.eye(10)[:2]
    time, length = torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.03125])
    found = two_halves(made, mixed, time, length, label)
    for i, told in enumerate((0.25, 0.0)):  # below the shortest length the network is asked as a plain flow
        half = float(length[i]) / 2
        first = float(1 + time[i] + 3 * told + i)
        second = float(1 + time[i] - half + 3 * told + i) * (1 - half * first)
        torch.testing.assert_close(found[i], mixed[i] * 0.5 * (first + second))
    assert not found.requires_grad
    assert len(painter.told) == 2


def test_a_long_step_never_leads_beyond_white_or_black():
    """Whatever the teacher answers: here that every picture is a hundred times as bright as white."""
    made, _ = with_painter(lambda x, *_: x - 100)
    time, length = torch.tensor([1.0, 0.5]), torch.tensor([1.0, 0.25])
    mixed = torch.randn(2, 1, 28, 28)
    found = two_halves(made, mixed, time, length, torch.eye(10)[:2])
    picture = mixed - time[:, None, None, None] * found
    torch.testing.assert_close(picture, torch.ones_like(picture))


def test_a_share_of_the_pictures_trains_long_steps():
    made, painter = with_painter(lambda x, *_: x, shortcuts=0.25, unlabelled=0.0)
    given = batch(16)
    losses = made.losses("painter", given, 0)
    _, _, length, _ = painter.told[-1]
    assert (length[:4] > 0).all()
    assert torch.equal(length[4:], torch.zeros(12))
    assert torch.equal(given["made"][:4], given["image"][:4]), "a long step's answer is no picture"
    assert not torch.equal(given["made"][4:], given["image"][4:])
    assert set(losses) == {"noise_prediction", "shortcut"}


def noise() -> Tensor:
    return torch.randn(2, 784, generator=torch.Generator().manual_seed(3))


def paint(answer: Any, steps: int = 4, weights: tuple[float, ...] = (1,), **options: Any) -> tuple[Tensor, Painter]:
    made, painter = with_painter(answer, **options)
    times = torch.tensor(schedule(steps))
    return made.paint(torch.eye(10)[:2], noise(), times, torch.tensor(weights)), painter


def test_four_steps_are_four_evaluations():
    _, painter = paint(lambda x, *_: x)
    assert [float(time[0]) for _, time, _, _ in painter.told] == [1, 0.75, 0.5, 0.25]
    assert {float(length[0]) for _, _, length, _ in painter.told} == {0.25}
    _, painter = paint(lambda x, *_: x, shortcuts=0.0)
    assert {float(length[0]) for _, _, length, _ in painter.told} == {0.0}


def test_guidance_is_the_network_without_a_label_plus_so_much_of_the_difference():
    """Ho & Salimans, equation 6, with their w + 1: 0 paints any digit, 1 the label's own."""

    def answer(mixed: Tensor, time: Tensor, length: Tensor, label: Tensor) -> Tensor:
        return mixed + 0.1 * label.sum(1)[:, None, None, None]

    # One step from noise z: z − (z + 0.1 w) = −0.1 w, shown as ½ − 0.05 w.
    for guidance, weights in ((1.0, (1.0,)), (1.0, (1.0, 0.0)), (0.0, (0.0, 1.0)), (3.0, (3.0, -2.0))):
        picture, painter = paint(answer, steps=1, weights=weights)
        assert sum(len(mixed) for mixed, *_ in painter.told) == 2 * len(weights)
        torch.testing.assert_close(picture, torch.full((2, 1, 28, 28), 0.5 - 0.05 * guidance))


def test_the_options_of_use_are_the_defaults_of_its_controls():
    made = system(steps=3, guidance=1.5)
    assert made.controls["times"].tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert made.controls["weights"].tolist() == [1.5, -0.5]
    assert system().controls["weights"].tolist() == [1]
    made.eval()
    given = batch(3)
    with torch.no_grad():
        usual = made.generate(given["features"], given["noise"])
        asked = made.generate(given["features"], given["noise"], **made.controls)
        torch.testing.assert_close(usual, asked, rtol=0, atol=0)
        heard = made.listen(given["features"])
        torch.testing.assert_close(heard[:, :10].sum(1), torch.ones(3))
        assert ((heard[:, 10] > 0) & (heard[:, 10] < 1)).all()
        share = torch.ones(())
        painted = made.decide(given["features"])
        same = made.generate(given["features"].flip(0), given["noise"], given=painted, share=share)
        torch.testing.assert_close(same, usual)
        assert not torch.allclose(made.generate(given["features"], given["noise"], torch.tensor([1.0, 0.0])), usual)
        assert made.generate(given["features"], given["noise"], torch.tensor([1.0])).shape == usual.shape


def test_the_listener_learns_what_is_none_of_the_labels():
    """With sounds that are no digit in the batch, its last output is theirs; a label's is never asked of them."""
    made, given = system(), batch(4)
    logits = torch.randn(6, 11)
    made.listener = torch.nn.Identity()  # type: ignore[assignment]
    given |= {"features": logits[:4], "outliers": logits[4:]}
    found = made._hearing_loss(given)
    wanted = torch.tensor([0, 1, 2, 3, 10, 10])
    torch.testing.assert_close(found, nn.functional.cross_entropy(logits, wanted, label_smoothing=0.1))


def hearing(temperature: float = 1.0, **options: Any) -> flow.System:
    """A flow whose features are the logits of what it hears."""
    made = system(**options)
    made.listener = torch.nn.Identity()  # type: ignore[assignment]
    made.listener.register_buffer("temperature", torch.tensor(temperature))
    return made


def test_which_label_is_calibrated_whether_one_and_what_is_painted_are_not():
    made = hearing(0.5, sharpness=4.0)
    logits = torch.randn(5, 11)
    heard = made.listen(logits)
    torch.testing.assert_close(heard[:, :10], (2 * logits[:, :10]).softmax(1))
    torch.testing.assert_close(heard[:, 10], logits.softmax(1)[:, 10])
    torch.testing.assert_close(made.decide(logits), (4 * logits[:, :10]).softmax(1))


def test_it_is_as_sure_as_it_was_right_with_other_speakers():
    made = hearing()
    said = torch.arange(1000) % 10
    heard = torch.where(torch.arange(1000) % 10 == 9, (said + 1) % 10, said)
    logits = 8.0 * nn.functional.one_hot(heard, 11)
    made.calibrate(logits, said)
    sure = made.listen(logits)[:, :10].max(1).values
    torch.testing.assert_close(sure, torch.full_like(sure, 0.9), atol=0.01, rtol=0)


def test_listener_and_painter_learn_apart():
    made, given = system(), batch()
    parts = {phase: {id(p) for p in made.parameters_of(phase)} for phase in made.phases}
    assert parts["listener"].isdisjoint(parts["painter"])
    assert parts["listener"] | parts["painter"] == {id(p) for p in made.parameters()}
    made.losses("listener", given, 0)["heard"].backward()
    assert "made" not in given
    assert all(p.grad is None for p in made.painter.parameters())
    assert any(p.grad is not None for p in made.listener.parameters())


def test_variation_scales_the_noise():
    still, _ = paint(lambda x, *_: torch.zeros_like(x), variation=0.1)
    torch.testing.assert_close(still, (0.5 + 0.05 * noise()).clamp(0, 1).reshape(2, 1, 28, 28))


def test_with_rising_times_the_path_goes_back():
    """In a field that moves everything evenly, back from a picture is the noise that it came from; no step is long."""
    made, painter = with_painter(lambda x, *_: torch.full_like(x, 0.3), variation=0.5)
    made.eval()
    there, back = torch.tensor(schedule(4)), torch.linspace(0, 1, 7)
    features = batch(2)["features"]
    _, end = made.draw(features, noise(), there)
    torch.testing.assert_close(end, (0.5 * noise() - 0.3) / 0.5)
    painter.told.clear()
    torch.testing.assert_close(made.draw(features, end, back)[1], noise())
    assert {float(length[0]) for _, _, length, _ in painter.told} == {0.0}


def test_epsilon_goes_back_too_and_never_begins_where_it_knows_nothing():
    made = system(objective="epsilon", shortcuts=0.0).eval()
    given = batch(2)
    with torch.no_grad():
        whole = made.generate(given["features"], given["noise"], torch.tensor([1.0, 0.5, 0.0]))
        begun_later = made.generate(given["features"], given["noise"], torch.tensor([0.992, 0.5, 0.0]))
        torch.testing.assert_close(whole, begun_later)
        _, end = made.draw(given["features"], given["noise"], torch.linspace(0, 1, 6))
    assert torch.isfinite(end).all()


def test_exported_its_loop_takes_any_number_of_steps_and_every_control():
    made = system().eval()
    given = {name: batch(4)[name].numpy() for name in ("features", "noise")}
    session = onnxruntime.InferenceSession(to_onnx(made, given), providers=["CPUExecutionProvider"])
    assert {node.name for node in session.get_inputs()} == set(given)
    assert {node.name for node in session.get_overridable_initializers()} == set(made.controls)
    one_hot = np.eye(10, dtype=np.float32)
    for controls in (
        {},
        {"times": np.linspace(1, 0, 8, dtype=np.float32)},
        {"times": np.array([1, 0], np.float32), "weights": np.array([2, -1], np.float32)},
        {"times": np.array([1], np.float32)},
        {"given": one_hot[[3]], "share": np.array(1, np.float32)},
        {"given": one_hot[[3, 1, 4, 1]], "share": np.array(0.5, np.float32)},
        {"times": np.linspace(0, 1, 5, dtype=np.float32), "share": np.array(1, np.float32)},
    ):
        image, heard, end = session.run(["image", "heard", "end"], given | controls)
        told = {name: torch.from_numpy(value) for name, value in (given | controls).items()}
        with torch.no_grad():
            expected, wanted_end = made.draw(told.pop("features"), told.pop("noise"), **told)
            np.testing.assert_allclose(end, wanted_end, atol=1e-4)
            np.testing.assert_allclose(heard, made.listen(torch.from_numpy(given["features"])), atol=1e-6)
        np.testing.assert_allclose(image, expected, atol=1e-5, err_msg=str(list(controls)))


@pytest.mark.parametrize("objective", ["flow", "v"])  # noise alone says little of a label, which takes longer
def test_it_learns_to_paint_the_one_picture_of_each_label(objective):
    """Two labels, one picture each: from any noise the picture that was asked for."""
    share = 0.25 if objective == "flow" else 0.0
    made = system(objective=objective, shortcuts=share, shortcuts_after=150, unlabelled=0.0)
    picture = torch.zeros(2, 1, 28, 28)
    picture[0, :, 4:14, 4:24] = 1
    picture[1, :, 14:24, 4:24] = 1
    optimizer = torch.optim.Adam(made.painter.parameters(), 3e-3)
    for step in range(300):
        label = torch.arange(32) % 2
        torch.manual_seed(step)
        losses = made.losses(
            "painter", batch(32) | {"image": picture[label], "label": label, "noise": torch.randn(32, 784)}, step
        )
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    made.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        times = torch.tensor(schedule(16))
        found = made.paint(torch.eye(10)[:2].repeat(8, 1), torch.randn(16, 784), times, torch.ones(1))
    errors = (found[:, None] - picture[None]).abs().mean((2, 3, 4))
    assert (errors.argmin(1) == torch.arange(16) % 2).all()
    assert float(errors.min(1).values.max()) < 0.15


def test_a_picture_of_epsilon_stays_within_range():
    """One step from almost pure noise: its picture is a small difference, much enlarged, and would be anything."""
    made, _ = with_painter(lambda x, *_: torch.zeros_like(x), objective="epsilon", shortcuts=0.0, steps=1)
    found = made.paint(torch.eye(10)[:2], noise(), made.controls["times"], torch.ones(1))
    far = noise().abs() > 0.05
    torch.testing.assert_close(found.flatten(1)[far], (noise() > 0).float()[far])


def test_the_unet_mixes_places_and_keeps_sizes():
    torch.manual_seed(0)
    net = UNet(3, (4, 8, 12), 5).eval()
    image, steering = torch.randn(2, 3, 32, 48), torch.randn(2, 5)
    with torch.no_grad():
        answer = net(image, steering)
        assert answer.shape == image.shape
        moved = image.clone()
        moved[:, :, 0, 0] += 1
        change = (net(moved, steering) - answer).abs().sum(1)[0]
        assert float(change[0, 0]) > 0
        assert float(change[20, 20]) > 0, "the coarse levels carry what one corner says across the picture"
        assert not torch.allclose(net(image, steering.flip(0)), answer)


def test_sinusoids_tell_values_apart():
    values = torch.linspace(0, 1, 129)
    codes = sinusoids(values, 64, longest=4.0, shortest=0.02)
    assert codes.shape == (129, 64)
    distances = torch.cdist(codes, codes) + 10 * torch.eye(129)
    assert float(distances.min()) > 0.1
    torch.testing.assert_close(codes.square().sum(1), torch.full((129,), 32.0))


@pytest.mark.parametrize(
    "options",
    [
        *({"objective": "v"}, {"guidance": float("nan")}, {"steps": 0}, {"unlabelled": 1}),
        *({"widths": ()}, {"widths": (8, 16, 32)}),  # 28 pixels are 14, then 7, and cannot be halved again
        *({"unlabelled": 0, "guidance": 2.0}, {"unlabelled": 0, "guided": 0.2}),
    ],
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValidationError):
        flow.Config(**options)
