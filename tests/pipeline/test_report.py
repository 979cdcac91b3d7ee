"""The report shows what stores, lists and runs hold, on one page that asks for nothing from outside."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest

from mmpipe.core.errors import StoreError, UsageError
from mmpipe.core.parquet import write_parquet
from mmpipe.manifests.schema import MediaSpan, Utterance, Word, to_table
from mmpipe.pipeline.extraction.engines.serial import SerialEngine
from mmpipe.pipeline.extraction.run import plan_extraction, run_plan
from mmpipe.pipeline.extraction.stages import StageSpec
from mmpipe.pipeline.report.page import build_report
from mmpipe.pipeline.report.sources import ReportSources
from mmpipe.pipeline.training.metrics import METRICS, score

from .conftest import tone, write_video, write_wav

SECTIONS = ("summary", "manifest", "extraction", "features")
"""Of a store alone."""


class Page(HTMLParser):
    """The references, ids and text of a page; raises where tags do not close in order."""

    VOID = ("meta", "img", "col", "br", "link", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: set[str] = set()
        self.texts: list[str] = []
        self.tips: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.references += [str(values[name]) for name in ("src", "href") if values.get(name)]
        self.tips += [str(values["data-tip"])] if values.get("data-tip") else []
        self.ids |= {str(values["id"])} if values.get("id") else set()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & {*self.open}:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the videos of the store lie."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def store(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six utterances of two labels with video, the last one without a file."""
    root = media
    utterances = []
    for number in range(6):
        if number < 5:
            write_video(root / f"{number}.mp4", frames=30)
            write_wav(root / f"{number}.wav", tone(1.0, seed=number))
        utterances.append(
            Utterance(
                f"folder/{number}",
                "folder",
                speaker=f"s{number % 3}",
                audio=MediaSpan(f"{number}.wav", 0.0, 0.4 + number / 10),
                video=MediaSpan(f"{number}.mp4"),
                text="<script>alert(1)</script> & more" if number == 0 else "so it is",
                words=tuple(Word(word) for word in ["so", "it", "is"][: 1 + number % 3]),
                label="anger" if number < 4 else "sadness",
            )
        )
    stages = [StageSpec("audio", "is10"), StageSpec("faces", "face-crops", {"detector": "full-frame"})]
    path = tmp_path_factory.mktemp("features") / "clips"
    run_plan(plan_extraction(to_table(utterances), "folder", root, path, stages), SerialEngine())
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two folds, as `mmpipe train` writes it."""
    labels = ["anger", "sadness"]
    folds = [score(["anger", "sadness"], guess, labels) for guess in (["anger", "anger"], ["anger", "sadness"])]
    spread = {"mean": 0.7, "std": 0.1, "low": 0.6, "high": 0.8}
    info = {
        "name": "semi",
        "objective": "semi",
        "config": {"alpha": 0.2, "protocol": "<b>"},
        "seeds": 1,
        "labels": labels,
        "folds": [{"name": f"f{n}", "seed": 0, "best_epoch": 2, **fold.to_json()} for n, fold in enumerate(folds)],
        "summary": dict.fromkeys(METRICS, spread),
        "features": {},
        "excluded": {},
        "unlabeled": None,
        "seconds": 1.0,
        "pooled": score(["anger", "sadness"] * 2, ["anger", "anger", "anger", "sadness"], labels).to_json(),
    }
    folder = tmp_path / "semi"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(info))
    lines = ["fold,epoch,train_loss,cls,rec,latent_std,valid_loss,valid_ua"]
    lines += [f"f{n},{epoch},{3 / epoch},1,2,0.1,{1 + n},0.5" for n in (0, 1) for epoch in (1, 2)]
    (folder / "history.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def balanced(tmp_path: Path) -> Path:
    table = pa.table({"utterance_id": ["a", "b"], "pseudo_label": ["anger", "sadness"]})
    footer: Mapping[str, Any] = {
        "before": {"anger": 37, "sadness": 5},
        "after": {"anger": 21, "sadness": 21},
        "per_class": 21,
        "model": {"valid_ua": 0.625},
    }
    write_parquet(tmp_path / "list.parquet", table, footer)
    return tmp_path / "list.parquet"


def strips(html: str) -> list[str]:
    """The data of the face strips of a page, without their frames."""
    return re.findall(r'<div class="crops"[^>]*>\s*<img src="data:image/png;base64,([^"]+)"', html)


def page_of(out: Path) -> Page:
    return Page(out.read_text(encoding="utf-8"))


def test_the_page_asks_for_nothing_from_outside(store: Path, run: Path, balanced: Path, tmp_path: Path) -> None:
    out = build_report(ReportSources([store], [run], [balanced]), tmp_path / "r.html")
    page = page_of(out)
    assert page.references
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= page.ids
    style = re.search(r"<style>(.*?)</style>", out.read_text(), re.DOTALL)
    assert style and "url(" not in style[1] and "@import" not in style[1]


def test_equal_inputs_give_equal_bytes(store: Path, run: Path, balanced: Path, tmp_path: Path) -> None:
    pages = [
        build_report(ReportSources([store], [run], [balanced]), tmp_path / f"{n}.html").read_bytes() for n in (0, 1)
    ]
    assert pages[0] == pages[1]


def test_a_store_shows_counts_statuses_and_reasons(store: Path, tmp_path: Path) -> None:
    page = page_of(build_report(ReportSources([store]), tmp_path / "r.html"))
    assert "6 utterances in 1 shard; audio for 6, video for 6" in page.text
    assert {"anger: 4 (66.7 %)", "sadness: 2 (33.3 %)"} <= {*page.tips}
    assert page.text.count("ok 5, media_missing 1") == 2
    assert "folder/5" in page.text


def test_texts_of_the_corpus_are_shown_as_text(store: Path, run: Path, tmp_path: Path) -> None:
    out = build_report(ReportSources([store], [run]), tmp_path / "r.html")
    assert out.read_text().count("<script") == 1  # the page's own
    assert "<script>alert(1)</script> & more" in page_of(out).text


def test_face_strips_hold_the_crops(store: Path, tmp_path: Path) -> None:
    out = build_report(ReportSources([store]), tmp_path / "r.html").read_text()
    assert out.count('class="strip"') == 5  # all that have faces
    assert 'alt="3 face crops of folder/0"' in out
    image = cv2.imdecode(np.frombuffer(base64.b64decode(strips(out)[0]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None and image.shape == (64, 192)


def test_the_share_of_utterances_without_a_face_is_shown(store: Path, tmp_path: Path) -> None:
    page = page_of(build_report(ReportSources([store]), tmp_path / "r.html"))
    assert "0 of 5 filmed utterances (0.0 %) without a face in any frame" in page.text
    assert "found in 15 of 15 sampled frames (100.0 %)" in page.text


def test_with_the_corpus_a_frame_with_its_box_stands_beside_the_crops(store: Path, media: Path, tmp_path: Path) -> None:
    out = build_report(ReportSources([store], roots={store: media}), tmp_path / "r.html").read_text()
    frames = re.findall(r'class="frame" src="data:image/png;base64,([^"]+)"', out)
    assert len(frames) == 5
    for data in frames:
        image: Any = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
        assert image.shape[0] <= 96 and image.shape[1] <= 170
        green = (image[..., 1].astype(int) - image[..., 2] > 60) & (image[..., 1].astype(int) - image[..., 0] > 60)
        assert green.any(axis=1).mean() > 0.9  # the box of the detector full-frame is the frame


def test_media_that_are_gone_leave_the_strips(store: Path, tmp_path: Path) -> None:
    out = build_report(ReportSources([store], roots={store: tmp_path}), tmp_path / "r.html").read_text()
    assert out.count('class="strip"') == 5 and 'class="frame"' not in out
    assert "No waveform of folder/0: " in Page(out).text


def test_balancing_shows_counts_before_and_after(store: Path, balanced: Path, tmp_path: Path) -> None:
    page = page_of(build_report(ReportSources([store], [], [balanced]), tmp_path / "r.html"))
    assert "anger 37 21 sadness 5 21" in page.text
    assert {"anger, before: 37", "sadness, after: 21"} <= {*page.tips}
    assert "brought to 21 draws" in page.text and "62.5 % UA" in page.text


def test_a_list_by_fold_is_shown_as_the_mean_of_its_folds_with_its_calibration(store: Path, tmp_path: Path) -> None:
    bins = [{"low": k / 10, "high": (k + 1) / 10, "n": 2, "confidence": k / 10, "accuracy": 0.5} for k in range(10)]
    measured = {"n": 20, "error": 0.125, "bins": bins}
    drawn = {"joy": 9, "fear": 3}
    folds = {
        f"f{k}": {
            "before": {"joy": 30 + k, "fear": 2},
            "after": {"joy": 9, "fear": 3},
            "distinct": {"joy": 9, "fear": 1},
        }
        for k in (0, 2)
    }
    footer: Mapping[str, Any] = {
        "before": {"joy": 62, "fear": 4},
        "after": {"joy": 18, "fear": 6},
        "per_class": drawn,
        "model": {"valid_ua": 0.5},
        "classifier": {"name": "<b>run</b>"},
        "calibration": {
            "temperatures": {"f0": 1.5, "f2": 2.0},
            "before": measured,
            "after": {**measured, "error": 0.05},
        },
        "folds": folds,
    }
    write_parquet(tmp_path / "list.parquet", pa.table({"utterance_id": ["a"]}), footer)
    page = page_of(build_report(ReportSources([store], [], [tmp_path / "list.parquet"]), tmp_path / "r.html"))
    assert "fear 2 3 1 3.00 joy 31 9 9 1.00" in page.text and "brought to fear 3, joy 9 draws" in page.text
    assert "The models of the run <b>run</b> gave" in page.text and "for each of 2 folds" in page.text
    assert "on 20 held-out test utterances: 12.5 % before, 5.0 % after" in page.text
    assert 'aria-label="Reliability diagram' in (tmp_path / "r.html").read_text()
    assert "after scaling: 50 % right of 2 at 40 %" in page.tips


def test_a_run_shows_its_pooled_figures_with_the_deviation_over_folds(store: Path, run: Path, tmp_path: Path) -> None:
    page = page_of(build_report(ReportSources([store], [run]), tmp_path / "r.html"))
    assert "70.0 ± 10.0 [60.0, 80.0]" in page.text  # the mean, ± and interval of run.json's summary
    assert "anger 2 0 100.0 sadness 1 1 50.0" in page.text


def test_probes_are_shown_beside_chance(store: Path, tmp_path: Path) -> None:
    probes = tmp_path / "probes.json"
    probes.write_text(json.dumps({"audio": {"ua": 0.525, "chance": 0.25, "n": 80}}))
    page = page_of(build_report(ReportSources([store], probes=probes), tmp_path / "r.html"))
    assert "audio 52.5 25.0 80" in page.text


def test_sections_without_inputs_are_left_out(store: Path, tmp_path: Path) -> None:
    page = page_of(build_report(ReportSources([store]), tmp_path / "r.html"))
    assert {name for name in page.ids if "-" not in name} == {*SECTIONS, "tip", "said", "keys"}


def test_provenance_names_weights_and_config(store: Path, tmp_path: Path) -> None:
    page = page_of(build_report(ReportSources([store]), tmp_path / "r.html"))
    assert "config detector full-frame" in page.text
    assert "versions opensmile" in page.text


def test_what_is_not_there_is_named_with_the_command_that_makes_it(store: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="mmpipe extract"):
        build_report(ReportSources([tmp_path / "gone"]), tmp_path / "r.html")
    with pytest.raises(UsageError, match="mmpipe train"):
        build_report(ReportSources([store], [tmp_path / "gone"]), tmp_path / "r.html")
    with pytest.raises(StoreError, match="mmpipe balance-unlabeled"):
        build_report(ReportSources([store], [run], [tmp_path / "gone.parquet"]), tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def test_a_manifest_alone_has_its_counts_durations_and_words(tmp_path: Path) -> None:
    from mmpipe.manifests.io import write_manifest
    from mmpipe.manifests.registry import CORPORA
    from mmpipe.manifests.samples import sample_root

    corpus = CORPORA.load("meld")
    rows = corpus(corpus.Options()).prepare(sample_root("meld")).utterances
    write_manifest(to_table(rows), tmp_path / "m.parquet", {"corpus": "meld"})
    html = build_report(ReportSources([tmp_path / "m.parquet"]), tmp_path / "r.html").read_text()
    text = " ".join(Page(html).texts)
    for shown in (
        "MELD",
        "By label",
        "By split",
        "By speaker",
        "Every speaker",
        "80 % are no longer than",
        "neutral",
        "train",
    ):
        assert shown in text
    assert 'aria-label="Histogram of the durations of MELD, with the 80 % mark"' in html
    assert 'aria-label="Histogram of words in an utterance of MELD"' in html
    assert 'id="extraction"' not in html and "utterances in 0" not in text


def test_headings_images_and_charts_are_named_for_those_who_do_not_see_them(
    store: Path, media: Path, run: Path, balanced: Path, tmp_path: Path
) -> None:
    out = build_report(ReportSources([store, store], [run], [balanced], roots={store: media}), tmp_path / "r.html")
    html = out.read_text()
    assert '<html lang="en">' in html
    levels = [int(level) for level in re.findall(r"<h(\d)", html)]
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids)) and all(ids)
    for level, name, link in re.findall(r'<h(\d) id="([^"]*)"><a href="#([^"]*)">', html):
        assert level == "3" and name == link
    images = re.findall(r"<img ([^>]*)>", html)
    assert images and all(re.search(r'alt="[^"]+"', image) for image in images)
    charts = re.findall(r"<svg ([^>]*)>", html)
    assert charts and all('role="img"' in chart and re.search(r'aria-label="[^"]+"', chart) for chart in charts)
    assert re.findall(r"<th scope=.row.>(\w+)", html) == ["anger", "sadness"]  # of the confusion
    assert not re.search(r"<th[^>]*></th>", html)


def test_utterances_of_one_file_are_read_by_one_reader(
    store: Path, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmpipe.pipeline.media.readers import AudioReader, VideoReader

    made: list[type] = []
    for kind in (AudioReader, VideoReader):
        begin = kind.__init__

        def counted(self: Any, *arguments: Any, begin: Any = begin) -> None:
            made.append(type(self))
            begin(self, *arguments)

        monkeypatch.setattr(kind, "__init__", counted)
    build_report(ReportSources([store], roots={store: media}), tmp_path / "r.html")
    assert sorted(kind.__name__ for kind in made) == ["AudioReader", "VideoReader"]
