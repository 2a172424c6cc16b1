// Scrolls to a section and gives where the top of the view came to be. Below the first section, what is pinned to the view
// is hidden: it has been taken where it belongs.
async (top) => {
  const root = document.scrollingElement || document.documentElement;
  for (const [element, visibility, priority] of window.__snaphookPinned || []) {
    element.style.setProperty("visibility", visibility, priority);
  }
  const pinned = (window.__snaphookPinned = []);
  root.style.setProperty("scroll-behavior", "auto", "important");
  window.scrollTo(0, top);
  if (top > 0) {
    for (const element of document.querySelectorAll("body *")) {
      const position = getComputedStyle(element).position;
      if (position !== "fixed" && position !== "sticky") continue;
      if (position === "sticky") {
        // Pinned if it would be elsewhere without being sticky.
        const here = element.getBoundingClientRect().top;
        const [before, priority] = [element.style.position, element.style.getPropertyPriority("position")];
        element.style.setProperty("position", "static", "important");
        const there = element.getBoundingClientRect().top;
        element.style.setProperty("position", before, priority);
        if (Math.abs(here - there) < 1) continue;
      }
      pinned.push([element, element.style.visibility, element.style.getPropertyPriority("visibility")]);
    }
    for (const [element] of pinned) element.style.setProperty("visibility", "hidden", "important");
  }
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  await frame();
  await frame();
  return window.scrollY;
}
