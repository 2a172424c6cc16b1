// Tries the ways past a proxy: loopback by each of its names, WebSocket, and WebRTC over UDP and TCP.
async (tcp, udp) => {
  const settled = (start) => new Promise((resolve) => start(resolve));
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const hosts = [`127.0.0.1:${tcp}`, `localhost:${tcp}`];
  const tries = hosts.flatMap((host) => [
    fetch(`http://${host}/fetch`, { mode: "no-cors" }).catch(() => {}),
    settled((done) => {
      const image = new Image();
      image.onload = image.onerror = done;
      image.src = `http://${host}/image`;
    }),
    settled((done) => {
      const socket = new WebSocket(`ws://${host}/socket`);
      socket.onopen = socket.onerror = done;
    }),
  ]);
  const peer = new RTCPeerConnection({
    iceServers: [
      { urls: `stun:127.0.0.1:${udp}` },
      { urls: [`turn:127.0.0.1:${udp}`, `turn:127.0.0.1:${tcp}?transport=tcp`], username: "a", credential: "b" },
    ],
  });
  peer.createDataChannel("canary");
  const gathered = settled((done) => {
    peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
  });
  await peer.setLocalDescription(await peer.createOffer());
  // A browser that may not gather anything is done at once; one that may has sent its first packet long before.
  tries.push(Promise.race([gathered, pause(300)]));
  await Promise.race([Promise.all(tries), pause(2000)]);
  peer.close();
}
