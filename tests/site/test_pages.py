"""Every page of the built site, in a real browser: whole, quiet, narrow enough, light enough, readable for all."""

from dataclasses import dataclass
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

# Pages with every kind of element that has a colour. The scheme of the night colours kinds of elements and not pages, and half of a
# page's time would go into it.
NIGHT = {
    ".",
    "try",
    "leaderboard",
    "models",
    "promises",
    "benchmarks/quality",
    "concepts/limits",
    "guides/assertions",
    "guides/encode",
    "reference/medembed",
    "reference/settings",
}


@dataclass(frozen=True)
class Seen:
    """A page that was opened once: at a desk by day, then by night, then as wide as a phone.

    Attributes:
        page: Its address below the site's.
        load: What its first load did.
        later: What it did afterwards.
        overflow: Pixels too wide, by kind of window.
        height: Pixels, at a desk.
        schemes: Colour schemes shown by day and by night.
        violations: What axe-core finds by day; of some pages by night too, of the rules about colours.
    """

    page: str
    load: pages.Load
    later: pages.Load
    overflow: dict[str, int]
    height: int
    schemes: list[str]
    violations: list[str]


def opened(page: str, address: str, browser: Any) -> Seen:
    """Open a page in every way."""
    load = pages.open_page(browser, f"{address}{page}/")
    height, overflow, schemes = pages.height(browser), {"desk": pages.overflow(browser)}, [pages.scheme(browser)]
    found = pages.violations(browser)
    pages.darken(browser)
    schemes.append(pages.scheme(browser))
    found += pages.violations(browser, pages.COLOURS) if page in NIGHT else []
    pages.resize(browser, "phone")
    overflow["phone"] = pages.overflow(browser)
    return Seen(page, load, pages.logged(browser), overflow, height, schemes, found)


# one test a page, so that it is opened once: with pytest 9.2, xdist 3.8 no longer keeps the tests of a group in one process
@pytest.mark.parametrize("page", PAGES)
def test_page_loads_without_error_from_this_site_alone_fits_and_meets_aa_by_day_and_by_night(
    address: str, browser: Any, page: str
) -> None:
    seen = opened(page, address, browser)
    assert seen.load.errors + seen.later.errors == []
    requested = seen.load.requested + seen.later.requested
    assert [url for url in requested if not url.startswith((address, "data:", "blob:"))] == []
    assert 0 < seen.load.transferred <= MAX_BYTES
    assert {width: pixels for width, pixels in seen.overflow.items() if pixels > 0} == {}
    assert seen.height <= MAX_HEIGHT or seen.page.startswith(LONG), "a page for users is short enough to be read"
    assert seen.schemes == ["default", "slate"]
    assert seen.violations == []


def test_the_first_view_is_light(address: str, browser: Any) -> None:
    assert 0 < pages.open_page(browser, address).transferred <= MAX_FIRST_BYTES


@pytest.mark.parametrize("page", [".", "promises", "benchmarks/quality", "guides/coming-from", "models"])
@pytest.mark.parametrize("width", pages.WIDTHS)
def test_first_columns_of_tables_are_seen(address: str, browser: Any, page: str, width: str) -> None:
    """In a window that is as wide from the start, and dark where the system is."""
    load = pages.open_page(browser, f"{address}{page}/", width, scheme="dark")
    assert (load.errors, pages.scheme(browser), pages.overflow(browser) > 0) == ([], "slate", False)
    assert pages.cut_tables(browser) == 0


def test_all_columns_of_the_leaderboard_are_seen_and_the_mean_on_a_phone(address: str, browser: Any) -> None:
    last = "return Math.max(...[...document.querySelectorAll('.medembed-leaderboard th:not([hidden])')].map((e) => e.getBoundingClientRect().right))"
    mean = "return document.querySelector('.medembed-leaderboard th[data-column=mean]').getBoundingClientRect().right"
    pages.open_page(browser, f"{address}leaderboard/")
    assert 0 < browser.execute_script(last) <= 1280
    pages.open_page(browser, f"{address}leaderboard/", "phone")
    assert 0 < browser.execute_script(mean) <= 390


@pytest.mark.parametrize("page", [".", "reference/settings"])
def test_no_key_breaks_inside_a_word(address: str, browser: Any, page: str) -> None:
    """Code without a blank in a first column stands in one line."""
    pages.open_page(browser, f"{address}{page}/")
    broken = browser.execute_script(
        "return [...document.querySelectorAll('.md-typeset td:first-child code')].filter((code) =>"
        "!/[\\s-]/.test(code.textContent) && code.getClientRects().length > 1).map((code) => code.textContent)"
    )
    assert broken == []


def test_no_line_of_code_is_cut_on_the_home_page(address: str, browser: Any) -> None:
    pages.open_page(browser, address)
    assert (
        browser.execute_script(
            "return [...document.querySelectorAll('pre code')].filter((code) => code.scrollWidth > code.clientWidth).length"
        )
        == 0
    )


def test_pages_are_found() -> None:
    assert set(PAGES) >= NIGHT
