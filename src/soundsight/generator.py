"""A generator in ONNX: features and noise in, pictures out, checked on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from soundsight.errors import ModelError
from soundsight.folder import verify_weights

if TYPE_CHECKING:
    from soundsight.manifest import ModelFolder

__all__ = ["WEIGHTS", "Generator", "open_session"]

WEIGHTS = "model.onnx"


class Generator:
    """The network of a model folder, loaded and ready.

    Args:
        folder: A folder as ``read_folder`` returned it; the hash of its network is compared here.
        threads: Threads that work on one picture.

    Raises:
        ModelError: It holds no generator, or not the one it describes.
    """

    def __init__(self, folder: ModelFolder, threads: int = 1) -> None:
        if folder.features is None:
            raise ModelError(f"{folder.path}: '{folder.name}' judges pictures, it makes none; choose a generator")
        if WEIGHTS not in folder.weights:
            raise ModelError(f"{folder.path}: there is no {WEIGHTS} in it; make one: soundsight export {folder.path}")
        self.folder = folder
        verify_weights(folder, [WEIGHTS])
        self._session = open_session(folder, threads)
        self._check_signature()

    def __call__(self, features_BFN: NDArray[np.float32], noise_BD: NDArray[np.float32]) -> NDArray[np.float32]:
        """Pictures of a batch.

        One row at a time: kernels for different batch sizes add in different orders, and the last bit of a picture
        must not depend on what else was asked for. For networks of this size it costs next to nothing.

        Args:
            features_BFN: (B, F, N) float32 from the model's front end.
            noise_BD: (B, D) float32.

        Returns:
            (B, C, H, W) float32 in [0, 1].

        Raises:
            ModelError: The network does not fit these inputs or does not return pictures.
        """
        return np.concatenate([self._run(features_BFN[i : i + 1], noise_BD[i : i + 1]) for i in range(len(noise_BD))])

    def _run(self, features_1FN: NDArray[np.float32], noise_1D: NDArray[np.float32]) -> NDArray[np.float32]:
        shape = self.folder.image
        feeds = {"features": features_1FN, "noise": noise_1D} if self.folder.latent_size else {"features": features_1FN}
        try:
            image_1CHW: NDArray[np.float32] = self._session.run(["image"], feeds)[0]
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            raise ModelError(f"{self.folder.path}: {WEIGHTS} cannot be run ({_first_line(error)})") from error
        if image_1CHW.shape != (1, shape.channels, shape.height, shape.width):
            raise ModelError(
                f"{self.folder.path}: {WEIGHTS} returned {image_1CHW.shape}, not what its config.json says"
            )
        if not np.isfinite(image_1CHW).all():
            raise ModelError(f"{self.folder.path}: {WEIGHTS} returned numbers that are not finite")
        return image_1CHW.clip(0, 1)

    def _check_signature(self) -> None:
        """Names, types and fixed sizes of the network's ends against the config."""
        shape, latent_size = self.folder.image, self.folder.latent_size
        inputs: dict[str, Sequence[int | None]] = {"features": (None, None, None)}
        if latent_size:
            inputs["noise"] = (None, latent_size)
        outputs: dict[str, Sequence[int | None]] = {"image": (None, shape.channels, shape.height, shape.width)}
        for what, found, expected in (
            ("inputs", self._session.get_inputs(), inputs),
            ("outputs", self._session.get_outputs(), outputs),
        ):
            told = {node.name: (node.type, node.shape) for node in found}
            if set(told) != set(expected) or not all(_fits(told[name], expected[name]) for name in expected):
                raise ModelError(
                    f"{self.folder.path}: {WEIGHTS} has the {what} {_describe(told)}; expected "
                    f"{_describe({name: ('tensor(float)', list(sizes)) for name, sizes in expected.items()})}"
                )


def open_session(folder: ModelFolder, threads: int) -> Any:
    """``model.onnx`` in ONNX Runtime, set up for a small network on a CPU, silent.

    Raises:
        ModelError: It is no network that runs here.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, too
    # Waiting threads sleep: files are worked on side by side, and a spinning thread takes a core from its neighbour.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    onnxruntime.disable_telemetry_events()
    try:
        return onnxruntime.InferenceSession(
            str(folder.path / WEIGHTS), sess_options=options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ModelError(f"{folder.path}: {WEIGHTS} is no network that runs here ({_first_line(error)})") from error


def _fits(told: tuple[str, Sequence[Any]], expected: Sequence[int | None]) -> bool:
    kind, sizes = told
    if kind != "tensor(float)" or len(sizes) != len(expected):
        return False
    # A size that is free is a name or None.
    fixed = [(size, want) for size, want in zip(sizes, expected, strict=True) if isinstance(size, int)]
    return all(want is None or size == want for size, want in fixed)


def _describe(ends: dict[str, tuple[str, Sequence[Any]]]) -> str:
    parts = (f"{name} {kind}[{', '.join(str(s or '?') for s in sizes)}]" for name, (kind, sizes) in ends.items())
    return ", ".join(parts) or "none"


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
