"""Indexes as `medembed index` does, with the fake engine slowed down, for a test to kill: SOURCE FOLDER SECONDS_A_SHARD [WORKERS [ray]]."""

import os
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medembed import FakeEngine, MedEmbed
from medembed.corpus.embed import Settings, index
from medembed.corpus.pool import pooled
from medembed.runtime.engines.interface import TokenIds


class SlowEngine(FakeEngine):
    """A fake that takes its time over each batch."""

    def pooled(self, ids: TokenIds, *, alone: bool = False) -> NDArray[np.float32]:
        time.sleep(float(os.environ["PAUSE_S"]))
        return super().pooled(ids, alone=alone)


if __name__ == "__main__":
    os.environ["PAUSE_S"] = sys.argv[3]  # which worker processes and actors inherit
    model = MedEmbed(engine=SlowEngine(dimension=16))
    workers = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    runner = pooled(model, workers) if workers > 1 else None
    if len(sys.argv) > 5:
        from medembed.corpus.embed_ray import Cluster, on_ray

        runner = on_ray(model, Cluster(workers))
    index([sys.argv[1]], Path(sys.argv[2]), model, Settings(shard_rows=8), runner=runner)
