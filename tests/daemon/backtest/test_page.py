import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alerting.policy import Severity
from daemon.backtest.page import MOST_PLOTTED, render
from daemon.backtest.plots import MOST_POINTS, shown_scores
from daemon.backtest.report import make_report
from daemon.backtest.svg import WIDTH, Span, element, number, thinned
from daemon.signals import Kind, SignalSpec
from detectors.calibration import shown_score
from detectors.findings import Contributor, Unit

DAY, HOUR = 2880, 120
VOID = {"meta", "br", "wbr", "hr", "img", "link", "input"}
MARKUP = "/mnt/<script>alert(1)</script>\"'&"


class Page(HTMLParser):
    """Reads a page as a browser would, and keeps what a test asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.numbers, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID | {"td", "th"}:
            self.open.append(tag)
        for key, value in attributes:
            if key in {"x", "y", "x1", "x2", "y1", "y2", "width", "height", "d"} and tag != "meta":
                self.numbers += [(tag, key, float(part)) for part in re.split(r"[MLh ]", value) if part]

    def handle_startendtag(self, tag, attributes):
        raise AssertionError(f"<{tag}/>")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def tags(self, tag):
        return [attributes for name, attributes in self.found if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def read(host, other=None):
    backtest = host.backtest()
    text = render(make_report(backtest, other and other.backtest()), backtest)
    page = Page(text)
    for tag, key, value in page.numbers:
        assert math.isfinite(value), (tag, key)
        assert -0.01 <= value <= WIDTH * 1.01 or key in {"y", "d", "y1", "y2"}, (tag, key, value)
    return text, page


def full(scene, days=14.0, **more):
    host = scene(days=days, **more)
    one = host.alert(8 * DAY)
    host.tell(8 * DAY, one)
    host.tell(8 * DAY + 40, one, event="resolved", reason="ended")
    host.harm(8 * DAY + HOUR)
    host.raw[8 * DAY : 8 * DAY + 40] = 9.0
    host.record(9 * DAY)
    host.time_ms[10 * DAY :] += 7_200_000
    return host


def test_the_page_tells_all_in_order(scene):
    _, page = read(full(scene))
    said = [
        "2 notifications would have been sent",
        "The first 7 days were learned from",
        "What would have been sent",
        "warning, began",
        "web1: unusual: load.one_per_cpu is 300 %",
        "Lead 60 min: then NodeSystemSaturation.",
        "The whole time",
        "Simple methods beside it",
        "NodeSystemSaturation 1 firing",
        "Episodes a week",
        "Records, told to nobody",
        "Figures",
        "Not judged",
        "a gap, 2 h in all",
    ]
    places = [page.words.find(part) for part in said]
    assert -1 not in places, said[places.index(-1)]
    assert places == sorted(places)


def test_the_plots_show_band_line_and_mark(scene):
    text, page = read(full(scene))
    kinds = [attributes.get("class") for tag, attributes in page.found if tag in {"rect", "line", "path"}]
    for kind in ("usual", "signal", "told", "score", "threshold", "alarmed", "learning", "gap", "fired", "bar"):
        assert kind in kinds, kind
    assert len(page.tags("figure")) == 1
    assert text.count('class="number"') == 1
    assert {"href": "#n1"}.items() <= page.tags("a")[0].items()
    assert "n1" in {one.get("id") for one in page.tags("article")}


def test_nothing_is_loaded_and_nothing_runs(scene):
    text, page = read(full(scene))
    (policy,) = [one["content"] for one in page.tags("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert not page.tags("script") + page.tags("link") + page.tags("img") + page.tags("iframe")
    assert not [one for _, one in page.found if {"src", "xlink:href", "onclick", "onload"} & one.keys()]
    assert all(one["href"].startswith("#") for _, one in page.found if "href" in one)
    assert "://" not in text
    assert "url(" not in text
    assert "@import" not in text


def test_words_from_elsewhere_are_words(scene):
    spec = SignalSpec(f"filesystem.{MARKUP}.used", Unit.RATIO, Kind.GAUGE, "filesystem", MARKUP)
    host = scene(host=MARKUP, name=MARKUP)
    host.columns[spec] = np.full(host.rows, 0.99)
    part = Contributor(spec.name, spec.unit, spec.family, MARKUP, 0.99, 0.1, 0.2, 9.0)
    one = host.alert(
        8 * DAY, "FilesystemReadOnly", Severity.PAGE, resource=MARKUP, sentence=MARKUP, contributors=(part,)
    )
    host.tell(8 * DAY, one, sink=MARKUP)
    host.record(9 * DAY, resource=MARKUP, sentence=MARKUP)
    other = scene(host=MARKUP, name=MARKUP)
    other.tell(9 * DAY, other.alert(9 * DAY, "Anomaly", resource=MARKUP, sentence=MARKUP))
    text, page = read(host, other)
    assert "<script" not in text
    assert not page.tags("script")
    assert page.words.count("/mnt/<script>alert(1)</script>\"'&") >= 8


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=60))
def test_any_text_is_escaped(scene, text):
    host = scene(days=8.5, host=text)
    host.tell(8 * DAY, host.alert(8 * DAY, resource=text, sentence=text))
    markup, page = read(host)
    assert {name for name, _ in page.found} <= {
        "html", "head", "meta", "title", "style", "body", "header", "p", "h1", "h2", "i", "span", "small", "article",
        "div", "svg", "path", "line", "rect", "figure", "figcaption", "b", "a", "table", "tr", "td", "th", "br", "ul",
        "li", "code", "wbr",
    }  # fmt: skip
    markup.encode("utf-8")


@pytest.mark.parametrize("days", [0, 1 / DAY, 2 / DAY, 3])
def test_a_short_history_has_a_page(scene, days):
    _, page = read(scene(days=days))
    assert page.words


def test_a_quiet_month_has_a_page(scene):
    _, page = read(scene(days=30))
    assert "Nothing would have been sent in 23 judged days" in page.words


def test_signals_that_are_missing_or_beyond_sense_have_a_page(scene):
    host = full(scene)
    host.raw[:], host.threshold[:] = np.nan, np.inf
    for values in host.columns.values():
        values[:] = np.nan
    nothing = math.nan
    part = Contributor("load.one_per_cpu", Unit.RATIO, "load", "", nothing, nothing, nothing, nothing)
    gone = Contributor("gone", Unit.RATIO, "load", "", 1.0, 0.0, 1.0, 1.0)
    host.tell(9 * DAY, host.alert(9 * DAY, contributors=(part, gone)))
    read(host)
    host.columns[next(iter(host.columns))][:] = 3e38
    read(host)


def test_a_month_with_much_in_it_is_small_enough(scene):
    host = scene(days=30)
    rng = np.random.default_rng(1)
    host.raw[:] = rng.gamma(2.0, size=host.rows)
    for values in host.columns.values():
        values[:] = rng.gamma(2.0, size=host.rows)
    parts = tuple(
        Contributor("load.one_per_cpu", Unit.RATIO, "load", "", 3.0, 0.1, 0.4, surprise) for surprise in (9.0, 8.0, 7.0)
    )
    for row in range(8 * DAY, 8 * DAY + 40_000, 200):
        host.tell(row, host.alert(row, contributors=parts))
    text, page = read(host)
    assert len(text) < 2_000_000
    assert len(page.tags("figure")) == 3 * MOST_PLOTTED


def test_two_are_compared_on_the_page(scene):
    first, second = scene(name="one"), scene(name="two")
    second.tell(9 * DAY, second.alert(9 * DAY, sentence="of the second alone"))
    _, page = read(first, second)
    assert "Only one would have sent Nothing." in page.words
    assert "of the second alone" in page.words.split("Only two would have sent")[1]


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 5000), most=st.integers(2, 300), missing=st.floats(0.0, 1.0))
def test_thinning_keeps_the_extremes_within_its_bound(seed, rows, most, missing):
    rng = np.random.default_rng(seed)
    time_ms = np.cumsum(rng.choice([30_000, 30_000, 9_000_000], rows))
    values = rng.normal(size=rows)
    values[rng.random(rows) < missing] = np.nan
    pieces = thinned(time_ms, values, most, 90_000)
    kept = np.concatenate(pieces) if pieces else np.zeros(0, int)
    assert len(kept) <= most
    assert (np.diff(kept) > 0).all()
    seen = values[np.isfinite(values)]
    assert len(seen) == 0 or (values[kept].max(), values[kept].min()) == (seen.max(), seen.min())


def test_a_line_is_cut_where_nothing_is_known():
    time_ms = np.arange(10_000) * 30_000
    values = np.sin(np.arange(10_000))
    values[4000:5000] = np.nan
    assert [piece[0] >= 5000 for piece in thinned(time_ms, values, MOST_POINTS, 90_000)] == [False, True]
    assert len(thinned(time_ms[:100], values[:100], MOST_POINTS, 90_000)) == 1


def test_shown_scores_are_those_of_the_daemon():
    raw, threshold = np.array([0.0, 1.0, 2.0, 50.0, -1.0]), np.array([2.0, 2.0, 2.0, 2.0, 2.0])
    expected = [shown_score(one, 2.0, 0.8) for one in raw]
    np.testing.assert_allclose(shown_scores(raw, threshold), expected)
    assert np.isnan(shown_scores(np.array([np.nan, 1.0, 0.0]), np.array([1.0, np.inf, 0.0]))[:2]).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.04, 0.0])
def test_a_coordinate_is_always_a_number(value):
    assert number(value) == "0"


def test_an_element_escapes_its_attributes():
    said = element("rect", x=math.nan, class_='"<&', stroke_width=1.25)
    assert said == '<rect x="0" class="&quot;&lt;&amp;" stroke-width="1.2"></rect>'


def test_numbers_that_are_near_each_other_do_not_cover_each_other(scene):
    host = scene()
    for row in (8 * DAY, 8 * DAY + 100, 8 * DAY + 200, 12 * DAY):
        host.tell(row, host.alert(row))
    text, _ = read(host)
    assert re.findall(r"bottom:([\d.]+)rem", text) == ["0.0", "1.3", "2.6", "0.0"]


@given(hours=st.floats(0.001, 40_000))
def test_a_time_axis_has_a_few_labels_in_order(hours):
    span = Span(1_772_344_800_000, 1_772_344_800_000 + int(hours * 3_600_000))
    ticks = list(span.ticks())
    assert len(ticks) <= 10
    assert [moment for moment, _ in ticks] == sorted({moment for moment, _ in ticks})
    assert all(span.from_ms <= moment <= span.to_ms for moment, _ in ticks)
