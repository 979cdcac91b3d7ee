"""The report's section on a balanced list: classes before and after, calibration, repeats, drops, examples."""

from __future__ import annotations

from collections.abc import Sequence

from mmpipe.pipeline.extraction.stages import FACES
from mmpipe.pipeline.report.blocks import (
    Block,
    Cell,
    Details,
    Figure,
    Grid,
    Heading,
    Section,
    Sheet,
    Table,
    Text,
    number,
    plural,
)
from mmpipe.pipeline.report.charts import Bars, Lines, Series
from mmpipe.pipeline.report.faces import face_strips
from mmpipe.pipeline.report.lists import ShownList, list_folds
from mmpipe.pipeline.report.stores import ShownStore

__all__ = ["balance_section"]

_EXAMPLES = 3
"""Most confident, and least confident, utterances of a class."""

_CROPS = 6
"""Crops of such an utterance."""


def balance_section(lists: Sequence[ShownList], stores: Sequence[ShownStore]) -> Section:
    """What balanced lists draw; with examples where the store that they were made from is in the report."""
    blocks: list[Block] = []
    for shown in lists:
        if len(lists) > 1:
            blocks.append(Heading(shown.path.name))
        blocks += [Text(_text(shown)), Grid(_figures(shown)), _classes(shown)]
        blocks += [Text(f"Caution: {caution}.") for caution in shown.result.cautions]
        if dropped := shown.result.total("dropped"):
            total = "of all folds together" if shown.is_by_fold else "of the list"
            rows = [[Cell(why), number(n)] for why, n in sorted(dropped.items(), key=lambda item: -item[1])]
            blocks.append(Table(("why", "utterances"), rows, f"Utterances that are not drawn, {total}"))
        if shown.is_by_fold:
            blocks.append(Details(f"Each of {plural(len(shown.result.folds), 'fold')}", [list_folds(shown)]))
        blocks += _examples(shown, stores)
    return Section("balancing", "Balancing", blocks)


def _text(shown: ShownList) -> str:
    classifier = shown.footer.get("classifier", {}).get("name")
    who = f"The models of the run {classifier}" if classifier else "Classifiers (cross-entropy only)"
    text = f"{who}{'' if classifier else ' trained on the labelled store'} gave the unlabelled utterances pseudo-labels"
    if shown.is_by_fold:
        text += (
            f", for each of {len(shown.result.folds)} folds by one that never saw the labels of its test part; counts "
            "are means of the folds"
        )
    draws = shown.footer.get("per_class")
    each = ", ".join(f"{label} {n:,}" for label, n in draws.items()) if isinstance(draws, dict) else draws
    text += f". Then every class was brought to {each} draws: larger classes are sub-sampled, smaller ones repeated."
    ua = shown.footer.get("model", {}).get("valid_ua")
    if ua is not None:
        text += f" They reach {100 * ua:.1f} % UA on the validation part."
    if (calibration := shown.result.calibration) is not None:
        before, after = calibration.before, calibration.after
        text += (
            f" Expected calibration error on {after.n:,} held-out test utterances: {100 * before.error:.1f} % before, "
            f"{100 * after.error:.1f} % after temperature scaling on the validation parts."
        )
    return text


def _figures(shown: ShownList) -> list[Figure]:
    labels = shown.result.labels
    series = [Series(name, [shown.counts(name)[label] for label in labels]) for name in ("before", "after")]
    bars = Bars("Utterances by pseudo-label before, and draws after balancing", labels, series, "utterances or draws")
    figures = [Figure(bars, "Classes before and after")]
    if shown.result.calibration is not None:
        lines = []
        for name in ("before", "after"):
            bins = [part for part in getattr(shown.result.calibration, name).bins if part.n]
            tips = [
                f"{name} scaling: {100 * part.accuracy:.0f} % right of {part.n:,} at {100 * part.confidence:.0f} %"
                for part in bins
            ]
            x, y = [part.confidence for part in bins], [part.accuracy for part in bins]
            lines.append(Series(f"{name} scaling", y, x, tips=tips))
        label = "Reliability diagram: accuracy over mean probability, before and after temperature scaling"
        diagram = Lines(label, lines, "mean probability", "share that is right", markers=True, unit_square=True)
        figures.append(Figure(diagram, "Reliability diagram"))
    return figures


def _classes(shown: ShownList) -> Table:
    """Each class with how often its utterances are repeated."""
    most = {}
    if "draw" in shown.rows.column_names:
        groups = shown.rows.group_by("pseudo_label").aggregate([("draw", "max")]).to_pylist()
        most = {row["pseudo_label"]: 1 + row["draw_max"] for row in groups}
    rows = []
    drawn, different = shown.counts("after"), shown.counts("distinct")
    for label, before in shown.counts("before").items():
        after, distinct = drawn[label], different.get(label)
        factor = number(after / distinct, 2) if distinct else Cell("")
        repeated = number(most[label]) if label in most else Cell("")
        held = Cell("") if distinct is None else number(distinct)
        rows.append([Cell(label), number(before), number(after), held, factor, repeated])
    columns = ("label", "before", "after", "different utterances drawn", "draws of each", "most draws of one")
    return Table(columns, rows, "Classes")


def _is_of(shown: ShownList, store: ShownStore) -> bool:
    """Whether a list was made from a store as it is now; what an earlier version did not record, ids have to say."""
    made = shown.footer.get("stores", {}).get("unlabeled")
    if made is None:
        ids = shown.rows.column("utterance_id").unique().to_pylist()
        return set(ids) <= set(store.manifest.column("utterance_id").to_pylist())
    stages: list[str] = made["stages"]
    if store.store is None or not all(store.has(stage) for stage in stages):
        return False
    return bool(store.store.fingerprint(stages) == made["fingerprint"])


def _examples(shown: ShownList, stores: Sequence[ShownStore]) -> list[Block]:
    """The most and the least confident utterances of each class, with their faces or texts."""
    if not {"utterance_id", "pseudo_label", "probability"} <= {*shown.rows.column_names} or not shown.rows.num_rows:
        return []
    best: dict[str, dict[str, float]] = {}
    for row in shown.rows.select(["utterance_id", "pseudo_label", "probability"]).to_pylist():
        held = best.setdefault(row["pseudo_label"], {})
        held[row["utterance_id"]] = max(held.get(row["utterance_id"], 0.0), row["probability"])
    store = next((one for one in stores if _is_of(shown, one)), None)
    if store is None:
        return [
            Text("Texts and faces of each class are left out: the store that was balanced is not here.", quiet=True)
        ]
    rows, chosen = [], dict[int, str]()
    place_of = {name: place for place, name in enumerate(store.manifest.column("utterance_id").to_pylist())}
    texts = store.manifest.column("text")
    for label, held in best.items():
        order = sorted(held, key=lambda name: (-held[name], name))
        least = order[max(_EXAMPLES, len(order) - _EXAMPLES) :]
        for kind, names in (("most", order[:_EXAMPLES]), ("least", least)):
            for name in names:
                place = place_of[name]
                text = Cell(texts[place].as_py() or "")
                rows.append([Cell(label), Cell(kind), number(held[name], 3), text, Cell(name)])
                chosen.setdefault(place, f"{label} {held[name]:.2f}, {kind} confident:")
    columns = ("label", "confident", "probability", "text", "utterance")
    blocks: list[Block] = [Table(columns, rows, f"The {_EXAMPLES} most and least confident utterances of each class")]
    if store.has(FACES) and (strips := face_strips(store, chosen, with_frame=False, most=_CROPS)):
        blocks.append(Details(f"Their faces ({plural(len(strips), 'utterance')})", [Sheet(strips)]))
    return blocks
