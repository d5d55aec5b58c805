"""The flow in a latent space: what its painter sees, what its writer learns, what a page says; that it can paint."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from soundsight.export.convert import to_onnx
from soundsight.models import latent_flow
from soundsight.models.codes import CodeNetwork, Reader, Writer
from soundsight.models.examiner import Examiner
from soundsight.models.layers import count_parameters
from soundsight.models.samplers import schedule

SMALL = {
    "widths": (8, 8, 8),
    "code_width": 16,
    "latent_size": 6,
    "painter_width": 16,
    "painter_blocks": 2,
    "steering_size": 16,
    "listener_widths": (4, 4, 4, 4),
    "shortcuts_after": 0,
    "settled_after": 1000,
}


def system(**options: Any) -> latent_flow.System:
    torch.manual_seed(0)
    return latent_flow.System(latent_flow.Config(**(SMALL | options)))


def batch(size: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "features": torch.rand(size, 48, 48, generator=generator),
        "image": torch.rand(size, 1, 28, 28, generator=generator),
        "label": torch.arange(size) % 10,
        "noise": torch.randn(size, 6, generator=generator),
    }


def test_the_default_is_small():
    """At most 2.5 million parameters in all; the examiner teaches, and is no part of what is used."""
    made = latent_flow.System(latent_flow.Config())
    assert count_parameters(made) - count_parameters(made.examiner) < 2_500_000


def test_every_parameter_learns_in_one_phase():
    made = system()
    parts = [{id(p) for p in made.parameters_of(phase)} for phase in made.phases]
    assert set.union(*parts) == {id(p) for p in made.parameters()}
    assert sum(map(len, parts)) == len(list(made.parameters()))


def test_the_painter_sees_each_code_in_many_mixtures_and_changes_no_code():
    made, given = system(draws=3, shortcuts=0.0, unlabelled=0.0), batch()
    told: list[tuple[Tensor, ...]] = []
    made.painter.register_forward_hook(lambda module, inputs, output: told.append(inputs))
    before = {name: value.clone() for name, value in made.reader.state_dict().items()}
    losses = made.losses("painter", given, 0)
    torch.stack(list(losses.values())).sum().backward()
    ((mixed, time, _, label),) = told
    assert mixed.shape == (24, 6, 1, 1)
    assert torch.equal(label.argmax(1), given["label"].repeat(3))
    assert len(set(time.tolist())) == 24
    # All but the first draw are of noise of their own: time apart, no two mixtures of a picture are the same.
    code, at = made.reader.eval()(given["image"]), time[:, None]
    noise = (mixed[:, :, 0, 0] - (1 - at) * code.detach().repeat(3, 1)) / at
    torch.testing.assert_close(noise[:8], given["noise"], atol=1e-3, rtol=1e-3)
    assert not torch.allclose(noise[8:16], noise[:8], atol=0.1)
    assert all(p.grad is None for part in (made.reader, made.writer, made.listener) for p in part.parameters())
    assert all(torch.equal(value, before[name]) for name, value in made.reader.state_dict().items())
    assert "made" not in given


def test_codes_are_those_of_the_averaged_reader():
    made, other = system(), system()
    for parameter in other.reader.parameters():
        parameter.data.add_(0.1)
    made.train()
    other.eval()
    given = batch()
    own = made._examples(given)[0]
    assert made.reader.training
    made.follow(other)
    found = made._examples(given)[0]
    torch.testing.assert_close(found[:8, :, 0, 0], other.reader(given["image"]))
    assert not torch.allclose(found, own)


def test_the_reconstruction_is_of_jittered_codes_and_what_teachers_see():
    made, given = system(jitter=0.0).eval(), batch()
    label = nn.functional.one_hot(given["label"], 10).float()
    loss = made.losses("autoencoder", given, 0)["reconstruction"]
    written = torch.sigmoid(made.writer(made.reader(given["image"]), label))
    torch.testing.assert_close(given["made"], written)
    torch.testing.assert_close(loss, (written - given["image"]).square().sum((1, 2, 3)).mean())
    assert given["made"].requires_grad
    jittered = system(jitter=1.0).eval()
    again = batch()
    jittered.losses("autoencoder", again, 0)
    assert not torch.allclose(again["made"], written)


def grads(module: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def backward(losses: dict[str, Tensor]) -> None:
    torch.stack(list(losses.values())).sum().backward()


def test_the_reader_learns_until_it_is_settled_as_the_averaged_one():
    made, other, given = system(settled_after=5), system(), batch()
    for parameter in other.parameters():
        parameter.data.add_(0.1)
    made.follow(other.eval())
    backward(made.losses("autoencoder", dict(given), 4))
    assert grads(made.reader)
    made.zero_grad(set_to_none=True)
    kept = other.reader.state_dict()
    for step in (5, 6):
        seen = dict(given)
        backward(made.losses("autoencoder", seen, step))
        assert not grads(made.reader)
        assert grads(made.writer)
        assert all(torch.equal(value, kept[name]) for name, value in made.reader.state_dict().items())


def test_once_settled_the_writer_learns_from_the_painters_codes():
    made, other = system(settled_after=5), system()
    made.follow(other.eval())
    for step, phases in ((4, {"reconstruction"}), (5, {"reconstruction", "legibility", "adversarial"})):
        made.zero_grad(set_to_none=True)
        given = batch()
        told: list[tuple[Tensor, ...]] = []
        hook = other.painter.register_forward_hook(lambda module, inputs, output, told=told: told.append(inputs))
        losses = made.losses("autoencoder", given, step)
        hook.remove()
        assert set(losses) == phases
        assert len(told) == (0 if step < 5 else made.config.steps)
        backward(losses)
        assert grads(made.writer)
        assert not any(grads(part) for part in (made.painter, made.examiner, made.listener, other))
        if step == 5:
            # What was asked for is what the painter was told, and what the examiner is asked about.
            assert all(torch.equal(inputs[3].argmax(1), given["asked"]) for inputs in told)
            read = made.examiner.read(given["painted"])
            torch.testing.assert_close(losses["legibility"], 10 * nn.functional.cross_entropy(read, given["asked"]))
            real = made.examiner.is_real(given["painted"], torch.eye(10)[given["asked"]])
            torch.testing.assert_close(losses["adversarial"], 3 * nn.functional.softplus(-real).mean())


def test_the_examiner_learns_to_read_from_real_pictures_alone():
    made, given = system(settled_after=5), batch()
    losses = made.losses("examiner", given, 6)
    assert set(losses) == {"read", "adversarial"}
    assert given["painted"].requires_grad
    backward({"adversarial": losses["adversarial"]})
    assert grads(made.examiner.looks)
    assert not any(grads(part) for part in (made.examiner.reads, made.examiner.label, made.writer, made.reader))
    backward({"read": losses["read"]})
    assert grads(made.examiner.reads)
    assert not grads(made.writer)
    # The writer is then judged by the same pictures.
    painted = given["painted"]
    backward(made.losses("autoencoder", given, 6))
    assert given["painted"] is painted
    assert grads(made.writer)


def test_the_penalty_is_taken_every_eighth_step_and_weighs_as_much_as_at_each():
    made = system(settled_after=5, r1=0.7)
    found = {step: made.losses("examiner", batch(), step) for step in range(3, 18)}
    assert [step for step, losses in found.items() if "r1" in losses] == [8, 16]
    assert all("adversarial" not in found[step] for step in (3, 4))
    given = batch()
    torch.manual_seed(0)
    losses = made.losses("examiner", given, 8)
    image = given["image"].clone().requires_grad_(True)
    real = made.examiner.is_real(image, torch.eye(10)[given["label"]])
    (gradient,) = torch.autograd.grad(real.sum(), image)
    torch.testing.assert_close(losses["r1"], 8 * 0.7 * 0.5 * gradient.square().sum((1, 2, 3)).mean())


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"legibility_weight": 0.0}, {"reconstruction", "adversarial"}),
        ({"adversarial_weight": 0.0}, {"reconstruction", "legibility"}),
        ({"legibility_weight": 0.0, "adversarial_weight": 0.0}, {"reconstruction"}),
    ],
)
def test_objectives_of_weight_0_are_left_out(weights: dict[str, float], expected: set[str]):
    made = system(settled_after=1, **weights)
    given = batch()
    if "examiner" in made.phases:
        backward(made.losses("examiner", given, 2))
    else:
        assert expected == {"reconstruction"}
        assert not hasattr(made, "examiner")
    assert set(made.losses("autoencoder", given, 2)) == expected


def test_the_writer_becomes_legible_where_the_painter_misses():
    """Its painter knows nothing of the label, and reconstruction nothing of its codes: they say so themselves."""
    torch.manual_seed(0)
    made = system(settled_after=1, adversarial_weight=0.0, jitter=0.0)
    phases = ("examiner", "autoencoder")
    optimizers = {phase: torch.optim.Adam(made.parameters_of(phase), 3e-3) for phase in phases}
    pictures = torch.zeros(10, 1, 28, 28)
    for label in range(10):
        pictures[label, :, :, 2 * label : 2 * label + 8] = 1
    losses: dict[str, Tensor] = {}
    first = None
    for step in range(2, 150):
        torch.manual_seed(step)
        given = batch(32) | {"label": torch.arange(32) % 10}
        given["image"] = pictures[given["label"]]
        for phase in phases:
            losses = made.losses(phase, given, step)
            optimizers[phase].zero_grad()
            backward(losses)
            optimizers[phase].step()
        if step == 20:
            first = float(losses["legibility"].detach())
    assert first is not None
    assert float(losses["legibility"].detach()) < 0.1 * first


def test_the_examiners_answers():
    torch.manual_seed(0)
    examiner = Examiner(3)
    image, label = torch.rand(4, 1, 28, 28), torch.eye(3)[[0, 1, 2, 0]]
    real = examiner.is_real(image, label)
    assert real.shape == (4,)
    assert examiner.read(image).shape == (4, 3)
    # The same picture is more or less real as this or that label.
    assert not torch.allclose(examiner.is_real(image, label.roll(1, 0)), real)
    backward({"read": examiner.read(image).sum()})
    assert not any(grads(part) for part in (examiner.looks, examiner.real, examiner.fitting))


def test_codes_have_unit_scale():
    """Whatever the layers before: noise of deviation 1 is what they are mixed with."""
    torch.manual_seed(0)
    reader = Reader((4, 8), 16, 5)
    with torch.no_grad():
        reader.head[2].weight.mul_(40)
        codes = reader(torch.rand(256, 1, 28, 28))
    torch.testing.assert_close(codes.mean(0), torch.zeros(5), atol=1e-4, rtol=0)
    torch.testing.assert_close(codes.var(0, unbiased=False), torch.ones(5), atol=1e-2, rtol=0)


def test_the_writer_is_told_code_and_label():
    torch.manual_seed(0)
    writer = Writer((8, 8, 8), 16, 5, 10).eval()
    code, label = torch.randn(2, 5), torch.eye(10)[:2]
    with torch.no_grad():
        written = writer(code, label)
        assert written.shape == (2, 1, 28, 28)
        assert not torch.allclose(writer(code.flip(0), label), written)
        assert not torch.allclose(writer(code, label.flip(0)), written)


def test_a_new_network_answers_next_to_nothing_and_depends_on_what_steers_it():
    torch.manual_seed(0)
    network = CodeNetwork(5, 16, 2, 7)
    code, steering = torch.randn(3, 5, 1, 1), torch.randn(3, 7)
    with torch.no_grad():
        network.leave.bias.zero_()
        answer = network(code, steering)
        assert answer.shape == code.shape
        assert float(answer.abs().max()) < 0.05
        for changed in (network(code, steering.flip(0)), network(code.flip(0), steering)):
            assert not torch.allclose(changed, answer, atol=1e-6)


def test_back_from_a_page_lies_the_noise_that_writes_it_again():
    """In a field that moves everything evenly: the code of the page, moved back, and there again."""

    class Field(nn.Module):
        def forward(self, mixed: Tensor, time: Tensor, length: Tensor, label: Tensor) -> Tensor:
            return torch.full_like(mixed, 0.3)

    made, given = system(variation=0.5).eval(), batch(2)
    made.painter = Field()  # type: ignore[assignment]
    back = {"times": torch.linspace(0, 1, 6), "page": given["image"], "read": torch.ones(())}
    with torch.no_grad():
        code = made.reader(given["image"])
        _, noise = made.draw(given["features"], torch.zeros(2, 6), **back)
        torch.testing.assert_close(noise, (code + 0.3) / 0.5)
        written, end = made.draw(given["features"], noise, torch.tensor(schedule(4)))
        torch.testing.assert_close(end, code / 0.5)
        torch.testing.assert_close(written, torch.sigmoid(made.writer(code, made.decide(given["features"]))))


def test_exported_it_takes_every_control():
    made = system().eval()
    nn.init.normal_(made.painter.network.leave.weight)  # type: ignore[union-attr,arg-type]
    given = {name: batch(4)[name].numpy() for name in ("features", "noise")}
    session = onnxruntime.InferenceSession(to_onnx(made, given), providers=["CPUExecutionProvider"])
    assert {node.name for node in session.get_inputs()} == set(given)
    assert {node.name for node in session.get_overridable_initializers()} == set(made.controls)
    page = batch(4)["image"].numpy()
    for controls in (
        {},
        {"times": np.linspace(1, 0, 8, dtype=np.float32)},
        {"times": np.array([1, 0], np.float32), "weights": np.array([2, -1], np.float32)},
        {"given": np.eye(10, dtype=np.float32)[[3]], "share": np.array(1, np.float32)},
        {"page": page[:1], "read": np.array(1, np.float32), "times": np.linspace(0, 1, 5, dtype=np.float32)},
        {"page": page, "read": np.array(0.5, np.float32)},
    ):
        image, end = session.run(["image", "end"], given | controls)
        told = {name: torch.from_numpy(value) for name, value in (given | controls).items()}
        with torch.no_grad():
            expected, wanted_end = made.draw(told.pop("features"), told.pop("noise"), **told)
        np.testing.assert_allclose(end, wanted_end, atol=1e-4)
        np.testing.assert_allclose(image, expected, atol=1e-5, err_msg=str(list(controls)))


def test_exported_in_half_its_loop_and_its_controls_are_the_same():
    made = system(painter_width=32).eval()
    nn.init.normal_(made.painter.network.leave.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    given = {name: batch(4)[name].numpy() for name in ("features", "noise")}
    contents = to_onnx(made, given, half=True)
    assert len(contents) < 0.8 * len(to_onnx(made, given))  # most of a network this small is its graph
    session = onnxruntime.InferenceSession(contents, providers=["CPUExecutionProvider"])
    overridable = session.get_overridable_initializers()
    assert {node.name for node in overridable} == set(made.controls)
    assert {node.type for node in overridable} == {"tensor(float)"}
    for times in (schedule(4), schedule(7)):
        (image,) = session.run(["image"], given | {"times": np.asarray(times, np.float32)})
        told = {name: torch.from_numpy(value) for name, value in given.items()}
        with torch.no_grad():
            expected, _ = made.draw(told["features"], told["noise"], torch.tensor(times))
        np.testing.assert_allclose(image, expected, atol=0.02)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_it_learns_to_paint_the_pictures_of_each_label(share: float):
    """Two labels of two pictures each: from noise one of the two that the label has, and each of them at times."""
    torch.manual_seed(0)
    made = system(shortcuts=share, shortcuts_after=150, unlabelled=0.0, latent_size=2, draws=4)
    pictures = torch.zeros(4, 1, 28, 28)
    pictures[0, :, 4:14, 4:24] = 1
    pictures[1, :, 14:24, 4:24] = 1
    pictures[2, :, 4:24, 4:14] = 1
    pictures[3, :, 4:24, 14:24] = 1
    phases = made.phases[1:]
    optimizers = {phase: torch.optim.Adam(made.parameters_of(phase), 3e-3) for phase in phases}
    for step in range(400):
        torch.manual_seed(step)
        which = torch.randint(4, (64,))
        given = batch(64) | {"image": pictures[which], "label": which // 2, "noise": torch.randn(64, 2)}
        for phase in phases:
            loss = torch.stack(list(made.losses(phase, given, step).values())).sum()
            optimizers[phase].zero_grad()
            loss.backward()
            optimizers[phase].step()
    made.eval()
    torch.manual_seed(1)
    label = torch.arange(64) % 2
    with torch.no_grad():
        found = made.paint(torch.eye(10)[label], torch.randn(64, 2), torch.tensor(schedule(8)), torch.ones(1))
    errors = (found[:, None] - pictures[None]).abs().mean((2, 3, 4))
    nearest = errors.argmin(1)
    assert (nearest // 2 == label).float().mean() > 0.95
    assert set(nearest.tolist()) == {0, 1, 2, 3}
    assert float(errors.min(1).values.median()) < 0.1
