"""What the report makes of its arguments, of runs and of features, and how it looks as Markdown."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from mmpipe.core.errors import UsageError
from mmpipe.core.parquet import read_metadata
from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.schema import MediaSpan, Utterance, Word, to_table
from mmpipe.pipeline.balancing.draw import DrawOptions
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.cli.app import app
from mmpipe.pipeline.report.balance import balance_section
from mmpipe.pipeline.report.blocks import Block, Details, Figure, Grid, Section, Table, Text
from mmpipe.pipeline.report.charts import Lines, Points, Speech
from mmpipe.pipeline.report.comparison import comparison_section
from mmpipe.pipeline.report.features import features_section
from mmpipe.pipeline.report.lists import show_list
from mmpipe.pipeline.report.markdown import write_markdown
from mmpipe.pipeline.report.page import build_report
from mmpipe.pipeline.report.paper_tables import paper_tables
from mmpipe.pipeline.report.sources import ReportSources, sort_sources
from mmpipe.pipeline.report.speech import speech_blocks
from mmpipe.pipeline.report.stores import show_store
from mmpipe.pipeline.report.summary import summary_section
from mmpipe.pipeline.report.svg import draw_svg
from mmpipe.pipeline.report.training import show_run, training_section
from mmpipe.pipeline.store.feature_store import FeatureStore
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.run import train

from ..conftest import Once
from .conftest import write_wav
from .training.conftest import make_store

SCRIPT = "<script>alert(1)</script> | $x$ & *so*"


def make_place(folder: Path) -> None:
    """Two stores, a balanced list, a supervised and a semi-supervised run of one modality."""
    make_store(folder / "known", speakers=4)
    make_store(folder / "pool", labeled=False, recording=1)
    config = make_config(size="small", modalities=("a",), epochs=2, batch_size=16, min_steps=0)
    paper = config.model_copy(update={"objective": "paper"})
    draws = DrawOptions(per_class=16)
    balance(folder / "known", folder / "pool", folder / "list.parquet", paper, draws, once=True)
    train(config, folder / "known", folder / "supervised")
    train(config, folder / "known", folder / "semi", folder / "pool", folder / "list.parquet")


@pytest.fixture(scope="module")
def place(once: Once) -> Path:
    return once("report-sources", make_place)


def flat(blocks: Any) -> list[Block]:
    """The blocks of a section, those that are folded away included."""
    found: list[Block] = []
    for block in blocks:
        inside = block.figures if isinstance(block, Grid) else block.blocks if isinstance(block, Details) else []
        found += [block, *flat(inside)]
    return found


def table(blocks: Any, caption: str) -> Table:
    return next(block for block in flat(blocks) if isinstance(block, Table) and caption in block.caption)


def test_arguments_are_told_apart_by_what_they_hold(place: Path, tmp_path: Path) -> None:
    write_manifest(to_table([Utterance("x/1", "x")]), tmp_path / "m.parquet", {"corpus": "x"})
    (tmp_path / "grid").mkdir()
    (tmp_path / "grid" / "table-4.csv").write_text("modality,metric,mean,std,low,high,paper\n")
    named = [place / "semi", place / "list.parquet", place / "known", tmp_path / "grid", tmp_path / "m.parquet"]
    found = sort_sources([*named, place / "known"])
    assert found.stores == [place / "known", tmp_path / "m.parquet"]
    assert (found.runs, found.balanced, found.grids) == ([named[0]], [named[1]], [named[3]])


@pytest.mark.parametrize("what", ["gone", "empty", "notes.txt"])
def test_other_arguments_are_refused_with_what_may_be_named(what: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"a feature store.*balanced list.*run folder"):
        sort_sources([tmp_path / what])


def test_the_command_takes_them_in_any_order_and_by_its_options(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [str(place / name) for name in ("semi", "pool", "list.parquet", "known", "supervised")]
    pages = []
    for words in (names, ["--run", names[0], names[1], "--balanced", names[2], names[3], "--run", names[4]]):
        done = CliRunner().invoke(app, ["report", *words])
        assert done.exception is None, done.output
        pages.append((tmp_path / "report.html").read_text())
    assert pages[0] == pages[1]
    for title in ("Manifest", "Extraction", "Features", "Balancing", "Training", "Comparison"):
        assert f"<h2>{title}</h2>" in pages[0]
    refused = CliRunner().invoke(app, ["report"])
    assert isinstance(refused.exception, UsageError) and "nothing to report on" in str(refused.exception)


def test_curves_of_pseudo_labels_are_shown_and_terms_that_are_always_0_are_not(place: Path) -> None:
    history = pd.read_csv(place / "semi" / "history.csv").groupby("epoch").mean(numeric_only=True)
    assert (history[["rec", "pair", "unpaired"]] == 0).all(axis=None)
    panels = {panel.title: panel.lines for panel in show_run(place / "semi").panels}
    assert panels["pseudo-labels"]["cross-entropy, unlabelled"] == pytest.approx(history["unlabeled_cls"].tolist())
    (share,) = panels["share of unlabelled rows with a pseudo-label"].values()
    assert share == pytest.approx(history["unlabeled_labelled"].tolist())
    assert not {"reconstruction", "distance of modalities"} & panels.keys()


def test_speakers_and_folds_have_the_scores_of_their_own_utterances(place: Path) -> None:
    manifest = FeatureStore(place / "known").manifest().to_pandas().set_index("utterance_id")
    blocks = training_section([show_run(place / "semi")], manifest["speaker"].to_dict(), []).blocks
    said = pd.read_parquet(place / "semi" / "predictions.parquet").join(manifest["speaker"], on="utterance_id")
    said["hit"] = said["label"] == said["predicted"]
    hits = said.groupby(["speaker", "label"])["hit"].mean()
    rows = {row[0].text: row for row in table(blocks, "by speaker").rows}
    assert sorted(rows) == sorted(manifest["speaker"].unique())
    for name, row in rows.items():
        assert row[3].value == pytest.approx(100 * hits[name].mean())  # UA is the mean of the recalls
    assert [row[0].text for row in table(blocks, "by fold").rows] == list(dict.fromkeys(said["fold"]))


def test_runs_are_compared_with_the_first_on_the_same_utterances(place: Path, tmp_path: Path) -> None:
    runs = [show_run(place / name) for name in ("supervised", "semi", "supervised")]
    rows = table(comparison_section(runs).blocks, "Minus supervised").rows
    uas = [run.result.summary["ua"].mean for run in runs]
    assert [row[2].value for row in rows] == pytest.approx([100 * (ua - uas[0]) for ua in uas[1:]])
    assert rows[1][2].text == "+0.0 [+0.0, +0.0]"
    shutil.copytree(place / "semi", tmp_path / "old")
    value = json.loads((tmp_path / "old" / "run.json").read_text())
    for file in tmp_path.rglob("fold.json"):
        file.unlink()
    kept = {key: entry for key, entry in value.items() if key not in ("files", "seal")}
    (tmp_path / "old" / "run.json").write_text(json.dumps(kept))
    blocks = comparison_section([runs[0], show_run(tmp_path / "old")]).blocks
    assert any("Not compared: semi; without fold.json" in b.text for b in blocks if isinstance(b, Text))


@pytest.mark.parametrize(("name", "metric"), [("table-4", "UA"), ("table-6", "weighted F1"), ("figure-7a", "UA")])
def test_tables_of_the_paper_stand_beside_ones_own(name: str, metric: str, tmp_path: Path) -> None:
    lines = {
        "table-4": ["modality,metric,mean,std,low,high,paper", "A,ua,0.6,0.01,0.55,0.65,0.585"],
        "table-6": [
            "modality,supervised mode,metric,mean,std,low,high,paper",
            "A,fully,weighted_f1,0.6,0.01,0.55,0.65,0.402",
        ],
        "figure-7a": [
            "unlabelled data,metric,mean,std,low,high,paper",
            "none,ua,0.6,0.01,0.55,0.65,0.725",
            "25 %,ua,0.62,0.01,0.55,0.65,",
        ],
    }[name]
    (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    blocks = paper_tables([tmp_path], [])
    shown = table(blocks, "the paper's figures are of its own")
    cells = dict(zip(shown.columns, [cell.text for cell in shown.rows[0]], strict=True))
    paper = {"table-4": "58.5", "table-6": "40.2", "figure-7a": "72.5"}[name]
    assert (cells["metric"], cells["here"], cells["95 % interval"], cells["paper"]) == (
        metric, "60.0 ± 1.0", "55.0 to 65.0", paper,
    )  # fmt: skip
    if name == "figure-7a":
        (figure,) = (block for block in flat(blocks) if isinstance(block, Figure))
        assert isinstance(figure.chart, Lines)
        places = {series.name: list(series.x) for series in figure.chart.series}
        assert places["UA"] == [0, 25] and shown.rows[1][-2].text == ""


def test_a_table_that_was_altered_is_named(tmp_path: Path) -> None:
    (tmp_path / "table-4.csv").write_text("modality,metric,mean\nA,ua,much\n")
    with pytest.raises(UsageError, match=r"table-4.csv cannot be read"):
        paper_tables([tmp_path], [])


def test_the_projection_is_that_of_scikit_learn_and_constant_dimensions_are_named(place: Path, tmp_path: Path) -> None:
    store = FeatureStore(place / "known")
    x = np.array(store.read("audio").column("features").to_pylist())
    expected = PCA(2).fit_transform(StandardScaler().fit_transform(x))
    blocks = features_section([show_store(place / "known")]).blocks
    charts = [block.chart for block in flat(blocks) if isinstance(block, Figure)]
    audio = charts[0]
    assert isinstance(audio, Points)
    for mine, theirs in zip((audio.x, audio.y), expected.T, strict=True):
        inner = np.abs(theirs) < np.percentile(np.abs(theirs), 95)  # strays are drawn nearer
        assert abs(np.corrcoef(np.array(mine)[inner], theirs[inner])[0, 1]) > 0.999
    assert list(audio.colourings) == ["label", "speaker"]  # one corpus needs no colours
    assert [row[3].text for row in table(blocks, "Dimensions").rows] == ["0", "0", "0"]


def test_an_unlabelled_store_of_another_recording_is_said_to_be_of_another_domain(place: Path) -> None:
    blocks = features_section([show_store(place / "pool"), show_store(place / "known")]).blocks
    rows = table(blocks, "Shift between").rows
    assert [row[0].text for row in rows] == ["audio", "expression", "text"]
    assert all(row[-1].text == "another domain" for row in rows)
    same = features_section([show_store(place / "known"), show_store(place / "known")]).blocks
    assert not [block for block in flat(same) if isinstance(block, Table) and "Shift" in block.caption]


def test_markdown_shows_texts_as_text_and_its_pictures_lie_beside_it(place: Path, tmp_path: Path) -> None:
    out = build_report(ReportSources(runs=[place / "semi"]), tmp_path / "r.md", format_="md")
    text = out.read_text()
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures and sorted(pictures) == sorted(p.name for p in tmp_path.glob("*.png"))
    for name in pictures:
        image = cv2.imread(str(tmp_path / name))
        assert image is not None and min(image.shape[:2]) >= 64
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    build_report(ReportSources(runs=[place / "semi"]), out, format_="md")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    (tmp_path / pictures[0]).write_text("mine")
    with pytest.raises(UsageError, match="is not a picture that mmpipe wrote"):
        build_report(ReportSources(runs=[place / "semi"]), out, format_="md")
    assert (tmp_path / pictures[0]).read_text() == "mine"


def test_markdown_escapes_what_data_say(tmp_path: Path) -> None:
    from mmpipe.pipeline.report.blocks import Cell
    from mmpipe.pipeline.report.charts import Bars, Series

    chart = Bars(SCRIPT, [SCRIPT], [Series(SCRIPT, [1.0])], SCRIPT)
    blocks: list[Block] = [Text(SCRIPT), Table((SCRIPT,), [[Cell(SCRIPT)]], SCRIPT), Figure(chart, SCRIPT)]
    write_markdown(SCRIPT, [Section("x", SCRIPT, blocks)], tmp_path / "r.md")
    text = (tmp_path / "r.md").read_text()
    assert "<script" not in text and text.count("&lt;script&gt;alert(1)&lt;/script&gt; \\| $x$ &amp; \\*so\\*") == 7


def test_a_list_shows_its_most_and_least_confident_utterances_and_its_repeats(place: Path, tmp_path: Path) -> None:
    listed = pd.read_parquet(place / "list.parquet")
    blocks = balance_section([show_list(place / "list.parquet")], [show_store(place / "pool")]).blocks
    shown = table(blocks, "most and least confident").rows
    for label, rows in listed.groupby("pseudo_label"):
        best = rows.groupby("utterance_id")["probability"].max()
        named = {row[4].text: row[2].value or 0.0 for row in shown if (row[0].text, row[1].text) == (label, "most")}
        assert len(named) == min(3, len(best))
        assert sorted(named.values()) == pytest.approx(sorted(best.nlargest(3)))
        assert named == pytest.approx({name: best[name] for name in named})
        least = [row[2].value or 0.0 for row in shown if (row[0].text, row[1].text) == (label, "least")]
        assert sorted(least) == pytest.approx(sorted(best.nsmallest(min(3, max(0, len(best) - 3)))))
    cautions = read_metadata(place / "list.parquet")["cautions"]
    texts = [block.text for block in blocks if isinstance(block, Text)]
    assert cautions and {f"Caution: {caution}." for caution in cautions} <= {*texts}
    repeats = {row[0].text: row for row in table(blocks, "Classes").rows}
    for label, rows in listed.groupby("pseudo_label"):
        assert repeats[str(label)][5].value == rows["utterance_id"].value_counts().max()
        assert repeats[str(label)][3].value == rows["utterance_id"].nunique()
    other = show_store(make_store(tmp_path / "other", config="other"))  # of the same ids
    without = balance_section([show_list(place / "list.parquet")], [other]).blocks
    assert any("the store that was balanced is not here" in block.text for block in without if isinstance(block, Text))


def test_the_spectrogram_has_a_tone_at_its_frequency_and_time(tmp_path: Path) -> None:
    times = np.arange(16_000) / 16_000
    write_wav(tmp_path / "a.wav", (np.sin(2 * np.pi * 2000 * times) * 20_000 * (times > 0.5)).astype(np.int16))
    words = (Word("<b>late</b>", 0.5, 1.0),)
    rows = [
        Utterance("x/1", "x", audio=MediaSpan("a.wav"), words=words),
        Utterance("x/2", "x", audio=MediaSpan("b.wav")),
    ]
    write_manifest(to_table(rows), tmp_path / "m.parquet", {"corpus": "x"})
    figure, gone = speech_blocks(show_store(tmp_path / "m.parquet", tmp_path))
    assert isinstance(gone, Text) and gone.text.startswith("No waveform of x/2: ")
    assert isinstance(figure, Figure) and isinstance(figure.chart, Speech)
    chart = figure.chart
    late = chart.spectrogram[:, round(0.75 * chart.spectrogram.shape[1])]
    hertz = chart.top_hz * (1 - (late.argmax() + 0.5) / len(late))
    assert chart.seconds == 1 and abs(hertz - 2000) < 100
    assert chart.spectrogram[:, : chart.spectrogram.shape[1] // 3].max() == 0
    assert max(chart.high[: len(chart.high) // 3]) == 0 and max(chart.high) == 1
    drawn = str(draw_svg(chart))
    assert "<b>" not in drawn and "&lt;b&gt;late&lt;/b&gt;: 0.50 to 1.00 s" in drawn


def test_the_summary_says_what_the_report_is_made_from(place: Path) -> None:
    shown = [show_store(place / "pool")], [show_run(place / "semi")], [show_list(place / "list.parquet")]
    rows = [[cell.text for cell in row] for row in table(summary_section(*shown).blocks, "Sources").rows]
    assert [row[0] for row in rows] == ["feature store", "balanced list", "run"]
    assert [row[1] for row in rows] == [str(place / name) for name in ("pool", "list.parquet", "semi")]
    drawn = len(pd.read_parquet(place / "list.parquet"))
    assert rows[0][2] == "MADE, 48 utterances" and rows[1][2].startswith(f"{drawn} draws by audio")
    assert rows[2][2].startswith("semi, ") and "1 seed" in rows[2][2]
