"""The models: a table from the registry, and the card of the bundled one."""

from docs.website.texts import ROOT, adopt
from medembed.checkpoints.registry import BUNDLED, MODELS, ModelSpec

WHEN = """
## Which one

| you have | take |
|---|---|
| no network, no GPU, texts to search today | `mini`: it is in the package |
| a CPU server and millions of passages | `mini`, or `small` where its 512 tokens matter |
| a GPU, and quality first | `base`, or `large` at three times the weights |
| texts unlike all these: another specialty, another style | [assess your own notes](../guides/which-model.md), then [retrain](../guides/retrain.md) |
| another language than English | none of these; any hub id works: `MedEmbed("organisation/model")` |

Measured quality stands under [Retrieval quality](../benchmarks/quality.md) and on the [leaderboard](../leaderboard.md); speed under
[Benchmarks](../benchmarks/index.md). Vectors of one model never compare with those of another.
"""


def pages() -> dict[str, str]:
    """``index.md`` from the registry, ``mini.md`` from the bundled model's card."""
    return {"index.md": _table() + WHEN, f"{BUNDLED}.md": adopt(ROOT / "medembed" / "weights" / BUNDLED / "README.md")}


def _table() -> str:
    rows = "\n".join(_row(spec) for spec in MODELS.values())
    return (
        "# Models\n\nWhat `MedEmbed(NAME)` knows by name; `medembed models` prints the same.\n\n"
        "| name | dimensions | tokens read | parameters | pooling | license | source | |\n|---|---|---|---|---|---|---|---|\n"
        f"{rows}\n"
    )


def _row(spec: ModelSpec) -> str:
    origin = f"`{spec.repo}`" if spec.repo else "in the package"
    pinned = f" @ `{spec.revision[:12]}`" if spec.revision else ""
    return (
        f"| `{spec.name}` | {spec.dimension} | {spec.max_seq_length} | {spec.parameters / 1e6:.1f} M | {spec.pooling} "
        f"| {spec.license} | {origin}{pinned} | {spec.note} |"
    )
