"""Takes the README's screenshots of the page, light and dark: `make screenshot`."""

import io
from pathlib import Path

from PIL import Image

from tests.page.conftest import ROOT, chromium, opened, serve

VIEWPORT = {"width": 1280, "height": 1150}
SCALE = 1.5
COLOURS = 128


def main() -> None:
    """Write docs/page-light.png and docs/page-dark.png, in the fonts of this machine."""
    with serve() as service, chromium() as browser:
        for scheme in ("light", "dark"):
            options = {
                "viewport": VIEWPORT,
                "device_scale_factor": SCALE,
                "color_scheme": scheme,
                "reduced_motion": "reduce",
            }
            with browser.new_context(**options) as context, opened(context, f"{service.address}/") as tab:
                tab.expect_status("Embedded 9 texts")
                tab.page.evaluate("document.querySelector('#base').textContent = 'http://127.0.0.1:3000/v1'")
                save(tab.page.screenshot(), ROOT / f"docs/page-{scheme}.png")


def save(png: bytes, path: Path) -> None:
    """Write an image with a palette of its most frequent colours: fills keep theirs, edges of letters the nearest."""
    image = Image.open(io.BytesIO(png)).convert("RGB")
    counted = sorted(image.getcolors(image.width * image.height), reverse=True)
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for _, colour in counted[:COLOURS] for channel in colour])
    image.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path.relative_to(ROOT)}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
