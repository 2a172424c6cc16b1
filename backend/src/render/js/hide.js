// Hides what the rules name, and lets the page scroll again if it was locked for the sake of it. A rule each, so that one
// selector this browser does not know spoils no other.
(selectors) => {
  let hidden = false;
  for (const selector of selectors) {
    try {
      hidden = hidden || document.querySelector(selector) !== null;
    } catch {
      // Procedural selectors are for extensions.
    }
  }
  const style = document.createElement("style");
  style.textContent = selectors.map((selector) => `${selector} { display: none !important; }`).join("\n");
  (document.head || document.documentElement).append(style);
  if (!hidden) return;
  for (const element of [document.documentElement, document.body]) {
    if (!element) continue;
    if (getComputedStyle(element).overflowY === "hidden") element.style.setProperty("overflow", "visible", "important");
    if (getComputedStyle(element).position === "fixed") element.style.setProperty("position", "static", "important");
  }
}
