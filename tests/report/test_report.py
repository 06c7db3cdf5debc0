"""Check the report as a file: its content, its safety, and what it leaves out."""

import base64
import hashlib
import html
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_answers import (
    HARMFUL,
    answer,
    eventful,
    long_session,
    scores,
    segment,
    track,
)

from multimodal_fer.analyzer import Analyzer
from multimodal_fer.errors import MediaError, MultimodalFerError, OutputError
from multimodal_fer.fusion.baseline import resting
from multimodal_fer.labels import FER_PLUS
from multimodal_fer.report.figures import POINTS, STYLES, page_data, seconds_visible, style_labels
from multimodal_fer.report.moments import clock, find_moments
from multimodal_fer.report.page import write_report
from multimodal_fer.types import Analysis
from tests.conftest import SAMPLE, every, tone, write_clip

pytest.importorskip("plotly", reason="reports need plotly (extra report)")


class Page(HTMLParser):
    """The tags of a page with their attributes, and the text of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data):
        if self.cdata_elem == "script":
            self.scripts[-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self):
        return json.loads(self.scripts[0])

    @property
    def policy(self) -> str:
        return next(
            str(meta["content"])
            for meta in self.all("meta")
            if meta.get("http-equiv") == "Content-Security-Policy"
        )


def written(analysis, folder, **settings) -> Page:
    path = write_report(analysis, folder / "report.html", **settings)
    return Page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def sample_answer(silent_analyzer: Analyzer) -> Analysis:
    return silent_analyzer.analyze(SAMPLE)


def test_what_people_say_and_file_names_are_harmless(tmp_path):
    analysis = eventful("<b>&evil.mp4", warnings=(HARMFUL,))
    page = written(analysis, tmp_path)
    assert "alert(1)</script>" not in page.text and "<img src=x" not in page.text
    assert len(page.all("script")) == len(page.scripts) == 3
    assert not page.all("b") or all("evil" not in str(attributes) for attributes in page.all("b"))
    assert html.escape(HARMFUL[:25], quote=False) in page.text
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_only_its_own_scripts_may_run_and_nothing_may_be_requested(tmp_path):
    page = written(eventful(), tmp_path)
    directives = dict(part.strip().split(" ", 1) for part in page.policy.split(";"))
    assert directives["default-src"] == "'none'" and "connect-src" not in directives
    assert not re.search(r"https?:|\*|unsafe-(eval|hashes)", page.policy)
    digest = hashlib.sha256(page.scripts[-1].encode()).digest()
    assert f"'sha256-{base64.b64encode(digest).decode()}'" in directives["script-src"]
    assert "unsafe-inline" not in directives["script-src"]
    links = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "action", "poster")
    ]
    assert all(str(link).startswith(("#", "data:", "./")) for link in links)


def test_the_recording_is_linked_relatively_even_with_odd_characters(tmp_path):
    recording = write_clip(tmp_path / "a #1 100% é.wav", sound=tone(2.0, 16_000), rate=16_000)
    analysis = answer([segment(0, 2, scores(neutral=0.9))], path=recording)
    page = written(analysis, tmp_path / "out")
    assert page.all("audio")[0]["src"] == "./../a%20%231%20100%25%20%C3%A9.wav"
    assert not page.all("video")


def test_a_small_recording_can_be_put_into_the_page(tmp_path, monkeypatch):
    recording = write_clip(tmp_path / "a.wav", sound=tone(1.0, 16_000), rate=16_000)
    analysis = answer([segment(0, 1, scores(neutral=0.9))], path=recording)
    page = written(analysis, tmp_path, embed=True)
    source = str(page.all("audio")[0]["src"])
    assert base64.b64decode(source.partition("base64,")[2]) == recording.read_bytes()
    monkeypatch.setattr("multimodal_fer.report.page.EMBED_LIMIT", 1000)
    with pytest.raises(OutputError, match="too much to embed in a page"):
        written(analysis, tmp_path, embed=True)


def test_faces_are_cut_at_their_moments_or_not_at_all(tmp_path, sample_answer):
    page = written(sample_answer, tmp_path)
    pictures = page.all("img")
    assert pictures and all(
        base64.b64decode(str(picture["src"]).partition(",")[2]).startswith(b"\xff\xd8")
        for picture in pictures
    )
    assert all(str(picture["alt"]).startswith("Face of person 0") for picture in pictures)
    without = written(sample_answer, tmp_path, faces=False)
    assert not without.all("img") and "image/jpeg" not in without.text
    assert without.all("video") and len(without.data["segments"]) == len(sample_answer.segments)


def test_a_thumbnail_shows_the_frame_of_its_time(tmp_path):
    """Check it with a recording that turns from dark to bright, and a moment in the bright part."""
    import cv2
    import numpy

    recording = write_clip(
        tmp_path / "turn.mp4",
        frame_times=every(4.0, 30),
        picture=lambda time: numpy.full((240, 320, 3), 30 if time < 2 else 220, numpy.uint8),
    )
    calm, angry = scores(neutral=0.9), scores(anger=0.9)
    analysis = answer(
        [segment(0, 2.5, calm, face=calm), segment(2.5, 4, angry, face=angry)],
        path=recording,
        faces=(track(0, 4.0),),
    )
    page = written(analysis, tmp_path)
    data = base64.b64decode(str(page.all("img")[0]["src"]).partition(",")[2])
    image = cv2.imdecode(numpy.frombuffer(data, numpy.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.shape == (192, 192, 3)
    assert image.mean() == pytest.approx(220, abs=6)


def test_a_written_answer_has_no_player_and_no_time(tmp_path):
    written_answer = answer(
        [segment(0, 0, scores(anger=0.8), text=scores(anger=0.8), words="I gave up & left.")],
        path=None,
        duration=0.0,
    )
    page = written(written_answer, tmp_path)
    assert not (page.all("video") or page.all("audio") or page.all("canvas"))
    assert "I gave up &amp; left." in page.text and "0:00" not in page.text
    assert "not found" not in page.text and len(page.text) < 100_000  # Plotly stays out


def test_a_missing_recording_is_reported(tmp_path):
    page = written(eventful(tmp_path / "gone.mp4"), tmp_path)
    assert "was not found" in page.text and not page.all("video")
    with pytest.raises(MediaError, match="no such file"):
        written(eventful(), tmp_path, recording=tmp_path / "gone.mp4")


def test_an_answer_with_nothing_in_it(tmp_path):
    page = written(Analysis(None, "open7@0", ()), tmp_path)
    assert "No emotion could be scored" in page.text


def test_warnings_coverage_and_doubt_are_shown(tmp_path):
    page = written(eventful(warnings=("no face between 36.0 s and 40.0 s",)), tmp_path)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.text))
    for expected in (
        "no face between 36.0 s and 40.0 s",
        "9 of 10 segments scored, 1 of them unsure",
        "They do not measure what this person feels",
        "open7@0123456789ab",
        "face ≠ text",
    ):
        assert expected in text
    assert re.search(r"Face ?90% ?\d+%", text)


def test_moments_are_in_order_with_what_happened():
    titled = {moment.title: moment for moment in find_moments(eventful())}
    assert set(titled) >= {"Unpleasant stretch", "Modalities in conflict", "Surprise", "Change"}
    stretch = titled["Unpleasant stretch"]
    assert (stretch.start, stretch.end, stretch.emotion) == (18, 30, "anger")
    assert stretch.sentence.startswith("Mostly anger for 12 s, 70% on average")
    assert stretch.sentence.endswith("Partly unsure.")
    conflict = titled["Modalities in conflict"]
    assert conflict.start == 6
    assert conflict.sentence.startswith(
        "Face pleasant (valence +0.83, mostly happiness), but text unpleasant (valence -0.80, mostly anger)"
    )
    found = find_moments(eventful())
    assert len(found) == 5
    assert [moment.start for moment in found] == sorted(moment.start for moment in found)
    assert len({moment.first for moment in found}) == 5


def test_a_calm_recording_has_no_moments():
    calm = scores(neutral=0.9)
    assert find_moments(answer([segment(4 * n, 4 * n + 4, calm) for n in range(9)])) == []


def test_with_a_baseline_a_sad_looking_face_is_no_unpleasant_stretch():
    """Check it with a face that scores 60 % sadness at rest: only what exceeds that is a moment."""
    usual, sad = scores(sadness=0.6, neutral=0.3), scores(sadness=0.93)
    windows = [
        segment(4 * n, 4 * n + 4, sad if n == 20 else usual, face=sad if n == 20 else usual)
        for n in range(30)
    ]
    analysis = answer(windows)
    before = next(m for m in find_moments(analysis) if m.title == "Unpleasant stretch")
    assert (before.start, before.end) == (0, 120)
    after = next(
        m for m in find_moments(analysis, resting([analysis])) if m.title == "Unpleasant stretch"
    )
    assert (after.start, after.end) == (80, 84)


def test_changes_stand_beside_raw_scores(tmp_path):
    usual, angry = scores(neutral=0.8), scores(anger=0.7)
    windows = [segment(4 * n, 4 * n + 4, usual, face=usual) for n in range(20)]
    windows.append(segment(80, 84, angry, face=angry))
    analysis = answer(windows)
    page = written(analysis, tmp_path, baseline=resting([analysis]))
    assert page.data["segments"][20]["scores"][0] == [50, 50, 50, 50, 700, 50, 50, 0]
    assert page.data["changes"][0][0] == [0] * 7 + [None]  # contempt is the face's own label
    assert page.data["changes"][20][0][4] > 200  # hundredths of log-odds
    assert re.search(r"anger ×\d+\.\d vs\. baseline", page.text)
    assert "from 80 calm seconds of 84" in page.text
    assert "Comparison with this person" not in written(analysis, tmp_path).text


def test_an_unknown_baseline_changes_nothing_and_says_so(tmp_path):
    short = answer([segment(0, 4, scores(neutral=0.8))])
    page = written(short, tmp_path, baseline=resting([short]))
    assert page.data["changes"] == [[None] * 4] and "are needed" in page.text
    assert " vs. baseline</span>" not in page.text


def test_curves_stop_where_a_person_is_not_visible():
    person = track(0, 10.0)
    for column in (person.times, person.boxes, person.scores):
        del column[10:30]  # from 2 s to 6 s
    curve = page_data(answer([segment(0, 10, scores(neutral=0.8))], faces=(person,)), None)[
        "people"
    ][0]
    hole = curve["scores"].index(None)
    assert curve["times"][hole - 1] <= curve["times"][hole] <= 2.0 < 6.0 <= curve["times"][hole + 1]
    assert curve["scores"][0][0] == 700 and len(curve["scores"][0]) == len(FER_PLUS)
    assert seconds_visible(person) == pytest.approx(5.6)


def test_people_have_one_order_in_list_and_curves(tmp_path):
    often, long = track(0, 4.0), track(1, 12.0, rate=1.0)
    often.times[:] = [2.0 * n for n in range(len(often.times))]  # more frames, but never for long
    page = written(answer([segment(0, 40, scores(neutral=0.8))], faces=(often, long)), tmp_path)
    assert [person["id"] for person in page.data["people"]] == [1, 0]
    assert re.findall(r"<option value=\"\d\">person (\d)", page.text) == ["1", "0"]


def test_every_label_has_a_look_of_its_own():
    labels = [*STYLES, "boredom"]
    assert set(style_labels(labels).values()) == set(range(8))
    four = style_labels(["anger", "excitement", "frustration", "neutral"])
    assert len(set(four.values())) == 4 and four["anger"] == list(STYLES).index("anger")
    assert len(set(STYLES.values())) == len(STYLES)


def luminance(colour: str) -> float:
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("paper", ["#ffffff", "#14171c"])
def test_colours_stand_out_in_light_and_dark(paper):
    """Check the contrast of 3:1 that WCAG 2.2, 1.4.11 requires."""
    for label, style in STYLES.items():
        light, dark = sorted((luminance(paper), luminance(style.colour)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3, label


def test_two_hours_stay_small(tmp_path):
    start = time.process_time()
    analysis = long_session(2.0)
    made = time.process_time()
    page = written(analysis, tmp_path)
    assert len(page.data["segments"]) == 1800
    assert all(len(person["times"]) <= POINTS + 1 for person in page.data["people"])
    assert len(page.text) < 7_000_000
    assert time.process_time() - made < 60, made - start


def test_a_report_is_the_same_each_time(tmp_path):
    first = write_report(eventful(), tmp_path / "a.html").read_bytes()
    assert write_report(eventful(), tmp_path / "b.html").read_bytes() == first


def test_places_that_cannot_be_written(tmp_path):
    recording = write_clip(tmp_path / "a.wav", sound=tone(1.0, 16_000), rate=16_000)
    analysis = answer([segment(0, 1, scores(neutral=0.9))], path=recording)
    kept = recording.read_bytes()
    for wrong in (recording, tmp_path):
        with pytest.raises(OutputError, match=r"name an \.html file"):
            write_report(analysis, wrong)
    assert recording.read_bytes() == kept


def test_without_plotly_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "plotly.offline", None)
    with pytest.raises(MultimodalFerError, match=r"multimodal_fer\[report\]"):
        write_report(eventful(), tmp_path / "report.html")
    assert list(Path(tmp_path).iterdir()) == []


def test_clock():
    assert [clock(seconds) for seconds in (0.99, 65, 3725.5)] == ["0:00", "1:05", "1:02:05"]
