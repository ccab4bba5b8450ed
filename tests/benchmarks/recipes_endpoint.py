"""How busy the endpoint writer keeps a server: python -m tests.benchmarks.recipes_endpoint [DELAY_S]

An echo server in a process of its own answers each request after a fixed time and serves at most 64 at once, so its capacity is
known: 64 / delay. The writer is held against that.
"""

import asyncio
import json
import multiprocessing
import sys
import time

from medembed.recipes.execution import Execution
from medembed.recipes.llm import Llm
from medembed.recipes.records import Note, content_id
from medembed.recipes.writers.openai_endpoint import EndpointWriter

AT_ONCE, NOTES = 64, 640
DELAY_S = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0  # a language model takes longer


async def _serve(port: "multiprocessing.Queue[int]") -> None:
    places = asyncio.Semaphore(AT_ONCE)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                note = json.loads(await reader.readexactly(length))["messages"][1]["content"].partition("Note:\n")[2]
                async with places:
                    await asyncio.sleep(DELAY_S)
                item = {"query": "fever", "query_type": "keyword", "passage": note, "relevance_score": 5}
                choice = {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": json.dumps({"pairs": [item]})},
                }
                body = json.dumps(
                    {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
                ).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
                    + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=256)
    port.put(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def _run(port: "multiprocessing.Queue[int]") -> None:
    asyncio.run(_serve(port))


def main() -> None:
    port: multiprocessing.Queue[int] = multiprocessing.Queue()
    server = multiprocessing.Process(target=_run, args=(port,), daemon=True)
    server.start()
    execution = Execution(endpoint=f"http://127.0.0.1:{port.get()}/v1", concurrency=AT_ONCE)
    writer = EndpointWriter(Llm(), execution, seed=1)
    texts = [f"Fever number {i} went down." for i in range(NOTES)]
    notes = [Note(content_id(text), str(i), "s", "", "", text) for i, text in enumerate(texts)]
    list(writer.write(notes[:AT_ONCE]))  # connections open, libraries imported
    started = time.perf_counter()
    pairs = sum(len(written.pairs) for written in writer.write(notes))
    seconds = time.perf_counter() - started
    writer.close()
    server.terminate()
    capacity = AT_ONCE / DELAY_S
    print(
        json.dumps(
            {
                "pairs": pairs,
                "requests_per_s": round(NOTES / seconds, 1),
                "capacity": capacity,
                "busy": round(NOTES / seconds / capacity, 3),
            }
        )
    )


if __name__ == "__main__":
    main()
