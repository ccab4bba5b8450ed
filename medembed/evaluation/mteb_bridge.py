"""Our models as encoders of mteb, measured on its tasks. Results are written whole.

Written against mteb 2.26: ``AbsTaskRetrieval.load_data``, ``AbsEncoder.encode``, ``SearchEncoderWrapper``,
``ResultCache`` and ``mteb.evaluate``.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mteb
import numpy as np
from filelock import FileLock
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.models import ModelMeta, SearchEncoderWrapper, SentenceTransformerEncoderWrapper
from mteb.models.abs_encoder import AbsEncoder
from mteb.results import TaskResult
from mteb.types import PromptType

from medembed import border
from medembed.clinical.agreement import lowered, verdict
from medembed.clinical.asked import asked
from medembed.clinical.hits import DEPTH as SCOPED_DEPTH
from medembed.errors import ResultsError, TaskDownloadError, UnknownModelError, UnsupportedModelError
from medembed.evaluation import details
from medembed.evaluation.models import ModelRef, Setup
from medembed.evaluation.mteb_tasks import FolderTask
from medembed.evaluation.rankings import RunFiles
from medembed.evaluation.remote_code import runs_remote_code
from medembed.model import MedEmbed
from medembed.storage import asides, paths
from medembed.storage.durable import disk_errors, write_text_whole, write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Scores held at a time while a corpus is searched: queries x documents of a chunk, 32 M float32 = 128 MB.
SCORES_IN_MEMORY = 32_000_000
CHUNK_ROWS = (1_000, 20_000)
# Rows mteb hands over at a time; the encoder plans its own batches over a whole chunk.
LOADER_ROWS = 1_024


# ----------------------------------------------------------------------------------------------- models


class MedEmbedEncoder(AbsEncoder):
    """A `MedEmbed` as mteb calls encoders.

    Queries and documents get the model's own prompts, unless told otherwise.

    Attributes:
        seconds: Time spent inside ``encode`` since `start_counting`.
        texts: Texts encoded since then.
    """

    def __init__(self, ref: ModelRef, setup: Setup, loaded: MedEmbed | None = None) -> None:
        self.mteb_model_meta = model_meta(ref)
        self.scoped = ref.scoped
        self.model = loaded or MedEmbed(
            ref.source,
            device=setup.device,
            precision=setup.precision,  # type: ignore[arg-type]
            threads=setup.threads,
            truncate_dim=setup.truncate_dim,
            max_seq_length=setup.max_seq_length,
            local_files_only=setup.local_files_only,
        )
        self.prompted = setup.prompts == "model"
        self.start_counting()

    def searcher(self) -> Any:
        """The search that mteb runs over a corpus."""
        return BoundedSearch(self)

    def start_counting(self) -> None:
        """Begin a task. Time and counts are of one task, while the model stays for many."""
        self.seconds = 0.0
        self.texts = 0
        self._truncated_before = self.model.truncated.texts

    def encode(self, inputs: Any, *, prompt_type: PromptType | None = None, **_: Any) -> "NDArray[np.float32]":
        """Encode what mteb hands over. *Shape:* ``(texts, dimension)``, float32, in order."""
        texts = [text for batch in inputs for text in batch["text"]]
        prompt_name = None
        if self.prompted and prompt_type is not None:
            prompt_name = "query" if prompt_type == PromptType.query else "document"
        start = time.perf_counter()
        # Benchmarks hold long documents on purpose: what was cut is counted in the details file, without a warning.
        encoded = self.model.encode_counted(texts, prompt_name=prompt_name)
        self.seconds += time.perf_counter() - start
        self.texts += len(texts)
        return encoded.vectors

    def close(self) -> None:
        """Give back the model's threads and memory."""
        self.model.close()

    def describe(self) -> dict[str, Any]:
        """Describe the encoding since `start_counting`, for the details file."""
        return {
            "seconds": round(self.seconds, 3),
            "texts": self.texts,
            "truncated_texts": self.model.truncated.texts - self._truncated_before,
            "max_seq_length": self.model.max_seq_length,
            "device": self.model.device,
            "precision": self.model.precision,
        }


class BoundedSearch(SearchEncoderWrapper):
    """mteb's exact search, in chunks of bounded memory.

    A chunk of the corpus is sized so that the score matrix fits `SCORES_IN_MEMORY`.
    """

    def chunk_rows(self, n_queries: int) -> int:
        """Documents encoded and scored at a time."""
        return int(np.clip(SCORES_IN_MEMORY // max(1, n_queries), *CHUNK_ROWS))

    def search(self, queries: Any, **options: Any) -> Any:
        """Search as mteb does."""
        self.corpus_chunk_size = self.chunk_rows(len(queries))
        return super().search(queries, **options)


class ScopedSearch:
    """A search whose best documents are put in the order of what they assert.

    Args:
        inner: Any search of mteb.
        meta: The model, with the variant that names this order.
    """

    def __init__(self, inner: Any, meta: ModelMeta) -> None:
        self._inner, self.mteb_model_meta = inner, meta
        self._places: dict[str, int] = {}
        self._corpus: Any = None

    def index(self, corpus: Any, **options: Any) -> None:
        """Remember the texts, and hand the corpus on."""
        self._corpus = corpus
        self._places = {name: place for place, name in enumerate(corpus["id"])}
        self._inner.index(corpus, **options)

    def search(self, queries: Any, **options: Any) -> Any:
        """Search, and lower the scores of those that assert something else than the query asks."""
        found = self._inner.search(queries, **options)
        for row in queries:
            scores = found.get(row["id"], {})
            if wishes := asked(row["text"]):
                for name in sorted(scores, key=scores.__getitem__, reverse=True)[:SCOPED_DEPTH]:
                    scores[name] = lowered(scores[name], verdict(wishes, self._text(name)).wrong)
        return found

    def _text(self, name: str) -> str:
        row = self._corpus[self._places[name]]
        return f"{row.get('title') or ''} {row['text']}".strip()


def load_model(ref: ModelRef, setup: Setup) -> Any:
    """Load a model as an object mteb can measure."""
    if ref.kind == "medembed":
        return MedEmbedEncoder(ref, setup)
    if ref.kind == "mteb":
        loaded = _entry(ref.source).load_model(device=None if setup.device == "auto" else setup.device)
        if not ref.scoped:
            return loaded
        return ScopedSearch(BoundedSearch(loaded) if isinstance(loaded, AbsEncoder) else loaded, model_meta(ref))
    from sentence_transformers import SentenceTransformer

    device = None if setup.device == "auto" else setup.device
    # of a folder, sentence-transformers otherwise asks the hub whether it knows a model of that name
    on_disk = Path(ref.source).is_dir()
    model = SentenceTransformer(
        ref.source, device=device, truncate_dim=setup.truncate_dim, local_files_only=on_disk, trust_remote_code=False
    )
    if setup.max_seq_length is not None:
        model.max_seq_length = setup.max_seq_length
    if setup.prompts == "none":
        model.prompts = dict.fromkeys(model.prompts, "")
    wrapped = SentenceTransformerEncoderWrapper(model)
    wrapped.mteb_model_meta = model_meta(ref)
    wrapped.scoped = ref.scoped
    return wrapped


def model_meta(ref: ModelRef) -> ModelMeta:
    """Describe a model as mteb does, without asking the hub."""
    if ref.kind == "mteb":
        entry = _entry(ref.source)
        return entry.model_copy(update={"experiment_kwargs": dict(ref.variant)}) if ref.variant else entry
    known = {key: value for key, value in ref.facts.items() if value is not None}
    identity = {"name": ref.name, "revision": ref.revision, "experiment_kwargs": dict(ref.variant) or None}
    return ModelMeta.create_empty(
        overwrites={**known, **identity, "framework": ["Sentence Transformers"], "languages": ["eng-Latn"]}
    )


def _entry(name: str) -> ModelMeta:
    """A model's entry in mteb. The entry may not switch on code from the model's repository.

    Raises:
        UnknownModelError: mteb has no such entry.
        UnsupportedModelError: It does, or its loader does.
    """
    try:
        meta = mteb.get_model_meta(name)
    except KeyError as error:
        raise UnknownModelError(
            f"mteb:{name}: mteb has no entry of this name. A model of the hub is measured by its id, without 'mteb:'"
        ) from error
    if runs_remote_code(meta):
        raise UnsupportedModelError(
            f"mteb:{name}: mteb loads this model with code from its repository (trust_remote_code), which medembed never runs. "
            "Measure it with mteb itself, on a machine without patients' texts, and compare the result files: medembed compare"
        )
    return meta


def meta_source(fields: Mapping[str, Any]) -> str:
    """Python source of a ``ModelMeta`` with these fields, checked by mteb itself."""
    return str(ModelMeta(loader=SentenceTransformerEncoderWrapper, **fields).to_python())


# ---------------------------------------------------------------------------------------------- measuring


class WholeFiles(mteb.ResultCache):
    """Result files of mteb, and scores per query beside them.

    mteb does not keep these scores. Each file appears whole.
    """

    describe: Callable[[], dict[str, Any]]

    def result_path(self, task: Any, meta: ModelMeta) -> Path:
        """The path of a task's result, written or not yet."""
        return Path(self.get_task_result_path(task.metadata.name, meta))

    def details_path(self, task: Any, meta: ModelMeta) -> Path:
        """The path of scores per query, times and machine. It is the result's path, below ``details/``."""
        return Path(self.cache_path, "details", self.result_path(task, meta).relative_to(self.cache_path / "results"))

    def is_complete(self, task: Any, meta: ModelMeta) -> bool:
        """Tell whether the task is measured in every part.

        Its result must be at this revision of model and data, with scores per query.
        """
        path = self.result_path(task, meta)
        if not path.is_file() or not self.details_path(task, meta).is_file():
            return False
        result = self._load(path)
        return result.dataset_revision == task.metadata.revision and not result.get_missing_evaluations(task)

    def is_outdated(self, task: Any, meta: ModelMeta) -> bool:
        """Tell whether a result is there that cannot be completed.

        Such a result is of other data, or has no scores per query beside it.
        """
        path = self.result_path(task, meta)
        if not path.is_file():
            return False
        detailed = self.details_path(task, meta).is_file()
        return not detailed or self._load(path).dataset_revision != task.metadata.revision

    def score(self, task: Any, meta: ModelMeta) -> float:
        """Main score of a result that is there. It is over the task's own sub-sets."""
        return float(self._load(self.result_path(task, meta)).validate_and_filter_scores(task).get_score())

    @staticmethod
    def _load(path: Path) -> TaskResult:
        try:
            return TaskResult.from_disk(path)
        except (ValueError, KeyError, OSError) as error:
            raise ResultsError(
                f"{path}: not a result of mteb ({type(error).__name__}); remove it to measure again"
            ) from error

    def remove_leftovers(self) -> None:
        """Remove what killed runs left half-written."""
        asides.sweep(Path(self.cache_path))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Let one run write at a time. The system frees the lock of a killed run."""
        for name in ("results", "details"):  # the folder itself may be anything of the user's
            paths.check_tree(paths.below(Path(self.cache_path), name))
        paths.check_own(self.cache_path / ".lock")
        with FileLock(self.cache_path / ".lock"):
            asides.sweep(Path(self.cache_path))
            yield

    def save_to_cache(self, task_result: TaskResult, model_name: Any, *args: Any, **options: Any) -> None:
        """Write each file whole, the details first and the result last. So a result that is there is complete."""
        final = Path(self.get_task_result_path(task_result.task_name, model_name))
        final.parent.mkdir(parents=True, exist_ok=True)
        beside = self.cache_path / "details" / final.relative_to(self.cache_path / "results")
        beside.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(final), self._writing(), asides.beside(Path(self.cache_path, "staged")) as aside:
            staged = mteb.ResultCache(aside)
            target = Path(staged.get_task_result_path(task_result.task_name, model_name))
            target.parent.mkdir(parents=True, exist_ok=True)
            if (final.parent / "run_settings.jsonl").is_file():
                shutil.copy2(final.parent / "run_settings.jsonl", target.parent)
            staged.save_to_cache(task_result, model_name, *args, **options)
            write_text_whole(beside, json.dumps(self.describe()))
            for file in sorted(target.parent.iterdir(), key=lambda file: file.name == final.name):
                write_whole(final.parent / file.name, partial(shutil.copyfile, file))


def measure(model: Any, task: Any, cache: WholeFiles, runs: RunFiles | None = None) -> TaskResult:
    """Measure one model on one task, and write the result. A result that lacks some sub-sets is continued.

    Args:
        model: From ``load_model``.
        task: From ``load_tasks``.
        cache: Where results are kept.
        runs: Where rankings are kept; None to keep none.

    Returns:
        mteb's result.

    Raises:
        TaskDataError: A BEIR folder with a mistake.
        TaskDownloadError: The task's data are not here and cannot be had.
    """
    meta = model.mteb_model_meta
    outdated = cache.is_outdated(task, meta) or (runs is not None and not runs.are_there())
    per_query = {} if outdated else _earlier_per_query(cache, task, meta)
    encoder = model if isinstance(model, MedEmbedEncoder) else None
    if encoder is not None:
        encoder.start_counting()
    cache.describe = details.describer(task, per_query, encoder.describe if encoder is not None else None)
    searcher = model
    if isinstance(model, AbsEncoder) and isinstance(task, AbsTaskRetrieval):
        searcher = encoder.searcher() if encoder is not None else BoundedSearch(model)
        if getattr(model, "scoped", False):  # an entry of mteb has no such mark
            searcher = ScopedSearch(searcher, meta)
    _load_data(task)
    try:
        with details.keep_per_query(task, per_query, runs), _quiet_tables():
            return mteb.evaluate(
                searcher,
                task,
                co2_tracker=False,
                encode_kwargs={"batch_size": LOADER_ROWS, "show_progress_bar": False},
                cache=cache,
                overwrite_strategy="always" if outdated else "only-missing",
                show_progress_bar=False,
            ).task_results[0]
    finally:
        task.unload_data()


@contextmanager
def _quiet_tables() -> Iterator[None]:
    """Hide the bar of each chunk of the corpus that mteb maps. The encoder shows its own."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()


def _earlier_per_query(cache: WholeFiles, task: Any, meta: ModelMeta) -> dict[str, Any]:
    if not cache.result_path(task, meta).is_file() or not cache.details_path(task, meta).is_file():
        return {}
    details = border.read_json_object(cache.details_path(task, meta), error=ResultsError, not_finite=True)
    earlier = details.get("per_query")
    return earlier if isinstance(earlier, dict) else {}


def _load_data(task: Any) -> None:
    try:
        task.load_data()
    except OSError as error:
        if isinstance(task, FolderTask):
            raise
        import datasets

        repo, revision = task.metadata.dataset["path"], task.metadata.dataset["revision"]
        home = Path(datasets.config.HF_DATASETS_CACHE) / repo.replace("/", "___")
        raise TaskDownloadError(
            f"{task.metadata.name} needs the dataset {repo} at revision {revision}, which is not in {home} and cannot "
            f"be downloaded ({type(error).__name__}: {error}). With a network, and HF_HUB_OFFLINE unset, run this "
            "again; or run it on another machine and copy that folder here. Local BEIR folders need no network."
        ) from error
