"""The page for everyone: an audit by axe-core, the keyboard alone, colours, motion and narrow screens."""

from pathlib import Path

import numpy as np
import pytest

from tests.page.conftest import TEXTS, opened

AXE = Path(__file__).with_name("node_modules") / "axe-core/axe.min.js"
SCHEMES = ["light", "dark"]
# The colours of the scale at 101 values, as the browser paints them: background and text, sRGB.
PAINT = """() => {
  const cell = document.querySelector("td.scale");
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const painted = (colour) => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  return Array.from({ length: 101 }, (_, i) => {
    cell.style.setProperty("--v", i / 100);
    const { backgroundColor, color } = getComputedStyle(cell);
    return [painted(backgroundColor), painted(color)];
  });
}"""


@pytest.fixture(params=SCHEMES)
def still_context(browser, request):
    """Return a context in which nothing moves."""
    with browser.new_context(color_scheme=request.param, reduced_motion="reduce") as context:
        yield context


def violations(page) -> list[str]:
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations', 'incomplete'] })")
    return [
        f"{each['id']}: {node['html']}: {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def test_audit_finds_nothing(still_context, service):
    with opened(still_context, f"{service.address}/") as tab:
        tab.expect_status("Embedded 9 texts")
        assert violations(tab.page) == []
        tab.page.get_by_label("Dimensions").fill("40")
        tab.page.get_by_label("Texts, one per line").fill("")
        tab.page.get_by_role("button", name="Embed").click()
        tab.expect_error("There is no text.")
        assert violations(tab.page) == []


def test_audit_finds_nothing_before_a_key_is_given(still_context, protected_service):
    with opened(still_context, f"{protected_service.address}/") as tab:
        tab.expect_status("Enter a key")
        assert violations(tab.page) == []


def luminance(colours: np.ndarray) -> np.ndarray:
    """Return the relative luminance of sRGB colours (www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    return linear(colours) @ [0.2126, 0.7152, 0.0722]


def linear(colours: np.ndarray) -> np.ndarray:
    scaled = colours / 255
    return np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


def oklab_lightness(colours: np.ndarray) -> np.ndarray:
    """Return the lightness of sRGB colours in OKLab (bottosson.github.io/posts/oklab)."""
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    return np.cbrt(linear(colours) @ to_cones.T) @ [0.2104542553, 0.7936177850, -0.0040720468]


def test_scale_is_uniform_and_every_value_on_it_readable(still_context, service):
    with opened(still_context, f"{service.address}/") as tab:
        tab.expect_status("Embedded 9 texts")
        fills, texts = np.array(tab.page.evaluate(PAINT)).swapaxes(0, 1)
    lightness = oklab_lightness(fills)
    steps = np.diff(lightness)
    assert abs(lightness[-1] - lightness[0]) > 0.55
    assert np.all(np.sign(steps) == np.sign(steps[0]))  # so the order shows without hue, to everyone
    np.testing.assert_allclose(lightness, np.linspace(lightness[0], lightness[-1], 101), atol=0.012)
    bright, dark = np.sort([luminance(fills), luminance(texts)], axis=0)[::-1]
    assert np.min((bright + 0.05) / (dark + 0.05)) >= 4.5


def reach(page, identifier: str) -> None:
    """Press Tab until an element has the focus; it must show."""
    for _ in range(25):
        page.keyboard.press("Tab")
        focused = page.evaluate_handle("document.activeElement").as_element()
        if identifier in {focused.get_attribute(name) for name in ("id", "name", "class")}:
            outline = "(element) => getComputedStyle(element.closest('fieldset label') ?? element).outlineStyle"
            assert focused.evaluate(outline) == "solid", identifier
            return
    pytest.fail(f"Tab does not reach {identifier}")


def test_everything_works_with_the_keyboard_alone(tab):
    page, press = tab.page, tab.page.keyboard.press
    reach(page, "copy-base")
    reach(page, "texts")
    press("Control+a")
    page.keyboard.type("\n".join(TEXTS))
    press("Control+Enter")
    tab.expect_status("Embedded 4 texts")
    reach(page, "model")
    reach(page, "embed")
    press("Enter")
    tab.expect_status("Embedded 4 texts")
    reach(page, "dimensions")
    press("ArrowLeft")
    page.locator("#size").filter(has_text="383 of 384").wait_for()
    press("Home")
    page.locator("#size").filter(has_text="1 of 384").wait_for()
    assert page.get_by_label("Dimensions").get_attribute("aria-valuetext").startswith("1 of 384. Largest change: ")
    press("End")
    reach(page, "scroll")
    reach(page, "query")
    press("Control+a")
    page.keyboard.type("interest")
    press("Enter")
    tab.expect_status("Ranked the texts.")
    reach(page, "rank")
    reach(page, "ranking")
    reach(page, "language")
    press("ArrowRight")
    page.locator("#code").filter(has_text="from openai import OpenAI").wait_for()
    reach(page, "copy-code")
    press("Space")
    tab.expect_status("Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith("from openai import OpenAI")


def test_nothing_moves_for_those_who_want_no_motion(browser, service):
    for motion, expected in (("reduce", "0s"), ("no-preference", "0.2s")):
        with browser.new_context(reduced_motion=motion) as context, opened(context, f"{service.address}/") as tab:
            tab.expect_status("Embedded 9 texts")
            cell = tab.page.locator("td.scale").first
            assert cell.evaluate("(cell) => getComputedStyle(cell).transitionDuration") == expected


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_page_fits_the_screen(browser, service, width):
    size = {"width": width, "height": 800}
    with browser.new_context(viewport=size) as context, opened(context, f"{service.address}/") as tab:
        tab.expect_status("Embedded 9 texts")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
