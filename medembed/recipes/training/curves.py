"""Training curves as a picture."""

from pathlib import Path
from typing import Any

from medembed.extras import require
from medembed.storage.durable import write_whole


def draw(history: list[dict[str, Any]], path: Path) -> None:
    """Loss, learning rate and development scores over the steps, as PNG.

    Args:
        history: The trainer's log.
        path: Where to write; it appears whole.
    """
    require("matplotlib").use("Agg")
    pyplot = require("matplotlib.pyplot")
    scores = sorted({key for entry in history for key in entry if key.endswith("ndcg@10")})
    panels = [("loss", ["loss"]), ("learning rate", ["learning_rate"]), ("nDCG@10", scores)]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(12, 3.2), layout="constrained")
    for axis, (title, keys) in zip(axes, panels, strict=True):
        for key in keys:
            points = [(entry["step"], entry[key]) for entry in history if key in entry]
            if points:
                axis.plot(
                    *zip(*points, strict=True),
                    marker=".",
                    label=key.removeprefix("eval_").removesuffix("_cosine_ndcg@10"),
                )
        axis.set(title=title, xlabel="step")
        if len(keys) > 1:
            axis.legend(fontsize="x-small")
    write_whole(path, lambda made: figure.savefig(made, format="png", dpi=110))
    pyplot.close(figure)
