"""What a page did while it loaded, as the browser logged it; its width; what axe-core finds wrong with it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AXE = Path(__file__).parents[2] / "docs" / "website" / "node" / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = {"phone": (390, 844), "desk": (1280, 900)}
# the rules that a colour scheme can break
COLOURS = ["color-contrast", "link-in-text-block"]
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]


@dataclass
class Load:
    """One page load.

    Attributes:
        errors: Console messages of level SEVERE.
        requested: Addresses asked for, in order.
        transferred: Bytes that came over the wire.
    """

    errors: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    transferred: int = 0


def open_page(browser: Any, url: str, width: str = "desk", scheme: str = "light") -> Load:
    """Open a page in a window of a kind and a colour scheme, with an empty cache; wait until it is still."""
    browser.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    browser.get("about:blank")
    # the theme remembers a scheme once chosen, and would keep to it
    origin = url.split("/", 3)
    browser.execute_cdp_cmd(
        "Storage.clearDataForOrigin", {"origin": "/".join(origin[:3]), "storageTypes": "local_storage"}
    )
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    _emulate(browser, width)
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(url)
    _be_still(browser)
    return logged(browser)


def resize(browser: Any, width: str) -> None:
    """Make the window one of a kind, and wait until the page is laid out in it."""
    _emulate(browser, width)
    browser.execute_async_script(
        "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()))"
    )


def _emulate(browser: Any, width: str) -> None:
    size = dict(zip(("width", "height"), WIDTHS[width], strict=True))
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {**size, "deviceScaleFactor": 1, "mobile": width == "phone"}
    )


def darken(browser: Any) -> None:
    """Choose the dark scheme, as a reader does."""
    browser.execute_script("document.querySelector('label[for][title=\"Switch to dark\"]').click()")
    _be_still(browser)


def _be_still(browser: Any) -> None:
    """Wait until what was begun is painted."""
    browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => setTimeout(done, 250))")


def logged(browser: Any) -> Load:
    """What happened since the log was last read."""
    load = Load([entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"])
    for entry in browser.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            load.requested.append(message["params"]["request"]["url"])
        elif message["method"] == "Network.loadingFinished":
            load.transferred += int(message["params"]["encodedDataLength"])
    return load


def violations(browser: Any, rules: Sequence[str] = ()) -> list[str]:
    """What axe-core finds against WCAG 2.1 A and AA, or against some rules of it: rule, what to do, where."""
    if not browser.execute_script("return 'axe' in window"):
        browser.execute_script(AXE.read_text(encoding="utf-8"))
    found = browser.execute_async_script(
        "const done = arguments[1];"
        "axe.run(document, {runOnly: arguments[0], resultTypes: ['violations']}).then((r) => done(r.violations), (e) => done(String(e)))",
        list(rules) or LEVELS,
    )
    assert isinstance(found, list), found
    return [f"{rule['id']}: {rule['help']}: {[node['target'] for node in rule['nodes']][:4]}" for rule in found]


def scheme(browser: Any) -> str:
    """The colour scheme that is shown."""
    return str(browser.execute_script("return document.body.dataset.mdColorScheme"))


def height(browser: Any) -> int:
    """Pixels from the page's top to its end."""
    return int(browser.execute_script("return document.scrollingElement.scrollHeight"))


def cut_tables(browser: Any) -> int:
    """Tables whose first two columns do not lie within the window before anything is scrolled."""
    return int(
        browser.execute_script(
            "return [...document.querySelectorAll('.md-typeset table')].filter((table) => {"
            "const cells = table.rows[0].cells; const second = cells[Math.min(1, cells.length - 1)];"
            "return second.getBoundingClientRect().right > window.innerWidth }).length"
        )
    )


def overflow(browser: Any) -> int:
    """Pixels by which the page is wider than its window."""
    return int(browser.execute_script("return document.scrollingElement.scrollWidth - window.innerWidth"))
