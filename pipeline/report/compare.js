"use strict";
// Shows two runs of #data-runs in #side-by-side: their curves in one chart, their results, and the keys that differ.
(() => {
  const runs = JSON.parse(document.getElementById("data-runs").textContent);
  const container = document.getElementById("side-by-side");
  const MEASURES = {
    loss: [["loss", "training", "dot"], ["val_loss", "validation", "solid"]],
    accuracy: [["accuracy", "training", "dot"], ["val_accuracy", "validation", "solid"]],
  };
  const COLOURS = ["var(--blue)", "var(--orange)"];
  const make = (tag, text = "", attributes = {}) => {
    const element = document.createElement(tag);
    element.textContent = text; // is never read as markup
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  // Plotly would read tags in labels.
  const label = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  if (runs.length < 2) {
    container.append(make("p", "There are fewer than two runs to compare.", { class: "muted" }));
    return;
  }
  const trained = runs.map((run, n) => n).filter((n) => runs[n].curves.epoch);
  const chosen = [...trained, 0, 1].filter((n, i, all) => all.indexOf(n) === i).slice(0, 2).reverse();
  let measure = "loss";
  const bar = make("div", "", { class: "pick" });
  const selects = chosen.map((number, i) => {
    const select = make("select", "", { "aria-label": i ? "second run" : "first run" });
    runs.forEach((run, n) => select.append(make("option", run.label, { value: n })));
    select.value = number;
    select.addEventListener("change", () => { chosen[i] = Number(select.value); fill(); });
    return select;
  });
  const buttons = make("span", "", { class: "views" });
  for (const name of Object.keys(MEASURES)) {
    const button = make("button", name, { "aria-pressed": String(name === measure) });
    button.addEventListener("click", () => {
      measure = name;
      for (const other of buttons.children) other.setAttribute("aria-pressed", String(other === button));
      fill();
    });
    buttons.append(button);
  }
  bar.append(...selects, buttons);
  const chart = make("div", "", { id: "compare-chart", class: "plot" });
  chart.style.height = "360px";
  const table = make("table");
  const frame = make("div", "", { class: "table" });
  frame.append(table);
  container.append(bar, chart, frame);

  const stageOf = (key) => /^stages\.[^.]+/.exec(key)?.[0];
  const rowsOf = (pair) => {
    const results = [["status", "status"], ["validation accuracy", "validation"], ["test accuracy", "test"], ["seconds", "seconds"]];
    const rows = results.map(([name, key]) => [name, ...pair.map((run) => run[key] ?? "")]);
    const configs = pair.map(({ config }) => config);
    const stages = configs.map((config) => new Set(Object.keys(config).map(stageOf).filter(Boolean)));
    for (const key of [...new Set(configs.flatMap(Object.keys))].sort()) {
      const stage = stageOf(key);
      const isWholeStage = stage && !stages.every((names) => names.has(stage)); // one row for a stage that only one run has
      const values = isWholeStage ? stages.map((names) => (names.has(stage) ? "chosen" : "")) : configs.map((config) => config[key] ?? "");
      if (isWholeStage && rows.some(([name]) => name === stage)) continue;
      if (values[0] !== values[1]) rows.push([isWholeStage ? stage : key, ...values]);
    }
    return rows;
  };

  const fill = () => {
    const pair = chosen.map((number) => runs[number]);
    const data = pair.flatMap((run, i) => MEASURES[measure].filter(([key]) => run.curves[key]).map(([key, name, dash]) => ({
      type: "scatter", mode: "lines", x: run.curves.epoch, y: run.curves[key], name: label(`${run.label}, ${name}`),
      line: { color: COLOURS[i], width: 2.2, dash },
    })));
    const layout = { hovermode: "x unified", xaxis: { title: { text: "epoch" } }, yaxis: { title: { text: measure } } };
    if (!data.length) layout.annotations = [{ text: "neither run has epochs", showarrow: false, xref: "paper", yref: "paper", x: .5, y: .5 }];
    globalThis.show({ id: "compare-chart", title: "", views: {}, data, layout });
    const head = make("tr");
    ["", ...pair.map((run) => run.label)].forEach((text) => head.append(make("th", text)));
    table.replaceChildren(head, ...rowsOf(pair).map((cells) => {
      const row = make("tr");
      cells.forEach((cell) => row.append(make("td", String(cell))));
      return row;
    }));
  };
  addEventListener("plotly", fill);
})();
