"""Training of a small backbone of Stable Diffusion 3's architecture, to be frozen and told by adapters.

Rectified flow in the latent space of a small autoencoder (Esser et al., *Scaling Rectified Flow Transformers for
High-Resolution Image Synthesis*, 2024, equations 13 and 19), told the pooled embedding of a class's prompt, or zeros.
What comes out is a folder in the layout of ``diffusers``.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from soundsight import registry
from soundsight.datasets.info import DatasetInfo, data_root
from soundsight.errors import OutputError, RecipeError
from soundsight.files import alone, replace_file
from soundsight.texts.diffusion.weights import hashes_of
from soundsight.training.adapter_data import Targets, load_targets
from soundsight.training.autoencoder import encode_all, prepare_autoencoder
from soundsight.training.average import Average
from soundsight.training.backbone_recipe import BackboneRecipe
from soundsight.training.data import stream
from soundsight.training.interrupt import interruptible
from soundsight.training.journal import Journal
from soundsight.training.loop import Progress, go_on
from soundsight.training.optimizer import adam, learning_rate
from soundsight.training.state import load_state, save_state

__all__ = ["Run", "load_pictures", "train_backbone"]

_SAMPLES, _SAMPLE_STEPS = 8, 28


def train_backbone(
    recipe: BackboneRecipe,
    out: Path,
    *,
    resume: bool = False,
    root: Path | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
    warn: Callable[[str], None] = lambda line: None,
    stop_after: int | None = None,
) -> Path:
    """Train what ``recipe`` says and leave ``out/backbone``, a pipeline as ``diffusers`` saves it, in half precision.

    The autoencoder comes first, in minutes; interrupted there, it begins again. The transformer goes on from its last
    state, and ends with the very weights of an uninterrupted run.

    Args:
        recipe: The experiment.
        out: Folder for the backbone, ``recipe.json``, ``metrics.jsonl``, ``samples/`` and ``state/``.
        resume: Go on from the saved state, if there is one.
        root: Folder of the data sets.
        watch: Called after every ``LOG_EVERY`` steps; the autoencoder's are epoch 0.
        warn: Told of prompts that are too long to be read whole.
        stop_after: End after this many steps of the transformer as if interrupted (for tests).

    Returns:
        ``out/backbone``.

    Raises:
        RecipeError: The folder holds a training of another recipe, or one that ``resume`` was not given for.
        DatasetError: The pictures are absent.
        ModelError: The text encoder cannot be read.
        OutputError: The folder cannot be written, or another process trains in it.
        KeyboardInterrupt: Interrupted; the state is saved.
    """
    _claim(out, recipe, resume)
    info, images_NCHW, labels_N, targets = load_pictures(recipe, root)
    if targets.unread:
        warn(targets.unread)
    with alone(out, "trains in"):
        with interruptible() as interrupted:
            autoencoder = prepare_autoencoder(recipe, out / "state", images_NCHW, interrupted.is_set, watch)
            run = Run(recipe, out, autoencoder, images_NCHW, labels_N, targets.parts["pooled"])
            every = {"save_every": recipe.train.save_every, "sample_every": recipe.train.sample_every}
            go_on(run, interrupted, watch, **every, stop_after=stop_after)
        facts = {"classes": list(info.classes), "text_encoder": {"name": targets.name, "identity": targets.identity}}
        return run.finish(info, facts)


def load_pictures(recipe: BackboneRecipe, root: Path | None) -> tuple[DatasetInfo, Tensor, Tensor, Targets]:
    """The data set, its pictures (N, 3, H, W) uint8 and their labels (N,), and what is told of each label."""
    component: Any = registry.find("datasets", recipe.data.images)
    info: DatasetInfo = component.INFO
    images = component.load((data_root() if root is None else root) / info.name, train=True)
    num = min(recipe.data.max_images or len(images), len(images))
    # From all of them, as some data sets come class by class.
    rows = torch.arange(num) * len(images) // num
    images_NCHW, labels_N = torch.from_numpy(images.images_NCHW)[rows], torch.from_numpy(images.labels)[rows]
    if images_NCHW.shape[1] != 3:
        raise RecipeError(f"recipe key 'data.images': a backbone paints in colour, and {info.name} has none")
    return info, images_NCHW, labels_N, load_targets(recipe.targets, info.classes)


class Run:
    """Everything that changes while a transformer is trained."""

    def __init__(
        self,
        recipe: BackboneRecipe,
        out: Path,
        autoencoder: Any,
        images_NCHW: Tensor,
        labels_N: Tensor,
        told_CP: Tensor,
    ) -> None:
        import diffusers

        self.recipe, self.config, self.out = recipe, recipe.train, out
        self.autoencoder, self.labels_N, self.told_CP = autoencoder, labels_N, told_CP
        scale, shift = autoencoder.config.scaling_factor, autoencoder.config.shift_factor or 0.0
        # Both as they are and mirrored.
        sides = (images_NCHW, images_NCHW.flip(3))
        self.latents_2NCHW = torch.stack([(encode_all(autoencoder, side) - shift) * scale for side in sides])
        torch.manual_seed(self.config.seed)
        options = recipe.backbone
        width, side = options.heads * options.head_size, images_NCHW.shape[-1] // 2
        if side % options.patch_size:
            raise RecipeError(f"recipe key 'backbone.patch_size': {side} places are no multiple of it")
        library: Any = diffusers
        self.module = library.SD3Transformer2DModel(
            sample_size=side,
            patch_size=options.patch_size,
            in_channels=recipe.autoencoder.channels,
            out_channels=recipe.autoencoder.channels,
            num_layers=options.layers,
            attention_head_dim=options.head_size,
            num_attention_heads=options.heads,
            joint_attention_dim=told_CP.shape[1],
            caption_projection_dim=width,
            pooled_projection_dim=told_CP.shape[1],
            pos_embed_max_size=side // options.patch_size,
            qk_norm="rms_norm",
        )
        # Of what tells the prompts apart, in each of their numbers.
        self._apart = float((told_CP - told_CP.mean(dim=0)).square().mean().sqrt())
        if self._apart:
            _hear_differences(self.module.time_text_embed.text_embedder.linear_1, told_CP.mean(dim=0), self._apart)
        self._predict = _compiled(self.module) if self.config.compile else self.module
        parameters = [parameter for parameter in self.module.parameters() if parameter.requires_grad]
        self.optimizer = adam(parameters, self.config.optimizer)
        self.average = Average(self.module, self.config.ema)
        found = load_state(out / "state", self.module, self.average, {"transformer": self.optimizer})
        self.step: int = 0 if found is None else found["step"]
        self._seconds: float = 0.0 if found is None else found["seconds"]
        self.steps_per_epoch = math.ceil(len(labels_N) / self.config.batch_size)
        self.num_steps = self.config.epochs * self.steps_per_epoch
        self._journal, self._clock = Journal(out, self.step), time.perf_counter()
        self._sum, self._logged = 0.0, self.step
        self._order: tuple[int, Tensor] | None = None

    @property
    def epoch(self) -> int:
        """The epoch that the last step belonged to, from 1."""
        return math.ceil(self.step / self.steps_per_epoch)

    @property
    def at_epoch_end(self) -> bool:
        """Whether the last step was an epoch's last."""
        return self.step % self.steps_per_epoch == 0

    def advance(self) -> None:
        """One batch, one step of the optimiser."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optimizer, self.step, self.num_steps)
        self.module.train()
        # Of so few tokens the fused attention of a CPU, and its gradient above all, takes longer than the plain one.
        with sdpa_kernel(SDPBackend.MATH):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bf16"):
                loss = self._loss(*self._batch())
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        self.average.update(self.module, self.step)
        self._sum += float(loss.detach())

    def _batch(self) -> tuple[Tensor, Tensor, torch.Generator]:
        """Latents (B, C, H, W), what is told of them (B, P), and where this step's chance comes from."""
        epoch, place = divmod(self.step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            order = stream(self.config.seed, "order", epoch).permutation(len(self.labels_N))
            self._order = epoch, torch.from_numpy(order)
        rows = self._order[1][place * self.config.batch_size :][: self.config.batch_size]
        chance = torch.Generator().manual_seed(int(stream(self.config.seed, "step", self.step).integers(2**62)))
        mirrored_B = torch.randint(2, (len(rows),), generator=chance)
        kept_B1 = torch.rand(len(rows), 1, generator=chance) >= self.recipe.backbone.unlabelled
        told_BP = self.told_CP[self.labels_N[rows]]
        if share := self.recipe.backbone.noise:
            told_BP = told_BP + share * math.sqrt(2) * self._apart * torch.randn(told_BP.shape, generator=chance)
        return self.latents_2NCHW[mirrored_B, rows].float(), told_BP * kept_B1, chance

    def _loss(self, latent_BCHW: Tensor, told_BP: Tensor, chance: torch.Generator) -> Tensor:
        """Rectified flow: the mean squared error of the velocity, at times that come to the middle more often."""
        size = len(latent_BCHW)
        noise_BCHW = torch.randn(latent_BCHW.shape, generator=chance)
        time_B = torch.randn(size, generator=chance).sigmoid()
        time_B111 = time_B[:, None, None, None]
        seen_BCHW = self._predict(
            hidden_states=(1 - time_B111) * latent_BCHW + time_B111 * noise_BCHW,
            timestep=1000 * time_B,
            encoder_hidden_states=told_BP.new_zeros(size, 1, told_BP.shape[1]),
            pooled_projections=told_BP,
            return_dict=False,
        )[0]
        return functional.mse_loss(seen_BCHW.float(), noise_BCHW - latent_BCHW)

    def log(self) -> Progress:
        """Write the mean loss since the last line.

        Raises:
            RecipeError: It is no number.
        """
        mean = self._sum / max(self.step - self._logged, 1)
        self._sum, self._logged = 0.0, self.step
        if not math.isfinite(mean):
            raise RecipeError(f"the loss became {mean} by step {self.step}: try a lower learning rate")
        self._journal.write(step=self.step, epoch=self.epoch, flow=mean, seconds=round(self.seconds, 1))
        return Progress(self.step, self.num_steps, self.epoch, {"flow": mean})

    @property
    def seconds(self) -> float:
        """Time spent on steps, over all resumptions."""
        return self._seconds + time.perf_counter() - self._clock

    def save(self) -> None:
        """Save the state to resume from."""
        progress = {"step": self.step, "seconds": self.seconds}
        save_state(self.out / "state", self.module, self.average, {"transformer": self.optimizer}, progress)

    def pipeline(self) -> Any:
        """The averaged weights as a pipeline of ``diffusers`` without text encoders."""
        import diffusers

        library: Any = diffusers  # most of it is untyped
        names = ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3")
        pipeline = library.StableDiffusion3Pipeline(
            transformer=self.average.module,
            vae=self.autoencoder,
            scheduler=library.FlowMatchEulerDiscreteScheduler(),
            **dict.fromkeys(names),
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @torch.inference_mode()
    def draw_samples(self) -> None:
        """Save a sheet: a row for each class, always from the same noise."""
        told_XP = self.told_CP.repeat_interleave(_SAMPLES, dim=0)
        shape = (_SAMPLES, *self.latents_2NCHW.shape[2:])
        noise = stream(self.config.seed, "samples").standard_normal(shape, dtype="float32")
        none_X1P = told_XP.new_zeros(len(told_XP), 1, told_XP.shape[1])
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.precision == "bf16"):
            made: NDArray[np.float32] = self.pipeline()(
                prompt_embeds=none_X1P,
                pooled_prompt_embeds=told_XP,
                negative_prompt_embeds=none_X1P,
                negative_pooled_prompt_embeds=torch.zeros_like(told_XP),
                latents=torch.from_numpy(noise).repeat(len(self.told_CP), 1, 1, 1),
                num_inference_steps=_SAMPLE_STEPS,
                guidance_scale=self.config.guidance,
                output_type="np",
            ).images
        rows = made.transpose(0, 3, 1, 2).reshape(len(self.told_CP), _SAMPLES, 3, *made.shape[1:3])
        self._journal.picture(f"epoch-{self.epoch:04d}.png", rows)

    def finish(self, info: DatasetInfo, facts: dict[str, Any]) -> Path:
        """Write the pipeline, and beside it what it is made of.

        Raises:
            OutputError: The folder cannot be written.
        """
        folder = self.out / "backbone"
        data = {"name": info.title, "licence": info.licence, "attribution": info.attribution}
        card = {
            **self.recipe.card.model_dump(mode="json"),
            "source": self.recipe.source,
            "data": [data],
            "template": self.recipe.targets.template,
            "parameters": sum(parameter.numel() for parameter in self.module.parameters()),
            "steps": self.step,
            "seconds": round(self.seconds, 1),
            **facts,
        }
        try:
            self.pipeline().to(dtype=torch.float16).save_pretrained(folder)
            card["weights"] = hashes_of(folder)
            replace_file(folder / "card.json", (json.dumps(card, indent=2) + "\n").encode())
        except OSError as error:
            raise OutputError(f"cannot write to {folder}: {error.strerror}") from error
        return folder


@torch.no_grad()
def _hear_differences(layer: torch.nn.Linear, mean_P: Tensor, apart: float) -> None:
    """Begin with what tells the prompts apart at unit scale.

    A sentence encoder's P numbers have length 1, and prompts of one template resemble each other (a cosine of 0.6): as
    they are, a class would be a hundredth of what the layer says, beside the time.
    """
    layer.weight.div_(apart)
    layer.bias.sub_(layer.weight @ mean_P)


def _compiled(module: torch.nn.Module) -> Callable[..., Any]:
    """The same, compiled for each size of a batch: there are two, the last of an epoch is smaller.

    Raises:
        RecipeError: There is no compiler.
    """
    if not any(shutil.which(name) for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++")):
        raise RecipeError("recipe key 'train.compile': there is no C++ compiler here; install one, or set it to false")
    return torch.compile(module, dynamic=False)


def _claim(out: Path, recipe: BackboneRecipe, resume: bool) -> None:
    """Note the recipe in the folder; refuse one that holds another training."""
    path, ours = out / "recipe.json", (json.dumps(recipe.model_dump(mode="json"), indent=2) + "\n").encode()
    if (out / "state").is_dir() or (out / "backbone").is_dir():
        if not resume:
            raise RecipeError(f"{out} holds a training already: add --resume to go on, or choose another --out")
        if not path.is_file():
            raise RecipeError(f"{path} is missing, and without it a training cannot go on: choose another --out")
        if path.read_bytes() != ours:
            raise RecipeError(f"{out} was trained with another recipe: resume with the same, or choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        replace_file(path, ours)
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}") from error
