// What the tests ask of an open page (browsing.py).
({
  // Texts with less contrast than 4.5 : 1 against what is behind them (WCAG 2.2, 1.4.3), and how many were looked at.
  lowContrast() {
    const numbers = (color) => (color.match(/[\d.]+/g) || []).map(Number);
    const luminance = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
      for (let e = element; e; e = e.parentElement) {
        const c = numbers(getComputedStyle(e).backgroundColor);
        if (c.length === 3 || c[3] === 1) return c;
      }
      return [255, 255, 255];
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const bad = [];
    let seen = 0;
    while (walker.nextNode()) {
      const text = walker.currentNode.data.trim();
      const element = walker.currentNode.parentElement;
      if (!text || element.closest("script, style, noscript")) continue;
      if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
      const style = getComputedStyle(element);
      const front = luminance(numbers(element instanceof SVGElement ? style.fill : style.color));
      const back = luminance(behind(element));
      const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
      seen += 1;
      if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
    }
    return { seen, bad };
  },

  // Row labels of plots that run into one another or out of the plot.
  clashes() {
    const found = [];
    for (const plot of document.querySelectorAll(".plot")) {
      const frame = plot.getBoundingClientRect();
      const boxes = [...plot.querySelectorAll(".annotation-text")].map((e) => e.getBoundingClientRect());
      boxes.forEach((a, i) => {
        if (a.left < frame.left - 1 || a.right > frame.right + 1 || a.top < frame.top - 1) {
          found.push(`${plot.dataset.figure} outside`);
        }
        for (const b of boxes.slice(i + 1)) {
          const across = a.left < b.right && b.left < a.right;
          if (across && a.top < b.bottom - 1 && b.top < a.bottom - 1) found.push(`${plot.dataset.figure} overlap`);
        }
      });
    }
    return found;
  },

  // First lines of a column's visible cells, top to bottom; a cell's badge is on a line of its own or beside it.
  column(id, title) {
    const table = document.getElementById(id);
    const at = [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.trim() === title);
    const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    return rows.map((row) => (row.cells[at].querySelector("span, code") || row.cells[at]).textContent.trim());
  },

  // Bars and whiskers of every plot.
  drawn() {
    const count = (plot, selector) => plot.querySelectorAll(selector).length;
    return Object.fromEntries([...document.querySelectorAll(".plot")].map((plot) =>
      [plot.dataset.figure, [count(plot, ".bars .point path"), count(plot, ".errorbar path")]]));
  },

  // Whether every plot that is not folded away has been drawn for the width there is.
  settled() {
    return [...document.querySelectorAll(".plot")].every((plot) => !plot.checkVisibility()
      || (plot.querySelector(".main-svg") && plot._fullLayout.width === plot.clientWidth));
  },

  // Pixels by which the page is wider than the window, and a table wider than its box.
  overflow() {
    const root = document.documentElement;
    return root.scrollWidth - root.clientWidth;
  },
  scrollable(id) {
    const box = document.getElementById(id).parentElement;
    return box.scrollWidth - box.clientWidth;
  },

  // Colours that the two schemes must not share.
  colours() {
    const style = (selector) => getComputedStyle(document.querySelector(selector));
    return {
      page: style("body").backgroundColor, text: style("body").color,
      plot: style(".plot .main-svg").backgroundColor, label: style(".plot .annotation-text").fill,
      bar: style(".plot .bars .point path").fill,
    };
  },

  // What would leave a screen reader or a keyboard behind.
  structure() {
    const all = (selector) => [...document.querySelectorAll(selector)];
    const ids = all("[id]").filter((e) => !e.closest("svg")).map((e) => e.id);
    const references = all("[aria-labelledby]").map((e) => e.getAttribute("aria-labelledby"));
    const anchors = all("a[href^='#']").map((e) => e.getAttribute("href").slice(1));
    return {
      levels: all("h1, h2, h3, h4").map((e) => Number(e.tagName[1])),
      twice: ids.filter((id, i) => ids.indexOf(id) !== i),
      dangling: [...references, ...anchors].filter((id) => !document.getElementById(id)),
      captionless: all("table").filter((e) => !e.caption || !e.caption.textContent.trim()).length,
      wordless: all(".plot").filter((e) => e.getAttribute("aria-label").length < 20).length,
      unlabelled: all("input").filter((e) => !e.labels.length).length,
      unreachable: all(".scroll").filter((e) => e.tabIndex !== 0).length,
    };
  },

  // Tries to run a script and to fetch; what the page's policy stopped.
  async intrude() {
    const seen = [];
    document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    const image = new Image();
    image.src = "https://evil.example/x.png";
    document.body.append(script, image);
    await fetch("https://evil.example/").catch(() => {});
    await new Promise((done) => { setTimeout(done); });
    return { ran: Boolean(window.ran), seen: seen.sort() };
  },
})
