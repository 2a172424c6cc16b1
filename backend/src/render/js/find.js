// All matches of a selector, in the order of the document. With "shadow/" before it, also those in open shadow roots.
(selector) => {
  if (!selector.startsWith("shadow/")) return [...document.querySelectorAll(selector)];
  const inner = selector.slice("shadow/".length);
  const found = [];
  const search = (root) => {
    found.push(...root.querySelectorAll(inner));
    for (const element of root.querySelectorAll("*")) {
      if (element.shadowRoot) search(element.shadowRoot);
    }
  };
  search(document);
  return found;
}
