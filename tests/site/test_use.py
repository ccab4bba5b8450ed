"""What readers do on the site: search, copy, sort, ask. With the mouse, and with the keyboard alone."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medembed import EmbeddedCorpus, Hybrid, MedEmbed, demo
from medembed.runtime.tokenizer import Tokenizer
from tests.serving.conftest import running
from tests.site import pages
from tests.site.conftest import SITE

pytestmark = pytest.mark.browser

MAX_ANSWER_MS = 300
MAX_TRYOUT_BYTES = 35 * 2**20
ODD = [
    "",
    "  \n\t",
    "Beta-2 µg/dL (≥ 5)",
    "naïve Crohn’s ÉCHO",
    "高血压 hypertension",
    "ΣΊΣΥΦΟΣ",
    "a\u0000b\ufffdc",
    "x" * 150,
    "😀 fever",
    "fi\u200bne",
    "pain?!...",
    "[CLS] is written out",
    "İstanbul",
    "don't_stop",
]


def _until(browser: Any, found: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.05)
    pytest.fail(f"not within {seconds} s: {browser.title}: {browser.get_log('browser')}")


def _keys(browser: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains

    chain = ActionChains(browser)
    for key in keys:
        chain.send_keys(key)
    chain.perform()


def _all(browser: Any, selector: str) -> list[Any]:
    return list(browser.find_elements("css selector", selector))


# What people look for → the page that has to be among the first three hits.
LOOKED_FOR = {
    "quantization": "guides/precision",
    "docker": "guides/offline",
    "REST": "guides/serve",
    "MCP": "guides/mcp",
    "FHIR": "guides/fhir",
    "PDF": "guides/documents",
    "DOCX": "guides/documents",
    "patient": "guides/patients",
    "proxy": "guides/offline",
    "HF_ENDPOINT": "guides/offline",
    "artifactory": "guides/offline",
    "SSL_CERT_FILE": "guides/offline",
    "jupyter": "guides/jupyter",
    "HuggingFaceEmbeddings": "guides/coming-from",
    "SentenceTransformer": "guides/coming-from",
    "BERTopic": "guides/coming-from",
    "OpenAI": "guides/coming-from",
    "batch_size": "guides/coming-from",
    "completion": "guides/command-line",
    "NO_COLOR": "guides/command-line",
    "near-duplicates": "guides/near-duplicates",
    "LangChain": "guides/rag-langchain",
    "LlamaIndex": "guides/rag-llamaindex",
    "Haystack": "guides/rag-haystack",
    "Chroma": "guides/rag-stores",
    "hybrid": "guides/hybrid",
    "telemetry": "guides/privacy",
    "negation": "concepts/limits",
    "disk": "guides/capacity",
}
MAKERS = ("decisions/", "experiments", "measurements", "changelog", "benchmarks/", "recipes/", "promises")


@pytest.fixture(scope="module")
def search(address: str, browser: Any) -> Callable[[str], list[str]]:
    """Writes words into the search of one page, one after the other; gives the pages it finds, best first."""
    pages.open_page(browser, address)
    (field,) = _all(browser, "input.md-search__input")
    field.click()

    def write(word: str) -> None:
        """At once: letter by letter, the first hits would be those of half a word."""
        browser.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('keyup', {bubbles: true}))",
            field,
            word,
        )

    def links() -> list[str]:
        return [a.get_attribute("href") for a in _all(browser, ".md-search-result__link")]

    def find(word: str) -> list[str]:
        write("")
        _until(browser, lambda: not links())
        write(word)
        found = [link.removeprefix(address).partition("?")[0].partition("#")[0] for link in _until(browser, links)]
        return list(dict.fromkeys(found))

    return find


@pytest.mark.parametrize(("word", "page"), LOOKED_FOR.items(), ids=list(LOOKED_FOR))
def test_search_finds_what_people_look_for(search: Callable[[str], list[str]], word: str, page: str) -> None:
    found = search(word)
    assert not found[0].startswith(MAKERS), found
    assert any(link.startswith(page) for link in found[:3]), found


def test_a_link_opens_the_search_with_its_words(address: str, browser: Any) -> None:
    pages.open_page(browser, f"{address}?q=hybrid")
    assert "guides/hybrid" in _until(browser, lambda: _all(browser, ".md-search-result__link"))[0].get_attribute("href")


def test_copy_button_copies_the_block(address: str, browser: Any) -> None:
    from selenium.webdriver import Keys

    pages.open_page(browser, address)
    (button, *_) = _until(
        browser, lambda: _all(browser, "button.md-code__button[data-md-type=copy], button.md-clipboard")
    )
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    field = browser.execute_script(
        "const field = document.createElement('textarea'); document.body.append(field); field.focus(); return field"
    )
    field.send_keys(Keys.CONTROL, "v")
    assert "pip install" in field.get_attribute("value")


def _column(browser: Any, column: str) -> list[float]:
    texts = browser.execute_script(
        "const root = document.querySelector('.medembed-leaderboard');"
        "const at = [...root.querySelectorAll('th')].findIndex((th) => th.dataset.column === arguments[0]);"
        "return [...root.querySelector('tbody').rows].filter((r) => !r.hidden).map((r) => r.cells[at].textContent)",
        column,
    )
    return [float(text.rstrip("†")) for text in texts if text != "–"]


def test_leaderboard_sorts_and_filters_with_the_keyboard(address: str, browser: Any) -> None:
    from selenium.webdriver import Keys

    pages.open_page(browser, f"{address}leaderboard/")
    before = _column(browser, "NFCorpus")
    browser.execute_script("document.querySelector('th[data-column=NFCorpus] button').focus()")
    _keys(browser, Keys.ENTER)
    assert _column(browser, "NFCorpus") == sorted(before, reverse=True) != before
    _keys(browser, Keys.ENTER)
    assert _column(browser, "NFCorpus") == sorted(before)
    browser.execute_script("document.querySelector('[data-filter=text]').focus()")
    _keys(browser, *"medembed")
    names = [e.text for e in _all(browser, ".medembed-leaderboard tbody tr:not([hidden]) td:first-child")]
    assert names
    assert all("medembed" in name.lower() for name in names)


def test_tryout_answers_like_the_model_in_python_within_its_time(address: str, browser: Any) -> None:
    from selenium.webdriver import Keys

    pages.open_page(browser, f"{address}try/")
    field = _all(browser, ".tryout input")[0]
    field.send_keys(demo.QUESTIONS[0], Keys.ENTER)
    root = _all(browser, ".tryout")[0]
    _until(browser, lambda: root.get_attribute("data-milliseconds"))
    load = pages.logged(browser)
    assert load.errors == []
    assert [url for url in load.requested if not url.startswith((address, "data:", "blob:"))] == []
    assert load.transferred <= MAX_TRYOUT_BYTES
    assert sum(path.stat().st_size for path in (SITE / "assets" / "built").iterdir()) <= MAX_TRYOUT_BYTES
    times, overlaps = [], []
    shown = json.loads((SITE / "assets" / "built" / "passages.json").read_text())["passages"]
    with MedEmbed(threads=1) as model:
        stored = _stored(model.dimension)
        for question in demo.QUESTIONS:
            browser.execute_script("delete document.querySelector('.tryout').dataset.milliseconds")
            field.clear()
            field.send_keys(question, Keys.ENTER)
            times.append(float(_until(browser, lambda: root.get_attribute("data-milliseconds"))))
            titles = [e.text for e in _all(browser, ".tryout ol b")]
            best = np.argsort(-(stored @ model.encode_query(question)))[:5]
            overlaps.append(len(set(titles) & {shown[int(row)]["title"] for row in best}))
    print(f"answers: {times} ms; of five titles the same: {overlaps}")
    assert np.median(times) <= MAX_ANSWER_MS
    assert np.mean(overlaps) >= 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, mini: MedEmbed) -> Path:
    """A corpus of the demonstration's first passages."""
    made = tmp_path_factory.mktemp("corpora") / "notes"
    given = [{"id": passage.title, "text": passage.text} for passage in demo.passages()[:40]]
    EmbeddedCorpus.build(made, list({row["id"]: row for row in given}.values()), mini)
    return made


def test_tryout_asks_a_server_that_lets_it_in(address: str, browser: Any, folder: Path, mini: MedEmbed) -> None:
    from selenium.webdriver import Keys

    with EmbeddedCorpus.open(folder, mini) as corpus:
        expected = [hit.id for hit in corpus.search(demo.QUESTIONS[0], 5, hybrid=Hybrid())]
    for words in (["--allow-origin", address.rstrip("/")], []):
        with running("mini", "--corpus", str(folder), *words) as server:
            pages.open_page(browser, f"{address}try/?server={server.address}")
            assert _all(browser, ".tryout [name=server]")[0].get_attribute("value") == server.address
            _all(browser, ".tryout input")[0].send_keys(demo.QUESTIONS[0], Keys.ENTER)
            status = _all(browser, ".tryout [role=status]")[0]
            _until(browser, lambda: server.address in status.text)  # noqa: B023
            load = pages.logged(browser)
            assert [e.text for e in _all(browser, ".tryout ol b")] == (expected if words else [])
            assert words or f"--allow-origin {address.rstrip('/')}" in status.text
            own = (address, server.address, "data:", "blob:")
            assert [url for url in load.requested if not url.startswith(own)] == []
            assert not [url for url in load.requested if "encoder.onnx" in url]
            assert pages.violations(browser) == []


@pytest.mark.parametrize(
    "server", ["https://evil.example.org", "http://127.0.0.1.evil.example.org", "javascript:alert(1)"]
)
def test_a_link_names_no_server_but_ones_of_this_machine(address: str, browser: Any, server: str) -> None:
    pages.open_page(browser, f"{address}try/?server={server}")
    assert _all(browser, ".tryout [name=server]")[0].get_attribute("value") == ""


def _stored(dimension: int) -> Any:
    import base64

    corpus = json.loads((SITE / "assets" / "built" / "passages.json").read_text())
    rows = np.frombuffer(base64.b64decode(corpus["vectors"]), dtype=np.int8).reshape(-1, dimension).astype(np.float32)
    return rows * np.asarray(corpus["scales"], dtype=np.float32)[:, None]


def test_tokenizer_in_the_browser_gives_the_same_ids(address: str, browser: Any, mini: MedEmbed) -> None:
    from medembed.checkpoints.checkpoint import fetch

    pages.open_page(browser, f"{address}try/")
    texts = [*ODD, *(passage.text for passage in demo.passages())]
    theirs = browser.execute_async_script(
        "const [texts, done] = arguments;"
        "(async () => { const { WordPiece } = await import(new URL('../javascripts/wordpiece.js', document.baseURI));"
        "const words = new WordPiece(await (await fetch('../assets/built/vocabulary.txt')).text());"
        "return texts.map((text) => words.encode(text, 384)); })().then(done, (error) => done(String(error)))",
        texts,
    )
    ours = Tokenizer(fetch("mini").files, mini.max_seq_length)(texts).ids
    assert [i for i, (a, b) in enumerate(zip(theirs, ours, strict=True)) if list(a) != list(b)] == []


def test_map_shows_the_passages_of_a_topic(address: str, browser: Any) -> None:
    pages.open_page(browser, f"{address}concepts/map/")
    topics = _until(browser, lambda: _all(browser, ".map-legend button"))
    assert len(_all(browser, ".corpus-map circle")) == len(demo.passages())
    topics[0].click()
    rows = _all(browser, ".corpus-map li button")
    assert len(rows) == len(_all(browser, ".corpus-map circle:not(.faded)"))
    rows[0].click()
    assert rows[0].text in _all(browser, ".corpus-map [role=status]")[0].text


def test_first_tab_stop_skips_to_the_content(address: str, browser: Any) -> None:
    from selenium.webdriver import Keys

    pages.open_page(browser, f"{address}guides/encode/")
    _keys(browser, Keys.TAB)
    assert "md-skip" in browser.switch_to.active_element.get_attribute("class")
