// Plots of a claim's page; the figures are data in the page, colours of the text are those of the page.
"use strict";
(() => {
  const store = document.getElementById("figures");
  if (!store || typeof Plotly === "undefined") return;
  const figures = JSON.parse(store.textContent);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const draw = () => document.querySelectorAll(".plot").forEach((box) => {
    const figure = figures[box.dataset.figure];
    const axis = { gridcolor: css("--grid"), linecolor: css("--line"), zerolinecolor: css("--line") };
    const width = box.clientWidth;
    // The legend stands above the plot: a narrow one has a line of it for every series.
    const lines = width < 640 ? figure.data.length : Math.ceil(figure.data.length / 3);
    const layout = {
      ...figure.layout, width, height: 340 + 22 * lines,
      xaxis: { ...figure.layout.xaxis, ...axis }, yaxis: { ...figure.layout.yaxis, ...axis },
      paper_bgcolor: css("--surface"), plot_bgcolor: css("--surface"),
      font: { family: getComputedStyle(document.body).fontFamily, size: 13, color: css("--text") },
    };
    Plotly.react(box, figure.data, layout, { displayModeBar: false });
  });
  draw();
  addEventListener("resize", () => requestAnimationFrame(draw));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
