"""The server's processes: start, listen, stop, read keys anew."""

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from medembed.errors import MedEmbedError, ServingError
from medembed.runtime import hardware
from medembed.serving import app, audit, keys
from medembed.serving.metrics import SHARED
from medembed.serving.protocol import PatientProtocol
from medembed.serving.served import Served, count_only
from medembed.serving.settings import Serving
from medembed.storage.manifest import kind_of
from medembed.terminal import say

# A thread of ours that computes in Python hands over to the event loop after so long; the usual 5 ms show in each query.
SWITCH_S = 0.0005
# Connections that wait to be taken; uvicorn has as many.
BACKLOG = 2_048
# Clients keep idle connections for 5 s, which is uvicorn's usual time too: who closes first would be a matter of luck.
KEEP_ALIVE_S = 30
# A worker that loads its models on a busy machine answers nothing for a while; uvicorn's own 5 s would kill it and start another.
WORKER_S = 60
# connections beyond the requests that are answered: what waits or idles costs memory too
CONNECTIONS_A_REQUEST = 4

log = logging.getLogger("medembed.serving")


def serve(serving: Serving, *, workers: int = 1, certificate: tuple[str, str] | None = None) -> None:
    """Serve until a signal says to stop. What runs is finished then.

    Args:
        serving: What to serve.
        workers: Processes; each has the models in its own memory, and its share of the cores.
        certificate: Files of a TLS certificate and its key; None for plain HTTP.

    Raises:
        ServingError: The port is taken, or a file cannot be used.
        MedEmbedError: A model or a corpus cannot be opened.
    """
    check(serving)
    listening = listen(serving.host, serving.port)
    address = _address(serving, listening, certificate)
    if workers == 1:
        _alone(serving, listening, address, certificate)
    else:
        _together(serving, listening, address, certificate, workers)


def _alone(serving: Serving, listening: socket.socket, address: str, certificate: tuple[str, str] | None) -> None:
    _set_process()
    served = Served(serving)  # before uvicorn, which would tell an error in twenty lines

    def started(_: Served) -> None:
        reload_on_hangup(served)
        say(f"{_told(serving)} on {address}", error=True)

    made = app.application(lambda: served, started, origins=serving.origins)
    uvicorn.Server(_config(made, serving, certificate)).run(sockets=[listening])


def _together(
    serving: Serving, listening: socket.socket, address: str, certificate: tuple[str, str] | None, workers: int
) -> None:
    threads = max(1, (serving.threads or hardware.usable_cores()) // workers)
    each = replace(serving, threads=threads)
    with tempfile.TemporaryDirectory(prefix="medembed-metrics-") as counted:
        os.environ[SHARED] = counted
        config = _config(partial(worker, each), each, certificate, workers)
        say(f"{_told(serving)} on {address}, in {workers} processes of {threads} threads", error=True)
        Multiprocess(config, sockets=[listening]).run()


def serve_mcp(serving: Serving, made: Callable[[Served], ASGIApp]) -> None:
    """Serve an application over HTTP until a signal says to stop.

    Args:
        serving: What to serve.
        made: Makes the application.

    Raises:
        MedEmbedError: As :func:`serve`.
    """
    check(serving)
    listening = listen(serving.host, serving.port)
    _set_process()
    served = Served(serving)
    say(f"{_told(serving)} on {_address(serving, listening, None)}/mcp", error=True)
    try:
        uvicorn.Server(_config(made(served), serving, None)).run(sockets=[listening])
    finally:
        served.close()


def serve_stdio(serving: Serving, run: Callable[[Served], object]) -> None:
    """Serve what speaks over standard input and output until it ends.

    Args:
        serving: What to serve.
        run: Runs it.

    Raises:
        MedEmbedError: As :func:`serve`.
    """
    check(serving)
    _set_process()
    served = Served(serving)
    try:
        run(served)
    finally:
        served.close()


def worker(serving: Serving) -> Starlette:
    """The application of one worker process, made there."""
    _set_process()
    return app.application(partial(Served, serving), origins=serving.origins)


def _config(
    made: ASGIApp | Callable[[], Starlette], serving: Serving, certificate: tuple[str, str] | None, workers: int = 1
) -> uvicorn.Config:
    limits = serving.limits
    patient: Any = partial(
        PatientProtocol, header_s=limits.header_s, answer_s=limits.answer_s
    )  # uvicorn calls it for each connection
    try:
        config = uvicorn.Config(
            made,
            factory=workers > 1,
            workers=workers,
            http=patient,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_A_REQUEST * limits.requests,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_worker_healthcheck=WORKER_S,
            timeout_graceful_shutdown=int(limits.stop_s),
            ssl_certfile=certificate[0] if certificate else None,
            ssl_keyfile=certificate[1] if certificate else None,
        )
        if certificate and workers == 1:
            config.load()
    except OSError as error:
        raise ServingError(
            f"--tls-cert and --tls-key: these files are no certificate and its key ({type(error).__name__})"
        ) from None
    return config


def check(serving: Serving) -> None:
    """Look at the files, before anything is loaded.

    Raises:
        MedEmbedError: The keys, the log or a corpus cannot be used.
    """
    keys.Keyring(serving.keys)
    audit.AuditLog(serving.audit).close()
    for folder in serving.corpora.values():
        if kind_of(folder) is None:
            raise ServingError(f"--corpus {folder}: there is no corpus here; medembed index makes one")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        ServingError: The address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio switches Nagle's delay off only where the protocol is named: an answer in two packets waited 40 ms for the client
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)  # whoever reads the address may connect at once
    except OSError as error:
        listening.close()
        raise ServingError(
            f"cannot listen on {host}, port {port} ({os.strerror(error.errno or 0) if error.errno and error.errno > 0 else 'no such address'}): "
            "give --host and --port that are free here"
        ) from None
    listening.set_inheritable(True)
    return listening


def reload_on_hangup(served: Served) -> None:
    """Read the keys again and open the log anew at SIGHUP, which the system has on Unix alone."""
    if not hasattr(signal, "SIGHUP"):
        return

    def reload() -> None:
        try:
            served.keyring.reload()
            served.audit.reopen()
        except MedEmbedError as error:
            log.error("at SIGHUP: %s; what was read before goes on", error)  # noqa: TRY400 - its words are all there is to say
        else:
            log.info("at SIGHUP: keys read, audit log opened")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)


def _address(serving: Serving, listening: socket.socket, certificate: tuple[str, str] | None) -> str:
    host = f"[{serving.host}]" if ":" in serving.host else serving.host
    return f"{'https' if certificate else 'http'}://{host}:{listening.getsockname()[1]}"


def _told(serving: Serving) -> str:
    what = [serving.model]
    if serving.late_interaction is not None:
        what.append(f"ranking by {serving.late_interaction}")
    if serving.corpora:
        what.append(f"corpora {', '.join(serving.corpora)}")
    return f"medembed serves {'; '.join(what)}"


def _set_process() -> None:
    """Log warnings of libraries and our own lines to standard error. Nothing of a request but its route is among them."""
    count_only()
    sys.setswitchinterval(SWITCH_S)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
