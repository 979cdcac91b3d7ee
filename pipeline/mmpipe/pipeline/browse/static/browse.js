"use strict";

const find = (selector) => document.querySelector(selector);
const player = find("#player");
const help = find("#help");
const rows = [...document.querySelectorAll("table.list tbody tr")];
let chosen = -1;

function choose(number) {
  if (!rows.length) return;
  if (chosen >= 0) rows[chosen].classList.remove("chosen");
  chosen = Math.max(0, Math.min(rows.length - 1, number));
  rows[chosen].classList.add("chosen");
  rows[chosen].querySelector("a").focus();
  rows[chosen].scrollIntoView({ block: "nearest" });
}

function move(step, link) {
  if (rows.length) choose(chosen + step);
  else if (find(link)) find(link).click();
}

function toggle() {
  if (!player) return;
  if (player.paused) player.play().catch(() => {});
  else player.pause();
}

function mark() {
  const box = find("#bad");
  if (!box) return;
  box.checked = !box.checked;
  box.form.requestSubmit();
}

function search() {
  const field = find("#search");
  if (field) {
    field.focus();
    field.select();
  } else if (find("#back")) {
    const link = new URL(find("#back").href);
    link.hash = "search";
    location.assign(link);
  }
}

const keys = {
  j: () => move(1, "#next"),
  ArrowRight: () => move(1, "#next"),
  k: () => move(-1, "#previous"),
  ArrowLeft: () => move(-1, "#previous"),
  " ": toggle,
  b: mark,
  e: () => find("#label") && find("#label").select(),
  u: () => find("#back") && find("#back").click(),
  "/": search,
  "?": () => help.showModal(),
};

document.addEventListener(
  "keydown",
  (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const target = event.target;
    const isField = target.matches("input:not([type=checkbox]), textarea, select");
    if (isField) {
      if (event.key === "Escape") target.blur();
      return;
    }
    const isControl = event.key === " " && target.matches("button, input, summary");
    if (!(event.key in keys) || isControl) return;
    event.preventDefault();
    event.stopPropagation();
    keys[event.key]();
  },
  true,
);

find("#help-button").addEventListener("click", () => help.showModal());
if (location.hash === "#search" && find("#search")) search();

if (player) {
  const timed = [...document.querySelectorAll("[data-start]")];
  for (const one of timed) {
    one.addEventListener("click", () => {
      player.currentTime = Number(one.dataset.start);
    });
  }
  player.addEventListener("timeupdate", () => {
    for (const one of timed) {
      const end = Number(one.dataset.end ?? one.dataset.start);
      one.classList.toggle("now", player.currentTime >= Number(one.dataset.start) && player.currentTime < end);
    }
  });
}
for (const media of document.querySelectorAll("audio, video")) {
  media.addEventListener("error", () => {
    const note = find("#unplayable");
    note.hidden = false;
    note.querySelector("a").href = media.src;
  });
}
