// The same attacks from within a worker: ?kind= names it, &to=host:port is the target.
const given = new URL(self.location.href).searchParams;
const [kind, to] = [given.get("kind"), given.get("to")];
fetch(`http://${to}/${kind}-fetch`, { mode: "no-cors" }).catch(() => {});
try {
  self.socket = new WebSocket(`ws://${to}/${kind}-websocket`);
} catch {}
