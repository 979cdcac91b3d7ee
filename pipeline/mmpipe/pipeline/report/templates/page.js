"use strict";
(() => {
  // Values beside the pointer.
  const tip = document.getElementById("tip");
  const show = (event) => {
    const target = event.target.closest ? event.target.closest("[data-tip]") : null;
    tip.hidden = !target;
    if (!target) return;
    tip.textContent = target.dataset.tip;
    const box = target.getBoundingClientRect();
    const x = event.clientX || box.left, y = event.clientY || box.top;
    const right = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(8, Math.min(x + 12, right)) + "px";
    tip.style.top = (y - tip.offsetHeight - 10 > 0 ? y - tip.offsetHeight - 10 : y + 16) + "px";
  };
  for (const name of ["pointerover", "pointermove", "click"]) document.addEventListener(name, show);
  document.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true, capture: true });

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
      rows.sort((a, b) => sign * compare(a[0], b[0]));
      table.tBodies[0].append(...rows.map((pair) => pair[1]));
    }));
  }

  // Rows are filtered by what is typed.
  for (const input of document.querySelectorAll(".filter input")) {
    const rows = [...input.closest(".table").querySelectorAll("tbody tr")];
    const count = input.parentElement.querySelector("output");
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      let shown = 0;
      for (const row of rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
        shown += row.hidden ? 0 : 1;
      }
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
