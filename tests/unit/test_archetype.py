"""The archetype baseline: exact means, whatever the batches, and the picture of what it hears."""

from __future__ import annotations

import torch

from soundsight.models import archetype


def test_its_pictures_are_the_means_of_all_it_has_seen():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(60, 1, 28, 28, generator=generator)
    labels = torch.arange(60) % 9  # the tenth label never comes
    system = archetype.System(archetype.Config()).train()
    for part in (slice(0, 7), slice(7, 30), slice(30, 60)):
        batch = {"image": images[part], "label": labels[part], "features": torch.rand(len(labels[part]), 48, 48)}
        system.losses("classifier", batch, 0)
    for label in range(9):
        torch.testing.assert_close(system.mean_LCHW[label], images[labels == label].mean(dim=0))
    assert not system.mean_LCHW[9].any()


def test_what_is_judged_is_not_learned_from():
    system = archetype.System(archetype.Config()).eval()
    batch = {"image": torch.ones(2, 1, 28, 28), "label": torch.tensor([0, 1]), "features": torch.rand(2, 48, 48)}
    system.losses("classifier", batch, 0)
    assert not system.mean_LCHW.any()


@torch.no_grad()
def test_it_shows_the_mean_of_the_label_it_hears():
    system = archetype.System(archetype.Config()).eval()
    system.mean_LCHW.copy_(torch.arange(10.0)[:, None, None, None].expand(10, 1, 28, 28) / 10)
    features = torch.rand(8, 48, 48)
    heard = system.listener(features).argmax(dim=1)
    torch.testing.assert_close(system.generate(features, torch.zeros(8, 0))[:, 0, 0, 0], heard / 10)
