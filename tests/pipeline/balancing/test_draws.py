"""What is drawn of a generated pool whose classes are known, and what is refused."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmpipe.core.errors import TrainingError, UsageError
from mmpipe.core.parquet import read_metadata
from mmpipe.manifests.schema import Utterance, to_table
from mmpipe.pipeline.balancing.draw import DrawOptions, parse_targets
from mmpipe.pipeline.balancing.pseudo_labels import balance
from mmpipe.pipeline.balancing.results import BalanceResult
from mmpipe.pipeline.store.plan import plan
from mmpipe.pipeline.store.provenance import StageProvenance
from mmpipe.pipeline.store.shards import shard_path, shard_schema, write_shard
from mmpipe.pipeline.store.writing import write_store
from mmpipe.pipeline.training.config import make_config
from mmpipe.pipeline.training.data.inputs import load_input
from mmpipe.pipeline.training.run import train
from mmpipe.pipeline.training.shift import pool_caution

LABELS = ("anger", "happiness", "neutral", "sadness")
SHARES = (0.08, 0.4, 0.4, 0.12)
"""Four fifths are happiness and neutral, as in the paper's unlabelled data (section 4.2)."""

CONFIG = make_config(
    objective="paper",
    size="small",
    modalities=("a",),
    batch_size=64,
    epochs=12,
    learning_rate=3e-3,
    protocol="groups-3",
    dropout=0.1,
)
FIRST = CONFIG.model_copy(update={"epochs": 1})


def make_pool(path: Path, classes: np.ndarray, *, labeled: bool, moved: float = 0.0, noise: float = 1.5) -> Path:
    """A store of audio vectors of 8 values, each class around a point of its own; twelve speakers of four sessions."""
    generator = np.random.default_rng(len(classes))
    vectors = generator.normal(moved, noise, (len(classes), 8)).astype(np.float32)
    vectors[np.arange(len(classes)), classes] += 4
    manifest = to_table(
        Utterance(
            f"{path.name}/{row:05d}",
            "made",
            speaker=f"p{row % 12}",
            session=f"s{row % 4}",
            label=LABELS[k] if labeled else None,
        )
        for row, k in enumerate(classes.tolist())
    )
    ordered = plan(manifest)
    stages = {"audio": StageProvenance("audio", "", {"c": "x"}, {}, {})}
    write_store(path, "made", ordered, stages, "0")
    ids, numbers = (ordered.column(name).to_pylist() for name in ("utterance_id", "shard"))
    rows = defaultdict(list)
    for name, number in zip(ids, numbers, strict=True):
        rows[number].append(name)
    for number, names in rows.items():
        features = [vectors[int(name[-5:])].tolist() for name in names]
        columns = {"utterance_id": names, "status": ["ok"] * len(names), "features": features}
        table = pa.table(
            [pa.array(columns.get(field.name, [None] * len(names)), field.type) for field in SCHEMA], schema=SCHEMA
        )
        write_shard(
            shard_path(path, "audio", number), table, {"stage": "audio", **stages["audio"].to_json(), "rows": names}
        )
    return path


SCHEMA = shard_schema([pa.field("features", pa.list_(pa.float32(), 8))])


def classes_of(number: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(4, number, p=SHARES)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """480 labelled utterances and 300 others."""
    folder = tmp_path_factory.mktemp("pools")
    labeled = make_pool(folder / "labeled", np.arange(480) // 12 % 4, labeled=True)
    return labeled, make_pool(folder / "pool", classes_of(300, 1), labeled=False)


@pytest.fixture(scope="module")
def run(stores: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run on the labelled store."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(CONFIG, stores[0], folder)
    return folder


def test_a_pool_of_the_papers_proportions_gives_5000_of_each_class(
    stores: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    classes = classes_of(20_500, 2)
    pool = make_pool(tmp_path / "big", classes, labeled=False)
    done, again = (balance(stores[0], pool, tmp_path / f"{n}.parquet", CONFIG, classifier=run, once=True) for n in "ab")
    assert done.path.read_bytes() == again.path.read_bytes()
    ids, labels = (pq.read_table(done.path).column(name).to_pylist() for name in ("utterance_id", "pseudo_label"))
    assert done.beyond == 500 and len(ids) == 20_000 and done.after == dict.fromkeys(LABELS, 5000)
    assert sum(done.before.values()) == 20_000
    assert (done.before["happiness"] + done.before["neutral"]) / 20_000 == pytest.approx(0.8, abs=0.15)
    for k, label in enumerate(LABELS):
        drawn = [name for name, given in zip(ids, labels, strict=True) if given == label]
        assert len(set(drawn)) == done.folds[0].distinct[label] == min(5000, done.before[label])
        assert max(Counter(drawn).values()) == -(-5000 // done.folds[0].distinct[label])
        assert np.mean([classes[int(name[-5:])] == k for name in drawn]) > 1.5 * SHARES[k]
    assert Counter(labels[:8]) == dict.fromkeys(LABELS, 2)


def test_calibration_is_measured_on_speakers_that_the_classifiers_never_saw(
    stores: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    """The figures again, from the probabilities that the run wrote of its test utterances."""
    done = balance(*stores, tmp_path / "a.parquet", CONFIG, classifier=run)
    assert done.calibration is not None
    predictions = pq.read_table(run / "predictions.parquet").to_pylist()
    confidence = np.array([max(row["probabilities"]) for row in predictions])
    right = np.array([row["label"] == row["predicted"] for row in predictions])
    place = np.ceil(confidence * 10).astype(int)
    gaps = [abs(confidence[place == k].sum() - right[place == k].sum()) for k in range(1, 11)]
    assert done.calibration.before.n == 480
    assert done.calibration.before.error == pytest.approx(sum(gaps) / 480, abs=1e-3)
    said = read_metadata(done.path)["calibration"]
    assert sum(part["n"] for part in said["after"]["bins"]) == 480 and len(said["after"]["bins"]) == 10
    assert set(said["temperatures"]) == {"groups-0", "groups-1", "groups-2"}


def rows_of(done: BalanceResult, fold: str = "groups-0") -> list[dict[str, Any]]:
    return [row for row in pq.read_table(done.path).to_pylist() if row["fold"] == fold]


def test_targets_are_counts_or_shares_of_classes(stores: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    usual, of_class = parse_targets(["10%", "anger=7", "sadness=0"])
    draws = DrawOptions(pool=200, per_class=usual, of_class=of_class)
    done = balance(*stores, tmp_path / "a.parquet", CONFIG, draws, classifier=run)
    assert done.folds[0].after == {"anger": 7, "happiness": 20, "neutral": 20, "sadness": 0}
    assert done.beyond == 100 and sum(done.folds[0].before.values()) == 200
    assert not [caution for caution in done.cautions if "sadness" in caution]


def test_the_most_confident_come_first_above_a_threshold_and_few_of_a_speaker(
    stores: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    draws = DrawOptions(per_class=6, choose="confident", min_probability=0.5, max_per_speaker=2, max_per_session=5)
    done = balance(*stores, tmp_path / "a.parquet", CONFIG, draws, classifier=run)
    everything = balance(*stores, tmp_path / "b.parquet", CONFIG, DrawOptions(per_class=300), classifier=run)
    held = {row["utterance_id"]: row for row in rows_of(everything)}
    speaker = {name: f"p{int(str(name)[-5:]) % 12}" for name in held}
    for label in LABELS:
        order = sorted(
            (name for name in held if held[name]["pseudo_label"] == label), key=lambda name: -held[name]["probability"]
        )
        taken: list[object] = []
        for name in order:
            of_speaker = sum(speaker[other] == speaker[name] for other in taken)
            of_session = sum(int(str(other)[-5:]) % 4 == int(str(name)[-5:]) % 4 for other in taken)
            if held[name]["probability"] >= 0.5 and of_speaker < 2 and of_session < 5:
                taken.append(name)
        drawn = [row["utterance_id"] for row in rows_of(done) if row["pseudo_label"] == label]
        assert drawn == (taken * 6)[:6]
    assert {reason.partition(" of a ")[2] for reason in done.folds[0].dropped} >= {"speaker"}
    fold = done.folds[0]
    assert sum(fold.dropped.values()) + sum(fold.distinct.values()) == 300


def test_a_pool_larger_than_the_store_is_all_of_it_and_says_so(
    stores: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    done = balance(*stores, tmp_path / "a.parquet", CONFIG, DrawOptions(pool=301), classifier=run)
    assert sum(done.folds[0].before.values()) == 300 and done.beyond == 0
    assert [c for c in done.cautions if "--pool 301 is more than the 300 usable utterances of" in c]


@pytest.mark.parametrize(
    ("draws", "why"),
    [
        (DrawOptions(of_class={"bliss": 3}), "--per-class bliss=.*does not know the class; its classes: anger, hap"),
        (DrawOptions(per_class=0), "asks for no draw of any class"),
        (DrawOptions(min_probability=1 - 2**-53), "nothing is left to draw of 300 .*probability below 1 300"),
        (DrawOptions(pool=4, of_class={"anger": 3, "sadness": 3}), "the class (anger|sadness) has no candidate: 0 of"),
        (DrawOptions(min_probability=1.0), "--min-probability must be from 0 to below 1"),
        (DrawOptions(per_class=1.5), "--per-class must be from 0"),
        (DrawOptions(max_per_speaker=0), "--max-per-speaker must be 1 or more"),
    ],
)
def test_what_cannot_be_drawn_is_said_and_nothing_written(
    draws: DrawOptions, why: str, stores: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    with pytest.raises((UsageError, TrainingError), match=why):
        balance(*stores, tmp_path / "a.parquet", CONFIG, draws, classifier=run)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "101%%", "=3", "anger=", "anger=3=", "1e3", "nan", "٣"])
def test_targets_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected NUMBER, SHARE%"):
        parse_targets([text])


def test_a_class_is_given_once() -> None:
    with pytest.raises(UsageError, match="of the class anger twice"):
        parse_targets(["anger=1", "5", "anger=2"])
    with pytest.raises(UsageError, match="of every class twice"):
        parse_targets(["1", "5%"])


def test_a_run_of_other_labels_features_or_utterances_does_not_label(
    stores: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.parquet"
    other = make_pool(tmp_path / "other", np.arange(96) // 12 % 4, labeled=True)
    with pytest.raises(TrainingError, match="other features than the labelled store holds"):
        balance(other, stores[1], out, CONFIG, classifier=run)
    with pytest.raises(UsageError, match="does not hold a finished run"):
        balance(*stores, out, CONFIG, classifier=tmp_path)
    two = make_pool(tmp_path / "two", np.arange(96) // 12 % 2, labeled=True)
    train(FIRST, two, tmp_path / "run")
    with pytest.raises(TrainingError, match=r"holds the label neutral, which .*run does not know"):
        balance(stores[0], stores[1], out, CONFIG, classifier=tmp_path / "run")
    assert not out.exists()


def test_a_single_modality_and_one_list_for_all_folds_by_the_models_of_a_run(
    stores: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    done = balance(*stores, tmp_path / "a.parquet", CONFIG, classifier=run, once=True)
    assert [fold.fold for fold in done.folds] == [None] and done.modalities == ("a",)
    saw = read_metadata(done.path)["saw"]
    assert saw["trained"] == saw["chosen"] == sorted(f"p{n}" for n in range(12))


def test_one_pseudo_label_few_utterances_and_another_domain_are_warned_of(
    stores: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    alike = make_pool(tmp_path / "alike", np.full(40, 2), labeled=False, moved=30, noise=0.01)
    done = balance(stores[0], alike, tmp_path / "a.parquet", CONFIG, DrawOptions(per_class=500), classifier=run)
    text = "\n".join(done.cautions)
    assert "of another domain than the labelled one (audio: mean |z|" in text
    said = balance(*stores, tmp_path / "b.parquet", CONFIG, DrawOptions(per_class=900), classifier=run).cautions
    assert any("rests on few utterances" in caution and "900 draws of" in caution for caution in said)
    assert not any("another domain" in caution for caution in said)
    data = load_input(CONFIG, stores[0], alike)
    assert data.unlabeled is not None
    assert pool_caution(data.labeled, data.unlabeled.dataset, data.unlabeled.norms) in done.cautions
