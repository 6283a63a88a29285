"use strict";
// Draws the charts of a page (figures in #data-charts, Plotly compressed in #data-plotly), sorts tables, copies commands.
(() => {
  const root = document.documentElement;
  const charts = JSON.parse(document.getElementById("data-charts").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const config = {
    responsive: true, displaylogo: false,
    // listed, since Plotly's default buttons offer to upload the chart; on a touch screen fingers zoom
    displayModeBar: matchMedia("(hover: none)").matches ? false : "hover",
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
  };

  // Replaces the names of the page's colours, such as `var(--blue)`, wherever a figure has a colour.
  const resolveColours = (value, isColour, style) => {
    if (Array.isArray(value)) return value.map((inner) => resolveColours(inner, isColour, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(
        ([key, inner]) => [key, resolveColours(inner, isColour || /color/.test(key), style)]));
    }
    const name = isColour && typeof value === "string" && /^var\((--[a-z]+)\)$/.exec(value);
    return name ? style.getPropertyValue(name[1]).trim() : value;
  };

  const merge = (base, over) => {
    const result = { ...base };
    for (const [key, value] of Object.entries(over)) {
      const both = value && typeof value === "object" && !Array.isArray(value) && result[key];
      result[key] = both ? merge(result[key], value) : value;
    }
    return result;
  };

  const layoutOf = (chart, style) => {
    const font = { family: style.getPropertyValue("--font").trim(), size: 12, color: "var(--ink)" };
    const axis = {
      gridcolor: "var(--grid)", linecolor: "var(--grid)", zerolinecolor: "var(--grid)", automargin: true,
      title: { standoff: 8, font: { color: "var(--muted)" } }, tickfont: { color: "var(--muted)" },
    };
    let layout = {
      autosize: true, font, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      margin: { l: 48, r: 14, t: 26, b: 40 }, colorway: ["blue", "orange", "green", "purple", "sky", "red"].map((n) => `var(--${n})`),
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
      hoverlabel: { bgcolor: "var(--paper)", bordercolor: "var(--grid)", font: { ...font, color: "var(--ink)" }, align: "left", namelength: -1 },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "var(--muted)", activecolor: "var(--ink)" },
    };
    const given = chart.layout || {};
    const axes = Object.keys(given).filter((key) => /^[xy]axis\d*$/.test(key));
    for (const name of new Set(["xaxis", "yaxis", ...axes])) layout[name] = axis;
    layout = resolveColours(merge(layout, given), false, style);
    for (const [path, value] of Object.entries(chart.views[chart.view] || {})) {
      const keys = path.split(".");
      const last = keys.pop();
      keys.reduce((inner, key) => (inner[key] = { ...inner[key] }), layout)[last] = value;
    }
    return layout;
  };

  const draw = (chart) => {
    const style = getComputedStyle(root);
    const element = document.getElementById(chart.id);
    try {
      if (!chart.drawn) element.replaceChildren();
      chart.drawn = true;
      return Plotly.react(element, resolveColours(chart.data, false, style), layoutOf(chart, style), config);
    } catch (error) {
      console.error(chart.id, error);
      element.textContent = "This chart could not be drawn.";
    }
  };

  const unpack = async () => {
    const packed = document.getElementById("data-plotly").textContent;
    if (!packed) return;
    const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
  };

  const drawAll = async () => {
    for (const chart of charts) {
      chart.view = Object.keys(chart.views)[0];
      await draw(chart);
      await new Promise((done) => setTimeout(done)); // lets the page respond in between
    }
    root.dataset.drawn = "yes";
  };

  const start = async () => {
    if (typeof DecompressionStream === "undefined") {
      for (const element of document.querySelectorAll(".plot")) {
        element.textContent = "This browser is too old to unpack the charts (it lacks DecompressionStream).";
      }
      return;
    }
    await unpack();
    dispatchEvent(new Event("plotly"));
    await drawAll();
  };

  // Draws a chart, or draws it again, for the scripts of a page. They may call it after the event "plotly".
  globalThis.show = (chart) => {
    const index = charts.findIndex((one) => one.id === chart.id);
    if (index < 0) charts.push(chart);
    else charts[index] = { ...chart, drawn: true };
    return draw(charts[index < 0 ? charts.length - 1 : index]);
  };

  const redraw = () => charts.filter((chart) => chart.drawn).forEach(draw);
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { root.classList.add("light"); redraw(); });
  addEventListener("afterprint", () => { root.classList.remove("light"); redraw(); });

  const sort = (header) => {
    const table = header.closest("table");
    const ascending = header.getAttribute("aria-sort") === "descending";
    const column = [...header.parentNode.children].indexOf(header);
    const key = (row) => {
      const cell = row.children[column];
      return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
    };
    const compare = (a, b) => {
      if (a === "" || b === "") return (a === "") - (b === ""); // empty cells stay below
      const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), undefined, { numeric: true });
      return ascending ? order : -order;
    };
    const rows = [...table.tBodies[0].rows].sort((a, b) => compare(key(a), key(b)));
    table.tBodies[0].append(...rows);
    for (const other of header.parentNode.children) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  };

  const copy = async (button) => {
    const code = button.parentNode.querySelector("code");
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {
      getSelection().selectAllChildren(code);
      document.execCommand("copy");
    }
    button.textContent = "copied";
    setTimeout(() => { button.textContent = "copy"; }, 1500);
  };

  const switchView = (button) => {
    const chart = charts.find((one) => one.id === button.dataset.chart);
    chart.view = button.dataset.view;
    for (const other of button.parentNode.children) other.setAttribute("aria-pressed", String(other === button));
    draw(chart);
  };

  document.addEventListener("click", ({ target }) => {
    if (target.matches("table.sortable th")) sort(target);
    if (target.matches("button.copy")) copy(target);
    if (target.matches("button[data-view]")) switchView(target);
  });
  document.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && event.target.matches("table.sortable th")) {
      event.preventDefault();
      sort(event.target);
    }
  });
  start();
})();
