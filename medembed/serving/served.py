"""What a server has: models, corpora, keys, log and counters. Made at its start, closed at its end."""

import asyncio
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from medembed.colbert.model import MedColBERT
from medembed.errors import RefusedError
from medembed.model import MedEmbed
from medembed.runtime import hardware
from medembed.runtime.tokenizer import TruncationWarning
from medembed.serving import lanes
from medembed.serving.audit import AuditLog
from medembed.serving.corpora import Corpora
from medembed.serving.keys import Keyring
from medembed.serving.lanes import Floats, Lanes
from medembed.serving.metrics import Metrics
from medembed.serving.settings import Serving, is_loopback
from medembed.serving.tracing import Tracing


class Ranker:
    """A late-interaction model with its queues.

    Args:
        model: The model.
        served: Whose limits and counters these are.
    """

    def __init__(self, model: MedColBERT, served: "Served") -> None:
        """Start nothing yet."""
        limits, metrics = served.serving.limits, served.metrics
        self.model = model
        self.queries: Lanes[Floats] = lanes.late(model, "query", limits, metrics)
        self.documents: Lanes[Floats] = lanes.late(model, "document", limits, metrics)


class Served:
    """Everything that requests are answered from.

    Args:
        serving: What to serve.

    Raises:
        MedEmbedError: A model, a corpus, the keys or the log cannot be opened.
    """

    def __init__(self, serving: Serving) -> None:
        """Open everything, and run each model once."""
        self.serving = serving
        self.running = 0
        self.metrics = Metrics()
        self.tracing = Tracing()
        self.keyring = Keyring(serving.keys)
        with ExitStack() as stack:
            self.audit = AuditLog(serving.audit)
            stack.callback(self.audit.close)
            common: dict[str, Any] = {
                "device": serving.device,
                "threads": serving.threads,
                "precision": serving.precision,
            }
            self.model = stack.enter_context(MedEmbed(serving.model, overlong=serving.overlong, **common))
            self.model.encode("pain")  # a text alone runs on a graph of its own, at the usual priority
            self.dense: Lanes[Floats] = lanes.dense(self.model, serving.limits, self.metrics)
            stack.callback(self.dense.close)
            self.dense.start(self.model.warm_up)
            self.ranker = self._ranker(stack, common)
            self.corpora = Corpora(serving.corpora, self.model, serving.device, serving.threads)
            stack.callback(self.corpora.close)
            self._searching = ThreadPoolExecutor(2 * (serving.threads or hardware.usable_cores()), "search")
            stack.callback(self._searching.shutdown, cancel_futures=True)
            self._closing = stack.pop_all()

    def _ranker(self, stack: ExitStack, common: dict[str, Any]) -> Ranker | None:
        if self.serving.late_interaction is None:
            return None
        model = stack.enter_context(MedColBERT(self.serving.late_interaction, overlong=self.serving.overlong, **common))
        model.warm_up()
        ranker = Ranker(model, self)
        stack.callback(ranker.queries.close)
        stack.callback(ranker.documents.close)
        return ranker

    def begin(self) -> None:
        """Count a request that is answered."""
        self.running += 1
        self.metrics.running.inc()

    def end(self) -> None:
        """Count a request that was answered."""
        self.running -= 1
        self.metrics.running.dec()

    def check_host(self, host: str) -> None:
        """Refuse pages of other sites that were given this machine's address.

        A server without keys listens for programs of this machine. A browser on it opens pages of any site, whose name may be made
        to lead here; the header still has that name.

        Args:
            host: The header.

        Raises:
            RefusedError: It is none of this machine's names.
        """
        name = host.rsplit(":", 1)[0].strip("[]") if not host.endswith("]") else host.strip("[]")
        if not self.keyring.needed and is_loopback(self.serving.host) and not is_loopback(name):
            raise RefusedError(403, "this server answers requests for localhost and 127.0.0.1 only")

    def check_running(self) -> None:
        """Refuse requests above the limit.

        Raises:
            RefusedError: There are as many already.
        """
        if self.running > self.serving.limits.requests:
            raise RefusedError(503, "too many requests at a time: send this again after the seconds in Retry-After", 1)

    def check_queue(self, use: str) -> None:
        """Refuse a body before it is read where too much waits already.

        Raises:
            RefusedError: It does.
        """
        if use == "embed":
            self.dense.check_full()
        elif use == "rerank" and self.ranker is not None:
            self.ranker.documents.check_full()

    async def in_thread(self, work: Any) -> Any:
        """Run work that takes no part in batches, such as a search."""
        return await asyncio.get_running_loop().run_in_executor(self._searching, work)

    def close(self) -> None:
        """Give back threads and memory."""
        self._closing.close()


def count_only() -> None:
    """Leave out the warnings of cut texts: each answer says how many there were."""
    warnings.simplefilter("ignore", TruncationWarning)
