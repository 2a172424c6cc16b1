// The same attacks from within a worker: ?kind= names it, &to=host:port is the target.
const given = new URL(self.location.href).searchParams;
const [kind, to] = [given.get("kind"), given.get("to")];
fetch(`http://${to}/${kind}-fetch`, { mode: "no-cors" }).catch(() => {});
const quietly = (work) => { try { work(); } catch {} };
quietly(() => new EventSource(`http://${to}/${kind}-eventsource`));
quietly(() => { const xhr = new XMLHttpRequest(); xhr.open("GET", `http://${to}/${kind}-xhr`); xhr.send(); });
quietly(() => importScripts(`http://${to}/${kind}-import-scripts`));
try {
  self.socket = new WebSocket(`ws://${to}/${kind}-websocket`);
} catch {}
