"""What is to be embedded, how it is divided into shards, and what each shard says of its recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from soundsight.datasets.captions import TEMPLATE, prompts_of
from soundsight.datasets.manifests import Manifest
from soundsight.datasets.records import Record, digest_of
from soundsight.encoders.workers import Nature
from soundsight.errors import DatasetError

__all__ = ["Plan", "sounds_digest"]

_MAX_SHARD_SIZE = 100_000


@dataclass(frozen=True)
class Plan:
    """Recordings on their way into shards.

    Which shard a recording is in depends on the manifest and the shards' size alone, not on which files are there: a
    file that is added later changes one shard.

    Attributes:
        manifest: The recordings.
        template: Of the prompts of those that have labels and no caption.
        shard_size: Recordings of the manifest in each shard, 1 to 100,000.
        options: The encoder's, as ``encoders.lasting`` has them.

    Raises:
        DatasetError: The template or the size does not fit, or there is not one sound.
    """

    manifest: Manifest
    template: str = TEMPLATE
    shard_size: int = 1000
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        prompts_of(self.template, ())
        if not 1 <= self.shard_size <= _MAX_SHARD_SIZE:
            raise DatasetError(f"a shard of {self.shard_size} recordings; expected 1 to {_MAX_SHARD_SIZE}")
        if not self.manifest.found:
            raise DatasetError(
                f"{self.manifest.what}: not one of its {len(self.manifest.records)} recordings is in "
                f"{self.manifest.folder}, the first would be {self.manifest.missing[0].name!r:.200}; name the folder "
                "with the sounds"
            )

    @cached_property
    def shards(self) -> dict[str, list[Record]]:
        """Name of each shard, and the recordings for it that have a file; those with nothing in them are left out."""
        records, size = self.manifest.records, self.shard_size
        parts = {f"shard-{i // size:06d}.tar": records[i : i + size] for i in range(0, len(records), size)}
        found = {name: [record for record in part if record.path is not None] for name, part in parts.items()}
        return {name: part for name, part in found.items() if part}

    def prompts(self, record: Record) -> tuple[str, ...]:
        """The recording's captions, or else one prompt for each of its labels."""
        return record.captions or prompts_of(self.template, record.labels)

    def facts(self, record: Record, duration_s: float, nature: Nature) -> dict[str, Any]:
        """What ``KEY.json`` says of a recording; what is not known of it is left out."""
        facts = {
            "prompts": list(self.prompts(record)),
            "labels": list(record.labels),
            "quality": [None if share is None else round(share, 4) for share in record.quality],
            "split": record.split,
            "fold": record.fold,
            "source": record.name,
            "start_s": record.start_s,
            "end_s": record.end_s,
            "duration_s": round(duration_s, 3),
            "encoder": nature.name,
            "identity": nature.identity,
            "options": dict(self.options),
        }
        return {key: value for key, value in facts.items() if value not in (None, "", [], {})}

    def made_with(self, nature: Nature) -> dict[str, Any]:
        """What all shards of this plan have in common."""
        return {
            "encoder": nature.name,
            # Before the identity: a folder of other options is refused in words that say which.
            **({"options": dict(self.options)} if self.options else {}),
            "identity": nature.identity,
            "size": nature.size,
            "template": self.template,
            "min_quality": self.manifest.min_quality,
            "shard_size": self.shard_size,
            "manifest": digest_of(self.manifest.records),
        }


def sounds_digest(records: Iterable[Record]) -> str:
    """SHA-256 of the names, sizes and dates of some recordings' files, in hexadecimal digits."""
    content = hashlib.sha256()
    for record in records:
        assert record.path is not None
        try:
            status = record.path.stat()
            said = (status.st_size, status.st_mtime_ns)
        except OSError:  # it was there a moment ago; what becomes of it is told when it is heard
            said = (-1, -1)
        content.update(f"{record.key} {record.path.name} {said}\n".encode("utf-8", "surrogateescape"))
    return content.hexdigest()
