"""A generator in ONNX: features and noise in, pictures out, checked on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from soundsight.errors import ModelError
from soundsight.folder import check_kind, verify_weights
from soundsight.runtime import import_onnxruntime

if TYPE_CHECKING:
    from soundsight.manifest import ModelFolder

__all__ = ["WEIGHTS", "Generator", "open_session"]

WEIGHTS = "model.onnx"
_SIDE_BY_SIDE = 256
"""Pictures of several sounds that are held at once."""
_NO_CONTROLS: Mapping[str, NDArray[np.float32]] = {}
# Inputs that a network may have beside features and noise, each with a default inside of it, and their number of axes.
_CONTROLS = {"times": 1, "weights": 1, "given": 2, "share": 0, "page": 4, "read": 0}


class Generator:
    """The network of a model folder, loaded and ready.

    Args:
        folder: A folder as ``read_folder`` returned it; the hash of its network is compared here.
        threads: Threads that work on one picture; on several of them side by side.

    Raises:
        ModelError: It holds no generator, or not the one it describes.
    """

    def __init__(self, folder: ModelFolder, threads: int = 1) -> None:
        check_kind(folder, "generator")
        if WEIGHTS not in folder.weights:
            raise ModelError(f"{folder.path}: there is no {WEIGHTS} in it; make one: soundsight export {folder.path}")
        self.folder = folder
        self._threads = threads
        verify_weights(folder, [WEIGHTS])
        self._session = open_session(folder, threads)
        self._check_signature()
        self.controls = frozenset(node.name for node in self._session.get_overridable_initializers())
        """Names of the controls that the network has."""
        self.listens = any(node.name == "heard" for node in self._session.get_outputs())
        """Whether it says what it heard."""
        self._answers = ("image", "heard") if self.listens else ("image",)

    def __call__(
        self,
        features_BFN: NDArray[np.float32],
        noise_BD: NDArray[np.float32],
        controls: Mapping[str, NDArray[np.float32]] = _NO_CONTROLS,
    ) -> NDArray[np.float32]:
        """Pictures of a batch.

        One row at a time: kernels for different batch sizes add in different orders, and the last bit of a picture
        must not depend on what else was asked for. For networks of this size it costs next to nothing.

        Args:
            features_BFN: (B, F, N) float32 from the model's front end.
            noise_BD: (B, D) float32.
            controls: Of ``self.controls``, for the whole batch: ``times`` (S + 1,), ``weights`` (1,) or (2,), ``given``
                (1, L), ``share`` (), as ``models.flow`` explains; what is left out keeps the network's default.

        Returns:
            (B, C, H, W) float32 in [0, 1].

        Raises:
            ModelError: The network does not fit these inputs or does not return pictures.
        """
        rows = [(features_BFN[i : i + 1], noise_BD[i : i + 1]) for i in range(len(noise_BD))]
        return np.concatenate([found[0] for found in self._side_by_side(("image",), rows, controls)])

    def paint(
        self,
        features_BFN: NDArray[np.float32],
        noise_MD: NDArray[np.float32],
        controls: Mapping[str, NDArray[np.float32]] = _NO_CONTROLS,
    ) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """M pictures of each of B sounds, the same as by calling, and what is heard on the way.

        Yields:
            For each sound (M, C, H, W) float32 in [0, 1], and (L + 1,) as ``listen`` returns it, or None.

        Raises:
            ModelError: The network does not fit these inputs or does not return pictures.
        """
        num = max(1, _SIDE_BY_SIDE // len(noise_MD))
        for start in range(0, len(features_BFN), num):
            sounds = range(start, min(start + num, len(features_BFN)))
            rows = [(features_BFN[i : i + 1], noise_1D[None]) for i in sounds for noise_1D in noise_MD]
            found = self._side_by_side(self._answers, rows, controls)
            for first in range(0, len(found), len(noise_MD)):
                images_MCHW = np.concatenate([outputs[0] for outputs in found[first : first + len(noise_MD)]])
                yield images_MCHW, found[first][1][0] if self.listens else None

    def together(
        self,
        features_BFN: NDArray[np.float32],
        noise_BD: NDArray[np.float32],
        controls: Mapping[str, NDArray[np.float32]] = _NO_CONTROLS,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Pictures of a batch in one run of the network, and what is heard on the way.

        A little faster than one by one, and on some processors another last bit.

        Returns:
            (B, C, H, W) float32 in [0, 1], and (B, L + 1) as ``listen`` returns it, or None.

        Raises:
            ModelError: The network does not fit these inputs or does not return pictures.
        """
        images_BCHW, *heard_BX = self._run(self._answers, features_BFN, noise_BD, controls)
        return images_BCHW, heard_BX[0] if heard_BX else None

    def listen(
        self, features_BFN: NDArray[np.float32], answer: Literal["heard", "painted"] = "heard"
    ) -> NDArray[np.float32]:
        """What is heard, without a picture; for networks that listen.

        Returns:
            ``heard`` (B, L + 1) float32: how likely each label is, if it is one of them, and last how likely it is
            none. ``painted`` (B, L): the share of each label in the picture, more decided than what is heard.

        Raises:
            ModelError: The network does not fit these features.
        """
        assert self.listens
        noise_1D = np.zeros((1, self.folder.latent_size), np.float32)
        still = {"times": np.ones(1, np.float32)} if "times" in self.controls else {}  # no step
        rows = [slice(i, i + 1) for i in range(len(features_BFN))]
        return np.concatenate([self._run((answer,), features_BFN[row], noise_1D, still)[0] for row in rows])

    def invert(self, images_BCHW: NDArray[np.float32], num_steps: int = 50) -> NDArray[np.float32]:
        """The noise that pictures come from, whatever they show; for networks that listen and draw in steps.

        Args:
            images_BCHW: (B, C, H, W) in [0, 1].
            num_steps: More are more exact.

        Returns:
            (B, D) float32.

        Raises:
            ModelError: The network failed.
        """
        assert {"times", "given", "share"} <= self.controls
        num_labels = len(self.folder.labels or ())
        back = {
            "times": np.linspace(0, 1, num_steps + 1, dtype=np.float32),
            "given": np.zeros((1, num_labels), np.float32),  # no label: what is the same in all of them stays
            "share": np.array(1, np.float32),
        }
        features = next(node for node in self._session.get_inputs() if node.name == "features")
        silence = np.zeros([1, *(size if isinstance(size, int) else 48 for size in features.shape[1:])], np.float32)
        if "page" in self.controls:  # it reads pictures itself
            back["read"] = np.array(1, np.float32)
            start_1D = np.zeros((1, self.folder.latent_size), np.float32)
            ends = [self._run(("end",), silence, start_1D, back | {"page": page[None]})[0] for page in images_BCHW]
            return np.concatenate(ends)
        scale = np.float32(self.folder.model.get("variation", 1))
        starts_BD = (2 * images_BCHW - 1).reshape(len(images_BCHW), -1) / scale
        return np.concatenate([self._run(("end",), silence, start_D[None], back)[0] for start_D in starts_BD])

    def _side_by_side(
        self,
        names: Sequence[str],
        rows: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
        controls: Mapping[str, NDArray[np.float32]],
    ) -> list[list[NDArray[np.float32]]]:
        """Each row a run of its own, as many at a time as there are threads: alone, all but one mostly wait."""
        if self._threads == 1 or len(rows) == 1:
            return [self._run(names, features_1FN, noise_1D, controls) for features_1FN, noise_1D in rows]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(lambda row: self._run(names, row[0], row[1], controls), rows))

    def _run(
        self,
        names: Sequence[str],
        features_BFN: NDArray[np.float32],
        noise_BD: NDArray[np.float32],
        controls: Mapping[str, NDArray[np.float32]],
    ) -> list[NDArray[np.float32]]:
        """The outputs of these names, checked."""
        feeds = {"features": features_BFN, **controls}
        if self.folder.latent_size:
            feeds["noise"] = noise_BD
        try:
            found: list[NDArray[np.float32]] = self._session.run(names, feeds)
        except Exception as error:  # ONNX Runtime's errors share no base class of their own
            raise ModelError(f"{self.folder.path}: {WEIGHTS} cannot be run ({_first_line(error)})") from error
        return [self._checked(name, output, len(features_BFN)) for name, output in zip(names, found, strict=True)]

    def _checked(self, name: str, output: NDArray[np.float32], num_rows: int) -> NDArray[np.float32]:
        shape, num_labels = self.folder.image, len(self.folder.labels or ())
        expected = {
            "image": (num_rows, shape.channels, shape.height, shape.width),
            "heard": (num_rows, num_labels + 1),
            "painted": (num_rows, num_labels),
            "end": (num_rows, self.folder.latent_size),
        }[name]
        if output.shape != expected:
            raise ModelError(f"{self.folder.path}: {WEIGHTS} returned {output.shape}, not what its config.json says")
        if not np.isfinite(output).all():
            raise ModelError(f"{self.folder.path}: {WEIGHTS} returned numbers that are not finite")
        return output if name == "end" else output.clip(0, 1)

    def _check_signature(self) -> None:
        """Names, types and fixed sizes of the network's ends against the config."""
        shape, latent_size = self.folder.image, self.folder.latent_size
        inputs: dict[str, Sequence[int | None]] = {"features": (None, None, None)}
        if latent_size:
            inputs["noise"] = (None, latent_size)
        outputs: dict[str, Sequence[int | None]] = {"image": (None, shape.channels, shape.height, shape.width)}
        if any(node.name == "heard" for node in self._session.get_outputs()):
            num_labels = len(self.folder.labels or ())
            outputs |= {"heard": (None, num_labels + 1), "painted": (None, num_labels), "end": (None, latent_size)}
        optional = self._session.get_overridable_initializers()
        controls: dict[str, Sequence[int | None]] = {
            node.name: (None,) * _CONTROLS[node.name] for node in optional if node.name in _CONTROLS
        }
        for what, found, expected in (
            ("inputs", self._session.get_inputs(), inputs),
            ("optional inputs", optional, controls),
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
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, too
    # Waiting threads sleep: files are worked on side by side, and a spinning thread takes a core from its neighbour.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
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
