"""The configuration comes from options, environment and mmpipe.toml, and is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpipe.core.errors import UsageError
from mmpipe.pipeline.cli.settings import Settings, dataset_root, load_settings, parse_assignments
from mmpipe.pipeline.extraction.stages import resolve_stages


@pytest.fixture(autouse=True)
def _no_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MMPIPE_AMI_ROOT", raising=False)


def test_the_option_wins_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(datasets={"ami": {"root": "/from/file"}})
    assert dataset_root("ami", None, settings) == Path("/from/file")
    monkeypatch.setenv("MMPIPE_AMI_ROOT", "/from/environment")
    assert dataset_root("ami", None, settings) == Path("/from/environment")
    assert dataset_root("ami", Path("/from/option"), settings) == Path("/from/option")


def test_without_any_root_the_message_names_all_three_ways_and_the_sample() -> None:
    with pytest.raises(UsageError) as caught:
        dataset_root("ami", None, Settings())
    message = str(caught.value)
    assert all(way in message for way in ("--root", "MMPIPE_AMI_ROOT", "mmpipe.toml", "--sample"))


def test_sample_and_root_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="leave out --root"):
        dataset_root("ami", Path("/data"), Settings(), sample=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[datasets", "not valid TOML"),
        ("[dataset.ami]\nroot='x'", "dataset does not exist .did you mean datasets"),
        ("stages = 3", "stages"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mmpipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_settings(path)


@pytest.mark.parametrize("text", ["faces", "faces.every", "every=5", ".every=5", "faces.=5"])
def test_a_malformed_assignment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"STAGE\.OPTION=VALUE"):
        parse_assignments([text])


def test_an_unknown_stage_lists_the_valid_ones() -> None:
    with pytest.raises(UsageError, match="audio, faces, expression, text"):
        resolve_stages(["audoi"], {})


def test_an_unknown_option_lists_the_valid_ones() -> None:
    (spec,) = resolve_stages(["expression"], {"expression": {"meen": 3.0}})
    with pytest.raises(UsageError, match=r"expression\.meen.*options of expression: mean, statistics, std, weights"):
        spec.build()


def test_stages_run_in_the_order_of_the_flow() -> None:
    assert [spec.name for spec in resolve_stages(["text", "faces", "audio"], {})] == [
        "audio",
        "faces",
        "text",
    ]
