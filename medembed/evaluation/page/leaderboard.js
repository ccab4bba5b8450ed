// Sorting and filtering of the leaderboard table. The table is complete without this script; nothing is fetched.

/** Mean of the chosen tasks, or null where one of them was not measured. */
function mean(scores, tasks) {
  const values = tasks.map((task) => scores[task]);
  if (!values.length || values.some((value) => value === undefined)) return null;
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Whether a row passes the filters; an empty filter passes everything. */
function passes(row, filters) {
  const trained = row.trained === null ? "unknown" : row.trained.some((task) => filters.tasks.includes(task)) ? "yes" : "no";
  return (
    row.name.toLowerCase().includes(filters.text.toLowerCase()) &&
    (!filters.size || row.size === filters.size) &&
    (!filters.license || row.license === filters.license) &&
    (!filters.who || row.who.includes(filters.who)) &&
    (!filters.trained || trained === filters.trained)
  );
}

/** Rows in order of a column; rows without a value come last, whichever way it is sorted. */
function ordered(rows, valueOf, descending) {
  const sign = descending ? -1 : 1;
  return [...rows].sort((first, second) => {
    const [a, b] = [valueOf(first), valueOf(second)];
    if (a === null || b === null) return (a === null) - (b === null);
    return sign * (typeof a === "string" ? a.localeCompare(b) : a - b);
  });
}

function start(root) {
  const body = root.querySelector("tbody");
  const rows = [...body.rows].map((element) => ({ ...JSON.parse(element.dataset.row), element }));
  const boxes = [...root.querySelectorAll("input[type=checkbox]")];
  const state = { column: "mean", descending: true };

  function refresh() {
    const tasks = boxes.filter((box) => box.checked).map((box) => box.value);
    const filters = { tasks };
    for (const field of root.querySelectorAll("[data-filter]")) filters[field.dataset.filter] = field.value;
    for (const cell of root.querySelectorAll("[data-task]")) cell.hidden = !tasks.includes(cell.dataset.task);
    const valueOf = (row) => {
      if (state.column === "mean") return mean(row.scores, tasks);
      if (state.column in row.scores) return row.scores[state.column];
      return row[state.column] ?? null;
    };
    for (const row of ordered(rows, valueOf, state.descending)) {
      const average = mean(row.scores, tasks);
      row.element.querySelector(".mean").textContent = average === null ? "–" : average.toFixed(2);
      row.element.hidden = !passes(row, filters);
      body.append(row.element);
    }
    root.querySelector(".count").textContent = `${rows.filter((row) => !row.element.hidden).length} of ${rows.length}`;
  }

  for (const header of root.querySelectorAll("th[data-column]")) {
    header.addEventListener("click", () => {
      const again = state.column === header.dataset.column;
      state.descending = again ? !state.descending : header.dataset.column !== "name";
      state.column = header.dataset.column;
      for (const other of root.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      header.setAttribute("aria-sort", state.descending ? "descending" : "ascending");
      refresh();
    });
  }
  root.addEventListener("input", refresh);
  refresh();
}

if (typeof document === "undefined") module.exports = { mean, passes, ordered, start };
else for (const root of document.querySelectorAll(".medembed-leaderboard")) start(root);
