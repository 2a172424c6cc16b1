// Brings the first match that has a size into the viewport, and gives its middle. Null if there is none.
(find, selector) => {
  for (const element of find(selector)) {
    element.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
    const box = element.getBoundingClientRect();
    if (box.width > 0 && box.height > 0) return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  }
  return null;
}
