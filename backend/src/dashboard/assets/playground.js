// The playground without leaving the page: the form is sent as a browser would send it, and what has changed of the page that
// comes back is taken over. The page works without it.
"use strict";

(() => {
  const form = document.getElementById("playground");
  const FOLLOW_MS = 300;
  const RENDER_MS = 900;
  let timer = 0;
  let following = null;
  let rendering = null;

  const by = (id, root = document) => root.getElementById(id);
  const take = (id, from) => {
    const next = by(id, from);
    if (next) by(id)?.replaceWith(document.adoptNode(next));
  };

  const say = (text) => {
    const band = document.createElement("p");
    band.className = "band bad";
    band.textContent = text;
    by("problems").replaceChildren(band);
  };

  const send = async (path, signal) => {
    const answer = await fetch(path, { method: "POST", body: new URLSearchParams(new FormData(form)), signal });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (by("playground", page)) return page;
    say(
      answer.status === 401 || answer.status === 403
        ? "Your session has ended. Reload the page to sign in."
        : `That did not work: ${page.querySelector("main p")?.textContent || answer.status}`,
    );
    return null;
  };

  // A number field gives an empty text for what is no number, so that the server would not hear of it.
  const complainOfNumbers = () => {
    for (const input of form.querySelectorAll("input[type=number]")) {
      if (!input.validity.badInput) continue;
      const wrong = by(`wrong-${input.name}`);
      wrong.textContent = `"${input.name}" must be a number`;
      wrong.hidden = false;
      input.setAttribute("aria-invalid", "true");
    }
  };

  // Everything but the fields, which may have been changed meanwhile.
  const takeOver = (page) => {
    if (by("options", page).dataset.endpoint !== by("options").dataset.endpoint) {
      take("options", page);
      prepare();
    }
    for (const next of page.querySelectorAll("[data-slot]")) {
      const shown = by(next.id);
      if (!shown || (shown.hidden === next.hidden && shown.innerHTML === next.innerHTML)) continue;
      shown.replaceWith(document.adoptNode(next));
    }
    for (const next of page.querySelectorAll("#playground [aria-describedby]")) {
      const shown = next.id && by(next.id);
      if (shown) shown.toggleAttribute("aria-invalid", false);
      if (shown && next.getAttribute("aria-invalid")) shown.setAttribute("aria-invalid", "true");
    }
    if (by("problems").innerHTML !== by("problems", page).innerHTML) take("problems", page);
    // The language is the one that is chosen now.
    const language = new FormData(form).get("language");
    if (by("code").innerHTML !== by("code", page).innerHTML) {
      const had = document.activeElement?.closest?.("#code") && document.activeElement.id;
      take("code", page);
      const chosen = language && by(`in-${language}`);
      if (chosen) chosen.checked = true;
      prepare();
      if (had) by(had)?.focus();
    }
    complainOfNumbers();
    for (const wrong of form.querySelectorAll(".error:not([hidden])")) wrong.closest("details")?.setAttribute("open", "");
  };

  // Code and complaints after a change.
  const follow = async () => {
    following?.abort();
    const own = (following = new AbortController());
    try {
      const page = await send("/dashboard/playground/code", own.signal);
      if (page && following === own) takeOver(page);
    } catch (error) {
      if (error.name !== "AbortError") say("The service cannot be reached. The next change tries again.");
    }
  };

  const render = async () => {
    clearTimeout(timer);
    following?.abort();
    rendering?.abort();
    const own = (rendering = new AbortController());
    const started = performance.now();
    const progress = document.createElement("p");
    progress.className = "progress";
    const tell = () => (progress.textContent = `Rendering, ${((performance.now() - started) / 1000).toFixed(1)} s`);
    const ticking = setInterval(tell, 100);
    tell();
    const result = by("result");
    result.setAttribute("aria-busy", "true");
    result.querySelector(".progress")?.remove();
    result.prepend(progress);
    try {
      const page = await send("/dashboard/playground", own.signal);
      if (rendering !== own) return;
      if (page) {
        take("result", page);
        takeOver(page);
        form.querySelector("[aria-invalid=true]")?.focus();
        reveal();
      }
    } catch (error) {
      if (error.name !== "AbortError") say("The service cannot be reached. Try again.");
    } finally {
      clearInterval(ticking);
      if (rendering === own) {
        rendering = null;
        progress.remove();
        by("result").removeAttribute("aria-busy");
      }
    }
  };

  // On a narrow screen the result is far below.
  const reveal = () => {
    if (form.querySelector("[aria-invalid=true]")) return;
    const smooth = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    const { top } = by("result").getBoundingClientRect();
    if (top < 0 || top > innerHeight * 0.8) by("result").scrollIntoView({ behavior: smooth ? "smooth" : "auto" });
  };

  const find = () => {
    const words = by("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    let found = 0;
    for (const group of by("options").querySelectorAll("details.group")) {
      let fits = 0;
      for (const field of group.querySelectorAll("[data-words]")) {
        field.hidden = !words.every((word) => field.dataset.words.includes(word));
        fits += field.hidden ? 0 : 1;
      }
      group.hidden = words.length > 0 && fits === 0;
      if (words.length > 0 && fits > 0) group.open = true;
      found += fits;
    }
    by("none-found").hidden = found > 0;
  };

  // What makes sense with a script only, in parts that are new.
  const prepare = () => {
    for (const element of form.querySelectorAll(".without-script")) element.hidden = true;
    for (const element of form.querySelectorAll(".with-script")) element.hidden = false;
    // Browsers give it to pages that came over TLS, or from this machine.
    if (!navigator.clipboard) for (const button of form.querySelectorAll(".copy")) button.hidden = true;
  };

  form.noValidate = true;
  prepare();

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    render();
  });
  form.addEventListener("input", (event) => {
    if (event.target.id === "find") return find();
    if (!event.target.name || event.target.name === "language") return;
    clearTimeout(timer);
    const live = by("as-you-go").checked;
    timer = setTimeout(() => (live && !form.querySelector("input:invalid") ? render() : follow()), live ? RENDER_MS : FOLLOW_MS);
  });
  form.addEventListener("click", async (event) => {
    const button = event.target.closest(".copy");
    if (!button) return;
    await navigator.clipboard.writeText(button.closest(".code").querySelector("pre").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      render();
    }
    // What is being looked for is not sent.
    if (event.key === "Enter" && event.target.id === "find") event.preventDefault();
  });
})();
