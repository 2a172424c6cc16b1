// What the page says of itself, and the fonts that its text is set in. Everything is cut to a size that can be told.
async (withFonts, withIcon) => {
  const cut = (text, length) => String(text ?? "").slice(0, length);
  const types = { svg: "image/svg+xml", png: "image/png", gif: "image/gif", jpg: "image/jpeg", jpeg: "image/jpeg", webp: "image/webp", ico: "image/x-icon" };
  const iconOf = async () => {
    const links = [...document.querySelectorAll("link[rel~='icon' i][href]"), ...document.querySelectorAll("link[rel='apple-touch-icon' i][href]")];
    if (links.length > 0) {
      const { href, type } = links[0];
      const extension = href.split(/[?#]/)[0].split(".").pop().toLowerCase();
      const inline = /^data:([\w+./-]+)/.exec(href);
      return { url: cut(href, 4000), type: type || (inline ? inline[1] : types[extension]) || "image/x-icon" };
    }
    // What browsers ask for when nothing is said; it counts only if it is there.
    if (!location.protocol.startsWith("http")) return null;
    try {
      const answer = await fetch("/favicon.ico", { signal: AbortSignal.timeout(1000) });
      const type = (answer.headers.get("content-type") || "").split(";")[0];
      return answer.ok && type.startsWith("image/") ? { url: answer.url, type } : null;
    } catch {
      return null;
    }
  };
  const openGraph = {};
  for (const meta of document.querySelectorAll("meta[property^='og:' i]")) {
    const name = meta.getAttribute("property").slice(3);
    if (name && !(name in openGraph) && Object.keys(openGraph).length < 50) openGraph[cut(name, 100)] = cut(meta.content, 1000);
  }
  const fonts = new Map();
  if (withFonts) {
    let seen = 0;
    for (const element of document.querySelectorAll("body, body *")) {
      if (++seen > 20000 || fonts.size >= 50) break;
      if (element.matches("script, style, noscript, template")) continue;
      if (![...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim() !== "")) continue;
      const family = getComputedStyle(element).fontFamily;
      if (!fonts.has(family)) fonts.set(family, new Set());
      fonts.get(family).add(element.localName);
    }
  }
  // A name in quotes may hold a comma.
  const split = (family) => (family.match(/"[^"]*"|'[^']*'|[^,]+/g) || []).map((name) => cut(name.trim().replace(/^["']|["']$/g, ""), 200));
  return {
    title: cut(document.title, 2000),
    icon: withIcon ? await iconOf() : null,
    open_graph: openGraph,
    fonts: [...fonts].map(([family, elements]) => {
      const [first = "", ...fallback] = split(family);
      return { first, fallback, elements: [...elements].slice(0, 100) };
    }),
  };
}
