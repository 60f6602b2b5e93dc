"use strict";
(() => {
  const MOST = 96, GAP = 12, CAPTION = 30, MOST_CHOSEN = 12;
  const $ = (id) => document.getElementById(id);
  const page = JSON.parse($("page").textContent);
  const all = [...document.querySelectorAll("script.pictures")].flatMap((part) => JSON.parse(part.textContent));
  const parts = [...document.querySelectorAll("script.thumbnails")];
  const opened = new Map();
  const grid = $("grid"), figures = new Map(), chosen = new Set();
  let shown = all.map((_, at) => at), rows = [], current = 0, state = "", looking = -1;

  const make = (name, text, kind) => {
    const element = document.createElement(name);
    if (text) element.textContent = text;
    if (kind) element.className = kind;
    return element;
  };
  /* Words in the language of the page; where it is English, they stand here. */
  const words = page.words ?? {}, names = page.names ?? {};
  const filled = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const tr = (text, values) => filled(words[text] ?? text, values);
  const named = (name) => name.split(" · ").map((part) => names[part] ?? part).join(" · ");
  const number = (count) => count.toLocaleString(document.documentElement.lang);
  const counted = (count, one, many, values) => filled(words[one] ?? (count === 1 ? one : many), { ...values, count: number(count) });

  /* Thumbnails lie beside the page, or in it: then a hundred at a time are read when one of them is looked at. */
  function thumbnail(at) {
    const key = all[at].k;
    if (!key) return "";
    if (page.folder) return `${page.folder}/${key}.webp`;
    const part = Math.floor(at / page.part);
    if (!opened.has(part)) {
      if (opened.size > 20) opened.clear();
      opened.set(part, JSON.parse(parts[part].textContent));
    }
    return `data:image/webp;base64,${opened.get(part)[at % page.part]}`;
  }

  /* What a picture is found by. */
  const plain = (text) => text.normalize("NFKC").toLowerCase();
  const haystacks = [];
  function haystack(at) {
    const one = all[at];
    haystacks[at] ??= plain([one.p, one.y, one.s, names[one.s], one.t, ...one.a.flat(), ...one.x.flat()].join("\n"));
    return haystacks[at];
  }
  const model = (one) => (one.a.find(([name]) => name === "model") ?? one.x.find(([name]) => name === "model") ?? ["", ""])[1];

  function filter() {
    const sought = plain($("search").value).split(/\s+/).filter(Boolean), wanted = $("model").value;
    const before = shown[current];
    shown = [];
    for (let at = 0; at < all.length; at += 1) {
      if (state && all[at].s !== state) continue;
      if (wanted && `=${model(all[at])}` !== wanted) continue;
      if (sought.length && !sought.every((word) => haystack(at).includes(word))) continue;
      shown.push(at);
    }
    current = Math.max(0, shown.indexOf(before));
    $("count").textContent = shown.length === all.length
      ? counted(all.length, "{count} picture", "{count} pictures")
      : counted(all.length, "{shown} of {count} picture", "{shown} of {count} pictures", { shown: number(shown.length) });
    $("empty").hidden = shown.length > 0;
    layout();
  }

  /* Rows that are as wide as the page: each picture keeps its shape. */
  const ratio = (at) => (all[at].w ? Math.min(3, Math.max(0.4, all[at].w / all[at].h)) : 1);
  function layout() {
    const width = grid.clientWidth, height = rowHeight(width);
    rows = [];
    let row = [], sum = 0, top = 0;
    const close = (tall) => {
      rows.push({ at: row, top, tall, first: rows.length ? rows.at(-1).first + rows.at(-1).at.length : 0 });
      top += Math.round(tall) + CAPTION + GAP;
      row = []; sum = 0;
    };
    for (const at of shown) {
      const next = sum + ratio(at), gaps = GAP * row.length;
      if (row.length && next * height + gaps > width) {
        const with_it = (width - gaps) / next, without = (width - gaps + GAP) / sum;
        if (Math.abs(with_it - height) > Math.abs(without - height)) close(without);
      }
      row.push(at);
      sum += ratio(at);
      if (sum * height + GAP * (row.length - 1) >= width) close((width - GAP * (row.length - 1)) / sum);
    }
    if (row.length) close(Math.min(height, (width - GAP * (row.length - 1)) / sum));
    grid.style.height = `${top}px`;
    for (const figure of figures.values()) figure.remove();
    figures.clear();
    render();
  }
  /* As chosen, but so high that no screen holds more than some 60 pictures. */
  function rowHeight(width) {
    const sample = shown.slice(0, 200);
    const usual = sample.reduce((sum, at) => sum + ratio(at), 0) / (sample.length || 1);
    const least = Math.sqrt((width * window.innerHeight) / (56 * usual)) - CAPTION / 2;
    const narrow = width < 600 ? 0.68 : 1;
    return Math.max(Number($("size").value) * narrow, least, 72);
  }

  function render() {
    const start = window.scrollY - grid.offsetTop, end = start + window.innerHeight, more = window.innerHeight / 3;
    let low = 0, high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].top + rows[middle].tall + CAPTION < start - more) low = middle + 1; else high = middle;
    }
    const wanted = new Map();
    for (let at = low; at < rows.length && rows[at].top < end + more; at += 1) {
      if (wanted.size + rows[at].at.length > MOST) break;
      let left = 0;
      for (const picture of rows[at].at) {
        const wide = rows[at].tall * ratio(picture);
        wanted.set(picture, [left, rows[at].top, wide, rows[at].tall]);
        left += wide + GAP;
      }
    }
    for (const [at, figure] of figures) if (!wanted.has(at)) { figure.remove(); figures.delete(at); }
    for (const [at, box] of wanted) if (!figures.has(at)) { figures.set(at, built(at, box)); grid.append(figures.get(at)); }
    mark();
    document.querySelector("header").classList.toggle("over", window.scrollY > 8);
  }

  const title = (one) => (one.x.length ? one.x.map(([, value]) => value).join(" · ") : one.p) || tr("task {task}", { task: one.t });
  function built(at, [left, top, wide, tall]) {
    const one = all[at], figure = make("figure"), frame = make("div", "", "frame"), tick = make("button", "✓", "tick");
    figure.id = `picture-${at}`;
    figure.setAttribute("role", "option");
    Object.assign(figure.style, { left: `${left}px`, top: `${top}px`, width: `${wide}px` });
    frame.style.height = `${tall}px`;
    frame.append(one.k ? picture(at) : why(one, "p"));
    tick.type = "button"; tick.tabIndex = -1;
    tick.setAttribute("aria-label", tr("Choose"));
    tick.addEventListener("click", (event) => { event.stopPropagation(); choose(at); });
    frame.append(tick);
    const caption = make("figcaption", title(one));
    caption.dir = "auto";
    figure.append(frame, caption);
    figure.addEventListener("click", () => { current = shown.indexOf(at); look(at); });
    return figure;
  }
  function picture(at) {
    const image = make("img");
    image.src = thumbnail(at);
    image.alt = all[at].p.slice(0, 300);
    image.decoding = "async";
    image.draggable = false;
    return image;
  }
  function why(one, name) {
    const text = make(name, "", "why");
    text.dir = "auto";
    text.append(make("b", named(one.f ? "not shown" : one.s)), one.y || tr("There is no picture."));
    return text;
  }

  function mark() {
    for (const [at, figure] of figures) {
      figure.classList.toggle("current", at === shown[current] && walking);
      figure.classList.toggle("chosen", chosen.has(at));
      figure.setAttribute("aria-selected", String(chosen.has(at)));
    }
    const figure = figures.get(shown[current]);
    if (figure) grid.setAttribute("aria-activedescendant", figure.id); else grid.removeAttribute("aria-activedescendant");
    $("tray").hidden = chosen.size === 0;
    $("chosen").textContent = tr("{count} chosen", { count: chosen.size });
    $("compare").disabled = chosen.size < 2;
  }
  function choose(at) {
    if (chosen.has(at)) chosen.delete(at);
    else if (chosen.size >= MOST_CHOSEN) return say(tr("Side by side holds {count} pictures at most.", { count: MOST_CHOSEN }));
    else chosen.add(at);
    $("choose").setAttribute("aria-pressed", String(chosen.has(looking)));
    $("choose").textContent = chosen.has(looking) ? tr("Chosen ✓") : tr("Choose");
    mark();
  }

  /* A walk by keyboard. */
  let walking = false;
  function go(to) {
    if (!shown.length) return;
    current = walking ? Math.min(shown.length - 1, Math.max(0, to)) : nearest();
    walking = true;
    reveal();
    render();
  }
  function nearest() {
    const row = rows.find((one) => one.top + one.tall > window.scrollY - grid.offsetTop);
    return row ? Math.max(row.first, row.first <= current && current < row.first + row.at.length ? current : row.first) : 0;
  }
  const rowOf = (place) => rows.findIndex((row) => place < row.first + row.at.length);
  function reveal() {
    const row = rows[rowOf(current)], top = grid.offsetTop + row.top, above = document.querySelector("header").offsetHeight + GAP;
    if (top - above < window.scrollY) window.scrollTo(0, top - above);
    else if (top + row.tall + CAPTION > window.scrollY + window.innerHeight) window.scrollTo(0, top + row.tall + CAPTION + GAP - window.innerHeight);
  }
  function vertically(step) {
    const from = rowOf(current), row = rows[from], next = rows[from + step];
    if (!walking || !next) return go(walking ? (step < 0 ? 0 : shown.length - 1) : current);
    const middle = (line, upto) => line.at.slice(0, upto).reduce((sum, at) => sum + ratio(at) * line.tall + GAP, 0) + (ratio(line.at[upto]) * line.tall) / 2;
    const wanted = middle(row, current - row.first);
    let best = 0;
    next.at.forEach((_, at) => { if (Math.abs(middle(next, at) - wanted) < Math.abs(middle(next, best) - wanted)) best = at; });
    go(next.first + best);
  }

  /* One picture, with all that is known of it. */
  function look(at) {
    looking = at;
    const one = all[at], big = $("big");
    document.querySelector(".stage").classList.remove("whole");
    big.hidden = !one.k && !asked(one);
    big.alt = one.p.slice(0, 300);
    big.className = "small";
    big.src = one.k ? thumbnail(at) : asked(one) || "data:,";
    $("none").hidden = !big.hidden;
    $("none").textContent = big.hidden ? tr("There is no picture.") : "";
    $("reason").replaceChildren();
    if (one.y) $("reason").append(make("b", named(one.f ? "not shown" : one.s)), one.y);
    if (one.f && one.k) original(at);
    $("place").textContent = tr("{place} of {count}", { place: number(shown.indexOf(at) + 1), count: number(shown.length) });
    $("prompt").textContent = one.p;
    $("copy-prompt").hidden = !one.p;
    $("facts").replaceChildren(...facts(one).flatMap(([name, value]) => [make("dt", named(name)), make("dd", value)]));
    $("command").textContent = one.c;
    $("command").hidden = $("copy-command").hidden = !one.c;
    $("original").hidden = !one.f;
    if (one.f) $("original").href = one.f; else $("original").removeAttribute("href");
    $("choose").setAttribute("aria-pressed", String(chosen.has(at)));
    $("choose").textContent = chosen.has(at) ? tr("Chosen ✓") : tr("Choose");
    if (!$("viewer").open) show("viewer");
    document.querySelector("aside").scrollTop = 0;
  }
  /* The file, but for one that was missing when the page was made: asking for it is an error on the console. */
  function asked(one) {
    return one.m ? "" : one.f;
  }
  function original(at) {
    const image = new Image();
    image.onload = () => {
      if (looking !== at) return;
      $("big").src = image.src;
      $("big").className = "";
      $("facts").append(make("dt", named("pixels")), make("dd", `${image.naturalWidth} × ${image.naturalHeight}`));
    };
    image.onerror = () => { if (looking === at) $("reason").append(make("b", tr("thumbnail only")), tr("The file cannot be shown from here; it may have been moved.")); };
    image.src = all[at].f;
  }
  function facts(one) {
    const task = one.i > 1 ? tr("{task}, picture {number}", { task: one.t, number: one.i }) : `${one.t}`;
    const varied = new Set(one.a.map(([name]) => name));
    const pairs = [...one.x.filter(([name]) => !varied.has(name)), ...one.a, ["task", task], ["run", String(one.r)]];
    if (one.s !== "done") pairs.push(["state", named(one.s)]);
    if (one.n) pairs.push(["file", one.n]);
    return pairs.filter(([, value]) => value !== "");
  }
  function turn(step) {
    const next = shown.indexOf(looking) + step;
    if (next < 0 || next >= shown.length) return;
    current = next;
    walking = true;
    look(shown[next]);
    reveal();
    render();
  }

  /* Several, with what they differ in. */
  function versus() {
    if (chosen.size < 2) return say(tr("Choose two pictures or more first: x."));
    const some = [...chosen], lists = some.map((at) => new Map([["prompt", all[at].p], ...facts(all[at])]));
    const names = [...new Set(lists.flatMap((list) => [...list.keys()]))].filter((name) => name !== "file");
    const alike = (name) => lists.every((list) => list.get(name) === lists[0].get(name));
    const same = names.filter((name) => alike(name) && name !== "run" && name !== "task");
    $("alike").textContent = same.map((name) => (name === "prompt" ? lists[0].get(name) : `${named(name)} ${lists[0].get(name)}`)).join("  ·  ");
    $("columns").replaceChildren(...some.map((at, place) => {
      const one = all[at], column = make("article"), list = make("dl");
      column.append(asked(one) || one.k ? full(at) : why(one, "p"));
      for (const name of names) if (!alike(name)) list.append(make("dt", named(name)), make("dd", lists[place].get(name) ?? "–"));
      column.append(list);
      return column;
    }));
    show("versus");
  }
  function full(at) {
    const image = picture(at);
    if (!all[at].k) { image.src = all[at].f; return image; }
    const original = new Image();
    original.onload = () => { image.src = original.src; };
    if (all[at].f) original.src = all[at].f;
    return image;
  }

  /* Small things. A key may follow at once, so nothing that comes later may take the focus away from it. */
  function show(name) {
    $(name).showModal();
    $(name).focus();
  }
  let quiet = 0;
  function say(text) {
    $("toast").textContent = text;
    $("toast").hidden = false;
    (document.querySelector("dialog[open]") ?? document.body).append($("toast"));
    clearTimeout(quiet);
    quiet = setTimeout(() => { $("toast").hidden = true; }, 2200);
  }
  async function copy(text, done) {
    if (!text) return;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea");
      area.value = text;
      (document.querySelector("dialog[open]") ?? document.body).append(area);
      area.select();
      const copied = document.execCommand("copy");
      area.remove();
      if (!copied) return say(tr("The browser does not allow copying."));
    }
    say(done);
  }
  const kept = (name, value) => {
    try { return value === undefined ? localStorage.getItem(name) : localStorage.setItem(name, value); } catch { return null; }
  };
  const THEMES = ["auto", "light", "dark"];
  function theme(name) {
    const wanted = THEMES.includes(name) ? name : "auto";
    document.documentElement.dataset.theme = wanted;
    $("theme").textContent = { auto: tr("Auto"), light: tr("Light"), dark: tr("Dark") }[wanted];
  }
  function nextTheme() {
    theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]);
    kept("imagegen-theme", document.documentElement.dataset.theme);
  }

  function choices() {
    const states = [...new Set(all.map((one) => one.s))];
    const models = [...new Set(all.map(model))].filter(Boolean).sort();
    if (states.length > 1) {
      $("states").hidden = false;
      for (const name of ["", ...states]) {
        const chip = make("button", name ? named(name) : tr("all")), count = all.filter((one) => !name || one.s === name).length;
        chip.append(make("small", number(count)));
        chip.type = "button";
        chip.setAttribute("aria-pressed", String(name === state));
        chip.addEventListener("click", () => {
          state = name;
          for (const other of $("states").children) other.setAttribute("aria-pressed", String(other === chip));
          filter();
        });
        $("states").append(chip);
      }
    }
    if (models.length > 1) {
      $("model").hidden = false;
      $("model").append(new Option(tr("All models"), ""), ...models.map((name) => new Option(name, `=${name}`)));
    }
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const typing = event.target.matches?.("input[type=search], textarea, select");
    if (typing) {
      if (event.target === $("search") && (event.key === "Escape" || event.key === "Enter")) { event.preventDefault(); $("search").blur(); grid.focus({ preventScroll: true }); }
      return;
    }
    if (event.target.matches?.("input[type=range]") && event.key.startsWith("Arrow")) return;
    const onButton = event.target.matches?.("button, a") && (event.key === "Enter" || event.key === " ");
    const act = onButton ? undefined : $("viewer").open ? viewing[event.key] : document.querySelector("dialog[open]") ? undefined : walk[event.key];
    if (act) { event.preventDefault(); act(); }
  }
  const viewing = {
    ArrowLeft: () => turn(-1), ArrowRight: () => turn(1), ArrowUp: () => turn(-1), ArrowDown: () => turn(1),
    x: () => choose(looking), c: () => copy(all[looking].c, tr("Command copied")), t: nextTheme, Enter: () => $("viewer").close(),
  };
  const walk = {
    ArrowLeft: () => go(current - 1), ArrowRight: () => go(current + 1), ArrowUp: () => vertically(-1), ArrowDown: () => vertically(1),
    Home: () => { walking = true; go(0); }, End: () => { walking = true; go(shown.length - 1); },
    Enter: () => { if (shown.length) { if (!walking) go(current); look(shown[current]); } },
    x: () => { if (walking && shown.length) choose(shown[current]); }, v: versus, "/": () => $("search").focus(),
    c: () => { if (walking && shown.length) copy(all[shown[current]].c, tr("Command copied")); },
    t: nextTheme, "?": () => show("help"), Escape: () => { chosen.clear(); mark(); },
  };

  let waiting = 0;
  const soon = (act) => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(act); };
  window.addEventListener("scroll", () => soon(render), { passive: true });
  let width = window.innerWidth, height = window.innerHeight;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width && Math.abs(window.innerHeight - height) < 120) return soon(render);
    width = window.innerWidth; height = window.innerHeight;
    soon(layout);
  });
  document.addEventListener("keydown", key);
  $("search").addEventListener("input", () => { filter(); window.scrollTo(0, 0); });
  $("model").addEventListener("change", filter);
  $("size").addEventListener("input", layout);
  $("theme").addEventListener("click", nextTheme);
  $("keys").addEventListener("click", walk["?"]);
  $("reset").addEventListener("click", () => { $("search").value = ""; $("model").value = ""; $("states").firstChild?.click(); filter(); });
  $("compare").addEventListener("click", versus);
  $("clear").addEventListener("click", walk.Escape);
  $("before").addEventListener("click", () => turn(-1));
  $("after").addEventListener("click", () => turn(1));
  $("choose").addEventListener("click", () => choose(looking));
  $("copy-prompt").addEventListener("click", () => copy(all[looking].p, tr("Prompt copied")));
  $("copy-command").addEventListener("click", viewing.c);
  $("big").addEventListener("click", () => document.querySelector(".stage").classList.toggle("whole"));
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => { document.body.append($("toast")); mark(); });
  }
  theme(kept("imagegen-theme"));
  choices();
  filter();
  document.documentElement.dataset.ready = "yes";
})();
