"use strict";

function cellValue(row, column) {
  const cell = row.cells[column];
  const number = parseFloat(cell.dataset.value);
  return Number.isNaN(number) ? cell.textContent.trim() : number;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  if (typeof a === "number") return -1;
  if (typeof b === "number") return 1;
  return a.localeCompare(b, undefined, { numeric: true });
}

function sortBy(header) {
  const table = header.closest("table");
  const body = table.tBodies[0];
  const sign = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  const rows = Array.from(body.rows);
  rows.sort((a, b) => sign * compare(cellValue(a, header.cellIndex), cellValue(b, header.cellIndex)));
  for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  body.append(...rows);
}

async function copy(button) {
  const text = button.parentElement.querySelector("code");
  getSelection().selectAllChildren(text);
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Selected";
  }
}

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}
for (const button of document.querySelectorAll("button.copy")) {
  button.addEventListener("click", () => copy(button));
}
if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      // A browser may refuse to start a film by itself; its controls are there.
      if (isIntersecting) target.play().catch(() => undefined);
      else target.pause();
    }
  });
  for (const video of document.querySelectorAll("video")) watch.observe(video);
}
