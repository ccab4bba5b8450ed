"""Every page of the built site, in a real browser: whole, quiet, narrow enough, light enough, readable for all."""

from typing import Any

import pytest

from tests.site import pages
from tests.site.conftest import SITE

pytestmark = pytest.mark.browser

PAGES = sorted(str(path.parent.relative_to(SITE)) for path in SITE.rglob("index.html"))
MAX_BYTES = 2**20


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


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_meets_aa(address: str, browser: Any, page: str, scheme: str) -> None:
    pages.open_page(browser, f"{address}{page}/", scheme=scheme)
    shown = browser.execute_script("return document.body.dataset.mdColorScheme")
    assert shown == {"light": "default", "dark": "slate"}[scheme]
    assert pages.violations(browser) == []


def test_pages_are_found() -> None:
    assert {".", "try", "leaderboard", "reference/medembed", "guides/encode"} <= set(PAGES)
