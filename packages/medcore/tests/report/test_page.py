"""Report pages need nothing else, run nothing, and show every text as it is."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcore.errors import InputError, OutputExistsError
from medcore.report import PAGE_LIMIT, Report, markup

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</style><script src=//evil.example/x.js></script>",
    "javascript:alert(1)",
    "<!--",
    "]]>",
    "&lt;b&gt;&#60;",
    "http://evil.example/x.png",
    "\u202ereversed\u0000\ud800\uffff",
    "`${alert(1)}` {{7*7}}",
]
texts = st.sampled_from(HOSTILE) | st.text(max_size=20) | st.text(st.sampled_from("<>\"'&=/ a\n"), max_size=12)


class Page(HTMLParser):
    """What a browser would make of a page: elements, attributes, texts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)

    def handle_comment(self, data):
        pytest.fail(f"a comment: {data}")

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def png(width=3, height=2):
    from PIL import Image

    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def full(text="text"):
    """A page that uses everything, with `text` wherever a text can stand."""
    report = Report(text, text, purpose=text)
    for state in ("passed", "warned", "failed", "info"):
        report.status(state, text)
    for _ in range(3):
        report.section(text)
    report.text(text).table([text, "value"], [[text, 1.0], [None, text]], text).values({text: text})
    report.figure(png(), text or "x", alt=text).details(text, text)
    return report.provenance({"command": text, "versions": {text: text}, "settings": {text: [text]}, "inputs": {text: text}})


TAGS = {tag for tag, _ in Page(full().html()).elements}
ATTRIBUTES = {name for _, attributes in Page(full().html()).elements for name in attributes}


@given(text=texts)
def test_no_text_becomes_an_element_or_an_attribute(text):
    page = Page(full(text).html())
    assert {tag for tag, _ in page.elements} <= TAGS
    counts = [Counter(tag for tag, _ in p.elements if tag != "p") for p in (page, Page(full().html()))]  # an empty line makes a <p>
    assert counts[0] <= counts[1]
    for _, attributes in page.elements:
        assert set(attributes) <= ATTRIBUTES
        assert not any(name.startswith("on") for name in attributes)


@given(text=texts.filter(lambda t: t.strip()))
def test_every_text_is_shown_as_it_is(text):
    page = Page(full(text).html())
    shown = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", text)
    shown = re.sub(r"\r\n?", "\n", shown)
    found = re.sub(r"\r\n?", "\n", "".join(page.texts))
    assert found.count(shown.strip()) >= 12
    assert any(re.sub(r"\r\n?", "\n", image["alt"]) == shown for image in page.all("img"))


@given(text=texts)
def test_a_page_can_be_written_as_utf_8_and_read_back(text, tmp_path):
    path = full(text).write(tmp_path / "report.html")
    assert path.read_text(encoding="utf-8").splitlines() == full(text).html().splitlines()


def test_a_page_loads_nothing_and_says_so():
    content = full().html()
    page = Page(content)
    assert not TAGS & {"script", "link", "iframe", "object", "embed", "form", "base", "audio", "video", "source"}
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"https?://|@import|url\(", content)
    (policy,) = [m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; ")
    style = re.search("<style>(.*)</style>", content, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert not any("style" in attributes for _, attributes in page.elements)


def test_links_of_the_navigation_lead_to_their_sections():
    page = Page(full().html())
    targets = [a["href"] for a in page.all("a")]
    assert targets == [f"#{s['id']}" for s in page.all("section")]
    assert len(targets) == 4
    assert Page(Report("x").section("a").text("b").html()).all("a") == []


def test_content_before_a_section_gets_one():
    assert "Summary" in Page(Report("x").text("hello").html()).texts


def test_words_accompany_colours():
    page = Page(full().html())
    assert all(word in page.texts for word in ("Passed", "Warning", "Failed", "Note"))
    assert all(image["alt"] for image in page.all("img"))
    assert page.all("html") == [{"lang": "en"}]


@pytest.mark.parametrize(
    ("misuse", "word"),
    [
        (lambda r: r.table(["a", "b"], [[1, 2], [1]]), "a row has 1 cells for 2 columns"),
        (lambda r: r.figure(b"GIF89a" + bytes(40), "x"), "46 bytes are not a PNG"),
        (lambda r: r.figure(png()[:20], "x"), "not a PNG"),
        (lambda r: r.figure(png(), ""), "neither caption nor alternative text"),
        (
            lambda r: r.status.__wrapped__(r, "fine", "x") if hasattr(r.status, "__wrapped__") else r.status("fine", "x"),
            "'fine' is not one of",
        ),
    ],
)
def test_misuse_is_named(misuse, word):
    with pytest.raises(InputError, match=word):
        misuse(Report("x"))


def test_figures_keep_their_size_on_the_screen():
    from matplotlib.figure import Figure

    page = Page(Report("x").figure(png(30, 20), "a").figure(Figure(figsize=(4, 2)), "b", dpi=144).html())
    assert [(i["width"], i["height"]) for i in page.all("img")] == [("30", "20"), ("384", "192")]


def test_figures_that_would_make_the_page_too_large_are_left_out_visibly(caplog, rng):
    noise = png()[:8] + bytes(16) + rng.bytes(1_500_000)
    report = Report("x")
    for i in range(4):
        report.figure(noise, f"figure {i} <b>")
    content = report.html()
    assert len(content.encode()) < PAGE_LIMIT
    page = Page(content)
    assert len(page.all("img")) == 2
    assert "Figure left out to keep this page small: figure 3 <b>" in page.texts
    assert "left out" in caplog.text


def test_the_limit_counts_bytes_not_letters():
    report = Report("x").details("log", "\u4e2d" * 1_600_000)
    report.figure(png()[:8] + bytes(200_000), "small")
    assert Page(report.html()).all("img") == []


def test_an_existing_page_is_kept_unless_asked(tmp_path):
    Report("first").write(tmp_path / "r.html")
    with pytest.raises(OutputExistsError):
        Report("second").write(tmp_path / "r.html", force=False)
    assert "first" in (tmp_path / "r.html").read_text()


def test_provenance_shows_the_main_facts_and_holds_the_rest():
    record = {
        "command": "puq-qmri fit",
        "wall_time_s": 1.25,
        "seed": 0,
        "versions": {"numpy": "2.4"},
        "settings": {"model": "t2"},
        "device": None,
    }
    texts = Page(Report("x").provenance(record).html()).texts
    assert texts[texts.index("command") + 1] == "puq-qmri fit"
    assert texts[texts.index("wall time") + 1] == "1.25 s"
    assert texts[texts.index("numpy version") + 1] == "2.4"
    assert "device" not in texts
    assert json.loads(next(t for t in texts if t.startswith("{"))) == record


# --- markup


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (123456789, "123456789"),
        (np.int64(7), "7"),
        (0.0, "0"),
        (65.0, "65"),
        (65.123, "65.12"),
        (-0.0123456, "\N{MINUS SIGN}0.01235"),
        (9999.4, "9999"),
        (9999.7, "10000"),
        (123456.7, "123457"),
        (9_999_999.0, "9999999"),
        (1e7, "1.000e+07"),
        (1e-4, "0.0001"),
        (0.000099999, "0.0001"),
        (9.9e-5, "9.900e\N{MINUS SIGN}05"),
        (np.float32(0.1), "0.1"),
        (float("nan"), "not a number"),
        (float("inf"), "infinite"),
        (float("-inf"), "minus infinite"),
    ],
)
def test_numbers_are_short_and_exact(value, shown):
    assert markup.number(value) == shown


@given(value=st.floats(-1e308, 1e308))
def test_a_shown_number_is_the_value_to_four_digits(value):
    shown = float(markup.number(value).replace("\N{MINUS SIGN}", "-"))
    assert shown == pytest.approx(value, rel=5.01e-4, abs=1e-307)
    assert len(markup.number(value)) <= 12


@pytest.mark.parametrize(
    ("value", "shown"), [(True, "yes"), (False, "no"), ("<b>", "&lt;b&gt;"), (None, '<span class="missing">\N{EN DASH}</span>')]
)
def test_cells(value, shown):
    assert markup.cell(value) == shown


def test_columns_of_numbers_are_aligned_to_the_right():
    content = markup.table(["name", "n", "text"], [["a", 1, "x"], ["b", None, 2]], "")
    assert content.count('class="number"') == 3  # the head and two cells of the middle column


@given(text=st.text(max_size=30))
def test_escaping_and_reading_back_gives_the_text(text):
    read = html.unescape(markup.escape(text))
    assert len(read) == len(text)
    assert all(a in (b, "\ufffd") for a, b in zip(read, text, strict=True))


# --- as a browser sees it


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_browser_shows_the_page_in_light_and_dark(tmp_path):
    from PIL import Image

    report = full().figure(png(400, 200), "a black rectangle")
    path = report.write(tmp_path / "report.html")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--hide-scrollbars",
    ]
    seen = {}
    for scheme in ("light", "dark"):
        extra = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
        shot = tmp_path / f"{scheme}.png"
        command = [
            "chromium",
            *flags,
            *extra,
            f"--user-data-dir={tmp_path / scheme}",
            "--window-size=800,2000",
            f"--screenshot={shot}",
            path.as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=90)
        seen[scheme] = np.asarray(Image.open(shot).convert("L"), dtype=float)
    assert seen["light"].shape == seen["dark"].shape
    assert np.median(seen["light"]) > 200 > 60 > np.median(seen["dark"])
    # The rectangle is there, a little smaller for its frame.
    assert np.count_nonzero(seen["light"] == 0) >= 0.9 * 400 * 200
