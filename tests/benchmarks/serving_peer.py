"""sentence-transformers behind FastAPI, as people write it: the peer of the server's benchmark. `python -m … FOLDER PORT THREADS`."""

import sys
from typing import Any


def main() -> None:
    """Serve `/v1/embeddings` until the process is ended."""
    import torch
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel
    from sentence_transformers import SentenceTransformer

    folder, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    model = SentenceTransformer(folder, device="cpu")
    app = FastAPI()

    class Asked(BaseModel):
        input: list[str]
        model: str = ""

    @app.post("/v1/embeddings")
    def embed(asked: Asked) -> dict[str, Any]:
        rows = model.encode(asked.input)
        return {"data": [{"index": i, "embedding": row.tolist()} for i, row in enumerate(rows)]}

    uvicorn.run(app, port=port, log_level="warning")


if __name__ == "__main__":
    main()
