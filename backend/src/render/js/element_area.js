// The rectangle of the first match that has a size, from the top left of the page. `shadow/` before a selector looks into
// open shadow roots as well.
(selector, scroll) => {
  const deep = selector.startsWith("shadow/");
  const plain = deep ? selector.slice("shadow/".length) : selector;
  const roots = [document];
  if (deep) {
    for (const root of roots) {
      for (const element of root.querySelectorAll("*")) {
        if (element.shadowRoot) roots.push(element.shadowRoot);
      }
    }
  }
  for (const root of roots) {
    for (const element of root.querySelectorAll(plain)) {
      if (scroll) element.scrollIntoView({ block: "nearest", behavior: "instant" });
      const box = element.getBoundingClientRect();
      if (box.width > 0 && box.height > 0) {
        return { x: box.x + window.scrollX, y: box.y + window.scrollY, width: box.width, height: box.height };
      }
    }
  }
  return null;
}
