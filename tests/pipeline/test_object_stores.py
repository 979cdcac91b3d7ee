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
from .s3_server import Request, S3Server, s3_server

_AT = "from fsspec.core import url_to_fs as at; fs, path = at({!r}); "
"""Code that talks to the store runs in processes of its own, between commands that do."""

FAST = "import os; os.environ['AWS_MAX_ATTEMPTS'] = '2'"
"""botocore's own number of attempts, so that an error that stays costs no minute."""


def fetch(url: str, folder: object) -> str:
    return _AT.format(url) + f"fs.get(path, {str(folder)!r}, recursive=True)"


def send(source: object, url: str) -> str:
    return _AT.format(url) + f"fs.put({str(source)!r}, path, recursive=True)"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running:
        run_in_a_row(_AT.format("s3://speech") + "fs.mkdir(path)")
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
    run_in_a_row(send(f"{root}/", "s3://speech/clips/"))
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
        "meld": (sample_root("meld"), []),
        "folder": (folder, ["--utterances", "crop", "--num-crops", "3", "--crop", "2.5"]),
    }
    run_in_a_row(*(send(f"{root}/", f"s3://speech/trees/{name}/") for name, (root, _) in corpora.items()))
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
    assert len(requests(server, "LIST")) == len(steps), "one listing for each command"
    fetched = requests(server, "GET")
    assert len(fetched) == len(set(fetched)), "the second command fetches nothing again"
    assert not any(place.endswith((".pdf", ".mp4", ".avi")) for place in fetched if "/ami/" not in place)
    assert "speech/trees/folder/a/one.wav" in fetched, "the header of a clip in which windows are drawn"


def requests(server: S3Server, kind: str, part: str = "") -> list[str]:
    return [request.place for request in server.seen if request.kind == kind and part in request.place]


def test_a_broken_corpus_in_a_bucket_is_answered_as_on_a_disk(server: S3Server, tmp_path: Path) -> None:
    ami = tmp_path / "ami"
    (ami / "corpusResources").mkdir(parents=True)
    (ami / "corpusResources" / "meetings.xml").write_text("<meeting")
    (ami / "words").mkdir()
    (ami / "words" / "ES2002a.A.words.xml").write_text("<")
    (tmp_path / "odd" / "MELD").mkdir(parents=True)
    (tmp_path / "odd" / "x.txt").write_text("no clip")
    (tmp_path / "odd" / "MELD" / "train_sent_emo.csv").write_text("Sr No.,Utterance\n1,hello\n")
    cases = [
        *(("ami", "ami"), ("ami", "odd"), ("iemocap", "odd"), ("meld", "odd"), ("meld", "odd/MELD")),
        *(("folder", "odd"), ("meld", "gone"), ("meld", "odd/x.txt")),
    ]
    url = "s3://speech/broken"
    sent = [send(f"{tmp_path / name}/", f"{url}/{name}/") for name in ("ami", "odd")]
    steps: list[list[object]] = [
        ["manifest", corpus, "--root", f"{url}/{name}", "--out", tmp_path / "m.parquet"] for corpus, name in cases
    ]
    for (corpus, name), remote in zip(cases, run_in_a_row(*sent, *steps), strict=True):
        here = call("manifest", corpus, "--root", tmp_path / name, "--out", tmp_path / "m.parquet")
        assert remote.returncode == here.returncode == 1
        assert remote.stderr.replace(url, str(tmp_path)) == here.stderr, (corpus, name)


def test_names_that_no_disk_takes_are_reported_and_left_out(server: S3Server, tmp_path: Path) -> None:
    wav = write_wav(tmp_path / "a.wav", tone(0.1)).read_bytes()
    names = ["good.wav", "double//slash.wav", "../up.wav", "taken", "taken/inside.wav", f"{'long' * 70}.wav"]
    put = (
        "import boto3\ns3 = boto3.client('s3', region_name='us-east-1')\n"
        f"for name in {names!r}: s3.put_object(Bucket='speech', Key='odd/' + name, Body={wav!r})"
    )
    (done,) = run_in_a_row(put, ["manifest", "folder", "--root", "s3://speech/odd", "--out", tmp_path / "m.parquet"])
    assert done.returncode == 0, done.stderr
    assert "4 unusable_name" in done.stdout and "2 utterances in" in done.stdout, done.stdout


def test_a_finished_store_is_resumed_with_few_requests(
    server: S3Server, clips: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    command = extract("s3://speech/clips", "s3://speech/few", "--media-cache", "10MB")
    server.seen.clear()
    (first,) = run_in_a_row(command)
    assert first.returncode == 0, first.stderr
    puts = sorted(requests(server, "PUT", "/few/audio/"))
    assert puts == [f"speech/few/audio/{number:05}.parquet" for number in range(3)], "a shard is one PUT"
    media = requests(server, "GET", "/clips/clip")
    assert len(media) == 34 and len(set(media)) == 34, "a file is fetched once, to be hashed and decoded"
    server.seen.clear()
    (again,) = run_in_a_row(command)
    assert "Nothing to do" in again.stdout, again.stderr
    for shard in puts:
        assert len(requests(server, "GET", shard)) <= 3 and len(requests(server, "HEAD", shard)) <= 2
    assert not requests(server, "GET", ".wav") and not requests(server, "HEAD", ".wav")
    assert len(requests(server, "LIST")) <= 4, "the media, the stage, and locks"
    others = [r for r in server.seen if r.place not in puts]
    assert len(others) < 70, "the rest does not grow with the store"
    run_in_a_row(fetch("s3://speech/few", f"{tmp_path}/"))
    assert contents(tmp_path / "few") == local


def test_errors_that_pass_are_retried_and_change_nothing(
    server: S3Server, clips: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    counted = [0]

    def fault(request: Request) -> str | None:
        counted[0] += 1
        return {0: "SlowDown", 4: "InternalError"}.get(counted[0] % 9)

    server.fault = fault
    (done,) = run_in_a_row(extract("s3://speech/clips", "s3://speech/slow", "--media-cache", "10MB"))
    server.fault = lambda request: None
    assert done.returncode == 0, done.stderr
    run_in_a_row(fetch("s3://speech/slow", f"{tmp_path}/"))
    assert contents(tmp_path / "slow") == local


BAD_DAYS = {
    "AccessDenied": "let these credentials read and write there",
    "ExpiredToken": "AWS_SESSION_TOKEN",
    "QuotaExceeded": "free space or lift the quota",
    "InternalError": "wait until it works again",
}


@pytest.mark.parametrize("code", BAD_DAYS)
def test_an_object_store_that_refuses_a_shard_ends_the_run_with_one_line_and_the_run_goes_on_later(
    code: str, server: S3Server, clips: Path, local: dict[str, bytes], tmp_path: Path
) -> None:
    url = f"s3://speech/refused-{code.lower()}"
    command = extract(clips, url)
    server.fault = lambda r: code if r.kind == "PUT" and r.place.endswith("audio/00001.parquet") else None
    (refused,) = run_in_a_row(FAST, command)
    server.fault = lambda request: None
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1 and BAD_DAYS[code] in refused.stderr, refused.stderr
    assert f"{url}/audio/00001.parquet cannot be written" in refused.stderr
    verified, resumed = run_in_a_row(["inspect", url, "--verify"], command)
    assert "damaged" not in verified.stdout and "audio/00001" in verified.stdout, verified
    assert resumed.returncode == 0, resumed.stderr
    run_in_a_row(fetch(url, f"{tmp_path}/"))
    assert contents(tmp_path / url.rpartition("/")[2]) == local


def test_media_that_an_object_store_refuses_make_no_rows(server: S3Server, clips: Path, tmp_path: Path) -> None:
    command = extract("s3://speech/clips", tmp_path / "store")
    whole = [0]

    def fault(request: Request) -> str | None:
        whole[0] += request.kind == "GET" and request.place.endswith(".wav")
        return "ExpiredToken" if whole[0] > 50 and request.place.endswith(".wav") else None

    server.fault = fault
    (refused,) = run_in_a_row(FAST, command)
    server.fault = lambda request: None
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1, refused
    assert "AWS_SESSION_TOKEN" in refused.stderr, refused.stderr
    resumed, shown = run_in_a_row(command, ["inspect", tmp_path / "store"])
    assert resumed.returncode == 0 and "ok 34" in resumed.stdout, (resumed.stdout, resumed.stderr)
    assert "media_error" not in shown.stdout


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
    (lost,) = run_in_a_row(FAST, ["inspect", "s3://speech/few"], AWS_ENDPOINT_URL="http://127.0.0.1:9")
    assert "the object store cannot be reached" in lost.stderr, lost.stderr
    (unknown,) = run_in_a_row(["inspect", "s3://speech/few"], AWS_PROFILE="nobody")
    assert "AWS_PROFILE" in unknown.stderr and unknown.stderr.count("\n") == 1, unknown.stderr
