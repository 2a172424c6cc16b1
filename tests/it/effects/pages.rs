//! Pages that show what was done to them: by their colours, or by what they ask their server for.

/// A proxy on a port where nothing listens.
pub(super) const NO_PROXY: &str = "http://127.0.0.1:65534";

/// Tells its server what it finds: the screen, the media, the clock, and that it was clicked.
pub(super) const PROBE: &str = "<!doctype html><html><head><title>Probe</title><meta name=viewport content='width=device-width'>
<link rel=icon href='{base}/icon.png'><meta property=og:title content=Graph>
<style>body{margin:0;font-family:'First Font',serif} div{height:30px}
@media (prefers-color-scheme: dark){#a{background:#000}} @media print{#b{background:#00f}}</style></head>
<body><div id=a>first</div><div id=b>second</div><script>
const is = (query) => matchMedia(query).matches;
const say = (words) => { const r = new XMLHttpRequest(); r.open('GET', '{base}/report?' + encodeURIComponent(JSON.stringify(words)), false); r.send() };
say({ width: innerWidth, height: innerHeight, scale: devicePixelRatio, touch: navigator.maxTouchPoints > 0,
  landscape: screen.orientation.type.startsWith('landscape'), dark: is('(prefers-color-scheme: dark)'),
  reduced: is('(prefers-reduced-motion: reduce)'), print: is('print'),
  zone: Intl.DateTimeFormat().resolvedOptions().timeZone });
a.onclick = () => say({ clicked: true });
</script></body></html>";

/// Tells where it is.
pub(super) const PLACE: &str = "<script>navigator.geolocation.getCurrentPosition(({ coords: { latitude, longitude, accuracy } }) => {
    const r = new XMLHttpRequest();
    r.open('GET', '{base}/report?' + encodeURIComponent(JSON.stringify({ latitude, longitude, accuracy })), false); r.send() })</script>";

/// Wants another width on a phone, and tells which it got.
pub(super) const MOBILE: &str = "<meta name=viewport content='width=500'><script>onload = () => {
    const r = new XMLHttpRequest();
    r.open('GET', '{base}/report?' + encodeURIComponent(JSON.stringify({ layout: document.documentElement.clientWidth })), false); r.send() }</script>";

/// Three viewports tall; tells of scrolling, of much of it, and of pauses in it.
pub(super) const TALL: &str = "<div style='height:300px;background:#f00'></div><script>const times = [];
    addEventListener('scroll', () => {
        times.push(performance.now());
        if (times.length === 1) fetch('{base}/scrolled');
        if (times.length === 12) fetch('{base}/scrolled-often');
        if (times.length > 1 && times.at(-1) - times.at(-2) > 850) fetch('{base}/scrolled-slowly');
    })</script>";

/// Turns from red to green a moment after it has loaded, and has an element more then.
pub(super) const LATE: &str = "<body bgcolor=red><script>setTimeout(() => { document.body.style.background = '#0f0';
    document.body.append(Object.assign(document.createElement('p'), { id: 'late' })) }, 700)</script>";

/// Tells when its text is clicked, and when half a second has passed.
pub(super) const EVENTS: &str = "<p id=a>text</p><script>
    a.onclick = () => fetch('{base}/clicked');
    setTimeout(() => fetch('{base}/late'), 500)</script>";

/// An element far below, and something green that always covers the viewport.
pub(super) const COVERED: &str = "<div style='height:2000px'></div><div id=d style='height:40px;background:#f00'></div>
    <div style='position:fixed;inset:0;background:#0f0'></div><div style='height:2000px'>";

/// Red for 500 pixels, then green.
pub(super) const BANDS: &str =
    "<div style='height:500px;background:#f00'></div><div id=b style='height:900px;background:#0f0'>";

/// Blocks that fill a row of nine on paper, two rows.
pub(super) const BLOCKS: &str = "<style>i{display:inline-block;width:88px;height:280px}</style>
    <i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i><i></i>";

/// A picture as its background.
pub(super) const BACKGROUND: &str =
    "<body style='background:url(data:image/gif;base64,R0lGODlhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs=)'>x";

/// A small picture away from the corner.
pub(super) const SPOT: &str = "<img style='position:absolute;left:150px;top:60px;width:20px;height:20px'
    src=data:image/gif;base64,R0lGODlhAQABAIAAAP8AAAAAACwAAAAAAQABAAACAkQBADs=>";

/// Hard to compress.
pub(super) const NOISE: &str = "<canvas id=c width=200 height=100></canvas><script>const x = c.getContext('2d');
    for (let i = 0; i < 20000; i++) { x.fillStyle = `hsl(${i * 37 % 360} 90% ${i * 7 % 100}%)`; x.fillRect(i % 200, i / 200 | 0, 1, 1) }</script>";

pub(super) const SHADOW: &str =
    "<div id=host></div><script>host.attachShadow({ mode: 'open' }).innerHTML = '<p>deep</p>'</script>";
