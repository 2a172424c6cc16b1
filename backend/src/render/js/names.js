// The classes and ids that the page uses, for generic hiding rules to be picked by. Bounded: a page may make up millions.
() => {
  const classes = new Set();
  const ids = new Set();
  for (const element of document.querySelectorAll("[class], [id]")) {
    if (element.id && typeof element.id === "string") ids.add(element.id);
    for (const name of element.classList) classes.add(name);
    if (classes.size + ids.size > 20000) break;
  }
  return { classes: [...classes], ids: [...ids] };
}
