"""The wheel holds everything a user needs, and nothing but the package `mmpipe`."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_puts_only_mmpipe_into_site_packages(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"mmpipe", f"{wheel.name.split('-py3')[0]}.dist-info"}
    assert "mmpipe/__init__.py" not in names
    for data in (
        "mmpipe/extractors/weights/ferplus_densenet.safetensors",
        "mmpipe/manifests/samples/ami/corpusResources/meetings.xml",
        "mmpipe/manifests/py.typed",
        "mmpipe/pipeline/browse/static/browse.js",
        "mmpipe/pipeline/browse/templates/list.html.j2",
    ):
        assert data in names
    assert any(name.startswith("mmpipe/pipeline/report/") and name.endswith(".j2") for name in names)


def test_samples_stay_within_16_mb_and_the_face_weights_within_4(wheel: Path) -> None:
    infos = zipfile.ZipFile(wheel).infolist()
    assert sum(i.file_size for i in infos if i.filename.startswith("mmpipe/manifests/samples/")) <= 16_000_000
    assert sum(i.file_size for i in infos if i.filename.endswith(".safetensors")) <= 4_000_000


def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(site)]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True, text=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MMPIPE_")} | {"PYTHONPATH": str(site)}
    modules = "mmpipe.core.files", "mmpipe.manifests.io", "mmpipe.extractors.contract", "mmpipe.pipeline.cli.app"
    code = f"import {', '.join(modules)}; print({', '.join(modules)}); mmpipe.pipeline.cli.app.main()"
    run = subprocess.run(
        [sys.executable, "-c", code, "extract", "--dataset", "meld", "--sample", "--stages", "audio", "--workers", "1"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[0].count(str(site)) == len(modules)
    shown = subprocess.run(
        [sys.executable, "-m", "mmpipe", "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert shown.stdout == f"mmpipe {wheel.name.split('-')[1]}\n", shown.stderr
    assert sorted(path.name for path in (tmp_path / "features" / "meld-sample").iterdir()) == [
        "audio",
        "logs",
        "manifest.parquet",
        "store.json",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_full_install_into_a_new_environment_runs_the_smoke_demo(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", f"{wheel}[demo]"], check=True, cwd=tmp_path)
    run = subprocess.run(
        [tmp_path / "venv" / "bin" / "mmpipe", "demo", "--smoke"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "mmpipe-demo" / "report.html").is_file()
