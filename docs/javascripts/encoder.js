// The bundled model in the browser: files fetched and unpacked, a text in, a vector of unit length out.

import { WordPiece } from "./wordpiece.js";

/** A file's bytes; `.gzip` is unpacked here. Tells how many bytes have come. */
async function bytes(url, came) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.pathname.split("/").pop()}: the server answered ${response.status}`);
  const counted = response.body.pipeThrough(
    new TransformStream({
      transform(chunk, stream) {
        came(chunk.length);
        stream.enqueue(chunk);
      },
    }),
  );
  const plain = url.pathname.endsWith(".gzip") ? counted.pipeThrough(new DecompressionStream("gzip")) : counted;
  return new Uint8Array(await new Response(plain).arrayBuffer());
}

export class Encoder {
  /**
   * Load everything a search needs.
   * @param {URL} folder where `tryout.json` lies
   * @param {(share: number) => void} progress called with 0 to 1
   */
  static async load(folder, progress) {
    const about = await (await fetch(new URL("tryout.json", folder))).json();
    const names = ["encoder.onnx.gzip", "ort.wasm.gzip", "vocabulary.txt", "passages.json"];
    const all = names.reduce((sum, name) => sum + about.bytes[name], 0);
    let done = 0;
    const came = (n) => progress((done += n) / all);
    const [weights, runtime, vocabulary, corpus] = await Promise.all(names.map((name) => bytes(new URL(name, folder), came)));
    const ort = await import(new URL("ort.mjs", folder));
    ort.env.wasm.numThreads = 1; // more need headers that static hosts do not send
    ort.env.wasm.wasmBinary = runtime.buffer;
    const text = (array) => new TextDecoder().decode(array);
    const session = await ort.InferenceSession.create(weights, { executionProviders: ["wasm"] });
    const encoder = new Encoder(ort, session, new WordPiece(text(vocabulary)), about.max_tokens, JSON.parse(text(corpus)));
    await encoder.encode("pain"); // the first run is several times slower than the next: not with the reader waiting
    return encoder;
  }

  constructor(ort, session, tokenizer, maxTokens, corpus) {
    Object.assign(this, { ort, session, tokenizer, maxTokens, corpus });
    this.vectors = Int8Array.from(atob(corpus.vectors), (c) => c.charCodeAt(0));
  }

  /** Vector of a text: the mean of its tokens' states, scaled to unit length. */
  async encode(text) {
    const ids = this.tokenizer.encode(text, this.maxTokens);
    const tensor = (values) => new this.ort.Tensor("int64", BigInt64Array.from(values, BigInt), [1, ids.length]);
    const feeds = { input_ids: tensor(ids), attention_mask: tensor(ids.map(() => 1)), token_type_ids: tensor(ids.map(() => 0)) };
    const { last_hidden_state: states } = await this.session.run(feeds);
    const dimension = states.dims[2];
    const sum = new Float32Array(dimension);
    states.data.forEach((value, index) => (sum[index % dimension] += value));
    const length = Math.hypot(...sum);
    return sum.map((value) => value / length);
  }

  /** The `k` passages nearest to a query, best first: `{score, title, text, source}`. */
  async search(query, k) {
    const vector = await this.encode(query);
    const { passages, scales } = this.corpus;
    const scores = scales.map((scale, row) => {
      let sum = 0;
      for (let d = 0, at = row * vector.length; d < vector.length; d++, at++) sum += vector[d] * this.vectors[at];
      return sum * scale;
    });
    const order = [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, k);
    return order.map((row) => ({ score: scores[row], ...passages[row] }));
  }
}
