// A shared worker that tells how many have come.
let count = 0;
onconnect = (event) => event.ports[0].postMessage(++count);
