// The HTML of the document with its doctype, or of the first match; null if there is none. `shadow/` before a selector looks
// into open shadow roots; with `shadow` they are part of the result, as declarative ones. What matches `hidden` is taken out
// of the document: a text has no style that could hide it.
(selector, shadow, hidden) => {
  for (const one of hidden) {
    try {
      for (const element of document.querySelectorAll(one)) element.remove();
    } catch {
      // A selector that is no selector hides nothing.
    }
  }
  const roots = [document];
  if (shadow || (selector && selector.startsWith("shadow/"))) {
    for (const root of roots) {
      for (const element of root.querySelectorAll("*")) {
        if (element.shadowRoot) roots.push(element.shadowRoot);
      }
    }
  }
  const outer = (element) => {
    if (!shadow) return element.outerHTML;
    const inner = element.getHTML({ serializableShadowRoots: true, shadowRoots: roots.slice(1) });
    const shell = element.cloneNode(false).outerHTML;
    const end = shell.lastIndexOf("</");
    return end < 0 ? shell : shell.slice(0, end) + inner + shell.slice(end);
  };
  if (selector === null) {
    const doctype = document.doctype ? new XMLSerializer().serializeToString(document.doctype) + "\n" : "";
    return document.documentElement ? doctype + outer(document.documentElement) : "";
  }
  const deep = selector.startsWith("shadow/");
  const plain = deep ? selector.slice("shadow/".length) : selector;
  for (const root of deep ? roots : [document]) {
    const element = root.querySelector(plain);
    if (element) return outer(element);
  }
  return null;
}
