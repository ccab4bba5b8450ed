// The try-out page: loads the encoder when first asked, then answers as one types and presses Enter. Or asks a server.

import { Encoder } from "./encoder.js";
import { askServer, serverOf } from "./server.js";

const SHOWN = 5;
const SHOWN_CHARS = 420;

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

function hit({ score, title, text, source }) {
  const item = element("li");
  const head = element("p", "tryout-title");
  head.append(element("b", "", title), " ", element("span", "tryout-score", score.toFixed(3)));
  const body = text.length > SHOWN_CHARS ? `${text.slice(0, SHOWN_CHARS).trimEnd()} …` : text;
  item.append(head, element("p", "", body), element("p", "tryout-source", source.split(":").at(-1)));
  return item;
}

function start(root) {
  const folder = new URL(root.dataset.folder, document.baseURI);
  const parts = ["form", "input", "[role=status]", "ol", "[name=server]", "[name=key]"];
  const [form, input, status, hits, server, key] = parts.map((selector) => root.querySelector(selector));
  let loading = null;

  const load = () =>
    (loading ??= Encoder.load(folder, (share) => (status.textContent = `Loading the model: ${Math.round(share * 100)} %`)));

  server.value = serverOf(location.search);
  server.closest("details").open = server.value !== "";

  async function answerFrom(address, query) {
    try {
      const began = performance.now();
      const found = await askServer(address, key.value, query, SHOWN);
      hits.replaceChildren(...found.map(hit));
      status.textContent = `Answered by ${address} in ${(performance.now() - began).toFixed(0)} ms.`;
    } catch (error) {
      hits.replaceChildren();
      status.textContent = error.message;
    }
  }

  async function answer(query) {
    if (server.value.trim()) return answerFrom(server.value.trim(), query);
    try {
      const encoder = await load();
      const began = performance.now();
      const found = await encoder.search(query, SHOWN);
      const took = performance.now() - began;
      hits.replaceChildren(...found.map(hit));
      status.textContent = `${encoder.corpus.passages.length} passages searched in ${took.toFixed(0)} ms, here in your browser.`;
      root.dataset.milliseconds = took.toFixed(1);
    } catch (error) {
      loading = null;
      status.textContent = `It did not load (${error.message}). The same search runs in a terminal: medembed demo`;
    }
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value.trim()) answer(input.value);
  });
  for (const example of root.querySelectorAll("[data-example]")) {
    example.addEventListener("click", () => {
      input.value = example.textContent;
      answer(input.value);
    });
  }
}

for (const root of document.querySelectorAll(".tryout")) start(root);
