// Scrolls the first match that has a size to the top, and some pixels on from there. False if there is none.
(find, selector, adjustTop) => {
  for (const element of find(selector)) {
    const box = element.getBoundingClientRect();
    if (box.width > 0 && box.height > 0) {
      element.scrollIntoView({ block: "start", inline: "nearest", behavior: "instant" });
      if (adjustTop) window.scrollBy({ top: adjustTop, behavior: "instant" });
      return true;
    }
  }
  return false;
}
