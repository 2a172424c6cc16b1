// The rectangle of the first match that has a size, from the top left of the page.
(find, selector, scroll) => {
  for (const element of find(selector)) {
    if (scroll) element.scrollIntoView({ block: "nearest", behavior: "instant" });
    const box = element.getBoundingClientRect();
    if (box.width > 0 && box.height > 0) {
      return { x: box.x + window.scrollX, y: box.y + window.scrollY, width: box.width, height: box.height };
    }
  }
  return null;
}
