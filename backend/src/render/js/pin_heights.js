// Called before the view's height changes it notes every element's height; called after, it fixes those that changed to
// what they were. So what is measured by the view does not grow with the paper.
(after) => {
  if (!after) {
    window.__snaphookHeights = [...document.querySelectorAll("*")]
      .filter((element) => element instanceof HTMLElement)
      .map((element) => [element, element.getBoundingClientRect().height]);
    return;
  }
  const changed = window.__snaphookHeights.filter(
    ([element, height]) => Math.abs(element.getBoundingClientRect().height - height) >= 1,
  );
  for (const [element, height] of changed) {
    for (const [name, value] of [
      ["box-sizing", "border-box"],
      ["height", `${height}px`],
      ["min-height", "0"],
      ["max-height", "none"],
    ]) {
      element.style.setProperty(name, value, "important");
    }
  }
}
