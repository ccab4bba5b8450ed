"""Recipes from a stranger: what their files may not choose, and that nothing is sent before it is refused."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medembed.errors import PairWriterError, RecipeConfigError, SourceError, UnknownModelError, UnsupportedModelError
from medembed.recipes import pipeline
from medembed.recipes.execution import Execution
from medembed.recipes.load import load_recipe
from medembed.recipes.sources import Places
from tests.hostile import model_folders, recipe_files
from tests.recipes.conftest import make_recipe
from tests.recipes.endpoint_server import Answer, Server, good

ODD = ("zeros without end", "a terminal", "a pipe", "a terabyte of zeros", "a link to nothing", "a link to itself")
SECRET = "sk-of-somebody-else"
ASKS = '[pairs]\nwriter = "openai_endpoint"\n'

Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers on loopback; all are stopped at the end."""
    running: list[Server] = []

    def start(answer: Callable[[str, int], Answer], headers: dict[str, str] | None = None) -> Server:
        running.append(Server(answer, headers=headers or {}))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., None]:
    """Run a recipe whose file says these lines too, up to its pairs."""

    def run_one(lines: str, *settings: str) -> None:
        folder = make_recipe(tmp_path / "recipe")
        file = folder / "recipe.toml"
        whole, _, execution = file.read_text().partition("[execution]\n")
        above, _, below = lines.partition("[execution]\n")
        file.write_text(f"{whole}{above}\n[execution]\n{execution}{below}")
        recipe = load_recipe(file, [f"execution.work={tmp_path / 'work'}", *settings])
        pipeline.build(recipe, Places(folder, recipe.execution), "pairs")

    return run_one


# What a file says → the setting that the refusal names. URL stands for a server that counts what reaches it.
CLOSED = {
    "address": (f'{ASKS}[execution]\nendpoint = "URL"', "execution.endpoint"),
    "address, dotted": (f'{ASKS}[execution]\n"endpoint" = "URL"', "execution.endpoint"),
    "secret": (f'{ASKS}[execution]\napi_key_env = "AWS_SECRET_ACCESS_KEY"', "execution.api_key_env"),
    "secret and address": (
        f'{ASKS}[execution]\nendpoint = "URL"\napi_key_env = "AWS_SECRET_ACCESS_KEY"',
        "execution.api_key_env",
    ),
    "cluster": ('[execution]\nray = "ray://HOST"', "execution.ray"),
    "tracker": ('[execution]\nreport_to = "wandb"', "execution.report_to"),
    "publication": ('[execution]\npush_to_hub = "stranger/model"', "execution.push_to_hub"),
    "work folder": ('[execution]\nwork = "elsewhere"', "execution.work"),
    "data folder": ('[execution]\ndata = "/"', "execution.data"),
    "folder of models": ('[execution]\nmodels = "elsewhere"', "execution.models"),
    "model folder": ('[execution]\nout = "elsewhere"', "execution.out"),
}


@pytest.mark.parametrize("case", CLOSED)
def test_a_file_chooses_no_address_secret_or_place(
    case: str, serve: Serve, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    server = serve(lambda note, attempt: good(note))
    lines, named = CLOSED[case]
    lines = lines.replace("URL", server.url).replace("HOST", f"127.0.0.1:{server.port}")
    with pytest.raises(RecipeConfigError) as caught:
        run(lines)
    assert f"{named}: no recipe's file may say" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert server.url not in str(caught.value)
    assert server.connections == 0


def test_a_file_that_is_extended_chooses_no_more(tmp_path: Path) -> None:
    folder = make_recipe(tmp_path / "recipe")
    with (folder / "recipe.toml").open("a") as file:
        file.write('endpoint = "http://stranger.example/v1"\n')
    (folder / "mine.toml").write_text('extends = "recipe.toml"\n')
    with pytest.raises(RecipeConfigError, match=r"execution\.endpoint: no recipe's file may say"):
        load_recipe(folder / "mine.toml")


def test_a_file_says_nothing_that_is_not_named_as_open() -> None:
    """A setting that is added to ``execution`` stays closed to files until somebody decides."""
    assert set(Execution.model_fields) >= Execution.FILE_MAY_SET
    closed = set(Execution.model_fields) - Execution.FILE_MAY_SET
    assert closed == {named.partition(".")[2] for _, named in CLOSED.values()}


def test_the_command_line_may_choose_what_a_file_may_not(
    serve: Serve, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLINIC_KEY", "sk-mine")
    server = serve(lambda note, attempt: good(note))
    run(ASKS, f"execution.endpoint={server.url}", "execution.api_key_env=CLINIC_KEY")
    assert len(server.asked) == 48
    assert server.keys == {"Bearer sk-mine"}


def test_no_key_is_sent_where_none_is_named(
    serve: Serve, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    server = serve(lambda note, attempt: good(note))
    run(ASKS, f"execution.endpoint={server.url}")
    assert server.requests
    assert not [line for line in server.headers if SECRET in line]


@pytest.mark.parametrize("content", [None, "", "two\nlines", "b\u00e4d"], ids=["unset", "empty", "lines", "letters"])
def test_a_key_that_is_none_is_named_before_anything_is_sent(
    content: str | None, serve: Serve, run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLINIC_KEY", raising=False)
    if content is not None:
        monkeypatch.setenv("CLINIC_KEY", content)
    server = serve(lambda note, attempt: good(note))
    with pytest.raises(RecipeConfigError, match=r"execution\.api_key_env=CLINIC_KEY"):
        run(ASKS, f"execution.endpoint={server.url}", "execution.api_key_env=CLINIC_KEY")
    assert server.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_note_follows_a_redirect(status: int, serve: Serve, run: Callable[..., None]) -> None:
    elsewhere = serve(lambda note, attempt: good(note))
    asked = serve(lambda note, attempt: (status, b""), {"Location": f"{elsewhere.url}/chat/completions"})
    with pytest.raises(PairWriterError, match=rf"server answered {status}\. It redirects"):
        run(ASKS, f"execution.endpoint={asked.url}")
    assert asked.requests
    assert elsewhere.connections == 0


ENGINE_OPTIONS = [
    "trust_remote_code = true",
    'worker_cls = "os.system"',
    'worker_extension_cls = "os.system"',
    'hf_overrides = { auto_map = "x" }',
    'tokenizer = "stranger/model"',
    'load_format = "pt"',
    'download_dir = "/"',
    'distributed_executor_backend = "os.system"',
    'model = "stranger/model"',
    'kv_transfer_config = { kv_connector_module_path = "os" }',
    'dtype = "os.system"',
    'quantization = "os.system"',
]


@pytest.mark.parametrize("option", ENGINE_OPTIONS, ids=lambda option: option.partition(" ")[0])
@pytest.mark.parametrize("place", ["file", "command line"])
def test_no_engine_option_runs_code(option: str, place: str, run: Callable[..., None]) -> None:
    name = option.partition(" ")[0]
    written = f'[pairs]\nwriter = "vllm_local"\n[execution]\nvllm_options = {{ {option} }}'
    given = f"execution.vllm_options={{ {option} }}"
    with pytest.raises(RecipeConfigError, match=rf"execution\.vllm_options\.{name}"):
        run(written) if place == "file" else run('[pairs]\nwriter = "vllm_local"\n', given)


def test_the_engine_is_told_not_to_run_code_and_gets_only_options_that_were_named(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    class Engine:
        def __init__(self, **options: Any) -> None:
            given.update(options)
            raise RuntimeError("seen enough")

    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(LLM=Engine))
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", SimpleNamespace())
    lines = '[pairs]\nwriter = "vllm_local"\n[execution]\nvllm_options = { max_model_len = 2048 }'
    with pytest.raises(RuntimeError, match="seen enough"):
        run(lines)
    assert given["trust_remote_code"] is False
    told = {"model", "revision", "seed", "tensor_parallel_size", "structured_outputs_config"}
    assert set(given) == told | {"trust_remote_code", "max_model_len"}


@pytest.mark.parametrize("prompt", ["../../secret", "/etc/secret", "a/b", "..", ".hidden", ""])
def test_a_prompt_is_a_name_and_no_path(prompt: str, run: Callable[..., None], tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(SECRET)
    with pytest.raises(RecipeConfigError, match=r"pairs\.llm\.prompt"):
        run(f'{ASKS}[pairs.llm]\nprompt = "{prompt}"')


@pytest.mark.parametrize("command", ["run", "status", "download"])
def test_every_command_refuses(command: str, tmp_path: Path) -> None:
    folder = make_recipe(tmp_path / "recipe")
    with (folder / "recipe.toml").open("a") as file:
        file.write('endpoint = "http://stranger.example/v1"\n')
    words = ["recipes", command, str(folder), f"execution.work={tmp_path / 'work'}"]
    done = subprocess.run([sys.executable, "-m", "medembed", *words], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "execution.endpoint: no recipe's file may say" in " ".join(done.stderr.split())
    assert not (tmp_path / "work").exists()


# ----------------------------------------------------------------------------------------- models of mteb

needs_mteb = pytest.mark.skipif(importlib.util.find_spec("mteb") is None, reason="the evaluation extra is not here")


@needs_mteb
@pytest.mark.parametrize(
    "name",
    [
        "nomic-ai/nomic-embed-text-v1.5",
        "jinaai/jina-embeddings-v3",
        "nvidia/llama-embed-nemotron-8b",
        "ByteDance/ListConRanker",
    ],
)
def test_a_model_that_mteb_loads_with_remote_code_is_refused_by_name(name: str) -> None:
    from medembed.evaluation import mteb_bridge
    from medembed.evaluation.models import Setup, model_ref

    ref = model_ref(f"mteb:{name}", Setup())
    for use in (mteb_bridge.model_meta, lambda ref: mteb_bridge.load_model(ref, Setup())):
        with pytest.raises(UnsupportedModelError, match=f"mteb:{name}: .*trust_remote_code"):
            use(ref)


@needs_mteb
@pytest.mark.parametrize("name", ["mteb/baseline-bm25s", "BAAI/bge-small-en-v1.5", "intfloat/e5-base-v2"])
def test_a_model_that_mteb_loads_without_remote_code_is_described(name: str) -> None:
    from medembed.evaluation import mteb_bridge
    from medembed.evaluation.models import Setup, model_ref

    assert mteb_bridge.model_meta(model_ref(f"mteb:{name}", Setup())).name == name


@needs_mteb
def test_a_model_that_mteb_does_not_list_is_not_looked_for_on_the_hub() -> None:
    from medembed.evaluation import mteb_bridge
    from medembed.evaluation.models import Setup, model_ref

    with pytest.raises(UnknownModelError, match="mteb has no entry of this name"):
        mteb_bridge.model_meta(model_ref("mteb:stranger/model", Setup()))


@needs_mteb
def test_a_loader_is_read_together_with_what_it_names() -> None:
    from functools import partial

    from medembed.evaluation.remote_code import runs_remote_code

    def entry(loader: Any, **settings: Any) -> Any:
        return SimpleNamespace(loader=loader, loader_kwargs=settings)

    from mteb.models import SentenceTransformerEncoderWrapper

    assert not runs_remote_code(entry(SentenceTransformerEncoderWrapper))
    assert runs_remote_code(entry(SentenceTransformerEncoderWrapper, trust_remote_code=True))
    assert runs_remote_code(entry(SentenceTransformerEncoderWrapper, model_kwargs={"trust_remote_code": True}))
    assert runs_remote_code(entry(partial(SentenceTransformerEncoderWrapper, trust_remote_code=True)))


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", recipe_files.INPUTS)
def test_a_source_that_is_no_ordinary_file_is_refused_at_once(name: str, kind: str, tmp_path: Path) -> None:
    """Hashing a terabyte of holes takes an hour, and opening a pipe waits for its writer."""
    folder = make_recipe(tmp_path / "recipe")
    (folder / name).unlink()
    model_folders.KINDS[kind](folder / name)
    recipe = load_recipe(folder / "recipe.toml", [f"execution.work={tmp_path / 'work'}"])
    with pytest.raises(SourceError):
        pipeline.plan(recipe, Places(folder, recipe.execution))
