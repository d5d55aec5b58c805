"""AudioCaps: what people wrote about ten-second segments of AudioSet; one caption in training, five in the other parts.

Kim et al., *AudioCaps: Generating Captions for Audios in The Wild*, NAACL 2019; ``train.csv``, ``val.csv`` and
``test.csv`` of github.com/cdjkim/audiocaps. The sounds are local files, named as for AudioSet.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from soundsight.datasets.audioset import VIDEO
from soundsight.datasets.pairs import number, read_table
from soundsight.datasets.records import Clips, Record
from soundsight.errors import DatasetError

__all__ = ["read"]

_COLUMNS = ("audiocap_id", "youtube_id", "start_time", "caption")
_LENGTH_S = 10.0


def read(file: Path, folder: Path) -> list[Record]:
    """The segments of a list, each with all of its captions, and with the sounds that are there.

    Args:
        file: The list.
        folder: Where the sounds are.

    Returns:
        A record for each segment; its split is the list's name.

    Raises:
        DatasetError: The list cannot be read, names no film, has an id twice or an empty caption; or two sounds have
            one name.
    """
    records: dict[str, Record] = {}
    lines: dict[str, int] = {}
    clips = Clips(folder)
    for line, row in read_table(file, _COLUMNS).items():
        where = f"{file}, row {line}"
        if (first := lines.setdefault(row["audiocap_id"], line)) != line:
            raise DatasetError(f"{where}: audiocap_id {row['audiocap_id']!r:.60} is there twice, first in row {first}")
        video, start_s = row["youtube_id"], number(row["start_time"], where)
        if not VIDEO.fullmatch(video) or start_s < 0:
            raise DatasetError(
                f"{where}: {video!r:.60} from {start_s:g} s is no segment; expected an id of 11 letters, digits, _ or "
                "-, and a start from 0 on"
            )
        if not row["caption"]:
            raise DatasetError(f"{where}: no caption; expected one in each row")
        key = f"{video}_{round(1000 * start_s)}"
        if key not in records:
            path, begins_s = clips.find(video, start_s, start_s + _LENGTH_S)
            records[key] = Record(key, video, path, start_s, start_s + _LENGTH_S, begins_s, split=file.stem)
        captions = dict.fromkeys((*records[key].captions, row["caption"]))
        records[key] = replace(records[key], captions=tuple(captions))
    return list(records.values())
