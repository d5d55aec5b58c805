"""Systems of mixed objectives: each weight brings its own term, and each phase trains its own side."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from soundsight.losses.reconstruction import l1, l2
from soundsight.models import mfcc_generator, sketch_cgan, sound2visual, soundnet_gan
from soundsight.models.layers import count_parameters
from soundsight.models.objectives import Options, Weights
from soundsight.models.pictures import Judge, Transposed, Upsampling

OF_PICTURE = ("l1", "l2", "huber", "ssim", "ms_ssim", "adversarial", "feature_matching", "cycle", "cohesion")
OF_CODE = ("info_nce", "margin")


def build(weights: dict[str, float], *, num_labels: int = 1, **options: Any) -> sound2visual.System:
    torch.manual_seed(0)
    return sound2visual.System(
        sound2visual.Config(losses=Weights(**weights), width=8, judge_width=8, **options), num_labels
    )


def batch_for(system: Any, size: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "features": torch.rand(size, *system.features_shape, generator=generator),
        "image": torch.rand(size, *system.image_shape, generator=generator),
        "noise": torch.randn(size, system.latent_size, generator=generator),
        "next_features": torch.rand(size, *system.features_shape, generator=generator),
        "next_image": torch.rand(size, *system.image_shape, generator=generator),
    }


def losses_of(system: Any, batch: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    batch = dict(batch)
    return {phase: system.losses(phase, batch, 10_000) for phase in system.phases}


@pytest.mark.parametrize("name", [*OF_PICTURE, *OF_CODE])
def test_a_weight_brings_its_term_and_no_other(name: str) -> None:
    system = build({"l2": 0.5, name: 2.0})
    terms = losses_of(system, batch_for(system))["generator"]
    assert set(terms) == {"l2", name}
    other = build({"l2": 0.5, name: 2.0})
    assert torch.autograd.grad(terms[name], list(system.encoder.parameters()), allow_unused=True)[0] is not None
    assert count_parameters(other) == count_parameters(system)


def test_of_one_label_sounds_and_pictures_belong_together() -> None:
    """Otherwise a dog's bark would be told to be far from every other dog's picture of the batch."""
    weights = {"l2": 1.0, "info_nce": 1.0, "margin": 1.0}
    by_pair, by_label = (build(weights, num_labels=num) for num in (1, 3))
    by_label.load_state_dict(by_pair.state_dict())
    batch = batch_for(by_pair) | {"label": torch.tensor([0, 0, 2, 1, 1, 0])}
    sound_BD, image_BD = by_pair.space(by_pair.encoder(batch["features"]), 2 * batch["image"] - 1)
    neighbour = [5, 0, 1, 2, 3, 4]
    squared_BB = torch.cdist(sound_BD, image_BD).square()
    near = squared_BB.diagonal().sum()
    for system, labels in ((by_pair, range(6)), (by_label, batch["label"].tolist())):
        terms = losses_of(system, batch)["generator"]
        targets_BB = torch.tensor([[float(one == other) for other in labels] for one in labels])
        targets_BB /= targets_BB.sum(dim=1, keepdim=True)
        logits_BB = sound_BD @ image_BD.T / 0.1
        wanted = -(targets_BB * (logits_BB.log_softmax(1) + logits_BB.T.log_softmax(1))).sum() / 12
        torch.testing.assert_close(terms["info_nce"], wanted)
        pairs = [(squared_BB[i, j], labels[i] == labels[j]) for i, j in enumerate(neighbour)]
        far = sum(square if same else (1 - square.sqrt()).clamp(min=0).square() for square, same in pairs)
        torch.testing.assert_close(terms["margin"], (near + far) / 12)


def test_one_pair_alone_is_no_stranger_to_itself() -> None:
    system = build({"margin": 1.0}).eval()
    batch = batch_for(system, size=1)
    sound_BD, image_BD = system.space(system.encoder(batch["features"]), 2 * batch["image"] - 1)
    torch.testing.assert_close(losses_of(system, batch)["generator"]["margin"], (sound_BD - image_BD).square().sum())


@pytest.mark.parametrize("name", [*OF_PICTURE, *OF_CODE])
def test_terms_are_weighted(name: str) -> None:
    once, thrice = (build({name: weight}) for weight in (1.0, 3.0))
    found = [losses_of(system, batch_for(system))["generator"][name] for system in (once, thrice)]
    torch.testing.assert_close(3 * found[0], found[1], rtol=1e-4, atol=1e-5)


def test_distances_are_those_of_pictures_from_minus_1_to_1() -> None:
    system = build({"l1": 1.0, "l2": 1.0})
    batch = batch_for(system)
    terms = losses_of(system, batch)["generator"]
    with torch.no_grad():
        made = system.generate(batch["features"], batch["noise"])
    torch.testing.assert_close(terms["l1"], 2 * l1(made, batch["image"]))
    torch.testing.assert_close(terms["l2"], 4 * l2(made, batch["image"]))


def test_cohesion_compares_changes() -> None:
    """A scene that does not change: what is lost is how much the picture does."""
    system = build({"cohesion": 1.0})
    assert system.looks_ahead
    assert not build({"l2": 1.0}).looks_ahead
    batch = batch_for(system)
    batch["next_image"] = batch["image"]
    found = system.eval().losses("generator", dict(batch), 0)["cohesion"]
    with torch.no_grad():
        made = [system.generate(batch[key], batch["noise"]) for key in ("features", "next_features")]
    torch.testing.assert_close(found.detach(), 2 * (made[1] - made[0]).abs().mean())


LABELS = torch.tensor([0, 0, 2, 1, 1, 0])


@pytest.mark.parametrize("name", ["legibility", "recognition"])
def test_objectives_of_labels_teach_hearing(name: str) -> None:
    once, thrice = (build({"l2": 0.5, name: weight}, num_labels=3) for weight in (1.0, 3.0))
    batch = batch_for(once) | {"label": LABELS}
    terms = [losses_of(system, batch)["generator"] for system in (once, thrice)]
    assert set(terms[0]) == {"l2", name}
    torch.testing.assert_close(3 * terms[0][name], terms[1][name], rtol=1e-4, atol=1e-5)
    gradients = torch.autograd.grad(terms[0][name], list(once.encoder.parameters()))
    assert all(float(gradient.abs().max()) > 0 for gradient in gradients[-2:])
    with pytest.raises(ValueError, match=f"the objective {name} is of labels"):
        build({"l2": 0.5, name: 1.0})


def test_the_discriminator_learns_to_read_from_real_pictures_alone() -> None:
    """One that learned from pictures that are made, too, could come to terms with who makes them."""
    system = build({"adversarial": 1.0, "legibility": 2.0}, num_labels=3).eval()
    batch = batch_for(system) | {"label": LABELS}
    found = losses_of(system, batch)
    seen = system.judge(2 * batch["image"] - 1, nn.functional.one_hot(LABELS, 3).float())[1]
    wanted = 2 * nn.functional.cross_entropy(system.judge.label(seen[-1].mean(dim=(2, 3))), LABELS)
    torch.testing.assert_close(found["discriminator"]["legibility"], wanted)
    made = 2 * system.generate(batch["features"], batch["noise"]) - 1
    seen = system.judge(made, nn.functional.one_hot(LABELS, 3).float())[1]
    wanted = 2 * nn.functional.cross_entropy(system.judge.label(seen[-1].mean(dim=(2, 3))), LABELS)
    torch.testing.assert_close(found["generator"]["legibility"], wanted, rtol=1e-4, atol=1e-5)


def test_other_sounds_are_named_beside_those_that_are_painted() -> None:
    system = build({"l2": 0.5, "recognition": 2.0}, num_labels=3, other_labels=4).eval()
    batch = batch_for(system) | {"label": LABELS, "outliers": torch.rand(2, *system.features_shape)}
    batch |= {"outlier_labels": torch.tensor([3, 0])}
    found = losses_of(system, batch)["generator"]
    codes = system.encoder(torch.cat([batch["features"], batch["outliers"]]))
    labels = torch.cat([LABELS, torch.tensor([6, 3])])
    torch.testing.assert_close(found["recognition"], 2 * nn.functional.cross_entropy(system.namer(codes), labels))
    with pytest.raises(ValidationError, match="other_labels is of the objective recognition, which weighs 0"):
        build({"l2": 0.5}, num_labels=3, other_labels=4)


def test_sounds_that_nobody_recorded_take_the_place_of_a_share_of_the_batch() -> None:
    system = build({"l2": 1.0}, unlike=0.5)
    batch = batch_for(system)
    whole, first = batch["features"], dict(batch)
    torch.manual_seed(3)
    system.losses("generator", first, 0)
    assert torch.equal(first["image"], batch["image"])
    assert torch.equal(first["features"][3:], whole[3:])
    torch.manual_seed(3)
    for unlike, (one, near, far), part in zip(
        first["features"], torch.randint(6, (3, 3)).T, torch.rand(3), strict=False
    ):
        torch.testing.assert_close(unlike, whole[one] + 0.5 * (1 + part) * (whole[near] - whole[far]))
    assert all((unlike - known).abs().max() > 0.01 for unlike in first["features"][:3] for known in whole)
    again = dict(batch)
    build({"l2": 1.0}).losses("generator", again, 0)
    assert torch.equal(again["features"], whole)


def test_both_phases_are_shown_the_same_sounds_that_nobody_recorded() -> None:
    system = build({"l2": 1.0, "adversarial": 1.0}, unlike=0.5)
    batch = batch_for(system)
    system.losses("discriminator", batch, 0)
    shown = batch["features"]
    system.losses("generator", batch, 0)
    assert batch["features"] is shown


def test_a_sound_unlike_all_others_gets_the_mean_of_all_pictures() -> None:
    """Of two sounds one is black and one white: without, all beyond them is as sure as they are."""

    def answers(**options: Any) -> list[float]:
        torch.manual_seed(0)
        small = {"image_size": 16, "decoder": "upsampling", "width": 8, "widths": (64,), "code_size": 16}
        system = mfcc_generator.System(mfcc_generator.Config(losses=Weights(l2=1.0), **small, **options), 1)
        known_B = torch.arange(32) % 2
        features_BFN = known_B[:, None, None].expand(-1, *system.features_shape).float()
        image_BCHW = known_B[:, None, None, None].expand(-1, *system.image_shape).float()
        optimizer = torch.optim.Adam(system.parameters(), 3e-3)
        for step in range(150):
            rows = torch.randperm(32)
            batch = {"features": features_BFN[rows], "image": image_BCHW[rows], "noise": torch.zeros(32, 0)}
            optimizer.zero_grad()
            sum(system.losses("generator", batch, step).values()).backward()
            optimizer.step()
        system.eval()
        heard_BFN = torch.tensor([-1.0, 0.0, 1.0, 2.0])[:, None, None].expand(-1, *system.features_shape)
        with torch.no_grad():
            return system.generate(heard_BFN, torch.zeros(4, 0)).mean(dim=(1, 2, 3)).tolist()

    below, dark, light, above = answers()
    assert max(below, dark) < 0.05
    assert min(light, above) > 0.95
    below, dark, light, above = answers(unlike=0.5)
    assert dark < 0.3
    assert light > 0.7
    assert all(0.35 < share < 0.65 for share in (below, above))


@pytest.mark.parametrize("name", ["info_nce", "margin", "cycle", "cohesion"])
def test_what_needs_sounds_whole_is_refused_beside_such(name: str) -> None:
    with pytest.raises(ValidationError, match=f"unlike takes sounds apart, and the objective {name} needs them whole"):
        build({"l2": 1.0, name: 1.0}, unlike=0.5)
    with pytest.raises(ValueError, match="unlike is for data without labels"):
        build({"l2": 1.0}, unlike=0.5, num_labels=3)


def test_a_generator_that_is_told_the_label_sees_nothing_else_of_the_sound() -> None:
    system = build({"l2": 0.5, "recognition": 1.0}, num_labels=3, told="label", other_labels=4).eval()
    batch = batch_for(system) | {"label": LABELS, "outliers": torch.rand(2, *system.features_shape)}
    batch |= {"outlier_labels": torch.tensor([3, 0])}
    first = dict(batch)
    terms = system.losses("generator", first, 0)
    given = torch.cat([nn.functional.one_hot(LABELS, 3).float(), batch["noise"]], dim=1)
    torch.testing.assert_close(first["picture"], system.generator(given))
    assert all(p.grad is None for p in system.encoder.parameters())
    assert torch.autograd.grad(terms["l2"], list(system.encoder.parameters()), allow_unused=True)[0] is None
    assert torch.autograd.grad(terms["recognition"], list(system.encoder.parameters()))[0].abs().max() > 0
    shares = system.namer(system.encoder(batch["features"]))[:, :3].softmax(dim=1)
    wanted = system.generator(torch.cat([shares, batch["noise"]], dim=1))
    torch.testing.assert_close(2 * system.generate(batch["features"], batch["noise"]) - 1, wanted)
    assert "namer" not in system.for_training
    assert "namer" in build({"l2": 0.5, "recognition": 1.0}, num_labels=3).for_training


@pytest.mark.parametrize("num_labels", [1, 3])
def test_the_discriminator_is_told_the_label_where_there_is_one_and_else_the_code(num_labels: int) -> None:
    """A code moves as hearing learns, and a discriminator that has to follow it learns nothing else."""
    system = build({"adversarial": 1.0}, num_labels=num_labels)
    batch = batch_for(system) | {"label": LABELS}
    batch |= {"picture": torch.rand(6, *system.image_shape), "code": torch.randn(6, 128)}
    answers = [
        float(system.eval().losses("discriminator", batch | change, 0)["adversarial"].detach())
        for change in ({}, {"code": torch.randn(6, 128)}, {"label": LABELS.flip(0)})
    ]
    assert (answers[1] == answers[0]) == (num_labels == 3)
    assert (answers[2] == answers[0]) == (num_labels == 1)


def test_the_slope_at_real_pictures_is_penalised_every_eighth_step() -> None:
    system = build({"adversarial": 1.0}, r1=0.5, spectral_norm=False).eval()
    batch = batch_for(system)
    terms = [system.losses("discriminator", dict(batch), step) for step in range(17)]
    assert [step for step, each in enumerate(terms) if "r1" in each] == [0, 8, 16]
    real = (2 * batch["image"] - 1).requires_grad_(True)
    answers = system.judge(real, system.encoder(batch["features"]))[0].flatten(1).mean(dim=1)
    (slope,) = torch.autograd.grad(answers.sum(), real)
    torch.testing.assert_close(terms[8]["r1"], 8 * 0.5 * 0.5 * slope.square().sum(dim=(1, 2, 3)).mean())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"gradient_penalty": 10.0}, "needs the objective adversarial"),
        ({"r1": 1.0}, "r1 is of a discriminator"),
        ({"told": "label"}, "told='label' is of the objective recognition"),
        ({"told": "label", "variational": True, "latent_size": 4}, "choose one"),
        ({"free_bits": 0.5}, "free_bits is of the objective kl"),
        ({"kl_warmup_steps": 100}, "kl_warmup_steps is of the objective kl"),
    ],
)
def test_options_of_what_is_not_there_are_refused(options: dict[str, float], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        Options(**options)


def test_without_an_adversary_there_is_no_discriminator() -> None:
    assert build({"l2": 1.0}).phases == ("generator",)
    assert build({"l2": 1.0}).judge is None
    assert build({"feature_matching": 1.0}).phases == ("discriminator", "generator")


@pytest.mark.parametrize("game", ["saturating", "non-saturating", "hinge", "least-squares", "wasserstein"])
def test_each_phase_trains_its_own_side(game: str) -> None:
    system = build({"l2": 1.0, "adversarial": 1.0, "feature_matching": 1.0}, game=game, gradient_penalty=10.0)
    batch = batch_for(system)
    sides = {phase: {id(p) for p in system.parameters_of(phase)} for phase in system.phases}
    assert not sides["discriminator"] & sides["generator"]
    for phase in system.phases:
        system.zero_grad(set_to_none=True)
        terms = system.losses(phase, batch, 0)
        torch.stack(list(terms.values())).sum().backward()
        touched = {id(p) for p in system.parameters() if p.grad is not None}
        assert touched <= sides[phase]
        assert len(touched) > 3
        if phase == "discriminator":
            assert set(terms) == {"adversarial", "penalty"}
            assert float(terms["penalty"].detach()) > 0


def test_balanced_objectives_share_the_pull_on_the_picture() -> None:
    system = build({"l1": 1.0, "l2": 3.0, "adversarial": 1.0}, balance=True)
    batch = batch_for(system)
    for phase in system.phases:
        terms = system.losses(phase, batch, 0)
    pulls = {n: float(torch.autograd.grad(t, batch["picture"], retain_graph=True)[0].norm()) for n, t in terms.items()}
    assert pulls["l2"] == pytest.approx(3 * pulls["l1"], rel=1e-3)
    assert pulls["adversarial"] == pytest.approx(pulls["l1"], rel=1e-3)


def test_a_code_that_is_drawn_has_a_divergence_and_nothing_else_of_the_noise() -> None:
    options = {"variational": True, "latent_size": 12, "free_bits": 0.5, "kl_warmup_steps": 100}
    system = build({"l2": 1.0, "kl": 2.0}, **options).eval()
    batch = batch_for(system)
    assert float(system.losses("generator", dict(batch), 10_000)["kl"].detach()) >= 2 * 0.5 * 12
    assert float(system.losses("generator", dict(batch), 0)["kl"].detach()) == 0
    with torch.no_grad():
        quiet = system.generate(batch["features"], 0 * batch["noise"])
        made = system.generate(batch["features"], batch["noise"])
    assert not torch.equal(made, quiet)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"decoder": "transposed", "channels": (8, 8)}, "make pictures of 8 pixels"),
        ({"variational": True, "latent_size": 0}, "latent_size above 0"),
        ({"losses": {"l3": 1.0}}, "l3"),
        ({"losses": {"l1": 1.0, "kl": 1.0}}, "kl needs variational"),
        ({"losses": {"l1": -1.0}}, "greater than or equal to 0"),
        ({"losses": {"l1": float("nan")}}, "finite"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        sound2visual.Config(**options)


def test_the_published_generator_has_the_published_layers() -> None:
    """FC 1024, 768, 512, 256, 100; eight transposed convolutions 4×4 from one pixel to 256, and how many weights."""
    system = mfcc_generator.System(mfcc_generator.Config())
    dense = [m for m in system.encoder.modules() if isinstance(m, nn.Linear)]
    assert [m.out_features for m in dense] == [1024, 768, 512, 256, 100]
    up = [m for m in system.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [m.out_channels for m in up] == [256, 128, 64, 32, 16, 8, 4, 3]
    assert {(m.kernel_size, m.stride, m.padding) for m in up} == {((4, 4), (2, 2), (1, 1))}
    sizes = [104, 1024, 768, 512, 256, 100]
    of_dense = sum(a * b + b for a, b in pairwise(sizes))
    channels = [100, 256, 128, 64, 32, 16, 8, 4, 3]
    of_up = sum(16 * a * b + b for a, b in pairwise(channels))
    of_norms = 2 * sum(channels[1:-1])
    assert count_parameters(system) == of_dense + of_up + of_norms
    assert system.image_shape == (3, 256, 256)
    assert system.latent_size == 0


def test_the_published_loss_is_the_squared_error_times_64() -> None:
    system = mfcc_generator.System(mfcc_generator.Config()).eval()
    batch = batch_for(system, 2)
    (term,) = system.losses("generator", dict(batch), 0).values()
    with torch.no_grad():
        made = system.generate(batch["features"], batch["noise"])
    torch.testing.assert_close(term, 64 * l2(2 * made - 1, 2 * batch["image"] - 1))


def test_normalised_coefficients_forget_their_scale() -> None:
    """In training, scale and offset of a coefficient make no difference; as published they do."""
    torch.manual_seed(0)
    features = 50 * torch.randn(16, 13, 8) - 300
    for normalise in (True, False):
        encoder = mfcc_generator.Encoder((32,), 8, normalise).train()
        same = torch.allclose(encoder(features), encoder(0.5 * features + 40), rtol=1e-3, atol=1e-4)
        assert same == normalise


def test_the_waveform_encoder_forgets_when() -> None:
    """A click later in the second gives nearly the same code: it is averaged over time."""
    system = soundnet_gan.System(soundnet_gan.Config()).eval()
    early, late, none = torch.zeros(3, 1, 1, 16_000)
    early[..., 4000:4400], late[..., 8096:8496] = 1.0, 1.0
    with torch.no_grad():
        codes = [system.encoder(x) for x in (early, late, none)]
    assert float((codes[0] - codes[1]).norm()) < 0.5 * float((codes[0] - codes[2]).norm())


def test_sketches_have_one_channel() -> None:
    assert sketch_cgan.System(sketch_cgan.Config()).image_shape == (1, 32, 32)


@pytest.mark.parametrize(
    "generator", [Transposed(7, (16, 8, 8), 3), Upsampling(7, 4, 16, 3)], ids=["transposed", "upsampling"]
)
def test_a_generator_reaches_every_pixel_from_its_code(generator: nn.Module) -> None:
    code = torch.randn(3, 7, generator=torch.Generator().manual_seed(2))
    picture = generator(code)
    assert picture.shape == (3, 3, 16, 16)
    assert float(picture.detach().abs().max()) < 1
    changed = (generator(-code) - picture).abs().amin(dim=(0, 1))
    assert float(changed.detach().min()) > 0


def test_the_judge_compares_what_it_sees_with_what_it_is_told() -> None:
    torch.manual_seed(0)
    judge = Judge(3, 8, 3, 5, spectral=True).eval()
    pictures, codes = torch.rand(2, 3, 32, 32), torch.randn(2, 5)
    answers, seen = judge(pictures, codes)
    assert answers.shape == (2, 1, 4, 4)
    assert [layer.shape[1] for layer in seen] == [8, 16, 32]
    assert not torch.allclose(judge(pictures, codes.flip(0))[0], answers)
    assert judge.label is None
    assert Judge(3, 8, 3, 5, spectral=True, num_labels=4).read(seen).shape == (2, 4)
