// Scrolls the page as the scenario says, by the clock and not by frames: on a slow machine it jumps further, and is no later.
// It ends when the scenario does. `passed` is how many milliseconds of the recording are over.
async (find, scenario, passed) => {
  const began = performance.now() - passed;
  const now = () => performance.now() - began;
  const least = (...moments) => Math.min(...moments.map((moment) => moment ?? Infinity));
  const stop = least(scenario.stop_after_ms, scenario.back_after_ms);
  const until = least(stop, scenario.to_end_after_ms);
  const root = document.scrollingElement || document.documentElement;

  // Where the page itself does not scroll, its largest part that does.
  const scrolls = (element) => element.scrollHeight > element.clientHeight + 1;
  const inner = () => {
    const overflows = (element) => ["auto", "scroll"].includes(getComputedStyle(element).overflowY);
    const area = (element) => element.clientWidth * element.clientHeight;
    return [...document.querySelectorAll("*")]
      .filter((element) => scrolls(element) && overflows(element))
      .sort((one, other) => area(other) - area(one))[0];
  };
  const scroller = scrolls(root) ? root : inner() || root;
  const top = () => scroller.scrollTop;
  const bottom = () => scroller.scrollHeight - scroller.clientHeight;
  // A page that scrolls smoothly by itself would lag behind.
  const go = (to) => scroller.scrollTo({ top: to, behavior: "instant" });

  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const pause = async (ms, limit) => {
    const left = Math.min(ms, limit - now());
    if (left > 0) await new Promise((resolve) => setTimeout(resolve, left));
  };
  const power = { quad: 2, cubic: 3, quart: 4, quint: 5 }[scenario.easing.split("_").pop()] || 1;
  const ease = (part) => {
    if (scenario.easing.startsWith("ease_in_out")) {
      return part < 0.5 ? (2 * part) ** power / 2 : 1 - (2 - 2 * part) ** power / 2;
    }
    return scenario.easing.startsWith("ease_out") ? 1 - (1 - part) ** power : part ** power;
  };
  // One scroll; it breaks off where the time is over.
  const glide = async (to, end = Infinity) => {
    const [from, start] = [top(), now()];
    while (now() < end) {
      const part = Math.min(1, (now() - start) / scenario.duration_ms);
      go(from + (to - from) * ease(part));
      if (part === 1) return;
      await frame();
    }
  };

  const wanted = scenario.till_selector === null ? undefined : find(scenario.till_selector)[0];
  const goal = () => {
    if (!wanted) return bottom();
    const above = scroller === root ? 0 : scroller.getBoundingClientRect().top;
    const place = wanted.getBoundingClientRect().top - above + top() + scenario.till_selector_adjust_top;
    return Math.max(0, Math.min(bottom(), place));
  };

  await pause(scenario.start_delay_ms + (scenario.start_immediately ? 0 : scenario.delay_ms), until);
  while (now() < until && top() + 0.5 < goal()) {
    await glide(Math.min(goal(), top() + scenario.by), until);
    if (top() + 0.5 < goal()) await pause(scenario.delay_ms, until);
  }
  if (scenario.to_end_after_ms !== null && top() + 0.5 < bottom()) {
    await pause(scenario.to_end_after_ms - now(), stop);
    await glide(bottom(), stop);
  }
  if (!scenario.back) return;
  await pause(scenario.back_delay_ms, Infinity);
  while (top() > 0.5) {
    await glide(scenario.back_by_steps ? Math.max(0, top() - scenario.by) : 0);
    if (top() > 0.5) await pause(scenario.delay_ms, Infinity);
  }
}
