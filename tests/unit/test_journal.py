"""What a training leaves to read."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from soundsight.training.journal import Journal, sheet


def test_a_journal_drops_what_lies_beyond_the_step_it_resumes_from(tmp_path):
    journal = Journal(tmp_path, 0)
    for step in (50, 100, 150):
        journal.write(step=step, loss=1 / step)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 200, "lo')  # killed while writing
    Journal(tmp_path, 100).write(step=150, loss=9.0)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(50, 0.02), (100, 0.01), (150, 9.0)]
    Journal(tmp_path, 0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_a_sheet_shows_every_picture_in_its_place():
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        rows = rng.random((3, 4, channels, 5, 6)).astype(np.float32)
        image = np.asarray(sheet(rows, gap=2)).reshape(3 * 7 - 2, 4 * 8 - 2, channels)
        for r in range(3):
            for c in range(4):
                part = image[r * 7 : r * 7 + 5, c * 8 : c * 8 + 6]
                np.testing.assert_allclose(part / 255, rows[r, c].transpose(1, 2, 0), atol=0.5001 / 255)
        assert (image[5:7] == 128).all()


def test_a_sheet_is_saved_whole_and_out_of_range_values_are_cut(tmp_path):
    Journal(tmp_path, 0).picture("a.png", np.array([[[[[-1.0, 2.0, 0.5]]]]], np.float32))
    with Image.open(tmp_path / "samples" / "a.png") as image:
        assert np.asarray(image).tolist() == [[0, 255, 128]]
