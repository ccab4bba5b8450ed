"""Every page of the built site, in a real browser: whole, quiet, narrow enough, light enough, readable for all."""

from typing import Any

import pytest

from tests.site import pages
from tests.site.conftest import SITE

pytestmark = pytest.mark.browser

PAGES = sorted(str(path.parent.relative_to(SITE)) for path in SITE.rglob("index.html"))
MAX_BYTES = 2**20
MAX_FIRST_BYTES = 300_000
MAX_HEIGHT = 5_000
# looked things up in, or written for the makers
LONG = (
    "reference/",
    "recipes/",
    "benchmarks",
    "changelog",
    "experiments",
    "promises",
    "leaderboard",
    "concepts/architecture",
)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("width", pages.WIDTHS)
def test_page_loads_without_error_from_this_site_alone_and_fits(
    address: str, browser: Any, page: str, width: str
) -> None:
    load = pages.open_page(browser, f"{address}{page}/", width)
    assert load.errors == []
    assert [url for url in load.requested if not url.startswith((address, "data:", "blob:"))] == []
    assert 0 < load.transferred <= MAX_BYTES
    assert pages.overflow(browser) <= 0


@pytest.mark.parametrize("page", [page for page in PAGES if not page.startswith(LONG)])
def test_page_for_users_is_short_enough_to_be_read(address: str, browser: Any, page: str) -> None:
    pages.open_page(browser, f"{address}{page}/")
    assert browser.execute_script("return document.scrollingElement.scrollHeight") <= MAX_HEIGHT


def test_the_first_view_is_light(address: str, browser: Any) -> None:
    assert 0 < pages.open_page(browser, address).transferred <= MAX_FIRST_BYTES


@pytest.mark.parametrize("page", [".", "promises", "benchmarks/quality", "guides/coming-from", "models"])
@pytest.mark.parametrize("width", pages.WIDTHS)
def test_first_columns_of_tables_are_seen(address: str, browser: Any, page: str, width: str) -> None:
    """Two columns at least lie within the window before anything is scrolled."""
    pages.open_page(browser, f"{address}{page}/", width)
    cut = browser.execute_script(
        "return [...document.querySelectorAll('.md-typeset table')].filter((table) => {"
        "const cells = table.rows[0].cells; const second = cells[Math.min(1, cells.length - 1)];"
        "return second.getBoundingClientRect().right > window.innerWidth }).length"
    )
    assert cut == 0


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_meets_aa(address: str, browser: Any, page: str, scheme: str) -> None:
    pages.open_page(browser, f"{address}{page}/", scheme=scheme)
    shown = browser.execute_script("return document.body.dataset.mdColorScheme")
    assert shown == {"light": "default", "dark": "slate"}[scheme]
    assert pages.violations(browser) == []


def test_pages_are_found() -> None:
    assert {".", "try", "leaderboard", "reference/medembed", "guides/encode"} <= set(PAGES)
