// Gets rid of consent banners that no rule knows: rejects where there is a button to reject, hides what stays. It never
// accepts anything, never touches a dialog in which something can be typed, and ends within its time.
//
// With `all`, banners that ask for something else (a newsletter, an app, notifications) are hidden, too.
async (all, limit) => {
  const CONSENT =
    /cookie|consent|gdpr|ccpa|dsgvo|rgpd|lgpd|datenschutz|einwilligung|tracking|privacy|confidentialit|privacidad|privatsph|integritet|personvern|tietosuoj|prywatno|súkromi|soukromí|gizlilik|çerez|конфиденциальн|куки|クッキー|プライバシー|隐私|隱私|쿠키|개인정보/i;
  const NAGGING =
    /newsletter|subscribe|sign up|notification|download (our|the) app|open in app|get the app|discount|% off|survey|abonnier|benachrichtigung|inscri|suscr|iscriviti|アプリ|订阅/i;
  const REJECT = new RegExp(
    "^(" +
      [
        "(i )?(reject|decline|deny|refuse|disagree|do not (accept|agree|consent)|don't accept|opt.?out)( all)?( optional| additional| non-?essential)?( cookies)?",
        "(use |only |accept )*(strictly )?(necessary|essential|required|functional)( cookies)?( only)?",
        "continue without (accepting|agreeing|consent)",
        "no,? thanks?( you)?",
        "(alle )?(cookies )?(ablehnen|verweigern)( alle)?", "alles? ablehnen", "alle ablehnen",
        "(nur )?(notwendige|erforderliche|essenzielle|technisch notwendige)n?( cookies)?( akzeptieren| zulassen| verwenden| erlauben)?", "nur notwendige.*",
        "nicht zustimmen", "ohne (zustimmung|einwilligung) fortfahren",
        "(tout )?refuser( tout| tous)?( les cookies)?", "(tout )?rejeter( tout)?", "continuer sans accepter.*", "je refuse",
        "rechazar( todo| todas| todas las cookies| cookies)?", "(solo|sólo) (las )?(necesarias|esenciales)", "denegar",
        "rifiuta( tutt[oi]| tutti i cookie)?", "(solo|accetta solo) (i )?(necessari|essenziali)", "continua senza accettare",
        "rejeitar( tod[oa]s?)?( os)?( cookies)?", "recusar( tudo)?( cookies)?", "apenas (os )?(necessários|essenciais)",
        "(alles )?(weigeren|afwijzen)", "alleen (noodzakelijke|functionele).*", "weiger( alle)?( cookies)?",
        "avvisa( alla)?", "neka( alla)?", "endast nödvändiga.*", "afvis( alle)?", "kun nødvendige.*", "avslå( alle)?", "hylkää( kaikki)?", "vain välttämättömät.*",
        "odrzuć( wszystkie| wszystko)?", "tylko niezbędne.*", "odmítnout( vše)?", "zamietnuť( všetky| všetko)?", "pouze nezbytné.*",
        "elutasít(om|ás)?( mind)?.*", "respinge( tot| toate)?", "(tümünü )?reddet", "απόρριψη( όλων)?",
        "отклонить( все)?", "відхилити( всі)?", "только необходимые.*",
        "(すべて)?拒否(する)?", "同意しない", "必要な.*のみ", "(全部|全て)?拒绝(全部|所有)?", "拒絕", "仅(必要|限必要).*", "(모두 )?거부", "거절",
      ].join("|") +
      ")[.!]?$",
    "i",
  );
  const until = performance.now() + limit;
  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
  const isVisible = (element) => {
    const box = element.getBoundingClientRect();
    const style = getComputedStyle(element);
    return box.width > 1 && box.height > 1 && style.visibility !== "hidden" && style.display !== "none" && style.opacity !== "0";
  };
  const roots = () => {
    const found = [document];
    for (let at = 0; at < found.length && found.length < 200; at++) {
      for (const element of found[at].querySelectorAll("*")) {
        if (element.shadowRoot) found.push(element.shadowRoot);
      }
    }
    return found;
  };
  const every = (element, selector) => [
    ...element.querySelectorAll(selector),
    ...(element.shadowRoot ? element.shadowRoot.querySelectorAll(selector) : []),
  ];
  const textOf = (element) => `${element.innerText || ""} ${element.shadowRoot?.textContent || ""}`.slice(0, 5000);
  const isBanner = (element) => {
    if (element === document.body || element === document.documentElement) return false;
    const dialog = element.matches("dialog[open], [role=dialog], [role=alertdialog], [aria-modal=true]");
    const position = getComputedStyle(element).position;
    if (!dialog && position !== "fixed" && position !== "sticky") return false;
    if (element.matches("header, nav, main") || element.querySelector("main, article")) return false;
    if (!isVisible(element) && !element.shadowRoot) return false;
    const text = textOf(element);
    return text.length < 5000 && (CONSENT.test(text) || (all && NAGGING.test(text)));
  };
  // Boxes to tick belong to consent; a place to type does not, and what is typed for us may be sent.
  const canBeTypedIn = (element) =>
    every(element, "textarea, select, input:not([type=checkbox]):not([type=radio]):not([type=button]):not([type=submit]):not([type=hidden])").length > 0;
  const banners = () => {
    const trees = roots();
    const places = "div, section, aside, dialog, form, footer, [role=dialog], [role=alertdialog], [aria-modal=true], [style*=fixed]";
    const found = trees.flatMap((root) => [...root.querySelectorAll(places), ...(root.host ? [root.host] : [])]);
    const matching = [...new Set(found)].filter(isBanner);
    return matching.filter((element) => !matching.some((other) => other !== element && other.contains(element)));
  };
  const rejectOf = (banner) => {
    const buttons = every(banner, "button, [role=button], a, input[type=button], input[type=submit]").filter(isVisible);
    const label = (button) => (button.innerText || button.value || button.getAttribute("aria-label") || "").trim().replace(/\s+/g, " ");
    return buttons.find((button) => {
      // A link that leads somewhere would take the page away with it.
      if (button.matches("a[href]") && !/^(#|javascript:)/i.test(button.getAttribute("href"))) return false;
      return label(button).length < 60 && REJECT.test(label(button));
    });
  };
  const unlock = () => {
    for (const element of [document.documentElement, document.body]) {
      if (!element) continue;
      if (getComputedStyle(element).overflowY === "hidden") element.style.setProperty("overflow", "visible", "important");
    }
  };
  const backdrops = () =>
    [...document.querySelectorAll("div")].filter((element) => {
      const style = getComputedStyle(element);
      const box = element.getBoundingClientRect();
      return (
        style.position === "fixed" && Number(style.zIndex) > 0 && element.innerText.trim() === "" &&
        box.width >= innerWidth * 0.98 && box.height >= innerHeight * 0.98 && !element.querySelector("img, video, canvas, iframe")
      );
    });

  let found = banners();
  // Many come a moment after the page, if it has scripts to bring them. With a limit for this part there is time left to act.
  const watchUntil = performance.now() + (document.scripts.length > 0 ? limit / 3 : 0);
  while (found.length === 0 && performance.now() < watchUntil) {
    await pause(100);
    found = banners();
  }
  let clicked = 0;
  for (const banner of found) {
    const reject = canBeTypedIn(banner) || !CONSENT.test(textOf(banner)) ? undefined : rejectOf(banner);
    if (reject) {
      reject.click();
      clicked++;
    }
  }
  if (clicked > 0) {
    while (found.some((banner) => banner.isConnected && isVisible(banner)) && performance.now() < until - 300) await pause(50);
  }
  let hidden = 0;
  for (const banner of found) {
    // A login is no banner, whatever it says of privacy.
    if (!banner.isConnected || !isVisible(banner) || every(banner, "input[type=password]").length > 0) continue;
    banner.style.setProperty("display", "none", "important");
    hidden++;
  }
  if (hidden > 0) for (const backdrop of backdrops()) backdrop.style.setProperty("display", "none", "important");
  if (found.length > 0) unlock();
  return { found: found.length, clicked, hidden };
}
