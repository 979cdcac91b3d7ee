"""The page answers what it should, shows data as text, and gives nothing to other sites."""

from __future__ import annotations

import csv
import html
import io
import re
import wave
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mmpipe.core.errors import Rejected, StoreError, UsageError
from mmpipe.manifests.io import FOLLOW_LINKS
from mmpipe.manifests.schema import MediaSpan, Utterance
from mmpipe.pipeline.browse.catalog import OpenStore, open_catalog
from mmpipe.pipeline.browse.marks import MarkList
from mmpipe.pipeline.browse.media import Clips
from mmpipe.pipeline.browse.pseudo import read_pseudo_labels
from mmpipe.pipeline.store.feature_store import FeatureStore

from ..conftest import tone, write_wav
from .conftest import SCRIPT, Open


class Page(HTMLParser):
    """Texts, elements by tag, and ids of the listed utterances; raises where tags do not close in order."""

    VOID = ("meta", "img", "input", "link")

    def __init__(self, response: Any) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(response.text)
        assert self.open == []
        self.code = response.status_code

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def links(self) -> list[str]:
        return [str(a.get("href") or a.get("src")) for _, a in self.elements if a.get("href") or a.get("src")]


def listed(client: Any, query: str) -> list[str]:
    """The ids of the list that a link shows."""
    answer = client.get(f"/?{query}")
    assert answer.status_code == 200, answer.text
    return [html.unescape(name) for name in re.findall(r'<td class="id"><a [^>]*>([^<]*)</a>', answer.text)]


def token_of(client: Any) -> str:
    page = Page(client.get("/utterance", params={"store": "store", "id": "t/film"}))
    return next(str(a["value"]) for a in page.all("input") if a.get("name") == "token")


def put(client: Any, utterance: str, **fields: str) -> Any:
    values = {"token": token_of(client), "store": "store", "id": utterance, "label": "", "note": "", **fields}
    return client.post("/mark", data=values)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=good", ["t/film"]),
        ("q=so+SEE", ["t/film"]),
        ("q=t/SOUND", ["t/sound"]),
        ("q=100%25+n_", ["t/broken"]),
        ("q=%5B.%2A", []),
        ("label=joy", ["t/a b&c?#é%/+", "t/film"]),
        ("label=(none)", ["t/broken", "t/gone"]),
        ("label=envy", []),
        ("speaker=ann", ["t/film", "t/gone"]),
        ("speaker=ann&split=test", ["t/gone"]),
        ("session=s1&label=anger", ["t/sound"]),
        ("status.audio=media_missing", ["t/gone"]),
        ("status.faces=ok", ["t/film"]),
        ("dataset=t&split=(none)", ["t/broken", "t/link"]),
        ("from=store&q=gone", ["t/gone"]),
        ("pseudo=joy", ["t/broken"]),
        ("pseudo=anger&low=0.85&high=0.95", ["t/gone"]),
        ("high=0.55", ["t/broken"]),
    ],
)
def test_filters_of_a_link_choose_utterances(query: str, expected: list[str], open_page: Open) -> None:
    assert sorted(listed(open_page(balanced=True), query)) == expected


@pytest.mark.parametrize(
    "query", ["low=2", "high=nan", "low=x", "page=0", "page=-1", "page=" + "9" * 5000, "mark=x", "q=" + "a" * 600]
)
def test_a_filter_that_makes_no_sense_is_refused(query: str, open_page: Open) -> None:
    page = Page(open_page().get(f"/?{query}"))
    assert (page.code == 400 and "expected" in page.text) or "longer" in page.text


def test_an_utterance_shows_all_that_is_known_of_it(open_page: Open) -> None:
    page = Page(open_page(balanced=True).get("/utterance", params={"store": "store", "id": "t/film"}))
    for text in ("It is so GOOD to see you", "hap in the corpus", "film.mp4, 0.50 s to 1.50 s", "ann", "s1", "0.10 s"):
        assert text in page.text
    words = [(a["data-start"], a["data-end"]) for a in page.all("button") if a.get("class") == "word"]
    assert words == [("0.0", "0.2"), ("0.25", "0.4")]
    assert [a["src"].split("n=")[1] for a in page.all("img") if a["src"]] == ["0", "1"]
    gone = Page(open_page(balanced=True).get("/utterance", params={"store": "store", "id": "t/gone"}))
    assert "media_missing" in gone.text and "gone.wav does not exist below" in gone.text
    assert "joy 0.600, fold a" in gone.text and "anger 0.900, fold b" in gone.text
    assert not gone.all("audio") and not gone.all("video")


@pytest.mark.parametrize(
    ("utterance", "text"),
    [
        ("t/a b&c?#é%/+", "Nothing to play: the utterance has no media"),
        ("t/link", "a link that leaves the corpus root"),
    ],
)
def test_an_utterance_without_media_says_so(utterance: str, text: str, open_page: Open) -> None:
    page = Page(open_page().get("/utterance", params={"store": "store", "id": utterance}))
    assert page.code == 200 and text in page.text and not page.all("audio")


def test_without_a_corpus_root_the_page_says_how_to_name_it(open_page: Open) -> None:
    page = Page(open_page(root=None).get("/utterance", params={"store": "store", "id": "t/film"}))
    assert "the corpus root is not known" in page.text and "--root" in page.text and not page.all("video")


def test_next_and_previous_follow_the_filters(open_page: Open) -> None:
    client = open_page()
    order = listed(client, "label=anger")
    first = Page(client.get("/utterance?label=anger", params={"store": "store", "id": order[0], "label": "anger"}))
    links = {a["id"]: str(a["href"]) for a in first.all("a") if a.get("id")}
    assert "previous" not in links and "1 of 2" in first.text
    second = Page(client.get(links["next"]))
    assert order[1] in second.text and "2 of 2" in second.text and "label=anger" in links["next"]
    outside = Page(client.get("/utterance", params={"store": "store", "id": "t/film", "label": "anger"}))
    assert "not among the 2" in outside.text


def test_links_of_odd_ids_lead_to_their_utterance(open_page: Open) -> None:
    client = open_page()
    links = [link for link in Page(client.get("/")).links if link.startswith("/utterance")]
    titles = [re.search(r"<h1>(.*?)</h1>", client.get(link).text) for link in links]
    assert sorted(html.unescape(t[1]) for t in titles if t) == sorted(listed(client, "")) and len(links) == 6


def test_texts_of_the_data_are_shown_as_text(open_page: Open) -> None:
    client = open_page()
    put(client, "t/sound", note="</textarea><script>2</script>", label='"><img src=x>')
    for path in ("/", "/utterance?store=store&id=t/sound", "/?q=%3Cscript%3E9", "/utterance?store=store&id=t/gone"):
        page = Page(client.get(path))
        assert [a["src"] for a in page.all("script")] == ["/static/browse.js"]
        assert not [a for a in page.all("img") if a["src"] == "x"] and not page.all("b")
        assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert SCRIPT in Page(client.get("/")).text


def test_every_answer_has_the_headers_of_security(open_page: Open) -> None:
    client = open_page()
    for path in ("/", "/utterance?store=store&id=t/film", "/static/browse.js", "/marks.csv", "/nowhere", "/?low=7"):
        headers = client.get(path).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["media-src"] == policy["form-action"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    page = Page(client.get("/utterance?store=store&id=t/film"))
    assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in page.links)
    assert not page.all("style") and not [a for _, a in page.elements if "style" in a]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"host": "localhost:8765"}, 200),
        ({"host": "[::1]:1"}, 200),
        ({"origin": "http://127.0.0.1:8765"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example:8765"}, 403),
        ({"host": "evil.example:8765@127.0.0.1"}, 403),
        ({"host": ""}, 403),
        ({"host": "127.0.0.1\t"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "https://127.0.0.1:8765"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "video"}, 200),
    ],
)
def test_foreign_hosts_and_origins_are_refused(headers: dict[str, str], code: int, open_page: Open) -> None:
    answer = open_page().get("/", headers=headers)
    assert answer.status_code == code and ("t/film" in answer.text) == (code == 200)


def test_a_mark_needs_the_token_and_the_own_origin(open_page: Open, tmp_path: Path) -> None:
    client = open_page()
    good = {"token": token_of(client), "store": "store", "id": "t/film", "bad": "on"}
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/mark", data={**good, "token": "x"}).status_code == 403
    assert client.post("/mark", data={k: v for k, v in good.items() if k != "token"}).status_code == 403
    assert client.post("/mark", data=good, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/mark", data=good, headers={"sec-fetch-site": "same-site"}).status_code == 403
    assert client.post("/mark", json=good).status_code == 415
    assert client.post("/mark", content=b"token=" + b"x" * (1 << 17), headers=kind).status_code == 413
    assert client.post("/mark", content=b"token=%ff\xff", headers=kind).status_code == 400
    assert client.post("/mark", data={**good, "id": "t/nobody"}).status_code == 404
    assert client.get("/mark", params=good).status_code == 405
    assert client.post("/mark", data={**good, "label": "x" * 101}).status_code == 400
    assert not (tmp_path / "marks.csv").exists()
    assert client.post("/mark", data=good, headers={"origin": "http://127.0.0.1:8765"}).status_code == 303
    assert (tmp_path / "marks.csv").read_text() == "utterance_id,mark,label,note\nt/film,bad,,\n"


def test_marks_are_kept_filtered_exported_and_read_again(open_page: Open, tmp_path: Path) -> None:
    client, note = open_page(), 'two "people"\nspeak, é'
    answer = put(client, "t/a b&c?#é%/+", bad="on", note=note, filters="label=joy&page=3&x=http://evil.example")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/utterance?store=store&id=t%2Fa+b%26c%3F%23%C3%A9%25%2F%2B&label=joy&page=3"
    put(client, "t/film", label=" sadness\n", note="")
    put(client, "t/sound", label="anger")  # as it was: no mark
    expected = [["t/a b&c?#é%/+", "bad", "", note], ["t/film", "", "sadness", ""]]
    for one in (client, open_page()):  # the second server starts with the file of the first
        rows = list(csv.reader(io.StringIO(one.get("/marks.csv").text, newline="")))
        assert rows == [["utterance_id", "mark", "label", "note"], *expected]
        assert listed(one, "mark=bad") == ["t/a b&c?#é%/+"] and listed(one, "mark=label") == ["t/film"]
        assert len(listed(one, "mark=any")) == 2 and len(listed(one, "mark=no")) == 4
    marked = Page(client.get("/utterance?store=store&id=t/film"))
    assert [a["value"] for a in marked.all("input") if a.get("name") == "label"] == ["sadness"]
    put(client, "t/film", label="joy")
    (tmp_path / "marks.csv").write_text((tmp_path / "marks.csv").read_text() + "t/elsewhere,bad,,by hand\n")
    put(client, "t/film", bad="on", label="joy")  # what somebody else wrote meanwhile is kept
    assert (tmp_path / "marks.csv").read_text().splitlines()[-2:] == ["t/elsewhere,bad,,by hand", "t/film,bad,,"]


def test_a_file_that_is_not_a_list_of_marks_is_not_replaced(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(UsageError, match="not a list of marks"):
        MarkList(other)
    for text, problem in (("t/a,worse,,", "the mark 'worse'"), ("t/a,bad", "2 cells"), ("t/a,,,\nt/a,,,", "again")):
        other.write_text(f"utterance_id,mark,label,note\n{text}\n")
        with pytest.raises(UsageError, match=problem):
            MarkList(other)


def clip(client: Any, utterance: str, kind: str, **headers: str) -> Any:
    return client.get("/clip", params={"store": "store", "id": utterance, "kind": kind}, headers=headers)


def test_a_clip_of_audio_is_the_span_as_wav(open_page: Open) -> None:
    client = open_page()
    answer = clip(client, "t/sound", "audio")
    assert answer.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(answer.content)) as stream:
        assert stream.getparams()[:4] == (1, 2, 16_000, 48_000)
        samples = np.frombuffer(stream.readframes(48_000), np.int16)
    assert np.abs(samples.astype(int) - tone(3.0, seed=1)).max() <= 1
    part = clip(client, "t/sound", "audio", range="bytes=0-3")
    assert part.status_code == 206 and part.content == b"RIFF"


def test_a_clip_of_video_is_the_span_as_mp4_with_sound(open_page: Open) -> None:
    answer = clip(open_page(), "t/film", "video")
    assert answer.headers["content-type"] == "video/mp4"
    with av.open(io.BytesIO(answer.content), "r") as container:
        names = [stream.codec_context.name for stream in container.streams]
        assert names == ["h264", "aac"]
        frames = [(float(f.time or 0), f.to_ndarray(format="rgb24")[:, :30].mean()) for f in container.decode(video=0)]
        container.seek(0)
        heard = sum(frame.samples for frame in container.decode(audio=0)) / 16_000
    assert len(frames) == 25 and abs(heard - 1.0) < 0.15
    # frame n of the film is gray of level 4 n; the span begins at 0.5 s, between its frames 12 and 13
    assert [round(time, 3) for time, _ in frames] == pytest.approx([0.02 + n / 25 for n in range(25)], abs=0.002)
    errors = [level - 4.0 * (13 + n) for n, (_, level) in enumerate(frames)]
    assert max(map(abs, errors)) < 6 and abs(float(np.mean(errors))) < 1.5


@pytest.mark.parametrize(
    ("utterance", "kind", "text"),
    [
        ("t/gone", "audio", "does not exist"),
        ("t/broken", "audio", "cannot be decoded"),
        ("t/sound", "video", "has no video"),
        ("t/link", "audio", "a link that leaves the corpus root"),
        ("t/nobody", "audio", "no such utterance"),
        ("../../etc/passwd", "audio", "no such utterance"),
    ],
)
def test_a_clip_that_cannot_be_cut_says_why(utterance: str, kind: str, text: str, open_page: Open) -> None:
    answer = clip(open_page(), utterance, kind)
    assert answer.status_code == 404 and text in Page(answer).text


def test_links_out_of_the_corpus_are_followed_where_that_is_allowed(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLLOW_LINKS, "1")
    assert clip(open_page(), "t/link", "audio").status_code == 200


@pytest.mark.parametrize(
    "path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static/x.js", "/corpus/film.mp4", "/etc/passwd"]
)
def test_no_other_file_is_served(path: str, open_page: Open) -> None:
    assert open_page().get(path).status_code == 404


def test_faces_are_the_crops_of_the_store(open_page: Open) -> None:
    client = open_page()

    def face(utterance: str, number: str) -> Any:
        return client.get("/face", params={"store": "store", "id": utterance, "n": number})

    assert (
        face("t/film", "1").content.startswith(b"\x89PNG")
        and face("t/film", "1").headers["content-type"] == "image/png"
    )
    assert [face("t/film", n).status_code for n in ("2", "-1", "x", "²", "9" * 5000)] == [404] * 5
    assert face("t/sound", "0").status_code == 404


def test_clips_beyond_the_limit_are_removed_oldest_first(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", tone(0.5))
    with Clips(most_bytes=5 * 16_100) as clips:
        made = [clips.clip("s", Utterance(f"u{n}", "t", audio=MediaSpan("a.wav")), tmp_path, "audio") for n in range(7)]
        assert [path.exists() for path in made] == [False, False, *[True] * 5][: len(made)]
        with pytest.raises(Rejected):
            clips.clip("s", Utterance("x", "t", audio=MediaSpan("b.wav")), tmp_path, "audio")
        assert len(list(made[0].parent.iterdir())) == 5
    assert not made[0].parent.exists()


def test_two_stores_with_the_same_ids_are_told_apart(place: Path, tmp_path: Path) -> None:
    stores = [OpenStore(name, FeatureStore(place / "store"), None) for name in ("one", "two")]
    catalog = open_catalog(stores)
    assert len(catalog) == 12 and catalog.row_of("two", "t/film") == 6 + (catalog.row_of("one", "t/film") or 0)
    assert catalog.facets["store"].counts == (6, 6) and catalog.row_of("three", "t/film") is None


def test_a_balanced_list_of_another_store_or_a_damaged_one_is_refused(place: Path, tmp_path: Path) -> None:
    store = OpenStore("store", FeatureStore(place / "store"), None)
    listed_ = read_pseudo_labels(place / "balanced.parquet")
    other = type(listed_)(listed_.path, listed_.draws.slice(0, 0))
    with pytest.raises(UsageError, match="none of the utterances"):
        open_catalog([store], other)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match="cannot be read"):
        read_pseudo_labels(tmp_path / "x.parquet")
