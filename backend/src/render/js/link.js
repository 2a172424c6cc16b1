// The address of the first link in sight that leads to another page of the same site and has one of the words in its text;
// without words any such link will do. Null if there is none.
(words) => {
  const here = location.href.split("#")[0];
  const leadsOn = (link) => link.origin === location.origin && link.href.split("#")[0] !== here && !link.download;
  const seen = (link) => link.checkVisibility({ opacityProperty: true, visibilityProperty: true });
  const links = [...document.querySelectorAll("a[href]")].filter((link) => leadsOn(link) && seen(link));
  const has = (word) => links.find((link) => link.textContent.toLowerCase().includes(word.toLowerCase()));
  const found = words.length ? words.map(has).find((link) => link) : links[0];
  return found ? found.href : null;
}
