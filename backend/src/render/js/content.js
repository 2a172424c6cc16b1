// The document as HTML. With `shadow`, what is in open shadow roots as well: as templates that make them again, or, with
// `flat`, in its place among the rest, as it is read.
(shadow, flat) => {
  const kind = document.doctype ? `<!DOCTYPE ${document.doctype.name}>\n` : "";
  const root = document.documentElement;
  if (!root) return "";
  if (!shadow) return kind + root.outerHTML;
  if (!flat) {
    const shadowRoots = [];
    const search = (from) => {
      for (const element of from.querySelectorAll("*")) {
        if (element.shadowRoot) {
          shadowRoots.push(element.shadowRoot);
          search(element.shadowRoot);
        }
      }
    };
    search(document);
    const attributes = [...root.attributes].map(({ name, value }) => ` ${name}="${value.replace(/&/g, "&amp;").replace(/"/g, "&quot;")}"`);
    return `${kind}<html${attributes.join("")}>${root.getHTML({ shadowRoots })}</html>`;
  }
  const copy = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) return [node.cloneNode(false)];
    if (node.localName === "slot") {
      const given = node.assignedNodes();
      return (given.length > 0 ? given : [...node.childNodes]).flatMap(copy);
    }
    const clone = document.createElement(node.localName.includes("-") ? "div" : node.localName);
    for (const { name, value } of node.attributes) {
      try {
        clone.setAttribute(name, value);
      } catch {
        // The parser takes names that scripts may not set.
      }
    }
    clone.append(...[...(node.shadowRoot || node).childNodes].flatMap(copy));
    return [clone];
  };
  return kind + copy(root)[0].outerHTML;
}
