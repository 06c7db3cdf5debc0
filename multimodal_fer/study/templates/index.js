"use strict";
// Sort the table of sessions by the column whose heading is clicked; a second click reverses the order.
const table = document.getElementById("sessions");
const status = document.getElementById("sorted");
const inWords = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

function valueOf(row, column) {
  const cell = row.cells[column];
  return "value" in cell.dataset ? Number(cell.dataset.value) : cell.dataset.text ?? cell.textContent.trim();
}

function sortBy(heading) {
  const column = heading.cellIndex;
  const up = heading.getAttribute("aria-sort") !== "ascending";
  const rows = [...table.tBodies[0].rows];
  rows.sort((a, b) => {
    const [first, second] = [valueOf(a, column), valueOf(b, column)];
    const order = typeof first === "number" ? first - second : inWords.compare(first, second);
    return up ? order : -order;
  });
  table.tBodies[0].append(...rows);
  for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", up ? "ascending" : "descending");
  status.textContent = `Sorted by ${heading.textContent.trim()}, ${up ? "ascending" : "descending"}.`;
}

for (const button of table.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sortBy(button.parentNode));
}
