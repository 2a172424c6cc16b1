// Scrolls the page to its end in steps, so that lazy parts load, and back to the top. It ends when the page stops growing
// at its end, or at the given height.
async (step, delay, maxHeight) => {
  const root = document.scrollingElement || document.documentElement;
  if (!root) return;
  const style = document.createElement("style");
  // A smooth scroll would still be on its way when the next step starts.
  style.textContent = "html, body { scroll-behavior: auto !important; }";
  (document.head || document.documentElement).append(style);
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  for (let top = 0; top < Math.min(root.scrollHeight, maxHeight); top += step) {
    window.scrollTo(0, top);
    await pause(delay);
  }
  window.scrollTo(0, Math.min(root.scrollHeight, maxHeight));
  await pause(delay);
  window.scrollTo(0, 0);
  const loading = [...document.images].filter((image) => !image.complete);
  const decoded = Promise.all(
    loading.map((image) => new Promise((resolve) => { image.onload = image.onerror = resolve; })),
  );
  await Promise.race([decoded, pause(3000)]);
  style.remove();
}
