"""Lists of recordings: the published formats, pairing by name, the filter of V2D, and what is refused."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import numpy as np
import pytest

from soundsight.datasets import esc50, manifests
from soundsight.datasets.captions import TEMPLATE, prompts_of
from soundsight.datasets.manifests import Manifest, keep_quality, read
from soundsight.datasets.records import Record, digest_of, key_of, read_sound
from soundsight.errors import AudioError, DatasetError, SoundsightError, UnknownNameError
from toy_encoder import RATE_HZ, write_tones

# As AudioSet publishes them: an example of its page, and ids of its ontology.
SEGMENTS = """\
# Segments csv created Sun Mar  5 10:54:25 2017
# num_ytids=3, num_segs=3, num_unique_labels=4, num_positive_labels=5
# YTID, start_seconds, end_seconds, positive_labels
-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"
a_b-c123XYZ, 0.000, 8.500, "/m/0bt9lr"
99999999999, 30.000, 40.000, "/m/0k4j,/m/04rlf"
"""
NAMES = 'index,mid,display_name\n0,/m/03v3yw,"Keys jangling"\n1,/m/0k4j,Car\n2,/m/0bt9lr,Dog\n3,/m/04rlf,"Burst, pop"\n'
QUALITY = "label_id,num_rated,num_true\n/m/03v3yw,10,5\n/m/0k4j,10,6\n/m/0bt9lr,0,0\n/m/04rlf,1000,999\n"
CAPTIONS = """\
audiocap_id,youtube_id,start_time,caption
7,r1nicOVtvkQ,130,A woman talks nearby as water pours
3,r1nicOVtvkQ,130,"Water runs, somebody speaks"
5,UDGBjjwyaqE,20,Multiple clanging and clanking sounds
8,r1nicOVtvkQ,130,A woman talks nearby as water pours
"""


def audioset(folder: Path, *, segments: str = SEGMENTS, names: str = NAMES, quality: str | None = QUALITY) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "class_labels_indices.csv").write_text(names)
    if quality is not None:
        (folder / "qa_true_counts.csv").write_text(quality)
    path = folder / "balanced_train_segments.csv"
    path.write_text(segments)
    return path


def by_name(manifest: Manifest) -> dict[str, Record]:
    return {record.name: record for record in manifest.records}


def pitches(record: Record) -> list[int]:
    """Of the seconds of what is heard, in Hz."""
    clip = read_sound(record, RATE_HZ)
    seconds = clip.samples[: len(clip.samples) // RATE_HZ * RATE_HZ].reshape(-1, RATE_HZ)
    return [int(np.abs(np.fft.rfft(second)).argmax()) for second in seconds]


def test_prompts_are_the_template_with_each_label() -> None:
    assert prompts_of(TEMPLATE, ["dog", "sea_waves"]) == ("an image of dog", "an image of sea waves")
    assert prompts_of("{label}, {{not}} {label}", ["a {b}"]) == ("a {b}, {not} a {b}",)
    assert prompts_of(TEMPLATE, []) == ()


@pytest.mark.parametrize(
    "template",
    [
        *("", "an image", "{}", "{0}", "{label} {other}", "{label!r}", "{label:>9}", "{label.upper}", "{label", "}"),
        "x" * 2000 + "{label}",
    ],
)
def test_a_template_without_its_field_or_with_another_is_refused(template: str) -> None:
    with pytest.raises(DatasetError, match=r"^template ") as caught:
        prompts_of(template, ["dog"])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_audiosets_list_is_read_as_published(tmp_path: Path) -> None:
    manifest = read(str(audioset(tmp_path)))
    assert [record.key for record in manifest.records] == ["-0RWZT-miFs_420000", "99999999999_30000", "a_b-c123XYZ_0"]
    first = manifest.records[0]
    assert (first.name, first.start_s, first.end_s, first.split) == ("-0RWZT-miFs", 420, 430, "balanced_train")
    assert (first.labels, first.quality) == (("Keys jangling", "Car"), (0.5, 0.6))
    assert by_name(manifest)["a_b-c123XYZ"].quality == (None,), "nobody has rated it"
    assert by_name(manifest)["99999999999"].labels == ("Car", "Burst, pop")
    assert manifest.found == []
    assert len(manifest.missing) == 3


def test_names_come_from_the_ontology_where_there_is_no_table(tmp_path: Path) -> None:
    path = audioset(tmp_path)
    with (tmp_path / "class_labels_indices.csv").open(newline="") as file:
        ontology = [{"id": row["mid"], "name": row["display_name"], "child_ids": []} for row in csv.DictReader(file)]
    from_table = read(str(path))
    (tmp_path / "class_labels_indices.csv").unlink()
    (tmp_path / "ontology.json").write_text(json.dumps(ontology))
    assert read(str(path)).records == from_table.records


@pytest.mark.parametrize(
    ("threshold", "kept"),
    [
        (None, {"-0RWZT-miFs": ("Car",), "99999999999": ("Car", "Burst, pop")}),
        (0.6, {"-0RWZT-miFs": ("Car",), "99999999999": ("Car", "Burst, pop")}),
        (0.61, {"99999999999": ("Burst, pop",)}),
        (0.5, {"-0RWZT-miFs": ("Keys jangling", "Car"), "99999999999": ("Car", "Burst, pop")}),
        (0, {"-0RWZT-miFs": ("Keys jangling", "Car"), "99999999999": ("Car", "Burst, pop"), "a_b-c123XYZ": ("Dog",)}),
    ],
)
def test_the_filter_keeps_labels_that_raters_found_right(
    threshold: float | None, kept: dict[str, tuple[str, ...]], tmp_path: Path
) -> None:
    manifest = keep_quality(read(str(audioset(tmp_path))), threshold)
    assert {record.name: record.labels for record in manifest.records} == kept
    assert manifest.num_left_out == 3 - len(kept)
    assert all(len(record.quality) == len(record.labels) for record in manifest.records)


@pytest.mark.parametrize(
    "name",
    [
        *("-0RWZT-miFs_420.wav", "-0RWZT-miFs_420.000.flac", "-0RWZT-miFs_420000.wav", "-0RWZT-miFs_420_430.wav"),
        *("Y-0RWZT-miFs_420.wav", "deep/er/-0RWZT-miFs.wav", "Y-0RWZT-miFs.flac", "-0RWZT-miFs_420.000_430.000.wav"),
    ],
)
def test_clips_are_found_in_the_usual_layouts(name: str, tmp_path: Path) -> None:
    """A clip is heard as it is, whether its name has the time or not; ten seconds of it."""
    list_ = audioset(tmp_path / "lists")
    path = write_tones(tmp_path / "clips" / name, *range(300, 310), 999, seconds=1.0)
    for decoy in ("0RWZT-miFs.wav", "-0RWZT-miFs_42.wav", ".hidden/-0RWZT-miFs_420.wav"):
        write_tones(tmp_path / "clips" / decoy, 50)
    (tmp_path / "clips" / "-0RWZT-miFs_420.txt").write_text("no sound")
    record = by_name(read(str(list_), tmp_path / "clips"))["-0RWZT-miFs"]
    assert record.path == path
    if "420" in name:
        assert pitches(record) == list(range(300, 310))
    else:
        with pytest.raises(AudioError, match=r"lasts 11.00 s, which is neither the section from 420 s to 430 s nor"):
            read_sound(record, RATE_HZ)
        write_tones(path, *range(300, 310))
        assert pitches(record) == list(range(300, 310))


def test_the_name_that_says_most_wins(tmp_path: Path) -> None:
    list_ = audioset(tmp_path)
    for name in ("Y-0RWZT-miFs", "-0RWZT-miFs", "-0RWZT-miFs_420"):
        path = write_tones(tmp_path / f"{name}.wav", 100)
        assert by_name(read(str(list_)))["-0RWZT-miFs"].path == path


def test_a_section_is_cut_out_of_the_whole_recording(tmp_path: Path) -> None:
    write_tones(tmp_path / "99999999999.wav", *range(400, 445), rate_hz=16_000)
    assert pitches(by_name(read(str(audioset(tmp_path))))["99999999999"]) == list(range(430, 440))


def test_a_file_with_two_sections_is_the_whole_recording(tmp_path: Path) -> None:
    """Ten seconds of it could be either section alone; as it cannot be both, it is neither."""
    again = SEGMENTS + '99999999999, 2.000, 6.000, "/m/0k4j"\n'
    write_tones(tmp_path / "99999999999.wav", 500, 501, 502, 503)
    records = {record.key: record for record in read(str(audioset(tmp_path, segments=again))).records}
    for key in ("99999999999_30000", "99999999999_2000"):
        with pytest.raises(AudioError, match="nor a recording with it"):
            read_sound(records[key], RATE_HZ)
    write_tones(tmp_path / "99999999999.wav", *range(500, 545))
    assert pitches(records["99999999999_2000"]) == [502, 503, 504, 505]


def test_audiocaps_has_several_captions_for_a_clip(tmp_path: Path) -> None:
    (tmp_path / "val.csv").write_text(CAPTIONS)
    write_tones(tmp_path / "r1nicOVtvkQ_130.wav", 200)
    manifest = read(str(tmp_path / "val.csv"))
    first, second = manifest.records
    assert (first.key, first.path, first.split, first.captions) == (
        "UDGBjjwyaqE_20000",
        None,
        "val",
        ("Multiple clanging and clanking sounds",),
    )
    assert second.captions == ("A woman talks nearby as water pours", "Water runs, somebody speaks")
    assert (second.start_s, second.end_s, second.labels, second.quality) == (130, 140, (), ())
    assert keep_quality(manifest, None) is manifest
    assert pitches(second) == [200]


def test_ones_own_list(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text(
        "\ufefffilename, caption,label,split,fold,start,end\n"
        "dogs/rex.v2.wav,A dog barks,dog,train,3,,\n"
        "waves.wav,,sea_waves,test,,0.5,1.5\n"
        "waves.wav,,sea_waves,test,,1.5,3\n"
        "gone.wav,A cat,,,,,\n"
    )
    write_tones(tmp_path / "dogs" / "rex.v2.wav", 200)
    write_tones(tmp_path / "waves.flac", 300, 400, 500)
    manifest = read(str(tmp_path / "own.csv"))
    assert [record.key for record in manifest.records] == ["dogs/rex_v2", "gone", "waves_1500", "waves_500"]
    dog, gone, late, early = manifest.records
    assert (dog.captions, dog.labels, dog.split, dog.fold) == (("A dog barks",), ("dog",), "train", 3)
    assert (gone.path, gone.fold, manifest.missing) == (None, None, [gone])
    assert early.path == tmp_path / "waves.flac", "the list says wav"
    half = read_sound(early, RATE_HZ).samples
    assert len(half) == RATE_HZ
    assert [int(np.abs(np.fft.rfft(part)).argmax()) * 2 for part in np.split(half, 2)] == [300, 400]
    assert len(read_sound(late, RATE_HZ).samples) == 1.5 * RATE_HZ


def test_a_section_behind_the_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_text("filename,label,start,end\na.wav,dog,1,4\n")
    write_tones(tmp_path / "a.wav", 300, 400)
    with pytest.raises(AudioError, match=r"a.wav: lasts 2.00 s, .* from 1 s to 4 s"):
        read_sound(read(str(tmp_path / "own.csv")).records[0], RATE_HZ)


def test_pairs_are_by_name_whatever_the_order(tmp_path: Path) -> None:
    """V2D's notebook paired a folder's order with a list's; here neither order counts."""
    names = [f"{word}.wav" for word in ("zeta", "10", "9", "alpha", "Beta", "ä")]
    rows = [(name, 200 + 25 * row) for row, name in enumerate(names)]
    for name, pitch_hz in random.Random(1).sample(rows, len(rows)):
        write_tones(tmp_path / name, pitch_hz)
    for seed in range(3):
        listed = random.Random(seed).sample(rows, len(rows))
        (tmp_path / "own.csv").write_text("filename,label\n" + "".join(f"{n},{p}\n" for n, p in listed), "utf-8")
        manifest = read(str(tmp_path / "own.csv"))
        assert [pitches(record) for record in manifest.records] == [[int(r.labels[0])] for r in manifest.records]
        assert len(manifest.found) == len(rows)


def test_esc50_as_it_is(data_root: Path) -> None:
    """Against the publisher's list itself, and the class that is in each file's name."""
    manifest = read("esc50", data_root / "esc50")
    with (data_root / "esc50" / "esc50.csv").open(newline="") as file:
        listed = {row["filename"][:-4]: row for row in csv.DictReader(file)}
    assert len(manifest.records) == len(manifest.found) == 400
    for record in manifest.records:
        row = listed[record.key]
        assert record.path is not None
        assert record.path.stem == record.key
        assert (record.labels, record.fold) == ((row["category"],), int(row["fold"]))
        assert record.labels == (esc50.INFO.classes[int(record.key.split("-")[3])],)
    own = read(str(data_root / "esc50" / "esc50.csv"), data_root / "esc50" / "audio")
    assert (len(own.records), len(own.found)) == (1600, 400), "as a list it names also what is not here"
    assert {r.key: (r.path, r.labels) for r in own.found} == {r.key: (r.path, r.labels) for r in manifest.records}


def test_the_digest_is_of_what_is_said_and_not_of_where_it_is(tmp_path: Path) -> None:
    texts = {"a": "filename,label\na.wav,dog\nb.wav,cat\n", "b": "filename,label\nb.wav,cat\na.wav,dog\n"}
    for name, text in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.csv").write_text(text)
    write_tones(tmp_path / "a" / "a.wav", 200)
    first, second = (digest_of(read(str(tmp_path / name / "own.csv")).records) for name in texts)
    assert first == second
    (tmp_path / "b" / "own.csv").write_text(texts["b"].replace("cat", "cow"))
    assert digest_of(read(str(tmp_path / "b" / "own.csv")).records) != first


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a.wav", "a"),
        ("./x//a.FLAC", "x/a"),
        ("x.y/v1.2.mp3", "x.y/v1_2"),
        ("v1.2", "v1_2"),
        (".wav", "_wav"),
        ("10:30\t.wav", "10_30_"),
        ("ä.wav", "ä"),
    ],
)
def test_keys_are_names_that_a_shard_can_have(name: str, key: str) -> None:
    assert key_of(name) == key


BAD_LISTS = [
    ("", "neither a column 'caption' nor 'label'"),
    ("filename\na.wav\n", "neither a column 'caption' nor 'label'"),
    ("sound,label\na.wav,dog\n", "no column 'filename'"),
    ("filename,label\n", "no pairs in it"),
    ("filename,label\na.wav\n", "row 2: 1 fields; the header has 2"),
    ("filename,label\na.wav,\n", "row 2: 'a.wav' has neither a caption nor a label"),
    ("filename,label\n../a.wav,dog\n", "row 2: '../a.wav' is no file below the folder"),
    ("filename,label\n/etc/passwd,dog\n", "'/etc/passwd' is no file below the folder"),
    ("filename,label\nx/../../a.wav,dog\n", "is no file below the folder"),
    ("filename,label\nc:\\a.wav,dog\n", "is no file below the folder"),
    ("filename,label\n,dog\n", "'' is no file below the folder"),
    (
        "filename,label\na.wav,dog\nb.wav,cow\n./a.wav,cat\n",
        "'./a.wav' is there twice, in a shard as 'a', as is 'a.wav'",
    ),
    ("filename,label\na.wav,dog\na.flac,cat\n", "'a.flac' is there twice"),
    ("filename,label\nv1.2.wav,dog\nv1_2.wav,cat\n", "'v1_2.wav' is there twice, in a shard as 'v1_2'"),
    ("filename,label,start,end\na.wav,dog,1,2\na.wav,cat,1,3\n", "'a.wav' is there twice, in a shard as 'a_1000'"),
    ("filename,label,start,end\na.wav,dog,1,\n", "row 2: a section needs a start"),
    ("filename,label,start,end\na.wav,dog,2,1\n", "a section needs a start"),
    ("filename,label,start,end\na.wav,dog,-1,1\n", "a section needs a start"),
    ("filename,label,start,end\na.wav,dog,nan,1\n", "'nan' is not a number"),
    ("filename,label,fold\na.wav,dog,one\n", "fold 'one'; expected a whole number"),
    ('filename,label\n"a.wav,dog\n', "no CSV"),
    ("audiocap_id,youtube_id,caption\n1,r1nicOVtvkQ,Water\n", "no column 'start_time'"),
    ("audiocap_id,youtube_id,start_time,caption\n", "no pairs in it"),
    (CAPTIONS + "9,../../a,1,x\n", "row 6: '../../a' from 1 s is no segment"),
    (CAPTIONS + "9,r1nicOVtvkQ,-1,x\n", "is no segment"),
    (CAPTIONS + "9,r1nicOVtvkQ,soon,x\n", "'soon' is not a number"),
    (CAPTIONS + "9,r1nicOVtvkQ,1,\n", "row 6: no caption"),
    (CAPTIONS + "3,r1nicOVtvkQ,1,x\n", "row 6: audiocap_id '3' is there twice, first in row 3"),
    ("# nothing\n# else\n", "no recordings in it"),
    (SEGMENTS + "99999999998, 1.0\n", "line 7: 2 fields; expected YTID"),
    (SEGMENTS + '../99999999, 1.0, 2.0, "/m/0k4j"\n', "line 7: '../99999999' is no film's id"),
    (SEGMENTS + '99999999998, 2.0, 1.0, "/m/0k4j"\n', "from 2 s to 1 s; expected a start"),
    (SEGMENTS + '99999999998, 1.0, 2.0, ""\n', "line 7: no label"),
    (SEGMENTS + '99999999998, 1.0, 2.0, "/m/x"\n', "line 7: the label '/m/x' has no name"),
    (SEGMENTS + '99999999999, 30.0, 40.0, "/m/0k4j"\n', "'99999999999' is there twice"),
]


@pytest.mark.parametrize(("text", "fault"), BAD_LISTS)
def test_a_list_that_does_not_fit_is_refused(text: str, fault: str, tmp_path: Path) -> None:
    path = audioset(tmp_path, segments=text)
    with pytest.raises(DatasetError) as caught:
        read(str(path))
    assert fault in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    for data in (b"\xff\xfe\x00f", b"# list\n\xff\n"):
        (tmp_path / "own.csv").write_bytes(data)
        with pytest.raises(DatasetError, match=r"own\.csv"):
            read(str(tmp_path / "own.csv"))


@pytest.mark.parametrize(
    ("names", "quality", "fault"),
    [
        ("mid\n/m/0k4j\n", QUALITY, "no column 'display_name'"),
        (NAMES, "label,rated\n/m/0k4j,1\n", "no column 'label_id', 'num_rated', 'num_true'"),
        (NAMES, "label_id,num_rated,num_true\n/m/0k4j,1,2\n", "'/m/0k4j' was true 2 times of 1"),
        (NAMES, "label_id,num_rated,num_true\n/m/0k4j,many,2\n", "'many' is not a number"),
    ],
)
def test_tables_beside_audiosets_list_that_do_not_fit_are_refused(
    names: str, quality: str, fault: str, tmp_path: Path
) -> None:
    path = audioset(tmp_path, names=names, quality=quality)
    with pytest.raises(DatasetError, match=fault):
        read(str(path))


@pytest.mark.parametrize("content", ["{", "{}", '[{"id": "/m/0k4j"}]', "[1]", "[" * 100_000])
def test_an_ontology_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    path = audioset(tmp_path)
    (tmp_path / "class_labels_indices.csv").unlink()
    with pytest.raises(DatasetError, match=r"neither class_labels_indices.csv nor ontology.json"):
        read(str(path))
    (tmp_path / "ontology.json").write_text(content)
    with pytest.raises(DatasetError, match=r"ontology|has no name"):
        read(str(path))


def test_two_sounds_of_one_name_are_refused(tmp_path: Path) -> None:
    path = audioset(tmp_path)
    for name in ("one/-0RWZT-miFs.wav", "two/-0RWZT-miFs.flac"):
        write_tones(tmp_path / name, 100)
    with pytest.raises(DatasetError, match=r"-0RWZT-miFs.wav and .*-0RWZT-miFs.flac are both called"):
        read(str(path))
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        read(str(path), tmp_path / "nowhere")


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_quality_that_is_no_share_is_refused(threshold: float, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a share from 0 to 1, not"):
        keep_quality(read(str(audioset(tmp_path))), threshold)


def test_a_filter_without_anything_to_filter_by_is_refused(tmp_path: Path) -> None:
    without = read(str(audioset(tmp_path, quality=None)))
    for threshold in (None, 0.6):
        with pytest.raises(DatasetError, match=r"qa_true_counts.csv belongs beside its list; a minimum of 0 takes all"):
            keep_quality(without, threshold)
    assert keep_quality(without, 0) is without
    (tmp_path / "own.csv").write_text("filename,label\na.wav,dog\n")
    own = read(str(tmp_path / "own.csv"))
    assert keep_quality(own, None) is own
    with pytest.raises(DatasetError, match="nothing says of what quality"):
        keep_quality(own, 0.6)
    with pytest.raises(DatasetError, match="not one recording has a label of quality 1 or more"):
        keep_quality(read(str(audioset(tmp_path))), 1)


def test_what_is_neither_a_list_nor_a_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no 'esc5' .*\(did you mean 'esc50'\?\).*; nor is there a list") as one:
        read("esc5")
    assert "mnist" not in str(one.value), "it has no sounds"
    for source in ("mnist", "a/b.csv", "", "a\0b", str(tmp_path)):
        with pytest.raises(SoundsightError) as caught:
            read(source)
        assert "\n" not in str(caught.value)


def test_a_set_whose_file_names_are_not_enough_is_named_with_its_folders(tmp_path: Path) -> None:
    assert manifests._keys(["yes/a.wav", "no/b.wav"]) == ["a", "b"]
    assert manifests._keys(["yes/a.wav", "no/a.wav"]) == ["yes/a", "no/a"]
