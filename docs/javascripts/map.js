// The map of the demonstration corpus: a dot for each passage; topics are chosen by buttons, passages by mouse or from the list.

const SVG = "http://www.w3.org/2000/svg";
const SIZE = 600;
const MARGIN = 12;

function dot(point, index) {
  const circle = document.createElementNS(SVG, "circle");
  circle.setAttribute("cx", MARGIN + point.x * (SIZE - 2 * MARGIN));
  circle.setAttribute("cy", MARGIN + point.y * (SIZE - 2 * MARGIN));
  circle.setAttribute("r", 4.5);
  circle.classList.add(`topic-${point.topic}`);
  circle.dataset.index = index;
  return circle;
}

async function start(root) {
  const { topics, points } = await (await fetch(new URL(root.dataset.source, document.baseURI))).json();
  const [picture, legend, shown, list] = ["svg", ".map-legend", "[role=status]", "ul"].map((selector) => root.querySelector(selector));
  picture.setAttribute("viewBox", `0 0 ${SIZE} ${SIZE}`);
  const dots = points.map(dot);
  picture.replaceChildren(...dots);

  function show(index) {
    for (const circle of dots) circle.classList.toggle("chosen", circle === dots[index]);
    const { title, topic, source } = points[index];
    shown.textContent = `${title} (${source.split(":")[1]}; topic: ${topics[topic]})`;
  }

  function choose(topic) {
    for (const button of legend.children) button.setAttribute("aria-pressed", String(button.dataset.topic === String(topic)));
    dots.forEach((circle, index) => circle.classList.toggle("faded", topic !== null && points[index].topic !== topic));
    const rows = points.flatMap((point, index) => (point.topic === topic ? [[point.title, index]] : []));
    list.replaceChildren(
      ...rows.map(([title, index]) => {
        const [item, button] = [document.createElement("li"), document.createElement("button")];
        button.type = "button";
        button.textContent = title;
        button.addEventListener("click", () => show(index));
        button.addEventListener("focus", () => show(index));
        item.append(button);
        return item;
      }),
    );
  }

  topics.forEach((name, topic) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.topic = topic;
    button.append(Object.assign(document.createElement("i"), { className: `topic-${topic}` }), name);
    button.addEventListener("click", () => choose(button.getAttribute("aria-pressed") === "true" ? null : topic));
    legend.append(button);
  });
  picture.addEventListener("pointerover", (event) => event.target.dataset.index && show(Number(event.target.dataset.index)));
  choose(null);
}

for (const root of document.querySelectorAll(".corpus-map")) start(root);
