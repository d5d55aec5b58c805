"""The networks of the 2021 paper and their losses as one writes them first: the other side of ``training.py``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainGan:
    """AIVAEGAN: Table 2 and equation (4), α = 2, as the recipe reads it, in plain layers and the usual loop.

    Without what the recipe adds for its discriminator (spectral norm, shifts), which costs ours and not this.
    """

    def __init__(self, lr: float) -> None:
        def down(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 4, 2), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]

        def up(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
            return [nn.ConvTranspose2d(inputs, outputs, kernel, 2), nn.BatchNorm2d(outputs), nn.ReLU()]

        self.encoder = nn.Sequential(*down(1, 128), *down(128, 256), *down(256, 512))
        self.mean, self.log_variance = nn.Conv2d(512, 64, 4, 2), nn.Conv2d(512, 64, 4, 2)
        self.decoder = nn.Sequential(
            *up(64, 512, 3), *up(512, 256, 3), *up(256, 128, 2), nn.ConvTranspose2d(128, 1, 2, 2), nn.Sigmoid()
        )
        self.discriminator = nn.Sequential(
            *down(1, 128), *down(128, 256), *down(256, 512), nn.Conv2d(512, 1, 1), nn.Sigmoid()
        )
        makers = (self.encoder, self.mean, self.log_variance, self.decoder)
        self.maker_optimizer = torch.optim.Adam([p for part in makers for p in part.parameters()], lr)
        self.judge_optimizer = torch.optim.Adam(self.discriminator.parameters(), lr)

    def step(self, features: Tensor, image: Tensor) -> None:
        """One step of the discriminator, then one of the generator."""
        hidden = self.encoder(features[:, None])
        mean, log_variance = self.mean(hidden), self.log_variance(hidden)
        made = self.decoder(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean))
        real, fake = torch.ones(len(image), 1, 1, 1), torch.zeros(len(image), 1, 1, 1)
        judged = functional.binary_cross_entropy(self.discriminator(image), real)
        judged = judged + functional.binary_cross_entropy(self.discriminator(made.detach()), fake)
        self.judge_optimizer.zero_grad()
        judged.backward()
        self.judge_optimizer.step()
        fooled = functional.binary_cross_entropy(self.discriminator(made), real)
        distance = 0.5 * functional.mse_loss(made, image, reduction="sum") / len(image)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        self.maker_optimizer.zero_grad()
        (fooled + 2 * distance + kl).backward()
        self.maker_optimizer.step()


class PlainVae:
    """AIVAE: Table 1 and equation (3), in plain layers."""

    def __init__(self, lr: float) -> None:
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 64, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(64, 128, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(128 * 12 * 12, 1024),
            nn.ReLU(),
            nn.Linear(1024, 512),
            nn.ReLU(),
            nn.Linear(512, 2 * 64),
        )
        self.decoder = nn.Sequential(
            nn.Linear(64, 512),
            nn.ReLU(),
            nn.Linear(512, 1024),
            nn.ReLU(),
            nn.Linear(1024, 7 * 7 * 128),
            nn.ReLU(),
            nn.Unflatten(1, (128, 7, 7)),
            nn.ConvTranspose2d(128, 64, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 1, 4, 2, 1),
            nn.Sigmoid(),
        )
        self.optimizer = torch.optim.Adam([*self.encoder.parameters(), *self.decoder.parameters()], lr)

    def step(self, features: Tensor, image: Tensor) -> None:
        """One step."""
        mean, log_variance = self.encoder(features[:, None]).chunk(2, dim=1)
        made = self.decoder(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean))
        distance = functional.binary_cross_entropy(made, image, reduction="sum") / len(image)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum() / len(image)
        self.optimizer.zero_grad()
        (distance + kl).backward()
        self.optimizer.step()
