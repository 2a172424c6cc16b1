// Waits for the fonts that the page uses, and for one frame with them in it.
(async () => {
  await document.fonts.ready;
  await new Promise((resolve) => requestAnimationFrame(resolve));
})()
