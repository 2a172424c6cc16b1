// Adds the caller's CSS and hides what is to be hidden. A selector that is no selector hides nothing, and harms none of
// the others: each has a rule of its own.
(styles, selectors) => {
  const element = document.createElement("style");
  element.textContent =
    styles + selectors.map((selector) => `\n${selector} { display: none !important; }`).join("");
  (document.head || document.documentElement).append(element);
}
