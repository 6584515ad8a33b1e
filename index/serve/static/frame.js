// What every page has: the choice of the data set takes the words of the search along.

for (const link of document.querySelectorAll(".sets a")) {
  link.addEventListener("click", () => {
    const words = new URLSearchParams(location.search);
    const kept = [...words].filter(([name, value]) => name === "q" || ((name === "with" || name === "without") && value.startsWith("text:")));
    if (kept.length) link.search = new URLSearchParams(kept).toString();
  });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") document.querySelector(".sets[open]")?.removeAttribute("open");
});
