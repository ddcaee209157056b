// Heads become buttons that sort their table; without scripts it stands as it is.
for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const words = new Intl.Collator("en", { numeric: true });
  const text = (row, column) => row.cells[column].textContent.trim();
  // Tables show a minus that is as wide as a digit, and commas between thousands.
  const number = (row, column) => parseFloat(text(row, column).replace("\u2212", "-").replaceAll(",", ""));
  heads.forEach((head, column) => {
    if (![...body.rows].some(row => text(row, column))) return; // pictures have no order
    const numbers = getComputedStyle(head).textAlign === "right";
    const button = document.createElement("button");
    button.type = "button";
    button.title = "Sort by this column";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const last = head.getAttribute("aria-sort");
      const down = last ? last === "ascending" : numbers; // of numbers the largest first
      const sign = down ? -1 : 1;
      const order = (a, b) => {
        if (!numbers) return sign * words.compare(text(a, column), text(b, column));
        const [x, y] = [number(a, column), number(b, column)];
        return isNaN(x) || isNaN(y) ? isNaN(x) - isNaN(y) : sign * (x - y); // what has no value comes last
      };
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      body.append(...[...body.rows].sort(order));
    });
  });
}
