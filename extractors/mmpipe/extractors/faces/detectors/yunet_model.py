"""The file of the YuNet model: a given file, one in the cache folder, or that of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from mmpipe.core.errors import WeightsError
from mmpipe.core.files import cache_folder
from mmpipe.extractors.weights.bundled import sha256
from mmpipe.extractors.weights.hub import hub_refusal, reason_of

__all__ = ["HUB_FILE", "HUB_REPOSITORY", "HUB_REVISION", "KNOWN_MODELS", "find_yunet"]

HUB_REPOSITORY, HUB_REVISION = "opencv/face_detection_yunet", "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310"
HUB_FILE = "face_detection_yunet_2023mar.onnx"

KNOWN_MODELS = {
    "face_detection_yunet_2026may.onnx": "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
    "face_detection_yunet_2023mar.onnx": "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
}
"""The releases of OpenCV's model zoo and their SHA-256. Both hold the weights of March 2023; the later file
accepts images of any size."""


def find_yunet(model: Path | None, expected: str | None = None) -> Path:
    """The model's file, after a check of its hash.

    Args:
        model: the file; None looks in the cache folder, then in the hub.
        expected: SHA-256 of another model; None accepts the known ones.

    Raises:
        WeightsError: the file is missing, or is not the one expected; the message says where to put which file.
    """
    if model is not None:
        path = model.expanduser()
        if not path.is_file():
            raise WeightsError(f"the model of detector yunet, {path}, does not exist. {_remedy()}")
        return _checked(path, [expected] if expected else list(KNOWN_MODELS.values()))
    for name, known in KNOWN_MODELS.items():
        if (path := cache_folder() / name).is_file():
            return _checked(path, [known])
    return _checked(_from_hub(), [KNOWN_MODELS[HUB_FILE]])


def _checked(path: Path, valid: list[str]) -> Path:
    if (got := sha256(path)) not in valid:
        raise WeightsError(
            f"{path} is not a model of detector yunet that mmpipe knows: expected SHA-256 {' or '.join(valid)}, got "
            f"{got}. Copy it again, or give the hash of a model of your own as faces.detector_options.sha256"
        )
    return path


def _from_hub() -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(HUB_REPOSITORY, HUB_FILE, revision=HUB_REVISION, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # not in the hub's cache
    if (reason := hub_refusal(HUB_REPOSITORY, HUB_FILE, HUB_REVISION)) is None:
        try:
            return Path(hf_hub_download(HUB_REPOSITORY, HUB_FILE, revision=HUB_REVISION))
        except Exception as error:  # the hub's client raises the errors of several libraries
            reason = reason_of(error)
    raise WeightsError(
        f"the model of detector yunet is not in {cache_folder()}, and the Hugging Face hub did not give {HUB_FILE} of "
        f"{HUB_REPOSITORY} at {HUB_REVISION[:12]} ({reason}). {_remedy()}"
    )


def _remedy() -> str:
    files = " or ".join(f"{name} (SHA-256 {digest})" for name, digest in KNOWN_MODELS.items())
    return (
        f"Put {files}, from OpenCV's model zoo, into {cache_folder()}, or name it with "
        "--set 'faces.detector_options={model=\"FILE\"}'; detector mtcnn needs no file"
    )
