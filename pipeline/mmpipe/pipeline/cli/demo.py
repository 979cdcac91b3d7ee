"""`mmpipe demo`: the whole flow on the bundled sample corpora, ending with a report."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from mmpipe.pipeline.cli.console import console, next_command, result, table
from mmpipe.pipeline.cli.options import Workers
from mmpipe.pipeline.cli.presets import SAMPLE_TRAINING, SMOKE_TRAINING

__all__ = ["demo"]

_SMOKE_SESSIONS = ("Session1", "Session2")
"""The smoke run takes one utterance of each label and speaker of these sessions."""

_SMOKE_DRAWS = 4
"""Draws of each class in the smoke run: enough to train on if its few utterances all get one pseudo-label."""

_SMOKE_ROWS = {"ami": 8, "meld": 4}


def _smoke_rows(dataset: str, manifest: Any) -> Any:
    """A handful of utterances that still can be split into folds."""
    import pyarrow as pa

    if dataset != "iemocap":
        return manifest.slice(0, _SMOKE_ROWS[dataset])
    seen: set[tuple[str, str]] = set()
    rows = []
    for number, row in enumerate(manifest.select(["session", "speaker", "label"]).to_pylist()):
        key = (row["speaker"], row["label"])
        if row["session"] in _SMOKE_SESSIONS and key not in seen:
            seen.add(key)
            rows.append(number)
    return manifest.take(pa.array(rows))


def demo(
    out: Annotated[Path, typer.Option(help="Folder of everything that the demo makes.")] = Path("mmpipe-demo"),
    smoke: Annotated[bool, typer.Option("--smoke", help="A handful of utterances: the test for a CI job.")] = False,
    workers: Workers = None,
) -> None:
    """Run the whole flow on the bundled sample corpora and write a report."""
    from mmpipe.core.files import write_json
    from mmpipe.manifests.samples import sample_root
    from mmpipe.pipeline.balancing.draw import DrawOptions
    from mmpipe.pipeline.cli.balance import show_balancing
    from mmpipe.pipeline.cli.extract import sample_request, show_extraction
    from mmpipe.pipeline.cli.result_view import show_scores
    from mmpipe.pipeline.cli.train_view import show_training
    from mmpipe.pipeline.extraction.engines.local import LocalEngine
    from mmpipe.pipeline.report.page import build_report
    from mmpipe.pipeline.report.sources import ReportSources
    from mmpipe.pipeline.store.feature_store import FeatureStore
    from mmpipe.pipeline.training.config import make_config
    from mmpipe.pipeline.training.probes import linear_probes
    from mmpipe.pipeline.training.requests import Sources, TrainRequest

    began = time.perf_counter()
    stores = {name: out / "features" / name for name in ("iemocap", "ami", "meld")}
    with LocalEngine(workers) as engine:
        for number, (name, store) in enumerate(stores.items(), 1):
            console.rule(f"{number}/6  Extract sample {name.upper()}", align="left")
            select = partial(_smoke_rows, name) if smoke else None
            show_extraction(sample_request(name, store, select), engine, is_last=False)
    config = make_config(**(SMOKE_TRAINING if smoke else SAMPLE_TRAINING))
    balanced, runs = (
        out / "balanced" / "ami.parquet",
        [out / "runs" / kind for kind in ("supervised", "semi")],
    )
    console.rule("4/6  Balance AMI", align="left")
    draws = DrawOptions(per_class=_SMOKE_DRAWS if smoke else None)
    show_balancing(stores["iemocap"], stores["ami"], balanced, config, draws)
    console.rule("5/6  Train on IEMOCAP, every speaker held out once", align="left")
    show_training(TrainRequest(config, Sources(stores["iemocap"]), runs[0], overwrite=True))
    semi = Sources(stores["iemocap"], stores["ami"], balanced)
    show_training(TrainRequest(config, semi, runs[1], overwrite=True))
    console.rule("6/6  Report", align="left")
    probes = linear_probes(FeatureStore(stores["iemocap"]))
    write_json(out / "probes.json", {name: probe.to_json() for name, probe in probes.items()})
    roots = {store: sample_root(name) for name, store in stores.items()}
    sources = ReportSources(list(stores.values()), runs, [balanced], probes=out / "probes.json", roots=roots)
    report = build_report(sources, out / "report.html")
    show_scores(runs)
    table(
        "Linear probes of one modality (per cent)",
        ["modality", "utterances", "UA", "chance"],
        ((name, p.n, f"{100 * p.ua:.1f}", f"{100 * p.chance:.1f}") for name, p in probes.items()),
    )
    table(
        "Where everything is",
        ["what", "path"],
        [
            *((f"features of {name}", path) for name, path in stores.items()),
            ("balanced list", balanced),
            *((f"run {path.name}", path) for path in runs),
            ("report", report),
        ],
    )
    console.print()
    result(f"Done in {time.perf_counter() - began:.0f} s. Report: {report}")
    next_command("mmpipe extract --dataset ami --root /path/to/your/ami")
