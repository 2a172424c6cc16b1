// Keeps the part of a page that changes (#live, every data-live seconds) as the server has it now. Pages work without it.
"use strict";

const refresh = async () => {
  const shown = document.getElementById("live");
  const seconds = Number(shown?.dataset.live);
  if (!seconds) return;
  // What somebody is in the middle of is left alone: a form in use, a text selected, a page not looked at.
  const busy =
    document.hidden ||
    shown.contains(document.activeElement) ||
    (getSelection()?.toString() && shown.contains(getSelection().anchorNode));
  if (!busy) {
    try {
      const answer = await fetch(location.href, { headers: { "x-snaphook-live": "1" }, redirect: "manual" });
      // The session is over: what is shown stays, and the next click leads to the form.
      if (answer.type === "opaqueredirect") return;
      if (answer.ok) {
        const next = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
        // What has not changed is not touched, so that nothing flickers and nobody is told twice.
        if (next && next.innerHTML !== shown.innerHTML) shown.replaceWith(document.adoptNode(next));
      }
    } catch {
      // Away for a moment; the next time tells.
    }
  }
  setTimeout(refresh, seconds * 1000);
};

setTimeout(refresh, 1000);
