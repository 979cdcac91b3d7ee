"use strict";
(() => {
  // Values beside the pointer.
  const tip = document.getElementById("tip");
  const place = (x, y) => {
    const right = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(x + 12, right)) + "px";
    tip.style.top = (y - tip.offsetHeight - 10 > 0 ? y - tip.offsetHeight - 10 : y + 16) + "px";
  };
  const show = (event) => {
    const target = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = target.dataset.tip;
    const box = target.getBoundingClientRect();
    place(event.clientX || box.left, event.clientY || box.top);
  };
  for (const name of ["pointerover", "pointermove", "click"]) document.addEventListener(name, show);

  // Values by keyboard: a chart is one stop, its arrow keys go from value to value, and each is announced.
  const said = document.getElementById("said");
  let current = null;
  const leave = () => {
    if (current) current.classList.remove("current");
    current = null;
    tip.hidden = true;
  };
  const beside = () => {
    const box = current.getBoundingClientRect();
    place(box.left + box.width / 2, box.top);
  };
  const go = (mark) => {
    if (!mark) return;
    leave();
    current = mark;
    mark.classList.add("current");
    mark.scrollIntoView({ block: "nearest", inline: "nearest" });
    tip.hidden = false;
    tip.textContent = said.textContent = mark.dataset.tip;
    beside();
  };
  const middle = (mark) => {
    const box = mark.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  const nearest = (marks, sign) => {
    const [x, y] = middle(current);
    let found = null, least = Infinity;
    for (const mark of marks) {
      const [a, b] = middle(mark), far = Math.abs(b - y) + 3 * Math.abs(a - x);
      if (sign * (b - y) > 0.5 && far < least) [found, least] = [mark, far];
    }
    return found;
  };
  document.addEventListener("keydown", (event) => {
    const chart = event.target.closest("[data-keys]");
    if (!chart || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") return leave();
    const marks = [...chart.querySelectorAll("[data-tip]")], at = marks.indexOf(current), last = marks.length - 1;
    const ahead = { ArrowRight: 1, ArrowLeft: -1, PageDown: 10, PageUp: -10 }[event.key];
    const side = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Home" || event.key === "End") go(marks[event.key === "Home" ? 0 : last]);
    else if (!ahead && !side) return;
    else if (at < 0) go(marks[0]);
    else go(ahead ? marks[Math.max(0, Math.min(last, at + ahead))] : nearest(marks, side));
    event.preventDefault();
  });
  document.addEventListener("focusout", leave);
  document.addEventListener("pointerdown", leave);
  document.addEventListener("scroll", () => { if (current) beside(); else tip.hidden = true; }, { passive: true, capture: true });
  for (const chart of document.querySelectorAll("svg.chart, .matrix table")) {
    if (!chart.querySelector("[data-tip]")) continue;
    chart.dataset.keys = "";
    chart.tabIndex = 0;
    chart.setAttribute("aria-describedby", "keys");
    if (chart.matches("svg")) {
      chart.setAttribute("role", "application");
      chart.setAttribute("aria-roledescription", "chart");
    }
  }

  // What scrolls sideways or in a box can be scrolled by keyboard.
  const stops = () => {
    for (const box of document.querySelectorAll(".scroll")) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (scrolls) box.tabIndex = 0; else box.removeAttribute("tabindex");
    }
  };
  stops();
  addEventListener("resize", stops);
  document.addEventListener("toggle", stops, true);

  // Tables sort by their headings.
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
  };
  const compare = (a, b) => {
    const numbers = typeof a === "number" && typeof b === "number";
    return numbers ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  };
  for (const table of document.querySelectorAll("table[data-sort]")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].map((row) => [value(row, column), row]);
      const empty = (key) => key === "" || Number.isNaN(key);
      rows.sort(([a], [b]) => empty(a) - empty(b) || sign * compare(a, b));
      table.tBodies[0].append(...rows.map((pair) => pair[1]));
    }));
  }

  // Rows are filtered by what is typed.
  for (const input of document.querySelectorAll(".filter input")) {
    const rows = [...input.closest(".table").querySelectorAll("tbody tr")];
    const texts = rows.map((row) => [...row.cells].map((cell) => cell.textContent.toLowerCase()).join("\n"));
    const count = input.parentElement.querySelector("output");
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      let shown = 0;
      rows.forEach((row, number) => {
        row.hidden = !texts[number].includes(wanted);
        shown += row.hidden ? 0 : 1;
      });
      count.textContent = wanted ? shown + " of " + rows.length + " rows" : rows.length + " rows";
    });
  }

  // Points change their colours.
  for (const group of document.querySelectorAll(".switch")) {
    const figure = group.closest("figure"), buttons = [...group.querySelectorAll("button")];
    const dots = [...figure.querySelectorAll(".dot")], legends = [...figure.querySelectorAll(".legend")];
    buttons.forEach((button, place) => button.addEventListener("click", () => {
      buttons.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
      legends.forEach((each, number) => { each.hidden = number !== place; });
      for (const dot of dots) dot.setAttribute("class", "dot c" + dot.dataset.c.split(" ")[place]);
    }));
  }

  // On paper nothing is folded away.
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details:not([open])")) {
      details.open = true;
      addEventListener("afterprint", () => { details.open = false; }, { once: true });
    }
  });
})();
