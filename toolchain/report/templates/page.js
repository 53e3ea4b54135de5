// Plots, sorting and filtering of every page. Text from a result is only ever set as text:
// the one place that reads markup, plotly's labels, gets it escaped.
"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const escape = (s) => s.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  // ---- plots -------------------------------------------------------------------------------
  // A colour in a figure is the name of a CSS variable; only keys named "color" are looked up.
  const coloured = (value) => {
    if (Array.isArray(value)) return value.map(coloured);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) =>
      [key, key === "color" && typeof item === "string" && item.startsWith("--") ? css(item) : coloured(item)]));
  };

  // A line above each bar: what it is on the left, its value on the right, cut to the width there is.
  const pen = document.createElement("canvas").getContext("2d");
  const labels = (figure, width, font) => (figure.labels || []).flatMap(({ y, left, right }) => {
    const wide = (s, weight) => { pen.font = `${weight} ${font.size}px ${font.family}`; return pen.measureText(s).width; };
    const room = width - wide(right, "bold") - 40;
    let shown = left;
    for (let n = left.length - 1; n > 0 && wide(shown, "normal") > room; n -= 1) shown = `${left.slice(0, n)}…`;
    const base = { xref: "paper", yref: "y", y, yshift: 20, showarrow: false };
    return [
      { ...base, x: 0, xanchor: "left", align: "left", text: escape(shown) },
      { ...base, x: 1, xanchor: "right", align: "right", text: `<b>${escape(right)}</b>` },
    ];
  });

  // A legend above a plot has a line for every three series, and for each one where the plot is narrow.
  const legend = ({ data, layout }, width) => (layout.legend && layout.legend.y > 1
    ? 22 * (width < 640 ? data.length : Math.ceil(data.length / 3)) : 0);

  const draw = (box, figure) => {
    const width = box.clientWidth;
    if (!width) return; // inside a closed <details>; the observer calls again when it opens
    const font = { family: getComputedStyle(document.body).fontFamily, size: width < 420 ? 12 : 13, color: css("--text") };
    const titled = (axis) => (axis.title ? { ...axis, title: { ...axis.title, font: { ...font, color: css("--muted") } } } : axis);
    const lines = { gridcolor: css("--grid"), tickcolor: css("--line"), zerolinecolor: css("--line") };
    const upright = figure.layout.yaxis.visible === false ? {} : lines;
    const layout = {
      ...figure.layout, width, height: figure.layout.height + legend(figure, width),
      xaxis: { ...titled(figure.layout.xaxis), ...lines }, yaxis: { ...titled(figure.layout.yaxis), ...upright },
      annotations: labels(figure, width, font),
      paper_bgcolor: css("--surface"), plot_bgcolor: css("--surface"),
      font,
      hoverlabel: { bgcolor: css("--sunken"), bordercolor: css("--line"), font: { color: css("--text") } },
    };
    // Hatching of plotly's "replace" kind draws on the colour behind it.
    const data = coloured(figure.data).map((trace) => trace.marker && trace.marker.pattern
      ? { ...trace, marker: { ...trace.marker, pattern: { ...trace.marker.pattern, bgcolor: css("--surface"), fgcolor: trace.marker.color }, line: { width: 1.5, color: trace.marker.color } } }
      : trace);
    // Where dragging zooms, a double click goes back.
    const still = layout.dragmode === false ? { doubleClick: false, showTips: false } : {};
    Plotly.react(box, data, layout, { displayModeBar: false, scrollZoom: false, ...still });
  };

  const store = document.getElementById("figures");
  if (store && typeof Plotly !== "undefined") {
    const figures = JSON.parse(store.textContent);
    const boxes = [...document.querySelectorAll(".plot")];
    const redraw = (box) => draw(box, figures[box.dataset.figure]);
    const watch = new ResizeObserver((entries) => requestAnimationFrame(() => entries.forEach((entry) => {
      if (entry.target.dataset.width !== String(entry.target.clientWidth)) {
        entry.target.dataset.width = entry.target.clientWidth;
        redraw(entry.target);
      }
    })));
    boxes.forEach((box) => watch.observe(box));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => boxes.forEach(redraw));
  }

  // ---- tables ------------------------------------------------------------------------------
  // Numbers before words; a cell without a figure is last in either direction.
  const key = (row, column) => {
    const cell = row.cells[column];
    return { missing: "missing" in cell.dataset, number: "sort" in cell.dataset ? Number(cell.dataset.sort) : null,
      words: cell.textContent.trim() };
  };
  const compare = (a, b) => {
    if (a.number !== null && b.number !== null) return a.number - b.number;
    if (a.number !== null || b.number !== null) return a.number !== null ? -1 : 1;
    return a.words.localeCompare(b.words, undefined, { numeric: true });
  };
  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, key: key(row, column) }));
    rows.sort((a, b) => (a.key.missing !== b.key.missing ? (a.key.missing ? 1 : -1) : direction * compare(a.key, b.key)));
    body.append(...rows.map(({ row }) => row));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        sort(table, column, up ? 1 : -1);
      });
    });
  }
  for (const box of document.querySelectorAll(".filter")) {
    box.hidden = false;
    const input = box.querySelector("input");
    const rows = [...document.getElementById(input.id.slice("filter-".length)).tBodies[0].rows];
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += row.hidden ? 0 : 1;
      }
      box.querySelector(".shown").textContent = words.length ? `${shown} of ${rows.length} rows` : "";
    });
  }

  // ---- copying the command -----------------------------------------------------------------
  const copy = document.getElementById("copy");
  if (copy && navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", () => {
      const said = document.getElementById("copied");
      navigator.clipboard.writeText(document.getElementById("command").textContent).then(
        () => { said.textContent = "Copied."; },
        () => { said.textContent = "The browser did not allow it: select the text instead."; },
      );
    });
  }
})();
