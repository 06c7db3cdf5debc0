"""Check the report in a real browser: clicks and keys seek, nothing is requested, dark mode and print work.

Needs Chromium, its driver and selenium; skipped with a reason if one is missing.
"""

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_answers import answer, eventful, long_session, scores, segment, track

from multimodal_fer.report.page import write_report
from tests.conftest import SAMPLE

pytest.importorskip("plotly", reason="reports need plotly (extra report)")
webdriver = pytest.importorskip("selenium.webdriver", reason="driving a browser needs selenium")

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER),
    reason="needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)",
)


class Browser:
    """A page in headless Chromium, with its requests and console messages since it was opened."""

    def __init__(self) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage"):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        service = webdriver.ChromeService(executable_path=DRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)
        self.requested: list[str] = []
        self.messages: list[str] = []

    def open(self, page: Path, *, width: int = 1300, dark: bool = False) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.driver.get(page.as_uri())
        self.requested, self.messages = [], []

    def command(self, name: str, **settings: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, settings)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str, seconds: float = 30) -> None:
        """Wait until a JavaScript expression holds."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.driver, seconds, poll_frequency=0.05).until(
            lambda driver: driver.execute_script(f"return Boolean({condition})"),
            f"never came true: {condition}",
        )

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def press(self, *keys: str) -> None:
        """Send keys to the element with the focus."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def check_quiet(self) -> None:
        """Check that nothing was requested from a network and the console is empty."""
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self.requested.append(message["params"]["url"])
        self.messages += [entry["message"] for entry in self.driver.get_log("browser")]
        assert self.requested, "the log of requests is empty: it would prove nothing"
        remote = [url for url in self.requested if not url.startswith(("file:", "data:", "blob:"))]
        assert remote == []
        assert self.messages == []


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    made = Browser()
    yield made
    made.driver.quit()


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Path:
    """Write a report of made-up answers over the sample recording of 14.8 s, with two people."""
    folder = tmp_path_factory.mktemp("report")
    recording = Path(shutil.copy(SAMPLE, folder / "a & b #1.mp4"))
    calm, angry, smile = scores(neutral=0.8), scores(anger=0.7), scores(happiness=0.9)
    windows = [
        segment(0, 2, calm, face=calm, words="First I opened the page."),
        segment(2, 4.5, angry, face=angry, words="<script>alert(1)</script> it said."),
        segment(4.5, 7, angry, face=angry, unsure=True),
        segment(8, 11, calm, face=smile, text=angry, words="Great, it is gone."),
        segment(11, 14, smile, face=smile, words="Ah, there it is!"),
    ]
    people = (track(0, 14.0), track(1, 6.0, emotion="happiness"))
    analysis = answer(windows, path=recording, duration=14.8, faces=people)
    return write_report(analysis, folder / "report.html")


CURVES = "document.getElementById('curves').dataset.drawn"
TIME = "document.getElementById('player').currentTime"
NOW = "document.getElementById('now').textContent"


@pytest.fixture
def opened(browser: Browser, page: Path) -> Browser:
    browser.open(page)
    browser.wait("document.getElementById('player').readyState >= 1")
    return browser


def test_a_click_on_a_moment_seeks(opened: Browser):
    moments = opened.driver.find_elements("css selector", ".moments button")
    assert len(moments) >= 3
    for moment in moments:
        start = float(moment.get_attribute("data-start"))
        moment.click()
        opened.wait(f"Math.abs({TIME} - {start}) < 0.05")
        assert "current" in (moment.get_attribute("class") or "")
    opened.wait(CURVES)
    opened.check_quiet()


def test_a_click_on_a_segment_seeks_and_marks_it(opened: Browser):
    opened.find("#rows button[data-segment='3']").click()
    opened.wait(f"Math.abs({TIME} - 8) < 0.05")
    marked = opened.driver.find_elements("css selector", "#rows li.current")
    assert len(marked) == 1 and "Great, it is gone." in marked[0].text
    assert marked[0].find_element("css selector", "button").get_attribute("aria-current") == "true"
    table = opened.run(f"return {NOW}")
    assert "modalities in conflict" in table and "Face, contribution 50%" in table


def test_recognised_words_are_shown_not_run(opened: Browser):
    assert "<script>alert(1)</script> it said." in opened.find("#rows").text


def test_the_segment_that_is_played_is_marked(opened: Browser):
    opened.run(
        "const p = document.getElementById('player'); p.muted = true; p.currentTime = 1.5; p.play()"
    )
    opened.wait("document.querySelector('#rows li.current button').dataset.segment === '1'")
    at = opened.run(f"const p = document.getElementById('player'); p.pause(); return {TIME}")
    assert at >= 1.95
    head = opened.run("return parseFloat(document.getElementById('head').style.left)")
    assert head == pytest.approx(100 * at / 14.8, abs=4)


def test_a_click_on_the_timeline_and_on_the_curves_seeks(opened: Browser):
    opened.wait(CURVES)
    for selector, left, right in (("#track", 0, 0), ("#curves", 58, 12)):
        element = opened.find(selector)
        opened.run("arguments[0].scrollIntoView({block: 'center'})", element)
        width = element.size["width"] - left - right
        offset = left + width * 0.6 - element.size["width"] / 2
        webdriver.ActionChains(opened.driver).move_to_element_with_offset(
            element, round(offset), 20
        ).click().perform()
        opened.wait(f"Math.abs({TIME} - {0.6 * 14.8}) < 0.1")
        opened.find("#rows button[data-segment='0']").click()
        opened.wait(f"{TIME} < 0.05")
    opened.check_quiet()


def test_everything_can_be_done_by_keyboard(opened: Browser):
    keys = webdriver.Keys
    opened.run("document.getElementById('track').focus()")
    opened.press(keys.PAGE_DOWN, keys.PAGE_DOWN)
    opened.wait(f"Math.abs({TIME} - 4.5) < 0.05")
    opened.press(keys.ARROW_RIGHT)
    opened.wait(f"Math.abs({TIME} - 5.5) < 0.05")
    track_ = opened.find("#track")
    assert track_.get_attribute("aria-valuetext") == "0:05, anger 70%"
    opened.press(keys.PAGE_UP)
    opened.wait(f"Math.abs({TIME} - 4.5) < 0.05")
    opened.press(keys.HOME)
    opened.wait(f"{TIME} < 0.05")
    assert opened.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    # The Tab key reaches one row of the transcript; arrow keys move between rows, Enter seeks.
    stops = opened.run("return document.querySelectorAll('#rows button[tabindex=\"0\"]').length")
    assert stops == 1
    opened.run("document.querySelector('#rows button[tabindex=\"0\"]').focus()")
    opened.press(keys.ARROW_DOWN, keys.ARROW_DOWN, keys.ARROW_DOWN, keys.ENTER)
    opened.wait(f"Math.abs({TIME} - 8) < 0.05")


def test_tab_reaches_each_control_once_and_moments_come_first(opened: Browser):
    opened.wait(CURVES)
    opened.run("window.scrollTo(0, 0); document.activeElement.blur()")
    reached = []
    for _ in range(40):
        opened.press(webdriver.Keys.TAB)
        reached.append(
            opened.run(
                "const e = document.activeElement; "
                "return e.id || (e.closest('.moments') ? 'moment' : e.closest('#rows') ? 'row' : e.className)"
            )
        )
    order = [reached.index(name) for name in ("skip", "moment", "player", "track", "row")]
    assert order == sorted(order)
    assert reached.count("row") == reached.count("track") == 1


def test_the_transcript_can_be_narrowed_down(opened: Browser):
    opened.run(
        "const filter = document.getElementById('filter'); filter.value = 'conflict';"
        "filter.dispatchEvent(new Event('change'))"
    )
    shown = [
        row for row in opened.driver.find_elements("css selector", "#rows li") if row.is_displayed()
    ]
    assert len(shown) == 1 and "Great, it is gone." in shown[0].text


def test_another_person_and_fewer_emotions_redraw_the_curves(opened: Browser):
    opened.wait(CURVES)
    happy = "curves.data.find(t => t.yaxis === 'y2' && t.name === 'happiness').y[0]"
    before = opened.run(f"return {happy}")
    opened.run(
        "const p = document.getElementById('person'); p.value = '1'; p.dispatchEvent(new Event('change'))"
    )
    assert before < 0.1 and opened.run(f"return {happy}") == pytest.approx(0.7)
    box = opened.find("#shown input[value='1']")
    opened.run("arguments[0].scrollIntoView({block: 'center'})", box)
    box.click()
    opened.wait("curves.data.filter(t => t.visible).every(t => t.name !== 'happiness')")
    opened.check_quiet()


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark(browser: Browser, page: Path, dark: bool):
    browser.open(page, dark=dark)
    browser.wait(CURVES)
    paper, ink, axis = browser.run(
        "const look = getComputedStyle(document.documentElement);"
        "const axis = getComputedStyle(document.querySelector('#curves text'));"
        "return [look.backgroundColor, look.color, axis.fill]"
    )

    def light(colour: str) -> int:
        return sum(int(part) for part in colour.strip("rgb()").split(","))

    assert (light(paper) < 150 and light(ink) > 600) if dark else (light(paper) > 600 > light(ink))
    assert axis == ink
    browser.check_quiet()


def test_a_narrow_screen_needs_no_sideways_scrolling(browser: Browser, page: Path):
    browser.open(page, width=400)
    browser.wait(CURVES)
    assert browser.run("return document.documentElement.scrollWidth") <= 400


def test_print_shows_the_whole_transcript_on_white(browser: Browser, page: Path, tmp_path: Path):
    browser.open(page, dark=True)
    browser.wait(CURVES)
    printed = browser.command("Page.printToPDF", printBackground=True)
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    browser.command("Emulation.setEmulatedMedia", media="print")
    look = browser.run(
        "const look = (selector) => getComputedStyle(document.querySelector(selector));"
        "const seen = (selector) => document.querySelector(selector).getClientRects().length;"
        "return [look('html').backgroundColor, look('#rows').maxHeight,"
        " seen('#player'), seen('#canvas'), seen('#curves')]"
    )
    browser.command("Emulation.setEmulatedMedia", media="")
    assert look == ["rgb(255, 255, 255)", "none", 0, 1, 1]
    browser.check_quiet()


def test_a_recording_that_the_browser_cannot_play(browser: Browser, tmp_path: Path):
    recording = tmp_path / "a.wav"
    shutil.copy(SAMPLE, recording)
    target = write_report(eventful(recording), tmp_path / "report.html", faces=False)
    recording.write_bytes(b"no recording any more")
    browser.open(target)
    browser.wait("!document.getElementById('unplayable').hidden")
    browser.find("#rows button[data-segment='8']").click()
    assert "Ah, there it is!" in browser.find("#rows li.current").text
    assert "0:46" in browser.find("#where").text


def test_the_policy_blocks_injected_markup(browser: Browser, page: Path, tmp_path: Path):
    """Check that injected markup would neither run nor send anything."""
    text = page.read_text(encoding="utf-8")
    injected = tmp_path / "injected.html"
    markup = (
        "<script>window.ran = true</script><img src=x onerror='window.ran = true'>"
        "<img src='http://127.0.0.1:9/pixel.png'>"
    )
    injected.write_text(text.replace("<main>", f"<main>{markup}"), encoding="utf-8")
    browser.open(injected)
    browser.wait(CURVES)
    assert browser.run("return window.ran === undefined")
    refused = " ".join(entry["message"] for entry in browser.driver.get_log("browser"))
    assert "Content Security Policy" in refused and "127.0.0.1:9/pixel.png" in refused
    broken = browser.driver.execute_async_script(
        "addEventListener('securitypolicyviolation', (event) => arguments[0](event.effectiveDirective));"
        "fetch('http://127.0.0.1:9/').then(() => arguments[0]('let through'), () => {})"
    )
    assert broken == "connect-src"


def test_two_hours_stay_quick(browser: Browser, tmp_path: Path):
    """Check the speed with generous limits, because the machine may be busy."""
    target = write_report(long_session(2.0), tmp_path / "long.html")
    browser.open(target)
    loaded = browser.run(
        "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
    )
    browser.wait(CURVES, 60)

    def delay(number: int) -> float:
        """Return the milliseconds from a click to the next painted frame."""
        return browser.driver.execute_async_script(
            "const [number, done] = arguments, row = document.querySelectorAll('#rows button')[number];"
            "const start = performance.now(); row.click();"
            "requestAnimationFrame(() => setTimeout(() => done(performance.now() - start), 0));",
            number,
        )

    delays = sorted(delay(number) for number in (900, 3, 1799, 600, 1200))
    print(f"two hours: read in {loaded:.0f} ms, a click takes {delays[2]:.0f} ms (median of 5)")
    assert loaded < 15_000
    assert delays[2] < 1500
