// Brings what moves to a halt, so that two pictures of the same page are the same: animations that end are at their end,
// those that do not are at their beginning, media and the sliders that can be told to stop do.
() => {
  const roots = [document];
  for (let at = 0; at < roots.length; at++) {
    for (const element of roots[at].querySelectorAll("*")) {
      if (element.shadowRoot) roots.push(element.shadowRoot);
    }
  }
  const animations = new Set(roots.flatMap((root) => root.getAnimations()));
  for (const animation of animations) {
    try {
      if (animation.effect && Number.isFinite(animation.effect.getComputedTiming().endTime)) {
        animation.finish();
      } else {
        animation.pause();
        animation.currentTime = 0;
      }
    } catch {
      // One without a timeline can be neither finished nor moved, and does not move either.
    }
  }
  for (const root of roots) {
    for (const media of root.querySelectorAll("video, audio")) {
      media.autoplay = false;
      media.pause();
    }
    for (const drawing of root.querySelectorAll("svg")) {
      if (drawing.pauseAnimations) drawing.pauseAnimations();
    }
    for (const moving of root.querySelectorAll("marquee")) moving.stop();
    for (const slider of root.querySelectorAll(".swiper, .swiper-container")) slider.swiper?.autoplay?.stop();
    for (const slider of root.querySelectorAll(".splide")) slider.splide?.Components?.Autoplay?.pause();
    for (const slider of root.querySelectorAll(".carousel")) window.bootstrap?.Carousel?.getInstance(slider)?.pause();
  }
  const jquery = window.jQuery;
  if (jquery?.fn?.slick) jquery(".slick-initialized").slick("slickPause");
  if (jquery?.fn?.owlCarousel) jquery(".owl-loaded").trigger("stop.owl.autoplay");
}
