// Runs before any script of the page. A window of its own would be seen by nobody; WebSockets, where they are not wanted,
// lead to a name that never resolves.
(webSockets) => {
  const open = window.open;
  window.open = function (url, target, ...rest) {
    const here = ["_self", "_top", "_parent"].includes(String(target).toLowerCase());
    return here ? open.call(window, url, target, ...rest) : null;
  };
  if (webSockets) return;
  window.WebSocket = new Proxy(window.WebSocket, {
    construct: (original, [, ...rest], target) =>
      Reflect.construct(original, ["wss://blocked.snaphook.invalid/", ...rest], target),
  });
}
