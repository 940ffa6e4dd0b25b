"use strict";
// The list of samples. Only what is on the screen is in the document; files with samples are run
// as scripts when they are needed, since a page opened from a disk may fetch nothing.
const $ = (id) => document.getElementById(id);
const list = $("list");
const facts = list.dataset;
const COUNT = Number(facts.count), PER_INDEX = Number(facts.index), PER_FILE = Number(facts.cards);
const STRETCH = 6000; // samples in one scrolled list: browsers limit how high a page can be
const KEPT = 80; // files of cards in memory

// ------------------------------------------------------------- files
const waiting = new Map();
const files = new Map();

globalThis.socialcli = async (kind, number, packed) => {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  waiting.get(`${kind} ${number}`).resolve(JSON.parse(await new Response(plain).text()));
};

function file(kind, number) {
  const name = `${kind} ${number}`;
  if (!files.has(name)) {
    files.set(name, new Promise((resolve, reject) => {
      waiting.set(name, { resolve });
      const script = document.createElement("script");
      script.src = `${facts.folder}/${kind}-${String(number).padStart(6, "0")}.js`;
      script.onload = () => script.remove();
      script.onerror = () => {
        script.remove();
        reject(new Error(`The folder ${facts.folder} must lie beside this page.`));
      };
      document.head.append(script);
    }));
  }
  const found = files.get(name);
  files.delete(name); // the one asked for last is forgotten last
  files.set(name, found);
  if (files.size > KEPT) files.delete(files.keys().next().value);
  return found;
}

async function html(number) {
  return (await file("cards", Math.floor(number / PER_FILE)))[number % PER_FILE];
}

// ------------------------------------------------------------- search and filter
const words = [], has = []; // of every sample read so far
let chosen = []; // numbers of the samples that fit
let stretch = 0;

function fits(number, wanted, bit, sign) {
  return (bit < 0 || ((has[number] >> bit) & 1) === sign) &&
    wanted.every((word) => words[number].includes(word));
}

function filter() {
  const wanted = $("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  const option = $("has").value;
  const bit = option ? Math.abs(parseInt(option, 10)) : -1;
  const sign = option.startsWith("-") ? 0 : 1;
  chosen = [];
  for (let number = 0; number < words.length; number++) {
    if (fits(number, wanted, bit, sign)) chosen.push(number);
  }
  const reading = words.length < COUNT ? `, ${words.length.toLocaleString("en")} read so far` : "";
  $("shown").textContent =
    `${chosen.length.toLocaleString("en")} of ${COUNT.toLocaleString("en")} samples${reading}`;
  stretches();
  draw(true);
}

function stretches() {
  const count = Math.max(1, Math.ceil(chosen.length / STRETCH));
  stretch = Math.min(stretch, count - 1);
  const select = $("stretches").querySelector("select");
  select.replaceChildren(...Array.from({ length: count }, (_, n) => {
    const end = Math.min((n + 1) * STRETCH, chosen.length);
    return new Option(`${(n * STRETCH + 1).toLocaleString("en")} to ${end.toLocaleString("en")}`, n);
  }));
  select.value = stretch;
  $("stretches").hidden = count < 2;
}

// ------------------------------------------------------------- the list
const cards = new Map(); // place in the stretch -> element
let across = 1;

function places() {
  return Math.min(STRETCH, chosen.length - stretch * STRETCH);
}

function sampleAt(place) {
  return chosen[stretch * STRETCH + place];
}

/** Put the cards near the screen into the document and take all others out. */
function draw(afresh = false) {
  const style = getComputedStyle(list);
  const gap = parseFloat(style.getPropertyValue("--gap"));
  const least = parseFloat(style.getPropertyValue("--least"));
  const row = parseFloat(style.getPropertyValue("--high")) + gap;
  const wide = list.clientWidth;
  across = Math.max(1, Math.floor((wide + gap) / (least + gap)));
  const column = (wide - gap * (across - 1)) / across;
  list.style.height = `${Math.max(0, Math.ceil(places() / across) * row - gap)}px`;
  const top = -list.getBoundingClientRect().top;
  const from = Math.max(0, (Math.floor(top / row) - 1) * across);
  const to = Math.min(places(), (Math.ceil((top + innerHeight) / row) + 1) * across);
  if (afresh) {
    for (const card of cards.values()) card.remove();
    cards.clear();
  }
  for (const [place, card] of cards) {
    if ((place < from || place >= to) && !card.contains(document.activeElement)) {
      card.remove();
      cards.delete(place);
    }
  }
  for (let place = from; place < to; place++) {
    if (!cards.has(place)) cards.set(place, newCard(place));
    const card = cards.get(place);
    card.style.width = `${column}px`;
    card.style.translate =
      `${(place % across) * (column + gap)}px ${Math.floor(place / across) * row}px`;
  }
  let last = null; // in the order of the samples, for who goes through them by keyboard
  for (const place of [...cards.keys()].sort((a, b) => a - b)) {
    const card = cards.get(place);
    const next = last ? last.nextSibling : list.firstChild;
    if (card !== next) list.insertBefore(card, next);
    last = card;
  }
}

function newCard(place) {
  const card = document.createElement("div");
  const number = sampleAt(place);
  card.className = "card";
  card.dataset.place = place;
  card.setAttribute("role", "listitem");
  card.setAttribute("aria-setsize", chosen.length);
  card.setAttribute("aria-posinset", stretch * STRETCH + place + 1);
  const open = document.createElement("button");
  open.type = "button";
  open.className = "open";
  open.textContent = "⤢";
  open.setAttribute("aria-label", `Enlarge sample ${number + 1}`);
  card.append(open);
  html(number).then((inner) => {
    card.insertAdjacentHTML("afterbegin", inner);
    open.setAttribute("aria-label", `Enlarge ${card.querySelector(".key").textContent}`);
  }, (error) => {
    card.prepend(error.message);
  });
  return card;
}

/** Scroll to a card, and put the keyboard on it. */
function goTo(place) {
  place = Math.min(Math.max(place, 0), places() - 1);
  const style = getComputedStyle(list);
  const row = parseFloat(style.getPropertyValue("--high")) +
    parseFloat(style.getPropertyValue("--gap"));
  const top = list.getBoundingClientRect().top + Math.floor(place / across) * row;
  const above = getComputedStyle($("tools")).position === "sticky" ? $("tools").offsetHeight : 0;
  if (top < above || top + row > innerHeight) scrollBy(0, top - above - 8);
  draw();
  cards.get(place)?.querySelector(".open").focus({ preventScroll: true });
}

list.addEventListener("click", (event) => {
  const card = event.target.closest(".card");
  if (card && event.target.closest(".shot, .open")) show(Number(card.dataset.place));
});
list.addEventListener("keydown", (event) => {
  const card = event.target.closest(".card");
  const page = across * Math.max(1, Math.floor(innerHeight / 490));
  const steps = {
    ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across,
    PageUp: -page, PageDown: page, Home: -Infinity, End: Infinity,
  };
  if (card && event.key in steps && !event.ctrlKey && !event.altKey && !event.metaKey) {
    event.preventDefault();
    goTo(Number(card.dataset.place) + steps[event.key]);
  }
});
list.addEventListener("focusin", () => draw());

// ------------------------------------------------------------- one sample, enlarged
const viewer = $("viewer");
let shown = 0; // its place

async function show(place) {
  if (place < 0 || place >= places()) return;
  shown = place;
  const number = sampleAt(place);
  if (!viewer.open) {
    $("slot").append($("layers"));
    viewer.showModal();
  }
  $("before").disabled = place === 0;
  $("next").disabled = place === places() - 1;
  const inner = await html(number);
  if (shown !== place) return;
  $("one").innerHTML = inner;
  $("one").scrollTop = 0;
  $("viewer-title").textContent = $("one").querySelector(".key").textContent;
  const at = Number(facts.large) ? (await file("larger", 0)).indexOf(number) : -1;
  if (at < 0) return;
  const uri = (await file("large", Math.floor(at / PER_FILE)))[at % PER_FILE];
  const image = $("one").querySelector("img");
  if (shown === place && image) image.src = uri;
}

viewer.addEventListener("close", () => {
  $("has").after($("layers"));
  goTo(shown);
});
viewer.addEventListener("keydown", (event) => {
  if (event.target.matches("input")) return;
  if (event.key === "ArrowLeft") show(shown - 1);
  if (event.key === "ArrowRight") show(shown + 1);
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close();
});
$("close").addEventListener("click", () => viewer.close());
$("before").addEventListener("click", () => show(shown - 1));
$("next").addEventListener("click", () => show(shown + 1));

// ------------------------------------------------------------- start
let typing = 0;
$("words").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    stretch = 0;
    filter();
  }, 120);
});
$("has").addEventListener("change", () => {
  stretch = 0;
  filter();
});
$("stretches").addEventListener("change", (event) => {
  stretch = Number(event.target.value);
  draw(true);
  goTo(0);
});
let due = false;
function soon() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    draw();
  });
}
addEventListener("scroll", soon, { passive: true });
addEventListener("resize", soon);
for (const button of document.querySelectorAll("button[data-has]")) {
  button.addEventListener("click", () => {
    $("has").value = button.dataset.has;
    stretch = 0;
    filter();
    $("samples").scrollIntoView();
    $("has").focus();
  });
}

(async () => {
  for (let number = 0; number * PER_INDEX < COUNT; number++) {
    try {
      for (const [text, bits] of await file("index", number)) {
        words.push(text);
        has.push(bits);
      }
    } catch (error) {
      $("shown").textContent = error.message;
      return;
    }
    files.delete(`index ${number}`);
    if (number === 0 || number % 8 === 7) filter();
  }
  filter();
})();
