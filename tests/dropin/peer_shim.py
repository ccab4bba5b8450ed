"""The tests of sentence-transformers over a MedEmbed: what they take for a model is exchanged, and each result written down.

A program of its own, which `tests.dropin.peer_suite` starts: their tests are a package named `tests`, as ours are.
"""

import argparse
import copy
import functools
import inspect
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentence_transformers
import torch
from peer_reasons import FILES, FORMS, left_out  # type: ignore[import-not-found] # beside this program
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.util import similarity

from medembed import MedEmbed, vectors
from medembed.runtime import head
from medembed.sentence_transformer import as_sentence_transformer

# their names of models and fixtures → the stand-in's folder
NAMES = {
    "sentence-transformers-testing/stsb-bert-tiny-safetensors": "unscaled",
    "sentence-transformers/paraphrase-distilroberta-base-v1": "unscaled",
    "sentence-transformers/all-MiniLM-L6-v2": "whole",
}
FIXTURES = {
    "_stsb_bert_tiny_model": "unscaled",
    "stsb_bert_tiny_model": "unscaled",
    "paraphrase_distilroberta_base_v1_model": "unscaled",
    "_avg_word_embeddings_levy": "words",
}
NARROW = ("test_safetensors",)  # tests that need vectors of 128 numbers
Rows = Callable[[Any, Any], torch.Tensor]


class Shim:
    """A plugin of pytest.

    Args:
        form: What takes the place of their model.

            - ``"theirs"``: nothing: their class over the stand-in weights, to know which tests can run here.
            - ``"itself"``: a MedEmbed.
            - ``"familiar"``: ``as_sentence_transformer`` of one.
            - ``"saved"``: their class saves a folder, and a MedEmbed loads it.
            - ``"functions"``: the package's pooling and similarity in place of their functions.
        folders: Where the stand-ins are.
    """

    def __init__(self, form: str, folders: Path) -> None:
        self.form, self.folders = form, folders
        self.results: dict[str, dict[str, Any]] = {}
        self.touched: bool = False
        self.running: dict[Path, tuple[MedEmbed, dict[str, Any]]] = {}
        self.narrow = False
        self.load = SentenceTransformer.__init__

    def exchange(self) -> None:
        """Put this form in the place of theirs, before their modules are imported."""
        shim = self

        def new(cls: type, name: Any = None, *_: Any, **options: Any) -> Any:
            if cls is SentenceTransformer and name is not None and shim.form == "itself":
                return shim.ours(shim.local(name), **options)
            return object.__new__(cls)

        def init(model: Any, name: Any = None, *rest: Any, **options: Any) -> None:
            if type(model) is not SentenceTransformer or name is None:
                shim.load(model, name, *rest, **options)
            elif shim.form == "familiar" or (shim.form == "saved" and Path(name).is_dir()):
                shim.familiar(model, shim.local(name), **options)
            else:
                shim.load(model, str(shim.local(name)), *rest, **options | {"device": "cpu"})

        SentenceTransformer.__new__ = staticmethod(new)
        SentenceTransformer.__init__ = init
        if self.form == "functions":
            self.exchange_functions()

    def exchange_functions(self) -> None:
        """Pooling and similarity alone: vectors in, vectors out, no model."""
        theirs = Pooling.forward

        def forward(module: Any, features: dict[str, Any], **options: Any) -> dict[str, Any]:
            if "attention_mask" not in features or features["token_embeddings"].requires_grad:
                return theirs(module, features, **options)
            self.touched = True
            lead = 0 if module.include_prompt else int(torch.as_tensor(features.get("prompt_length", 0)).flatten()[0])
            modes = (module.pooling_mode,) if isinstance(module.pooling_mode, str) else module.pooling_mode
            pairs = zip(features["token_embeddings"].numpy(), features["attention_mask"].numpy() > 0, strict=True)
            rows = [head.pooled(states[real], modes, lead) for states, real in pairs]
            return features | {"sentence_embedding": torch.from_numpy(np.stack(rows))}

        Pooling.forward = forward
        pairwise, crossed = vectors.similarity_pairwise, vectors.similarity
        for name, exchanged in {
            "cos_sim": self.compared(crossed, unit=True),
            "pytorch_cos_sim": self.compared(crossed, unit=True),
            "pairwise_cos_sim": self.compared(pairwise, unit=True),
            "dot_score": self.compared(crossed, unit=False),
            "pairwise_dot_score": self.compared(pairwise, unit=False),
        }.items():
            setattr(similarity, name, exchanged)
            setattr(sentence_transformers.util, name, exchanged)

    def compared(self, function: Callable[..., Any], *, unit: bool) -> Rows:
        """A function of medembed.vectors in the form of theirs."""

        def compare(a: Any, b: Any) -> torch.Tensor:
            self.touched = True
            sides = [vectors.as_floats(np.asarray(side)) for side in (a, b)]
            return torch.from_numpy(function(*(vectors.normalize(side) if unit else side for side in sides)))

        return compare

    def local(self, name: Any) -> Path:
        """The folder for a name of theirs; a folder is itself."""
        chosen = "narrow" if self.narrow and NAMES.get(str(name)) == "unscaled" else NAMES.get(str(name), str(name))
        return self.folders / chosen

    def ours(self, folder: Path, **options: Any) -> MedEmbed:
        """A MedEmbed; one without options is loaded once and given out as new each time."""
        self.touched = True
        if options or not folder.is_relative_to(self.folders):
            return MedEmbed(folder, threads=1, precision="fp32", **options)
        if folder not in self.running:
            model = MedEmbed(folder, threads=1, precision="fp32")
            self.running[folder] = model, dict(vars(model))
        model, fresh = self.running[folder]
        vars(model).clear()
        vars(model).update(fresh)
        return model

    def familiar(self, model: Any, folder: Path, **options: Any) -> None:
        """Make an empty SentenceTransformer what ``as_sentence_transformer`` gives, with the options that a caller can set on it."""
        made = as_sentence_transformer(self.ours(folder))
        own = {name: getattr(made, name) for name in ("default_prompt_name", "similarity_fn_name")}
        asked = {"prompts": {**made.prompts, **(options.pop("prompts", None) or {})}}
        self.load(model, modules=list(made.children()), device="cpu", **own | options | asked)

    def stand_in(self, name: str) -> Any:
        """The model in place of one of their fixtures."""
        folder = self.folders / ("narrow" if self.narrow and name == "unscaled" else name)
        if self.form == "itself" and name != "words":
            return self.ours(folder)
        if self.form == "familiar" and name != "words":
            made: Any = object.__new__(SentenceTransformer)
            self.familiar(made, folder)
        else:
            made = copy.deepcopy(self.theirs(folder))
        made.model_card_data.generate_widget_examples = False
        return made

    @functools.cache  # noqa: B019 - one shim a process
    def theirs(self, folder: Path) -> Any:
        """Their own class over a stand-in, loaded once."""
        made = object.__new__(SentenceTransformer)
        self.load(made, str(folder), device="cpu")
        return made

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: pytest.FixtureRequest) -> Any:
        """Exchange their fixtures."""
        name = FIXTURES.get(fixturedef.argname)
        if name is None:
            return None
        made = self.stand_in(name)
        fixturedef.cached_result = (made, fixturedef.cache_key(request), None)
        return made

    def pytest_collection_modifyitems(self, items: list[pytest.Function]) -> None:
        """Leave out what is not about a MedEmbed, and write it down."""
        for item in items:
            why = left_out(item.nodeid.partition("::")[2])
            if why is None and self.form == "saved" and "save" not in inspect.getsource(item.function):
                why = "saves nothing"
            if why:
                self.results[item.nodeid] = {"outcome": "left out", "why": why, "touched": False}
        items[:] = [item for item in items if item.nodeid not in self.results]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Begin a test that has touched nothing yet."""
        self.touched, self.narrow = False, item.name.startswith(NARROW)
        self.results[item.nodeid] = {"outcome": "passed", "why": ""}
        result = yield
        self.results[item.nodeid]["touched"] = self.touched
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of set-up, call and end, with its last line."""
        if report.outcome != "passed":
            told = str(getattr(report.longrepr, "reprcrash", report.longrepr)).splitlines()
            self.results[report.nodeid] |= {"outcome": report.outcome, "why": told[0][-300:] if told else ""}


def run(form: str, folders: Path, results: Path, files: Sequence[str]) -> None:
    """Run their files in one form and write each test's result.

    Raises:
        SystemExit: pytest could not run them.
    """
    shim = Shim(form, folders)
    shim.exchange()
    plain = [
        "-c",
        os.devnull,
        f"--rootdir={Path.cwd()}",
        "-p",
        "no:cacheprovider",
        "-q",
        "--tb=no",
        "--no-header",
        "-W",
        "ignore",
    ]
    status = pytest.main([*plain, *files], plugins=[shim])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        sys.exit(f"pytest ended with {status!r} in the form {form}: their tests did not run")
    (results / f"{form}.json").write_text(json.dumps(shim.results, indent=1), encoding="utf-8")


def main() -> None:
    """Run every form in a process of its own, forked once the libraries are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("form", nargs="*", default=FORMS)
    asked = parser.parse_args()
    for form in asked.form:
        files = [f"tests/{name}" for name, forms in FILES.items() if form == "theirs" or form in forms]
        child = multiprocessing.get_context("fork").Process(
            target=run, args=(form, asked.folders, asked.results, files)
        )
        child.start()
        child.join()
        if child.exitcode:
            sys.exit(child.exitcode)


if __name__ == "__main__":
    main()
