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
    """Issue: at most 2.5 million parameters in all."""
    assert count_parameters(latent_flow.System(latent_flow.Config())) < 2_500_000


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
    jittered.losses("autoencoder", given, 0)
    assert not torch.allclose(given["made"], written)


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
