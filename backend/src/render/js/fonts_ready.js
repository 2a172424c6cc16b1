// Waits for the fonts that the page uses, and for one frame with them in it. A page whose fonts are there waits for
// neither: a frame is what a picture costs most, and the capture makes one of its own.
(async () => {
  // Fonts are asked for when text is laid out.
  void document.documentElement?.offsetHeight;
  if (document.fonts.status === "loaded") return;
  await document.fonts.ready;
  await new Promise((resolve) => requestAnimationFrame(resolve));
})()
