"""Corpora and stores on an S3 server: the files of a disk, few requests, one line on a bad day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mmpipe.manifests.io import write_manifest
from mmpipe.manifests.samples import sample_root
from mmpipe.manifests.schema import MediaSpan, Utterance, to_table

from .conftest import tone, write_wav
from .runs import call, contents, run_in_a_row
from .s3_server import S3Server, s3_server

FAST = "import os; os.environ['AWS_MAX_ATTEMPTS'] = '2'"
"""botocore's own number of attempts, so that an error that stays costs no minute."""


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        yield running


@pytest.fixture(autouse=True)
def good_day(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.fault = lambda request: None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, server: S3Server) -> Path:
    """Thirty-four clips of 0.3 s in three shards, with their manifest, here and at s3://speech/clips."""
    root = tmp_path_factory.mktemp("clips")
    for number in range(34):
        write_wav(root / f"clip{number:02}.wav", tone(0.3, seed=number % 5))
    names = sorted(path.name for path in root.iterdir())
    rows = (Utterance(f"folder/{name}", "folder", audio=MediaSpan(name), text="words") for name in names)
    write_manifest(to_table(rows), root / "manifest.parquet", {})
    server.put("speech/clips", root)
    return root


STAGES = ["--stages", "audio", "--workers", "1"]


def extract(root: object, out: object, *more: object) -> list[object]:
    where = ["--dataset", "folder", "--root", root, "--manifest", f"{root}/manifest.parquet", "--out", out]
    return ["extract", *where, *STAGES, *more]


@pytest.fixture(scope="module")
def local(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What an extraction on a disk gives."""
    store = tmp_path_factory.mktemp("local") / "store"
    assert call(*extract(clips, store)).returncode == 0
    return contents(store)


def test_a_corpus_in_a_bucket_gives_the_manifest_of_a_disk_with_one_listing(server: S3Server, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    for name in ("a/one", "a/two", "b/three"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(folder / f"{name}.wav", tone(4.0))
        (folder / f"{name}.srt").write_text("1\n00:00:00,500 --> 00:00:03,500\nthese are some words\n")
    (folder / "notes.pdf").write_bytes(b"x" * 1000)
    (folder / "b" / "nothing.vtt").write_text("")
    corpora: dict[str, tuple[Path, list[str]]] = {
        "ami": (sample_root("ami"), ["--num-crops", "5", "--crop", "3.5"]),
        "iemocap": (sample_root("iemocap"), []),
        "meld": (sample_root("meld"), []),
        "folder": (folder, ["--utterances", "crop", "--num-crops", "3", "--crop", "2.5"]),
    }
    for name, (root, _) in corpora.items():
        server.put(f"speech/trees/{name}", root)
    server.seen.clear()
    steps: list[list[object]] = []
    for name, (_, options) in corpora.items():
        command: list[object] = [
            "manifest",
            name,
            "--root",
            f"s3://speech/trees/{name}",
            "--out",
            f"{name}.parquet",
            *options,
        ]
        steps += [command, command]
    done = run_in_a_row(*steps, cwd=tmp_path)
    for (name, (root, options)), remote, again in zip(corpora.items(), done[::2], done[1::2], strict=True):
        there = (tmp_path / f"{name}.parquet").read_bytes()
        made = call("manifest", name, "--root", root, "--out", f"{name}.parquet", *options, cwd=tmp_path)
        assert remote.returncode == again.returncode == made.returncode == 0, (remote.stderr, made.stderr)
        assert there == (tmp_path / f"{name}.parquet").read_bytes()
        assert remote.stdout.replace(f"s3://speech/trees/{name}", str(root)) == made.stdout
    assert len(server.requests("LIST")) == len(steps), "one listing for each command"
    fetched = server.requests("GET")
    assert len(fetched) == len(set(fetched)), "the second command fetches nothing again"
    assert not any(place.endswith((".pdf", ".mp4", ".avi")) for place in fetched if "/ami/" not in place)
    assert "speech/trees/folder/a/one.wav" in fetched, "the header of a clip in which windows are drawn"


def test_a_broken_corpus_in_a_bucket_is_answered_as_on_a_disk(server: S3Server, tmp_path: Path) -> None:
    ami = tmp_path / "ami"
    (ami / "corpusResources").mkdir(parents=True)
    (ami / "corpusResources" / "meetings.xml").write_text("<meeting")
    (ami / "words").mkdir()
    (ami / "words" / "ES2002a.A.words.xml").write_text("<")
    (tmp_path / "odd" / "MELD").mkdir(parents=True)
    (tmp_path / "odd" / "x.txt").write_text("no clip")
    (tmp_path / "odd" / "MELD" / "train_sent_emo.csv").write_text("Sr No.,Utterance\n1,hello\n")
    for name in ("ami", "odd"):
        server.put(f"speech/broken/{name}", tmp_path / name)
    wav = write_wav(tmp_path / "a.wav", tone(0.1)).read_bytes()
    for name in ("good.wav", "double//slash.wav", "../up.wav", "taken", "taken/inside.wav", f"{'long' * 70}.wav"):
        server.put(f"speech/names/{name}", wav)
    cases = [
        *(("ami", "ami"), ("ami", "odd"), ("iemocap", "odd"), ("meld", "odd"), ("meld", "odd/MELD")),
        *(("folder", "odd"), ("meld", "gone"), ("meld", "odd/x.txt")),
    ]
    url = "s3://speech/broken"
    steps: list[list[object]] = [
        ["manifest", corpus, "--root", f"{url}/{name}", "--out", tmp_path / "m.parquet"] for corpus, name in cases
    ]
    names = ["manifest", "folder", "--root", "s3://speech/names", "--out", tmp_path / "names.parquet"]
    *broken, named = run_in_a_row(*steps, names)
    for (corpus, name), remote in zip(cases, broken, strict=True):
        here = call("manifest", corpus, "--root", tmp_path / name, "--out", tmp_path / "m.parquet")
        assert remote.returncode == here.returncode == 1
        assert remote.stderr.replace(url, str(tmp_path)) == here.stderr, (corpus, name)
    assert named.returncode == 0, named.stderr
    assert "4 unusable_name" in named.stdout and "2 utterances in" in named.stdout, "names that no disk takes"


def test_a_store_in_a_bucket_goes_on_after_bad_days_and_is_resumed_with_few_requests(
    server: S3Server, clips: Path, local: dict[str, bytes]
) -> None:
    command = extract("s3://speech/clips", "s3://speech/few", "--media-cache", "10MB")
    shards = [f"speech/few/audio/{number:05}.parquet" for number in range(3)]
    server.fault = lambda r: "AccessDenied" if r.kind == "PUT" and r.place == shards[1] else None
    server.seen.clear()
    (refused,) = run_in_a_row(FAST, command)
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused.stderr
    assert "audio/00001.parquet cannot be written: the object store denies access (AccessDenied)" in refused.stderr
    assert "let these credentials read and write there" in refused.stderr
    assert sorted({*server.requests("PUT", "/few/audio/")}) == shards[:2]

    passing = iter([None, "SlowDown", None, None, None, "InternalError"] + [None] * 30 + ["SlowDown", "InternalError"])
    server.fault = lambda request: next(passing, None)
    (finished,) = run_in_a_row(command)
    assert finished.returncode == 0, finished.stderr
    assert server.contents("speech/few") == local
    media = server.requests("GET", "/clips/clip")
    assert len(media) == len(set(media)) == 34, "in both runs, to be hashed and decoded, a file is fetched once"
    assert server.requests("PUT", shards[2]) == [shards[2]] and not server.requests("POST", "uploads"), "one PUT"

    server.seen.clear()
    again, shown = run_in_a_row(command, ["inspect", "s3://speech/few", "--verify"])
    assert "Nothing to do" in again.stdout and "Every file is what was written" in shown.stdout, again.stderr
    assert not server.requests("GET", ".wav") and not server.requests("HEAD", ".wav")
    resumed = server.seen[: max(n for n, r in enumerate(server.seen) if r.place.endswith(".lock")) + 1]
    server.seen[:] = resumed
    for shard in shards:
        assert len(server.requests("GET", shard)) <= 3 and len(server.requests("HEAD", shard)) <= 2
    assert len(server.requests("LIST")) <= 4, "the media, the stage, and locks"
    assert len([request for request in resumed if request.place not in shards]) < 70, "this does not grow with it"


def test_what_is_not_there_or_not_allowed_is_named_with_the_remedy(
    server: S3Server, clips: Path, tmp_path: Path
) -> None:
    steps: list[list[object]] = [
        ["inspect", "s3://no-such-bucket/store"],
        ["manifest", "meld", "--root", "s3://no-such-bucket/meld", "--out", tmp_path / "m.parquet"],
        extract(clips, "s3://no-such-bucket/store"),
        ["run", "s3://speech/clips"],
        ["export", "s3://speech/few", "--out", "s3://speech/export"],
        ["train", "--labeled", "s3://speech/few", "--out", "s3://speech/run"],
    ]
    said = [done.stderr for done in run_in_a_row(*steps)]
    assert all(text.count("\n") == 1 and text.startswith("Error: ") for text in said), said
    assert all("the bucket does not exist" in text for text in said[:3]), said
    assert all("has to be a path on a disk of this machine" in text for text in said[3:]), said
