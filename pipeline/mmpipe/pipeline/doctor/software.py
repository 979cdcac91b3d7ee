"""Checks of Python, libraries, decoders and the weights that come with packages."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from mmpipe.core.errors import MmpipeError
from mmpipe.pipeline.doctor.finding import Finding, State

__all__ = [
    "DECODERS",
    "LOADED",
    "check_decoders",
    "check_device",
    "check_ffmpeg",
    "check_libraries",
    "check_loading",
    "check_python",
    "check_seetaface",
    "check_weights",
    "lack",
    "pinned_versions",
]

LOADED = ("numpy", "pyarrow", "cv2", "av", "opensmile", "torch", "torchvision")
"""Libraries of compiled code: that one is installed does not mean that it loads."""

DECODERS = (
    *("h264", "hevc", "mpeg4", "msmpeg4v3", "mpeg2video", "mjpeg", "vp8", "vp9", "av1"),
    *("pcm_s16le", "aac", "mp3", "opus", "vorbis", "flac", "ac3"),
)
"""FFmpeg's names of what corpora and folders of clips are coded in: IEMOCAP and AMI have MPEG-4 and PCM, MELD has H.264
and AAC."""


def _ask_pip(what: str) -> str:
    return f"`pip install --constraint {files('mmpipe.pipeline') / 'constraints.txt'} {what}`"


def check_python(version: Sequence[int] = tuple(sys.version_info[:3])) -> Finding:
    """Whether this Python is one that mmpipe is tested with."""
    prefix = "Programming Language :: Python :: 3."
    lines = importlib.metadata.metadata("mmpipe").get_all("Classifier") or []
    tested = [f"3.{line.removeprefix(prefix)}" for line in lines if line.startswith(prefix)]
    text = ".".join(map(str, version))
    if ".".join(map(str, version[:2])) in tested:
        return Finding("python", State.OK, text)
    remedy = f"if something fails, take one of {', '.join(tested)}"
    return Finding("python", State.WARNING, f"{text}; mmpipe is tested with {', '.join(tested)}", remedy)


def pinned_versions() -> dict[str, str]:
    """The versions of constraints.txt by canonical name."""
    lines = (files("mmpipe.pipeline") / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, _, version in pins}


def check_libraries(tested: Mapping[str, str], required: Iterable[str] | None = None) -> Finding:
    """What mmpipe requires, against what is installed; what is installed, against the tested versions.

    Args:
        tested: version by canonical name.
        required: requirements; None takes those of the installed mmpipe.
    """
    found: dict[str, str] = {
        canonicalize_name(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()
    }
    lines = importlib.metadata.requires("mmpipe") or [] if required is None else required
    wanted = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate({"extra": ""})]
    lacking = [text for r in wanted if (text := lack(r, found.get(canonicalize_name(r.name))))]
    if lacking:
        return Finding("libraries", State.MISSING, "; ".join(lacking), _ask_pip("mmpipe"))
    known = sorted(name for name in tested if name in found)
    other = [name for name in known if Version(found[name]).public != Version(tested[name]).public]
    if other:
        text = ", ".join(f"{name} {found[name]} (tested {tested[name]})" for name in other[:5])
        more = f" and {len(other) - 5} more" if len(other) > 5 else ""
        remedy = f"fine unless something fails; the tested ones: {_ask_pip('mmpipe')}"
        return Finding("libraries", State.WARNING, f"{text}{more} differ from the tested versions", remedy)
    return Finding("libraries", State.OK, f"{len(known)} as tested")


def lack(requirement: Requirement, version: str | None) -> str | None:
    """What a requirement lacks, given the version that is installed; None if it is met."""
    if version is None:
        return f"{requirement} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return None
    return f"{requirement.name} {version} is installed, mmpipe needs {requirement.specifier}"


def check_loading(modules: Sequence[str]) -> Finding:
    """Whether the libraries load."""
    failed = []
    for name in modules:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken library raises anything
            failed.append(f"{name}: {type(error).__name__}: {str(error).partition(chr(10))[0]}")
    if failed:
        remedy = (
            f"torch and torchvision must be of one release: {_ask_pip('--force-reinstall torch torchvision mmpipe')}"
        )
        return Finding("loading", State.MISSING, "; ".join(failed), remedy)
    return Finding("loading", State.OK, ", ".join(modules))


def check_device(gpu_files: Sequence[str] = ("/dev/nvidiactl", "/proc/driver/nvidia/version")) -> Finding:
    """Where models will run.

    Args:
        gpu_files: files whose presence means that the machine has a GPU.
    """
    import torch

    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        text = ", ".join(f"{gpu.name} ({gpu.total_memory / 2**30:.0f} GiB)" for gpu in gpus)
        return Finding("device", State.OK, f"cuda: {text}, torch {torch.__version__}")
    if not any(Path(file).exists() for file in gpu_files):
        return Finding("device", State.OK, f"cpu, torch {torch.__version__}; no GPU on this machine")
    built = torch.version.cuda
    why = f"its driver may be older than CUDA {built}" if built else "torch is a build without CUDA"
    remedy = "update the driver, or start the container with its GPUs" if built else "install torch's CUDA build"
    return Finding("device", State.WARNING, f"cpu: there is a GPU that torch cannot use: {why}", remedy)


def check_decoders(names: Sequence[str]) -> Finding:
    """Whether PyAV's FFmpeg has the decoders."""
    import av

    def there(name: str) -> bool:
        try:
            av.codec.Codec(name, "r")
        except ValueError:  # av.codec.codec.UnknownCodecError
            return False
        return True

    if lacking := [name for name in names if not there(name)]:
        return Finding(
            "decoders",
            State.MISSING,
            f"PyAV {av.__version__} lacks {', '.join(lacking)}",
            _ask_pip("--force-reinstall av"),
        )
    return Finding("decoders", State.OK, f"PyAV {av.__version__}: {', '.join(names)}")


def check_ffmpeg() -> Finding:
    """Whether the FFmpeg program runs, which cuts review clips and repairs media."""
    try:
        import imageio_ffmpeg

        program = imageio_ffmpeg.get_ffmpeg_exe()
        done = subprocess.run([program, "-version"], capture_output=True, text=True, check=True, timeout=20)
    except (ImportError, OSError, RuntimeError, subprocess.SubprocessError) as error:
        text = f"it does not run ({error}): no review clips, no --transcode-fallback"
        return Finding("ffmpeg", State.WARNING, text, "name one that does in IMAGEIO_FFMPEG_EXE")
    return Finding("ffmpeg", State.OK, f"{done.stdout.split(' Copyright')[0]}: {program}")


def check_weights() -> Finding:
    """Whether the weights that come with mmpipe and mtcnn are there and have their hashes."""
    from mmpipe.extractors.faces.detectors.mtcnn_weights import weight_paths
    from mmpipe.extractors.weights.bundled import SHA256, bundled

    try:
        paths = [*(bundled(name) for name in SHA256), *weight_paths().values()]
    except MmpipeError as error:
        return Finding("weights", State.MISSING, str(error), _ask_pip("--force-reinstall --no-deps mmpipe mtcnn"))
    return Finding("weights", State.OK, f"{', '.join(path.name for path in paths)}: SHA-256 as expected")


def check_seetaface() -> Finding:
    """Whether the detector of `--preset paper` runs here; where its package is not installed, nothing is wrong."""
    from mmpipe.extractors.faces.detectors.seetaface import SeetaFace, SeetaFaceConfig

    try:
        SeetaFace(SeetaFaceConfig()).prepare()
    except MmpipeError as error:
        is_installed = importlib.util.find_spec("rustface") is not None
        text = f"the detector of `--preset paper` does not run: {error}"
        return Finding("seetaface", State.WARNING if is_installed else State.OK, text)
    return Finding("seetaface", State.OK, "the detector of `--preset paper` runs")
